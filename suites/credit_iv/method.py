r"""Weight of Evidence, Information Value and their sampling theory, for fair scorecards (arXiv:2509.09855).

Bin i = 1..K of a feature holds g_i good and b_i bad borrowers, n_G and n_B over all bins; p_i = g_i / n_G and
q_i = b_i / n_B are the shares of the bin within its class. In nats,

    WoE_i = log(p_i / q_i)                                            good over bad: high is safe
    IV    = sum_i (p_i - q_i) WoE_i = KL(p || q) + KL(q || p) = J(p, q)
    PSI   = sum_i (a_i - e_i) log(a_i / e_i) = J(a, e)                a, e: bin shares of two periods

    Var(IV) = [sum p_i a_i^2 - (sum p_i a_i)^2] / n_G + [sum q_i c_i^2 - (sum q_i c_i)^2] / n_B
              with a_i = WoE_i + (p_i - q_i) / p_i and c_i = -(WoE_i + (p_i - q_i) / q_i)
    IV / (1 / n_G + 1 / n_B) ~ chi^2_{K-1} where p = q                there the gradient vanishes, and so does Var

The Jeffreys divergence J makes a feature's strength, its drift between two periods and what it gives away about a
protected group one functional with one sampling theory. Counts are tensors (..., K), any batch shape in front;
everything on them is differentiable, and works under torch.func and torch.compile, where cells are not looked at and
bad ones are the caller's. Integer counts are taken as float64. Bins come from boosted stumps, and a 0/1
programme chooses the features that keep most IV within a limit on protected IV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from baselines.losses import visible

Form = Literal["fixed_weights", "independent_bins", "multinomial"]
"""Variances of IV in use: (A) WoE taken as known, (B) the library fastwoe's, (C) the full delta method above."""

PSI_MODERATE, PSI_SHIFT = 0.1, 0.25
"""Customary alarms: below the first a population counts as stable, above the second as shifted, whatever n is."""

Array = npt.NDArray[np.float64]


# Divergences and Weight of Evidence.


def jeffreys(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """J(p, q) = sum_i (p_i - q_i) log(p_i / q_i) of positive shares (..., K), in nats; shape (...)."""
    return ((p - q) * torch.log(p / q)).sum(-1)


def weight_of_evidence(goods: torch.Tensor, bads: torch.Tensor) -> torch.Tensor:
    """WoE_i = log(p_i / q_i), in nats, positive where a bin is safer than average. (..., K) -> (..., K).

    Raises ValueError for an empty cell (WoE would be infinite: see `fill_empty`) and for unequal shapes.
    """
    p, q = _shares(goods, bads)
    return torch.log(p / q)


def information_value(goods: torch.Tensor, bads: torch.Tensor) -> torch.Tensor:
    """IV = J(p, q) >= 0, in nats. (..., K) -> (...). With groups for classes: what a feature says about the group.

    Raises ValueError as `weight_of_evidence` does.
    """
    return jeffreys(*_shares(goods, bads))


def population_stability_index(actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """PSI = J(a, e) of bin counts in two periods, in nats. (..., K) -> (...). Raises as `weight_of_evidence` does."""
    return jeffreys(*_shares(actual, expected))


def fill_empty(goods: torch.Tensor, bads: torch.Tensor, add: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Haldane-Anscombe: `add` (0.5) to every cell of a table that has an empty one; other tables stay as they are.

    This is the suite's choice for empty cells. It changes IV, but does not drop the bin, as the library does.
    Shapes (..., K) -> (..., K) twice. Raises ValueError for negative counts.
    """
    goods, bads = _as_float(goods), _as_float(bads)
    if visible(goods) and visible(bads) and bool(((goods < 0) | (bads < 0)).any()):
        raise ValueError("counts must not be negative")
    empty = ((goods == 0) | (bads == 0)).any(-1, keepdim=True)
    return goods + add * empty, bads + add * empty


def rule_of_three(goods: torch.Tensor, bads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts for `woe_standard_error` where a cell is empty, as in the library: (..., K) -> (..., K) twice.

    No event in the n borrowers of a bin bounds its rate by 3/n (95 %): the empty cell counts as 3, the other as n - 3.
    The library gives bins of n <= 3 a variance of 1: that of 2 and 2. Other bins stay as they are.
    """
    goods, bads = _as_float(goods), _as_float(bads)
    rest = goods + bads - 3
    empty = (goods == 0) | (bads == 0)
    large = [torch.where(mine == 0, 3.0, rest) for mine in (goods, bads)]
    new = [torch.where(rest > 0, one, 2.0) for one in large]
    return torch.where(empty, new[0], goods), torch.where(empty, new[1], bads)


# Standard errors, intervals and tests.


def woe_standard_error(goods: torch.Tensor, bads: torch.Tensor, *, fixed_totals: bool = False) -> torch.Tensor:
    """Standard error of WoE_i, (..., K): sqrt(1/g_i + 1/b_i), the library's.

    With `fixed_totals` (n good and n bad borrowers were sampled apart) sqrt(1/g_i - 1/n_G + 1/b_i - 1/n_B).
    """
    goods, bads = _positive(goods, bads)
    variance = 1 / goods + 1 / bads
    if fixed_totals:
        variance = variance - 1 / goods.sum(-1, keepdim=True) - 1 / bads.sum(-1, keepdim=True)
    return _root(variance)


def iv_variance(goods: torch.Tensor, bads: torch.Tensor, form: Form = "multinomial") -> torch.Tensor:
    """Variance of IV, (..., K) -> (...): forms (A), (B) and (C). Only (C), the default, is calibrated.

        (A) sum (p_i - q_i)^2 (1/g_i + 1/b_i)
        (B) (A) + sum WoE_i^2 [p_i (1 - p_i) / n_G + q_i (1 - q_i) / n_B]
        (C) the delta method with multinomial covariances: see the top of this file

    All vanish with IV itself: test IV = 0 by `null_test`. Raises ValueError for an unknown form or an empty cell.
    """
    goods, bads = _positive(goods, bads)
    n_good, n_bad = goods.sum(-1, keepdim=True), bads.sum(-1, keepdim=True)
    p, q = goods / n_good, bads / n_bad
    woe, gap = torch.log(p / q), p - q
    if form == "multinomial":
        a, c = woe + gap / p, -(woe + gap / q)
        return _multinomial_variance(p, a) / n_good.squeeze(-1) + _multinomial_variance(q, c) / n_bad.squeeze(-1)
    fixed_weights = (gap**2 * (1 / goods + 1 / bads)).sum(-1)
    if form == "fixed_weights":
        return fixed_weights
    if form == "independent_bins":
        return fixed_weights + (woe**2 * (p * (1 - p) / n_good + q * (1 - q) / n_bad)).sum(-1)
    raise ValueError(f"unknown form {form!r}: use fixed_weights, independent_bins or multinomial")


def iv_standard_error(goods: torch.Tensor, bads: torch.Tensor, form: Form = "multinomial") -> torch.Tensor:
    """The square root of `iv_variance`, (..., K) -> (...). At p = q it is 0, and its gradient too."""
    return _root(iv_variance(goods, bads, form))


def wald_interval(
    value: torch.Tensor, standard_error: torch.Tensor, confidence: float = 0.95
) -> tuple[torch.Tensor, torch.Tensor]:
    """value -+ z SE with the lower end clipped at 0, as neither IV nor PSI can be negative.

    Its lower end is no test of IV = 0. Raises ValueError for a confidence outside (0, 1).
    """
    reach = _normal_quantile(confidence + (1 - confidence) / 2, value) * standard_error
    return (value - reach).clamp_min(0), value + reach


def upper_limit(value: torch.Tensor, standard_error: torch.Tensor | float, confidence: float = 0.95) -> torch.Tensor:
    """value + z SE, one-sided: the probabilistic cost of a feature in `select_features`."""
    return value + _normal_quantile(confidence, value) * standard_error


def null_test(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Test p = q: the statistic J / (1/n_1 + 1/n_2) and its p-value from chi^2_{K-1}. (..., K) -> (...) twice.

    Goods and bads: is IV zero? Counts of two periods: has the population drifted? Raises ValueError for K < 2.
    """
    p, q = _shares(first, second)
    if first.shape[-1] < 2:
        raise ValueError("a test needs at least two bins")
    # As floats: torch takes the reciprocal of an integer in single precision.
    n_first, n_second = _as_float(first).sum(-1), _as_float(second).sum(-1)
    statistic = jeffreys(p, q) / (1 / n_first + 1 / n_second)
    half_df = torch.full_like(statistic, (first.shape[-1] - 1) / 2)
    return statistic, torch.special.gammaincc(half_df, statistic / 2)


# Bins.


def stump_thresholds(
    features: Array, target: npt.NDArray[np.int64], *, rounds: int = 100, learning_rate: float = 0.1, seed: int = 0
) -> list[Array]:
    """The sorted split thresholds of depth-1 boosted trees, one array per column of `features` (N, D).

    x <= threshold goes left. A column that no stump splits gets an empty array. `seed` breaks ties between splits.
    """
    from sklearn.ensemble import GradientBoostingClassifier  # seconds that nothing else here has to wait for

    model = GradientBoostingClassifier(
        max_depth=1, n_estimators=rounds, learning_rate=learning_rate, random_state=seed
    ).fit(features, target)
    roots = [(stump.tree_.feature[0], stump.tree_.threshold[0]) for stump in model.estimators_[:, 0]]
    return [np.unique([at for split, at in roots if split == column]) for column in range(features.shape[1])]


def bin_counts(bins: torch.Tensor, target: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts per bin of target 0 (good) and 1 (bad): integers (N,) in 0..size-1 -> float64 (size,) twice."""
    goods, bads = (torch.bincount(bins[target == value], minlength=size).double() for value in (0, 1))
    return goods, bads


def merge_small_bins(
    goods: Array, bads: Array, min_share: float = 0.05, *, ordered: bool = True
) -> npt.NDArray[np.int64]:
    """The new label, 0..K'-1, of each of K bins, so that every new bin holds at least `min_share` of the sample.

    The smallest bin joins that neighbour (of a category: that other bin) whose log-odds, with 0.5 added to each cell,
    are nearest, until none is too small or one is left. Merging cannot raise IV. Raises ValueError for a bad share.
    """
    if not 0 <= min_share < 1:
        raise ValueError(f"min_share must be in [0, 1), got {min_share}")
    groups = [[index] for index in range(len(goods))]
    table = np.stack([goods, bads], axis=1).astype(float)
    while len(groups) > 1:
        sizes = table.sum(axis=1)
        small = int(sizes.argmin())
        if sizes[small] >= min_share * sizes.sum():
            break
        neighbours = (small - 1, small + 1) if ordered else range(len(groups))
        others = [index for index in neighbours if 0 <= index < len(groups) and index != small]
        log_odds = np.log((table[:, 0] + 0.5) / (table[:, 1] + 0.5))
        nearest = min(others, key=lambda index: abs(log_odds[index] - log_odds[small]))
        keep, drop = sorted((small, nearest))
        groups[keep] += groups.pop(drop)
        table[keep] += table[drop]
        table = np.delete(table, drop, axis=0)
    labels = np.empty(len(goods), dtype=np.int64)
    for label, members in enumerate(groups):
        labels[members] = label
    return labels


# Fair selection of features.


def select_features(value: Array, cost: Array, limit: float) -> npt.NDArray[np.bool_]:
    """The subset S (D,) with the most sum_S value_j within sum_S cost_j <= limit: a 0/1 programme.

    `value` is IV for the target, `cost` IV for the protected attribute, or its `upper_limit` for the probabilistic
    form: the sum of upper limits bounds the upper limit of the sum, whatever the correlations.
    Raises ValueError for negative or non-finite entries and for a negative limit (not even no feature would do).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    value, cost = np.asarray(value, dtype=float), np.asarray(cost, dtype=float)
    if value.shape != cost.shape or not np.isfinite([value, cost]).all() or min(value.min(), cost.min()) < 0:
        raise ValueError("value and cost must be finite, not negative and of one shape")
    if not limit >= 0:
        raise ValueError(f"limit must be >= 0, got {limit}")
    # HiGHS keeps rows and gaps to 1e-6 in absolute terms: scaled up, that is 1e-10 of either sum. Near that tolerance
    # it may even call a feasible programme infeasible, so its limit is a little wider; what exceeds ours is cut off.
    scaled_value = value * (1e4 / (value.sum() or 1.0))
    total = cost.sum() or 1.0
    constraints = [LinearConstraint(cost * (1e4 / total), -np.inf, limit * (1e4 / total) + 1e-2)]
    while True:
        solution = milp(
            -scaled_value,
            integrality=np.ones_like(value),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        if solution.x is None:
            raise RuntimeError(f"the solver gave no subset: {solution.message}")
        chosen = solution.x > 0.5
        if cost[chosen].sum() <= limit + 1e-12 * total:
            return chosen
        # Costs are not negative: every superset of a subset that is too dear is too dear as well.
        constraints.append(LinearConstraint(chosen.astype(float), -np.inf, chosen.sum() - 1))


def penalised_selection(value: Array, cost: Array, penalty: float) -> npt.NDArray[np.bool_]:
    """The subset (D,) with the largest sum_S value_j - penalty * cost_j: each feature is decided by itself."""
    return np.asarray(value) > penalty * np.asarray(cost)


def pareto_front(value: Array, cost: Array) -> npt.NDArray[np.bool_]:
    """Every efficient pair of sums (value, cost) by one subset each, (M, D), from the dearest down to no cost.

    The limit is moved to just below the cost that was last reached, so that unsupported points are found too.
    """
    value, cost = np.asarray(value, dtype=float), np.asarray(cost, dtype=float)
    subsets, limit = [], float(cost.sum())
    while limit >= 0:
        chosen = select_features(value, cost, limit)
        if subsets and value[chosen].sum() >= value[subsets[-1]].sum() * (1 - 1e-12):
            subsets.pop()  # the same value for less
        subsets.append(chosen)
        limit = cost[chosen].sum() - 1e-9 * cost.sum()
    return np.array(subsets)


# Scorecard points.


def score(
    log_odds: torch.Tensor, *, pdo: float = 20.0, base_score: float = 600.0, base_odds: float = 50.0
) -> torch.Tensor:
    """offset + factor * log-odds of good, factor = PDO / log 2: `pdo` points double the odds.

    The offset makes `base_odds` (good : bad) score `base_score`. Raises ValueError unless pdo and base_odds are > 0.
    """
    if not (pdo > 0 and base_odds > 0):
        raise ValueError(f"pdo and base_odds must be positive, got {pdo} and {base_odds}")
    factor = pdo / math.log(2)
    return base_score + factor * (log_odds - math.log(base_odds))


def scorecard_points(
    woe: Sequence[torch.Tensor], slopes: torch.Tensor, intercept: float, **scale: float
) -> list[torch.Tensor]:
    """Points of each bin of each feature, shaped as `woe` (D tensors (K_j,)): an applicant's sum is their `score`.

    The log-odds of good are intercept + sum_j slopes_j WoE_j. Intercept and offset are spread evenly over the D
    features. `scale` is passed to `score`.
    """
    if len(woe) != len(slopes):
        raise ValueError(f"{len(woe)} features but {len(slopes)} slopes")
    offset = score(torch.zeros((), dtype=slopes.dtype), **scale)
    share = score(torch.as_tensor(intercept, dtype=slopes.dtype), **scale) / len(woe)
    return [share + score(slope * table, **scale) - offset for slope, table in zip(slopes, woe, strict=True)]


def _multinomial_variance(shares: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """gradient^T (diag(p) - p p^T) gradient: one draw's variance of sum_i gradient_i 1[bin i]. (..., K) -> (...)."""
    return (shares * gradient**2).sum(-1) - (shares * gradient).sum(-1) ** 2


def _as_float(counts: torch.Tensor) -> torch.Tensor:
    return counts if counts.is_floating_point() else counts.double()


def _positive(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if first.shape != second.shape or first.ndim == 0:
        raise ValueError(f"counts must be of one shape (..., K), got {tuple(first.shape)} and {tuple(second.shape)}")
    first, second = _as_float(first), _as_float(second)
    for counts in (first, second):
        if visible(counts) and not bool(((counts > 0) & counts.isfinite()).all()):
            raise ValueError("every cell must be positive and finite: fill empty ones first, see fill_empty")
    return first, second


def _shares(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = _positive(first, second)
    return first / first.sum(-1, keepdim=True), second / second.sum(-1, keepdim=True)


def _root(variance: torch.Tensor) -> torch.Tensor:
    """The square root, with gradient 0 and not NaN at 0 and where rounding has put a zero below it."""
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)


def _normal_quantile(probability: float, like: torch.Tensor) -> torch.Tensor:
    if not 0 < probability < 1:
        raise ValueError(f"a confidence lies in (0, 1), got a quantile at {probability}")
    return torch.special.ndtri(like.new_full((), probability, dtype=torch.float64)).to(like.dtype)
