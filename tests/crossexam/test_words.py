"""What is said of a claim: digits that mean something, and why a rule decided as it did."""

from __future__ import annotations

import math
from typing import Any

import pytest

from crossexam.facts.paper import Claim, Verdict
from crossexam.facts.rules import EffectRule, ExactRule, LevelRule, OrderRule, ResourceRule, Rule, TrendRule
from crossexam.judging import words
from crossexam.judging.decide import Finding
from crossexam.judging.judge import Judgement

ORDER = OrderRule(metric="m", baseline="b")
LEVEL = LevelRule(
    metric="m", reported=73.5, reported_baseline=72.5, margin=0.5, margin_reason="half the gain", spread=0.1, runs=3
)
EFFECT = EffectRule(
    metric="m", baseline="b", reported_method=75.0, reported_baseline=71.0, margin=1.0, margin_reason="a quarter"
)
RATIO = ResourceRule(metric="a", reference="b", at_most=1.0)
TREND = TrendRule(metric="m", fit="given", at_least=0.5)


def judged(rule: Rule, verdict: Verdict, *point: float, p_holm: float | None = None, **more: Any) -> Judgement:
    """A judgement on one point: (estimate, low, high)."""
    own = more.pop("own", verdict)
    claim = Claim("c", "It is so.", "nowhere", "abstract", "e", rule)
    return Judgement(claim, verdict, "done", findings=(Finding(own, *point, **more),), p_holm=p_holm)


@pytest.mark.parametrize(
    ("rule", "verdict", "estimate", "expected"),
    [
        (ExactRule(metric="m", at_most=1e-10), "reproduced", 1.1e-14, "ok (1e-14, allowed 1e-10)"),
        (ExactRule(metric="m", at_most=1.5e-10), "reproduced", 0.0, "ok (0, allowed 1.5e-10)"),
        (ExactRule(metric="m", at_most=1e-10), "not reproduced", 0.0312, "0.031, allowed 1e-10"),
        (ExactRule(metric="m", target=4, atol=1e-12), "reproduced", 4 + 1e-14, "ok (1e-14, allowed 1e-12)"),
        (ExactRule(metric="m", target=0.177, atol=0.01), "reproduced", 0.17712, "0.1771"),
        (ExactRule(metric="m", target=9), "reproduced", 9.0, "9"),
        (ExactRule(metric="m", at_most=0), "not reproduced", 131.0, "131"),
        (ExactRule(metric="m", at_least=0.5), "reproduced", 0.73210, "0.7321"),
    ],
)  # fmt: skip
def test_an_identity_that_holds_to_rounding_is_ok(rule: Rule, verdict: Verdict, estimate: float, expected: str) -> None:
    assert words.measured(judged(rule, verdict, estimate, estimate, estimate)) == expected


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.713249, 0.70111, 0.72534), "0.713 [0.701, 0.725]"),
        ((71.3249, 60.1, 82.5), "71 [60, 82]"),
        ((1234.5, 200.0, 2300.0), "1234 [200, 2300]"),
        ((0.5, 0.5, 0.5), "0.5 [0.5, 0.5]"),
        ((1.0, -math.inf, 3.0), "1 [-inf, 3]"),
        ((1e-9, 0.5e-9, 1.5e-9), "1e-09 [5e-10, 1.5e-09]"),
    ],
)
def test_an_interval_has_the_digits_of_its_width(point: tuple[float, float, float], expected: str) -> None:
    assert words.measured(judged(ORDER, "reproduced", *point)) == expected


def test_costs_and_p_have_two_digits() -> None:
    assert words.measured(judged(RATIO, "reproduced", 0.41789, 0.3999, 0.4333)) == "0.42 [0.4, 0.43]"
    assert [words.two(one) for one in (0.2134, 1.2e-5, 12.34, 123.4, 0.0)] == ["0.21", "1.2e-05", "12", "123", "0"]
    assert words.in_units("p/e/a: log seconds (cpu)", math.log(2.51), math.log(250)) == (
        "p/e/a: seconds (cpu)", "2.5 s", "250 s",
    )  # fmt: skip
    assert words.in_units("p/e/a: log peak memory (cpu)", 0.0)[1] == "1 GiB"
    assert words.in_units("p/e/a: loss (cpu)", 0.12345) == ("p/e/a: loss (cpu)", "0.1235")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (
            judged(TREND, "inconclusive", 0.6, 0.5021, 0.698, p_holm=0.2123, own="reproduced", label="passes alone, x"),
            "its lower end, 0.50, is above 0.5, but Holm's p is 0.21",
        ),
        (
            judged(ORDER, "inconclusive", 0.02, 0.001, 0.039, p_holm=0.0791, own="reproduced"),
            "its lower end, 0.001, is above 0, but Holm's p is 0.079",
        ),
        (
            judged(ORDER, "inconclusive", 0.02, 0.001, 0.039, label="P(better) 0.80 [0.5, 1.0]"),
            "its lower end, 0.001, is above 0, but the sign-flip test's p is above 0.05",
        ),
        (
            judged(ORDER, "inconclusive", 0.02, -0.011, 0.051, seeds_needed=12.2, point="noise 0.5"),
            "at noise 0.5; its interval, -0.011 to 0.051, reaches beyond what is allowed: > 0; about 12 seeds would decide",
        ),
        (
            judged(LEVEL, "inconclusive", 73.4, 72.9, 73.9, seeds_needed=math.inf),
            "its interval, 72.9 to 73.9, reaches beyond what is allowed: 73 to 74; no number of seeds would decide",
        ),
        (
            judged(LEVEL, "inconclusive", 73.0, 72.5, 73.5, seeds_needed=3.9e29),
            "its interval, 72.5 to 73.5, reaches beyond what is allowed: 73 to 74; no number of seeds would decide",
        ),
        (
            judged(LEVEL, "inconclusive", 73.5, 73.4, 73.6, p_holm=0.3, own="reproduced"),
            "its interval, 73.40 to 73.60, is within 73 to 74, but Holm's p is 0.3",
        ),
        (
            judged(LEVEL, "not reproduced", 70.0, 69.5, 70.5, label="below"),
            "its interval, 69.5 to 70.5, lies outside of what is allowed: 73 to 74; below",
        ),
        (
            judged(EFFECT, "not reproduced", 1.0, 0.5, 1.5, label="recovered 25 % [12, 38] of the reported gain"),
            "its interval, 0.5 to 1.5, lies outside of what is allowed: 3 to 5",
        ),
        (judged(RATIO, "not reproduced", 1.4, 1.2, 1.6), "its interval, 1.2 to 1.6, lies outside of what is allowed: ratio <= 1"),
        (
            judged(RATIO, "inconclusive", 0.9, 0.8, 0.98, p_holm=0.06, own="reproduced"),
            "its upper end, 0.98, is below 1, but Holm's p is 0.06",
        ),
        (judged(ExactRule(metric="m", at_most=1.0), "not reproduced", 1.2, 1.2, 1.2), "1.2 is not <= 1"),
        (judged(ORDER, "inconclusive", 0.1, math.nan, math.nan, label="3 seeds, 5 are needed"), "3 seeds, 5 are needed"),
        (judged(ORDER, "reproduced", 0.1, 0.05, 0.15), ""),
    ],
)  # fmt: skip
def test_the_rule_that_has_the_last_word_is_named(one: Judgement, expected: str) -> None:
    assert words.why(one) == expected


def test_without_a_verdict_nothing_is_measured_and_nothing_said() -> None:
    claim = Claim("c", "It is so.", "nowhere", "derived", "e", ORDER)
    absent = Judgement(claim, None, "blocked", "needs CUDA")
    assert (words.measured(absent), words.value_of(absent), words.interval_of(absent), words.why(absent)) == (
        "",
        "",
        None,
        "",
    )
