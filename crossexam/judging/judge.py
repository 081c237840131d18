"""From rows to verdicts. Each can be recomputed from `paper.toml` and rows alone; nothing here imports torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from crossexam.facts.paper import Claim, Experiment, Paper, Verdict
from crossexam.facts.rules import ExactRule, LevelRule, PairedRule, ResourceRule, Rule, TrendRule
from crossexam.judging import stats
from crossexam.judging.decide import DECIDE, Finding, Sample, State, Unjudgeable, decide_trend
from crossexam.judging.evidence import Source, speaking
from crossexam.judging.stats import NO_HISTORY, Array, History
from crossexam.runs.rows import Row, canonical

Registered = Literal["before", "changed after", "unknown"]


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict, or the health that stands in its way."""

    claim: Claim
    verdict: Verdict | None
    health: State
    cause: str = ""
    findings: tuple[Finding, ...] = ()
    p: float | None = None
    p_holm: float | None = None
    device: str = ""
    seeds: tuple[int, ...] = ()
    registered: Registered = "unknown"
    """Whether its rule, decision and protocol stood before its rows: in that case nothing was fitted to the outcome."""
    rows: tuple[Row, ...] = field(default=(), repr=False, compare=False)
    """The rows of its experiment that it was judged on."""
    source: Source | None = None
    """Whose rows it rests on; None where there are none."""

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
    """The rows that claims are judged on: those of their experiment, one setting, the wanted seeds."""

    experiment: Experiment
    rows: tuple[Row, ...]
    seeds: range
    source: Source | None = None

    def values(self, point: Mapping[str, Any], arm: str, metric: str) -> Array:
        """One value per seed, in seed order. Raises Unjudgeable where one is missing or no single finite number."""
        found = {row.seed: row for row in self._complete(point, arm)}
        return np.array([self._number(found[seed], metric) for seed in self.seeds])

    def lists(self, point: Mapping[str, Any], arm: str, metric: str) -> Array:
        """All values of a metric at a point, lists flattened, over all seeds."""
        found = self._complete(point, arm)
        values = [np.atleast_1d(np.asarray(_metric(row, metric), dtype=float)) for row in found]
        flat = np.concatenate(values)
        if not np.all(np.isfinite(flat)):
            raise Unjudgeable("error", f"metric '{metric}' is not finite")
        return flat

    def _complete(self, point: Mapping[str, Any], arm: str) -> Sequence[Row]:
        """One row a seed. Raises Unjudgeable where one is missing."""
        found = self._by_place.get((arm, canonical(point)), ())
        if (there := len({row.seed for row in found})) < len(self.seeds):
            everything = len(self.experiment.arms) * len(self.experiment.grid()) * len(self.seeds)
            lacking = f"arm '{arm}' has {there} of {len(self.seeds)} seeds"
            raise Unjudgeable(
                "incomplete",
                f"{len(self.rows)} of {everything} trials of '{self.experiment.name}' are there; {lacking}",
            )
        return found

    @functools.cached_property
    def _by_place(self) -> Mapping[tuple[str, str], Sequence[Row]]:
        """Rows by arm and point of the grid."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row.arm, canonical(row.params)), []).append(row)
        return found

    @staticmethod
    def _number(row: Row, metric: str) -> float:
        value = _metric(row, metric)
        if isinstance(value, list):
            raise Unjudgeable("error", f"metric '{metric}' is a list where the rule needs one number a trial")
        if not math.isfinite(value):
            raise Unjudgeable("error", f"metric '{metric}' is {value}")
        return float(value)


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
    committed: Iterable[Row] = (),
    processors: Mapping[str, str] | None = None,
    measured: Collection[tuple[str, int]] = (),
) -> list[Judgement]:
    """Judge all claims of a paper.

    Args:
        rows: the paper's rows of this machine, or of whichever is meant, oldest first; newer ones win.
        subjects: {subject: experiment} of the trials that the claims are about, as the code stands.
        seeds, first_seed: how many seeds per experiment and from which one, where not those of the file.
        setting: {experiment: setting} of this machine, preferred where its rows are complete.
        obstacles: {experiment: what keeps it from running here}, said where it has no rows.
        history: reads a history file that a claim names.
        committed: rows that count where `rows` has none; `evidence` says by which rule.
        processors: {digest of an environment: its processor}.
        measured: (experiment, seed) of all rows that there are, of whatever code.
    """
    own, others = (_by_experiment(paper, some, subjects) for some in (rows, committed))

    @functools.cache
    def evidence(name: str, environments: tuple[str, ...]) -> Evidence:
        """Many claims are judged on the same rows."""
        experiment = paper.experiments[name]
        wanted = experiment.seed_range(seeds, first_seed)
        mine, theirs = (
            [
                row
                for row in some.get(name, [])
                if row.seed in wanted and (not environments or row.device in environments)
            ]
            for some in (own, others)
        )
        trials = len(experiment.arms) * len(experiment.grid()) * len(wanted)
        group = speaking(mine, theirs, trials, (setting or {}).get(name, ""), processors or {})
        if group is None:
            return Evidence(experiment, (), wanted)
        return Evidence(experiment, tuple(group.rows.values()), wanted, group.source)

    @functools.cache
    def absent(name: str) -> tuple[State, str]:
        """Why there are no rows of an experiment, and what to do."""
        obstacle = (obstacles or {}).get(name, "")
        tier = " --tier full" if paper.experiments[name].tier == "full" else ""
        command = f"`crossexam run {paper.slug}{tier} -k {name}`"
        if any((name, seed) in measured for seed in paper.experiments[name].seed_range(seeds, first_seed)):
            return "outdated", f"its rows are of older code: {obstacle or f'{command} measures it again'}"
        return ("blocked", obstacle) if obstacle else ("not run", command)

    judgements = []
    for claim in paper.claims:
        known = evidence(claim.experiment, claim.decision.environments)
        judgement = _judge(claim, known, absent, history)
        stood = registered(claim, paper.series(claim), known.rows)
        judgements.append(replace(judgement, registered=stood, source=known.source, rows=known.rows))
    return _correct(paper, judgements)


def registered(claim: Claim, series: str, rows: Iterable[Row]) -> Registered:
    """Whether a claim stood as it stands (its `series`) when the trials behind these rows began."""
    stood = {row.registered.get(claim.id, "") if row.registered else None for row in rows if row.arm in claim.rule.arms}
    if not stood or None in stood:
        return "unknown"  # rows of an older schema do not say
    return "before" if stood == {series} else "changed after"


def _by_experiment(paper: Paper, rows: Iterable[Row], subjects: Mapping[str, str]) -> dict[str, list[Row]]:
    """Rows of the code as it stands, on the kind of device that their experiment needs."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if subjects.get(row.subject) == row.experiment:
            on_gpu = row.device.startswith("cuda")
            if on_gpu == (paper.experiments[row.experiment].needs.gpu_memory_gib > 0):
                found.setdefault(row.experiment, []).append(row)
    return found


def _judge(
    claim: Claim, evidence: Evidence, absent: Callable[[str], tuple[State, str]],
    history: Callable[[str], Sequence[Row]],
) -> Judgement:  # fmt: skip
    rule = claim.rule
    try:
        if not evidence.rows:
            raise Unjudgeable(*absent(claim.experiment))
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
            sample = Sample(_fitted(rule, evidence, line))
            yield replace(decide_trend(rule, claim.decision, sample), point=_show(rest), at=rest, values=sample.values)
        return
    for point in points:
        sample = _sample(claim, evidence, point, history)
        found = DECIDE[type(rule)](rule, claim.decision, sample)
        values = None if isinstance(rule, ResourceRule) else sample.values
        yield replace(found, point=_show(point), at=point, values=values)


def _show(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.items())


def _sample(
    claim: Claim, evidence: Evidence, point: Mapping[str, Any], history: Callable[[str], Sequence[Row]]
) -> Sample:
    """What a rule wants to know of one point."""
    rule = claim.rule
    if isinstance(rule, ExactRule):
        return Sample(evidence.lists(point, rule.arm, rule.metric))
    if isinstance(rule, ResourceRule):
        costs, reference = (evidence.lists(point, rule.arm, metric) for metric in rule.metrics)
        return Sample(costs, reference)
    if isinstance(rule, PairedRule):
        method, baseline = (evidence.values(point, arm, rule.metric) for arm in rule.arms)
        return Sample(method - baseline if rule.higher_is_better else baseline - method)
    known = _history(claim, evidence, point, history) if isinstance(rule, LevelRule) else NO_HISTORY
    return Sample(evidence.values(point, rule.arms[0], rule.metric), history=known)


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
