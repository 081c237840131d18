"""Every planted fault turns a claim red. Faulty copies of the suites run side by side in a project of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossexam.facts.project import find_paper, suite_folders
from crossexam.runs.environment import default_jobs
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.watching.audit import Auditor
from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("slug", sorted(suite_folders(ROOT)))
def test_every_planted_fault_turns_a_claim_red(slug: str, tmp_path: Path) -> None:
    paper = find_paper(ROOT, slug)
    with Store(tmp_path) as store:
        for file in (ROOT / "results" / "reference").glob(f"{slug}.*.jsonl"):
            store.load(file.read_text(encoding="utf-8").splitlines(), file.name)
        auditor = Auditor(paper, Project(ROOT), store, default_jobs(), minutes=14)
        listed = [fault for fault in auditor.all_faults() if fault.kind == "listed"]
        traces = auditor.try_faults(listed, press=False)
    for trace in traces:
        print(f"{slug}: {trace.fault.id}: {', '.join(trace.red) or 'NOT CAUGHT'}")
    assert not [trace.fault.id for trace in traces if not trace.red]
