"""What every suite must hold, found by itself: a new suite is tested by existing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from crossexam.facts.paper import Paper
from crossexam.facts.project import find_paper, suite_folders
from crossexam.facts.rules import PairedRule
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.source import Project
from crossexam.runs.store import read_export
from tests.conftest import ROOT

SLUGS = sorted(suite_folders(ROOT))


@pytest.fixture(params=SLUGS)
def paper(request: pytest.FixtureRequest) -> Paper:
    return find_paper(ROOT, request.param)


def reference_rows(paper: Paper) -> list[Row]:
    """The committed rows of a paper, of all machine classes."""
    files = sorted((ROOT / "results" / "reference").glob(f"{paper.slug}.*.jsonl"))
    if not files:
        pytest.skip(f"no committed rows for {paper.slug}")
    return [row for file in files for row in read_export(file.read_text(encoding="utf-8").splitlines(), file.name)[0]]


def judged(paper: Paper, rows: list[Row], trials: list[Trial], seeds: int | None = None) -> list[Judgement]:
    return judge_paper(paper, rows, {trial.subject: trial.experiment.name for trial in trials}, seeds=seeds)


def test_every_tier_has_a_claim_and_every_experiment_is_used(paper: Paper) -> None:
    assert {paper.tier(claim) for claim in paper.claims} == {"exact", "small", "full"}
    assert {claim.experiment for claim in paper.claims} == set(paper.experiments)


def test_statistical_claims_of_the_small_tier_have_at_least_five_seeds(paper: Paper) -> None:
    few = {
        claim.id
        for claim in paper.claims
        if paper.tier(claim) == "small" and claim.rule.statistical and paper.experiments[claim.experiment].seeds < 5
    }
    assert not few


def test_at_least_five_planted_faults_and_a_ledger(paper: Paper) -> None:
    assert len(paper.faults) >= 5
    assert paper.reported


def test_ledger_says_asserted_only_where_a_claim_holds_the_number(paper: Paper) -> None:
    claims = {claim.id: claim for claim in paper.claims}
    for item in paper.reported:
        for name in item.claims:
            tier = paper.tier(claims[name])
            if item.state == "small":
                assert tier in ("small", "exact"), (item.id, name)


def test_readme_answers_the_four_questions(paper: Paper) -> None:
    text = (paper.folder / "README.md").read_text(encoding="utf-8")
    assert "TODO" not in text
    assert f"suites.{paper.folder.name}" in text, "show how to use the method in one's own code"
    assert len(text.splitlines()) < 150, "one page"


def test_readme_snippets_run(paper: Paper) -> None:
    text = (paper.folder / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    assert snippets
    exec(compile("\n".join(snippets), f"{paper.slug}/README.md", "exec"), {})


def test_findings_are_evidence_not_promises(paper: Paper) -> None:
    for claim in paper.claims:
        if claim.expected != "reproduced":
            assert len(claim.finding) >= 80, claim.id
            assert "TODO" not in claim.finding, claim.id


def test_committed_rows_give_the_expected_verdicts(paper: Paper) -> None:
    rows = reference_rows(paper)
    trials = plan(paper, Project(ROOT), Selection())
    known = {row.subject for row in rows}
    stale = {trial.experiment.name for trial in trials if trial.subject not in known and not trial.blocked}
    verdicts = [one for one in judged(paper, rows, trials) if one.claim.experiment not in stale]
    assert verdicts
    assert not [one.claim.id for one in verdicts if one.as_expected is False]
    if stale:
        pytest.skip(f"rows of {', '.join(sorted(stale))} are older than the code: run them and commit the export")


def test_placebo_the_baseline_in_place_of_the_method_never_wins(paper: Paper) -> None:
    rows, trials = reference_rows(paper), plan(paper, Project(ROOT), Selection())
    for claim in paper.claims:
        rule = claim.rule
        if isinstance(rule, PairedRule):
            experiment = claim.experiment
            mine = [trial for trial in trials if trial.experiment.name == experiment]
            by_key = {(canonical(t.params), t.seed, t.arm): t.subject for t in mine}
            swapped = [
                replace(row, arm=rule.method, subject=by_key.get((canonical(row.params), row.seed, rule.method), ""))
                for row in rows
                if row.experiment == experiment and row.arm == rule.baseline
            ]
            kept = [row for row in rows if row.experiment == experiment and row.arm == rule.baseline]
            verdict = next(one for one in judged(paper, swapped + kept, trials) if one.claim.id == claim.id)
            assert verdict.verdict != "reproduced", claim.id


def test_folder_name_is_the_slug(paper: Paper) -> None:
    assert paper.folder == ROOT / "suites" / paper.slug.replace("-", "_")
    assert not [
        file
        for file in paper.folder.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".toml", ".md", ".pyc")
    ]
    assert (paper.folder / "method.py").read_text(encoding="utf-8").startswith(('"""', 'r"""'))
