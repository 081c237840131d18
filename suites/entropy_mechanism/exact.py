"""The exact claims: the lemma and the gradients in float64, and the two losses against loops and PPO."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from baselines.reinforcement import policy_gradient as pg
from baselines.reinforcement import tabular_policies as tabular
from suites.entropy_mechanism import method
from suites.entropy_mechanism.reported import TABLE, mean

F64 = torch.float64
Metrics = dict[str, float]


def largest(tensor: torch.Tensor) -> float:
    """The largest absolute entry."""
    return float(tensor.detach().abs().max())


def random_policies(seed: int, each: int = 20) -> Iterator[torch.Tensor]:
    """Three normal vectors (3, V), V = 2 ... 1000: logits, and two more."""
    generator = torch.Generator().manual_seed(seed)
    for size in (2, 3, 10, 100, 1000):
        for _ in range(each):
            yield torch.randn(3, size, generator=generator, dtype=F64)


def lemma(seed: int) -> Metrics:
    """E1. `ratio` where the second derivative is at least 0.05: elsewhere the third order shows at the larger step."""
    linear, second, ratios = [], [], []
    for z, d, _ in random_policies(seed):
        change, h = method.entropy_change(z, d), tabular.entropy(z)
        derivative = torch.autograd.functional.jvp(tabular.entropy, z, d)[1]
        linear.append(largest(derivative - change))
        curvature = abs(float(d @ tabular.entropy_hessian(z) @ d))
        coarse, fine = (abs(float((tabular.entropy(z + eps * d) - h) / eps - change)) for eps in (1e-2, 1e-3))
        second.append(abs(fine / 1e-3 - curvature / 2))
        if curvature >= 0.05:
            ratios.append(coarse / fine)
    return {
        "autograd_gap": max(linear),
        "second_order_gap": max(second),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "cases": float(len(ratios)),
    }


def gradient_steps(seed: int) -> Metrics:
    """E2, E3: the expected policy gradient and the natural one, and the entropy that each costs."""
    gaps: dict[str, list[float]] = {"gradient": [], "policy": [], "natural_step": [], "natural": []}
    for z, q, _ in random_policies(seed, each=4):
        a, logits = method.advantages(z, q), z.clone().requires_grad_()
        gradient = torch.autograd.grad(tabular.expected_value(logits, q), logits)[0]
        gaps["gradient"].append(largest(gradient - z.softmax(-1) * a))
        inverse = torch.linalg.pinv(tabular.fisher(z), hermitian=True)
        natural = inverse @ gradient
        gaps["natural_step"].append(largest(natural - (a - a.mean())))
        for name, step, change in (
            ("policy", gradient, method.policy_gradient_change(z, q)),
            ("natural", natural, method.natural_gradient_change(z, q)),
        ):
            derivative = torch.autograd.functional.jvp(tabular.entropy, z, step)[1]
            gaps[name].append(largest(derivative - change))
    return {f"{name}_gap": max(found) for name, found in gaps.items()}


def signs(seed: int) -> Metrics:
    """E4, E5: two actions, and the uniform policy. Rates are dH per unit of eta; finite steps are of eta = 1e-3."""
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
        "two_actions_gap": largest(method.covariance(z, logp, a) - by_hand),
        "uniform_change": max(
            largest(method.policy_gradient_change(uniform, values)),
            largest(method.natural_gradient_change(uniform, values)),
        ),
        "uniform_order_gap": max(abs(order - 2) for order in orders),
    }


def random_batch(seed: int, responses: int = 12, tokens: int = 9, moved: float = 0.3) -> tuple[torch.Tensor, ...]:
    """logp (with gradient), old, GRPO advantages in groups of 4, mask: float64, NaN outside the mask."""
    generator = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(responses, tokens, generator=generator, dtype=F64)
    logp = old + moved * torch.randn(responses, tokens, generator=generator, dtype=F64)
    rewards = torch.randint(2, (responses,), generator=generator).double()
    rewards[::4], rewards[1::4] = 1.0, 0.0
    given = pg.group_advantages(rewards, 4).expand(-1, tokens)
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (responses, 1), generator=generator)
    return logp.where(mask, math.nan).requires_grad_(), old.where(mask, math.nan), given, mask


def of(loss: Callable[..., torch.Tensor], batch: tuple[torch.Tensor, ...], **options: object) -> torch.Tensor:
    """Loss and gradient as one vector; the gradient of padding must be finite, and is zero."""
    value = loss(*batch, **options)
    return torch.cat([value.detach().view(1), torch.autograd.grad(value, batch[0])[0].flatten()])


def token_covariance(seed: int) -> Metrics:
    """E8, E9, and what micro-batches do to c."""
    gaps: dict[str, list[float]] = {"mean": [], "shift": [], "loop": [], "lone": [], "equal": []}
    for number in range(10):
        logp, _, a, mask = random_batch(seed + number)
        a = a + 0.5 * torch.randn(a.shape, generator=torch.Generator().manual_seed(number), dtype=F64)
        c = method.token_covariance(logp, a, mask)
        x, y = logp.detach()[mask], a[mask]
        gaps["mean"].append(abs(float(c.sum() / mask.sum() - ((x * y).mean() - x.mean() * y.mean()))))
        shifted = method.token_covariance(logp + 0.7, a - 1.3, mask)
        gaps["shift"].append(largest(shifted - c))
        loop = [(float(one) - float(x.mean())) * (float(two) - float(y.mean())) for one, two in zip(x, y, strict=True)]
        gaps["loop"].append(max(abs(u - v) for u, v in zip(c[mask].tolist(), loop, strict=True)))
        gaps["loop"].append(largest(c[~mask]))
        grpo = random_batch(seed + number)[2]
        lone = [method.token_covariance(logp[i : i + 1], grpo[i : i + 1], mask[i : i + 1]) for i in range(len(grpo))]
        gaps["lone"].append(max(map(largest, lone)))
        same = pg.group_advantages(torch.full((12,), 0.1, dtype=F64), 4).expand_as(grpo)
        gaps["equal"].append(largest(method.token_covariance(logp, same, mask)))
    return {f"{name}_gap": max(found) for name, found in gaps.items()}


def selection(seed: int) -> Metrics:
    """How many tokens are selected: k in percent, r as a fraction, and the floor of one in micro-batches."""
    wrong = sum(
        method.selection_size(n, percent) != max(1, int(n * percent / 100))
        for n in range(1, 3000, 7)
        for percent in (0.02, 0.2, 2.0, 100.0)
    )
    batches = [random_batch(seed + number, responses=32, tokens=60) for number in range(4)]
    tokens = sum(int(mask.sum()) for *_, mask in batches)
    whole = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    ragged = [int(method.kl_cov_selected(logp, a, mask).sum()) for logp, _, a, mask in batches]
    loose = {"lower": -math.inf, "upper": math.inf, "low": 10.0, "high": 10.0}
    rows = [tuple(one[i : i + 1] for one in whole) for i in range(128)]
    small = sum(int(method.clip_cov_dropped(*row, **loose).sum()) for row in rows)
    many = [one.repeat(8, 1) for one in whole]
    one, two = (torch.Generator().manual_seed(seed) for _ in range(2))
    unstated = method.clip_cov(*many, **loose, generator=one) - method.clip_cov(
        *many, **loose, share=2e-4, generator=two
    )
    return {
        "default_share_gap": largest(unstated),
        "clip_many": float(method.clip_cov_dropped(*many, **loose).sum()) - int(8 * tokens * 2e-4),
        "lone_kl": float(sum(int(method.kl_cov_selected(x, a, m).sum()) for x, _, a, m in rows)),
        "lone_clip": float(sum(int(method.clip_cov_dropped(*row).sum()) for row in rows)),
        "wrong_sizes": float(wrong),
        "kl_whole": float(method.kl_cov_selected(whole[0], whole[2], whole[3]).sum()) - int(tokens * 0.2 / 100),
        "kl_micro_excess": float(sum(ragged) - sum(max(1, int(int(m.sum()) * 0.002)) for *_, m in batches)),
        "clip_whole": float(method.clip_cov_dropped(*whole, **loose).sum()) - max(1, int(tokens * 2e-4)),
        "clip_micro": float(small),
        "tokens": float(tokens),
    }


def kl_cov(seed: int) -> Metrics:
    """E6, the loop, and what |log-ratio| is: not an estimate of KL, and discontinuous in its gradient at zero."""
    loops, on_policy, jumps, defaults = [], [], [], []
    for number in range(10):
        logp, old, a, mask = batch = random_batch(seed + number)
        selected = method.kl_cov_selected(logp, a, mask, percent=20.0)
        c = method.token_covariance(logp, a, mask)
        count = int(mask.sum() * 20 / 100)
        ranked = c[mask].sort(descending=True).values
        # The selected ones are the `count` largest and no padding.
        loops.append(float(int(selected.sum()) != count or bool((selected & ~mask).any())))
        loops.append(largest(c[selected].sort(descending=True).values - ranked[:count]))
        moved = {(i, t): float((logp[i, t] - old[i, t]).detach()) for i, t in mask.nonzero().tolist()}
        terms = [
            -float(a[i, t]) * math.exp(moved[i, t]) + (2.5 * abs(moved[i, t]) if selected[i, t] else 0.0)
            for i, t in mask.nonzero().tolist()
        ]
        value = method.kl_cov(*batch, percent=20.0, coefficient=2.5)
        loops.append(abs(float(value.detach()) - sum(terms) / len(terms)))
        default = method.kl_cov(*batch, percent=0.2, coefficient=1.0)
        defaults.append(abs(float((method.kl_cov(*batch) - default).detach())))
        same = (logp, logp.detach(), a, mask)
        plain = of(lambda x, o, b, m: pg.aggregate(-b * pg.ratio(x, o, m), m), same)
        on_policy.append(largest(of(method.kl_cov, same, percent=20.0, coefficient=10.0) - plain))
        nudged = (logp, logp.detach() - 1e-12, a, mask)
        jump = of(method.kl_cov, nudged, percent=20.0, coefficient=10.0)[1:] - plain[1:]
        jumps.append(abs(largest(jump) - 10.0 / int(mask.sum())))
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(200, 12, generator=generator, dtype=F64)
    d = torch.randn(200, 12, generator=generator, dtype=F64)
    distance, kl = {}, {}
    for eps in (1e-2, 1e-3):
        p, gap = (z + eps * d).softmax(-1), (z + eps * d).log_softmax(-1) - z.log_softmax(-1)
        distance[eps], kl[eps] = (p * gap.abs()).sum(-1), tabular.kl(z + eps * d, z)
    return {
        "loop_gap": max(loops),
        "default_gap": max(defaults),
        "on_policy_gap": max(on_policy),
        "jump_gap": max(jumps),
        "distance_over_kl": float((distance[1e-3] / kl[1e-3]).min()),
        "distance_order_gap": largest((distance[1e-2] / distance[1e-3]).log10() - 1),
        "kl_order_gap": largest((kl[1e-2] / kl[1e-3]).log10() - 2),
    }


def clip_cov(seed: int) -> Metrics:
    """E7, the loop, the random choice, and the clip range of the 7B script."""
    ppo_gap, dropped_all, loops, detached, unbounded, defaults, untouched = [], [], [], [], [], [], []
    everything = {"lower": -math.inf, "upper": math.inf, "share": 1.0}
    for number in range(10):
        logp, old, a, mask = batch = random_batch(seed + number)
        for low, high in ((0.2, 0.2), (0.2, 0.28), (1.0, 1.0)):
            clip = {"low": low, "high": high}
            never = of(method.clip_cov, batch, lower=1e300, upper=math.inf, **clip)
            ppo_gap.append(largest(never - of(pg.ppo, batch, **clip)))
            dropped_all.append(largest(of(method.clip_cov, batch, **everything, **clip)[1:]))
            # The value that remains is that of the tokens which PPO has clipped.
            clipped = pg.clipped(*batch, **clip)
            rest = pg.aggregate(torch.where(clipped, pg.ppo_terms(*batch, **clip), 0), mask)
            dropped_all.append(abs(float((method.clip_cov(*batch, **everything, **clip) - rest).detach())))
        c = method.token_covariance(logp, a, mask)
        window = {"lower": 0.1, "upper": 0.8, "low": 0.2, "high": 0.2}
        candidates = (c > 0.1) & (c < 0.8) & mask & ~pg.clipped(*batch)
        found = method.clip_cov_dropped(*batch, share=1.0, **window)
        loops.append(float((found != candidates).sum()))
        terms = pg.ppo_terms(*batch)
        kept = [float(terms[i, t].detach()) for i, t in mask.nonzero().tolist() if not candidates[i, t]]
        value = float(method.clip_cov(*batch, share=1.0, **window).detach())
        loops.append(abs(value - sum(kept) / int(mask.sum())))
        constant = torch.autograd.grad(pg.aggregate(torch.where(candidates, 0, terms), mask), logp)[0]
        detached.append(largest(of(method.clip_cov, batch, share=1.0, **window)[1:] - constant.flatten()))
        one, two = (torch.Generator().manual_seed(number) for _ in range(2))
        stated = {"share": 2e-4, "lower": 1.0, "upper": 5.0, "low": 1.0, "high": 1.0}
        defaults.append(
            largest(of(method.clip_cov, batch, generator=one) - of(method.clip_cov, batch, **stated, generator=two))
        )
        far = (old + 3.0).detach().requires_grad_(), old, -a.abs() - 0.1, mask
        wanted = pg.aggregate(math.exp(3.0) * (a.abs() + 0.1), mask)
        # c would drop tokens here: bounds that admit none leave the bare loss.
        unbounded.append(
            abs(float((method.clip_cov(*far, lower=1e300, upper=math.inf) - wanted).detach()) / float(wanted))
        )
        negative = (a < 0) & mask
        down = (torch.where(negative, old - 20.0, logp).detach().requires_grad_(), old, a, mask)
        gradient = of(method.clip_cov, down, lower=1e300, upper=math.inf)[1:].view_as(old)
        untouched.append(float((gradient[negative] == 0).sum()))
    return {
        "ppo_gap": max(ppo_gap),
        "dropped_all": max(dropped_all),
        "loop_gap": max(loops),
        "constant_choice_gap": max(detached),
        "default_gap": max(defaults),
        "no_dual_clip_gap": max(unbounded),
        "negative_clipped": max(untouched),
        **clip_cov_choice(seed),
        **clip_cov_defaults(seed),
    }


def clip_cov_defaults(seed: int) -> Metrics:
    """The bounds and the clip range that are not given, against those of the 7B script; c on a bound is outside."""
    logp, old, a, mask = random_batch(seed, responses=64, tokens=40, moved=1.0)
    batch = (logp, old, 2 * a, mask)
    stated = {"lower": 1.0, "upper": 5.0, "low": 1.0, "high": 1.0}
    differ = method.clip_cov_dropped(*batch, share=1.0) != method.clip_cov_dropped(*batch, share=1.0, **stated)
    c, clipped = method.token_covariance(logp, 2 * a, mask), pg.clipped(*batch, low=1.0, high=1.0)
    expected = (c > 1) & (c < 5) & mask & ~clipped
    losses = of(method.clip_cov, batch, share=1.0) - of(method.clip_cov, batch, share=1.0, **stated)
    # c is 1 or -1 exactly.
    x, y = torch.tensor([[0.0, 0.0, -2.0, -2.0]], dtype=F64), torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=F64)
    edge, ones = (x, x, y, torch.ones(1, 4)), {"share": 1.0}
    on_bound = [
        method.clip_cov_dropped(*edge, lower=low, upper=high, **ones) for low, high in ((1.0, 5.0), (-1.0, 1.0))
    ]
    return {
        "defaults_differ": float(differ.sum()) + float((method.clip_cov_dropped(*batch, share=1.0) != expected).sum()),
        "default_loss_gap": largest(losses),
        "bound_dropped": float(sum(int(one.sum()) for one in on_bound)),
        "within": float(expected.sum()),
    }


def clip_cov_choice(seed: int) -> Metrics:
    """Over 4,000 draws every candidate is dropped equally often; `choice_z` is the largest deviation in sigmas."""
    batch = random_batch(seed)
    window = {"lower": -math.inf, "upper": math.inf, "share": 0.1}
    size, tokens = (
        max(1, int(0.1 * int(batch[3].sum()))),
        int((~pg.clipped(*batch, low=1.0, high=1.0) & batch[3]).sum()),
    )
    generator, draws = torch.Generator().manual_seed(seed), 4000
    counts = sum(method.clip_cov_dropped(*batch, **window, generator=generator).double() for _ in range(draws))
    chance = size / tokens
    candidates = batch[3] & ~pg.clipped(*batch, low=1.0, high=1.0)
    deviations = (counts[candidates] - draws * chance) / math.sqrt(draws * chance * (1 - chance))  # type: ignore[index]
    return {"choice_z": largest(deviations), "choice_size_gap": abs(float(counts.sum()) / draws - size)}  # type: ignore[union-attr]


def table() -> Metrics:
    """E10: what follows from the printed cells, and what does not."""
    printed = {key: average for key, (_, average) in TABLE.items()}
    means = {key: mean(cells) for key, (cells, _) in TABLE.items()}
    gains = {size: printed[size, "kl_cov"] - printed[size, "grpo"] for size in ("7B", "32B")}
    aime = [TABLE["32B", "kl_cov"][0][place] - TABLE["32B", "grpo"][0][place] for place in (0, 1)]
    return {
        "gain_gap": max(abs(gains["7B"] - 2.0), abs(gains["32B"] - 6.4)),
        "aime_gap": max(abs(aime[0] - 15.0), abs(aime[1] - 14.6)),
        "average_gap": max(abs(printed[key] - means[key]) for key in TABLE),
        "kl_over_clip_7b": means["7B", "kl_cov"] - means["7B", "clip_cov"],
        "kl_over_clip_7b_printed": printed["7B", "kl_cov"] - printed["7B", "clip_cov"],
        "kl_over_grpo": min(means[size, "kl_cov"] - means[size, "grpo"] for size in ("7B", "32B")),
    }


def law(seed: int) -> Metrics:
    """E11, and the fit: exact on the curve, least squares off it, refusing what is no run."""
    generator = torch.Generator().manual_seed(seed)
    entropy = 2 * torch.rand(50, generator=generator, dtype=F64)
    grid = torch.linspace(0, 3, 61, dtype=F64).requires_grad_()
    exact, normal, slopes, ceilings, shapes = [], [], [], [], []
    for _ in range(20):
        a, b = (float(x) for x in torch.rand(2, generator=generator, dtype=F64) + 0.1)
        law = method.EntropyLaw(a, b)
        fitted = method.EntropyLaw.fit(entropy, law(entropy))
        exact.append(max(abs(fitted.a - a), abs(fitted.b - b)))
        noisy = law(entropy) + 0.1 * torch.randn(50, generator=generator, dtype=F64)
        columns = torch.stack([-entropy.exp(), torch.ones_like(entropy)], 1)
        best = torch.linalg.lstsq(columns, noisy[:, None]).solution.squeeze(1)
        refit = method.EntropyLaw.fit(entropy, noisy)
        normal.append(max(abs(refit.a - float(best[0])), abs(refit.b - float(best[1]))))
        slope = torch.autograd.grad(law(grid).sum(), grid, create_graph=True)[0]
        bend = torch.autograd.grad(slope.sum(), grid)[0]
        slopes.append(largest(slope - law.slope(grid)))
        shapes.append(float(torch.maximum(slope, bend).max()))
        ceilings.append(abs(law.ceiling - float(law(torch.zeros((), dtype=F64)))))
    return {
        "exact_gap": max(exact),
        "least_squares_gap": max(normal),
        "slope_gap": max(slopes),
        "largest_derivative": max(shapes),
        "ceiling_gap": max(ceilings),
    }


def refusals() -> Metrics:
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
    accepted: list[Callable[[], object]] = [
        lambda: method.clip_cov(*four, share=1.0, low=0.0, high=0.0),
        lambda: method.kl_cov(*four, percent=100.0, coefficient=0.0),
        lambda: method.EntropyLaw.fit(flat[:3] + torch.arange(3), flat[:3]),
    ]
    return {"missed": float(sum(not _refused(call) for call in calls) + sum(_refused(call) for call in accepted))}


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ValueError:
        return True
    return False
