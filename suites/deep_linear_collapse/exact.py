"""The exact tier: closed forms in float64 against direct optimisation of free features from random starts."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch

from baselines.oracles import gap, other_defaults
from suites.deep_linear_collapse import method
from suites.deep_linear_collapse.method import Factors, Setting
from suites.deep_linear_collapse.networks import Metrics, network_loss

BALANCED, IMBALANCED = (100, 100, 100, 100), (200, 100, 50, 50)
"""The class sizes of the official direct optimisation."""
DECAY = 5e-4


def unconstrained_optimum(*, seed: int, case: str, depth: int) -> Metrics:
    """L-BFGS against the closed form, all decays 5e-4."""
    setting = Setting(
        counts=IMBALANCED if case == "imbalanced" else BALANCED,
        weight_decays=(DECAY,) * depth,
        feature_decay=DECAY,
        widths=(12,) * depth,
        bias=case == "bias",
    )
    solution = method.minimise(setting, generator=torch.Generator().manual_seed(seed))
    return compare(solution.best, setting)


def unequal_decays(*, seed: int, case: str) -> Metrics:
    """The same with M = 2 and another decay for each factor, which tells the factors apart."""
    setting = Setting(
        counts=(40, 30, 20, 10) if case == "imbalanced" else (25,) * 4,
        weight_decays=(4e-4, 9e-4),
        feature_decay=2e-4,
        widths=(9, 7),
        bias=case == "bias",
    )
    solution = method.minimise(setting, generator=torch.Generator().manual_seed(seed))
    return {**compare(solution.best, setting), "gradient": solution.gradient}


def compare(factors: Factors, setting: Setting) -> Metrics:
    """Distances of trained factors from `method.optimum`; every gap is the largest over entries and layers."""
    best, labels = method.optimum(setting), setting.labels
    end_to_end, means = factors.products[-1], method.class_means(factors.features, labels, setting.classes)
    logits, gram = end_to_end @ means, best.grams[-1]
    value = float(method.objective(factors, setting))
    ridge = setting.total * setting.feature_decay * torch.eye(setting.classes, dtype=torch.float64)
    rows, lengths = end_to_end.norm(dim=1), means.norm(dim=0)
    # Consecutive classes of different size: the longer row and the shorter mean belong to the larger one.
    steps = [(k, k + 1) for k, (n, m) in enumerate(pairwise(setting.counts)) if n > m]
    return {
        "logits_gap": gap(logits - best.logits),
        "off_diagonal": gap(logits - logits.diagonal().diag()),
        "rows_gap": gap(end_to_end @ end_to_end.T - gram),
        "grams_gap": max(gap(a @ a.T - g) for a, g in zip(factors.products, best.grams, strict=True)),
        "feature_gram_gap": gap(means.T @ means - best.feature_gram),
        "duality_gap": gap(end_to_end - (gram + ridge) @ means.T),
        "singular_gap": max(
            gap(torch.linalg.svdvals(factor)[: setting.rank] - expected)
            for factor, expected in zip((*factors.weights, factors.features), best.singular_values, strict=True)
        ),
        "product_singular_gap": gap(torch.linalg.svdvals(end_to_end)[: setting.rank] - best.product_singular_values),
        "value_gap": abs(value - best.value),
        "value_relative_gap": abs(value / best.value - 1),
        "nc1": method.nc1(factors.features, labels, setting.classes),
        "nc2": max(apart(a @ a.T, g) for a, g in zip(factors.products, best.grams, strict=True)),
        "nc3": apart(logits, best.logits),
        "bias_gap": gap(factors.bias - best.bias) if factors.bias is not None else 0.0,
        "row_step": min((float(rows[k] - rows[j]) for k, j in steps), default=0.0),
        "mean_step": min((float(lengths[j] - lengths[k]) for k, j in steps), default=0.0),
        "balance_gap": balance_gap(factors, setting),
        "penalty_gap": penalty_gap(factors, setting),
    }


def apart(matrix: torch.Tensor, target: torch.Tensor) -> float:
    """|| A/||A|| - T/||T|| || in Frobenius norms, in NumPy: not by the method's own `misalignment`."""
    a, t = (one.detach().numpy() / np.sqrt((one.detach().numpy() ** 2).sum()) for one in (matrix, target))
    return float(np.sqrt(((a - t) ** 2).sum()))


def balance_gap(factors: Factors, setting: Setting) -> float:
    """The worst || lam_{l+1} W_{l+1}^T W_{l+1} - lam_l W_l W_l^T ||_F, with H as the factor before W_1."""
    chain = (factors.features, *factors.weights)
    decays = (setting.feature_decay, *setting.weight_decays)
    pairs = pairwise(zip(decays, chain, strict=True))
    return max(float((mu * after.T @ after - lam * before @ before.T).norm()) for (lam, before), (mu, after) in pairs)


def penalty_gap(factors: Factors, setting: Setting) -> float:
    """Relative gap between the decay terms and (L/2) c^{1/L} sum_i sigma_i^{2/L}, in NumPy from the formula."""
    decays = (*setting.weight_decays, setting.feature_decay)
    chain = (*factors.weights, factors.features)
    paid = sum(decay / 2 * float(factor.square().sum()) for decay, factor in zip(decays, chain, strict=True))
    # Of the K singular values those of collapsed directions are rounding errors, which a small power would inflate.
    sigma = np.linalg.svd((factors.products[-1] @ factors.features).detach().numpy(), compute_uv=False)
    terms = sigma[sigma > 1e-9 * sigma.max()] ** (2 / len(chain))
    return abs(paid / (len(chain) / 2 * math.prod(decays) ** (1 / len(chain)) * terms.sum()) - 1)


def definitions(*, seed: int) -> Metrics:
    """The metrics and the head on random inputs: NC1 by a pseudoinverse, the head's loss by the objective."""
    generator = torch.Generator().manual_seed(seed)
    counts, width = (9, 6, 3, 2), 7
    setting = Setting(counts, (3e-3, 3e-3), 2e-3, (width, width), bias=True)
    factors = method.initial_factors(setting, generator, std=1.0)[0]
    features, labels = factors.features, setting.labels
    means = torch.stack([features[:, labels == k].mean(1) for k in range(4)], 1)
    within, between = features - means[:, labels], means - features.mean(1, keepdim=True)
    direct = (within @ within.T / sum(counts)) @ torch.linalg.pinv(between @ between.T / 4, hermitian=True)
    head = method.DeepLinearHead(width, 4, 2, bias=True).double()
    with torch.no_grad():
        for layer, weight in zip(head.layers, factors.weights, strict=True):
            layer.weight.copy_(weight)
        head.layers[-1].bias.copy_(torch.randn(4, generator=generator, dtype=torch.float64))
        loss = network_loss(head(features.T), labels, "mse") + head.penalty(features.T, 3e-3, 2e-3)
        value = method.objective(Factors(head.weights, features, head.layers[-1].bias), setting)
    return {
        "nc1_gap": abs(method.nc1(features, labels, 4) / (float(direct.trace()) / 4) - 1),
        "nc1_scale_gap": abs(method.nc1(1e-9 * features, labels, 4) / method.nc1(features, labels, 4) - 1),
        "misalignment_gap": abs(method.misalignment(within, features) - apart(within, features)),
        "scale_gap": method.misalignment(3 * between, between),
        "opposite": method.misalignment(between, -0.5 * between),
        "head_gap": abs(float(loss - value)),
    }


def minority_collapse(*, seed: int, depth: int, ratio: float) -> Metrics:
    """The smallest class at `ratio` times the threshold size, best of 128 random starts."""
    counts = (20, 10, 5)
    # b / n_min = threshold / ratio, solved for c; all decays equal.
    total, pressure = sum(counts), method.threshold(depth) / ratio
    decay_product = (pressure * counts[-1] / (depth * total)) ** depth / total
    decay = decay_product ** (1 / (depth + 1))
    setting = Setting(counts, (decay,) * depth, decay, (4,) * depth)
    # Small starts fall to zero, a local minimum for M >= 2: half of the unit scale reaches all of them.
    solution = method.minimise(setting, generator=torch.Generator().manual_seed(seed), restarts=128, std=1.0)
    best, factors = method.optimum(setting), solution.best
    means = method.class_means(factors.features, setting.labels, setting.classes)
    smallest_class = factors.products[-1].norm(dim=1)[-1], means.norm(dim=0)[-1]
    return {
        "longest": float(max(smallest_class)),
        "shortest": float(min(smallest_class)),
        "logits_gap": gap(factors.products[-1] @ means - best.logits),
        "value_gap": abs(float(solution.values.min()) - best.value),
        "below_optimum": max(0.0, best.value - float(solution.values.min())),
    }


def collapse_threshold() -> Metrics:
    """The closed form at the threshold, M = 1 ... 6, and the paper's condition for M = 1."""
    jump, tie = [], []
    for depth in range(1, 7):
        edge = torch.tensor(method.threshold(depth), dtype=torch.float64)
        above = method.fitted_logit(method.root(edge * (1 - 1e-12), depth), depth)
        jump.append(abs(float(above) - (depth - 1) / depth))
        # n = N = 1 makes b = M c^{1/M}.
        one, decay_product = torch.ones((), dtype=torch.float64), (edge / depth) ** depth
        at = method.fitted_logit(method.largest_root(edge * (1 - 1e-12), depth), depth)
        values = [method.class_objective(fit, one, one, decay_product, depth) for fit in (at, torch.zeros_like(at))]
        tie.append(abs(float(values[0] - values[1])))
    counts, decay = (100, 10, 9, 8), 0.025  # N^2 lam_W lam_H = 10.08
    fits = method.optimum(Setting(counts, (decay,), decay, (8,))).logits.diagonal()
    expected = [max(0.0, 1 - sum(counts) * decay / math.sqrt(n)) for n in counts]
    return {
        "jump_gap": max(jump),
        "tie_gap": max(tie),
        "one_layer_gap": gap(fits - torch.tensor(expected, dtype=torch.float64)),
    }


def scalar_search(*, seed: int) -> Metrics:
    """1000 random scalar problems, M = 1 ... 6: the root rule against a grid over xh in [0, 1].

    f'' is at most n / N, for the penalty is concave: between 5,001 points a minimum is missed by less than 5e-9.
    `unchecked_excess` is how far f at the largest root, taken without the threshold, lies above its minimum.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, count: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    grid = torch.linspace(0, 1, 5_001, dtype=torch.float64)
    value_gaps, wrong, excess, windows = [], 0, 0.0, 0
    for depth, count in zip(range(1, 7), (167, 167, 167, 167, 166, 166), strict=True):
        sizes = uniform(1, 500, count).round()
        total = (sizes * uniform(1, 10, count)).round()
        ratio = 10 ** uniform(-2, 0.5, count)  # b / n over its threshold
        decay_product = (ratio * method.threshold(depth) * sizes / (depth * total)) ** depth / total
        pressure = method.pressure(sizes, total, decay_product, depth)

        def value(fit: torch.Tensor, sizes=sizes, total=total, decay_product=decay_product, depth=depth):
            return method.class_objective(fit, sizes, total, decay_product, depth)

        chosen = method.fitted_logit(method.root(pressure, depth), depth)
        searched, where = value(grid[:, None]).min(0)
        value_gaps.append(gap(value(chosen) - searched))
        clear = (ratio - 1).abs() > 0.01
        wrong += int((((chosen == 0) != (where == 0)) & clear).sum())
        unchecked = method.fitted_logit(method.largest_root(pressure, depth), depth)
        windows += int(((unchecked > 0) & (ratio > 1)).sum())
        excess = max(excess, gap(value(unchecked) / torch.minimum(value(chosen), searched) - 1))
    return {
        "value_gap": max(value_gaps),
        "wrong_zeros": float(wrong),
        "unchecked_excess": excess,
        "window_cases": float(windows),
    }


def bottleneck(*, seed: int, case: str) -> Metrics:
    """Features of dimension 2 for 4 classes, M = 2, best of 16 random starts."""
    counts = (20, 15, 10, 5) if case == "imbalanced" else (10, 10, 10, 10)
    setting = Setting(counts, (1e-3, 1e-3), 1e-3, (2, 8), bias=case == "bias")
    solution = method.minimise(setting, generator=torch.Generator().manual_seed(seed), restarts=16)
    best, factors = method.optimum(setting), solution.best
    rows = factors.products[-1].norm(dim=1)
    singular = torch.linalg.svdvals(factors.products[-1]) - best.product_singular_values
    return {
        "kept_rows": float(rows[:2].min()),
        "dropped_rows": float(rows[2:].max()),
        "rows_gap": gap(rows - best.grams[-1].diagonal().sqrt()),
        "product_singular_gap": gap(singular),
        "value_gap": abs(float(solution.values.min()) - best.value),
        "below_optimum": max(0.0, best.value - float(solution.values.min())),
    }


def cross_entropy(*, seed: int, classes: int, depth: int) -> Metrics:
    """n = 5, all decays 1e-3, the best of 8 random starts beside the ETF and the cross-polytope."""
    setting = Setting((5,) * classes, (1e-3,) * depth, 1e-3, (16,) * depth, loss="ce")
    solution = method.minimise(setting, generator=torch.Generator().manual_seed(seed), restarts=8)
    trained = float(solution.values.min())
    etf_margin, etf = method.smallest(lambda a: method.etf_value(a, setting), setting)
    polytope_margin, polytope = method.smallest(lambda a: method.cross_polytope_value(a, setting), setting)
    # Both candidates once more, as actual parameters of the network.
    candidates = {
        etf: etf_margin * method.simplex_etf(classes),
        polytope: polytope_margin * method.cross_polytope(classes),
    }
    attained = [
        abs(float(method.objective(method.balanced_factors(logits, setting), setting)) - value)
        for value, logits in candidates.items()
    ]
    logits = solution.factors.products[-1] @ solution.factors.features
    spectra = torch.linalg.svdvals(logits - logits.mean(-2, keepdim=True))
    ranks = (spectra > 1e-3 * spectra[:, :1]).sum(1)
    best = solution.best
    means = method.class_means(best.features, setting.labels, classes)
    metrics: Metrics = {
        "etf": etf,
        "cross_polytope": polytope,
        "trained": trained,
        "etf_excess": (etf - trained) / etf,
        "cross_polytope_lead": (etf - polytope) / etf,
        "attained_gap": max(attained),
        "trained_gap": abs(trained - etf),
        "etf_distance": method.misalignment(best.products[-1] @ means, method.simplex_etf(classes)),
        "smallest_rank": float(ranks.min()),
        "largest_rank": float(ranks.max()),
    }
    if depth == 1:
        metrics["singular_gap"] = float(compare(best, setting)["singular_gap"])
    return metrics


def cross_entropy_optimum(*, classes: int) -> Metrics:
    """M = 1 and decays that differ: the closed form beside balanced factors of its logits, and their slope."""
    setting = Setting((5,) * classes, (2e-3,), 5e-4, (16,), loss="ce")
    factors = method.balanced_factors(method.optimum(setting).logits, setting)
    tensors = [tensor.requires_grad_() for tensor in factors.tensors]
    slopes = torch.autograd.grad(method.objective(factors, setting).sum(), tensors)
    with torch.no_grad():
        found = compare(factors, setting)
    compared = ("rows_gap", "feature_gram_gap", "singular_gap", "product_singular_gap", "value_gap")
    return {**{name: found[name] for name in compared}, "slope": max(map(gap, slopes))}


def defaults(*, seed: int) -> Metrics:
    """Options that nobody gives, and NC1 where the class means coincide but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(4).repeat_interleave(50)
    wrong = 0
    for scale in (1e-6, 1.0, 1e6):
        spread = torch.randn(3, 50, generator=generator, dtype=torch.float64)
        same = scale * (spread - spread.mean(1, keepdim=True)).repeat(1, 4)
        point = scale * torch.ones(3, 200, dtype=torch.float64) / 3
        apart_by_rounding = point * (1 + 2e-16 * torch.arange(200) % 2)
        wrong += not math.isinf(method.nc1(same + scale, labels, 4))
        wrong += not math.isnan(method.nc1(point, labels, 4))
        wrong += not math.isnan(method.nc1(apart_by_rounding, labels, 4))
        # A thousandth of a millionth apart is apart.
        moved = same + scale + 1e-9 * scale * (labels == 0)
        wrong += not math.isfinite(method.nc1(moved, labels, 4))
    start = {"restarts": 1, "std": 0.3}
    return {
        "other": other_defaults(method.initial_factors, **start)
        + other_defaults(method.minimise, **start)
        + other_defaults(method.DeepLinearHead, bias=False),
        "wrong": float(wrong),
        "target_type": float(Setting((2, 1), (1e-3,), 1e-3, (2,)).targets.dtype != torch.float64),
    }
