"""The exact tier in float64: the change of entropy against finite differences, its estimates, the weights, the loss.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds), `wrong` a count of cases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement.policy_gradient import ppo, token_entropy, token_log_probs
from suites.steer import method
from suites.steer.method import diagonal_change, entropy_change, estimate, steer_loss, token_weights

F64 = torch.float64
SIZES, SPREADS = (2, 10, 1000), (0.5, 2.0, 6.0)
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def states(seed: int, rows: int = 60, spreads: tuple[float, ...] = SPREADS) -> Iterator[tuple[torch.Tensor, ...]]:
    """Logits (rows, 1, V), a sampled action each, advantages and old log-probabilities (rows, 1)."""
    generator = torch.Generator().manual_seed(seed)
    for size, spread in itertools.product(SIZES, spreads):
        z = spread * torch.randn(rows, 1, size, generator=generator, dtype=F64)
        a = torch.multinomial(z[:, 0].softmax(-1), 1, generator=generator)
        advantage = torch.randn(rows, 1, generator=generator, dtype=F64)
        yield z, a, advantage, token_log_probs(z, a) + 0.2 * torch.randn(rows, 1, generator=generator, dtype=F64)


def batch(seed: int, responses: int = 6, tokens: int = 9) -> Batch:
    """logp with a gradient, old, advantages (B, 1), entropies, mask."""
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(responses, tokens, 6, generator=generator, dtype=F64)
    logp = token_log_probs(z, torch.randint(6, (responses, tokens), generator=generator))
    old = logp + 0.4 * torch.randn(responses, tokens, generator=generator, dtype=F64)
    mask = torch.arange(tokens) < torch.randint(2, tokens + 1, (responses, 1), generator=generator)
    return logp.requires_grad_(), old, torch.randn(responses, 1, generator=generator, dtype=F64), token_entropy(z), mask


def change(*, seed: int) -> dict[str, float]:
    """First-order changes against finite differences and derivatives, and their mean over the sampled token."""
    worst = Worst()
    for z, a, advantage, old in states(seed):
        p = z.softmax(-1)
        x = p.gather(-1, a[..., None])
        score = torch.zeros_like(p).scatter(-1, a[..., None], 1) - p
        direction = advantage[..., None] * x / old.exp()[..., None] * score
        eps = 1e-5 / (1 + float(direction.abs().max()))
        slope = (token_entropy(z + eps * direction) - token_entropy(z - eps * direction)) / (2 * eps)
        exact = entropy_change(z, a, advantage, old)
        scale = 1 + exact.abs()
        free = z.clone().requires_grad_()
        (steep,) = torch.autograd.grad(token_entropy(free).sum(), free)
        logp = token_log_probs(z, a)
        moved = (steep.gather(-1, a[..., None]) * advantage[..., None] * (1 - x) * x / old.exp()[..., None]).squeeze(-1)
        few = z[:2]
        everything = torch.arange(p.shape[-1]).expand(len(few), -1)
        # On policy: A x / x_old = A.
        each = entropy_change(few.expand(-1, p.shape[-1], -1), everything, torch.ones_like(p[:2, 0]), p[:2, 0].log())
        worst.note(
            difference_gap=gap((exact - slope) / scale),
            diagonal_gap=gap((diagonal_change(logp, old, advantage, token_entropy(z)) - moved) / scale),
            mean_gap=gap((p[:2, 0] * each).sum(-1)),
        )
    return worst


def code_mean(*, seed: int) -> dict[str, float]:
    """The mean of the code's signed estimate over the sampled token, with equal advantages, 1,000 actions."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(50, 1000, generator=generator, dtype=F64)
    p, logp = z.softmax(-1), z.log_softmax(-1)
    h = token_entropy(z)[:, None].expand_as(p)
    omega = estimate(logp, logp, torch.ones_like(p), h)
    return {"code_mean": float((p * omega).sum(-1).abs().max())}


def zeros(*, seed: int) -> dict[str, float]:
    """Where the estimate vanishes, its formula with other exponents, its limits, and its blindness to the sign of A."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    x = 0.01 + 0.98 * torch.rand(40, 5, generator=generator, dtype=F64)
    x_old, a = (
        0.05 + 0.9 * torch.rand(40, 5, generator=generator, dtype=F64),
        torch.randn(40, 1, generator=generator, dtype=F64),
    )
    h = 2 * torch.rand(40, 5, generator=generator, dtype=F64)
    uniform = torch.full((3, 4), -math.log(7), dtype=F64)
    one = torch.ones_like(x)
    for px, pq in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0)):
        formula = a / x_old * x**px * (1 - x) ** pq * (x.log() + h)
        worst.note(formula_gap=gap(estimate(x.log(), x_old.log(), a, h, power_x=px, power_q=pq), formula))
    impossible = estimate(
        torch.full((1, 1), -math.inf), torch.full((1, 1), -math.inf), torch.ones(1, 1), torch.ones(1, 1)
    )
    never = diagonal_change(torch.full((1, 1), -math.inf), torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))
    weights = token_weights(estimate(x.log(), x_old.log(), a, h), one)
    worst.note(
        no_advantage=gap(estimate(x.log(), x_old.log(), 0 * a, h)),
        typical=gap(estimate(x.log(), x_old.log(), a, -x.log())),
        uniform=gap(estimate(uniform, uniform, torch.ones(3, 1), -uniform)),
        certain=gap(estimate(0 * one, 0 * one, a, 0 * h)) - 1e-7,
        impossible=float(not bool(impossible.isfinite().all() and never.isfinite().all())),
        sign_gap=gap(token_weights(estimate(x.log(), x_old.log(), -a, h), one), weights),
    )
    return worst


def weights(*, seed: int) -> dict[str, float]:
    """Both weightings: formula, range, order, scale of the advantages, extremes, what lies outside the mask."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for number in range(20):
        omega = 10 ** (2 * torch.rand((), generator=generator) - 1) * torch.randn(5, 8, generator=generator, dtype=F64)
        mask = torch.rand(5, 8, generator=generator) < 0.7
        mask[0, 0] = True
        least = (0.2, 0.5, 0.8)[number % 3]
        dirty = torch.where(mask, omega, 1e6)
        exponential, linear = (
            token_weights(dirty, mask, weighting=how, least=least) for how in ("exponential", "linear")
        )
        size = omega.abs()[mask]
        high, low = float(size.max()), float(size.min())
        k = -math.log(least) / max(high, 0.02)
        order = size.argsort()
        worst.note(
            exponential_gap=gap(exponential[mask], (-k * size).exp()),
            linear_gap=gap(linear[mask], 1.2 - (size - low) / (high - low) * (1.2 - least)),
            exponential_rise=float(exponential[mask][order].diff().max()) if len(size) > 1 else 0.0,
            linear_rise=float(linear[mask][order].diff().max()) if len(size) > 1 else 0.0,
            least_gap=abs(float(exponential[mask].min()) - least) + abs(float(linear[mask].max()) - 1.2),
            outside=gap(exponential[~mask]) + gap(linear[~mask]),
            linear_scale_gap=gap(token_weights(1e-6 * omega, mask, weighting="linear", least=least), linear),
            exponential_scale_gap=gap(token_weights(7 * omega, mask, least=least), exponential),
        )
    small = torch.tensor([[0.0, 0.005, 0.01]], dtype=F64)
    one = torch.ones(1, 3)
    equal = torch.full((2, 3), 0.7, dtype=F64)
    heavy = torch.randn(400, 10, generator=generator, dtype=F64).exp()
    whole = torch.ones(400, 10)
    return {
        **worst,
        "small_gap": abs(float(token_weights(small, one).min()) - 0.8**0.5),
        "equal_gap": gap(token_weights(equal, torch.ones(2, 3), weighting="linear"), torch.full((2, 3), 1.0)),
        "heavy_linear_mean": float(token_weights(heavy, whole, weighting="linear").mean()),
        "outlier": float(
            token_weights(torch.tensor([[20.0, 0.5]], dtype=F64), torch.ones(1, 2))[0, 1]
        ),
    }  # fmt: skip


def loss(*, seed: int) -> dict[str, float]:
    """Against a loop and against GRPO; where gradients pass, large ratios, and the extreme clip range."""
    worst = Worst()
    for number in range(12):
        logp, old, a, h, mask = one = batch(seed + number)
        for weighting in ("exponential", "linear"):
            lam = token_weights(torch.where(mask, estimate(logp, old, a, h), 0), mask, weighting=weighting)
            terms = []
            for i, t in mask.nonzero().tolist():
                rho, advantage = math.exp(float((logp[i, t] - old[i, t]).detach())), float(a[i])
                term = max(-advantage * rho, -advantage * min(max(rho, 0.8), 1.28))
                term = min(term, -10 * advantage) if advantage < 0 else term
                terms.append(float(lam[i, t]) * term)
            value = steer_loss(*one, weighting=weighting)
            (slope,) = torch.autograd.grad(value, logp, retain_graph=True)
            (fixed,) = torch.autograd.grad(steer_loss(*one, weights=lam), logp, retain_graph=True)
            worst.note(loop_gap=abs(float(value.detach()) - sum(terms) / len(terms)), constant_gap=gap(slope, fixed))
        omega = estimate(logp, old, a, h.clone().requires_grad_())
        kept = token_weights(omega.clone().requires_grad_(), mask)
        worst.note(constant_gap=float(omega.requires_grad or kept.requires_grad))
        plain = ppo(logp, old, a, mask, low=0.2, high=0.28, dual=10.0)
        (wanted,) = torch.autograd.grad(plain, logp)
        for options in ({"least": 1.0}, {"weighting": "linear", "least": 1.0, "most": 1.0}):
            value = steer_loss(*one, **options)
            (slope,) = torch.autograd.grad(value, logp)
            worst.note(grpo_gap=max(gap(value, plain), gap(slope, wanted)))
        wide = steer_loss(*one, low=0.99, high=5.0, dual=None, least=1.0)
        worst.note(extreme_gap=gap(wide, ppo(logp, old, a, mask, low=0.99, high=5.0)))
    far, near = (torch.tensor([[one, -one]], dtype=F64, requires_grad=True) for one in (90.0, 20.0))
    ones = torch.ones(1, 2, dtype=F64)
    held, bound = (steer_loss(one, 0 * ones, -ones[:, :1], ones, ones, dual=None) for one in (far, near))
    return {**worst, "far_gap": gap(held / bound, 1.0), "nothing": gap(_nothing(seed))}


def _nothing(seed: int) -> torch.Tensor:
    logp, old, a, h, mask = batch(seed)
    return steer_loss(logp, old, a, h, torch.zeros_like(mask))


def agreement(*, seed: int) -> dict[str, float]:
    """Pearson correlations of the exact change with both estimates over sampled tokens: the least of six settings.

    10 and 1,000 actions, logits of spread 1, 3 and 6, on policy; with equal advantages, and with normal ones (`mixed`).
    """
    least: dict[str, float] = {}
    for z, a, advantage, _ in states(seed, rows=3000, spreads=(1.0, 3.0, 6.0)):
        if z.shape[-1] == 2:
            continue
        logp, h = token_log_probs(z, a), token_entropy(z)
        for name, A in (("", torch.ones_like(advantage)), ("_mixed", advantage)):
            exact = entropy_change(z, a, A, logp).flatten().numpy()
            for kind, found in (("diagonal", diagonal_change(logp, logp, A, h)), ("code", -estimate(logp, logp, A, h))):
                value = float(np.corrcoef(exact, found.flatten().numpy())[0, 1])
                least[kind + name] = min(value, least.get(kind + name, 1.0))
    return least


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, half precision, NaN outside the mask, and calls that make no sense."""
    logp, old, a, h, mask = one = batch(seed)
    half = [tensor.detach().bfloat16() for tensor in (logp, old, a, h)]
    dirty = [torch.where(mask, tensor, math.nan) for tensor in (logp, old, h)]
    omega = estimate(logp, old, a, h)
    nan = omega.clone()
    nan[0, 0] = math.nan
    return {
        "other": other_defaults(
            steer_loss, weighting="exponential", least=0.8, most=1.2, low=0.2, high=0.28, dual=10.0, weights=None
        )
        + other_defaults(token_weights, weighting="exponential", least=0.8, most=1.2)
        + other_defaults(estimate, power_x=1.0, power_q=1.0)
        + abs(method.FLOOR - 0.02),
        "half_gap": gap(
            steer_loss(half[0], half[1], half[2], half[3], mask),
            steer_loss(half[0].float(), half[1].float(), half[2].float(), half[3].float(), mask),
        ),
        "padding_gap": gap(steer_loss(dirty[0], dirty[1], a, dirty[2], mask), steer_loss(*one)),
        "bad_passed": accepted(
            lambda: estimate(logp, old[:, 1:], a, h),
            lambda: estimate(logp, old, a[1:], h),
            lambda: estimate(logp[0], old[0], a, h[0]),
            lambda: token_weights(omega, mask[:, 1:]),
            lambda: token_weights(nan, torch.ones_like(mask)),
            lambda: token_weights(omega, mask, least=0.0),
            lambda: token_weights(omega, mask, least=1.1),
            lambda: token_weights(omega, mask, weighting="linear", least=0.8, most=0.7),
            lambda: token_weights(omega, mask, weighting="none"),  # type: ignore[arg-type]
            lambda: steer_loss(logp, old, a, h, mask, dual=0.5),
            lambda: steer_loss(logp, old, a, h, mask, low=-0.1),
        ),
    }
