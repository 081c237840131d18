"""The index gives back what was made from the same texts, whatever happens to its files, and else makes it anew."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossexam import index
from crossexam.facts.project import find_paper, suite_folders
from crossexam.runs.source import Project
from reference import cache
from tests.conftest import ROOT, Sandbox

CODE = [index.__file__]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty index for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crossexam" / "index"


def counted(value: Any) -> tuple[Callable[[], Any], list[int]]:
    """A function that returns a value and notes every call."""
    calls: list[int] = []

    def make() -> Any:
        calls.append(1)
        return value

    return make, calls


def test_what_was_made_from_the_same_is_made_once() -> None:
    make, calls = counted({"names": ["a", "ä"], "n": 0.1})
    for _ in range(3):
        assert index.remembered([b"text", b"more"], CODE, make) == {"names": ["a", "ä"], "n": 0.1}
    assert len(calls) == 1
    for other in ([b"text", b"else"], [b"textm", b"ore"], [b"textmore"], [b"more", b"text"]):
        index.remembered(other, CODE, make)
    assert len(calls) == 5


def test_other_code_makes_it_anew(tmp_path: Path) -> None:
    make, calls = counted(1)
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.py").write_text("x = 2")
    for name in ("a.py", "b.py", "a.py"):
        index.remembered([b""], [str(tmp_path / name)], make)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(b"true", b"null"),
        lambda whole: b"\xff" * 100,
        lambda whole: whole + b"\n",
        lambda whole: whole.partition(b"\n")[2],
    ],
    ids=["empty", "half", "changed", "noise", "longer", "no digest"],
)
def test_a_damaged_entry_is_made_anew(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    make, calls = counted([True])
    index.remembered([b"text"], CODE, make)
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert index.remembered([b"text"], CODE, make) == [True]
    assert len(calls) == 2
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_means_no_index(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    make, calls = counted([1])
    assert [index.remembered([b"text"], CODE, make) for _ in range(2)] == [[1], [1]]
    assert len(calls) == 2


def test_what_fails_is_not_kept(folder: Path) -> None:
    def fail() -> Any:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        index.remembered([b"text"], CODE, fail)
    assert not folder.exists()


def test_it_does_not_grow_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "KEPT", 3)
    for number in range(256 * 6):
        index.remembered([b"%d" % number], CODE, lambda: 0)
    sizes = [len(list(shard.iterdir())) for shard in folder.iterdir()]
    assert len(sizes) <= 256
    assert max(sizes) == 3


WRITER = """
import sys
from crossexam import index
for round in range(40):
    for number in range(20):
        made_from = [b"%d" % number, b"%d" % (round % 4)]
        assert index.remembered(made_from, [index.__file__], lambda: [number] * 2000) == [number] * 2000
        if round % 2:  # the other process must find it whole, damaged, or not at all
            for file in list((index.cache.root() / "index").rglob("*"))[number::20]:
                if sys.argv[1] == "damages" and file.is_file() and not file.name.startswith("."):
                    file.write_bytes(b"damaged")
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, role], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for role in ("reads", "damages")
    ]
    for process in running:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error


METHOD = "RATE = 0.1\nSCALE = 2.0\n\n\ndef slow(x):\n    return RATE * x\n\n\ndef fast(x):\n    return SCALE * x\n"
EXPERIMENTS = """
from suites.toy.method import fast, slow


def first(*, arm, seed, device):
    return {"x": slow(1.0)}


def second(*, arm, seed, device):
    return {"x": fast(1.0)}
"""


def test_a_changed_constant_changes_its_users_with_a_full_index(sandbox: Sandbox) -> None:
    folder = sandbox.suite(code=EXPERIMENTS, method=METHOD)

    def read() -> list[dict[str, str]]:
        project = Project(sandbox.root)
        return [project.digests(("suites.toy.experiments", name)) for name in ("first", "second")]

    before = read()
    assert read() == before
    (folder / "method.py").write_text(METHOD.replace("0.1", "0.2"))
    after = read()
    changed = [
        {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        for old, new in zip(before, after, strict=True)
    ]
    assert changed == [{"suites.toy.method:RATE"}, set()]
    (folder / "method.py").write_text(METHOD)
    assert read() == before


def test_all_of_this_project_is_read_alike_with_and_without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    papers = [find_paper(ROOT, slug) for slug in sorted(suite_folders(ROOT))]
    names = [(f"{paper.package}.experiments", name) for paper in papers for name in paper.experiments]

    def read() -> list[dict[str, str]]:
        project = Project(ROOT)
        return [project.digests(name) for name in names]

    first, second = read(), read()
    monkeypatch.setattr(cache, "write_whole", lambda path, write: False)
    monkeypatch.setattr(index, "recall", lambda name, hook=None: None)
    third = read()
    assert first == second == third
    assert all(first)
