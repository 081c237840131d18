"""The exact tier in float64: identities and bounds, the sampling theory, bins, the 0/1 programme, points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from baselines.oracles import gap, other_defaults
from suites.credit_iv import method

Metrics = dict[str, float | list[float]]
Array = npt.NDArray[np.float64]

GOODS, BADS = (100, 200, 300, 150), (40, 35, 20, 5)
"""The table on which the standard errors are compared: IV = .662198, its last bin has five bads."""
FORMS: dict[str, method.Form] = {"a": "fixed_weights", "b": "independent_bins", "c": "multinomial"}


# Identities and bounds.


def identities(*, seed: int) -> Metrics:
    """What IV is, cannot be, and does not depend on, on 4 x 500 random tables of 2 to 20 bins."""
    generator = torch.Generator().manual_seed(seed)
    worst: dict[str, list[float]] = {}
    for size in (2, 3, 8, 20):
        goods, bads = _random_tables(500, size, generator)
        for name, value in _identity_gaps(goods, bads, generator).items():
            worst.setdefault(name, []).append(value)
    floors = ("least_iv", "least_reduction_slack", "least_pinsker_slack")
    return {name: min(values) if name in floors else max(values) for name, values in worst.items()}


def _identity_gaps(goods: torch.Tensor, bads: torch.Tensor, generator: torch.Generator) -> dict[str, float]:
    p, q = goods / goods.sum(-1, keepdim=True), bads / bads.sum(-1, keepdim=True)
    iv, woe = method.information_value(goods, bads), method.weight_of_evidence(goods, bads)
    kl = (F.kl_div(q.log(), p, reduction="none") + F.kl_div(p.log(), q, reduction="none")).sum(-1)
    order = torch.randperm(goods.shape[-1], generator=generator)
    scaled = {"goods": (7.0 * goods, bads), "bads": (goods, 0.3 * bads), "both": (25 * goods, 25 * bads)}
    errors = [(method.iv_standard_error(goods, bads, form), form) for form in FORMS.values()]
    tv = (p - q).abs().sum(-1) / 2
    reduction = 2 * tv * torch.log((1 + tv) / (1 - tv))
    return {
        "kl_gap": gap(iv, kl),
        "psi_gap": max(
            gap(iv, method.population_stability_index(goods, bads)),
            gap(iv, method.population_stability_index(bads, goods)),
        ),
        "least_iv": float(iv.min()),
        "iv_where_equal": gap(method.information_value(goods, 3 * goods), torch.zeros_like(iv)),
        "permutation_gap": max(
            gap(method.information_value(goods[:, order], bads[:, order]), iv),
            gap(method.weight_of_evidence(goods[:, order], bads[:, order]), woe[:, order]),
        ),
        "relabelling_gap": max(
            gap(method.weight_of_evidence(bads, goods), -woe), gap(method.information_value(bads, goods), iv)
        ),
        "scaling_gap": max(
            max(gap(method.weight_of_evidence(*table), woe), gap(method.information_value(*table), iv))
            for table in scaled.values()
        ),
        "error_scaling_gap": max(
            gap(5 * method.iv_standard_error(*scaled["both"], form), error) for error, form in errors
        ),
        "least_reduction_slack": float((iv - reduction).min()),
        "least_pinsker_slack": float((reduction - 4 * tv**2).min()),
    }


def merging(*, seed: int) -> Metrics:
    """What merging two bins does to IV, on 1,000 random tables of 8 bins."""
    generator = torch.Generator().manual_seed(seed)
    goods, bads = _random_tables(1000, 8, generator)
    loss = method.information_value(goods, bads) - method.information_value(_merged(goods), _merged(bads))
    woe = method.weight_of_evidence(goods, bads)
    apart = (woe[:, 0] - woe[:, 1]).abs() > 0.1
    twins, twin_bads = goods.clone(), bads.clone()
    twins[:, 1], twin_bads[:, 1] = 2.5 * goods[:, 0], 2.5 * bads[:, 0]
    twin_loss = method.information_value(twins, twin_bads) - method.information_value(
        _merged(twins), _merged(twin_bads)
    )
    return {
        "violation": float(-loss.min()),
        "least_loss_of_unequal": float(loss[apart].min()),
        "loss_of_equal": float(twin_loss.abs().max()),
    }


def _merged(counts: torch.Tensor) -> torch.Tensor:
    return torch.cat([counts[:, :2].sum(-1, keepdim=True), counts[:, 2:]], dim=-1)


def regression(*, seed: int) -> Metrics:
    """WoE against logistic regressions fitted by maximum likelihood, on 100 random tables of 6 bins and 100 of 2."""
    generator = torch.Generator().manual_seed(seed)
    goods, bads = _random_tables(100, 6, generator)
    woe, log_odds = method.weight_of_evidence(goods, bads), torch.log(goods / bads)
    prior = torch.log(goods.sum(-1) / bads.sum(-1))
    one_hot, _ = _maximum_likelihood(torch.eye(6, dtype=torch.float64), goods, bads)
    design = torch.stack([torch.ones_like(woe), woe], dim=-1)
    by_woe, _ = _maximum_likelihood(design, goods, bads)
    of_bad, _ = _maximum_likelihood(design, bads, goods)
    two_goods, two_bads = _random_tables(100, 2, generator)
    of_two_bins = method.woe_standard_error(two_goods, two_bads).square().sum(-1).sqrt()
    return {
        "log_odds_gap": gap(woe, log_odds - prior[:, None]),
        "one_hot_gap": gap(one_hot, log_odds),
        "slope_gap": gap(by_woe[:, 1], 1.0),
        "bad_slope_gap": gap(of_bad[:, 1], -1.0),
        "intercept_gap": gap(by_woe[:, 0], prior),
        "slope_error_gap": gap(_slope_error(two_goods, two_bads), of_two_bins),
    }


def library_tables() -> Metrics:
    """The numbers that the library prints: its table (bads over goods: 10, 30; 20, 10) and its two intervals."""
    goods, bads = torch.tensor([30, 10]), torch.tensor([10, 20])
    woe, error = method.weight_of_evidence(goods, bads), method.woe_standard_error(goods, bads)
    strong = method.wald_interval(torch.tensor(0.1901), torch.tensor(0.0256))
    weak = method.wald_interval(torch.tensor(0.0040), torch.tensor(0.0035))
    zero_rate = [
        float(method.rule_of_three(torch.tensor([n]), torch.zeros(1))[1]) / n / (1 - 0.05 ** (1 / n))
        for n in (100, 1000, 10**6)
    ]
    goods_only = torch.tensor([10, 4, 57, 3, 1])
    filled = method.rule_of_three(torch.cat([goods_only, 0 * goods_only]), torch.cat([0 * goods_only, goods_only]))
    without_event = method.woe_standard_error(*filled)
    # The variance of log-odds at rate p is 1 / (n p (1 - p)); below p = 1 there is none, and the library takes 1.
    by_rate = [1 / (n * (3 / n) * (1 - 3 / n)) if n > 3 else 1.0 for n in goods_only.tolist()]
    return {
        "woe_first": float(woe[0]), "woe_second": float(woe[1]),
        "se_first": float(error[0]), "se_second": float(error[1]),
        "slope_se": float(_slope_error(goods.double(), bads.double())),
        "strong_low": float(strong[0]), "strong_high": float(strong[1]),
        "weak_low": float(weak[0]), "weak_high": float(weak[1]),
        "rule_of_three_ratio": zero_rate, "se_without_event": float(without_event[0]),
        "rule_of_three_gap": gap(without_event, torch.tensor(by_rate * 2, dtype=torch.float64).sqrt()),
    }  # fmt: skip


# The sampling theory.


def standard_errors(*, seed: int) -> Metrics:
    """The three standard errors of one table, and the delta method against autograd on 500 random ones."""
    goods, bads = torch.tensor(GOODS).double(), torch.tensor(BADS).double()
    printed = {f"se_{name}": float(method.iv_standard_error(goods, bads, form)) for name, form in FORMS.items()}
    draws = _sample(goods, bads, 100, 20_000, seed)
    spread = float(method.information_value(*draws).std())
    generator = torch.Generator().manual_seed(seed)
    random_goods, random_bads = (counts.requires_grad_() for counts in _random_tables(500, 7, generator))
    by_gradient = _delta_variance(method.information_value(random_goods, random_bads), random_goods, random_bads)
    woe = method.weight_of_evidence(random_goods, random_bads)
    woe_by_gradient = torch.stack([_delta_variance(one, random_goods, random_bads) for one in woe.unbind(-1)], dim=-1)
    woe_variance = method.woe_standard_error(random_goods, random_bads, fixed_totals=True) ** 2
    return {
        "iv": float(method.information_value(goods, bads)),
        **printed,
        "monte_carlo_sd": spread,
        "sd_over_se_c": 10 * spread / printed["se_c"],
        "gradient_gap": gap(method.iv_variance(random_goods, random_bads) / by_gradient, torch.ones(())),
        "woe_gradient_gap": gap(woe_variance / woe_by_gradient, torch.ones(())),
    }


def error_gradients(*, seed: int) -> Metrics:
    """Gradients of the standard errors of IV beside central differences: on random tables, and where p = q."""
    generator = torch.Generator().manual_seed(seed)
    goods, bads = _random_tables(20, 5, generator)
    gaps = {}
    for name, pair in (("gradient_gap", (goods, bads)), ("gap_where_equal", (goods, goods.clone()))):
        differences = []
        for form in FORMS.values():
            inputs = [counts.clone().requires_grad_() for counts in pair]
            slopes = torch.autograd.grad(method.iv_standard_error(*inputs, form).sum(), inputs)
            for which, column in itertools.product((0, 1), range(5)):
                step = torch.zeros_like(goods)
                step[:, column] = 1e-3
                ends = [
                    method.iv_standard_error(pair[0] + sign * step * (which == 0), pair[1] + sign * step * which, form)
                    for sign in (1, -1)
                ]
                differences.append(gap(slopes[which][:, column], (ends[0] - ends[1]) / 2e-3))
        gaps[name] = max(differences)
    return gaps


def coverage(*, seed: int, scale: int) -> Metrics:
    """How often 95 % intervals, and 95 % upper limits, hold the true IV. 5,000 draws of `scale` times the table."""
    goods, bads = torch.tensor(GOODS).double(), torch.tensor(BADS).double()
    truth = method.information_value(goods, bads)
    drawn_goods, drawn_bads = _sample(goods, bads, scale, 5000, seed)
    value = method.information_value(drawn_goods, drawn_bads)
    covered: Metrics = {}
    for name, form in FORMS.items():
        error = method.iv_standard_error(drawn_goods, drawn_bads, form)
        low, high = method.wald_interval(value, error)
        covered[f"coverage_{name}"] = _share((low <= truth) & (truth <= high))
        covered[f"upper_{name}"] = _share(truth <= method.upper_limit(value, error))
    return covered


def null_law(*, seed: int) -> Metrics:
    """20,000 draws with p = q, K = 4, n_G = 5,000, n_B = 2,000."""
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    goods, bads = _sample(5000 * shares, 2000 * shares, 1, 20_000, seed)
    statistic, p_value = method.null_test(goods, bads)
    value = method.information_value(goods, bads)
    rejected: Metrics = {}
    for name, form in FORMS.items():
        low, _ = method.wald_interval(value, method.iv_standard_error(goods, bads, form))
        rejected[f"zero_excluded_{name}"] = _share(low > 0)
    return {
        "mean": float(statistic.mean()),
        "variance": float(statistic.var()),
        "tail": _share(statistic > 7.815),
        "rejected": _share(p_value < 0.05),
        **rejected,
    }


def bias(*, seed: int) -> Metrics:
    """E[IV_hat] - IV at 10 and 100 times the table, 200,000 draws each.

    The delta method's linear term has mean zero and carries nearly all of the noise: it is subtracted from each draw.
    """
    biases = []
    for scale in (10, 100):
        goods, bads = (scale * torch.tensor(counts).double().requires_grad_() for counts in (GOODS, BADS))
        truth = method.information_value(goods, bads)
        slopes = torch.autograd.grad(truth, (goods, bads))
        drawn_goods, drawn_bads = _sample(goods.detach(), bads.detach(), 1, 200_000, seed)
        linear = (drawn_goods - goods.detach()) @ slopes[0] + (drawn_bads - bads.detach()) @ slopes[1]
        biases.append(float((method.information_value(drawn_goods, drawn_bads) - truth.detach() - linear).mean()))
    return {"bias": biases, "ratio": biases[0] / biases[1]}


def second_order(*, seed: int) -> Metrics:
    """The order in eps of IV(p, p + eps d) - eps^2 sum d^2 / p, over 200 random p and d."""
    generator = torch.Generator().manual_seed(seed)
    p = _random_tables(400, 5, generator)[0]
    p = p / p.sum(-1, keepdim=True)
    d = torch.randn(400, 5, generator=generator, dtype=torch.float64)
    d = d - d.mean(-1, keepdim=True)
    d = d / (d / p).abs().amax(-1, keepdim=True)
    # Where the third-order term happens to vanish, the error is of fourth order and there is no slope 3 to see.
    visible = (d**3 / p**2).sum(-1).abs() > 0.05
    p, d = p[visible][:200], d[visible][:200]
    steps = torch.logspace(-3, -2, 5, dtype=torch.float64)
    moved = p + steps[:, None, None] * d
    error = (method.jeffreys(p.expand_as(moved), moved) - steps[:, None] ** 2 * (d**2 / p).sum(-1)).abs().log()
    x = steps.log() - steps.log().mean()
    slopes = (x[:, None] * error).sum(0) / (x**2).sum()
    return {"slope_gap": float((slopes - 3).abs().max())}


# Bins, programme, points.


def binning(*, seed: int) -> Metrics:
    """What stump bins keep of the stumps (breast cancer); merged bins: large enough, contiguous, and not richer."""
    from sklearn.datasets import load_breast_cancer  # no other experiment here needs scikit-learn
    from sklearn.ensemble import GradientBoostingClassifier

    features, target = load_breast_cancer(return_X_y=True)
    train, test = np.arange(0, 569, 2), np.arange(1, 569, 2)
    edges = method.stump_thresholds(features[train], target[train], seed=seed)
    bins = np.stack(
        [np.searchsorted(edge, column, side="left") for edge, column in zip(edges, features.T, strict=True)], axis=1
    )
    scores = [
        GradientBoostingClassifier(max_depth=1, n_estimators=100, learning_rate=0.1, random_state=seed)
        .fit(design[train], target[train])
        .decision_function(design)
        for design in (features, bins)
    ]
    gap = np.abs(scores[0] - scores[1])
    rng = np.random.default_rng(seed)
    least_share, disorder, rise = 1.0, 0, -math.inf
    for trial in range(200):
        goods, bads = rng.integers(1, 60, 15).astype(float), rng.integers(1, 30, 15).astype(float)
        labels = method.merge_small_bins(goods, bads, 0.08, ordered=bool(trial % 2))
        after = [torch.from_numpy(np.bincount(labels, weights=counts)) for counts in (goods, bads)]
        before = [torch.from_numpy(counts) for counts in (goods, bads)]
        least_share = min(least_share, float(((after[0] + after[1]) / sum(map(sum, before))).min()))
        disorder += int(trial % 2 and np.any((np.diff(labels) != 0) & (np.diff(labels) != 1)))
        rise = max(rise, float(method.information_value(*after) - method.information_value(*before)))
    return {
        "seen_gap": float(gap[train].max()),
        "unseen_gap": float(gap[test].max()),
        "least_share": least_share,
        "disorder": float(disorder),
        "iv_rise": rise,
    }


def programme(*, seed: int) -> Metrics:
    """The 0/1 programme against all subsets of 5, 8, 11 and 15 random features."""
    rng = np.random.default_rng(seed)
    worst: dict[str, list[float]] = {}
    for size in (5, 8, 11, 15):
        value, cost = rng.gamma(1.0, 0.1, size), rng.gamma(1.0, 0.05, size)
        error = cost * rng.uniform(0.1, 0.5, size)
        for name, found in _programme_gaps(value, cost, error, rng).items():
            worst.setdefault(name, []).append(found)
    smallest = ("least_unsupported", "least_probabilistic_slack")
    return {name: min(found) if name in smallest else max(found) for name, found in worst.items()}


def _programme_gaps(value: Array, cost: Array, error: Array, rng: np.random.Generator) -> dict[str, float]:
    subsets = (np.arange(1 << len(value))[:, None] >> np.arange(len(value))) & 1
    values, costs = subsets @ value, subsets @ cost
    order = np.lexsort((-values, costs))
    best_so_far = np.maximum.accumulate(values[order])
    efficient = order[np.concatenate([[True], np.diff(best_so_far) > 0])]
    limits = [*rng.uniform(0, cost.sum(), 10), *costs[rng.choice(efficient, 10)]]
    optimum = [values[costs <= limit + 1e-12].max() for limit in limits]
    chosen = [method.select_features(value, cost, limit) for limit in limits]
    front = method.pareto_front(value, cost)
    front_values, front_costs = front @ value, front @ cost
    swept = np.unique([method.penalised_selection(value, cost, rate) for rate in _penalties(value, cost)], axis=0)
    supported_gap = max(
        (values - rate * costs).max() - ((value - rate * cost) * method.penalised_selection(value, cost, rate)).sum()
        for rate in _penalties(value, cost)
    )
    dear = method.upper_limit(torch.from_numpy(cost), torch.from_numpy(error)).numpy()
    careful = [method.select_features(value, dear, limit) for limit in limits]
    return {
        "optimum_gap": max(abs(value[mask].sum() - best) for mask, best in zip(chosen, optimum, strict=True)),
        "excess_cost": max(cost[mask].sum() - limit for mask, limit in zip(chosen, limits, strict=True)),
        "front_gap": _front_gap(front_values, front_costs, values[efficient], costs[efficient]),
        "front_rises": float(np.sum(np.diff(front_values) >= 0) + np.sum(np.diff(front_costs) >= 0)),
        "supported_gap": float(supported_gap),
        "least_unsupported": float(len(front) - len(swept)),
        "least_probabilistic_slack": min(
            limit - cost[mask].sum() - NormalDist().inv_cdf(0.95) * math.sqrt((error[mask] ** 2).sum())
            for mask, limit in zip(careful, limits, strict=True)
        ),
    }


def _penalties(value: Array, cost: Array) -> Array:
    """One penalty between each two neighbouring break points of the sweep, and one beyond either end."""
    breaks = np.sort(value / cost)
    return np.concatenate([[breaks[0] / 2], (breaks[1:] + breaks[:-1]) / 2, [2 * breaks[-1]]])


def _front_gap(values: Array, costs: Array, true_values: Array, true_costs: Array) -> float:
    """Largest distance between two fronts, point by point; the number of points too many or too few, if any."""
    if len(values) != len(true_values):
        return float(abs(len(values) - len(true_values)))
    return float(max(np.abs(values[::-1] - true_values).max(), np.abs(costs[::-1] - true_costs).max()))


def points(*, seed: int) -> Metrics:
    """Scorecard points on 100 random scorecards of 6 features with 5 bins."""
    generator = torch.Generator().manual_seed(seed)
    scale = {"pdo": 40.0, "base_score": 500.0, "base_odds": 20.0}
    log_odds = torch.randn(1000, generator=generator, dtype=torch.float64)
    anchor = method.score(torch.tensor(math.log(20.0), dtype=torch.float64), **scale)
    sums = []
    for _ in range(100):
        tables = list(torch.randn(6, 5, generator=generator, dtype=torch.float64))
        slopes = torch.randn(6, generator=generator, dtype=torch.float64)
        card = method.scorecard_points(tables, slopes, 0.7, **scale)
        rows = torch.randint(5, (50, 6), generator=generator)
        total = sum(card[column][rows[:, column]] for column in range(6))
        by_hand = 0.7 + sum(slopes[column] * tables[column][rows[:, column]] for column in range(6))
        sums.append(gap(total, method.score(by_hand, **scale)))
    return {
        "doubling_gap": gap(method.score(log_odds + math.log(2), **scale) - method.score(log_odds, **scale), 40.0),
        "anchor_gap": gap(anchor, 500.0),
        "sum_gap": max(sums),
    }


def by_hand() -> Metrics:
    """Merging and the default scale on cases small enough to do by hand."""
    cases = [
        # The last of two bins is too small: one bin is left.
        ([90.0, 2.0], [7.0, 1.0], True, [0, 0]),
        # The middle bin has odds of 2 : 1, as the right one, but fewer goods than either: it goes to the right.
        ([10.0, 2.0, 200.0], [100.0, 1.0, 100.0], True, [0, 1, 1]),
        # As categories, the first may join the last.
        ([2.0, 10.0, 200.0], [1.0, 100.0, 100.0], False, [0, 1, 0]),
    ]
    wrong = [
        method.merge_small_bins(np.array(goods), np.array(bads), 0.05, ordered=ordered).tolist() != labels
        for goods, bads, ordered, labels in cases
    ]
    log_odds = torch.tensor([50.0, 100.0], dtype=torch.float64).log()
    return {
        "wrong_merges": float(sum(wrong)),
        "default_scale_gap": gap(method.score(log_odds), torch.tensor([600.0, 620.0], dtype=torch.float64)),
    }


# Random tables and samples, regressions, gaps.


def _random_tables(number: int, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Positive counts (number, size) of goods and bads, up to 1,000 and 300 a bin."""
    uniform = torch.rand(2, number, size, generator=generator, dtype=torch.float64)
    return 1 + 999 * uniform[0], 1 + 299 * uniform[1] ** 2


def _sample(
    goods: torch.Tensor, bads: torch.Tensor, scale: int, draws: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(draws, K) multinomial counts around `scale` times a table, class totals fixed; empty cells are filled."""
    rng = np.random.default_rng(seed)
    sampled = [
        torch.from_numpy(rng.multinomial(round(scale * float(counts.sum())), (counts / counts.sum()).numpy(), draws))
        for counts in (goods, bads)
    ]
    return method.fill_empty(*sampled)


def _delta_variance(value: torch.Tensor, goods: torch.Tensor, bads: torch.Tensor) -> torch.Tensor:
    """grad^T Sigma grad, (N,), of `value` (N,): gradients by autograd, Sigma the covariance of multinomial counts."""
    total = torch.zeros_like(value)
    slopes = torch.autograd.grad(value.sum(), (goods, bads), retain_graph=True)
    for counts, slope in zip((goods, bads), slopes, strict=True):
        n = counts.sum(-1)
        covariance = torch.diag_embed(counts) - counts[:, :, None] * counts[:, None, :] / n[:, None, None]
        total = total + torch.einsum("ni,nij,nj->n", slope, covariance, slope)
    return total.detach()


def _maximum_likelihood(
    design: torch.Tensor, goods: torch.Tensor, bads: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients (..., D) and Fisher information (..., D, D) of logistic regressions of good on grouped rows.

    design: (..., K, D), counts (..., K). Fifty of Newton's steps are many more than these need.
    """
    counts, beta = goods + bads, design.new_zeros(*goods.shape[:-1], design.shape[-1])
    for _ in range(50):
        fitted = torch.sigmoid((design @ beta[..., None]).squeeze(-1))
        information = design.mT @ ((counts * fitted * (1 - fitted))[..., None] * design)
        score = design.mT @ (goods - counts * fitted)[..., None]
        beta = beta + torch.linalg.solve(information, score).squeeze(-1)
    return beta, information


def _slope_error(goods: torch.Tensor, bads: torch.Tensor) -> torch.Tensor:
    """Standard error (...) of the slope of a logistic regression on two bins (..., 2), by its Fisher information."""
    design = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    _, information = _maximum_likelihood(design, goods, bads)
    return torch.linalg.inv(information)[..., 1, 1].sqrt()


def _share(hits: torch.Tensor) -> float:
    return float(hits.double().mean())


# What is left unsaid.


def defaults() -> Metrics:
    """Options that nobody gives, and what becomes of the dtype of counts."""
    wanted = {
        method.fill_empty: {"add": 0.5},
        method.woe_standard_error: {"fixed_totals": False},
        method.iv_variance: {"form": "multinomial"},
        method.iv_standard_error: {"form": "multinomial"},
        method.wald_interval: {"confidence": 0.95},
        method.upper_limit: {"confidence": 0.95},
        method.stump_thresholds: {"rounds": 100, "learning_rate": 0.1, "seed": 0},
        method.merge_small_bins: {"min_share": 0.05, "ordered": True},
        method.score: {"pdo": 20.0, "base_score": 600.0, "base_odds": 50.0},
    }
    whole, table = [torch.tensor(counts) for counts in (GOODS, BADS)], _float_table()
    functions = (
        method.weight_of_evidence, method.information_value, method.population_stability_index, method.iv_variance,
        method.woe_standard_error, method.iv_standard_error, *(_part(method.null_test, part) for part in (0, 1)),
        *(_part(method.fill_empty, part) for part in (0, 1)), *(_part(method.rule_of_three, part) for part in (0, 1)),
    )  # fmt: skip
    single = [counts.float() for counts in table]
    kept = [function(*single).dtype == torch.float32 for function in functions]
    value = method.information_value(*single)
    ends = (*method.wald_interval(value, 0.1 * value), method.upper_limit(value, 0.1 * value))
    return {
        "other": sum(other_defaults(function, **options) for function, options in wanted.items()),
        "integer_gap": max(gap(function(*whole), function(*table)) for function in functions),
        "widened": float(len(kept) - sum(kept) + sum(end.dtype != torch.float32 for end in ends)),
    }


def _float_table() -> list[torch.Tensor]:
    return [torch.tensor(counts, dtype=torch.float64) for counts in (GOODS, BADS)]


def _part(
    function: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]], which: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda goods, bads: function(goods, bads)[which]
