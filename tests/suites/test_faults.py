"""Every planted fault turns a claim red. Faulty copies of the suites run side by side in a project of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crossexam.executors import LocalExecutor
from crossexam.paper import Fault, Paper
from crossexam.plan import Selection, Trial, plan
from crossexam.project import find_paper, suite_folders
from crossexam.runner import Runner
from crossexam.session import default_jobs, judge
from crossexam.source import Project
from crossexam.store import Store
from tests.conftest import ROOT

SLUGS = sorted(suite_folders(ROOT))


def plant(paper: Paper, fault: Fault, root: Path) -> str:
    """Copy a suite with one fault under a name of its own, and return that slug."""
    slug = f"{paper.slug}-{fault.id}"
    folder = root / "suites" / slug.replace("-", "_")
    folder.mkdir(parents=True)
    for file in paper.folder.iterdir():
        if file.suffix in (".py", ".toml"):
            text = file.read_text(encoding="utf-8")
            if file.name == "method.py":
                text = text.replace(fault.replace, fault.by)
            if file.name == "paper.toml":
                text = text[: text.index("[[fault]]")]  # a faulty method has no text for the faults to replace
            (folder / file.name).write_text(text.replace(paper.package, f"suites.{folder.name}"), encoding="utf-8")
    return slug


@pytest.mark.timeout(900)
@pytest.mark.parametrize("slug", SLUGS)
def test_every_planted_fault_turns_a_claim_red(slug: str, tmp_path: Path) -> None:
    paper = find_paper(ROOT, slug)
    for package in ("baselines", "reference"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "__init__.py").touch()
    faulty = {fault.id: find_paper(tmp_path, plant(paper, fault, tmp_path)) for fault in paper.faults}
    project = Project(tmp_path)
    trials = [trial for fault in paper.faults for trial in _reached(paper, faulty[fault.id], fault, project)]
    with Store(tmp_path / "results") as store:
        Runner(store, project, lambda modules: LocalExecutor(tmp_path, modules, default_jobs())).run(trials)
        caught = {
            fault.id: [
                one.claim.id
                for one in judge(faulty[fault.id], project, store, Selection())
                if one.claim.id in fault.breaks and (one.as_expected is False or one.health in ("error", "timeout"))
            ]
            for fault in paper.faults
        }
    for fault_id, claims in caught.items():
        print(f"{slug}: {fault_id}: {', '.join(claims) or 'NOT CAUGHT'}")
    assert all(caught.values()), caught


def _reached(paper: Paper, copy: Paper, fault: Fault, project: Project) -> list[Trial]:
    """Trials of the claims that the fault breaks: of the exact ones where there are any, for they take seconds."""
    claims = [claim for claim in paper.claims if claim.id in fault.breaks]
    exact = [claim for claim in claims if paper.tier(claim) == "exact"]
    names = {claim.experiment for claim in exact or claims}
    return [trial for trial in plan(copy, project, Selection()) if trial.experiment.name in names and not trial.blocked]
