"""The exact tier: the lemma and the gradients in float64, the two losses against loops and PPO, the law, the table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement import policy_gradient as pg
from baselines.reinforcement import tabular_policies as tabular
from suites.entropy_mechanism import method

F64 = torch.float64
Batch = tuple[torch.Tensor, ...]
"""logp, old, advantages, mask."""


def random_policies(seed: int, each: int = 20) -> Iterator[torch.Tensor]:
    """Three normal vectors (3, V), V = 2 ... 1000: logits, and two more."""
    generator = torch.Generator().manual_seed(seed)
    for size in (2, 3, 10, 100, 1000):
        for _ in range(each):
            yield torch.randn(3, size, generator=generator, dtype=F64)


def entropy_derivative(logits: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """dH along a step, by autograd."""
    free = logits.clone().requires_grad_()
    return torch.autograd.grad(tabular.entropy(free), free)[0] @ step


def lemma(*, seed: int) -> dict[str, float]:
    """What a small step does to the entropy.

    `ratio` where the second derivative is at least 0.05: elsewhere the third order shows at the larger step.
    """
    worst, ratios = Worst(), []
    for z, d, _ in random_policies(seed):
        change, h = method.entropy_change(z, d), tabular.entropy(z)
        curvature = abs(float(d @ tabular.entropy_hessian(z) @ d))
        coarse, fine = (abs(float((tabular.entropy(z + eps * d) - h) / eps - change)) for eps in (1e-2, 1e-3))
        worst.note(
            autograd_gap=gap(entropy_derivative(z, d) - change),
            second_order_gap=abs(fine / 1e-3 - curvature / 2),
        )
        if curvature >= 0.05:
            ratios.append(coarse / fine)
    return worst | {"ratio_low": min(ratios), "ratio_high": max(ratios), "cases": float(len(ratios))}


def gradient_steps(*, seed: int) -> dict[str, float]:
    """The expected policy gradient and the natural one, and the entropy that each costs.

    The Fisher matrix F has the kernel of constants, to which the gradient is orthogonal: its pseudo-inverse times the
    gradient solves F + 1/V, which takes a thousand actions a fraction of an eigendecomposition's time.
    """
    worst = Worst()
    for z, q, _ in random_policies(seed, each=4):
        a, logits = method.advantages(z, q), z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(tabular.expected_value(logits, q), logits)
        natural = torch.linalg.solve(tabular.fisher(z) + 1 / len(z), gradient)
        worst.note(
            gradient_gap=gap(gradient - z.softmax(-1) * a),
            natural_step_gap=gap(natural - (a - a.mean())),
            policy_gap=gap(entropy_derivative(z, gradient) - method.policy_gradient_change(z, q)),
            natural_gap=gap(entropy_derivative(z, natural) - method.natural_gradient_change(z, q)),
        )
    return worst


def signs(*, seed: int) -> dict[str, float]:
    """Two actions, and the uniform policy. Rates are dH per unit of eta; finite steps are of eta = 1e-3."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(500, 2, generator=generator, dtype=F64).sort(-1, descending=True).values
    z[:, 0] += 0.01  # never uniform
    q = torch.rand(500, 2, generator=generator, dtype=F64).sort(-1, descending=True).values + torch.tensor([0.01, 0.0])
    worse = q.flip(-1)
    p, logp, a = z.softmax(-1), z.log_softmax(-1), method.advantages(z, q)
    by_hand = p[:, 0] * p[:, 1] * (logp[:, 0] - logp[:, 1]) * (a[:, 0] - a[:, 1])

    def moved(step: torch.Tensor) -> torch.Tensor:
        return tabular.entropy(z + 1e-3 * step) - tabular.entropy(z)

    uniform, values = torch.zeros(9, dtype=F64), torch.randn(9, generator=generator, dtype=F64)
    orders = []
    for step in (tabular.policy_gradient(uniform, values), tabular.natural_gradient(uniform, values)):
        falls = [math.log(9) - float(tabular.entropy(uniform + eta * step)) for eta in (1e-2, 1e-3)]
        orders.append(math.log10(falls[0] / falls[1]))
    return {
        "likelier_policy": float(method.policy_gradient_change(z, q).max()),
        "likelier_natural": float(method.natural_gradient_change(z, q).max()),
        "likelier_moved": float(torch.maximum(moved(tabular.policy_gradient(z, q)), moved(a)).max()),
        "unlikelier_natural": float(method.natural_gradient_change(z, worse).min()),
        "unlikelier_moved": float(moved(method.advantages(z, worse)).min()),
        "two_actions_gap": gap(method.covariance(z, logp, a) - by_hand),
        "uniform_change": max(
            gap(method.policy_gradient_change(uniform, values)),
            gap(method.natural_gradient_change(uniform, values)),
        ),
        "uniform_order_gap": max(abs(order - 2) for order in orders),
    }


def random_batch(seed: int, responses: int = 12, tokens: int = 9, moved: float = 0.3) -> Batch:
    """logp (with gradient), old, GRPO advantages in groups of 4, mask: float64, NaN outside the mask."""
    generator = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(responses, tokens, generator=generator, dtype=F64)
    logp = old + moved * torch.randn(responses, tokens, generator=generator, dtype=F64)
    rewards = torch.randint(2, (responses,), generator=generator).double()
    rewards[::4], rewards[1::4] = 1.0, 0.0
    given = pg.group_advantages(rewards, 4).expand(-1, tokens)
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (responses, 1), generator=generator)
    return logp.where(mask, math.nan).requires_grad_(), old.where(mask, math.nan), given, mask


def of(loss: Callable[..., torch.Tensor], batch: Batch, **options: object) -> torch.Tensor:
    """Loss and gradient as one vector; the gradient of padding must be finite, and is zero."""
    value = loss(*batch, **options)
    return torch.cat([value.detach().view(1), torch.autograd.grad(value, batch[0])[0].flatten()])


def token_covariance(*, seed: int) -> dict[str, float]:
    """The covariance of each token against a loop, and what micro-batches do to it."""
    worst = Worst()
    for number in range(10):
        logp, _, grpo, mask = random_batch(seed + number)
        a = grpo + 0.5 * torch.randn(grpo.shape, generator=torch.Generator().manual_seed(number), dtype=F64)
        c = method.token_covariance(logp, a, mask)
        x, y = logp.detach()[mask], a[mask]
        loop = [(float(one) - float(x.mean())) * (float(two) - float(y.mean())) for one, two in zip(x, y, strict=True)]
        lone = [method.token_covariance(*row) for row in zip(*(t[:, None] for t in (logp, grpo, mask)), strict=True)]
        same = pg.group_advantages(torch.full((12,), 0.1, dtype=F64), 4).expand_as(grpo)
        worst.note(
            mean_gap=abs(float(c.sum() / mask.sum() - ((x * y).mean() - x.mean() * y.mean()))),
            shift_gap=gap(method.token_covariance(logp + 0.7, a - 1.3, mask) - c),
            loop_gap=max(gap(c[mask] - torch.tensor(loop, dtype=F64)), gap(c[~mask])),
            lone_gap=max(map(gap, lone)),
            equal_gap=gap(method.token_covariance(logp, same, mask)),
        )
    return worst


def selection(*, seed: int) -> dict[str, float]:
    """How many tokens are selected: of KL-Cov in percent, of Clip-Cov as a fraction, and the floor of one."""
    wrong = sum(
        method.selection_size(n, percent) != max(1, int(n * percent / 100))
        for n, percent in itertools.product(range(1, 3000, 7), (0.02, 0.2, 2.0, 100.0))
    )
    batches = [random_batch(seed + number, responses=32, tokens=60) for number in range(4)]
    sizes = [int(mask.sum()) for *_, mask in batches]
    whole = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    rows = [tuple(one[i : i + 1] for one in whole) for i in range(128)]
    many = [one.repeat(8, 1) for one in whole]
    loose = {"lower": -math.inf, "upper": math.inf, "low": 10.0, "high": 10.0}
    one, two = (torch.Generator().manual_seed(seed) for _ in range(2))
    stated = method.clip_cov(*many, **loose, share=2e-4, generator=two)

    def selected(batch: Batch) -> int:
        logp, _, a, mask = batch
        return int(method.kl_cov_selected(logp, a, mask).sum())

    def dropped(batch: Batch, **options: float) -> int:
        return int(method.clip_cov_dropped(*batch, **options).sum())

    return {
        "default_share_gap": gap(method.clip_cov(*many, **loose, generator=one) - stated),
        "clip_many": float(dropped(many, **loose) - int(8 * sum(sizes) * 2e-4)),
        "lone_kl": float(sum(map(selected, rows))),
        "lone_clip": float(sum(map(dropped, rows))),
        "wrong_sizes": float(wrong),
        "kl_whole": float(selected(whole) - int(sum(sizes) * 0.2 / 100)),
        "kl_micro_excess": float(sum(map(selected, batches)) - sum(max(1, int(size * 0.002)) for size in sizes)),
        "clip_whole": float(dropped(whole, **loose) - max(1, int(sum(sizes) * 2e-4))),
        "clip_micro": float(sum(dropped(row, **loose) for row in rows)),
        "tokens": float(sum(sizes)),
    }


def kl_cov(*, seed: int) -> dict[str, float]:
    """The loss against a loop, and what |log-ratio| is: no estimate of KL, its gradient discontinuous at zero."""
    worst = Worst()
    for number in range(10):
        logp, old, a, mask = batch = random_batch(seed + number)
        selected = method.kl_cov_selected(logp, a, mask, percent=20.0)
        c, count = method.token_covariance(logp, a, mask), int(mask.sum() * 20 / 100)
        ranked = c[mask].sort(descending=True).values
        terms = []
        for i, t in mask.nonzero().tolist():
            moved = float((logp[i, t] - old[i, t]).detach())
            terms.append(-float(a[i, t]) * math.exp(moved) + (2.5 * abs(moved) if selected[i, t] else 0.0))
        value = method.kl_cov(*batch, percent=20.0, coefficient=2.5)
        default = method.kl_cov(*batch, percent=0.2, coefficient=1.0)
        same, nudged = ((logp, logp.detach() - shift, a, mask) for shift in (0.0, 1e-12))
        plain = of(lambda x, o, b, m: pg.aggregate(-b * pg.ratio(x, o, m), m), same)
        jump = of(method.kl_cov, nudged, percent=20.0, coefficient=10.0)[1:] - plain[1:]
        # The selected ones are the `count` largest and no padding.
        worst.note(loop_gap=float(int(selected.sum()) != count or bool((selected & ~mask).any())))
        worst.note(loop_gap=gap(c[selected].sort(descending=True).values - ranked[:count]))
        worst.note(
            loop_gap=abs(float(value.detach()) - sum(terms) / len(terms)),
            default_gap=abs(float((method.kl_cov(*batch) - default).detach())),
            on_policy_gap=gap(of(method.kl_cov, same, percent=20.0, coefficient=10.0) - plain),
            jump_gap=abs(gap(jump) - 10.0 / int(mask.sum())),
        )
    generator = torch.Generator().manual_seed(seed)
    z, d = (torch.randn(200, 12, generator=generator, dtype=F64) for _ in range(2))
    distance, kl = {}, {}
    for eps in (1e-2, 1e-3):
        p, moved = (z + eps * d).softmax(-1), (z + eps * d).log_softmax(-1) - z.log_softmax(-1)
        distance[eps], kl[eps] = (p * moved.abs()).sum(-1), tabular.kl(z + eps * d, z)
    return worst | {
        "distance_over_kl": float((distance[1e-3] / kl[1e-3]).min()),
        "distance_order_gap": gap((distance[1e-2] / distance[1e-3]).log10() - 1),
        "kl_order_gap": gap((kl[1e-2] / kl[1e-3]).log10() - 2),
    }


NO_BOUNDS = {"lower": -math.inf, "upper": math.inf}
NEVER = {"lower": 1e300, "upper": math.inf}
"""Bounds of c that admit no token, so that none is dropped."""
OF_7B = {"lower": 1.0, "upper": 5.0, "low": 1.0, "high": 1.0}


def clip_cov(*, seed: int) -> dict[str, float]:
    """The loss against PPO and a loop, the random choice, and the clip range of the 7B script."""
    worst = Worst()
    for number in range(10):
        logp, old, a, mask = batch = random_batch(seed + number)
        for low, high in ((0.2, 0.2), (0.2, 0.28), (1.0, 1.0)):
            clip = {"low": low, "high": high}
            everything = {**NO_BOUNDS, "share": 1.0, **clip}
            # The value that remains is that of the tokens which PPO has clipped.
            rest = pg.aggregate(torch.where(pg.clipped(*batch, **clip), pg.ppo_terms(*batch, **clip), 0), mask)
            value, *gradient = of(method.clip_cov, batch, **everything)
            worst.note(
                ppo_gap=gap(of(method.clip_cov, batch, **NEVER, **clip) - of(pg.ppo, batch, **clip)),
                dropped_all=max(gap(torch.stack(gradient)), abs(float((value - rest).detach()))),
            )
        c = method.token_covariance(logp, a, mask)
        window = {"lower": 0.1, "upper": 0.8, "low": 0.2, "high": 0.2, "share": 1.0}
        candidates = (c > 0.1) & (c < 0.8) & mask & ~pg.clipped(*batch)
        value, *gradient = of(method.clip_cov, batch, **window)
        terms = pg.ppo_terms(*batch)
        kept = [float(terms[i, t].detach()) for i, t in mask.nonzero().tolist() if not candidates[i, t]]
        (constant,) = torch.autograd.grad(pg.aggregate(torch.where(candidates, 0, terms), mask), logp)
        one, two = (torch.Generator().manual_seed(number) for _ in range(2))
        stated = of(method.clip_cov, batch, share=2e-4, **OF_7B, generator=two)
        # c would drop tokens here, and where A < 0 the ratio is far from 1: the bare loss is left.
        far = (old + 3.0).detach().requires_grad_(), old, -a.abs() - 0.1, mask
        wanted = pg.aggregate(math.exp(3.0) * (a.abs() + 0.1), mask)
        negative = (a < 0) & mask
        down = (torch.where(negative, old - 20.0, logp).detach().requires_grad_(), old, a, mask)
        untouched = of(method.clip_cov, down, **NEVER)[1:].view_as(old)[negative] == 0
        worst.note(loop_gap=float((method.clip_cov_dropped(*batch, **window) != candidates).sum()))
        worst.note(
            loop_gap=abs(float(value) - sum(kept) / int(mask.sum())),
            constant_choice_gap=gap(torch.stack(gradient) - constant.flatten()),
            default_gap=gap(of(method.clip_cov, batch, generator=one) - stated),
            no_dual_clip_gap=abs(float((method.clip_cov(*far, **NEVER) - wanted).detach()) / float(wanted)),
            negative_clipped=float(untouched.sum()),
        )
    return {**worst, **_choice(seed), **_defaults(seed)}


def _defaults(seed: int) -> dict[str, float]:
    """The bounds and the clip range that are not given, against those of the 7B script; c on a bound is outside."""
    logp, old, a, mask = random_batch(seed, responses=64, tokens=40, moved=1.0)
    batch = (logp, old, 2 * a, mask)
    unstated, stated = (method.clip_cov_dropped(*batch, share=1.0, **options) for options in ({}, OF_7B))
    c = method.token_covariance(logp, 2 * a, mask)
    expected = (c > 1) & (c < 5) & mask & ~pg.clipped(*batch, low=1.0, high=1.0)
    # c is 1 or -1 exactly.
    x, y = torch.tensor([[0.0, 0.0, -2.0, -2.0]], dtype=F64), torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=F64)
    edge = (x, x, y, torch.ones(1, 4))
    on_bound = [method.clip_cov_dropped(*edge, share=1.0, lower=low, upper=low + 2) for low in (1.0, -1.0)]
    return {
        "defaults_differ": float((unstated != stated).sum() + (unstated != expected).sum()),
        "default_loss_gap": gap(of(method.clip_cov, batch, share=1.0) - of(method.clip_cov, batch, share=1.0, **OF_7B)),
        "bound_dropped": float(sum(int(one.sum()) for one in on_bound)),
        "within": float(expected.sum()),
    }


def _choice(seed: int) -> dict[str, float]:
    """Over 4,000 draws every candidate is dropped equally often; `choice_z` is the largest deviation in sigmas."""
    batch, draws, generator = random_batch(seed), 4000, torch.Generator().manual_seed(seed)
    candidates, size = ~pg.clipped(*batch, low=1.0, high=1.0) & batch[3], max(1, int(0.1 * int(batch[3].sum())))
    counts = torch.zeros(batch[3].shape, dtype=F64)
    for _ in range(draws):
        counts += method.clip_cov_dropped(*batch, **NO_BOUNDS, share=0.1, generator=generator)
    chance = size / int(candidates.sum())
    deviations = (counts[candidates] - draws * chance) / math.sqrt(draws * chance * (1 - chance))
    return {"choice_z": gap(deviations), "choice_size_gap": abs(float(counts.sum()) / draws - size)}


def law_algebra(*, seed: int) -> dict[str, float]:
    """The law and its fit: exact on the curve, least squares off it."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    entropy = 2 * torch.rand(50, generator=generator, dtype=F64)
    grid = torch.linspace(0, 3, 61, dtype=F64).requires_grad_()
    for _ in range(20):
        a, b = (float(x) for x in torch.rand(2, generator=generator, dtype=F64) + 0.1)
        law = method.EntropyLaw(a, b)
        fitted = method.EntropyLaw.fit(entropy, law(entropy))
        noisy = law(entropy) + 0.1 * torch.randn(50, generator=generator, dtype=F64)
        columns = torch.stack([-entropy.exp(), torch.ones_like(entropy)], 1)
        best = torch.linalg.lstsq(columns, noisy[:, None]).solution.squeeze(1)
        refit = method.EntropyLaw.fit(entropy, noisy)
        (slope,) = torch.autograd.grad(law(grid).sum(), grid, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), grid)
        worst.note(
            exact_gap=max(abs(fitted.a - a), abs(fitted.b - b)),
            least_squares_gap=gap(torch.tensor([refit.a, refit.b], dtype=F64) - best),
            slope_gap=gap(slope - law.slope(grid)),
            largest_derivative=float(torch.maximum(slope, bend).max()),
            ceiling_gap=abs(law.ceiling - float(law(torch.zeros((), dtype=F64)))),
        )
    return worst


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, batches, actions that cannot be taken, ratios that overflow, half precision."""
    bounds: dict[str, object] = {"share": 2e-4, **OF_7B, "generator": None}
    generator = torch.Generator().manual_seed(seed)
    z, q, step = torch.randn(3, 7, 9, generator=generator, dtype=F64)
    alone = torch.stack([method.policy_gradient_change(*pair) for pair in zip(z, q, strict=True)])
    barred = z.masked_fill(torch.arange(9) >= 6, -math.inf)
    logp, old, a, mask = random_batch(seed)
    half = tuple(one.detach().bfloat16() for one in (logp, old, a))
    wide = tuple(one.float() for one in half)
    entropy, reward = torch.rand(2, 30, generator=generator)
    laws = [method.EntropyLaw.fit(*pair) for pair in ((entropy, reward), (entropy.double(), reward.double()))]
    every: dict[str, float] = {**NO_BOUNDS, "share": 0.3}

    def seeded(loss: Callable[..., torch.Tensor], *batch: torch.Tensor, **options: float) -> torch.Tensor:
        if loss is method.clip_cov:
            return loss(*batch, mask, **options, generator=torch.Generator().manual_seed(seed))
        return loss(*batch, mask, **options)

    return {
        "other": other_defaults(method.clip_cov, **bounds)
        + other_defaults(method.clip_cov_dropped, **bounds)
        + other_defaults(method.kl_cov_selected, percent=0.2)
        + other_defaults(method.kl_cov, percent=0.2, coefficient=1.0),
        "batch_gap": gap(method.policy_gradient_change(z, q), alone),
        "impossible_gap": gap(method.entropy_change(barred, step), method.entropy_change(z[:, :6], step[:, :6])),
        "flowing": float(method.token_covariance(logp.detach().requires_grad_(), a, mask).requires_grad),
        "overflow_gap": _overflow_gap(generator),
        "half_gap": max(
            gap(seeded(method.clip_cov, *half, **every), seeded(method.clip_cov, *wide, **every)),
            gap(seeded(method.kl_cov, *half, percent=20.0), seeded(method.kl_cov, *wide, percent=20.0)),
            gap([laws[0].a, laws[0].b], [laws[1].a, laws[1].b]),
        ),
    }


def _overflow_gap(generator: torch.Generator) -> float:
    """Losses and gradients at log-ratios from -91 to 91: float32 against float64, for advantages from 0 up."""
    logp = torch.linspace(-91, 91, 40, dtype=F64).view(4, 10)
    a = torch.rand(4, 10, generator=generator, dtype=F64).round(decimals=1) * (torch.arange(10) % 3 > 0)
    batch, worst = (torch.zeros_like(logp), a, torch.ones(4, 10)), Worst()
    found = []
    for dtype in (torch.float32, F64):
        own = (logp.to(dtype).requires_grad_(), *(one.to(dtype) for one in batch))
        found.append(of(method.clip_cov, own, **NEVER).double())
        none = (own[0], own[1], torch.zeros_like(own[2]), own[3])
        worst.note(gap=0.0 if of(method.kl_cov, none, percent=50.0).isfinite().all() else math.inf)
    worst.note(gap=gap(found[0], found[1]) / float(found[1].abs().max()))
    return worst["gap"]


def refusals() -> dict[str, float]:
    """How many of these bad calls are refused with a ValueError."""
    x, ones, flat = torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(6)
    four = (x, x, x, ones)
    calls: list[Callable[[], object]] = [
        lambda: method.token_covariance(x, x, ones[:1]),
        lambda: method.token_covariance(flat, flat, torch.ones(6)),
        lambda: method.token_covariance(x, x, torch.zeros(2, 3)),
        lambda: method.clip_cov(x, x[:1], x, ones),
        lambda: method.clip_cov(*four, share=0.0),
        lambda: method.clip_cov(*four, share=1.5),
        lambda: method.clip_cov(*four, lower=5.0, upper=5.0),
        lambda: method.clip_cov(*four, low=-0.1),
        lambda: method.clip_cov(*four, high=-0.1),
        lambda: method.kl_cov(x, x[:1], x, ones),
        lambda: method.kl_cov(*four, percent=0.0),
        lambda: method.kl_cov(*four, percent=101.0),
        lambda: method.kl_cov(*four, coefficient=-1.0),
        lambda: method.EntropyLaw.fit(flat[:2], flat[:2]),
        lambda: method.EntropyLaw.fit(flat, flat[:5]),
        lambda: method.EntropyLaw.fit(x, x),
        lambda: method.EntropyLaw.fit(flat, flat),
    ]
    sound: list[Callable[[], object]] = [
        lambda: method.clip_cov(*four, share=1.0, low=0.0, high=0.0),
        lambda: method.kl_cov(*four, percent=100.0, coefficient=0.0),
        lambda: method.EntropyLaw.fit(flat[:3] + torch.arange(3), flat[:3]),
    ]
    return {"missed": accepted(*calls) + len(sound) - accepted(*sound)}
