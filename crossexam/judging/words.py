"""Verdicts in words and numbers in digits that mean something: what tables, pages, READMEs and JSON say of a claim."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from crossexam.facts.rules import EffectRule, ExactRule, LevelRule, OrderRule, ResourceRule, Rule, TrendRule

if TYPE_CHECKING:  # who only prints waits for no numpy
    from crossexam.judging.decide import Finding
    from crossexam.judging.judge import Judgement

ROUNDING = 1e-4
"""An exact rule that allows no more than this holds an identity to rounding: how far off is of interest, not where."""


def number(value: float) -> str:
    """Four significant digits; powers of ten where they are shorter."""
    return f"{value:.4g}"


def two(value: float) -> str:
    """Two significant digits, as for p-values and costs; no power of ten below 100,000."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.2g}"


def within(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A number with its interval, to two digits of the interval's width: more of them would say nothing."""
    width = high - low
    if math.isfinite(width) and width > 0:
        decimals = 1 - math.floor(math.log10(width))
        if 0 <= decimals <= 6:
            return tuple(f"{one:.{decimals}f}" for one in (value, low, high))  # type: ignore[return-value]
    return number(value), number(low), number(high)


def reported(rule: Rule) -> str:
    """The number of the paper that a rule holds, if it holds one."""
    if isinstance(rule, LevelRule):
        return number(rule.reported)
    if isinstance(rule, EffectRule):
        return f"{rule.gain:+.4g}"
    return ""


def value_of(one: Judgement) -> str:
    """What was measured, without its interval; empty where nothing was."""
    finding = one.decisive
    if finding is None:
        return ""
    if isinstance(one.claim.rule, ResourceRule):
        return two(finding.estimate)
    if isinstance(one.claim.rule, ExactRule):
        return number(finding.estimate)
    return within(finding.estimate, finding.low, finding.high)[0]


def interval_of(one: Judgement) -> tuple[str, str] | None:
    """The ends of the interval; None without one."""
    finding = one.decisive
    if finding is None or isinstance(one.claim.rule, ExactRule):
        return None
    if isinstance(one.claim.rule, ResourceRule):
        return two(finding.low), two(finding.high)
    return within(finding.estimate, finding.low, finding.high)[1:]


def measured(one: Judgement) -> str:
    """What was measured at the point that decides: "ok (1e-14, allowed 1e-10)", or a number with its interval."""
    finding = one.decisive
    if finding is None:
        return ""
    extra = f" ({len(one.findings)} points)" if len(one.findings) > 1 else ""
    rule = one.claim.rule
    if isinstance(rule, ExactRule):
        gap = _rounding(rule, finding)
        return (gap if gap else number(finding.estimate)) + extra
    low, high = interval_of(one) or ("", "")
    return f"{value_of(one)} [{low}, {high}]{extra}"


def _rounding(rule: ExactRule, finding: Finding) -> str:
    """How far off an identity is that may be off by rounding alone; empty for any other rule."""
    if rule.target is not None:
        gap, allowed = abs(finding.estimate - rule.target), rule.atol + rule.rtol * abs(rule.target)
        small = allowed <= ROUNDING * max(1.0, abs(rule.target))
    else:
        gap, allowed = finding.estimate, rule.at_most or 0.0
        small = allowed <= ROUNDING and rule.at_least is None
    if allowed <= 0 or not small:
        return ""
    if finding.verdict == "reproduced":
        return f"ok ({gap:.1g}, allowed {allowed:.2g})"
    return f"{two(gap)}, allowed {allowed:.2g}"


def criterion(rule: Rule) -> str:
    """The rule in a few characters."""
    if isinstance(rule, LevelRule | EffectRule):
        return f"± {number(rule.margin)}"
    if isinstance(rule, OrderRule):
        better, worse = (rule.method, rule.baseline) if rule.higher_is_better else (rule.baseline, rule.method)
        return f"{better} - {worse} > {number(rule.margin)}"
    if isinstance(rule, ResourceRule):
        return f"ratio <= {number(rule.at_most)}"
    assert isinstance(rule, ExactRule | TrendRule)
    if rule.target is not None:
        tolerance = rule.margin if isinstance(rule, TrendRule) else rule.atol + rule.rtol * abs(rule.target)
        return f"{number(rule.target)} ± {number(tolerance)}"
    bounds = [(">=", rule.at_least), ("<=", rule.at_most)]
    return " and ".join(f"{sign} {number(bound)}" for sign, bound in bounds if bound is not None)


MANY_SEEDS = 1e5
"""More than these nobody runs: an estimate next to its bound."""


def why(one: Judgement) -> str:
    """Why a claim has the verdict that it has, where its rule has the last word: for all but reproduced ones.

    As "its lower end, 0.502, is above 0.5, but Holm's p is 0.21"; then at which point, and how many seeds would decide.
    """
    finding = one.decisive
    if finding is None or one.verdict in (None, "reproduced"):
        return ""
    words = [f"at {finding.point}" if finding.point else "", _reason(one, finding)]
    if finding.label and not finding.label.startswith(("passes alone", "P(better)", "recovered")):
        words.append(finding.label)
    if finding.seeds_needed is not None:
        needed = finding.seeds_needed
        words.append(
            "no number of seeds would decide" if needed > MANY_SEEDS else f"about {needed:.0f} seeds would decide"
        )
    return "; ".join(filter(None, words))


def _reason(one: Judgement, finding: Finding) -> str:
    rule = one.claim.rule
    if isinstance(rule, ExactRule):
        return f"{number(finding.estimate)} is not {criterion(rule)}" if one.verdict == "not reproduced" else ""
    if math.isnan(finding.low) or finding.label.endswith("are needed"):
        return ""
    low, high = interval_of(one) or ("", "")
    bounds = _bounds(rule)
    if one.verdict == "inconclusive" and finding.verdict == "reproduced":  # by itself; then came Holm
        return f"{_inside(rule, low, high)}, but Holm's p is {two(one.p_holm or 1.0)}"
    if one.verdict == "not reproduced":
        return f"its interval, {low} to {high}, lies outside of what is allowed: {bounds}"
    if isinstance(rule, OrderRule) and finding.low > rule.margin:
        return f"{_inside(rule, low, high)}, but the sign-flip test's p is above {two(one.claim.decision.alpha)}"
    return f"its interval, {low} to {high}, reaches beyond what is allowed: {bounds}"


def _bounds(rule: Rule) -> str:
    if isinstance(rule, LevelRule):
        return f"{number(rule.reported - rule.margin)} to {number(rule.reported + rule.margin)}"
    if isinstance(rule, EffectRule):
        return f"{number(rule.gain - rule.margin)} to {number(rule.gain + rule.margin)}"
    if isinstance(rule, OrderRule):
        return f"> {number(rule.margin)}"
    return criterion(rule)


def _inside(rule: Rule, low: str, high: str) -> str:
    """The end of the interval that clears the bound."""
    at_least = rule.margin if isinstance(rule, OrderRule) else getattr(rule, "at_least", None)
    at_most = getattr(rule, "at_most", None)
    if at_least is not None and at_most is None:
        return f"its lower end, {low}, is above {number(at_least)}"
    if at_most is not None and at_least is None:
        return f"its upper end, {high}, is below {number(at_most)}"
    return f"its interval, {low} to {high}, is within {_bounds(rule)}"


LOGARITHMS = {": log seconds (": (": seconds (", "s"), ": log peak memory (": (": peak memory (", "GiB")}
"""How `watch` names series of logarithms, how people name what they are of, and its unit."""


def in_units(what: str, *values: float) -> tuple[str, ...]:
    """A series as people name it and numbers of it in its unit: nobody reads log seconds."""
    for name, (plain, unit) in LOGARITHMS.items():
        if name in what:
            return what.replace(name, plain), *(f"{two(math.exp(value))} {unit}" for value in values)
    return what, *map(number, values)
