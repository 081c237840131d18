"""From rows to verdicts. Each can be recomputed from `paper.toml` and rows alone; nothing here imports torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from crossexam.facts.paper import Claim, Decision, Experiment, Paper, Verdict
from crossexam.facts.rules import (
    EffectRule,
    ExactRule,
    LevelRule,
    OrderRule,
    PairedRule,
    ResourceRule,
    Rule,
    TrendRule,
)
from crossexam.judging import stats
from crossexam.judging.stats import NO_HISTORY, Array, Estimate, History
from crossexam.judging.student import t_quantile
from crossexam.runs.rows import Health, Row, canonical


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


Registered = Literal["before", "changed after", "unknown"]


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict, or the health that stands in its way."""

    claim: Claim
    verdict: Verdict | None
    health: Health
    cause: str = ""
    findings: tuple[Finding, ...] = ()
    p: float | None = None
    p_holm: float | None = None
    device: str = ""
    seeds: tuple[int, ...] = ()
    registered: Registered = "unknown"
    """Whether its rule, decision and protocol stood before its rows: in that case nothing was fitted to the outcome."""

    @property
    def as_expected(self) -> bool | None:
        """Whether the verdict is the one that the file expects; None without a verdict."""
        return None if self.verdict is None else self.verdict == self.claim.expected

    @property
    def decisive(self) -> Finding | None:
        """The point that decides: the worst one."""
        rank = {"not reproduced": 0, "inconclusive": 1, "reproduced": 2}
        worst = (rank[finding.verdict] for finding in self.findings)
        lowest = min(worst, default=None)
        candidates = [finding for finding in self.findings if rank[finding.verdict] == lowest]
        rule = self.claim.rule
        floor = isinstance(rule, ExactRule) and rule.at_least is not None and rule.at_most is None

        def strain(finding: Finding) -> float:
            if finding.p is not None:
                return finding.p
            return -finding.estimate if floor else abs(finding.estimate)

        return max(candidates, key=strain, default=None)


@dataclass(frozen=True)
class Evidence:
    """The rows that a claim is judged on: those of its experiment, one setting, the wanted seeds."""

    experiment: Experiment
    rows: tuple[Row, ...]
    seeds: range

    def values(self, point: Mapping[str, Any], arm: str, metric: str) -> Array:
        """One value per seed, in seed order. Raises Unjudgeable where one is missing or no single finite number."""
        found = {row.seed: row for row in self.rows if row.arm == arm and canonical(row.params) == canonical(point)}
        return np.array([self._number(found.get(seed), arm, seed, metric) for seed in self.seeds])

    def lists(self, point: Mapping[str, Any], arm: str, metric: str) -> Array:
        """All values of a metric at a point, lists flattened, over all seeds."""
        found = [row for row in self.rows if row.arm == arm and canonical(row.params) == canonical(point)]
        values = [np.atleast_1d(np.asarray(_metric(row, metric), dtype=float)) for row in found]
        if (missing := len(self.seeds) - len(found)) > 0:
            raise Unjudgeable("error", f"{missing} of {len(self.seeds)} seeds are missing for arm '{arm}'")
        flat = np.concatenate(values)
        if not np.all(np.isfinite(flat)):
            raise Unjudgeable("error", f"metric '{metric}' is not finite")
        return flat

    @staticmethod
    def _number(row: Row | None, arm: str, seed: int, metric: str) -> float:
        if row is None:
            raise Unjudgeable("error", f"no row for arm '{arm}', seed {seed}")
        value = _metric(row, metric)
        if isinstance(value, list):
            raise Unjudgeable("error", f"metric '{metric}' is a list where the rule needs one number a trial")
        if not math.isfinite(value):
            raise Unjudgeable("error", f"metric '{metric}' is {value}")
        return float(value)


class Unjudgeable(Exception):
    """Rows that cannot be judged: a health, never a verdict."""

    def __init__(self, health: Health, cause: str) -> None:
        super().__init__(cause)
        self.health: Health = health
        self.cause = cause


def _metric(row: Row, metric: str) -> float | list[float]:
    if metric not in row.metrics:
        raise Unjudgeable(
            "error", f"'{row.experiment}' returned no metric '{metric}' (it returned: {', '.join(sorted(row.metrics))})"
        )
    return row.metrics[metric]


def judge_paper(
    paper: Paper,
    rows: Iterable[Row],
    subjects: Mapping[str, str],
    *,
    seeds: int | None = None,
    first_seed: int | None = None,
    setting: Mapping[str, str] | None = None,
    obstacles: Mapping[str, str] | None = None,
    history: Callable[[str], Sequence[Row]] = lambda file: (),
) -> list[Judgement]:
    """Judge all claims of a paper.

    Args:
        rows: the paper's rows, oldest first; newer ones win.
        subjects: {subject: experiment} of the trials that the claims are about, as the code stands.
        seeds, first_seed: how many seeds per experiment and from which one, where not those of the file.
        setting: {experiment: setting} of this machine, preferred where its rows are complete.
        obstacles: {experiment: what keeps it from running here}, said where it has no rows.
        history: reads a history file that a claim names.
    """
    by_experiment: dict[str, list[Row]] = {}
    for row in rows:
        if subjects.get(row.subject) == row.experiment:
            by_experiment.setdefault(row.experiment, []).append(row)
    judgements = []
    for claim in paper.claims:
        experiment = paper.experiments[claim.experiment]
        wanted = experiment.seed_range(seeds, first_seed)
        found = [row for row in by_experiment.get(experiment.name, []) if row.seed in wanted]
        chosen = _one_setting(found, (setting or {}).get(experiment.name, ""), claim)
        absent = (obstacles or {}).get(experiment.name) or "not run yet"
        judgement = _judge(claim, Evidence(experiment, chosen, wanted), absent, history)
        judgements.append(replace(judgement, registered=registered(claim, paper.series(claim), chosen)))
    return _correct(paper, judgements)


def registered(claim: Claim, series: str, rows: Iterable[Row]) -> Registered:
    """Whether a claim stood as it stands (its `series`) when the trials behind these rows began."""
    stood = {row.registered.get(claim.id, "") if row.registered else None for row in rows if row.arm in claim.rule.arms}
    if not stood or None in stood:
        return "unknown"  # rows of an older schema do not say
    return "before" if stood == {series} else "changed after"


def _one_setting(rows: Sequence[Row], preferred: str, claim: Claim) -> tuple[Row, ...]:
    """The newest row of each trial, all of one setting: machines and versions are never mixed within a claim."""
    allowed = claim.decision.environments
    newest: dict[str, dict[str, Row]] = {}
    for row in rows:
        if not allowed or row.device in allowed:
            trials = newest.setdefault(row.setting, {})
            old = trials.get(row.subject)
            if old is None or row.health == "done" or old.health != "done":
                trials[row.subject] = row
    complete = Counter({key: sum(row.health == "done" for row in trials.values()) for key, trials in newest.items()})
    if not newest:
        return ()
    best = max(newest, key=lambda key: (complete[key], key == preferred))
    return tuple(newest[best].values())


def _judge(claim: Claim, evidence: Evidence, absent: str, history: Callable[[str], Sequence[Row]]) -> Judgement:
    rule = claim.rule
    try:
        if not evidence.rows:
            raise Unjudgeable("blocked", absent)
        used = [row for row in evidence.rows if row.arm in rule.arms]
        ill = [row for row in used if row.health != "done" and _selected(rule, row.params)]
        if ill:
            raise Unjudgeable(ill[0].health, f"{ill[0].arm}, seed {ill[0].seed}: {ill[0].cause}")
        findings = tuple(_decide(claim, evidence, history))
    except Unjudgeable as reason:
        return Judgement(claim, None, reason.health, reason.cause)
    verdicts = {finding.verdict for finding in findings}
    verdict: Verdict = "inconclusive"
    if verdicts == {"reproduced"}:
        verdict = "reproduced"
    elif "not reproduced" in verdicts:
        verdict = "not reproduced"
    p_values = [finding.p for finding in findings if finding.p is not None]
    p = max(p_values) if p_values else None
    seeds, device = tuple(evidence.seeds), evidence.rows[0].device
    return Judgement(claim, verdict, "done", findings=findings, p=p, device=device, seeds=seeds)


def _correct(paper: Paper, judgements: list[Judgement]) -> list[Judgement]:
    """Holm within the paper: a claim that passes only by itself is inconclusive.

    A family is what is run together: the statistical claims of one tier on one kind of device. Its size is that of the
    file, claims without rows counted with p = 1, so that a verdict does not depend on what else has been run.
    """
    families: dict[tuple[str, bool], list[int]] = {}
    for index, judgement in enumerate(judgements):
        experiment = paper.experiments[judgement.claim.experiment]
        if judgement.claim.rule.statistical:
            families.setdefault((experiment.tier, experiment.needs.gpu_memory_gib > 0), []).append(index)
    corrected = list(judgements)
    for family in families.values():
        p_values = [1.0 if (p := judgements[index].p) is None else p for index in family]
        for index, p_holm in zip(family, stats.holm(p_values), strict=True):
            if judgements[index].p is not None:
                corrected[index] = _after_holm(judgements[index], p_holm, len(family))
    return corrected


def _after_holm(judgement: Judgement, p_holm: float, claims: int) -> Judgement:
    if judgement.verdict == "reproduced" and p_holm > judgement.claim.decision.alpha:
        reason = f"passes alone, not after Holm's correction over {claims} claims (p = {p_holm:.3f})"
        findings = tuple(replace(finding, label=reason) for finding in judgement.findings)
        return replace(judgement, verdict="inconclusive", findings=findings, p_holm=p_holm)
    return replace(judgement, p_holm=p_holm)


def _selected(rule: Rule, point: Mapping[str, Any]) -> bool:
    """Whether `at` selects a point of the grid. What it does not name, it does not restrict."""
    return all(point[name] in (value if isinstance(value, list) else [value]) for name, value in rule.at.items())


def _decide(claim: Claim, evidence: Evidence, history: Callable[[str], Sequence[Row]]) -> Iterable[Finding]:
    """One finding per selected point of the grid (per line of points along `over`, for a trend)."""
    rule, points = claim.rule, [point for point in evidence.experiment.grid() if _selected(claim.rule, point)]
    if isinstance(rule, TrendRule) and rule.over:
        lines: dict[str, list[dict[str, Any]]] = {}
        for point in points:
            lines.setdefault(canonical({k: v for k, v in point.items() if k != rule.over}), []).append(point)
        for line in lines.values():
            rest = {name: value for name, value in line[0].items() if name != rule.over}
            yield replace(_trend(claim, rule, _fitted(rule, evidence, line)), point=_show(rest))
        return
    for point in points:
        yield replace(_decide_at(claim, evidence, point, history), point=_show(point))


def _show(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.items())


def _decide_at(
    claim: Claim, evidence: Evidence, point: Mapping[str, Any], history: Callable[[str], Sequence[Row]]
) -> Finding:
    rule = claim.rule
    if isinstance(rule, ExactRule):
        return _exact(rule, evidence.lists(point, rule.arm, rule.metric))
    if isinstance(rule, ResourceRule):
        costs = (evidence.lists(point, rule.arm, metric) for metric in rule.metrics)
        return _resource(claim, rule, *costs)
    if isinstance(rule, LevelRule):
        known = _history(claim, evidence, point, history)
        return decide_level(
            rule, claim.decision.alpha, claim.decision.n_min, evidence.values(point, rule.arm, rule.metric), known
        )
    if isinstance(rule, TrendRule):
        return _trend(claim, rule, evidence.values(point, rule.arm, rule.metric))
    assert isinstance(rule, PairedRule)
    sign = 1.0 if rule.higher_is_better else -1.0
    method, baseline = (evidence.values(point, arm, rule.metric) for arm in rule.arms)
    differences = sign * (method - baseline)
    if isinstance(rule, OrderRule):
        return decide_order(rule, claim.decision, differences)
    assert isinstance(rule, EffectRule)
    return decide_effect(rule, claim.decision.alpha, claim.decision.n_min, differences)


def _history(
    claim: Claim, evidence: Evidence, point: Mapping[str, Any], read: Callable[[str], Sequence[Row]]
) -> History:
    """The spread of the same measurement under other seeds, from the file that the claim names."""
    if not claim.decision.history:
        return NO_HISTORY
    rule = claim.rule
    values = [
        row.metrics[rule.metric]
        for row in read(claim.decision.history)
        if row.experiment == evidence.experiment.name and row.arm in rule.arms and row.health == "done"
        and canonical(row.params) == canonical(point) and row.seed not in evidence.seeds
    ]  # fmt: skip
    return History.of([value for value in values if isinstance(value, float | int)])


def _exact(rule: ExactRule, values: Array) -> Finding:
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


def decide_level(rule: LevelRule, alpha: float, n_min: int, values: Array, history: History = NO_HISTORY) -> Finding:
    """Equivalence with the reported number (ANCHORS 3.1)."""
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


def decide_order(rule: OrderRule, decision: Decision, differences: Array) -> Finding:
    """The method beats the baseline by more than the margin: t-interval and exact sign-flip test (ANCHORS 3.2)."""
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


def decide_effect(rule: EffectRule, alpha: float, n_min: int, differences: Array) -> Finding:
    """How much of the reported gain was recovered (ANCHORS 3.3). The label says it in percent."""
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


def _fitted(rule: TrendRule, evidence: Evidence, line: Sequence[Mapping[str, Any]]) -> Array:
    """The fitted statistic of each seed along a line of the grid."""
    x = np.array([float(point[rule.over]) for point in line])
    curves = np.stack([evidence.values(point, rule.arm, rule.metric) for point in line], axis=1)
    if rule.fit == "exponent":
        if np.any(curves <= 0) or np.any(x <= 0):
            raise Unjudgeable("error", f"an exponent needs positive values of '{rule.metric}' and '{rule.over}'")
        x, curves = np.log(x), np.log(curves)
    fit = stats.spearman if rule.fit == "spearman" else stats.slope
    return np.array([fit(x, curve) for curve in curves])


def _trend(claim: Claim, rule: TrendRule, values: Array) -> Finding:
    """A statistic per seed, its t-interval against the bound."""
    alpha, n = claim.decision.alpha, len(values)
    estimate = stats.mean(values, overlap=claim.decision.overlap)
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
    if n < claim.decision.n_min:
        verdict, label = "inconclusive", f"{n} seeds, {claim.decision.n_min} are needed"
    std = float(np.std(values, ddof=1)) if n > 1 else math.nan
    needed = (
        stats.seeds_needed(std, distance, alpha, claim.decision.overlap)
        if verdict == "inconclusive" and n > 1
        else None
    )
    return Finding(verdict, estimate.value, low, high, p, n, label, needed)


def _resource(claim: Claim, rule: ResourceRule, costs: Array, reference: Array) -> Finding:
    """The ratio of medians, its bootstrap interval against the bound (ANCHORS 3.4)."""
    if len(costs) != len(reference) or np.any(costs <= 0) or np.any(reference <= 0):
        raise Unjudgeable("error", f"'{rule.metric}' and '{rule.reference}' must be positive lists of one length")
    ratio, low, high, std = stats.ratio_of_medians(costs, reference, claim.decision.alpha)
    verdict: Verdict = "inconclusive"
    if high <= rule.at_most:
        verdict = "reproduced"
    elif low > rule.at_most:
        verdict = "not reproduced"
    gap = math.log(rule.at_most) - math.log(ratio)
    p = Estimate(gap, std, math.inf).p_above(0.0)
    return Finding(verdict, ratio, low, high, p, len(costs))
