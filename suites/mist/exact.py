"""The exact tier in float64: information against quadrature, the network against its formula in NumPy, estimates
against kept libraries. A `gap` is a distance between two computations of one thing, an `excess` how far a bound is
passed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import integrate, optimize, stats
from scipy.special import erf, gammaln, ndtri
from torch import nn

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.mist import contenders, critics, families, method
from suites.mist.families import Array

TINY = method.Sizes(8, 10, 12, 3, 2, 2, 5, 9, 4, 0.1, 0.3)


def draws(name: str, *, d: int, n: int, count: int, seed: int) -> families.Sets:
    return families.draw(name, d, n, count, np.random.default_rng(seed))


def network(seed: int, sizes: method.Sizes = TINY, *, quantiles: bool = False) -> method.Mist:
    """With random weights everywhere, gains and biases too, and large ones, so that none of them is idle."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = method.Mist(sizes, quantiles=quantiles).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter), alpha=0.3)
                else:
                    parameter.mul_(2)
    return model


# What is known.


def normal_information(*, seed: int) -> dict[str, float]:
    """Against canonical correlations, the bivariate formula, and the integral of the density on a grid."""
    rng, worst = np.random.default_rng(seed), Worst()
    for d in (1, 2, 3, 8):
        factors = rng.standard_normal((20, 2 * d, 2 * d))
        covariance = factors @ factors.swapaxes(1, 2) + 0.5 * np.eye(2 * d)
        found = families.gaussian_information(covariance)
        for one, value in zip(covariance, found, strict=True):
            whiten = [np.linalg.inv(np.linalg.cholesky(part)) for part in (one[:d, :d], one[d:, d:])]
            canonical = np.linalg.svd(whiten[0] @ one[:d, d:] @ whiten[1].T)[1]
            worst.note(canonical_gap=gap(value, -0.5 * np.log1p(-(canonical**2)).sum()))
    rho = rng.uniform(-0.99, 0.99, 50)
    pairs = np.stack([np.ones(50), rho, rho, np.ones(50)], 1).reshape(50, 2, 2)
    worst.note(bivariate_gap=gap(families.gaussian_information(pairs), -0.5 * np.log1p(-(rho**2))))
    x, step = np.linspace(-9, 9, 721, retstep=True)
    for r, value in zip((-0.9, 0.3, 0.6), (0.83036560, 0.04715534, 0.22314355), strict=True):
        p = np.exp(-(x[:, None] ** 2 - 2 * r * x[:, None] * x + x**2) / (2 * (1 - r**2)))
        p /= 2 * math.pi * math.sqrt(1 - r**2)
        ratio = -0.5 * math.log(1 - r**2) - (r**2 * (x[:, None] ** 2 + x**2) - 2 * r * x[:, None] * x) / (
            2 * (1 - r**2)
        )
        found = families.gaussian_information(np.array([[1, r], [r, 1]]))
        worst.note(quadrature_gap=max(gap(found, (p * ratio).sum() * step**2), gap(found, value)))
    return worst


def student_information(*, seed: int) -> dict[str, float]:
    """c(v) against double exponential quadrature for d = 1, sampled log-densities (the worst |z|), and its limits."""
    u, step = np.linspace(-3.3, 3.3, 601, retstep=True)
    x, slope = np.sinh(math.pi / 2 * np.sinh(u)), math.pi / 2 * np.cosh(u) * np.cosh(math.pi / 2 * np.sinh(u))
    worst = Worst()
    for v in (1.0, 1.5, 3.0, 5.0, 9.0):
        joint = gammaln(v / 2 + 1) - gammaln(v / 2) - math.log(v * math.pi)
        joint = joint - (v / 2 + 1) * np.log1p((x[:, None] ** 2 + x**2) / v)
        alone = stats.t.logpdf(x, v)
        integrand = np.exp(joint) * (joint - alone[:, None] - alone) * slope[:, None] * slope
        worst.note(quadrature_gap=gap(families.student_correction(v, 1), integrand.sum() * step**2))
    rng = np.random.default_rng(seed)
    for v, r, d, d_y in (
        (3, 0.0, 1, 1),
        (3, 0.6, 1, 1),
        (1, 0.0, 1, 1),
        (5, 0.5, 1, 1),
        (2, 0.4, 2, 2),
        (4, 0.3, 1, 2),
    ):
        size = d + d_y
        s = np.full((size, size), r) + (1 - r) * np.eye(size)
        rows = stats.multivariate_t(shape=s, df=v).rvs(20_000, random_state=rng).reshape(-1, size)
        logs = [
            stats.multivariate_t(shape=s[part, part], df=v).logpdf(rows[:, part])
            for part in (slice(None), slice(None, d), slice(d, None))
        ]
        values = logs[0] - logs[1] - logs[2]
        parts = [np.linalg.slogdet(s[part, part])[1] for part in (slice(None, d), slice(d, None), slice(None))]
        known = (parts[0] + parts[1] - parts[2]) / 2 + families.student_correction(v, d, d_y)
        worst.note(z=abs(values.mean() - known) / (values.std() / math.sqrt(len(values))))
    grid = np.geomspace(0.3, 1e6, 60)
    along = np.stack([families.student_correction(grid, d) for d in (1, 2, 5)])
    return worst | {
        "limits_excess": max(
            float(along[:, -1].max()) - 1e-4, -float(along[:, :40].min()), float(np.diff(along[:, :40]).max())
        )
    }


def additive_information(*, seed: int) -> dict[str, float]:
    """I = h(X + N) - h(N) with the density of the sum integrated numerically; both formulas meet at e = 1/2."""
    worst = Worst()
    for e in (0.1, 0.3, 0.5, 0.8, 2.0, *np.random.default_rng(seed).uniform(0.1, 2, 5)):

        def minus_p_log_p(y: float, e: float = e) -> float:
            p = max(min(y + e, 1.0) - max(y - e, 0.0), 0.0) / (2 * e)
            return -p * math.log(p) if p > 0 else 0.0

        corners = sorted([e, 1 - e])
        entropy = integrate.quad(minus_p_log_p, -e, 1 + e, points=corners, limit=200)[0]
        worst.note(quadrature_gap=gap(families.additive_information(e), entropy - math.log(2 * e)))
    ends = families.additive_information(np.array([0.5, 0.5 + 1e-12]))
    found = draws("additive-noise-base", d=3, n=30_000, count=20, seed=seed)
    apart = np.abs(found.rows[..., 3:] - found.rows[..., :3]).max((1, 2))
    return worst | {
        "joint_gap": gap(ends, 0.5),
        "sum_gap": gap(found.information, 3 * families.additive_information(apart)),
    }


# What is drawn.


def parameters(*, seed: int) -> dict[str, float]:
    """Parameters recovered from what is drawn: they lie in the paper's ranges, and their means are those of uniform
    ones (the worst |z|); shapes are what their names say."""
    rng, worst, count, d = np.random.default_rng(seed), Worst(), 3000, 4

    def note(found: Array, low: float, high: float) -> None:
        spread = (high - low) / math.sqrt(12 * len(found))
        worst.note(
            z=abs(found.mean() - (low + high) / 2) / spread,
            range_excess=max(low - found.min(), found.max() - high, high - low - 1.02 * np.ptp(found)),
        )

    i, j = np.arange(d), np.arange(d) + d
    dense = families.dispersion("dense", d, count, rng)
    off = dense[:, 0, 1]
    note(off, 0, 0.5)
    worst.note(shape_gap=gap(dense, off[:, None, None] + (1 - off)[:, None, None] * np.eye(2 * d)))
    for shape in ("sparse", "2pair"):
        s = families.dispersion(shape, d, count, rng)
        cross = s[:, i, j]
        most = cross.max(1)
        note(np.sqrt(most / (1 - most)), 0.1, 5)
        pairs = (cross > 0).sum(1)
        if shape == "sparse":
            worst.note(
                z=abs(pairs.mean() - 2.5) / math.sqrt(1.25 / count), shape_gap=gap(np.unique(pairs), [1, 2, 3, 4])
            )
        else:
            worst.note(shape_gap=gap(pairs, 2))
        kept = np.arange(d) < pairs[:, None]
        expected = np.tile(np.eye(2 * d), (count, 1, 1))
        expected[:, i, j] = expected[:, j, i] = most[:, None] * kept
        worst.note(shape_gap=gap(s, expected))
    # Where the first two coordinates are paired, correlations within X, across and of a pair give the variance 1 / (1 -
    # pair - inside + across), and with it all weights; the ratio of two correlations with a third that of variances.
    s = families.dispersion("lvm", d, count, rng)
    s = s[np.abs(s[:, 0, 2] / s[:, 1, 2] - 1) < 1e-9]
    inside, across, pair = s[:, 0, 1], s[:, 0, d + 1], s[:, 0, d]
    variance = 1 / (1 - pair - inside + across)
    common, own = across * variance, (inside - across) * variance
    note(np.sqrt(common), 0, 1)
    note(np.sqrt(own), 0, 1.5)
    note(np.sqrt((pair - across) * variance), 0.1, 3)
    last = variance * (inside / s[:, 1, 3]) ** 2
    lonely = np.abs(last / variance - 1) > 1e-9
    note(np.sqrt((last - 1 - common - own)[lonely]), 0.1, 5)
    worst.note(shape_gap=gap((s[:, 3, d + 3] * last)[lonely], common[lonely]))
    worst.note(shape_gap=gap(s[:, d:, d:], s[:, :d, :d]))
    v = [
        optimize.brentq(lambda v, c=c: float(families.student_correction(v, 2)) - c, 0.9, 11)
        for c in draws("student-identity-base", d=2, n=1, count=500, seed=seed).information
    ]
    note(np.array(v), 1, 10)
    note(np.abs(np.diff(draws("additive-noise-base", d=1, n=2000, count=1000, seed=seed).rows)).max((1, 2)), 0.1, 2)
    worst.note(shape_gap=gap(families.dispersion("identity", d, 3, rng), np.eye(2 * d)))
    return worst


def samples(*, seed: int) -> dict[str, float]:
    """Rows have the distribution whose information is given: the information of the normal families' covariances, and
    Kolmogorov's distance of Student's coordinates and norms from t and F, and of noise; transforms act on them."""
    worst = Worst()
    for name, d in itertools.product(
        ("normal-dense-base", "normal-sparse-base", "normal-lvm-base", "normal-2pair-base"), (1, 3)
    ):
        found = draws(name, d=d, n=20_000, count=4, seed=seed)
        covariance = np.stack([np.cov(one.T) for one in found.rows])
        worst.note(normal_gap=gap(families.gaussian_information(covariance), found.information))
    found = draws("student-identity-base", d=2, n=20_000, count=3, seed=seed)
    for rows, c in zip(found.rows, found.information, strict=True):
        v = optimize.brentq(lambda v, c=c: float(families.student_correction(v, 2)) - c, 0.9, 11)
        worst.note(
            kolmogorov=max(
                *(stats.kstest(column, stats.t(v).cdf).statistic for column in rows.T),
                stats.kstest((rows**2).mean(1), stats.f(4, v).cdf).statistic,
            )
        )
    x, y = draws("additive-noise-base", d=1, n=20_000, count=1, seed=seed).rows[0].T
    noise = (y - x) / np.abs(y - x).max()
    worst.note(
        kolmogorov=max(stats.kstest(x, "uniform").statistic, stats.kstest(noise, stats.uniform(-1, 2).cdf).statistic)
    )
    worst.note(kolmogorov=abs(stats.spearmanr(x, noise).statistic))
    for name in dict.fromkeys((*families.TRAIN, *families.IN_FAMILY, *families.OUT_OF_FAMILY)):
        plain, transform = name.rpartition("-")[0] + "-base", families.TRANSFORMS[name.rpartition("-")[2]]
        here, there = (draws(one, d=3, n=10, count=5, seed=seed) for one in (name, plain))
        moved = [move(part) for move, part in zip(transform, (there.rows[..., :3], there.rows[..., 3:]), strict=True)]
        worst.note(transform_gap=gap(here.rows, np.concatenate(moved, 2)) + gap(here.information, there.information))
    mixture = families.mixed(["additive-noise-base", "normal-dense-base"], 1, 50, 2000, np.random.default_rng(seed))
    uniform = mixture.rows[..., 0].min(1) >= 0
    worst.note(
        transform_gap=max(0.0, abs(uniform.mean() - 0.5) - 0.05) + gap(len(mixture.rows), 2000)
        + float(not 400 < uniform[:1000].sum() < 600)
    )  # fmt: skip
    return worst


def transforms(*, seed: int) -> dict[str, float]:
    """Each map increases strictly, has an inverse, leaves ranks alone, and is what its formula says."""
    rng, worst = np.random.default_rng(seed), Worst()
    grid, rows = np.linspace(-30, 30, 60_001), rng.standard_normal((20, 100, 2)) * 3
    least = math.inf
    for moves in families.TRANSFORMS.values():
        for move in moves:
            least = min(least, float((np.diff(move(grid))[np.abs(grid[1:]) > 0.01] / 1e-3).min()))
            for value in rng.uniform(-5, 5, 10):
                back = optimize.brentq(
                    lambda x, move=move, value=value: float(move(x)) - float(move(value)), -40, 40, xtol=1e-14
                )
                worst.note(inverse_gap=gap(back, value))
        moved = np.stack([moves[0](rows[..., 0]), moves[1](rows[..., 1])], 2)
        worst.note(rank_gap=gap(contenders.normal_scores(moved), contenders.normal_scores(rows)))
    waves = (
        ((0.4, 1, 0), (0.2, 1.7, 1), (0.03, 3.3, -2.5)),
        ((-0.4, 0.4, 0), (0.17, 1.3, 3.5), (0.02, 4.3, -2.5)),
    )
    for move, sines in zip(families.TRANSFORMS["wigglify"], waves, strict=True):
        for x in rng.uniform(-9, 9, 20):
            worst.note(formula_gap=gap(move(x), x + math.fsum(a * math.sin(b * x + c) for a, b, c in sines)))
    worst.note(formula_gap=gap(families.halfcube(np.array([4.0, -4.0, 0.0, 2.25])), [8.0, -8.0, 0.0, 3.375]))
    worst.note(formula_gap=gap(families.TRANSFORMS["asinh"][1](np.sinh(np.full(2, 2.0))), 2.0))
    return worst | {"least_slope": least}


# The network.


def by_hand(model: method.Mist, rows: Array, tau: float | None) -> float:
    """The network's formula for one set (N, 2d) in NumPy, heads one by one."""
    weights = {name: one.detach().numpy() for name, one in model.state_dict().items()}
    sizes = model.sizes

    def linear(name: str, x: Array) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weights[f"{name}.weight"]
            + weights[f"{name}.bias"]
        )

    def gelu(x: Array) -> Array:
        return x * (1 + erf(x / math.sqrt(2))) / 2

    def attention(name: str, x: Array, y: Array) -> Array:
        inputs = zip((x, y, y), np.split(weights[f"{name}.attend.in_proj_weight"], 3),
                     np.split(weights[f"{name}.attend.in_proj_bias"], 3), strict=True)  # fmt: skip
        q, k, v = (one @ w.T + b for one, w, b in inputs)
        size, found = sizes.width // sizes.heads, []
        for head in range(sizes.heads):
            part = slice(head * size, (head + 1) * size)
            raised = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            found.append(raised / raised.sum(1, keepdims=True) @ v[:, part])
        h = norm(f"{name}.inner", x + linear(f"{name}.attend.out_proj", np.concatenate(found, 1)))
        return norm(f"{name}.outer", h + linear(f"{name}.feed.2", gelu(linear(f"{name}.feed.0", h))))

    x = np.pad(rows, ((0, 0), (0, sizes.columns - rows.shape[1])))
    for place in (0, 4):
        x = norm(f"encoder.of_row.{place + 2}", gelu(linear(f"encoder.of_row.{place}", x)))
    for place in range(sizes.blocks):
        x = norm(f"encoder.norms.{place}", attention(f"encoder.blocks.{place}", x, x))
    for place in range(sizes.layers):
        name = f"encoder.induced.{place}"
        x = attention(f"{name}.spread", x, attention(f"{name}.gather.attention", weights[f"{name}.gather.seeds"][0], x))
    x = attention("encoder.pool.attention", weights["encoder.pool.seeds"][0], x)
    x = attention("encoder.among", x, x)
    code = linear("encoder.out", attention("encoder.last.attention", weights["encoder.last.seeds"][0], x))[0]
    hidden = code if tau is None else np.append(code, tau)
    for place in (0, 2):
        hidden = np.maximum(linear(f"head.{place}", hidden), 0)
    return float(linear("head.4", hidden)[0])


def network_formula(*, seed: int) -> dict[str, float]:
    """Networks with and without quantiles against their formula in NumPy; parameters at the released sizes."""
    rng, worst = np.random.default_rng(seed), Worst()
    for quantiles, d in itertools.product((False, True), (1, 3, 4)):
        model, rows = network(seed + d, quantiles=quantiles), rng.standard_normal((3, 11, 2 * d))
        taus = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64) if quantiles else None
        with torch.no_grad():
            found = model(torch.from_numpy(rows), taus)
        each = [None] * 3 if taus is None else taus.tolist()
        worst.note(gap=gap(found, [by_hand(model, one, tau) for one, tau in zip(rows, each, strict=True)]))
        x, y = torch.from_numpy(rows[0]).split(d, dim=1)
        level = 0.5 if quantiles else None
        worst.note(gap=gap(method.estimate(model, x, y), by_hand(model, rows[0], level)))
        if quantiles:
            ends = sorted(by_hand(model, rows[0], tau) for tau in (0.1, 0.9))
            worst.note(gap=gap(method.interval(model, x, y, 0.8), ends))
    with torch.device("meta"):
        encoder, plain, quantile = method.Encoder(), method.Mist(), method.Mist(quantiles=True)
    sizes = [sum(one.numel() for one in part.parameters()) for part in (encoder, plain, quantile)]
    return worst | {
        "encoder": float(sizes[0]),
        "heads_gap": gap(np.diff(sizes), [3 * 256**2 - 256**2 + 2 * 256 + 257, 256]),
    }


def symmetries(*, seed: int) -> dict[str, float]:
    """What an untrained network does not see, the order of rows, and what it does (`least_change`)."""
    model, worst, least = network(seed), Worst(), math.inf
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((4, 20, 6)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        here = model(rows)
        for _ in range(5):
            worst.note(order_gap=gap(model(rows[:, torch.randperm(20, generator=generator)]), here))
        x, y = rows.split(3, dim=2)
        moved = [torch.cat([x[..., [1, 0, 2]], y], 2), torch.cat([y, x], 2), 2 * rows, rows.exp()]
        for one in moved:
            least = min(least, float((model(one) - here).abs().max()))
    return worst | {"least_change": least}


def gradients(*, seed: int) -> dict[str, float]:
    """The gradient of an estimate with respect to the samples against central differences, relative to its largest."""
    worst, h = Worst(), 1e-5
    for quantiles in (False, True):
        model = network(seed, quantiles=quantiles)
        rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 6, 4))).requires_grad_()
        level = 0.3 if quantiles else None
        (found,) = torch.autograd.grad(model(rows, level).sum(), rows)
        steps = h * torch.eye(24, dtype=torch.float64).view(24, 6, 4)
        with torch.no_grad():
            slopes = (model(rows + steps, level) - model(rows - steps, level)) / (2 * h)
        worst.note(relative_gap=gap(found.flatten(), slopes) / float(found.abs().max()))
    return worst


# Losses, training.


def quantile_loss(*, seed: int) -> dict[str, float]:
    """The pinball loss: least at empirical quantiles, half of the absolute error at 1/2, never negative, its slopes."""
    rng, worst = np.random.default_rng(seed), Worst()
    for tau in (0.05, 0.2, 0.5, 0.77, 0.95):
        targets = torch.from_numpy(rng.standard_exponential(41))
        losses = [float(method.pinball(one.expand(41), targets, tau)) for one in targets]
        quantile = np.quantile(targets.numpy(), tau, method="inverted_cdf")
        worst.note(minimum_gap=gap(targets[int(np.argmin(losses))], quantile))
        free = float(method.pinball(torch.full((41,), rng.uniform(0, 3), dtype=torch.float64), targets, tau))
        worst.note(minimum_gap=max(0.0, min(losses) - free), value_gap=max(0.0, -min(losses)))
        estimate = torch.tensor([0.0, 3.0], requires_grad=True)
        method.pinball(estimate, torch.tensor([1.0, 1.0]), tau).backward()
        worst.note(value_gap=gap(estimate.grad, torch.tensor([-tau / 2, (1 - tau) / 2])))
    a, b = (torch.from_numpy(rng.standard_normal(30)) for _ in range(2))
    levels = torch.from_numpy(rng.random(30))
    each = [
        max((t - 1) * (y - x), t * (y - x)) for x, y, t in zip(a.tolist(), b.tolist(), levels.tolist(), strict=True)
    ]
    worst.note(
        value_gap=max(
            gap(method.pinball(a, b, 0.5), (a - b).abs().mean() / 2),
            gap(method.pinball(a, b, levels), math.fsum(each) / 30),
        )
    )
    return worst


class Line(method.Mist):
    """A stand-in for the network, whose AdamW is easy by hand: mean of the columns times a weight, plus a bias."""

    def __init__(self, quantiles: bool) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(torch.full((1, 1), 2.0)), nn.Parameter(torch.zeros(1))
        self.weight.data, self.bias.data = self.weight.data.double(), self.bias.data.double()
        self.quantiles = quantiles

    def forward(
        self, rows: torch.Tensor, tau: torch.Tensor | float | None = None, *, counts: torch.Tensor | None = None
    ) -> torch.Tensor:
        assert counts is None
        return rows.mean((1, 2)) * self.weight[0, 0] + self.bias[0] + (0 if tau is None else tau)


def padding(seed: int) -> float:
    """How far estimates are from those of sets alone where sets of unequal size share a batch."""
    model, rows = network(seed), torch.from_numpy(np.random.default_rng(seed).standard_normal((4, 20, 6)))
    longer, counts = torch.cat([rows, torch.zeros(4, 7, 6)], 1), torch.tensor([20, 5, 1, 13])
    with torch.no_grad():
        whole = torch.cat([model(one[None]) for one in rows])
        alone = torch.cat([model(one[None, : int(n)]) for one, n in zip(rows, counts, strict=True)])
        found = [model(rows), model(longer, counts=torch.full((4,), 20)), model(longer, counts=counts)]
    return max(map(gap, found, (whole, whole, alone)))


def training(*, seed: int) -> dict[str, float]:
    """`train` on a line against AdamW by hand (bias without decay, clipped norm, sets that are not finite left out) for
    both losses; it repeats itself and leaves the global generator and the mode as they should be. Sets of unequal size
    in a batch. Critics learn, and InfoNCE stays below log n. (One trial, as the compiler, which optimisers and masks
    load, takes seconds.)"""
    worst, rng = Worst(), np.random.default_rng(seed)
    batches = [
        (torch.from_numpy(rng.standard_normal((6, 4, 2)) + 1), torch.from_numpy(rng.standard_normal(6)))
        for _ in range(4)
    ]
    spoilt = [(rows.clone(), targets.clone()) for rows, targets in batches]
    spoilt[1][0][2, 1, 0], spoilt[2][1][3] = math.nan, math.inf
    for quantiles, rate, decay in ((False, 0.01, 0.5), (True, 0.1, 2.0)):
        model = Line(quantiles)
        before = torch.get_rng_state()
        losses = method.train(model, spoilt, rate=rate, decay=decay, clip=0.3, seed=seed)
        worst.note(state_gap=gap(before, torch.get_rng_state()) + model.training)
        generator, values = torch.Generator().manual_seed(seed), np.array([2.0, 0.0])
        first, second, expected = np.zeros(2), np.zeros(2), []
        for step, (rows, targets) in enumerate(spoilt, 1):
            good = [i for i in range(6) if bool(rows[i].isfinite().all()) and bool(targets[i].isfinite())]
            means, wanted = rows[good].mean((1, 2)).numpy(), targets[good].numpy()
            if quantiles:
                tau = torch.rand(len(good), generator=generator).numpy().astype(float)
                r = wanted - (means * values[0] + values[1] + tau)
                expected.append(float(np.maximum((tau - 1) * r, tau * r).mean()))
                slope = np.where(r > 0, -tau, 1 - tau) / len(good)
            else:
                r = wanted - (means * values[0] + values[1])
                expected.append(float((r**2).mean()))
                slope = -2 * r / len(good)
            gradient = np.array([(slope * means).sum(), slope.sum()])
            gradient *= min(1.0, 0.3 / (np.linalg.norm(gradient) + 1e-6))
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            values = values * (1 - rate * np.array([decay, 0.0]))
            values = values - rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 8e-9)
        worst.note(step_gap=max(gap([model.weight.item(), model.bias.item()], values), gap(losses, expected)))
    twins = [network(seed, quantiles=True).float() for _ in range(2)]
    each = [
        method.train(one, [(rows.float(), t.float()) for rows, t in batches], rate=1e-3, seed=seed) for one in twins
    ]
    worst.note(state_gap=gap(*each) + gap(method.train(twins[0], [])) + (0 if len(each[0]) == 4 else 1))
    slower = Line(False)
    method.train(
        slower,
        batches,
        rate=0.01,
        decay=0.0,
        schedule=lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: float(step == 0)),
    )
    once = Line(False)
    method.train(once, batches[:1], rate=0.01, decay=0.0)
    worst.note(step_gap=gap(slower.weight, once.weight), padding_gap=padding(seed))
    linked = draws("normal-2pair-base", d=1, n=80, count=4, seed=seed)
    close = torch.from_numpy(contenders.normal_scores(linked.rows))
    for bound in critics.BOUNDS:
        found = critics.estimates(close, bound, (0.02, 0.0), (1, 60), seed)
        learned, start = (
            np.abs(contenders.clipped(found[0.02, step].numpy()) - linked.information) for step in (60, 1)
        )
        worst.note(learned_excess=(learned - start).mean(), state_gap=gap(found[0.0, 60], found[0.0, 1]))
        if bound == "infonce":
            worst.note(ceiling_excess=max(float(one.max()) for one in found.values()) - math.log(40))
    return worst


# What it is compared with.


def classical(*, seed: int) -> dict[str, float]:
    """KSG against scikit-learn's in one dimension and a loop in two, CCA and cells against scikit-learn's,
    normal scores, resampling, choices on validation sets."""
    from sklearn.cross_decomposition import CCA
    from sklearn.feature_selection import mutual_info_regression
    from sklearn.metrics import mutual_info_score

    rng, worst = np.random.default_rng(seed), Worst()
    sets = draws("normal-dense-base", d=1, n=40, count=4, seed=seed).rows
    for k in (1, 3, 5):
        found = contenders.ksg(contenders.standardised(sets), k)
        expected = [mutual_info_regression(one[:, :1], one[:, 1], n_neighbors=k, random_state=0)[0] for one in sets]
        worst.note(ksg_gap=gap(np.maximum(found, 0), expected))
    wide = draws("normal-sparse-base", d=2, n=30, count=3, seed=seed).rows
    for one, value in zip(wide, contenders.ksg(wide, 2), strict=True):
        x, y = (np.abs(part[:, None] - part).max(2) for part in (one[:, :2], one[:, 2:]))
        radius = np.sort(np.maximum(x, y), 1)[:, 2]
        near = [[int((row < r).sum()) for row, r in zip(part, radius, strict=True)] for part in (x, y)]
        digamma = {m: -np.euler_gamma + math.fsum(1 / i for i in range(1, m)) for m in range(1, 31)}
        by_loops = digamma[2] + digamma[30] - np.mean([digamma[a] + digamma[b] for a, b in zip(*near, strict=True)])
        worst.note(ksg_gap=gap(value, by_loops))
        pair = CCA(2, scale=False, max_iter=20_000, tol=1e-15).fit_transform(one[:, :2], one[:, 2:])
        r = [np.corrcoef(pair[0][:, i], pair[1][:, i])[0, 1] for i in range(2)]
        plain, corrected = (contenders.cca(one[None], flag)[0] for flag in (False, True))
        worst.note(cca_gap=max(gap(plain, -0.5 * np.log1p(-np.square(r)).sum()), gap(plain - corrected, 4 / 60)))
    alike = contenders.normal_scores(np.arange(12.0).reshape(1, 6, 2))
    worst.note(cca_gap=gap(contenders.cca(alike, False), math.log(6)))
    ranks = np.tile(np.argsort(np.argsort(sets[0], 0), 0), 1)
    cells = ranks * 4 // 40
    score = mutual_info_score(cells[:, 0], cells[:, 1])
    filled = [len({*map(tuple, one)}) for one in (cells[:, :1], cells[:, 1:], cells)]
    miller = (filled[0] + filled[1] - filled[2] - 1) / 80
    both = [contenders.histogram(sets[:1], 4, flag)[0] for flag in (False, True)]
    worst.note(cells_gap=gap(both, [score, score + miller]))
    # Of one variable twice twelve of sixteen cells are empty.
    twice = contenders.histogram(sets[:1, :, [0, 0]], 4, True)
    worst.note(cells_gap=gap(twice, math.log(4) + 3 / 80))
    two = (np.argsort(np.argsort(wide[0], 0), 0) * 3 // 30) @ np.array([[1, 0], [3, 0], [0, 1], [0, 3]])
    worst.note(cells_gap=gap(contenders.histogram(wide[:1], 3, False)[0], mutual_info_score(two[:, 0], two[:, 1])))
    ties = np.array([[[1.0, 5.0], [1.0, 6.0], [3.0, 4.0]]])
    worst.note(
        scores_gap=max(
            gap(contenders.normal_scores(ties)[0], ndtri(np.array([[1.5, 2], [1.5, 3], [3, 1]]) / 4)),
            gap(contenders.standardised(ties * [1, 0]).std(1), [[1.0, 0.0]]),
            gap(contenders.standardised(ties).mean(1)),
            gap(contenders.clipped(np.array([math.nan, -1.0, 2.0])), [0.0, 0.0, 2.0]),
        )
    )
    again = contenders.resampled(ranks[None] + 0.0, 500, rng)[:, 0]
    counts = np.stack([np.bincount(one[:, 0].astype(int), minlength=40) for one in again])
    kept = {(int(a), int(b)) for a, b in again.reshape(-1, 2)} == {(int(a), int(b)) for a, b in ranks}
    worst.note(scores_gap=float(not kept) + max(0.0, abs(counts.var() - 39 / 40) - 0.05) + gap(counts.sum(1), 40))
    validation = families.mixed(families.IN_FAMILY, 1, 30, 200, rng)
    for arm in contenders.CLASSICAL:
        errors = [
            ((contenders.clipped(one(validation.rows)) - validation.information) ** 2).mean()
            for _, one in contenders.settings(arm)
        ]
        best = ((contenders.tuned(arm, validation)(validation.rows) - validation.information) ** 2).mean()
        worst.note(choice_gap=gap(best, min(errors)) + float(len(errors) != {"ksg": 8, "histogram": 10}.get(arm, 2)))
        affine = contenders.calibrated((arm,), validation)(validation.rows)
        line = np.polyval(np.polyfit(contenders.tuned(arm, validation)(validation.rows), validation.information, 1),
                          contenders.tuned(arm, validation)(validation.rows))  # fmt: skip
        worst.note(choice_gap=gap(affine, np.maximum(line, 0)))
    together = contenders.calibrated(("ksg", "copula"), validation)(validation.rows)
    a, b = (contenders.tuned(arm, validation)(validation.rows) for arm in ("ksg", "copula"))
    design = np.stack([a * a, a * b, b * b, a, b, np.ones(200)], 1)
    fitted = design @ np.linalg.solve(design.T @ design, design.T @ validation.information)
    worst.note(choice_gap=max(0.0, gap(together, np.maximum(fitted, 0)) - 1e-6))
    return worst


def cca_bias(*, seed: int) -> dict[str, float]:
    """The mean of CCA's estimate over 2,000 sets of 200 independent rows, d = 3, over d^2 / (2n)."""
    rows = np.random.default_rng(seed).standard_normal((2000, 200, 6))
    return {"ratio": float(contenders.cca(rows, False).mean()) / (9 / 400)}


def bounds(*, seed: int) -> dict[str, float]:
    """Neural bounds of given scores against loops."""
    rng, worst = np.random.default_rng(seed), Worst()
    scores = rng.standard_normal((3, 5, 5)) * 4
    for one, t in zip(scores, torch.from_numpy(scores), strict=True):
        p, others = np.diag(one), [one[i, j] for i in range(5) for j in range(5) if i != j]
        mean = math.fsum(p) / 5
        e = [math.exp(value) for value in others]
        clipped = [math.exp(min(max(value, -5), 5)) for value in others]
        worst.note(
            bound_gap=gap(
                [critics.mine(t), critics.nwj(t), critics.infonce(t), critics.smile(t), critics.telling_apart(t)],
                [
                    mean - math.log(math.fsum(e) / 20),
                    mean - math.fsum(e) / math.e / 20,
                    math.fsum(p[i] - math.log(math.fsum(np.exp(one[i])) / 5) for i in range(5)) / 5,
                    mean - math.log(math.fsum(clipped) / 20),
                    -math.fsum(math.log1p(math.exp(-a)) for a in p) / 5
                    - math.fsum(math.log1p(math.exp(a)) for a in others) / 20,
                ],
            )
        )
    rows = torch.from_numpy(rng.standard_normal((2, 3, 4)))
    paired = critics.pairs(rows).view(2, 3, 3, 4)
    worst.note(
        bound_gap=max(gap(paired[1, i, j], [*rows[1, i, :2], *rows[1, j, 2:]]) for i in range(3) for j in range(3))
    )
    return worst


# Use.


def usage(*, seed: int) -> dict[str, float]:
    """Dtypes, layouts, large values, one row; defaults; calls that make no sense."""
    rng, worst = np.random.default_rng(seed), Worst()
    model, quantile = network(seed).float(), network(seed, quantiles=True).float()
    x, y = (torch.from_numpy(rng.standard_normal((12, 2))).float() for _ in range(2))
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        narrow = [one.to(dtype) for one in (x, y)]
        worst.note(gap=gap(method.estimate(model, *narrow), method.estimate(model, *(one.float() for one in narrow))))
    apart = [one.T.contiguous().T for one in (x, y)]
    model.train()
    worst.note(gap=gap(method.estimate(model, *apart), method.estimate(model.eval(), x, y)))
    worst.note(gap=gap(method.estimate(model, x[:, 0], y[:, 0]), method.estimate(model, x[:, :1], y[:, :1])))
    model.train()
    method.interval(quantile.train(), x, y)
    worst.note(gap=float(not quantile.training))
    extreme = [
        method.estimate(model, x[:1], y[:1]),
        method.estimate(model, 1e14 * x, y),
        method.estimate(model, 0 * x, y),
    ]
    low, high = method.interval(quantile, x, y)
    worst.note(gap=float(not all(map(math.isfinite, extreme))) + float(not low <= high))
    fresh, pooling = method.Encoder(), method.Pooling(256, 2, 8, 10)
    # Xavier's bound for (1, count, width); the largest of thousands of uniform values is near it.
    start = float(pooling.seeds.detach().abs().max()) / math.sqrt(6 / (256 * 11))
    rows, name = torch.zeros(2, 5, 4), "normal-dense-base"
    nan, three = x.clone().index_fill_(0, torch.tensor([3]), math.nan), np.zeros((1, 5, 4))
    nothing = families.draw(name, 1, 5, 0, rng), families.mixed([name], 1, 5, 0, rng)
    calls: list[Callable[[], object]] = [
        lambda: method.estimate(model, x, y[:-1]),
        lambda: method.estimate(model, x, y[:, :1]),
        lambda: method.estimate(model, x[:0], y[:0]),
        lambda: method.estimate(model, x[:, :0], y[:, :0]),
        lambda: method.estimate(model, x[None], y[None]),
        lambda: method.estimate(model, nan, y),
        lambda: method.estimate(model, x, 1e16 * y),
        lambda: method.estimate(model, x.to(torch.complex64), y.to(torch.complex64)),
        lambda: method.estimate(model, torch.zeros(12, 5), torch.zeros(12, 5)),
        lambda: method.interval(model, x, y),
        lambda: method.interval(quantile, x, y, 1.0),
        lambda: method.interval(quantile, x, y, 0.0),
        lambda: model(rows[0]),
        lambda: model(rows[..., :3]),
        lambda: model(rows[..., :0]),
        lambda: model(rows[:, :0]),
        lambda: model(rows, 0.5),
        lambda: quantile(rows),
        lambda: quantile(rows, 1.1),
        lambda: quantile(rows, -0.1),
        lambda: quantile(rows, torch.tensor([[0.5, 0.5]])),
        lambda: model(rows, counts=torch.tensor([5, 0])),
        lambda: model(rows, counts=torch.tensor([6, 5])),
        lambda: model(rows, counts=torch.tensor([5])),
        lambda: method.pinball(torch.zeros(3), torch.zeros(3, 1), 0.5),
        lambda: method.Sizes(columns=5),
        lambda: method.Sizes(columns=0),
        lambda: method.Sizes(width=250),
        lambda: families.gaussian_information(np.ones((2, 2))),
        lambda: families.gaussian_information(np.eye(3)),
        lambda: families.gaussian_information(np.zeros((4, 2))),
        lambda: families.student_correction(0.0, 1),
        lambda: families.additive_information(0.0),
        lambda: families.draw("normal-noise-base", 1, 5, 1, rng),
        lambda: families.draw("normal-dense-cube", 1, 5, 1, rng),
        lambda: families.draw("dense", 1, 5, 1, rng),
        lambda: families.draw(name, 0, 5, 1, rng),
        lambda: families.draw(name, 1, 0, 1, rng),
        lambda: families.draw(name, 1, 5, -1, rng),
        lambda: families.mixed([], 1, 5, 1, rng),
        lambda: contenders.ksg(three, 0),
        lambda: contenders.ksg(three, 5),
        lambda: contenders.cca(three[:, :4], False),
        lambda: list(contenders.settings("mine")),
        lambda: critics.estimates(rows, "ksg", (0.1,), (1,), 0),
        lambda: critics.estimates(rows[:, :3], "mine", (0.1,), (1,), 0),
    ]
    return worst | {
        "accepted": accepted(*calls) + sum(len(one.rows) for one in nothing),
        "other": other_defaults(
            method.Sizes, columns=64, first=512, width=256, heads=16, blocks=2, layers=2, inducing=32, hidden=1024,
            seeds=10, row_dropout=0.1, block_dropout=0.3,
        )
        + other_defaults(method.train, rate=1.127e-4, decay=8.65e-6, clip=1.0, schedule=None, seed=0)
        + other_defaults(method.optimiser, rate=1.127e-4, decay=8.65e-6)
        + other_defaults(method.interval, level=0.9)
        + other_defaults(method.Mist, sizes=method.Sizes(), quantiles=False)
        + gap([len(families.TRAIN), len(families.IN_FAMILY), len(families.OUT_OF_FAMILY)], [16, 6, 7])
        + float(len({*families.IN_FAMILY} - {*families.TRAIN}) + len({*families.OUT_OF_FAMILY} & {*families.TRAIN}))
        + gap([one.p for one in fresh.modules() if isinstance(one, nn.Dropout)], [0.1, 0.1, 0.3])
        + float(not 0.98 < start <= 1),
    }  # fmt: skip
