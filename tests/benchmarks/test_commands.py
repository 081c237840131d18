"""CPU time of the commands that people wait for, with 56 papers: `nox -s bench -- tests/benchmarks/test_commands.py -s`.

The papers are copies of this project's under names of their own, with its committed rows as if the copies had measured
them, so that there is as much to judge as there would be: every other paper's are kept as this machine's, the others'
are committed. Without that option three papers are made, and nothing is
timed, as a test. User and system time, each command in a process of its own: with an empty index, and the least of
three times after that.
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from crossexam.facts.project import find_paper
from crossexam.runs.committed import committed_rows
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.source import Project
from crossexam.runs.store import Export, Store
from tests.conftest import ROOT

PAPERS, FEW = 56, 3
ONE, ALL = 0.5, 5.0  # seconds: the goals of what is about one paper or lists them, and about all
REPEATS = 3
HEAVY = ("torch", "pandas", "sklearn", "scipy", "rich")
CODE = f"""
import sys
from crossexam.showing.cli import run_app
status = run_app()
assert not {{*{HEAVY}}} & sys.modules.keys(), {{*{HEAVY}}} & sys.modules.keys()
sys.exit(status)
"""


@dataclass(frozen=True)
class Copies:
    """A project of copied suites, with rows."""

    root: Path
    slugs: list[str]
    rows: int
    cached: list[str]
    """Papers of which this machine has a row of every trial that can run here."""
    committed: list[str]
    """The same of those whose rows are committed."""

    def call(self, *words: str) -> float:
        """CPU seconds of a command, which must not fail, nor import what it does not need."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CROSSEXAM_RESULTS", "PYTHONDONTWRITEBYTECODE")
        }
        environment |= {
            "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.root / "cache"),
            "PYTHONPYCACHEPREFIX": str(self.root / "bytecode"),
        }  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [sys.executable, "-c", CODE, *words],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run.returncode in (0, 1), run.stderr  # 1: the copies' verdicts are what they are
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def forget(self) -> None:
        """Empty the index."""
        shutil.rmtree(self.root / "cache", ignore_errors=True)


def copies(root: Path, count: int) -> Copies:
    """A project of `count` suites, which are this project's in turn."""
    (root / "suites").mkdir(parents=True)
    (root / "suites" / "__init__.py").touch()
    (root / "results" / "reference").mkdir(parents=True)
    for name in ("baselines", "reference"):
        (root / name).symlink_to(ROOT / name, target_is_directory=True)
    originals = sorted(file.parent for file in ROOT.glob("suites/*/paper.toml"))
    slugs: list[str] = []
    cached: list[str] = []
    committed: list[str] = []
    rows: list[Row] = []
    count_of_rows = 0
    for number, original in zip(range(count), itertools.cycle(originals), strict=False):
        folder = root / "suites" / f"{original.name}_{number}"
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (*folder.glob("*.py"), folder / "paper.toml"):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(f"suites.{original.name}", f"suites.{folder.name}"), encoding="utf-8")
        paper = find_paper(root, folder.name)
        trials = plan(paper, Project(root), Selection())
        measured = list(_measured(trials, original.name.replace("_", "-")))
        runnable = {trial.fingerprint for trial in trials if not trial.blocked}
        slugs.append(paper.slug)
        whole = [paper.slug] if runnable <= {row.fingerprint for row in measured} else []
        count_of_rows += len(measured)
        if number % 2:
            lines = "".join(f"{line}\n" for line in Export(measured, {}, {}).lines())
            (root / "results" / "reference" / f"{paper.slug}.cpu-x86_64.jsonl").write_text(lines, encoding="utf-8")
            committed += whole
        else:
            rows += measured
            cached += whole
    with Store(root / "results") as store:
        store.load((canonical({"kind": "row", **row.as_json()}) for row in rows), "rows")
    return Copies(root, slugs, count_of_rows, cached, committed)


def _measured(trials: list[Trial], slug: str) -> Iterator[Row]:
    """The committed rows of a paper as rows of a copy's trials."""
    known = {
        (row.experiment, row.arm, row.seed, canonical(row.params)): row
        for row in committed_rows(ROOT, slug)
        if row.health == "done"
    }
    for trial in trials:
        row = known.get((trial.experiment.name, trial.arm, trial.seed, canonical(trial.params)))
        if row:
            yield replace(
                row, paper=trial.paper.slug, subject=trial.subject, setting=trial.setting, device=trial.device,
                fingerprint=trial.fingerprint, parts=trial.parts,
            )  # fmt: skip


@pytest.mark.timeout(900)
def test_commands(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    project = copies(tmp_path / "project", PAPERS if benchmark.enabled else FEW)
    assert project.rows
    one = (project.cached or project.slugs)[0]
    goals = {("list",): ONE, ("show", one): ONE, ("judge", one): ONE, ("judge",): ALL, ("plan",): ALL}
    if project.cached:
        goals["run", one] = ONE
    for slug in project.committed[:1]:
        goals |= {("show", slug): ONE, ("judge", slug): ONE, ("run", slug): ONE}
    for words in goals:
        project.call(*words)  # compiles what the command imports
    benchmark.pedantic(project.call, args=("list",), rounds=REPEATS)
    if not benchmark.enabled:
        return
    print(f"\n{len(project.slugs)} papers, {project.rows} rows; CPU seconds: empty index, after that, goal")
    found = {}
    for words, goal in goals.items():
        project.forget()
        first = project.call(*words)
        found[words] = min(project.call(*words) for _ in range(REPEATS))
        print(f"{' '.join(words):30} {first:6.2f} {found[words]:6.2f} {goal:6.1f}")
    if not project.cached:
        print("run: not timed, for of every paper some trial has no row")
    benchmark.extra_info.update({" ".join(words): seconds for words, seconds in found.items()})
    slow = {words for words, goal in goals.items() if found[words] > goal}
    assert not slow, f"slower than their goals: {slow}"
