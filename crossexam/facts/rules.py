"""The rules that a claim may be decided by, as plain data. How each is decided is in `judge.py`.

Every rule looks at one metric of one experiment. `at` selects points of the experiment's parameter grid; a rule holds
only if it holds at *every* selected point (an intersection-union test, so that no correction is needed for them).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from crossexam.facts.problems import Flaw, Validated

Params = Mapping[str, Any]

ROUNDING = 1 + 1e-9
"""Half of 97.8 - 97.0 is 0.4 to those who wrote it, and a little less in floating point."""


@dataclass(frozen=True)
class Rule(Validated):
    """What all rules share: the metric that is looked at, and where in the parameter grid."""

    kind: ClassVar[str] = ""
    statistical: ClassVar[bool] = True
    """Whether the rule needs several seeds; then its p-value enters Holm's correction within the paper."""

    metric: str = field(kw_only=True)
    """What the experiment returns under this name."""
    at: Params = field(default_factory=dict, kw_only=True)
    """Points of the parameter grid: a value or several for a parameter. What it does not name, it does not restrict."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms whose rows this rule needs."""
        raise TypeError(f"{type(self).__name__} names no arms")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose values this rule needs."""
        return (self.metric,)


@dataclass(frozen=True)
class Bounded(Rule):
    """A rule that holds a value against `at_most`, `at_least`, or a `target`."""

    at_most: float | None = None
    """Upper bound."""
    at_least: float | None = None
    """Lower bound."""
    target: float | None = None
    """The value itself, within a tolerance or margin."""

    def flaws(self) -> Iterator[Flaw]:
        given = [name for name in ("at_most", "at_least", "target") if getattr(self, name) is not None]
        if not given:
            yield Flaw("", "has no bound", "give at_most, at_least or target")
        if "target" in given and len(given) > 1:
            yield Flaw("target", "stands beside at_most or at_least", "give either a target or bounds")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            yield Flaw("at_least", "is larger than at_most", "swap them")


@dataclass(frozen=True)
class ExactRule(Bounded):
    """`metric <= at_most`, `>= at_least`, or `|metric - target| <= atol + rtol |target|`, in every trial.

    The metric is already the worst case over the inputs that the experiment drew; nothing is averaged.
    """

    kind: ClassVar[str] = "exact"
    statistical: ClassVar[bool] = False
    arm: str = "method"
    """The arm that is looked at."""
    atol: float = 0.0
    """Absolute tolerance about the target."""
    rtol: float = 0.0
    """Tolerance relative to the target."""

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    def flaws(self) -> Iterator[Flaw]:
        yield from super().flaws()
        if self.target is None and (self.atol or self.rtol):
            yield Flaw("atol", "means nothing without a target", "give the target, or remove atol and rtol")
        if self.atol < 0 or self.rtol < 0:
            yield Flaw("atol", "is negative", "tolerances are >= 0")


SpreadKind = Literal["std", "stderr", "ci95", "iqr", "unknown"]


def standard_deviation(spread: float, kind: SpreadKind, runs: int) -> float:
    """A printed spread as a standard deviation. One of unknown meaning counts as one: the wider reading."""
    if kind == "stderr":
        return spread * math.sqrt(runs)
    if kind == "ci95":
        return spread * math.sqrt(runs) / 1.96
    if kind == "iqr":
        return spread / 1.349
    return spread


@dataclass(frozen=True)
class LevelRule(Rule):
    """A reported number within tolerance, by an equivalence test (TOST) with a margin fixed beforehand.

    `margin` may be at most half the paper's own gain, `|reported - reported_baseline| / 2`: a wider one could not
    tell the method from its baseline, and is refused.
    """

    kind: ClassVar[str] = "level"
    reported: float
    """The number of the paper."""
    reported_baseline: float
    """The number that the paper compares it with."""
    margin: float
    """How far off still counts as equal, or by how much the method must be better; fixed before the first run."""
    margin_reason: str
    """Why that margin."""
    arm: str = "method"
    higher_is_better: bool = True
    """Direction of the metric."""
    spread: float | None = None
    """The spread that the paper prints, if it does."""
    spread_kind: SpreadKind = "unknown"
    """What the printed spread is."""
    runs: int = 1
    """Runs behind the printed number (1 if unstated)."""
    statistic: Literal["mean", "median"] = "mean"
    """What the paper prints of its runs."""
    quantum: float = 0.0
    """The smallest step that the metric can make (1 / number of test examples): a floor under its uncertainty."""

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    @property
    def reported_std(self) -> float | None:
        """The paper's own standard deviation over runs, or None where it prints none."""
        return None if self.spread is None else standard_deviation(self.spread, self.spread_kind, self.runs)

    def flaws(self) -> Iterator[Flaw]:
        half_gain = abs(self.reported - self.reported_baseline) / 2
        if self.margin <= 0:
            yield Flaw("margin", "is not positive", "an equivalence test needs a margin > 0")
        elif self.margin > half_gain * ROUNDING:
            yield Flaw(
                "margin",
                f"{self.margin:g} is wider than half the paper's own gain ({half_gain:g}): non-discriminating",
                "narrow it, or state the claim as an order or an effect",
            )
        yield from reason_flaws(self.margin, self.margin_reason)
        if self.runs < 1:
            yield Flaw("runs", "is below 1", "give the number of runs behind the reported number (1 if unstated)")


@dataclass(frozen=True)
class PairedRule(Rule):
    """A rule about the difference between two arms, paired over seeds."""

    baseline: str = field(kw_only=True)
    """The arm that must be beaten."""
    method: str = field(default="method", kw_only=True)
    """The arm that must win."""
    higher_is_better: bool = field(default=True, kw_only=True)
    quantum: float = field(default=0.0, kw_only=True)

    @property
    def lenient(self) -> bool:
        """Whether it asks only that the method is not much worse, which holds of an arm and itself."""
        return False

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.method, self.baseline)

    def flaws(self) -> Iterator[Flaw]:
        if self.method == self.baseline:
            yield Flaw("baseline", "is the method itself", "name another arm")


@dataclass(frozen=True)
class OrderRule(PairedRule):
    """The method beats the baseline by more than `margin`, paired over seeds."""

    kind: ClassVar[str] = "order"
    margin: float = 0.0
    margin_reason: str = ""

    @property
    def lenient(self) -> bool:
        return self.margin < 0

    def flaws(self) -> Iterator[Flaw]:
        yield from super().flaws()
        yield from reason_flaws(self.margin, self.margin_reason)


@dataclass(frozen=True)
class EffectRule(PairedRule):
    """How much of the reported gain was recovered: TOST of the paired difference against the paper's difference."""

    kind: ClassVar[str] = "effect"
    reported_method: float
    """The method's number in the paper."""
    reported_baseline: float
    margin: float
    margin_reason: str
    spread: float | None = None
    spread_kind: SpreadKind = "unknown"
    runs: int = 1

    @property
    def gain(self) -> float:
        """The paper's gain, signed so that up is better."""
        difference = self.reported_method - self.reported_baseline
        return difference if self.higher_is_better else -difference

    @property
    def reported_std(self) -> float | None:
        """The paper's standard deviation of one arm over runs, or None where it prints none."""
        return None if self.spread is None else standard_deviation(self.spread, self.spread_kind, self.runs)

    def flaws(self) -> Iterator[Flaw]:
        yield from super().flaws()
        if self.gain <= 0:
            yield Flaw("reported_method", "shows no gain over reported_baseline", "check higher_is_better")
        elif not 0 < self.margin <= self.gain / 2 * ROUNDING:
            yield Flaw(
                "margin",
                f"{self.margin:g} is not within (0, {self.gain / 2:g}], half the paper's gain: non-discriminating",
                "narrow it",
            )
        yield from reason_flaws(self.margin, self.margin_reason)


@dataclass(frozen=True)
class TrendRule(Bounded):
    """A fitted statistic with its interval over seeds, held against a bound or a target.

    `fit` says how the statistic of one seed comes about: the `slope` of metric against the parameter `over`, the
    `exponent` (the slope on log-log axes), the rank correlation `spearman`, or `given`: the metric is the statistic.
    """

    kind: ClassVar[str] = "trend"
    fit: Literal["slope", "exponent", "spearman", "given"] = field(kw_only=True)
    """How one statistic per seed comes about."""
    over: str = ""
    """The parameter that is fitted over."""
    arm: str = "method"
    margin: float = 0.0
    margin_reason: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    def flaws(self) -> Iterator[Flaw]:
        yield from super().flaws()
        if (self.fit == "given") == bool(self.over):
            yield Flaw("over", "must name a parameter, except where fit is 'given'", "add or remove `over`")
        if self.target is not None and self.margin <= 0:
            yield Flaw("margin", "is missing beside a target", "give margin and margin_reason")
        if self.target is None and self.margin:
            yield Flaw("margin", "means nothing without a target", "remove it")
        yield from reason_flaws(self.margin, self.margin_reason)


@dataclass(frozen=True)
class ResourceRule(Rule):
    """The ratio of two costs (time, peak memory) from interleaved rounds.

    The experiment measures both in turn and returns two lists of equal length: `metric` (the method's costs) and
    `reference` (the baseline's). Trials of several seeds are fresh processes; their rounds are pooled.
    """

    kind: ClassVar[str] = "resource"
    reference: str
    """The metric with the costs of what is compared with."""
    at_most: float
    """The largest ratio."""
    arm: str = "method"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric, self.reference)

    def flaws(self) -> Iterator[Flaw]:
        if self.at_most <= 0:
            yield Flaw("at_most", "is not positive", "a ratio of costs is > 0")


def reason_flaws(margin: float, reason: str) -> Iterator[Flaw]:
    """A margin without its reason is a margin that could have been picked after the run."""
    if margin and not reason.strip():
        yield Flaw("margin_reason", "is missing", "say why this margin, before the first run")


RULES: dict[str, type[Rule]] = {
    rule.kind: rule for rule in (ExactRule, LevelRule, OrderRule, EffectRule, TrendRule, ResourceRule)
}
