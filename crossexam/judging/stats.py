"""The statistics behind verdicts."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crossexam.judging.student import t_quantile, t_tail

Array = npt.NDArray[np.float64]
HISTORY_CAP = 20
"""Most degrees of freedom that a reference history may bring: the present run must keep a say."""
MEDIAN_COST = math.pi / 2
"""Variance of a median over that of a mean, for normal values and many of them."""


@dataclass(frozen=True)
class History:
    """A spread known from other seeds of the same experiment: standard deviation and degrees of freedom."""

    std: float = 0.0
    df: int = 0

    @staticmethod
    def of(values: Sequence[float]) -> History:
        """The history that a list of earlier values amounts to."""
        if len(values) < 2:
            return History()
        return History(float(np.std(values, ddof=1)), min(len(values) - 1, HISTORY_CAP))


NO_HISTORY = History()


@dataclass(frozen=True)
class Spread:
    """A pooled variance and its degrees of freedom."""

    variance: float
    df: float


def pooled(values: Array, history: History = NO_HISTORY) -> Spread:
    """Moderated variance (Smyth 2004): this run's and the history's, weighted by degrees of freedom."""
    own = len(values) - 1
    df = own + history.df
    if df == 0:
        return Spread(math.nan, 0)
    squares = float(np.var(values, ddof=1)) * own if own else 0.0
    return Spread((history.df * history.std**2 + squares) / df, df)


def welch_df(terms: Sequence[tuple[float, float]]) -> float:
    """Welch-Satterthwaite degrees of freedom of a sum of independent variances, given as (variance, df)."""
    total = sum(variance for variance, _ in terms)
    below = sum(variance**2 / df for variance, df in terms if math.isfinite(df))
    return total**2 / below if below > 0 else math.inf


@dataclass(frozen=True)
class Estimate:
    """An estimate with its standard error, both after any floor."""

    value: float
    error: float
    df: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """The 1 - 2 alpha interval: each end has an error of alpha."""
        reach = t_quantile(1 - alpha, self.df) * self.error
        return self.value - reach, self.value + reach

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the true value is above `bound`"."""
        if self.error == 0:
            return 0.0 if self.value > bound else 1.0
        return t_tail((self.value - bound) / self.error, self.df)

    def p_within(self, margin: float, centre: float = 0.0) -> float:
        """TOST p-value of "the true value is within `margin` of `centre`"."""
        return max(self.p_above(centre - margin), Estimate(-self.value, self.error, self.df).p_above(-centre - margin))


def mean(values: Array, quantum: float = 0.0, overlap: float = 0.0) -> Estimate:
    """The mean of one value per seed. `quantum` is a floor under its standard error.

    With seeds that are random splits of one table, `overlap` = test rows / training rows (Nadeau & Bengio 2003).
    """
    n = len(values)
    error = float(np.std(values, ddof=1)) * math.sqrt(1 / n + overlap) if n > 1 else math.inf
    return Estimate(float(np.mean(values)), max(error, quantum), max(n - 1, 1))


def level(
    values: Array,
    reported: float,
    *,
    runs: int = 1,
    reported_std: float | None = None,
    history: History = NO_HISTORY,
    quantum: float = 0.0,
    statistic: str = "mean",
) -> Estimate:
    """Our statistic minus the reported one, with the uncertainty of both (ANCHORS 3.1).

    Where the paper prints no spread, ours stands in for it; then both sides share one variance and its df.
    """
    n, spread = len(values), pooled(values, history)
    cost = MEDIAN_COST if statistic == "median" and n > 2 else 1.0
    centre = float(median(values) if statistic == "median" else np.mean(values))
    if spread.df == 0:
        return Estimate(centre - reported, math.inf, 1)
    ours = cost * spread.variance / n
    if reported_std is None:
        error, df = math.sqrt(ours + cost * spread.variance / runs), spread.df
    else:
        theirs = cost * reported_std**2 / runs
        error = math.sqrt(ours + theirs)
        df = welch_df([(ours, spread.df), (theirs, runs - 1 if runs > 1 else math.inf)]) if error else spread.df
    return Estimate(centre - reported, max(error, quantum), df)


def sign_flip(differences: Array) -> float:
    """Exact one-sided sign-flip p-value of "the mean difference is positive": the share of all 2^n flips.

    The sum of a flip is one of a flip of the first half plus one of the second, so that sorting 2^(n/2) sums does. Of
    more than 40 differences it is estimated from 2^16 flips.
    """
    n = len(differences)
    observed = float(np.sum(differences))
    bound = observed - 1e-12 * float(np.sum(np.abs(differences)))  # an equal sum may come out a rounding lower
    if n > 40:  # the observed one is counted in
        signs = np.random.default_rng(0).integers(0, 2, size=(1 << 16, n)) * 2 - 1
        return float((np.sum(signs @ differences >= bound) + 1) / ((1 << 16) + 1))
    first, second = _flipped_sums(differences[: n // 2]), np.sort(_flipped_sums(differences[n // 2 :]))
    at_least = np.sum(len(second) - np.searchsorted(second, bound - first))
    return float(at_least) / (1 << n)


def _flipped_sums(values: Array) -> Array:
    """The sums of `values` with every choice of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


@functools.cache
def _resamples(n: int) -> npt.NDArray[np.int64]:
    """The bootstrap's 2000 draws of n out of n, the same in every process: a verdict must not move by itself."""
    return np.random.default_rng(0).integers(0, n, size=(2000, n))


def probability_of_superiority(differences: Array, alpha: float = 0.05) -> tuple[float, float, float]:
    """P(method > baseline) over paired seeds, ties counted half, with a percentile bootstrap interval."""
    wins = (differences > 0) + 0.5 * (differences == 0)
    low, high = np.quantile(wins[_resamples(len(wins))].mean(axis=1), [alpha / 2, 1 - alpha / 2])
    return float(wins.mean()), float(low), float(high)


def seeds_needed(std: float, distance: float, alpha: float, overlap: float = 0.0, power: float = 0.8) -> float:
    """Seeds for a paired or one-sample test to decide at that distance from the margin; infinite where none would."""
    if distance <= 0:
        return math.inf
    if std == 0:
        return 2.0
    reach = t_quantile(1 - alpha, math.inf) + t_quantile(power, math.inf)
    per_seed = (distance / (reach * std)) ** 2 - overlap  # the 1/k that must be reached
    return max(2.0, math.ceil(1 / per_seed + 1)) if per_seed > 0 else math.inf  # + 1: t of few seeds is wider


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def ratio_of_medians(costs: Array, reference: Array, alpha: float) -> tuple[float, float, float, float]:
    """Ratio of medians with its bootstrap interval over rounds, resampled in pairs, and the std of its log."""
    picks = _resamples(len(costs))
    logs = np.log(median(costs[picks])) - np.log(median(reference[picks]))
    low, high = np.exp(np.quantile(logs, [alpha, 1 - alpha]))
    return float(median(costs) / median(reference)), float(low), float(high), float(np.std(logs))


def median(values: Array) -> Array:
    """The median along the last axis. NumPy's own imports masked arrays to look for NaN, which judging has refused."""
    low, high = (values.shape[-1] - 1) // 2, values.shape[-1] // 2
    parts = np.partition(values, [low, high], axis=-1)
    return np.asarray((parts[..., low] + parts[..., high]) / 2)


def slope(x: Array, y: Array) -> float:
    """Least-squares slope of y against x."""
    centred = x - x.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


def spearman(x: Array, y: Array) -> float:
    """Rank correlation, ties by mean rank; 0 where one side is constant."""
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else 0.0


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse].astype(np.float64)
