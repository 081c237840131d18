"""What the verdicts of claims make of a headline, every combination, and the scale in words."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from crossexam.facts.loader import load_paper
from crossexam.facts.paper import Claim, Paper, Verdict
from crossexam.judging.headlines import OUTCOMES, count_outcomes, headline_of, judge_headlines, outcome
from crossexam.judging.judge import Judgement, Registered
from tests.conftest import TOML, Sandbox

EVERY = ("reproduced", "not reproduced", "inconclusive", None)


@pytest.mark.parametrize("size", range(5))
def test_every_combination_of_verdicts(size: int) -> None:
    for verdicts in itertools.product(EVERY, repeat=size):
        yes, no, unsure = (verdicts.count(one) for one in EVERY[:3])
        expected = "open"
        if yes:
            expected = "holds" if not no and not unsure else "partly"
        elif no:
            expected = "fails"
        assert outcome(verdicts) == expected, verdicts


SMALL = """
[experiment.trained]
tier = "small"
seeds = 5
arms = ["method", "base"]
needs = { data = ["letter"] }
protocol = { data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none" }
where = "Table 1"
provenance = "abstract"

[[experiment.trained.claim]]
id = "better"
says = "It is better."
rule = { kind = "order", metric = "score", baseline = "base" }

[[experiment.trained.claim]]
id = "faster"
says = "It is faster."
rule = { kind = "order", metric = "speed", baseline = "base" }

[[headline]]
says = "It is better."
claims = ["two-and-two", "better"]

[[headline]]
says = "It is faster."
claims = ["faster", "better"]
"""
CODE = "def sums():\n    return {}\n\n\ndef trained(*, arm, seed):\n    return {}\n"


@pytest.fixture
def paper(sandbox: Sandbox) -> Paper:
    return load_paper(sandbox.suite(TOML + SMALL, CODE))


def judged(claim: Claim, verdict: Verdict | None, registered: Registered = "before") -> Judgement:
    health = "done" if verdict else "blocked"
    seeds = tuple(range(1 if claim.id == "two-and-two" else 5))
    return Judgement(claim, verdict, health, cause="" if verdict else "needs CUDA", seeds=seeds, registered=registered)  # type: ignore[arg-type]


def test_scale_and_what_waits_are_said_in_words(paper: Paper) -> None:
    sums, better, faster = paper.claims
    first, second = judge_headlines(
        paper, [judged(sums, "reproduced"), judged(better, "reproduced"), judged(faster, None)]
    )
    assert (first.outcome, first.scale) == ("holds", "exact, in float64; small: Letter recognition, 5 seeds")
    assert first.believe == (
        "what is so on Letter recognition is so at the paper's scale",
        "checks of ours say it too (1 of 2 deciding claims)",
    )
    assert second.outcome == "holds"
    assert second.waiting == (("needs CUDA", ("faster",)),)
    assert second.count == {"blocked": 1, "reproduced": 1}
    assert headline_of((first, second)) == {"two-and-two": 0, "better": 0, "faster": 1}
    assert count_outcomes((first, second)) == {**dict.fromkeys(OUTCOMES, 0), "holds": 2}


def test_an_open_headline_has_no_scale_and_an_inconclusive_claim_is_no_decision(paper: Paper) -> None:
    sums, better, faster = paper.claims
    first, second = judge_headlines(
        paper, [judged(sums, None), judged(better, "inconclusive"), judged(faster, "not reproduced", "changed after")]
    )
    assert (first.outcome, first.scale, first.believe) == ("open", "", ())
    assert (second.outcome, second.scale) == ("fails", "small: Letter recognition, 5 seeds")
    assert any("changed after their rows" in clause for clause in second.believe)


def test_claims_that_were_not_selected_have_no_say(paper: Paper) -> None:
    sums, *_ = paper.claims
    only = judge_headlines(replace(paper, claims=(sums,)), [judged(sums, "reproduced", "unknown")])
    assert [one.outcome for one in only] == ["holds", "open"]
    assert any("do not say so" in clause for clause in only[0].believe)
    assert only[0].believe[0].startswith("formulas in float64")
