"""Shared fixtures: small projects of their own, and the command line as a person would call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crossexam.runs.host import private_host
from reference.catalog import get

ROOT = Path(__file__).resolve().parent.parent


def needed(name: str, *packages: str) -> None:
    """Skip, with the reason, where a set or a package is absent."""
    for package in packages:
        pytest.importorskip(package)
    if not get(name).available:
        pytest.skip(f"data set '{name}' is absent: {get(name).remedy}")


TOML = """
[paper]
title = "A toy"
arxiv = "0000.00000"
field = "losses"
summary = "Two and two are four."

[experiment.sums]
tier = "exact"

[[experiment.sums.claim]]
id = "two-and-two"
says = "Two and two are four."
where = "nowhere"
provenance = "derived"
rule = { kind = "exact", metric = "total", target = 4, atol = 1e-12 }
"""
CODE = """
from suites.toy.method import add


def sums():
    return {"total": add(2.0, 2.0)}
"""
METHOD = """
def add(a, b):
    return a + b
"""


@dataclass
class Sandbox:
    """A project in a folder of its own."""

    root: Path

    def suite(self, toml: str = TOML, code: str = CODE, method: str = METHOD, name: str = "toy") -> Path:
        """Write a suite; its experiments may be given without their imports."""
        folder = self.root / "suites" / name
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / "suites" / "__init__.py").touch()
        (folder / "__init__.py").touch()
        for file, text in (("paper.toml", toml), ("experiments.py", code), ("method.py", method)):
            (folder / file).write_text(textwrap.dedent(text), encoding="utf-8")
        return folder

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "crossexam", *words]

    def environment(self, **extra: str) -> dict[str, str]:
        """This process's, less what would send the rows of a sandbox elsewhere; commands share its host."""
        inherited = {name: value for name, value in os.environ.items() if name != "CROSSEXAM_RESULTS"}
        kept = {"CROSSEXAM_HOST": str(private_host())}
        return {**inherited, **kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **extra}

    def run(self, *words: str, timeout: float = 120, **extra: str) -> subprocess.CompletedProcess[str]:
        """Call `crossexam` in this project and return what it printed."""
        return subprocess.run(
            self.command(*words), cwd=self.root, env=self.environment(**extra), capture_output=True, text=True,
            timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def json(self, *words: str, **extra: str) -> Any:
        return json.loads(self.run(*words, "--json", **extra).stdout)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    (tmp_path / "suites").mkdir()
    return Sandbox(tmp_path)


@pytest.fixture
def toy(sandbox: Sandbox) -> Sandbox:
    """A project with the suite `toy`."""
    sandbox.suite()
    return sandbox


@pytest.fixture
def edited() -> Callable[[str, Mapping[str, str]], str]:
    """A function that replaces texts, each of which must be there."""

    def edit(text: str, changes: Mapping[str, str]) -> str:
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        return text

    return edit
