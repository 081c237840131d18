"""The exact tier in float64: identities, closed forms by other means, bounds on random draws, the worst case of all.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from baselines import adversarial, losses, oracles
from baselines.oracles import Worst, gap, other_defaults
from baselines.timing import interleaved
from suites.comp_sum import method

TAUS = (0.0, 0.5, 1.0, 1.5, 1.8, 2.0, 3.0)
"""Those of the bounds: on both sides of 1, near 2, at 2 and beyond."""


def simplex(count: int, classes: int, generator: torch.Generator) -> torch.Tensor:
    """Points of the simplex (count, classes), a third each from Dirichlet(1), Dirichlet(0.2) and Dirichlet(5)."""
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    sizes = [count - 2 * (count // 3), count // 3, count // 3]
    drawn = [rng.dirichlet([shape] * classes, size) for shape, size in zip((1.0, 0.2, 5.0), sizes, strict=True)]
    return torch.from_numpy(np.concatenate(drawn)).clamp_min(1e-12)


def problems(seed: int, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random scores (20, K), of spread 0.1 to 5, and targets; K from 2 to 30."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        classes = int(torch.randint(2, 31, (), generator=generator))
        spread = 0.1 + 4.9 * torch.rand((), generator=generator, dtype=torch.float64)
        scores = spread * torch.randn(20, classes, generator=generator, dtype=torch.float64)
        yield scores, torch.randint(classes, (20,), generator=generator)


def most(values: torch.Tensor) -> float:
    """The largest."""
    return float(values.max())


def losses_of(scores: torch.Tensor, targets: torch.Tensor, tau: float) -> torch.Tensor:
    return method.comp_sum(scores, targets, tau=tau, reduction="none")


def slope(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """The gradient of the sum of function(at)."""
    free = at.clone().requires_grad_()
    return torch.autograd.grad(function(free).sum(), free)[0]


# The family.


def family(*, seed: int) -> dict[str, float]:
    """Members by name, continuity and the gradient, on 40 random problems of 20 rows."""
    worst, ladder = Worst(), [0.0, 0.3, 0.5, 0.9, 1.0, 1.1, 1.5, 2.0, 2.5, 4.0]
    for scores, targets in problems(seed, 40):
        s = scores.softmax(1)
        p, one_hot = s.gather(1, targets[:, None]).squeeze(1), F.one_hot(targets, scores.shape[1])
        ce = F.cross_entropy(scores, targets, reduction="none")
        u = (scores - scores.gather(1, targets[:, None])).exp().mul(1 - one_hot).sum(1)
        near = torch.stack([losses_of(scores, targets, 1 + off) for off in (-1e-6, 1e-6)])
        worst.note(
            cross_entropy_gap=gap(losses_of(scores, targets, 1.0), ce),
            gce_gap=max(
                gap(losses_of(scores, targets, 1 + q), losses.gce(scores, targets, q=q, reduction="none"))
                for q in (0.1, 0.7, 1.0)
            ),
            mae_gap=gap(losses_of(scores, targets, 2.0), losses.mae(scores, targets, reduction="none") / 2),
            continuity_gap=gap(near[:, ce <= 10], ce[ce <= 10]),
        )
        for tau in ladder:
            value = losses_of(scores, targets, tau)
            gradient = slope(lambda f: losses_of(f, targets, tau), scores)  # noqa: B023
            expected = p[:, None] ** (tau - 1) * (s - one_hot)
            power = torch.log1p(u) if tau == 1 else ((1 + u) ** (1 - tau) - 1) / (1 - tau)
            worst.note(
                gradient_gap=most((gradient - expected).abs() / (1 + expected.abs())),
                formula_gap=most((value - power).abs() / (1 + power)),
            )
    return worst


def transforms() -> dict[str, float]:
    """The derivative of Phi_tau on u from 0 to 1e6, which says that it rises and is concave; losses in few digits."""
    worst = Worst()
    u = torch.cat([torch.zeros(1), torch.logspace(-6, 6, 400, dtype=torch.float64)])
    for tau in (*TAUS, 0.999, 1.001):
        derivative = slope(lambda u: method.transform(u, tau), u)  # noqa: B023
        at_zero = float(method.transform(u, tau)[0])
        worst.note(derivative_gap=most((derivative - (1 + u) ** -tau).abs() / derivative) + abs(at_zero))
    far = torch.tensor([[0.0, 60.0, 0.0]])
    for tau, dtype in itertools.product((0.0, 0.5), (torch.float16, torch.bfloat16, torch.float32)):
        wide = losses_of(far.double(), torch.tensor([0]), tau)
        worst.note(low_precision_gap=gap(losses_of(far.to(dtype), torch.tensor([0]), tau).double() / wide, 1.0))
    return worst


def extremes() -> dict[str, float]:
    """Scores of 1e4, of -inf and none at all, and nonsense: what is wrong and what passes is counted."""
    wrong = 0
    for tau, dtype in itertools.product(TAUS, (torch.bfloat16, torch.float32, torch.float64)):
        scores = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], dtype=dtype)
        value = losses_of(scores, torch.tensor([2, 1]), tau)
        gradient = slope(lambda f: losses_of(f, torch.tensor([2, 1]), tau), scores)  # noqa: B023
        wrong += int((~value.isfinite()).sum()) + int((~gradient.isfinite()).sum())
        wrong += int(tau < 2 and gradient[0, 2] > 0) + int(tau <= 1 and gradient[0, 2] == 0) + int(value[1] != 0)
        impossible = torch.tensor([[-math.inf, 0.0, 1.0]], dtype=dtype)
        whole = losses_of(impossible, torch.tensor([0]), tau)
        wrong += int(gap(whole, math.inf if tau <= 1 else 1 / (tau - 1)) > 1e-6)
        wrong += int((~slope(lambda f: losses_of(f, torch.tensor([0]), tau), impossible).isfinite()).sum())  # noqa: B023
        rest = losses_of(impossible, torch.tensor([1]), tau)
        wrong += int(gap(rest, losses_of(impossible[:, 1:], torch.tensor([0]), tau)) > 1e-6)
        wrong += losses_of(scores[:0], torch.zeros(0, dtype=torch.int64), tau).numel()
        hidden = torch.tensor([[0.0, -math.inf, -math.inf]], dtype=dtype)
        wrong += int(gap(method.change(hidden, hidden, torch.tensor([1])), 0.0) > 0)
        wrong += int(gap(method.margins(hidden, torch.tensor([1])), torch.tensor([[-math.inf, 0.0]])) > 0)
        moved = scores + torch.tensor([1.0, 0.0, 0.0], dtype=dtype).double()  # 1 is lost in bfloat16
        wrong += int(gap(method.change(scores.double(), moved, torch.tensor([1, 1])), 1.0) > 1e-9)
        certain = torch.tensor([1.0, 0.0], dtype=torch.float64)
        wrong += int(gap(method.conditional_risk(certain, certain, tau=tau)) > 0)
        wrong += int(method.best_probabilities(certain, tau=tau).dtype != certain.dtype)
    f, y, half = torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0.5, 0.5])
    accepted = oracles.accepted(
        *(partial(method.comp_sum, f, y, tau=tau) for tau in (-0.1, math.nan, math.inf)),
        *(partial(of, half, tau=-0.1) for of in (method.best_probabilities, method.best_risk)),
        partial(method.conditional_risk, half, half, tau=-0.1),
        partial(method.transform, -half, 1.0),
        partial(method.transform, half, -1.0),
        *(partial(of, half, tau=0.5, classes=1) for of in (method.regret_floor, method.bound, method.simple_bound)),
        *(partial(of, half, tau=-0.1, classes=3) for of in (method.regret_floor, method.bound, method.simple_bound)),
        partial(method.best_bounded_loss, half, tau=1.0, classes=1),
        partial(method.margins, f[0], y),
        *(partial(method.ramp, f, rho) for rho in (0.0, math.inf)),
        *(partial(method.least_nu, classes, rho) for classes, rho in ((1, 1.0), (2, 0.0))),
        partial(method.change, f, f[:, :2], y),
        partial(method.smooth_adversarial, f, f, y, nu=-0.1),
        partial(method.smooth_adversarial, f, f, y, nu=1.0, rho=0.0),
    )
    return {"wrong": float(wrong), "accepted": accepted}


# Conditional risks.


def conditional(*, seed: int) -> dict[str, float]:
    """The least risk and where it lies, against a quasi-Newton search over scores: 20 q each, n = 2, 3, 5 and 10."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for classes in (2, 3, 5, 10):
        q = simplex(20, classes, generator).clamp_min(1e-3)
        q = q / q.sum(1, keepdim=True)
        for tau in (0.0, 0.5, 1.0, 1.5, 1.8):
            found = searched(q, tau)
            p, least = method.best_probabilities(q, tau=tau), method.best_risk(q, tau=tau)
            rivals = simplex(500, classes, generator)
            rivals = torch.cat([rivals, 0.99 * p + 0.01 * simplex(20, classes, generator)])
            risks = method.conditional_risk(rivals[:, None], q, tau=tau)
            of_losses = sum(q[:, y] * losses_of(found.log(), torch.full((20,), y), tau) for y in range(classes))
            risk = method.conditional_risk(found, q, tau=tau)
            wrong_choices = (p.argmax(1) != q.argmax(1)).sum()
            sharper = p.amax(1) - q.amax(1)
            worst.note(
                # The least risk by a search, by the formula, at the minimiser, as the mean of losses; none is below.
                risk_gap=max(
                    gap(risk, least), gap(method.conditional_risk(p, q, tau=tau), least), gap(risk, of_losses)
                ),
                beaten_by=most(least - risks),
                minimiser_gap=gap(found, p) + float(wrong_choices),
                calibration_gap=gap(p, q) if tau == 1 else 0.0,
                sharpness_excess=-math.inf if tau == 1 else most(sharper if tau < 1 else -sharper),
            )
        for tau in (2.0, 3.0):
            least, one_hot = method.best_risk(q, tau=tau), F.one_hot(q.argmax(1), classes)
            risks = method.conditional_risk(simplex(500, classes, generator)[:, None], q, tau=tau)
            near = method.conditional_risk((15.0 * one_hot).softmax(1), q, tau=tau)
            reached = int((risks <= least).sum()) + int((near <= least).sum())
            worst.note(
                infimum_gap=gap(near, least) + reached,
                minimiser_gap=gap(method.best_probabilities(q, tau=tau), one_hot),
            )
    worst.note(risk_gap=worst.pop("beaten_by"))
    return worst


def searched(q: torch.Tensor, tau: float) -> torch.Tensor:
    """Probabilities of least risk (rows, n): Newton's method on the simplex, where the risk is convex for tau < 2.

    The step (g + lam) / H keeps the sum; it stops short of the boundary and is halved until the risk falls.
    """

    def risk(p: torch.Tensor) -> torch.Tensor:
        return (q * (-p.log() if tau == 1 else (1 - p ** (tau - 1)) / (tau - 1))).sum(1, keepdim=True)

    p = torch.full_like(q, 1 / q.shape[1])
    for _ in range(60):
        inverse = p ** (3 - tau) / ((2 - tau) * q)
        gradient = -q * p ** (tau - 2)
        multiplier = (gradient * inverse).sum(1, keepdim=True) / inverse.sum(1, keepdim=True)
        step = (multiplier - gradient) * inverse
        size = (0.9 / (-step / p).amax(1, keepdim=True).clamp_min(1e-300)).clamp_max(1)
        for _ in range(30):
            size = torch.where(risk(p + size * step) <= risk(p), size, size / 2)
        p = p + size * step
    return p / p.sum(1, keepdim=True)


# Bounds.


def consistency_bound(*, seed: int, draws: int) -> dict[str, float]:
    """Zero-one regret against regret in risk: `draws` pairs (q, s), spread over n = 2, 3, 5 and 10, each at 7 tau.

    A quarter of the s are close to the best of those that choose wrongly, where the bound is nearly met.
    """
    generator, worst, violations = torch.Generator().manual_seed(seed), Worst(), 0
    for classes in (2, 3, 5, 10):
        q = simplex(draws // 4, classes, generator)
        q, s = q / q.sum(1, keepdim=True), simplex(draws // 4, classes, generator)
        s = s[torch.randperm(len(s), generator=generator)]
        tied = q.clone()[: len(q) // 4]
        top = tied.topk(2, dim=1)
        tied.scatter_(1, top.indices, (top.values.mean(1, keepdim=True) + 1e-9 * torch.tensor([-1.0, 1.0])))
        for tau in TAUS:
            chosen = torch.cat([method.best_probabilities(tied, tau=tau), s[len(tied) :]])
            chosen = chosen / chosen.sum(1, keepdim=True)
            b = q.amax(1) - q.gather(1, chosen.argmax(1, keepdim=True)).squeeze(1)
            regret = method.conditional_risk(chosen, q, tau=tau) - method.best_risk(q, tau=tau)
            floor = method.regret_floor(b, tau=tau, classes=classes)
            gamma = method.bound(regret[:2000].clamp_min(0), tau=tau, classes=classes)
            simple = method.simple_bound(regret.clamp_min(0), tau=tau, classes=classes)
            violations += int((floor - regret > 1e-9).sum())
            worst.note(bound_excess=most(b[:2000] - gamma), simple_excess=most(b - simple))
    return {**worst, "violations": float(violations)}


def bound_functions() -> dict[str, float]:
    """T_tau, its inverse and its simpler floor on 999 b, for n = 2, 5, 10 and 100."""
    worst, b = Worst(), torch.arange(1, 1000, dtype=torch.float64) / 1000
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for classes, tau in itertools.product((2, 5, 10, 100), (*TAUS, 0.9, 1.1, 1.95)):
        floor = method.regret_floor(b, tau=tau, classes=classes)
        zero, one = method.regret_floor(ends, tau=tau, classes=classes)
        worst.note(
            shape_excess=max(-float(floor.diff().min()), -float(floor.diff().diff().min()), float(zero)) / float(one),
            inverse_gap=max(
                gap(method.bound(floor, tau=tau, classes=classes), b),
                gap(method.bound(2 * one[None], tau=tau, classes=classes), 1.0),
            ),
        )
        if tau < 2:
            square = b**2 / (2**tau * (2 - tau) if tau < 1 else 2 * classes ** (tau - 1))
            worst.note(
                square_excess=most(square - floor),
                simple_gap=gap(method.simple_bound(square, tau=tau, classes=classes), b),
            )
        if tau == 1:
            by_hand = (1 + b) / 2 * (1 + b).log() + (1 - b) / 2 * (1 - b).log()
            for off in (-1e-5, 1e-5):
                worst.note(continuity_gap=gap(method.regret_floor(b, tau=1 + off, classes=classes), floor))
        elif tau < 2:
            power = 1 / (2 - tau)
            mean = (((1 + b) ** power + (1 - b) ** power) / 2) ** (2 - tau)
            by_hand = (
                2 ** (1 - tau) / (1 - tau) * (1 - mean) if tau < 1 else (mean - 1) / (tau - 1) / classes ** (tau - 1)
            )
        else:
            by_hand = b / (tau - 1) / classes ** (tau - 1)
            worst.note(simple_gap=gap(method.simple_bound(floor, tau=tau, classes=classes), b))
        worst.note(formula_gap=gap(floor, by_hand))
    constant = method.simple_bound(torch.ones(1, dtype=torch.float64), tau=2.0, classes=100)
    return {**worst, "mae_constant": float(constant)}


def tightness() -> dict[str, float]:
    """Where the bound is met: two classes at (1 + b) / 2 with scores that tie; ties of all; and the best of three."""
    worst, b = Worst(), torch.arange(1, 100, dtype=torch.float64) / 100
    q, even = torch.stack([(1 + b) / 2, (1 - b) / 2], dim=1), torch.full((99, 2), 0.5, dtype=torch.float64)
    for tau in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75):
        regret = method.conditional_risk(even, q, tau=tau) - method.best_risk(q, tau=tau)
        off = gap(regret, method.regret_floor(b, tau=tau, classes=2))
        worst.note(**{"two_class_gap" if tau <= 1 else "two_class_gap_above_one": off})
        if tau <= 1:  # other classes have neither probability nor, in the limit, mass
            worst.note(two_class_gap=gap(regret, method.regret_floor(b, tau=tau, classes=50)))
    for classes in (2, 3, 10):
        small = torch.linspace(0.01, 1 / (classes - 1), 20, dtype=torch.float64)
        q = ((1 + small) / classes)[:, None].repeat(1, classes)
        q[:, -1] -= small
        regret = method.conditional_risk(torch.full_like(q, 1 / classes), q, tau=2.0) - method.best_risk(q, tau=2.0)
        worst.note(mae_gap=gap(regret, method.regret_floor(small, tau=2.0, classes=classes)))
    return {**worst, "slack_three_classes": min(least_slack(tau) for tau in (1.2, 1.5, 1.8))}


def least_slack(tau: float) -> float:
    """The least regret over T_tau among three classes, b from 0.02 to 0.98, over all q and all s that choose wrongly.

    q = (t, t - b, 1 - 2 t + b), 1,000 t; the choice is the second class. The best s with that choice pools the second
    with one or both of the others, which then share their mass evenly: the risk is concave in a pool's mass.
    """
    least, power = math.inf, 1 / (2 - tau)
    for b in torch.linspace(0.02, 0.98, 49, dtype=torch.float64):
        t = torch.linspace(max(float(b), (1 + float(b)) / 3), (1 + float(b)) / 2, 1000, dtype=torch.float64)
        q = torch.stack([t, t - b, (1 - 2 * t + b).clamp_min(0)], dim=1)
        pooled = torch.stack([(q[:, 0] + q[:, 1]) / 2, (q[:, 0] + q[:, 1]) / 2, q[:, 2]], dim=1)
        s = pooled**power / (pooled**power).sum(1, keepdim=True)
        s = torch.where((s[:, 2] > s[:, 1])[:, None], 1 / 3, s)
        regret = method.conditional_risk(s, q, tau=tau) - method.best_risk(q, tau=tau)
        least = min(least, float(regret.min() / method.regret_floor(b, tau=tau, classes=3)))
    return least


def along_training(*, seed: int) -> dict[str, float]:
    """A table of scores for 20 inputs of 5 classes, trained on the risk for 200 steps: the bound holds at every step.

    Also 500 random tables each of 1 to 30 inputs. Both regrets are means over the inputs (Jensen, T is convex).
    """
    generator, worst = torch.Generator().manual_seed(seed), Worst()

    def regrets(
        q: torch.Tensor, p: torch.Tensor, weight: torch.Tensor, tau: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        b = q.amax(-1) - q.gather(-1, p.argmax(-1, keepdim=True)).squeeze(-1)
        regret = method.conditional_risk(p, q, tau=tau) - method.best_risk(q, tau=tau)
        return (weight * b).sum(-1), (weight * regret).sum(-1).clamp_min(0)

    q, weight = simplex(20, 5, generator), simplex(1, 20, generator)[0]
    for tau in TAUS:
        scores = torch.randn(20, 5, generator=generator, dtype=torch.float64)
        steps = []
        for _ in range(200):
            steps.append(regrets(q, scores.softmax(1), weight, tau))
            scores -= 0.5 * slope(lambda f: method.conditional_risk(f.softmax(1), q, tau=tau), scores).clamp(-1, 1)  # noqa: B023
        lost, regret = (torch.stack(column) for column in zip(*steps, strict=True))
        worst.note(
            training_excess=most(lost - method.bound(regret, tau=tau, classes=5)),
            left_of_regret=float(regret[-1] / regret[0]) if tau < 2 else -math.inf,
        )
        for inputs in (1, 3, 10, 30):
            many = simplex(500 * inputs, 5, generator)[torch.randperm(500 * inputs, generator=generator)]
            p = simplex(500 * inputs, 5, generator)[torch.randperm(500 * inputs, generator=generator)]
            share = simplex(500, inputs, generator) if inputs > 1 else torch.ones(500, 1, dtype=torch.float64)
            lost, regret = regrets(many.view(500, inputs, 5), p.view(500, inputs, 5), share, tau)
            worst.note(table_excess=most(lost - method.bound(regret, tau=tau, classes=5)))
    return worst


# Minimizability gaps.


def bounded_scores() -> dict[str, float]:
    """The least loss of scores in [-L, L], against a search in the box; n = 2, 5 and 20."""
    from scipy.optimize import minimize

    worst = Worst()
    limits = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)
    table = []
    for tau in TAUS:
        for classes in (2, 5, 20):
            least = method.best_bounded_loss(limits, tau=tau, classes=classes)
            target = torch.zeros(1, dtype=torch.int64)
            for limit, value in zip(limits.tolist(), least.tolist(), strict=True):

                def objective(
                    h: np.ndarray, tau: float = tau, target: torch.Tensor = target
                ) -> tuple[float, np.ndarray]:
                    scores = torch.from_numpy(h)[None]
                    gradient = slope(lambda f: losses_of(f, target, tau), scores)[0].numpy()
                    return float(losses_of(scores, target, tau)), gradient

                start = np.zeros(classes)
                found = minimize(objective, start, jac=True, bounds=[(-limit, limit)] * classes, method="L-BFGS-B",
                                 options={"ftol": 1e-16, "gtol": 1e-16})  # fmt: skip
                worst.note(search_gap=abs(found.fun - value))
            table.append(least)
    values = torch.stack(table).view(len(TAUS), 3, len(limits))
    worst.note(rise=max(float(values.diff(dim=2).max()), float(values.diff(dim=0).max())))
    return worst


def minimizability(*, seed: int) -> dict[str, float]:
    """The gap inf_H R - E[C*] of XOR for linear scores and for a table, and of random tables that can be anything.

    Labels are certain, so that with unbounded linear scores the least conditional risk at every input is 0.
    """
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    x = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0])
    least = math.inf
    for tau in (0.0, 0.5, 1.0, 1.5, 2.0):
        weights = 3 * torch.randn(200, 3, 2, generator=generator, dtype=torch.float64)

        def risk(weights: torch.Tensor, tau: float = tau) -> torch.Tensor:
            return losses_of((x @ weights).flatten(0, 1), y.repeat(len(weights)), tau).view(-1, 4).mean(1)

        for _ in range(150):
            weights -= 0.5 * slope(risk, weights).clamp(-1, 1)
        least = min(least, float(risk(weights).min()))
        if tau < 2:
            q = simplex(20, 4, generator)
            q = q.clamp_min(1e-2) / q.clamp_min(1e-2).sum(1, keepdim=True)
            of_table = method.conditional_risk(searched(q, tau), q, tau=tau).mean()
            worst.note(table_gap=gap(of_table, method.best_risk(q, tau=tau).mean()))
    return {**worst, "linear_gap": least}


# Adversarial versions.


def adversarial_chain(*, seed: int, draws: int) -> dict[str, float]:
    """The chain of losses for `draws` pairs of scores at x and x', and the terms of the smooth loss by hand."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    rhos, taus = (0.3, 1.0, 3.0), (0.0, 0.5, 1.0, 1.5, 2.0)
    for classes, rho, tau in itertools.product((2, 3, 10), rhos, taus):
        count = math.ceil(draws / 45)
        scores = 2 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
        reach = torch.logspace(-3, 1, count, dtype=torch.float64)[:, None]
        moved = scores + reach * torch.randn(count, classes, generator=generator, dtype=torch.float64)
        y = torch.randint(classes, (count,), generator=generator)
        # In half of the draws the target leads at x, so that being wrong is the work of the perturbation.
        scores[: count // 2].scatter_(1, y[: count // 2, None], scores[: count // 2].amax(1, keepdim=True) + 0.1)
        nu = method.least_nu(classes, rho)
        smooth = method.smooth_adversarial(scores, moved, y, tau=tau, rho=rho, nu=nu, reduction="none")
        ramped = method.margin_loss(moved, y, tau=tau, rho=rho)
        at_x, at_moved = (by_hand_margins(h, y) for h in (scores, moved))
        wrong = (at_moved.amin(1) <= 0) * method.transform(torch.ones(1, dtype=torch.float64), tau)
        u = (-at_x / rho).exp().sum(1)
        norm = (at_moved - at_x).square().sum(1).sqrt()
        natural = torch.log1p(u) if tau == 1 else ((1 + u) ** (1 - tau) - 1) / (1 - tau)
        ramps = (1 - at_moved / rho).clamp(0, 1).sum(1)
        worst.note(
            chain_excess=most(ramped - smooth),
            zero_one_excess=most(wrong - ramped),
            by_hand_gap=max(
                abs(nu - math.sqrt(classes - 1) / rho),
                gap(method.margins(scores, y), at_x),
                gap(ramped, method.transform(ramps, tau)),
                gap((smooth - natural - nu * norm) / (1 + smooth)),
            ),
        )
    m = torch.linspace(-5, 5, 4001, dtype=torch.float64)
    for rho in rhos:
        values = method.ramp(m, rho)
        worst.note(
            exponential_excess=most(values - (-m / rho).exp()),
            ramp_gap=gap(values, np.interp(m.numpy(), [0, rho], [1, 0])),
        )
    return worst


def by_hand_margins(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(N, n - 1), row by row."""
    rows = zip(scores.tolist(), targets.tolist(), strict=True)
    return torch.tensor([[h[y] - h[k] for k in range(len(h)) if k != y] for h, y in rows], dtype=torch.float64)


def algorithm(*, seed: int) -> dict[str, float]:
    """adv-comp-sum on linear scores of two classes, whose worst x' is known: eps times signs of weights away."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for tau, rho, nu, eps in itertools.product((0.5, 1.0, 1.5), (0.5, 1.0), (0.0, 2.0), (0.05, 0.2)):
        weight = torch.randn(6, 2, generator=generator, dtype=torch.float64)
        inputs = 0.3 + 0.4 * torch.rand(9, 6, generator=generator, dtype=torch.float64)
        y = torch.randint(2, (9,), generator=generator)

        def model(x: torch.Tensor, weight: torch.Tensor = weight) -> torch.Tensor:
            return x @ weight

        found = method.adv_comp_sum(
            model, inputs, y, eps=eps, nu=nu, tau=tau, rho=rho, reduction="none", generator=generator
        )
        reach = eps * (weight[:, 0] - weight[:, 1]).abs().sum()
        natural = losses_of(model(inputs) / rho, y, tau)
        worst.note(linear_gap=gap(found, natural + nu * reach))
        gradient = slope(lambda w: method.adv_comp_sum(lambda x: x @ w, inputs, y, eps=eps, nu=nu), weight)  # noqa: B023
        sign = (weight[:, :1] - weight[:, 1:]).sign()
        shift = eps * torch.cat([sign, -sign], dim=1)
        natural_slope = slope(lambda w: F.cross_entropy(inputs @ w, y), weight)  # noqa: B023
        worst.note(gradient_gap=gap(gradient, natural_slope + nu * shift))
    # One pixel at 0.5 and scores whose change peaks at 0.54, inside of the ball.
    pixel, y = torch.full((1, 1), 0.5, dtype=torch.float64), torch.tensor([0])

    def hump(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([(-((x - 0.54) / 0.02).square()).exp(), 0 * x], dim=1)

    found = method.adv_comp_sum(hump, pixel, y, eps=0.1, nu=1.0, generator=generator) - losses_of(hump(pixel), y, 1.0)
    return {**worst, "share_of_peak": float(found / (1 - math.exp(-4)))}


# What nobody says, and what it costs.


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, and the three reductions of each loss."""
    generator = torch.Generator().manual_seed(seed)
    f, moved = torch.randn(2, 8, 5, generator=generator, dtype=torch.float64)
    y, worst = torch.arange(8) % 5, Worst()
    calls: list[Callable[[losses.Reduction], torch.Tensor]] = [
        lambda how: method.comp_sum(f, y, tau=0.7, reduction=how),
        lambda how: method.smooth_adversarial(f, moved, y, nu=1.0, reduction=how),
        lambda how: method.adv_comp_sum(lambda x: x, f.sigmoid(), y, eps=0.0, nu=1.0, reduction=how),
    ]
    for call in calls:
        each = call("none")
        worst.note(reduction_gap=max(gap(call("mean"), each.mean()), gap(call("sum"), each.sum())))
    plain = {"tau": 1.0, "rho": 1.0}
    return worst | {
        "other": other_defaults(method.comp_sum, tau=1.0, reduction="mean")
        + other_defaults(method.margin_loss, **plain)
        + other_defaults(method.smooth_adversarial, reduction="mean", **plain)
        + other_defaults(method.adv_comp_sum, steps=10, generator=None, reduction="mean", **plain)
        + other_defaults(adversarial.trades, beta=6.0, reduction="mean"),
    }


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward, 1,024 rows of 1,000 classes in float32, in turn with PyTorch's cross-entropy."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(1024, 1000, generator=generator).requires_grad_()
    targets = torch.randint(1000, (1024,), generator=generator)
    return interleaved(
        {
            "seconds": lambda: torch.autograd.grad(method.comp_sum(scores, targets, tau=1.5), scores),
            "seconds_of_cross_entropy": lambda: torch.autograd.grad(F.cross_entropy(scores, targets), scores),
        },
        rounds=10,
    )
