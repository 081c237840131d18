"""What every suite must hold, found by itself: a new suite is tested by existing. `crossexam check` says it to a person."""

from __future__ import annotations

import re

import pytest

from crossexam.facts.paper import Paper
from crossexam.facts.project import find_paper, suite_folders
from crossexam.runs.committed import committed_rows
from crossexam.runs.source import Project
from crossexam.watching.check import check
from tests.conftest import ROOT

SLUGS = sorted(suite_folders(ROOT))


@pytest.fixture(params=SLUGS)
def paper(request: pytest.FixtureRequest) -> Paper:
    return find_paper(ROOT, request.param)


def test_suite_is_finished_and_its_committed_rows_give_the_expected_verdicts(paper: Paper) -> None:
    remarks = check(paper, Project(ROOT), list(committed_rows(ROOT, paper.slug)))
    assert not [str(one) for one in remarks if one.grave]
    stale = [str(one) for one in remarks if one.about == "rows"]
    if stale:
        pytest.skip(f"{paper.slug}: {'; '.join(stale)}")


def test_readme_snippets_run(paper: Paper) -> None:
    text = (paper.folder / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile("\n".join(snippets), f"{paper.slug}/README.md", "exec"), {})
