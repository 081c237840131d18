r"""PMCSF (Jiang, arXiv:2512.01354): text with human flaws, and the statistics by which the paper judges it.

The encoder that writes such text is a closed prompt; what its appendices define is here:

    JSD(P, Q) = H((P + Q) / 2) - (H(P) + H(Q)) / 2 of two histograms;    CV = sigma / mu of sentence lengths
    GJR-GARCH(1, 1):  h_t = omega + (alpha + alpha_minus 1[e_{t-1} < 0]) e_{t-1}^2 + beta h_{t-1},  e_t = sqrt(h_t) z_t,
        covariance-stationary iff alpha + alpha_minus / 2 + beta < 1 (symmetric z)
    decay:  ln E_{t+T} = b_0 + b_1 ln T + b_2 ln E_t, alpha = -b_1
    r, ICC, Welch's t, Shapiro and Wilk's W, and their p-values

and both perturbations that can be named without the prompt: sentence lengths that oscillate as much as human ones, and
rare words at random. `spread` says how far a statistic of rounded numbers can be from the printed one: a recomputed
value differs from print only if no numbers that round to the printed ones give it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Kind = Literal["one-way", "agreement", "consistency"]

# Rounding.


def spread(statistic: Callable[[Floats], float], values: npt.ArrayLike, errors: npt.ArrayLike) -> tuple[float, float]:
    """The least and largest statistic of numbers that are off by up to `errors`, which broadcast.

    Up to 10 numbers: over all corners; more: to first order. Both are exact where the statistic is linear, and corners
    where it is monotone in each number.
    """
    x = np.asarray(values, dtype=float).ravel()
    off = np.broadcast_to(np.asarray(errors, dtype=float), np.shape(values)).ravel()
    if (off < 0).any():
        raise ValueError("errors must be at least 0")
    if len(x) <= 10:
        found = [statistic(x + off * signs) for signs in itertools.product((-1, 1), repeat=len(x))]
        return min(found), max(found)
    middle, reach = statistic(x), 0.0
    for place in range(len(x)):
        step = np.zeros_like(x)
        step[place] = off[place]
        reach += abs(statistic(x + step) - statistic(x - step)) / 2
    return middle - reach, middle + reach


def differs(printed: float, unit: float, found: tuple[float, float]) -> bool:
    """Whether no number of an interval rounds to what is printed with a last digit worth `unit`."""
    slack = 1e-9 * max(unit, abs(printed))
    return found[1] < printed - unit / 2 - slack or found[0] > printed + unit / 2 + slack


# Distances of style.


def entropy(p: npt.ArrayLike) -> float:
    """-sum p ln p, in nats, of weights p that are brought to a sum of 1. Raises ValueError for what are no weights."""
    w = np.asarray(p, dtype=float)
    if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise ValueError("weights must be finite, at least 0 and not all 0, in one dimension")
    w = w[w > 0] / w.sum()
    return float(-(w * np.log(w)).sum())


def jensen_shannon(p: npt.ArrayLike, q: npt.ArrayLike, *, base: float = math.e) -> float:
    """JSD of two histograms over the same bins, between 0 and log 2. Its root is a metric."""
    a, b = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"both must have the same bins, got {a.shape} and {b.shape}")
    parts = (entropy(a) + entropy(b)) / 2
    return max(0.0, entropy(a / a.sum() + b / b.sum()) - parts) / math.log(base)


def histogram(lengths: npt.ArrayLike, bins: Sequence[float]) -> npt.NDArray[np.int64]:
    """How many lie in each bin, the last of which takes all that is larger. Raises ValueError for what lies below."""
    x = np.asarray(lengths, dtype=float)
    if (x < bins[0]).any() or np.isnan(x).any():
        raise ValueError(f"lengths must be at least {bins[0]}")
    return np.bincount(np.searchsorted(bins, x, side="right") - 1, minlength=len(bins))


def jsd_floor(bins: int, first: int, second: int) -> float:
    """(K - 1) / 8 (1/n + 1/m): the mean JSD in nats of two samples of one distribution, to first order."""
    return (bins - 1) / 8 * (1 / first + 1 / second)


def coefficient_of_variation(values: npt.ArrayLike) -> float:
    """sigma / mu with n in the denominator. Raises ValueError without values, or for a mean that is not positive."""
    x = np.asarray(values, dtype=float)
    if not x.size or not x.mean() > 0:
        raise ValueError("values must have a positive mean")
    return float(x.std() / x.mean())


# Volatility and decay.


class Garch(NamedTuple):
    """GJR-GARCH(1, 1)."""

    omega: float
    alpha: float
    alpha_minus: float
    beta: float

    @property
    def persistence(self) -> float:
        """alpha + alpha_minus / 2 + beta: below 1 the variance has a limit."""
        return self.alpha + self.alpha_minus / 2 + self.beta

    @property
    def variance(self) -> float:
        """The variance in the long run, infinite where it has none."""
        return self.omega / (1 - self.persistence) if self.persistence < 1 else math.inf

    def variances(self, innovations: npt.ArrayLike, start: float) -> Floats:
        """h_0 = `start`, h_1, ... (T + 1,) of standardised innovations z (T,)."""
        z = np.asarray(innovations, dtype=float)
        if start <= 0 or self.omega <= 0 or min(self[1:]) < 0:
            raise ValueError("variances must start above 0, and coefficients be at least 0, omega above")
        h = np.empty(len(z) + 1)
        h[0] = start
        for t, shock in enumerate(z):
            h[t + 1] = self.omega + ((self.alpha + self.alpha_minus * (shock < 0)) * shock**2 + self.beta) * h[t]
        return h


def decay(delays: npt.ArrayLike, before: npt.ArrayLike, after: npt.ArrayLike) -> tuple[float, float, float]:
    """(b_0, alpha, b_2) of ln after = b_0 - alpha ln delay + b_2 ln before, by least squares over positive numbers."""
    columns = [np.asarray(one, dtype=float) for one in (delays, before, after)]
    if len({len(one) for one in columns}) > 1 or any((one <= 0).any() for one in columns):
        raise ValueError("delays, before and after must be positive and of one length")
    t, e, y = (np.log(one) for one in columns)
    design = np.column_stack([np.ones_like(t), t, e])
    if np.linalg.matrix_rank(design) < 3:
        raise ValueError("delays and values before must vary, and not as one")
    b0, b1, b2 = np.linalg.lstsq(design, y, rcond=None)[0]
    return float(b0), float(-b1), float(b2)


# Correlations.


def correlation_p(r: float, n: int) -> float:
    """The two-sided p of Pearson's r over n pairs, from t = r sqrt((n - 2) / (1 - r^2))."""
    if not -1 < r < 1 or n < 3:
        raise ValueError(f"r must lie in (-1, 1) and n be at least 3, got {r}, {n}")
    return float(2 * stats.t.sf(abs(r) * math.sqrt((n - 2) / (1 - r * r)), n - 2))


def williams(first: float, second: float, between: float, n: int) -> tuple[float, float]:
    """t and two-sided p, n - 3 degrees of freedom, of two correlations with one variable (Williams 1959)."""
    if n < 4 or not all(-1 < r < 1 for r in (first, second, between)):
        raise ValueError("n must be at least 4, and correlations lie in (-1, 1)")
    determinant = 1 - first**2 - second**2 - between**2 + 2 * first * second * between
    middle = (first + second) / 2
    scale = 2 * determinant * (n - 1) / (n - 3) + middle**2 * (1 - between) ** 3
    t = (first - second) * math.sqrt((n - 1) * (1 + between) / scale)
    return t, float(2 * stats.t.sf(abs(t), n - 3))


def icc(ratings: npt.ArrayLike, kind: Kind = "agreement") -> float:
    """Shrout and Fleiss's ICC of one rater: (1,1) "one-way", (2,1) "agreement", (3,1) "consistency"; (units, raters).

    Raises ValueError for fewer than two units or raters, missing ratings, and ratings that are all equal.
    """
    x = np.asarray(ratings, dtype=float)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all() or x.min() == x.max():
        raise ValueError("ratings must be (units, raters), at least two each, finite and not all equal")
    n, k = x.shape
    rows, columns = x.mean(1), x.mean(0)
    between = k * ((rows - x.mean()) ** 2).sum() / (n - 1)
    raters = n * ((columns - x.mean()) ** 2).sum() / (k - 1)
    error = ((x - rows[:, None] - columns + x.mean()) ** 2).sum() / ((n - 1) * (k - 1))
    if kind == "one-way":
        within = ((x - rows[:, None]) ** 2).sum() / (n * (k - 1))
        return float((between - within) / (between + (k - 1) * within))
    if kind == "agreement":
        return float((between - error) / (between + (k - 1) * error + k * (raters - error) / n))
    if kind == "consistency":
        return float((between - error) / (between + (k - 1) * error))
    raise ValueError(f"kind must be 'one-way', 'agreement' or 'consistency', got {kind!r}")


# Tests.


def shapiro_p(w: float, n: int) -> float:
    """p of Shapiro and Wilk's W of 12 to 5,000 values, by Royston's normal approximation of log(1 - W) (1995)."""
    if not 0 < w < 1 or not 12 <= n <= 5000:
        raise ValueError(f"W must lie in (0, 1) and n in 12..5000, got {w}, {n}")
    u = math.log(n)
    mean = 0.0038915 * u**3 - 0.083751 * u**2 - 0.31082 * u - 1.5861
    scale = math.exp(0.0030302 * u**2 - 0.082676 * u - 0.4803)
    return float(stats.norm.sf((math.log(1 - w) - mean) / scale))


def welch_p(t: float, first: int, second: int) -> tuple[float, float]:
    """The least and largest one-tailed p of Welch's t > 0: with n + m - 2 degrees of freedom, and the smaller n - 1."""
    if t <= 0 or min(first, second) < 2:
        raise ValueError("t must be positive, and both samples have two values")
    return float(stats.t.sf(t, first + second - 2)), float(stats.t.sf(t, min(first, second) - 1))


# Perturbations of text.


def oscillating(count: int, *, mean: float, variation: float, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` sentence lengths, at least 1, log-normal with this mean and CV, short and long ones in turn."""
    if count < 0 or mean < 1 or variation < 0:
        raise ValueError("count and variation must be at least 0, and the mean at least 1")
    sigma = math.sqrt(math.log1p(variation**2))
    drawn = generator.lognormal(math.log(mean) - sigma**2 / 2, sigma, count)
    lengths = np.maximum(1, np.round(drawn)).astype(np.int64)
    lengths.sort()
    half = (count + 1) // 2
    turns = np.empty_like(lengths)
    turns[::2], turns[1::2] = generator.permutation(lengths[:half]), generator.permutation(lengths[half:])
    return turns


def recut(words: npt.ArrayLike, lengths: npt.ArrayLike) -> list[npt.NDArray[np.int64]]:
    """A stream of words as sentences of these lengths in turn, to its end: whatever they were before."""
    stream, ends = np.asarray(words), np.cumsum(np.asarray(lengths))
    if not len(ends) or ends[-1] < len(stream):
        raise ValueError("lengths must reach to the end of the words")
    return [part for part in np.split(stream, ends[ends < len(stream)]) if len(part)]


def with_rare_words(
    words: npt.NDArray[np.int64], rare: npt.NDArray[np.int64], share: float, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Each word becomes a random one of `rare` with probability `share`."""
    if not 0 <= share <= 1 or not len(rare):
        raise ValueError("the share must lie in [0, 1], and there must be rare words")
    return np.where(generator.random(len(words)) < share, generator.choice(rare, len(words)), words)
