"""How each kind of rule is decided on the numbers of one point of the grid. `judge` collects them from rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from crossexam.facts.paper import Decision, Verdict
from crossexam.facts.rules import EffectRule, ExactRule, LevelRule, OrderRule, ResourceRule, Rule, TrendRule
from crossexam.judging import stats
from crossexam.judging.stats import NO_HISTORY, Array, Estimate, History
from crossexam.judging.student import t_quantile
from crossexam.runs.rows import Health

State = Health | Literal["not run", "incomplete", "outdated"]
"""How it stands with what a claim needs: the health of its trials, or that some or all are not there. "outdated": there
are rows, of older code."""


@dataclass(frozen=True)
class Finding:
    """What one point of the parameter grid says about a claim."""

    verdict: Verdict
    estimate: float
    low: float
    high: float
    p: float | None = None
    """p-value of "the claim holds here"; None for rules without statistics."""
    n: int = 0
    label: str = ""
    """What else to say: below, above, compatible, why inconclusive."""
    seeds_needed: float | None = None
    point: str = ""
    at: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The same point, by parameter."""
    values: Array | None = field(default=None, repr=False, compare=False)
    """What it was decided on, `Sample.values`; None for costs, of which a seed has many."""


@dataclass(frozen=True)
class Sample:
    """The numbers that a rule is decided on."""

    values: Array
    """One a seed: the metric, the paired difference (up is better), the fitted statistic; or the costs of all rounds;
    for an exact rule all that its trials returned."""
    reference: Array = field(default_factory=lambda: np.empty(0))
    """The costs that the method's are compared with, round by round."""
    history: History = NO_HISTORY
    """The spread of the same measurement under other seeds."""


class Unjudgeable(Exception):
    """Rows that cannot be judged: a health, never a verdict."""

    def __init__(self, health: State, cause: str) -> None:
        super().__init__(cause)
        self.health: State = health
        self.cause = cause


def decide_exact(rule: ExactRule, _decision: Decision, sample: Sample) -> Finding:
    """The worst value within its bounds, or within the tolerance about its target."""
    values = sample.values
    low, high = float(values.min()), float(values.max())
    if rule.target is not None:
        worst = float(values[np.argmax(np.abs(values - rule.target))])
        holds = abs(worst - rule.target) <= rule.atol + rule.rtol * abs(rule.target)
    else:
        above = rule.at_most is not None and high > rule.at_most
        below = rule.at_least is not None and low < rule.at_least
        worst = low if below or rule.at_most is None else high
        holds = not (above or below)
    return Finding("reproduced" if holds else "not reproduced", worst, low, high, n=len(values))


def decide_level(rule: LevelRule, decision: Decision, sample: Sample) -> Finding:
    """Equivalence with the reported number: TOST with the margin of the file (Schuirmann 1987)."""
    values, history, alpha, n_min = sample.values, sample.history, decision.alpha, decision.n_min
    n = len(values)
    estimate = stats.level(
        values, rule.reported, runs=rule.runs, reported_std=rule.reported_std, history=history,
        quantum=rule.quantum, statistic=rule.statistic,
    )  # fmt: skip
    low, high = estimate.interval(alpha)
    verdict, label = _within(low, high, rule.margin)
    if n < n_min or (n == 1 and history.df < 10):
        verdict, label = "inconclusive", f"{n} seeds, {n_min} are needed"
    if verdict == "not reproduced":
        label = "above" if (estimate.value > 0) == rule.higher_is_better else "below"
    needed = None
    if verdict == "inconclusive":
        std = math.sqrt(stats.pooled(values, history).variance) if n > 1 else math.nan
        needed = _level_seeds(rule, estimate, std, alpha)
        if rule.runs == 1 and n > 1 and abs(estimate.value) <= t_quantile(0.975, estimate.df) * estimate.error:
            label = label or "compatible, which is no pass"
    return Finding(
        verdict, estimate.value + rule.reported, low + rule.reported, high + rule.reported,
        estimate.p_within(rule.margin), n, label, needed,
    )  # fmt: skip


def _level_seeds(rule: LevelRule, estimate: Estimate, std: float, alpha: float) -> float:
    """Seeds to decide; infinite if the paper's own uncertainty alone exceeds the margin."""
    theirs = (rule.reported_std if rule.reported_std is not None else std) / math.sqrt(rule.runs)
    if not math.isfinite(std) or t_quantile(1 - alpha, math.inf) * theirs >= rule.margin:
        return math.inf
    return stats.seeds_needed(std, rule.margin - abs(estimate.value), alpha)


def _within(low: float, high: float, margin: float) -> tuple[Verdict, str]:
    if -margin <= low and high <= margin:
        return "reproduced", ""
    if low > margin or high < -margin:
        return "not reproduced", ""
    return "inconclusive", ""


def decide_order(rule: OrderRule, decision: Decision, sample: Sample) -> Finding:
    """The method beats the baseline by more than the margin: t-interval and exact sign-flip test."""
    differences = sample.values
    n, alpha, n_min = len(differences), decision.alpha, decision.n_min
    estimate = stats.mean(differences, rule.quantum, decision.overlap)
    low, high = estimate.interval(alpha)
    p = estimate.p_above(rule.margin)
    flips = stats.sign_flip(differences - rule.margin)
    superiority, least, most = stats.probability_of_superiority(differences)
    label = f"P(better) {superiority:.2f} [{least:.2f}, {most:.2f}]"
    verdict: Verdict = "inconclusive"
    if n < n_min:
        label = f"{n} seeds, {n_min} are needed"
    elif low > rule.margin and flips <= alpha:
        verdict = "reproduced"
    elif high < rule.margin or (high == low == rule.margin):
        verdict = "not reproduced"
    std = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    distance = abs(estimate.value - rule.margin)
    needed = stats.seeds_needed(std, distance, alpha, decision.overlap) if verdict == "inconclusive" and n > 1 else None
    return Finding(verdict, estimate.value, low, high, p, n, label, needed)


def decide_effect(rule: EffectRule, decision: Decision, sample: Sample) -> Finding:
    """How much of the reported gain was recovered; the label says it in percent."""
    differences, alpha, n_min = sample.values, decision.alpha, decision.n_min
    n = len(differences)
    reported_std = None if rule.reported_std is None else rule.reported_std * math.sqrt(2)  # a difference of two arms
    estimate = stats.level(differences, rule.gain, runs=rule.runs, reported_std=reported_std, quantum=rule.quantum)
    low, high = estimate.interval(alpha)
    verdict, _ = _within(low, high, rule.margin)
    if n < n_min:
        verdict = "inconclusive"
    share = [100 * (value + rule.gain) / rule.gain for value in (estimate.value, low, high)]
    label = f"recovered {share[0]:.0f} % [{share[1]:.0f}, {share[2]:.0f}] of the reported gain"
    std = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    distance = rule.margin - abs(estimate.value)
    needed = stats.seeds_needed(std, distance, alpha) if verdict == "inconclusive" and n > 1 else None
    values = (estimate.value + rule.gain, low + rule.gain, high + rule.gain)
    return Finding(verdict, *values, estimate.p_within(rule.margin), n, label, needed)


def decide_trend(rule: TrendRule, decision: Decision, sample: Sample) -> Finding:
    """A statistic per seed, its t-interval against the bound."""
    values, alpha, n = sample.values, decision.alpha, len(sample.values)
    estimate = stats.mean(values, overlap=decision.overlap)
    low, high = estimate.interval(alpha)
    if rule.target is not None:
        verdict, _ = _within(low - rule.target, high - rule.target, rule.margin)
        p = estimate.p_within(rule.margin, rule.target)
        distance = rule.margin - abs(estimate.value - rule.target)
    else:
        at_least = -math.inf if rule.at_least is None else rule.at_least
        at_most = math.inf if rule.at_most is None else rule.at_most
        verdict = "inconclusive"
        if at_least <= low and high <= at_most:
            verdict = "reproduced"
        elif high < at_least or low > at_most:
            verdict = "not reproduced"
        above = estimate.p_above(at_least) if math.isfinite(at_least) else 0.0
        below = (
            Estimate(-estimate.value, estimate.error, estimate.df).p_above(-at_most) if math.isfinite(at_most) else 0.0
        )
        p = max(above, below)
        if estimate.error == 0 and verdict == "reproduced":
            p = 0.0  # on the bound in every seed: `<=` holds
        distance = min(abs(estimate.value - bound) for bound in (at_least, at_most))
    label = ""
    if n < decision.n_min:
        verdict, label = "inconclusive", f"{n} seeds, {decision.n_min} are needed"
    std = float(np.std(values, ddof=1)) if n > 1 else math.nan
    needed = stats.seeds_needed(std, distance, alpha, decision.overlap) if verdict == "inconclusive" and n > 1 else None
    return Finding(verdict, estimate.value, low, high, p, n, label, needed)


def decide_resource(rule: ResourceRule, decision: Decision, sample: Sample) -> Finding:
    """The ratio of medians, its bootstrap interval against the bound."""
    costs, reference = sample.values, sample.reference
    if len(costs) != len(reference) or np.any(costs <= 0) or np.any(reference <= 0):
        raise Unjudgeable("error", f"'{rule.metric}' and '{rule.reference}' must be positive lists of one length")
    ratio, low, high, std = stats.ratio_of_medians(costs, reference, decision.alpha)
    verdict: Verdict = "inconclusive"
    if high <= rule.at_most:
        verdict = "reproduced"
    elif low > rule.at_most:
        verdict = "not reproduced"
    gap = math.log(rule.at_most) - math.log(ratio)
    p = Estimate(gap, std, math.inf).p_above(0.0)
    return Finding(verdict, ratio, low, high, p, len(costs))


Decide = Callable[[Any, Decision, Sample], Finding]
DECIDE: Mapping[type[Rule], Decide] = {
    ExactRule: decide_exact, LevelRule: decide_level, OrderRule: decide_order, EffectRule: decide_effect,
    TrendRule: decide_trend, ResourceRule: decide_resource,
}  # fmt: skip
