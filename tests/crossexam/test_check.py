"""`crossexam check` says what keeps a suite from being finished, each with its mend, and is quick about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crossexam.facts.loader import load_paper
from crossexam.facts.project import find_paper
from crossexam.runs.committed import committed_rows
from crossexam.runs.source import Project
from crossexam.watching.check import Remark, check
from tests.conftest import ROOT, TOML, Sandbox


def remarks(sandbox: Sandbox, toml: str = TOML) -> list[Remark]:
    paper = load_paper(sandbox.suite(toml))
    return check(paper, Project(sandbox.root), [])


def test_an_unfinished_suite_is_told_all_that_is_missing(sandbox: Sandbox) -> None:
    found = {str(one) for one in remarks(sandbox) if one.grave}
    for expected in (
        "no claim of the small tier", "no claim of the full tier", "0 planted faults", "no ledger", "README.md: is missing",
        "method.py: says nothing of itself",
    ):  # fmt: skip
        assert any(expected in line for line in found), expected
    assert all(" -> " in line for line in found)


def test_full_tier_may_be_absent_with_a_reason(sandbox: Sandbox) -> None:
    stated = TOML.replace("[paper]\n", '[paper]\nno_full = "All of it is mathematics."\n')
    assert not any("full tier" in one.wrong for one in remarks(sandbox, stated))


def test_missing_headlines_and_claims_of_the_abstract_are_remarks(sandbox: Sandbox) -> None:
    told = {one.wrong: one.grave for one in remarks(sandbox, TOML.replace('"derived"', '"abstract"'))}
    assert told["no headlines"]
    assert told["is of the abstract and in no headline"]
    one = '\n[[headline]]\nsays = "Number {}."\nclaims = ["two-and-two"]\n'
    some = {count: TOML + "".join(one.format(index) for index in range(count)) for count in (1, 3, 6, 7)}
    counted = {
        count: [r.wrong for r in remarks(sandbox, text) if "headline" in r.wrong] for count, text in some.items()
    }
    assert counted == {1: ["1 headline"], 3: [], 6: [], 7: ["7 headlines"]}


def test_experiment_without_a_claim(sandbox: Sandbox) -> None:
    code = "def sums():\n    return {}\n\n\ndef idle():\n    return {}\n"
    paper = load_paper(sandbox.suite(TOML + '\n[experiment.idle]\ntier = "exact"\n', code))
    assert any(one.about == "experiment idle" for one in check(paper, Project(sandbox.root), []))


def test_a_verdict_that_is_not_the_expected_one_and_a_claim_that_its_baseline_passes() -> None:
    """A finished suite with one claim turned round: the committed rows speak against it."""
    paper = find_paper(ROOT, "credit-iv")
    rows = list(committed_rows(ROOT, paper.slug))
    project = Project(ROOT)
    if any(one.about == "rows" for one in check(paper, project, rows)):
        pytest.skip("the committed rows of credit-iv are older than its code")
    first, *others = paper.claims
    turned = replace(paper, claims=(replace(first, expected="inconclusive", finding="x" * 80), *others))
    wrong = [one.about for one in check(turned, project, rows) if one.grave and one.about.startswith("claim")]
    assert wrong == [f"claim {first.id}"]


def test_command_names_suites_that_cannot_be_read_beside_the_others(toy: Sandbox) -> None:
    toy.suite("[paper", name="broken")
    outcome = toy.run("check")
    assert outcome.returncode == 2
    assert "not valid TOML" in outcome.stdout
    assert "toy: " in outcome.stdout
    found = toy.json("check", "toy")
    assert {"about", "wrong", "mend", "grave"} == set(found["toy"][0])


def test_a_fault_of_the_harness_is_no_verdict(toy: Sandbox) -> None:
    """An error that nobody foresaw must not look like "a verdict differs"."""
    (toy.root / "suites" / "toy" / "README.md").mkdir()  # a folder where a file is read
    (toy.root / "suites" / "toy" / "odd.py").mkdir()
    outcome = toy.run("check")
    assert outcome.returncode == 4
    assert "a fault of the harness, not of the paper" in outcome.stderr
