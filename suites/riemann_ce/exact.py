"""The exact tier: zeta against mpmath, searches against zeros that are known, rare events and beams in closed form."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from scipy import special

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.riemann_ce import method
from suites.riemann_ce import zeta as functions
from suites.riemann_ce.contenders import RECENTRED, complexes, pairs, search, uniform
from suites.riemann_ce.zeta import davenport_heilbronn, zeta

LOW, HIGH = (0.02, 10.0), (0.98, 30.0)
TABLE = [14.134725141735, 21.022039638772, 25.010857580146, 30.424876125860, 32.935061587739]
"""The first zeros, from standard tables."""
LOWER, UPPER = (0.02, 80.0), (0.98, 90.0)
"""A box with seven zeros of the Davenport-Heilbronn function, two of them off the line."""
OFF_LINE = complex(0.808517182, 85.699348486)
"""A zero of the Davenport-Heilbronn function, from the literature."""


def by_mpmath(s: torch.Tensor, a: float = 1.0, derivative: int = 0) -> torch.Tensor:
    import mpmath  # type: ignore[import-untyped]

    found = [complex(mpmath.zeta(mpmath.mpc(one), a, derivative)) for one in s.tolist()]
    return torch.tensor(found, dtype=torch.complex128)


def strip(height: tuple[float, float], count: int, seed: int) -> torch.Tensor:
    return uniform((0.05, height[0]), (0.95, height[1]), count, torch.Generator().manual_seed(seed))


# The functions.


def zeta_values(*, seed: int) -> dict[str, float]:
    """zeta, its derivative and Hurwitz's zeta against mpmath, and values by hand."""
    named = torch.tensor([0.3 + 7.7j, 0.5 + 14.134725141734693j, 0.9 + 40j], dtype=torch.complex128)
    near, far = torch.cat([named, strip((5, 50), 100, seed)]), strip((500, 1000), 20, seed)
    of_far = by_mpmath(far)
    s = near[:20].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(zeta(s).real.sum(), s, create_graph=True)
    (bend,) = torch.autograd.grad(slope.real.sum(), s)
    known = torch.tensor([0, -1, -2, 2, 4], dtype=torch.float64)
    values = [-0.5, -1 / 12, 0.0, math.pi**2 / 6, math.pi**4 / 90]
    grid, single, many = near[:12].reshape(3, 4).mT, near[:5].to(torch.complex64), strip((90, 100), 2100, seed)
    return {
        "near_gap": max(gap((zeta(near) - by_mpmath(near)).abs()), *(
            gap((functions.hurwitz(near[:20], a) - by_mpmath(near[:20], a)).abs()) for a in (0.2, 0.4, 0.8)
        )),
        "far_gap": gap((zeta(far) - of_far).abs()), "low_cut_gap": gap((zeta(far, terms=60) - of_far).abs()),
        "derivative_gap": max(
            gap((of.conj() - by_mpmath(near[:20], derivative=n)).abs())
            for n, of in ((1, slope), (2, bend))
        ),
        "known_gap": gap((zeta(known) - torch.tensor(values, dtype=torch.float64)).abs())
        + float(zeta(torch.tensor(1.0)) != complex(math.inf, 0.0)),
        "forms_gap": gap((zeta(near.conj()) - zeta(near).conj()).abs()) + zeta(near[:0]).numel()
        + gap((zeta(grid) - zeta(grid.contiguous())).abs())
        + sum(gap((f(single) - f(single.to(torch.complex128))).abs()) for f in (zeta, davenport_heilbronn))
        + gap((zeta(many, terms=1000)[-3:] - zeta(many[-3:], terms=1000)).abs()),
    }  # fmt: skip


def symmetries(*, seed: int) -> dict[str, float]:
    """The functional equations of zeta and of the Davenport-Heilbronn function."""
    s = strip((5, 50), 100, seed)

    def completed(s: torch.Tensor) -> torch.Tensor:
        gamma = torch.from_numpy(np.exp(special.loggamma(((1 + s) / 2).numpy())))
        return torch.exp(-s / 2 * math.log(math.pi / 5)) * gamma * davenport_heilbronn(s)

    one, other = functions.xi(s), functions.xi(1 - s)
    first, second = completed(s), completed(1 - s)
    return {
        "equation_gap": max(gap(((a - b) / a).abs()) for a, b in ((one, other), (first, second))),
        "half_gap": gap(functions.xi(torch.tensor(0.5)).real, 0.497120778188314),
    }


def zeros() -> dict[str, float]:
    """Zeros on the line by mpmath, by signs, by Gram points, and counted in the strip by the argument principle."""
    import mpmath

    t = torch.tensor([float(mpmath.zetazero(k).imag) for k in range(1, 11)], dtype=torch.float64)
    on_line = torch.complex(torch.full_like(t, 0.5), t)
    counts = [functions.count_zeros(zeta, (-0.5, 1), (1.5, height), points=40) for height in (20, 50, 100)]
    signs = [
        int((functions.hardy_z(torch.linspace(5, height, 20 * height)).sign().diff() != 0).sum())
        for height in (20, 50, 100)
    ]
    gram = functions.gram_points(130)
    z = functions.hardy_z(gram) * torch.tensor([1.0, -1.0]).repeat(65)
    heights = torch.linspace(1, 300, 7, dtype=torch.float64)
    return {
        "size": gap(zeta(on_line).abs()) + gap(t[:5].round(decimals=12), TABLE),
        "counts_wrong": gap(counts, [1, 10, 29]), "signs_wrong": gap(signs, counts),
        "line_gap": max(
            gap(functions.theta(heights), [float(mpmath.siegeltheta(one)) for one in heights.tolist()]),
            gap(functions.hardy_z(heights), [float(mpmath.siegelz(one)) for one in heights.tolist()]),
            gap(gram[:9], [float(mpmath.grampoint(n)) for n in range(9)]),
        ),
        "gram_break": float((z <= 0).nonzero()[0]),
        "others_wrong": gap([
            functions.count_zeros(zeta, (0.5, -1), (1.5, 1)),
            functions.count_zeros(davenport_heilbronn, (0.6, 80), (1.2, 90), points=40),
            functions.count_zeros(davenport_heilbronn, (-0.5, 80), (1.5, 90), points=40),
            functions.count_zeros(zeta, (-0.5, 10), (0.2, 30)),
        ], [-1, 1, 7, 0]),
    }  # fmt: skip


# The search.


def likelihood(*, seed: int) -> dict[str, float]:
    """The update is the maximum of weighted likelihood: the gradient there."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for count in (5, 25, 200):
        x = torch.randn(count, 2, generator=generator, dtype=torch.float64).abs() + 0.1
        for weights in (torch.ones(count).double(), torch.rand(count, generator=generator, dtype=torch.float64)):
            share = weights / weights.sum()
            normal = method.BoxNormal.uniform((0, 0), (9, 9)).fit(x, weights)
            mean, std = (one.clone().requires_grad_(True) for one in (normal.mean, normal.std))
            nats = (share @ (((x - mean) / std) ** 2 / 2 + std.log())).sum()
            rate = method.Exponential(torch.ones(2)).fit(x, weights).mean.requires_grad_(True)
            exponential = -(share * method.Exponential(rate).log_prob(x)).sum()
            gradients = torch.autograd.grad(nats, (mean, std)), torch.autograd.grad(exponential, rate)
            worst.note(gradient=max(map(gap, (*gradients[0], *gradients[1]))))
    return worst


def box_normals(*, seed: int, draws: int) -> dict[str, float]:
    """Truncated and clipped normals against scipy."""
    from scipy import stats

    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([0.0, -1.0]).double(), torch.tensor([1.0, 3.0]).double()
    law = method.BoxNormal(torch.tensor([0.9, -0.5]).double(), torch.tensor([0.3, 2.0]).double(), low, high)
    oracle = [
        stats.truncnorm((a - m) / s, (b - m) / s, m, s)
        for m, s, a, b in zip(law.mean.tolist(), law.std.tolist(), low.tolist(), high.tolist(), strict=True)
    ]
    x = law.sample(draws, generator)
    even = method.BoxNormal.uniform((0, -1), (1, 3))
    clipped = method.BoxNormal(law.mean, law.std, low, high, "clipped").sample(draws, generator)
    outside = torch.tensor([[0.5, 3.1], [-0.1, 0.0]]).double()
    edge = stats.norm.sf(1, 0.9, 0.3)
    return {
        "distance": max(
            *(float(stats.kstest(x[:, d].numpy(), oracle[d].cdf).statistic) for d in (0, 1)),
            float(stats.kstest(even.sample(draws, generator)[:, 1].numpy(), "uniform", (-1, 4)).statistic),
        ),
        "density_gap": gap(law.log_prob(x[:50]), sum(oracle[d].logpdf(x[:50, d].numpy()) for d in (0, 1)))
        + gap(even.log_prob(x[:5]), -math.log(4)) + gap(law.log_prob(outside).exp()),
        "edge_gap": gap(float((clipped[:, 0] == 1).double().mean()), edge),
        "strays": float(
            ((x <= low) | (x >= high)).sum() + ((clipped < low) | (clipped > high)).sum()
        ),
    }  # fmt: skip


def bowl(x: torch.Tensor) -> torch.Tensor:
    return ((x - torch.tensor([0.3, 0.6]).double()) ** 2).sum(1).sqrt()


def rules(*, seed: int) -> dict[str, float]:
    """One round after another by hand on a cone: elite, smoothing, re-centring, stops, and what shrinks how fast."""
    start, worst = method.BoxNormal.uniform((0, 0), (1, 1)), Worst()
    run = partial(method.minimise, bowl, start, samples=60, elite_share=0.1)
    for alpha, dynamic in ((1.0, None), (0.7, None), (0.4, (0.5, 3.0))):
        found = run(generator=torch.Generator().manual_seed(seed), rounds=4, smoothing=alpha, dynamic=dynamic)
        generator, mean, std = torch.Generator().manual_seed(seed), torch.zeros(2), torch.zeros(2)
        for t in range(1, 5):
            law = start if t == 1 else method.BoxNormal(mean, std, start.low, start.high)
            x = law.sample(60, generator)
            elite = x[bowl(x).argsort()[:6]]
            share = alpha if dynamic is None else 0.5 * (1 - (1 - 1 / t) ** 3.0)
            a, b = (1.0, 1.0) if t == 1 else (alpha, share)
            mean = a * elite.mean(0) + (1 - a) * mean
            std = b * elite.std(0, correction=0) + (1 - b) * std
            worst.note(round_gap=gap(found.std[t - 1], std))
        worst.note(round_gap=gap([found.evaluations, found.rounds], [240, 4]))
    moved = run(generator=torch.Generator().manual_seed(seed), rounds=1, recentre=(0.5, 0.25))
    worst.note(round_gap=gap(moved.std[0], [0.5, 0.25]) + gap(bowl(moved.point[None]), moved.value))
    # Round normal, elite = the disc of mass r: the standard deviation shrinks by sqrt(-log(1 - r) / 2) a round.
    many = method.minimise(
        bowl, start, generator=torch.Generator().manual_seed(seed), samples=20_000, rounds=12, recentre=(0.02, 0.02)
    )
    expected = math.sqrt(-math.log(0.95) / 2)
    rate = (many.std[-1][0] / many.std[3][0]) ** (1 / (many.rounds - 4))
    worst.note(rate_off=abs(rate / expected - 1))
    few = method.minimise(  # two samples are finite, where the elite has six places
        lambda x: torch.where(x[:, 0] < x[:, 0].sort().values[2], bowl(x), torch.nan), start, samples=60, rounds=1,
        elite_share=0.1, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    x = start.sample(60, torch.Generator().manual_seed(seed))
    lowest = x[x[:, 0].argsort()[:2]]
    worst.note(few_gap=gap(few.std[0], lowest.std(0, correction=0)))
    return worst


def elitism(*, keep_best: bool) -> dict[str, float]:
    """In how many of 20 searches of 10 points a round the best of a round is ever worse than that of an earlier one."""
    worse = 0
    for seed in range(20):
        found = search(zeta, LOW, HIGH, 1000 + seed, samples=10, rounds=15, elite_share=0.3, keep_best=keep_best)
        worse += bool((np.diff(found.best) > 1e-12).any())  # the cut differs from round to round, and the rounding
    return {"worse": float(worse)}


def zeta_search(*, runs: int) -> dict[str, float]:
    """Searches of the box from 10 to 30, whose three zeros are known: where all of them end, and in how many rounds."""
    found = [search(zeta, LOW, HIGH, 1000 + seed) for seed in range(runs)]
    points = torch.stack([one.point for one in found])
    known = torch.tensor(TABLE[:3], dtype=torch.float64)
    return {
        "size": max(one.value for one in found), "from_line": gap(points[:, 0], 0.5),
        "from_zero": gap((points[:, 1:] - known).abs().min(1).values),
        "rounds": float(max(one.rounds for one in found)), "least_rounds": float(min(one.rounds for one in found)),
        "unconverged": float(sum(not one.converged for one in found)),
        "kinds": float(len({round(t) for t in points[:, 1].tolist()})),
    }  # fmt: skip


def planted(s: torch.Tensor, sigma: float, t: float) -> torch.Tensor:
    return (s - complex(sigma, t)) * zeta(s)


def controls(*, runs: int) -> dict[str, float]:
    """Functions with zeros off the line: every search that is asked for one must end there, and none at 1/2."""
    worst = Worst()
    for sigma in (0.1, 0.3, 0.7, 0.9):
        f = partial(planted, sigma=sigma, t=17.5)
        found = search(f, (0.02, 16.0), (0.98, 19.0), 1000)  # the box has no zero of zeta
        worst.note(planted_gap=gap(found.point, [sigma, 17.5]))
    f = partial(planted, sigma=0.7, t=20.0)
    ends = [search(f, LOW, HIGH, 1000 + seed) for seed in range(runs)]
    off = sum(gap(one.point, [0.7, 20.0]) < 1e-8 for one in ends)
    alone = [search(davenport_heilbronn, (0.6, 80.0), (0.98, 90.0), 1000 + seed) for seed in range(2)]
    both = [search(davenport_heilbronn, LOWER, UPPER, 1000 + seed) for seed in range(runs // 2)]
    worst.note(
        size=max(one.value for one in ends + both),
        off_line_gap=max(gap(one.point, [OFF_LINE.real, OFF_LINE.imag]) for one in alone),
    )
    # A box of the strip that the line does not cross holds no zero here: the least value lies on its boundary.
    empty = [search(zeta, (0.6, 10.0), (0.98, 30.0), 1000 + seed) for seed in range(4)]
    worst.note(from_edge=max(float(one.point[0]) - 0.6 for one in empty))
    return worst | {
        "planted_found": float(off), "each_found": float(min(off, runs - off)),
        "off_line_found": float(sum(abs(float(one.point[0]) - 0.5) > 0.01 for one in both)),
        "least_of_empty": min(one.value for one in empty),
    }  # fmt: skip


# Rare events.


def exponential_tail(*, seed: int) -> dict[str, float]:
    """P[X >= 6] = exp(-6) for an exponential X of mean 1, and for the sum of two, (1 + 8) exp(-8)."""
    generator, one = torch.Generator().manual_seed(seed), torch.ones(1, dtype=torch.float64)
    nominal, true = method.Exponential(one), math.exp(-6)
    found = method.rare_event(
        lambda x: x[:, 0], 6.0, nominal, nominal, generator=generator, samples=50_000, elite_share=0.1
    )
    both = method.Exponential(torch.ones(2, dtype=torch.float64))
    pair = method.rare_event(lambda x: x.sum(1), 8.0, both, both, generator=generator, samples=20_000, final=100_000)
    whole = method.rare_event(  # scores with ties: whole numbers
        lambda x: x[:, 0].floor(), 6.0, nominal, nominal, generator=generator, samples=20_000, final=100_000
    )
    naive = math.sqrt(true * (1 - true) / 200_000)
    v = 7.0  # second moment in closed form: integral of exp(-2x) v exp(x / v) from gamma on
    second = v * math.exp(-6 * (2 - 1 / v)) / (2 - 1 / v)
    return {
        "mean_gap": max(gap(one.law.mean, 7.0) for one in (found, whole)), "in_errors": max(
            *(abs(one.probability - true) / one.standard_error for one in (found, whole)),
            abs(pair.probability - 9 * math.exp(-8)) / pair.standard_error,
        ),
        "variance_ratio": (naive / found.standard_error) ** 2,
        "relative_error": found.standard_error / true, "naive_error": naive / true,
        "error_off": abs(found.standard_error / math.sqrt((second - true**2) / 200_000) - 1),
        "level_gap": gap([found.levels[0], found.levels[-1]], [math.log(10), 6.0]),
    }  # fmt: skip


def weights(*, seed: int, draws: int) -> dict[str, float]:
    """E_v[w] = 1 and E_v[w 1{X >= 6}] = exp(-6) for any mean v, by quadrature and by sampling."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    nominal = method.Exponential(torch.ones(1, dtype=torch.float64))
    nodes, shares = np.polynomial.legendre.leggauss(200)
    for v in (2.0, 4.0, 7.0, 10.0):
        law = method.Exponential(torch.tensor([v], dtype=torch.float64))
        for low, high, true in ((0.0, 60.0, 1.0), (6.0, 66.0, math.exp(-6))):
            x = torch.from_numpy((low + high) / 2 + (high - low) / 2 * nodes)[:, None]
            inner = method.importance(x, nominal, law) * law.log_prob(x).exp()
            worst.note(quadrature_gap=gap(float(inner @ torch.from_numpy(shares)) * (high - low) / 2, true))
            drawn = law.sample(draws, generator)
            parts = method.importance(drawn, nominal, law) * (drawn[:, 0] >= low)
            worst.note(in_errors=abs(float(parts.mean()) - true) / (float(parts.std()) / math.sqrt(draws)))
    worst.note(quadrature_gap=float(nominal.log_prob(torch.tensor([[-1.0]]).double()).exp()))
    return worst


def small_values(*, seed: int) -> dict[str, float]:
    """P[|zeta(s)| <= 1e-4], s uniform in a box: discs of radius 1e-4 / |zeta'| about its zeros, of one or of three."""
    generator, limit = torch.Generator().manual_seed(seed), 1e-4
    ratios: dict[str, float] = {}
    for name, top in (("one", 20.0), ("three", 30.0)):
        nominal = method.BoxNormal.uniform((0.02, 10.0), (0.98, top))
        s = torch.tensor([complex(0.5, t) for t in TABLE[:3] if t < top], dtype=torch.complex128, requires_grad=True)
        (slope,) = torch.autograd.grad(zeta(s).real.sum(), s)
        true = float((math.pi * limit**2 / slope.abs() ** 2).sum()) / (0.96 * (top - 10))
        try:
            event = method.rare_event(
                lambda x: -zeta(complexes(x)).abs(), -limit, nominal, nominal, generator=generator, samples=2000,
                final=20_000, elite_share=0.05, levels=15,
            )  # fmt: skip
            ratios[name] = event.probability / true
        except ValueError:  # the event was not reached
            ratios[name] = 0.0
    return {f"{name}_ratio": ratio for name, ratio in ratios.items()}


def averages(*, seed: int) -> dict[str, float]:
    """How the frequency of the elite among n uniform points tends to its share as n grows: a power of n."""
    x = method.BoxNormal.uniform(LOW, HIGH).sample(1 << 16, torch.Generator().manual_seed(seed))
    sizes = zeta(complexes(x)).abs()
    hits = (sizes <= sizes.quantile(0.05)).double()
    counts = 2 ** torch.arange(5, 12)
    errors = torch.stack([(hits.view(-1, int(n)).mean(1) - 0.05).square().mean().sqrt() for n in counts])
    return {"exponent": float(np.polyfit(counts.log().numpy(), errors.log().numpy(), 1)[0])}


# Decoding.


class Tables:
    """Random models of B prompts that look at the whole chain: log-probabilities of V tokens after each prefix."""

    def __init__(self, prompts: int, vocabulary: int, steps: int, seed: int, sharpness: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logs = [
            (sharpness * torch.randn(prompts, vocabulary**t, vocabulary, generator=generator, dtype=torch.float64))
            .log_softmax(-1)
            for t in range(steps)
        ]  # fmt: skip
        self.vocabulary, self.strays = vocabulary, 0
        self.before = torch.zeros(prompts, 1, 0, dtype=torch.int64)

    def number(self, tokens: torch.Tensor) -> torch.Tensor:
        """The number of each prefix (B, k, t) among those of its length."""
        weights = self.vocabulary ** torch.arange(tokens.shape[2] - 1, -1, -1)
        return (tokens * weights).sum(2)

    def __call__(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        if not tokens.shape[2]:
            self.before = tokens
        told = self.before[torch.arange(len(tokens))[:, None], parents]
        self.strays += int((told != tokens[:, :, : told.shape[2]]).sum())
        self.before = tokens
        table = self.logs[tokens.shape[2]]
        return table.gather(1, self.number(tokens)[:, :, None].expand(-1, -1, self.vocabulary))

    def chains(self, top_p: float = 1.0) -> torch.Tensor:
        """Log-probability of every chain, (B, V^T), -inf where a token lies outside of a nucleus."""
        total = torch.zeros(len(self.logs[0]), 1, dtype=torch.float64)
        for logs in self.logs:
            order = logs.argsort(-1, descending=True)
            before = logs.gather(-1, order).exp().cumsum(-1) - logs.gather(-1, order).exp()
            kept = torch.zeros_like(logs, dtype=torch.bool).scatter(-1, order, before < top_p)
            total = (total[:, :, None] + torch.where(kept, logs, -math.inf)).flatten(1)
        return total


def beams(*, seed: int) -> dict[str, float]:
    """Beams on tabular models of 4 tokens and 3 steps against exhaustive search."""
    models, worst = Tables(400, 4, 3, seed), Worst()
    for top_p in (1.0, 0.9, 0.6):
        chains = models.chains(top_p).sort(1, descending=True)
        full = method.top_p_beam(models, 400, 3, width=64, top_p=top_p)
        alive = full.log_probs > -math.inf
        worst.note(
            exhaustive_gap=gap(full.log_probs, chains.values),
            score_gap=gap(models.chains().gather(1, models.number(full.tokens))[alive], full.log_probs[alive]),
        )
    greedy, path = method.top_p_beam(models, 400, 3, width=1, top_p=1e-9), torch.zeros(400, 1, 0, dtype=torch.int64)
    first = torch.zeros(400, 1, dtype=torch.int64)
    for _ in models.logs:
        path = torch.cat([path, models(path, first).argmax(-1, keepdim=True)], 2)
    flat = Tables(400, 8, 4, seed, sharpness=0.7)
    wide = {k: method.top_p_beam(flat, 400, 4, width=k, top_p=1.0).log_probs[:, 0] for k in (1, 2, 3, 4)}
    best = flat.chains().max(1).values
    single = method.top_p_beam(models, 400, 1, width=4, top_p=0.7).log_probs.exp()
    least = torch.where(single > 0, single, math.inf).min(1).values  # of the tokens that are kept
    half = method.top_p_beam(lambda tokens, parents: flat(tokens, parents).half(), 400, 4, width=4, top_p=1.0)
    return worst | {
        "greedy_wrong": float((greedy.tokens != path).sum()),
        "worse_than_greedy": float(sum((wide[k] < wide[1] - 1e-12).sum() for k in (2, 3, 4))),
        "worse_than_narrower": float(sum((wide[k] < wide[k - 1] - 1e-12).sum() for k in (2, 3, 4))),
        "mean_gain": float((wide[4] - wide[1]).mean()), "missed_best": float((wide[4] < best - 1e-12).double().mean()),
        "parents_wrong": float(models.strays + flat.strays),
        "nucleus_wrong": float(((single.sum(1) < 0.7) | (single.sum(1) - least >= 0.7)).sum()),
        "half_gap": gap(half.log_probs[:, 0], wide[4]) + float(half.log_probs.dtype != torch.float32),
    }  # fmt: skip


def drawn_beams(*, seed: int, draws: int) -> dict[str, float]:
    """Chains drawn in proportion to their probability: one, and two without replacement; and what ends a chain."""
    generator = torch.Generator().manual_seed(seed)
    logs = torch.tensor([0.5, 0.3, 0.15, 0.05]).double().log()

    def model(tokens: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return logs.roll(tokens.shape[2]).expand(*tokens.shape[:2], 4)

    one = method.top_p_beam(model, draws, 2, width=1, top_p=0.9, generator=generator).tokens[:, 0]
    counted = torch.bincount(one[:, 0] * 4 + one[:, 1], minlength=16) / draws
    kept = torch.tensor([0.5, 0.3, 0.15, 0.0]).double() / 0.95
    two = method.top_p_beam(model, draws, 1, width=2, top_p=1.0, generator=generator)
    p = logs.exp()
    both = p[:, None] * p / (1 - p[:, None])  # first i, then j of the others
    expected = {(i, j): float(both[i, j] + both[j, i]) for i in range(4) for j in range(i + 1, 4)}
    ends = two.tokens[:, :, 0].sort(1).values
    found = {pair: float((ends == torch.tensor(pair)).all(1).double().mean()) for pair in expected}
    closed = method.top_p_beam(model, 1, 3, width=64, top_p=1.0, end=0)
    tree = brute_force_with_end(model, 3, 0)
    alive = closed.log_probs[0] > -math.inf
    chains = {
        tuple(chain): total
        for chain, total in zip(closed.tokens[0][alive].tolist(), closed.log_probs[0][alive].tolist(), strict=True)
    }
    return {
        "drawn_gap": max(
            gap(counted, (kept[:, None] * kept.roll(1)).flatten()), gap(list(found.values()), list(expected.values()))
        ),
        "score_gap": gap(two.log_probs.sort(1).values, logs[two.tokens[:, :, 0]].sort(1).values),
        "end_gap": gap([chains.get(chain, math.nan) for chain in tree], list(tree.values()))
        + gap(float(alive.sum()), len(tree)),
    }  # fmt: skip


def brute_force_with_end(model: method.NextLogProbs, steps: int, end: int) -> dict[tuple[int, ...], float]:
    """Every chain that an end token closes, filled up with it, and its log-probability."""
    chains: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(steps):
        longer = {}
        for chain, total in chains.items():
            if chain[-1:] == (end,):
                longer[(*chain, end)] = total
                continue
            logs = model(torch.tensor(chain, dtype=torch.int64)[None, None], torch.zeros(1, 1))[0, 0]
            longer |= {(*chain, token): total + float(logs[token]) for token in range(len(logs))}
        chains = longer
    return chains


def long_chains(*, seed: int) -> dict[str, float]:
    """Chains of 400 tokens of 50: sums of logarithms against products; order by both where products can be told."""
    generator = torch.Generator().manual_seed(seed)
    logs = torch.randn(400, 50, generator=generator, dtype=torch.float64).log_softmax(-1)

    def model(tokens: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return logs[tokens.shape[2]].expand(*tokens.shape[:2], 50)

    found = method.top_p_beam(model, 1, 400, width=4)
    steps = torch.stack([logs[t, found.tokens[0, :, t]] for t in range(400)])
    drawn = torch.randint(50, (300, 60), generator=generator)
    each = torch.stack([logs[t, drawn[:, t]] for t in range(60)])
    return {
        "sum_gap": max(gap(steps.sum(0), found.log_probs[0]), gap(found.log_probs[0, 0], logs.max(1).values.sum())),
        "products": float(steps.exp().prod(0).max()),
        "order_differs": float((each.sum(0).argsort() != each.exp().prod(0).argsort()).sum()),
    }


def defaults() -> dict[str, float]:
    """Options that nobody gives."""
    return {
        "moved": other_defaults(
            method.minimise, samples=500, elite_share=0.05, rounds=40, tolerance=1e-10, smoothing=1.0, dynamic=None,
            recentre=None, keep_best=False,
        ) + other_defaults(method.rare_event, samples=10_000, final=200_000, elite_share=0.1, levels=50)
        + other_defaults(method.top_p_beam, width=4, top_p=0.9, end=None, generator=None)
        + other_defaults(method.BoxNormal, bounds="truncated") + other_defaults(functions.hurwitz, a=1.0, terms=None)
        + other_defaults(functions.count_zeros, points=200)
    }  # fmt: skip


def refusals() -> dict[str, float]:
    """Calls that make no sense."""
    generator, box = torch.Generator().manual_seed(0), method.BoxNormal.uniform((0, 0), (1, 1))
    run = partial(method.minimise, bowl, box, generator=generator, samples=10, rounds=2)
    one = method.Exponential(torch.ones(1, dtype=torch.float64))
    event = partial(method.rare_event, lambda x: x[:, 0], 3.0, one, one, generator=generator, samples=100, final=100)
    models, complex_ = Tables(2, 3, 2, 0), torch.tensor
    beam, edges = partial(method.top_p_beam, models, 2, 2), (torch.zeros(2), torch.ones(2))
    return {"accepted": accepted(
        lambda: zeta(complex_(-2.1)), lambda: zeta(complex_(0.5 + 10_001j)), lambda: zeta(complex_(math.nan)),
        lambda: zeta(complex_(0.5), terms=0), lambda: functions.hurwitz(complex_(0.5), 0.0),
        lambda: functions.hurwitz(complex_(0.5), 1.1), lambda: functions.count_zeros(zeta, (0, 2), (1, 1)),
        lambda: functions.count_zeros(zeta, (0, 5), (1, 40), points=1), lambda: run(elite_share=0.0),
        lambda: functions.count_zeros(zeta, (1, 5), (0, 9)),
        lambda: run(elite_share=1.1), lambda: run(samples=1), lambda: run(rounds=0), lambda: run(smoothing=0.0),
        lambda: run(smoothing=1.1), lambda: run(dynamic=(0.0, 3.0)), lambda: run(dynamic=(0.5, 0.0)),
        lambda: run(dynamic=(1.1, 2.0)), lambda: run(recentre=(1.0,)),
        lambda: method.minimise(lambda x: x[:, 0] * math.nan, box, generator=generator),
        lambda: method.BoxNormal.uniform((1, 0), (0, 1)), lambda: method.BoxNormal.uniform((0, 0), (1, 0)),
        lambda: method.BoxNormal(edges[0], edges[0], *edges),
        lambda: method.BoxNormal(edges[0], edges[1], *edges, "cut"),
        lambda: method.BoxNormal(edges[0], edges[1], *edges, "clipped").log_prob(torch.zeros(1, 2)),
        lambda: method.Exponential(torch.zeros(1)), lambda: method.Exponential(torch.tensor(1.0)),
        lambda: method.BoxNormal(torch.tensor(0.5), torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1.0)),
        lambda: event(elite_share=0.0), lambda: event(elite_share=1.0), lambda: event(samples=1),
        lambda: event(final=1), lambda: event(levels=0), lambda: event(levels=1),
        lambda: beam(top_p=0.0), lambda: beam(top_p=1.1), lambda: beam(width=0),
        lambda: method.top_p_beam(models, 0, 2), lambda: method.top_p_beam(models, 2, 0),
    ), "fine": float(run(elite_share=1.0, dynamic=(1.0, 2.0), recentre=RECENTRED).rounds)
        + float(pairs(uniform((0, 0), (1, 1), 3, generator)).shape[0])}  # fmt: skip
