"""The exact tier in float64: random problems, closed forms by other means, and the worst gap over all of them.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.optimize import linprog
from torch.nn import functional as F

from baselines import losses
from suites.ldr_loss import method
from suites.ldr_loss.inner import InnerProblem

Metrics = dict[str, float | list[float]]


def uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def problems(seed: int, count: int, rows: int = 25) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random scores (rows, K), of spread 0.1 to 5, and targets; K from 2 to 30."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        classes = int(torch.randint(2, 31, (), generator=generator))
        scores = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        yield scores * uniform(0.1, 5, generator, 1), torch.randint(classes, (rows,), generator=generator)


def largest(tensor: torch.Tensor) -> float:
    """The largest absolute entry."""
    return float(tensor.abs().max())


def kl_penalty(lam: float) -> method.Penalty:
    return lambda p: lam * method.divergence(p)


def closed_form(seed: int) -> Metrics:
    """E1, E2, E5, E13 on 100 random problems of 25 rows."""
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for f, y in problems(seed, 100):
        rows, classes = f.shape
        lam, margin = float(uniform(0.05, 20, generator, 1)), float(uniform(0, 2, generator, 1))
        psi, (gradient,) = value_and_gradients(lambda f: losses_of(f, y, lam, margin), f)  # noqa: B023
        delta = method.margins(f, y, margin)
        best = method.worst_label(delta, lam)
        note("variational_gap", largest(psi - method.variational_value(best, delta, kl_penalty(lam))))
        # Flat, spiky, and near the maximiser, where a wrong one would be beaten.
        draws = np.concatenate([rng.dirichlet([shape] * classes, 400) for shape in (1.0, 0.1)])
        others = torch.cat([torch.from_numpy(draws), 0.99 * best[0] + 0.01 * torch.from_numpy(draws[:200])])
        rivals = method.variational_value(others, delta[:1], kl_penalty(lam))
        note("beaten_by", float((rivals - psi[0]).max()))
        note("gradient_gap", largest(gradient - (best - F.one_hot(y, classes))))
        note("gradient_sum", largest(gradient.sum(1)))
        shift = uniform(-100, 100, generator, rows, 1)
        note("translation_gap", largest(losses_of(f + shift, y, lam, margin) - psi))
        other, weight = 3 * torch.randn_like(f), uniform(0, 1, generator, rows, 1)
        between = losses_of(weight * f + (1 - weight) * other, y, lam, margin)
        chord = weight.squeeze(1) * psi + (1 - weight.squeeze(1)) * losses_of(other, y, lam, margin)
        note("convexity_excess", float((between - chord).max()))
        ce = F.cross_entropy(f, y, reduction="none")
        note("cross_entropy_gap", largest(method.ldr_kl(f, y, lam=1.0, reduction="none") - (ce - math.log(classes))))
        tempered = lam * (F.cross_entropy(f / lam, y, reduction="none") - math.log(classes))
        note("temperature_gap", largest(losses_of(f, y, lam, 0.0) - tempered))
        pair, side = f[:, :2], y % 2
        m = pair.gather(1, side[:, None]).squeeze(1) - pair.gather(1, 1 - side[:, None]).squeeze(1)
        binary = lam * (torch.logaddexp(torch.zeros_like(m), -m / lam) - math.log(2))
        note("binary_gap", largest(losses_of(pair, side, lam, 0.0) - binary))
        each = torch.rand(rows, generator=generator, dtype=torch.float64) + 0.1
        one_by_one = [losses_of(f[i : i + 1], y[i : i + 1], float(each[i]), margin) for i in range(rows)]
        note("per_example_gap", largest(losses_of(f, y, each, margin) - torch.cat(one_by_one)))
    return {name: max(values) for name, values in found.items()}


def losses_of(f: torch.Tensor, y: torch.Tensor, lam: float | torch.Tensor, margin: float) -> torch.Tensor:
    """psi_lam of every row."""
    return method.ldr_kl(f, y, lam=lam, margin=margin, reduction="none")


def value_and_gradients(
    loss: Callable[..., torch.Tensor], *inputs: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """A loss of rows and its gradients, row by row."""
    free = [tensor.clone().requires_grad_() for tensor in inputs]
    value = loss(*free)
    return value.detach(), torch.autograd.grad(value.sum(), free)


def general_form(seed: int) -> Metrics:
    """The general loss, solved for any penalty, against the forms that are known; 4 random problems of 25 rows."""
    generator = torch.Generator().manual_seed(seed)
    gaps: dict[str, float] = dict.fromkeys(("kl", "none", "subsimplex", "certificate", "gradient"), 0.0)
    for f, y in problems(seed, 4):
        lam, classes = float(uniform(0.5, 5, generator, 1)), f.shape[1]
        delta = method.margins(f, y, 1.0)

        def quadratic(p: torch.Tensor, lam: float = lam) -> torch.Tensor:
            return lam / 2 * (p - 1 / p.shape[1]).square().sum(1)

        def solved(penalty: method.Penalty, domain: str = "simplex", f: torch.Tensor = f, y: torch.Tensor = y):
            return method.ldr(f, y, penalty, domain=domain, margin=1.0)

        value, (gradient,) = value_and_gradients(lambda f: method.ldr(f, y, kl_penalty(lam), margin=1.0), f)  # noqa: B023
        expected = losses_of(f, y, lam, 1.0)
        gaps["kl"] = max(gaps["kl"], largest(value - expected))
        exact = method.worst_label(delta, lam) - F.one_hot(y, classes)
        gaps["gradient"] = max(gaps["gradient"], largest(gradient - exact))
        gaps["none"] = max(gaps["none"], largest(solved(lambda p: p.sum(1) * 0) - delta.amax(1)))
        # With mass to spare p_k = exp(delta_k / lam - 1) / K, where these sum to at most one.
        spare = (delta / lam - 1).exp().mean(1)
        sub = torch.where(spare <= 1, lam * spare, expected)
        divided = solved(lambda p, lam=lam: lam * (torch.xlogy(p, p) + p * math.log(p.shape[1])).sum(1), "subsimplex")
        gaps["subsimplex"] = max(gaps["subsimplex"], largest(divided - sub))
        # Frank-Wolfe gap: a bound on how far any other p could be better.
        p = method.worst_case(delta, quadratic)
        slope = delta - lam * (p - 1 / classes)
        gaps["certificate"] = max(gaps["certificate"], float((slope.amax(1) - (p * slope).sum(1)).max()))
    return {f"{name}_gap": gap for name, gap in gaps.items()}


def limits(seed: int) -> Metrics:
    """E3, E4 on 100 random problems of 25 rows. An `excess` is how far a bound is passed."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[torch.Tensor]] = {}
    ladder = [0.0, *np.geomspace(1e-4, 1e6, 41).tolist(), math.inf]
    for f, y in problems(seed, 100):
        margin = float(uniform(0, 2, generator, 1))
        delta = method.margins(f, y, margin)
        top, mean, spread = delta.amax(1), delta.mean(1), delta.amax(1) - delta.amin(1)
        values = torch.stack([losses_of(f, y, lam, margin) for lam in ladder])
        small, big = values[1], values[-2]
        excess = {
            "small": (small - top).abs() - 1e-4 * math.log(f.shape[1]),
            "large": (big - mean).abs() - (spread**2 / 8e6 + 1e-9),
            "above": values - top,
            "below": top - top.new_tensor(ladder[:-1])[:, None] * math.log(f.shape[1]) - values[:-1],
            "under_mean": mean - values,
            "increase": values.diff(dim=0),
        }  # fmt: skip
        narrow = losses_of(f.float(), y, 1e6, margin)
        gaps = {
            "zero": (values[0] - losses.crammer_singer(f, y, margin=margin, reduction="none")).abs(),
            "infinite": (values[-1] - mean).abs(),
            "float32": (narrow - big).abs() / (1 + spread),
        }
        for name, value in [
            *((f"{n}_excess", v) for n, v in excess.items()),
            *((f"{n}_gap", v) for n, v in gaps.items()),
        ]:
            found.setdefault(name, []).append(value.max())
    return {name: float(torch.stack(values).max()) for name, values in found.items()}


def symmetry(seed: int) -> Metrics:
    """E6 on 100 random problems of 25 rows, c = 0."""
    generator = torch.Generator().manual_seed(seed)
    identity, linear, gaussian, spikes = [], [], [], []
    for f, _ in problems(seed, 100):
        classes, lam = f.shape[1], float(uniform(0.05, 20, generator, 1))
        expected = classes * (lam * ((f / lam).logsumexp(1) - math.log(classes)) - f.mean(1))
        identity.append(largest(over_targets(f, lam) - expected))
        linear.append(largest(over_targets(f, math.inf)))
        spike = -torch.ones(1, classes, dtype=torch.float64)
        spike[0, 0] = 1.0
        for rows, into in ((f, gaussian), (spike, spikes)):
            if classes >= 3:  # two scores have no skewness
                lams = 10 * rows.abs().amax(1)
                leading = classes * rows.var(1, correction=0) / (2 * lams)
                sums = torch.stack(
                    [over_targets(row[None], float(one))[0] for row, one in zip(rows, lams, strict=True)]
                )
                into.append(largest(sums / leading - 1))
    return {
        "identity_gap": max(identity),
        "linear_sum": max(linear),
        "variance_error": max(gaussian),
        "variance_error_of_spikes": max(spikes),
    }


def over_targets(f: torch.Tensor, lam: float) -> torch.Tensor:
    """sum over y = 1..K of psi_lam(f, y), one a row."""
    targets = torch.arange(f.shape[1]).repeat(len(f))
    return losses_of(f.repeat_interleave(f.shape[1], 0), targets, lam, 0.0).view(f.shape).sum(1)


def consistency(seed: int, lam: float) -> Metrics:
    """E7: minimise sum_y q_y psi_lam(f, y) over f for 20 random q, by L-BFGS and Newton."""
    rng = np.random.default_rng(seed)
    spreads, wrong = [], 0
    for classes in [3, 5, 10, 26] * 5:
        q = torch.from_numpy(rng.dirichlet([2.0] * classes))
        f = minimiser(lambda f, q=q: conditional_risk(f, q, lam), torch.zeros_like(q))
        offset = f - lam * q.log()
        spreads.append(float(offset.max() - offset.min()))
        wrong += int((f.argsort() != q.argsort()).sum())
    return {"spread": max(spreads), "wrong_places": float(wrong)}


def minimiser(risk: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor) -> torch.Tensor:
    """L-BFGS, then three Newton steps: the line search stops where differences of the risk are rounding errors."""
    f = start.clone().requires_grad_()
    solver = torch.optim.LBFGS([f], max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        value = risk(f)
        value.backward()
        return value

    solver.step(closure)
    point = f.detach()
    for _ in range(3):
        slope, curvature = torch.func.grad(risk)(point), torch.func.hessian(risk)(point)
        point = point - torch.linalg.pinv(curvature, hermitian=True) @ slope  # singular along 1, as it must be
    return point


def conditional_risk(f: torch.Tensor, q: torch.Tensor, lam: float, margin: float = 0.0) -> torch.Tensor:
    """sum_y q_y psi_lam(f, y) at one point."""
    return q @ losses_of(f.expand(len(q), -1), torch.arange(len(q)), lam, margin)


def crammer_singer(seed: int) -> Metrics:
    """E8: lam = 0, c = 1 at a q without a majority; the least risk of all f by linear programming."""
    q = torch.tensor([0.3, 0.25, 0.2, 0.12, 0.08, 0.05], dtype=torch.float64)
    classes = len(q)
    # Variables f (free) and t_y >= 0 with t_y >= 1 + f_k - f_y for all k != y; minimise q . t.
    rows = []
    for y, k in itertools.permutations(range(classes), 2):
        row = np.zeros(2 * classes)
        row[k], row[y], row[classes + y] = 1, -1, -1
        rows.append(row)
    bounds = [(None, None)] * classes + [(0, None)] * classes
    best = linprog(np.concatenate([np.zeros(classes), q]), A_ub=np.array(rows), b_ub=-np.ones(len(rows)), bounds=bounds)
    return {
        "risk_of_no_order": float(conditional_risk(torch.zeros_like(q), q, 0.0, 1.0)),
        "risk_of_the_top": float(conditional_risk(torch.eye(classes, dtype=q.dtype)[0], q, 0.0, 1.0)),
        "least_risk": float(best.fun),
    }


def mean_absolute_error(seed: int) -> Metrics:
    """E9, and the authors' code for "MAE", on 50 random problems of 25 rows."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for f, y in problems(seed, 50):
        rows, classes = f.shape
        each = torch.stack([losses.mae(f, torch.full((rows,), k), reduction="none") for k in range(classes)])
        q = torch.from_numpy(rng.dirichlet([1.0] * classes))
        top = int(q.argmax())
        sure = f.clone()
        sure[:, top] = f.amax(1) + 40.0
        moved = sure.clone()
        rest = [k for k in range(classes) if k != top]
        moved[:, rest] = sure[:, np.roll(rest, 1)]
        risks = [(1 - z.softmax(1)) @ (2 * q) for z in (sure, moved)]
        _, (official,) = value_and_gradients(lambda f: official_mae(f, y), f)  # noqa: B023
        _, (correct,) = value_and_gradients(lambda f: losses.mae(f, y, reduction="none"), f)  # noqa: B023
        for name, value in {
            "symmetry_gap": largest(each.sum(0) - 2 * (classes - 1)),
            "permutation_gap": largest(risks[0] - risks[1]),
            "above_the_top": float(2 * (1 - q[top]) - ((1 - f.softmax(1)) @ (2 * q)).min()),
            "official_value": largest(official_mae(f, y)),
            "official_gradient": largest(official),
            "correct_gradient": -largest(correct),
        }.items():
            found.setdefault(name, []).append(value)
    worst = {name: max(values) for name, values in found.items()}
    return {**worst, "correct_gradient": -worst["correct_gradient"]}


def official_mae(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """sum_k (e_yk - p_k), as the authors' code has it: without the absolute value."""
    return (F.one_hot(targets, logits.shape[1]) - logits.softmax(1)).sum(1)


def adaptive(seed: int, alpha: float) -> Metrics:
    """E10-E12 on 20 random problems of 25 rows, lam0 from 0.5 to 20, margins from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    for f, y in problems(seed, 20):
        lam0, margin = float(uniform(0.5, 20, generator, 1)), float(uniform(0, 1, generator, 1))
        inner = InnerProblem(method.margins(f, y, margin), lam0, alpha)
        lam, stepped = inner.solved(), inner.iterated(100)
        best_lam, best = inner.grid_maximum()
        unimodal, residual = inner.unimodal(), (inner.step(stepped) - stepped).abs()
        settled = (residual < 1e-10) & (inner.slope(stepped) < 1)

        def loss(f: torch.Tensor, y: torch.Tensor = y, lam0: float = lam0, margin: float = margin) -> torch.Tensor:
            return method.aldr_kl(f, y, lam0=lam0, alpha=alpha, margin=margin, reduction="none")

        value, (gradient,) = value_and_gradients(loss, f)
        exact = method.worst_label(inner.delta, lam) - F.one_hot(y, f.shape[1])
        scales = np.geomspace(0.1, 10, 11).tolist()
        scaled = torch.stack([InnerProblem(s * method.margins(f, y), lam0, alpha).solved() for s in scales])
        flat = InnerProblem(torch.zeros_like(f), lam0, alpha).solved()
        for name, gap in {
            "residual": residual,
            "stationarity": inner.derivative(lam).abs(),
            "lambda_gap": (lam - best_lam).abs()[unimodal],
            "value_gap": (inner.value(lam) - best).abs()[unimodal],
            "lost_by_iterating": (best - inner.value(stepped))[settled],
            "lost_by_solving": best - inner.value(lam),
            "below_range": lam0 * (1 - 1 / alpha) - lam,
            "above_range": lam - lam0,
            "flat_gap": (flat - lam0).abs(),
            "not_flat": scaled - lam0,
            "rise_with_scale": scaled.diff(dim=0),
            "under_ldr": losses_of(f, y, lam0, margin) - value,
            "form_gap": (value - inner.value(lam)).abs(),
            "gradient_gap": (gradient - exact).abs(),
        }.items():
            if gap.numel():
                found.setdefault(name, []).append(float(gap.max()))
    return {name: max(values) for name, values in found.items()}


def adaptive_spikes(seed: int, alpha: float) -> Metrics:
    """E10 where one score stands out by 0.05 to 30 lam0 (lam0 = 1) among 5, 26 and 100 classes."""
    found: dict[str, list[float]] = {}
    for classes in (5, 26, 100):
        delta = torch.zeros(600, classes, dtype=torch.float64)
        delta[:, 0] = torch.linspace(0.05, 30, 600)
        inner = InnerProblem(delta, 1.0, alpha)
        stepped, settled, (_, best) = inner.iterated(100), inner.iterated(1000), inner.grid_maximum()
        there = ((inner.step(settled) - settled).abs() < 1e-10) & (inner.slope(settled) < 1)
        for name, gap in {
            "residual": (inner.step(stepped) - stepped).abs(),
            "lost_by_iterating": (best - inner.value(settled))[there],
            "lost_by_solving": best - inner.value(inner.solved()),
        }.items():
            found.setdefault(name, []).append(float(gap.max()))
    return {name: max(values) for name, values in found.items()}


def algorithm(seed: int) -> Metrics:
    """Algorithm 1 and the authors' variant of it by hand, and the two normalisations; 30 random problems of 25 rows."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    for f, y in problems(seed, 30):
        (rows, classes), lam0 = f.shape, float(uniform(1, 20, generator, 1).float())  # the table starts in float32
        alpha, margin, one_hot = 2.0, float(uniform(0, 1, generator, 1)), F.one_hot(y, f.shape[1]).double()
        ids = torch.randperm(3 * rows, generator=generator)[:rows]
        table = method.ALDRKL(3 * rows, lam0=lam0, alpha=alpha, margin=margin).double()
        official = method.ALDRKL(3 * rows, lam0=lam0, alpha=alpha, margin=margin, labels="official").double()
        delta = f - (f * one_hot).sum(1, keepdim=True) + margin * (1 - one_hot)

        def by_hand(p: torch.Tensor, lam0: float = lam0, alpha: float = alpha) -> torch.Tensor:
            return lam0 - lam0 * (p * (len(p[0]) * p).log()).sum(1) / (alpha * math.log(len(p[0])))

        first = by_hand((delta / lam0).softmax(1))
        p = (f / lam0).softmax(1) + 1e-5
        first_official = by_hand(p / p.sum(1, keepdim=True))
        penalty = alpha * math.log(classes) / (2 * lam0) * (first - lam0) ** 2
        expected = first * ((delta / first[:, None]).exp().mean(1)).log() - penalty
        value, (gradient,) = value_and_gradients(lambda f: table(f, y, ids, reduction="none"), f)  # noqa: B023
        official(f, y, ids)
        second = by_hand((delta / first[:, None]).softmax(1))
        visited = table.lam[ids].clone()
        table(f, y, ids)
        again = table.lam[ids].clone()
        for _ in range(100):
            table(f, y, ids)
        settings = {"lam0": 10.0, "alpha": 2.0, "margin": 0.1}
        defaults = [
            method.ALDRKL(rows, **given).double()(f, y, torch.arange(rows), reduction="none")
            - method.aldr_kl(f, y, lam=InnerProblem(method.margins(f, y, 0.1), 10.0, 2.0).iterated(1), reduction="none")
            for given in ({}, settings)
        ]
        elsewhere = torch.ones(3 * rows, dtype=torch.bool).index_fill(0, ids, False)
        scores = {softplus: method.normalised(f, softplus=softplus) for softplus in (True, False)}
        for name, gap in {
            "first_gap": visited - first,
            "second_gap": again - second,
            "converged_gap": table.lam[ids] - InnerProblem(delta, lam0, alpha).solved(),
            "official_gap": official.lam[ids] - first_official,
            "default_gap": torch.cat(defaults),
            "elsewhere_gap": table.lam[elsewhere] - lam0,
            "loss_gap": value - expected,
            "gradient_gap": gradient - ((delta / first[:, None]).softmax(1) - one_hot),
            "softplus_gap": scores[True] - F.softplus(f) / F.softplus(f).mean(1, keepdim=True),
            "l1_gap": scores[False] - classes * f / f.abs().sum(1, keepdim=True),
        }.items():
            found.setdefault(name, []).append(largest(gap))
    return {name: max(values) for name, values in found.items()}


def generalised_ce(seed: int) -> Metrics:
    """E14 on 100 random problems of 25 rows: the ends of GCE, where p_y > 1e-3."""
    near_ce, linear = [], []
    for f, y in problems(seed, 100):
        ce = F.cross_entropy(f, y, reduction="none")
        seen = ce < -math.log(1e-3)
        near_ce.append(largest((losses.gce(f, y, q=1e-7, reduction="none") - ce)[seen]))
        linear.append(largest(losses.gce(f, y, q=1.0, reduction="none") + torch.expm1(-ce)))
    return {"cross_entropy_gap": max(near_ce), "linear_gap": max(linear)}
