"""The exact tier in float64: random problems, closed forms by other means, and the worst gap over all of them.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds). Every row of a problem, with its own scores and target, is a case.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from baselines import losses
from baselines.oracles import Worst, gap, other_defaults
from suites.ldr_loss import method


def uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def problems(seed: int, count: int, rows: int = 25) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random scores (rows, K), of spread 0.1 to 5, and targets; K from 2 to 30."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        classes = int(torch.randint(2, 31, (), generator=generator))
        scores = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        yield scores * uniform(0.1, 5, generator, 1), torch.randint(classes, (rows,), generator=generator)


def kl_penalty(lam: float) -> method.Penalty:
    return lambda p: lam * method.divergence(p)


def losses_of(f: torch.Tensor, y: torch.Tensor, lam: float | torch.Tensor, margin: float) -> torch.Tensor:
    """psi_lam of every row."""
    return method.ldr_kl(f, y, lam=lam, margin=margin, reduction="none")


def with_gradient(loss: Callable[[torch.Tensor], torch.Tensor], f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss of rows and its gradient, row by row."""
    free = f.clone().requires_grad_()
    value = loss(free)
    return value.detach(), torch.autograd.grad(value.sum(), free)[0]


def closed_form(*, seed: int) -> dict[str, float]:
    """The closed form, its gradient and its special cases on 40 random problems of 25 rows."""
    generator, rng, worst = torch.Generator().manual_seed(seed), np.random.default_rng(seed), Worst()
    for f, y in problems(seed, 40):
        rows, classes = f.shape
        lam, margin = float(uniform(0.05, 20, generator, 1)), float(uniform(0, 2, generator, 1))
        psi, gradient = with_gradient(lambda f: losses_of(f, y, lam, margin), f)  # noqa: B023
        # By hand: the loss is a function of the method's own.
        delta = f - f.gather(1, y[:, None]) + margin * (1 - F.one_hot(y, classes).to(f))
        best = method.worst_label(delta, lam)
        # Flat, spiky, and near the maximiser, where a wrong one would be beaten.
        draws = torch.from_numpy(np.concatenate([rng.dirichlet([shape] * classes, 400) for shape in (1.0, 0.1)]))
        others = torch.cat([draws, 0.99 * best[0] + 0.01 * draws[:200]])
        rivals = method.variational_value(others, delta[:1], kl_penalty(lam))
        shift = uniform(-100, 100, generator, rows, 1)
        other, weight = 3 * torch.randn_like(f), uniform(0, 1, generator, rows, 1)
        between = losses_of(weight * f + (1 - weight) * other, y, lam, margin)
        chord = weight.squeeze(1) * psi + (1 - weight.squeeze(1)) * losses_of(other, y, lam, margin)
        ce, tempered = (F.cross_entropy(f / at, y, reduction="none") - math.log(classes) for at in (1.0, lam))
        pair, side = f[:, :2], y % 2
        m = pair.gather(1, side[:, None]).squeeze(1) - pair.gather(1, 1 - side[:, None]).squeeze(1)
        each = torch.rand(rows, generator=generator, dtype=torch.float64) + 0.1
        one_by_one = [losses_of(f[i : i + 1], y[i : i + 1], float(each[i]), margin) for i in range(rows)]
        worst.note(
            variational_gap=gap(psi, method.variational_value(best, delta, kl_penalty(lam))),
            beaten_by=(rivals - psi[0]).max(),
            gradient_gap=gap(gradient, best - F.one_hot(y, classes)),
            gradient_sum=gap(gradient.sum(1), 0.0),
            translation_gap=gap(losses_of(f + shift, y, lam, margin), psi),
            convexity_excess=(between - chord).max(),
            cross_entropy_gap=gap(losses_of(f, y, 1.0, 0.0), ce),
            temperature_gap=gap(losses_of(f, y, lam, 0.0), lam * tempered),
            binary_gap=gap(losses_of(pair, side, lam, 0.0), lam * (F.softplus(-m / lam) - math.log(2))),
            per_example_gap=gap(losses_of(f, y, each, margin), torch.cat(one_by_one)),
        )
    return worst


def general_form(*, seed: int) -> dict[str, float]:
    """The general loss, solved for any penalty, against the forms that are known; 2 random problems of 50 rows.

    The search is for each row by itself, so that one of them does for three penalties, each on its copy of the rows.
    """
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for f, y in problems(seed, 2, rows=50):
        lam, (rows, classes) = float(uniform(0.5, 5, generator, 1)), f.shape
        delta, expected = method.margins(f, y, 1.0), losses_of(f, y, lam, 1.0)

        def penalty(p: torch.Tensor, lam: float = lam, rows: int = rows) -> torch.Tensor:
            """KL, none, and a quadratic one."""
            kl, none, quadratic = p.split(rows)
            distance = (quadratic - 1 / p.shape[1]).square().sum(1)
            return torch.cat([lam * method.divergence(kl), 0 * none.sum(1), lam / 2 * distance])

        def unnormalised(p: torch.Tensor, lam: float = lam) -> torch.Tensor:
            return lam * (torch.xlogy(p, p) + p * math.log(p.shape[1])).sum(1)

        value, gradient = with_gradient(
            lambda f: method.ldr(f, y.repeat(3), penalty, margin=1.0),  # noqa: B023
            f.repeat(3, 1),
        )
        divided = method.ldr(f, y, unnormalised, domain="subsimplex", margin=1.0)
        # With mass to spare p_k = exp(delta_k / lam - 1) / K, where these sum to at most one.
        spare = (delta / lam - 1).exp().mean(1)
        # The gradient is p* - e_y; the Frank-Wolfe gap bounds how far any other p could be better.
        p = gradient[2 * rows :] + F.one_hot(y, classes)
        slope = delta - lam * (p - 1 / classes)
        worst.note(
            kl_gap=gap(value[:rows], expected),
            gradient_gap=gap(gradient[:rows], method.worst_label(delta, lam) - F.one_hot(y, classes)),
            none_gap=gap(value[rows : 2 * rows], delta.amax(1)),
            subsimplex_gap=gap(divided, torch.where(spare <= 1, lam * spare, expected)),
            certificate_gap=(slope.amax(1) - (p * slope).sum(1)).max(),
        )
    return worst


def limits(*, seed: int) -> dict[str, float]:
    """Both ends of lam and what lies between them, on 40 random problems of 25 rows."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    ladder = [0.0, *np.geomspace(1e-4, 1e6, 41).tolist(), math.inf]
    for f, y in problems(seed, 40):
        margin = float(uniform(0, 2, generator, 1))
        delta = method.margins(f, y, margin)
        top, mean, spread = delta.amax(1), delta.mean(1), delta.amax(1) - delta.amin(1)
        values = torch.stack([losses_of(f, y, lam, margin) for lam in ladder])
        small, big, narrow = values[1], values[-2], losses_of(f.float(), y, 1e6, margin)
        least = top - top.new_tensor(ladder[:-1])[:, None] * math.log(f.shape[1])
        worst.note(
            small_excess=((small - top).abs() - 1e-4 * math.log(f.shape[1])).max(),
            large_excess=((big - mean).abs() - (spread**2 / 8e6 + 1e-9)).max(),
            above_excess=(values - top).max(),
            below_excess=(least - values[:-1]).max(),
            under_mean_excess=(mean - values).max(),
            increase_excess=values.diff(dim=0).max(),
            zero_gap=gap(values[0], losses.crammer_singer(f, y, margin=margin, reduction="none")),
            infinite_gap=gap(values[-1], mean),
            float32_gap=((narrow - big).abs() / (1 + spread)).max(),
        )
    return worst


def low_precision() -> dict[str, float]:
    """One of 5, 1,000 and 128,000 scores stands out by 12 or 40 lam, and is the target or not; against float64.

    A gap is relative to the loss where that is above 1. The derivative at the target is p*_y - 1 < 0.
    """
    worst = Worst()
    for classes, spike, lam in itertools.product((5, 1000, 128_000), (12.0, 40.0), (1.0, 10.0, 50.0)):
        for dtype, y in itertools.product((torch.float16, torch.bfloat16, torch.float32), ([3], [0])):
            f, targets = torch.zeros(1, classes, dtype=dtype), torch.tensor(y)
            f[0, 3] = spike * lam
            wide = method.margins(f.double(), targets, 0.125)
            expected = lam * ((wide / lam).logsumexp(1) - math.log(classes))
            adaptive = method.ALDRKL(1, lam0=lam, margin=0.125)
            for strength in (lam, torch.tensor([lam])):
                value, gradient = with_gradient(lambda f: losses_of(f, targets, strength, 0.125), f)  # noqa: B023
                worst.note(
                    gap=gap((value.double() - expected) / expected.abs().clamp_min(1), 0.0),
                    target_slope=gradient[0, y[0]] if dtype == torch.float32 else -math.inf,
                )
            value = adaptive(f, targets, targets * 0, reduction="none")
            of_table = adaptive.lam.double()
            expected = InnerProblem(wide, lam, 2.0).value(of_table)
            worst.note(adaptive_gap=gap((value.double() - expected) / expected.abs().clamp_min(1), 0.0))
    return worst


def symmetry(*, seed: int) -> dict[str, float]:
    """The sum over all targets on 100 random problems of 25 rows, c = 0."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for f, _ in problems(seed, 100):
        classes, lam = f.shape[1], float(uniform(0.05, 20, generator, 1))
        expected = classes * (lam * ((f / lam).logsumexp(1) - math.log(classes)) - f.mean(1))
        worst.note(
            identity_gap=gap(of_all_targets(f, lam).sum(1), expected),
            linear_sum=gap(of_all_targets(f, math.inf).sum(1), 0.0),
        )
        spike = torch.ones(1, classes, dtype=torch.float64).neg()
        spike[0, 0] = 1.0
        for name, scores in (("variance_error", f), ("variance_error_of_spikes", spike)):
            if classes >= 3:  # two scores have no skewness
                lams = 10 * scores.abs().amax(1)
                leading = classes * scores.var(1, correction=0) / (2 * lams)
                worst.note(**{name: gap(of_all_targets(scores, lams).sum(1) / leading, 1.0)})
    return worst


def of_all_targets(f: torch.Tensor, lam: float | torch.Tensor, margin: float = 0.0) -> torch.Tensor:
    """psi_lam(f, y) for y = 1..K, (rows, K); lam is a number or (rows,)."""
    rows, classes = f.shape
    each = lam.repeat_interleave(classes) if isinstance(lam, torch.Tensor) else lam
    targets = torch.arange(classes).repeat(rows)
    return losses_of(f.repeat_interleave(classes, 0), targets, each, margin).view(f.shape)


def consistency(*, seed: int, lam: float) -> dict[str, float]:
    """Minimise sum_y q_y psi_lam(f, y) over f, for 5 random q at each of 4 numbers of classes."""
    rng, worst, wrong = np.random.default_rng(seed), Worst(), 0
    for classes in (3, 5, 10, 26):
        q = torch.from_numpy(rng.dirichlet([2.0] * classes, 5))
        f = minimiser(lambda f: (q * of_all_targets(f, lam)).sum(1), torch.zeros_like(q))  # noqa: B023
        offset = f - lam * q.log()
        worst.note(spread=(offset.amax(1) - offset.amin(1)).max())
        wrong += int((f.argsort(1) != q.argsort(1)).sum())
    return worst | {"wrong_places": float(wrong)}


def minimiser(risk: Callable[[torch.Tensor], torch.Tensor], f: torch.Tensor) -> torch.Tensor:
    """Where the convex risk (rows,) of each row of f (rows, K) is least: Newton's method, its derivatives by autograd.

    Each step goes as far along Newton's direction as lowers the risk most, of 1, 1/2, 1/4, ...; the last two go all the
    way, for near the minimum differences of the risk are rounding errors.
    """
    rows = torch.arange(len(f))
    for step in range(8):
        free = f.clone().requires_grad_()
        (slope,) = torch.autograd.grad(risk(free).sum(), free, create_graph=True)
        curvature = torch.stack(
            [torch.autograd.grad(one.sum(), free, retain_graph=True)[0] for one in slope.unbind(1)], 1
        )
        # The curvature is singular along 1, as it must be.
        direction = (torch.linalg.pinv(curvature, hermitian=True) @ slope.detach()[..., None]).squeeze(-1)
        trials = torch.stack([f - 0.5**halved * direction for halved in range(8)])
        best = torch.stack([risk(trial) for trial in trials]).argmin(0) if step < 6 else torch.zeros_like(rows)
        f = trials[best, rows]
    return f


def crammer_singer() -> dict[str, float]:
    """lam = 0, c = 1 at a q without a majority; the least risk of all f by linear programming."""
    from scipy.optimize import linprog

    q = torch.tensor([0.3, 0.25, 0.2, 0.12, 0.08, 0.05], dtype=torch.float64)
    classes = len(q)
    # Variables f (free) and t_y >= 0 with t_y >= 1 + f_k - f_y for all k != y; minimise q . t.
    pairs = list(itertools.permutations(range(classes), 2))
    rows = np.zeros((len(pairs), 2 * classes))
    for row, (y, k) in zip(rows, pairs, strict=True):
        row[k], row[y], row[classes + y] = 1, -1, -1
    bounds = [(None, None)] * classes + [(0, None)] * classes
    best = linprog(np.concatenate([np.zeros(classes), q]), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=bounds)
    return {
        "risk_of_no_order": float(of_all_targets(torch.zeros_like(q)[None], 0.0, 1.0) @ q),
        "risk_of_the_top": float(of_all_targets(torch.eye(classes, dtype=q.dtype)[:1], 0.0, 1.0) @ q),
        "least_risk": float(best.fun),
    }


def mean_absolute_error(*, seed: int) -> dict[str, float]:
    """MAE, and the authors' code for it, on 50 random problems of 25 rows."""
    rng, worst, correct = np.random.default_rng(seed), Worst(), []
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
        risks = [(1 - z.softmax(1)) @ (2 * q) for z in (sure, moved, f)]
        official, official_gradient = with_gradient(lambda f: official_mae(f, y), f)  # noqa: B023
        correct.append(gap(with_gradient(lambda f: losses.mae(f, y, reduction="none"), f)[1], 0.0))  # noqa: B023
        worst.note(
            symmetry_gap=gap(each.sum(0), 2 * (classes - 1)),
            permutation_gap=gap(risks[0], risks[1]),
            above_the_top=2 * (1 - q[top]) - risks[2].min(),
            official_value=gap(official, 0.0),
            official_gradient=gap(official_gradient, 0.0),
        )
    return worst | {"correct_gradient": min(correct)}


def official_mae(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """sum_k (e_yk - p_k), as the authors' code has it: without the absolute value."""
    return (F.one_hot(targets, logits.shape[1]) - logits.softmax(1)).sum(1)


@dataclass(frozen=True)
class InnerProblem:
    """max over lam of phi for each row of delta (N, K), looked at from outside: lam and values are (N,) or (G, N)."""

    delta: torch.Tensor
    lam0: float
    alpha: float

    def step(self, lam: torch.Tensor) -> torch.Tensor:
        return method.adapted(self.delta, lam, lam0=self.lam0, alpha=self.alpha)

    def iterated(self, times: int, lam: torch.Tensor | None = None) -> torch.Tensor:
        """From `lam`, or from lam0, where the table of Algorithm 1 starts."""
        lam = self.delta.new_full((len(self.delta),), self.lam0) if lam is None else lam
        for _ in range(times):
            lam = self.step(lam)
        return lam

    def solved(self) -> torch.Tensor:
        return method.adaptive_lambda(self.delta, lam0=self.lam0, alpha=self.alpha)

    def value(self, lam: torch.Tensor) -> torch.Tensor:
        """phi by logsumexp at every lam; the method has another form of it for large ones."""
        classes = self.delta.shape[1]
        soft_max = lam * ((self.delta / lam[..., None]).logsumexp(-1) - math.log(classes))
        return soft_max - self.alpha * math.log(classes) / (2 * self.lam0) * (lam - self.lam0) ** 2

    def slope(self, lam: torch.Tensor) -> torch.Tensor:
        """The derivative of the fixed-point map, lam0 Var_p(delta) / (alpha log K lam^3): below 1 phi is concave."""
        p = (self.delta / lam[..., None]).softmax(-1)
        variance = (p * (self.delta - (p * self.delta).sum(-1, keepdim=True)).square()).sum(-1)
        return self.lam0 * variance / (self.alpha * math.log(self.delta.shape[1]) * lam**3)

    def unimodal(self) -> torch.Tensor:
        """Whether that slope is below 1 over the whole range of lam, (N,) bool."""
        shares = torch.linspace(1 - 1 / self.alpha, 1, 101, dtype=self.delta.dtype)
        return self.slope((shares * self.lam0)[:, None].expand(-1, len(self.delta))).amax(0) < 1

    def grid_maximum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(lam, phi) at the maximum over a grid of 401 points from 0 to 1.2 lam0, refined around its best point.

        Each refinement looks at 41 points between the neighbours of the best one.
        """
        centre, reach = self.delta.new_full((len(self.delta),), 0.6 * self.lam0), 0.6 * self.lam0
        for points in (401, 41, 41, 41, 41):
            offsets = torch.linspace(-reach, reach, points, dtype=centre.dtype)
            lam = (centre + offsets[:, None]).clamp_min(1e-4 * self.lam0)
            # In parts of (points, N, K) that stay in the cache.
            parts = lam.split(max(1, 2**17 // self.delta.numel()))
            best, place = torch.cat([self.value(part) for part in parts]).max(0)
            centre, reach = lam.gather(0, place[None])[0], 2 * reach / (points - 1)
        return centre, best


def adaptive(*, seed: int, alpha: float) -> dict[str, float]:
    """lam* and its loss on 12 random problems of 25 rows, lam0 from 0.5 to 20, margins from 0 to 1."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    scales = torch.cat([torch.zeros(1), torch.from_numpy(np.geomspace(0.1, 10, 6))])
    for f, y in problems(seed, 12):
        lam0, margin = float(uniform(0.5, 20, generator, 1)), float(uniform(0, 1, generator, 1))
        inner = InnerProblem(method.margins(f, y, margin), lam0, alpha)
        lam, stepped = inner.solved(), inner.iterated(100)
        (best_lam, best), unimodal = inner.grid_maximum(), inner.unimodal()
        residual = (inner.step(stepped) - stepped).abs()
        settled = (residual < 1e-10) & (inner.slope(stepped) < 1)
        derivative = with_gradient(inner.value, lam)[1]
        value, gradient = with_gradient(
            lambda f: method.aldr_kl(f, y, lam0=lam0, alpha=alpha, margin=margin, reduction="none"),  # noqa: B023
            f,
        )
        exact = method.worst_label(inner.delta, lam) - F.one_hot(y, f.shape[1])
        scaled = (scales[:, None, None] * method.margins(f, y)).flatten(0, 1)
        flat, *rising = InnerProblem(scaled, lam0, alpha).solved().view(len(scales), -1)
        of_scale = torch.stack(rising)
        worst.note(
            residual=residual.max(),
            stationarity=gap(derivative, 0.0),
            lost_by_solving=(best - inner.value(lam)).max(),
            below_range=(lam0 * (1 - 1 / alpha) - lam).max(),
            above_range=(lam - lam0).max(),
            flat_gap=gap(flat, lam0),
            not_flat=(of_scale - lam0).max(),
            rise_with_scale=of_scale.diff(dim=0).max(),
            under_ldr=(losses_of(f, y, lam0, margin) - value).max(),
            form_gap=gap(value, inner.value(lam)),
            gradient_gap=gap(gradient, exact),
        )
        for name, gaps in (
            ("lambda_gap", (lam - best_lam).abs()[unimodal]),
            ("value_gap", (inner.value(lam) - best).abs()[unimodal]),
            ("lost_by_iterating", (best - inner.value(stepped))[settled]),
        ):
            if gaps.numel():
                worst.note(**{name: gaps.max()})
    return worst


def adaptive_spikes(*, alpha: float) -> dict[str, float]:
    """lam* where one score stands out by 0.05 to 30 lam0 (lam0 = 1) among 5, 26 and 100 classes."""
    worst, spikes = Worst(), torch.linspace(0.05, 30, 600, dtype=torch.float64)
    for classes in (5, 26, 100):
        inner = InnerProblem(F.pad(spikes[:, None], (0, classes - 1)), 1.0, alpha)
        stepped, (_, best) = inner.iterated(100), inner.grid_maximum()
        # A few rows take ten times as many iterations as the others, which need not wait for them.
        moving, settled = inner.step(stepped) != stepped, stepped.clone()
        settled[moving] = InnerProblem(inner.delta[moving], 1.0, alpha).iterated(900, stepped[moving])
        solved = torch.cat([InnerProblem(part, 1.0, alpha).solved() for part in inner.delta.split(50)])
        there = ((inner.step(settled) - settled).abs() < 1e-10) & (inner.slope(settled) < 1)
        worst.note(
            residual=gap(inner.step(stepped), stepped),
            lost_by_iterating=(best - inner.value(settled))[there].max(),
            lost_by_solving=(best - inner.value(solved)).max(),
        )
    return worst


def algorithm(*, seed: int) -> dict[str, float]:
    """Algorithm 1 and the authors' variant of it by hand, and the two normalisations; 12 random problems of 25 rows."""
    generator, worst, alpha = torch.Generator().manual_seed(seed), Worst(), 2.0
    for f, y in problems(seed, 12):
        (rows, classes), lam0 = f.shape, float(uniform(1, 20, generator, 1).float())  # the table starts in float32
        margin, one_hot = float(uniform(0, 1, generator, 1)), F.one_hot(y, f.shape[1]).double()
        ids = torch.randperm(3 * rows, generator=generator)[:rows]
        given = {"lam0": lam0, "alpha": alpha, "margin": margin}
        table, official = (method.ALDRKL(3 * rows, **given, labels=one).double() for one in ("paper", "official"))
        delta = f - (f * one_hot).sum(1, keepdim=True) + margin * (1 - one_hot)

        def by_hand(p: torch.Tensor, lam0: float = lam0) -> torch.Tensor:
            return lam0 - lam0 * (p * (len(p[0]) * p).log()).sum(1) / (alpha * math.log(len(p[0])))

        first, smoothed = by_hand((delta / lam0).softmax(1)), (f / lam0).softmax(1) + 1e-5
        second = by_hand((delta / first[:, None]).softmax(1))
        penalty = alpha * math.log(classes) / (2 * lam0) * (first - lam0) ** 2
        value, gradient = with_gradient(lambda f: table(f, y, ids, reduction="none"), f)  # noqa: B023
        visited = table.lam[ids].clone()
        table(f, y, ids)
        again = table.lam[ids].clone()
        for _ in range(100):
            table(f, y, ids)
        official(f, y, ids)
        once = InnerProblem(method.margins(f, y, 0.1), 10.0, alpha).iterated(1)
        by_default = method.aldr_kl(f, y, lam=once, reduction="none")
        elsewhere = torch.ones(3 * rows, dtype=torch.bool).index_fill(0, ids, False)
        scores = {softplus: method.normalised(f, softplus=softplus) for softplus in (True, False)}
        worst.note(
            first_gap=gap(visited, first),
            second_gap=gap(again, second),
            converged_gap=gap(table.lam[ids], InnerProblem(delta, lam0, alpha).solved()),
            official_gap=gap(official.lam[ids], by_hand(smoothed / smoothed.sum(1, keepdim=True))),
            elsewhere_gap=gap(table.lam[elsewhere], lam0),
            loss_gap=gap(value, first * ((delta / first[:, None]).exp().mean(1)).log() - penalty),
            gradient_gap=gap(gradient, (delta / first[:, None]).softmax(1) - one_hot),
            softplus_gap=gap(scores[True], F.softplus(f) / F.softplus(f).mean(1, keepdim=True)),
            l1_gap=gap(scores[False], classes * f / f.abs().sum(1, keepdim=True)),
        )
        for settings in ({}, {"lam0": 10.0, "alpha": 2.0, "margin": 0.1}):
            fresh = method.ALDRKL(rows, **settings).double()
            worst.note(default_gap=gap(fresh(f, y, torch.arange(rows), reduction="none"), by_default))
    return worst


def generalised_ce(*, seed: int) -> dict[str, float]:
    """The ends of GCE on 100 random problems of 25 rows, where p_y > 1e-3."""
    worst = Worst()
    for f, y in problems(seed, 100):
        ce = F.cross_entropy(f, y, reduction="none")
        near_ce, linear = (losses.gce(f, y, q=q, reduction="none") for q in (1e-7, 1.0))
        worst.note(
            cross_entropy_gap=gap(near_ce[ce < -math.log(1e-3)], ce[ce < -math.log(1e-3)]),
            linear_gap=gap(linear, -torch.expm1(-ce)),
        )
    return worst


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, and the three reductions of each loss."""
    general = {"domain": "simplex", "iterations": 500}
    f, y = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), torch.arange(8) % 5
    worst, ids = Worst(), torch.arange(8)
    calls: list[Callable[[str], torch.Tensor]] = [
        lambda how: method.ldr_kl(f, y, lam=0.7, reduction=how),
        lambda how: method.aldr_kl(f, y, reduction=how),
        lambda how: method.ALDRKL(8)(f, y, ids, reduction=how),
    ]
    for call in calls:
        each = call("none")
        worst.note(reduction_gap=max(gap(call("mean"), each.mean()), gap(call("sum"), each.sum())))
    adaptive = {"lam0": 10.0, "alpha": 2.0, "margin": 0.1}
    return worst | {
        "other": other_defaults(method.margins, margin=0.0)
        + other_defaults(method.ldr, margin=0.0, **general)
        + other_defaults(method.worst_case, **general)
        + other_defaults(method.ldr_kl, margin=0.0, reduction="mean")
        + other_defaults(method.adaptive_value, at_most=None)
        + other_defaults(method.adaptive_lambda, iterations=1000)
        + other_defaults(method.aldr_kl, lam=None, reduction="mean", **adaptive)
        + other_defaults(method.ALDRKL, labels="paper", **adaptive)
        + other_defaults(method.ALDRKL.forward, reduction="mean"),
    }
