"""Who may import whom (DESIGN section 1): suites -> baselines -> reference; the harness is imported by none of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALLOWED = {
    "reference": {"reference"},
    "baselines": {"baselines", "reference"},
    "suites": {"suites", "baselines", "reference"},
    "crossexam": {"crossexam", "reference"},
}
FILES = [file for package in ALLOWED for file in sorted((ROOT / package).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows_point_one_way(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    assert imported(file) & ALLOWED.keys() <= ALLOWED[package]


@pytest.mark.parametrize("file", sorted((ROOT / "suites").glob("*/*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_suites_do_not_import_each_other(file: Path) -> None:
    own = f"suites.{file.parent.name}"
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("suites."):
            assert node.module == own or node.module.startswith(own + "."), node.module


ROOMS = ("facts", "runs", "judging", "watching", "showing")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "crossexam").glob("*/**/*.py")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_a_room_of_the_harness_imports_only_from_those_before_it(file: Path) -> None:
    room = file.relative_to(ROOT / "crossexam").parts[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("crossexam."):
            assert ROOMS.index(node.module.split(".")[1]) <= ROOMS.index(room), node.module


def test_the_package_tells_of_all_its_rooms() -> None:
    import crossexam

    folders = {file.parent.name for file in (ROOT / "crossexam").glob("*/__init__.py")}
    assert folders == set(ROOMS)
    assert all(f"`{room}`" in (crossexam.__doc__ or "") for room in ROOMS)


def test_method_is_plain_torch() -> None:
    for file in (ROOT / "suites").glob("*/method.py"):
        assert "crossexam" not in imported(file), file
