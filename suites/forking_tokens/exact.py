"""The exact tier in float64: the selection, the loss and its gradient, temperatures, measures, the table's arithmetic.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds), `wrong` a count of cases.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from statistics import fmean

import numpy as np
import torch

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement.policy_gradient import ppo, token_log_probs
from baselines.timing import interleaved
from suites.forking_tokens import method
from suites.forking_tokens.method import fork_mask, forking_loss, quantile_mask, selection_size, token_entropy
from suites.forking_tokens.tables import ALL, CAPTION_GAIN, FORKS, GAINS

F64 = torch.float64
Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def rows(seed: int, *, responses: int = 6, tokens: int = 12, vocabulary: int = 7) -> Rows:
    """Logits (B, T, V) with a gradient, old log-probabilities, advantages (B, 1), mask, actions; nothing equal."""
    generator = torch.Generator().manual_seed(seed)
    spread = 0.3 + 4 * torch.rand(responses, tokens, 1, generator=generator, dtype=F64)
    z = (spread * torch.randn(responses, tokens, vocabulary, generator=generator, dtype=F64)).requires_grad_()
    actions = torch.randint(vocabulary, (responses, tokens), generator=generator)
    moved = 0.4 * torch.randn(responses, tokens, generator=generator, dtype=F64)
    old = token_log_probs(z, actions).detach() + moved
    advantages = torch.randn(responses, 1, generator=generator, dtype=F64)
    mask = torch.arange(tokens) < torch.randint(3, tokens + 1, (responses, 1), generator=generator)
    return z, old, advantages, mask, actions


def loss_of(batch: Rows, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a batch and its gradient in the logits."""
    z, old, advantages, mask, actions = batch
    value = forking_loss(token_log_probs(z, actions), old, advantages, token_entropy(z), mask, **options)  # type: ignore[arg-type]
    return value.detach(), torch.autograd.grad(value, z)[0]


def selection(*, seed: int) -> dict[str, float]:
    """Sizes for 1 to 2,000 tokens, what is selected of random entropies, shares of 0 and 1, increasing transforms."""
    worst = Worst()
    shares = (Fraction(1, 5), Fraction(1, 10), Fraction(1, 2), Fraction(1, 3), Fraction(1), Fraction(0))
    wrong = sum(
        selection_size(n, float(share)) != max(1, math.ceil(share * n))
        for share, n in itertools.product(shares, range(1, 2001))
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(60):
        shape = tuple(torch.randint(1, 30, (2,), generator=generator).tolist())
        h = torch.rand(shape, generator=generator, dtype=F64)
        mask = torch.rand(shape, generator=generator) < 0.7
        mask[0, 0] = True
        chosen, n = fork_mask(h, mask), int(mask.sum())
        outside = h.masked_fill(~mask, math.nan)
        order = torch.randperm(shape[0], generator=generator)
        columns = torch.randperm(shape[1], generator=generator)
        rest = h[mask & ~chosen]
        transformed = [fork_mask(f(h), mask) for f in (torch.exp, torch.log, lambda x: x / math.log(2))]
        permuted = fork_mask(h[order][:, columns], mask[order][:, columns])
        worst.note(
            size_wrong=float(int(chosen.sum()) != max(1, math.ceil(Fraction(n, 5)))),
            padding=float((chosen & ~mask).sum() + (fork_mask(outside, mask) != chosen).sum()),
            order_excess=float(rest.max() - h[chosen].min()) if len(rest) else -1.0,
            transform_changes=float(sum((one != chosen).sum() for one in transformed)),
            permuted_changes=float((permuted != chosen[order][:, columns]).sum()),
            none_kept=float(int(fork_mask(h, mask, share=0.0).sum()) != 1),
            all_kept=float((fork_mask(h, mask, share=1.0) != mask).sum()),
        )
    equal = torch.ones(2, 5, dtype=F64)
    first = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    worst.note(
        ties=float((fork_mask(equal, equal) != first).sum()) + float((~quantile_mask(equal, equal)).sum()),
        nothing=float(fork_mask(equal, 0 * equal).sum()) + float(quantile_mask(equal, 0 * equal).sum()),
    )
    return {**worst, "sizes_wrong": float(wrong)}


def loss(*, seed: int) -> dict[str, float]:
    """Against a loop, against PPO at share 1; where the gradient is zero, and how parts make up the whole."""
    worst = Worst()
    for number in range(12):
        batch = rows(seed + number)
        z, old, advantages, mask, actions = batch
        logp, h = token_log_probs(z, actions), token_entropy(z).detach()
        chosen = fork_mask(h, mask)
        terms = []
        for i, t in chosen.nonzero().tolist():
            rho, a = math.exp(float((logp[i, t] - old[i, t]).detach())), float(advantages[i])
            term = max(-a * rho, -a * min(max(rho, 0.8), 1.28))
            terms.append(min(term, -10 * a) if a < 0 else term)
        value, gradient = loss_of(batch)
        everything, whole = loss_of(batch, share=1.0)
        plain = ppo(logp, old, advantages, mask, low=0.2, high=0.28, dual=10.0)
        share = int(chosen.sum()) / int(mask.sum())
        rest, rest_gradient = loss_of(batch, chosen=mask & ~chosen)
        trl, trl_gradient = loss_of(batch, denominator="all")
        near = (old + 0.1).requires_grad_(), old, torch.ones_like(advantages), mask
        sizes = [
            torch.autograd.grad(forking_loss(near[0], old, near[2], h, mask, share=one), near[0])[0].norm(p=1)
            / (share if one < 1 else 1.0)
            for one in (0.2, 1.0)
        ]
        single = torch.autograd.grad(forking_loss(near[0], old, near[2], h, mask), near[0])[0]
        all_tokens = torch.autograd.grad(forking_loss(near[0], old, near[2], h, mask, share=1.0), near[0])[0]
        worst.note(
            loop_gap=gap(value, fmean(terms)),
            ppo_gap=max(gap(everything, plain), gap(whole, torch.autograd.grad(plain, z)[0])),
            support=gap(gradient[~chosen]),
            mixture_gap=max(
                gap(everything, share * value + (1 - share) * rest),
                gap(whole, share * gradient + (1 - share) * rest_gradient),
            ),
            denominator_gap=max(gap(trl, share * value), gap(trl_gradient, share * gradient)),
            scale_gap=gap(single[chosen] * share, all_tokens[chosen]) + gap(sizes[0] * share, sizes[1]),
        )
    far = (torch.tensor([[3.0]], dtype=F64), torch.tensor([[0.0]], dtype=F64), torch.tensor([[-1.0]], dtype=F64))
    held = forking_loss(far[0], far[1], far[2], far[1], torch.ones(1, 1))
    worst.note(dual_gap=gap(held, 10.0))
    return worst


def granularity(*, seed: int) -> dict[str, float]:
    """One micro-batch against one response each: which responses keep tokens, and how many."""
    generator = torch.Generator().manual_seed(seed)
    # Responses whose entropies differ by their level more than within.
    level = torch.linspace(0, 3, 16, dtype=F64)[:, None]
    h = level + 0.2 * torch.rand(16, 25, generator=generator, dtype=F64)
    mask = torch.ones(16, 25, dtype=torch.bool)
    whole, each = fork_mask(h, mask), fork_mask(h, mask, scope="response")
    alone = torch.cat([fork_mask(h[i : i + 1], mask[i : i + 1]) for i in range(16)])
    return {
        "whole_silent": float((whole.sum(1) == 0).sum()),
        "each_silent": float((each.sum(1) == 0).sum()),
        "each_uneven": float((each.sum(1) != 5).sum()),
        "micro_batch_differs": float((each != alone).sum()),
        "agreement": float((whole & each).sum() / whole.sum()),
        "quantile_differs": float((quantile_mask(h, mask) != whole).sum()),
    }


def temperature(*, seed: int) -> dict[str, float]:
    """What a temperature does to entropy, and to which of two tokens has the larger one; decoding with two of them."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    z = 3 * torch.randn(50, 9, generator=generator, dtype=F64)
    for at in (0.5, 1.0, 2.0):
        t = torch.full((50,), at, dtype=F64, requires_grad=True)
        (slope,) = torch.autograd.grad(token_entropy(z / t[:, None]).sum(), t)
        p = (z / at).softmax(-1)
        variance = (p * z.square()).sum(-1) - (p * z).sum(-1).square()
        worst.note(slope_gap=gap(slope, variance / at**3), least_slope=-float(slope.min()))
    # Two near equals with nothing else, and one in front of many: few against many at a low temperature.
    pair = torch.tensor([[0.0, -0.2, *[-9.0] * 7], [0.0, *[-2.5] * 8]], dtype=F64)
    cold, warm = (token_entropy(pair / at) for at in (0.5, 2.0))
    h = token_entropy(z)
    threshold = float(h.quantile(0.8))
    decoded = method.two_temperatures(z, threshold=threshold, high=2.0, low=0.5)
    forks = h > threshold
    return {
        **worst,
        "cold_lead": float(cold[0] - cold[1]),
        "warm_lead": float(warm[1] - warm[0]),
        "decoding_gap": max(gap(decoded[forks], z[forks] / 2), gap(decoded[~forks], z[~forks] / 0.5)),
        "forks": float(forks.sum()),
    }


def gradient_size(*, seed: int) -> dict[str, float]:
    """The squared norm of the gradient of a sampled token's log-probability, and its bounds by entropy."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for size, spread in itertools.product((2, 3, 10, 200), (0.1, 1.0, 3.0, 8.0)):
        p = (spread * torch.randn(200, size, generator=generator, dtype=F64)).softmax(-1)
        norms = (torch.eye(size, dtype=F64) - p[:, None]).square().sum(-1)
        squares = p.square().sum(-1)
        formula = (1 - p).square() + squares[:, None] - p.square()
        mean = (p * norms).sum(-1)
        entropy = torch.special.entr(p).sum(-1)
        worst.note(
            norm_gap=gap(norms, formula),
            norm_excess=float((norms - 2 * (1 - p).square()).max()),
            mean_gap=gap(mean, 1 - squares),
            mean_excess=float((mean - (1 - (-entropy).exp())).max()),
        )
    return worst


NAMES = ("gini", "top_share", "mean", "percentile_80")


def pattern(*, seed: int) -> dict[str, float]:
    """The overlap of patterns by chance and of equal ones; changes by percentile and the profile, in closed form."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    one, other = torch.rand(2, 200, 1000, generator=generator, dtype=F64)
    mask = torch.ones(200, 1000, dtype=torch.bool)
    before = torch.rand(40, 50, generator=generator, dtype=F64)
    inside = torch.arange(50) < torch.randint(20, 51, (40, 1), generator=generator)
    change = method.change_by_percentile(before, before + before.square(), inside)
    kept = np.sort(before[inside].numpy())
    expected = [float(np.mean(part**2)) for part in np.array_split(kept, 20)]
    for n in (5, 50, 1000):
        spike = torch.zeros(n, dtype=F64)
        spike[0] = 3.0
        ramp = torch.arange(n, dtype=F64)
        cases = ((torch.ones(n, dtype=F64), 0.0), (spike, (n - 1) / n), (ramp, (n + 1) / (3 * n)))
        for values, gini in cases:
            found = method.profile(values)
            top = values.sort().values[-math.ceil(n / 5) :].sum() / values.sum()
            expected_profile = [gini, float(top), float(values.mean()), float(np.quantile(values.numpy(), 0.8))]
            worst.note(profile_gap=gap([found[name] for name in NAMES], expected_profile))
    small = method.profile(torch.tensor([0.0, 0.005, 0.01, 0.05, 0.1, 2.0], dtype=F64))
    nothing = method.profile(torch.zeros(10, dtype=F64))
    worst.note(profile_gap=gap([small["below_0_01"], small["below_0_1"]], [2 / 6, 4 / 6]))
    worst.note(profile_gap=gap([nothing["top_share"], nothing["gini"]], [0.2, 0.0]))
    return {
        **worst,
        "chance_gap": abs(method.overlap(one, other, mask) - 0.2),
        "equal_gap": abs(method.overlap(one, one.exp(), mask) - 1.0),
        "change_gap": gap(change, expected),
    }


def printed() -> dict[str, float]:
    """Means and gains of Table 2 against its cells."""
    means = [abs(fmean(cells) - mean) for table in (ALL, FORKS) for cells, mean in table.values()]
    gains, caption = [], 0.0
    for model, printed_gains in GAINS.items():
        (before, mean_before), (after, mean_after) = ALL[model], FORKS[model]
        found = (after[0] - before[0], after[1] - before[1], mean_after - mean_before)
        gains += [abs(one - other) for one, other in zip(found, printed_gains, strict=True)]
        if model == "32B":
            caption = abs(found[0] - CAPTION_GAIN)
    losses = sum(a < b for model in ALL for b, a in zip(ALL[model][0], FORKS[model][0], strict=True))
    return {"mean_gap": max(means), "gain_gap": max(gains), "caption_gap": caption, "cells_lower": float(losses)}


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, half precision, what lies outside the mask, responses that are too long, bad calls."""
    worst = Worst()
    batch = rows(seed)
    z, old, advantages, mask, actions = batch
    logp, h = token_log_probs(z, actions).detach(), token_entropy(z).detach()
    stated, _ = loss_of(batch, share=0.2, low=0.2, high=0.28, dual=10.0, scope="batch", denominator="selected")
    half = [one.bfloat16() for one in (logp, old, advantages, h)]
    wide = [one.float() for one in half]
    dirty = [torch.where(mask, one, math.nan) for one in (logp, old, h)]
    lengths = torch.tensor([1.0, 16384.0, 18432.0, 20480.0, 30000.0], dtype=F64)
    nan = h.clone()
    nan[0, 0] = math.nan
    worst.note(
        other=other_defaults(
            forking_loss, share=0.2, low=0.2, high=0.28, dual=10.0, scope="batch", denominator="selected", chosen=None
        )
        + other_defaults(fork_mask, share=0.2, scope="batch")
        + other_defaults(quantile_mask, share=0.2)
        + other_defaults(method.overlap, share=0.2)
        + other_defaults(method.profile, share=0.2)
        + other_defaults(method.change_by_percentile, bins=20),
        stated_gap=gap(loss_of(batch)[0], stated),
        half_gap=gap(*(forking_loss(one[0], one[1], one[2], one[3], mask) for one in (half, wide))),
        padding_gap=gap(forking_loss(dirty[0], dirty[1], advantages, dirty[2], mask), loss_of(batch)[0]),
        nothing=gap(forking_loss(logp, old, advantages, h, torch.zeros_like(mask))),
        overlong_gap=gap(method.overlong_penalty(lengths, 20480, 4096), [0.0, 0.0, -0.5, -1.0, -1.0]),
        bad_passed=accepted(
            lambda: fork_mask(h, mask[:, 1:]),
            lambda: fork_mask(h[0], mask[0]),
            lambda: fork_mask(nan, torch.ones_like(mask)),
            lambda: fork_mask(h, mask, share=1.1),
            lambda: fork_mask(h, mask, share=-0.1),
            lambda: fork_mask(h, mask, scope="token"),  # type: ignore[arg-type]
            lambda: quantile_mask(h, mask, share=2.0),
            lambda: forking_loss(logp, old, advantages, h, mask, denominator="none"),  # type: ignore[arg-type]
            lambda: forking_loss(logp, old, advantages, h, mask, chosen=mask[:2]),
            lambda: forking_loss(logp, old, advantages[:2], h, mask),
            lambda: forking_loss(logp, old, advantages, h, mask, dual=1.0),
            lambda: method.two_temperatures(z, threshold=1.0, high=0.0, low=1.0),
            lambda: method.change_by_percentile(h, h, mask, bins=1000),
            lambda: method.profile(torch.empty(0)),
            lambda: method.profile(-h.flatten()),
            lambda: method.overlong_penalty(lengths, 10, 11),
        ),
    )
    return worst


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds forward and backward from logits (64, 256, 500), with the selection and without (all tokens)."""
    batch = rows(seed, responses=64, tokens=256, vocabulary=500)
    z, old, advantages, mask, actions = (one.detach().float() if one.is_floating_point() else one for one in batch)
    z.requires_grad_()

    def call(share: float) -> None:
        logp = token_log_probs(z, actions)
        torch.autograd.grad(forking_loss(logp, old, advantages, token_entropy(z), mask, share=share), z)

    def plain() -> None:
        token_entropy(z)
        logp = token_log_probs(z, actions)
        torch.autograd.grad(ppo(logp, old, advantages, mask, low=0.2, high=0.28, dual=10.0), z)

    return interleaved({"forking": lambda: call(0.2), "plain": plain}, rounds=10)
