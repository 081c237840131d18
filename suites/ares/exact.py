"""The exact tier in float64: entropies, windows, threshold, difficulty and reward, adaptation, the loss.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds), `wrong` a count of cases.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import partial
from statistics import fmean, median

import numpy as np
import torch

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement.policy_gradient import group_advantages, token_entropy, token_log_probs
from baselines.timing import interleaved
from suites.ares import method
from suites.ares.method import (
    AdaptiveKL,
    Shaping,
    Threshold,
    ares_loss,
    entropy_reward,
    high_windows,
    listed_entropy,
    own_percentile,
    window_entropy,
)

F64 = torch.float64
NAMES = ("easy", "medium", "hard")


def entropies(*, seed: int) -> dict[str, float]:
    """Entropy of the k likeliest of random distributions, with the rest as one symbol and without, for V to 5,000."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    largest = 0.0
    for size, spread in itertools.product((50, 500, 5000), (0.3, 1.0, 3.0, 6.0)):
        logs = (spread * torch.randn(40, size, generator=generator, dtype=F64)).log_softmax(-1)
        full = token_entropy(logs)
        ranked = logs.sort(-1, descending=True).values
        before = torch.zeros(40, dtype=F64)
        for k in (1, 2, 5, 10, size - 1, size):
            found, bare = listed_entropy(ranked[:, :k]), listed_entropy(ranked[:, :k], tail=False)
            rest = (1 - ranked[:, :k].exp().sum(-1)).clamp(min=0)
            spare = torch.where(rest > 0, rest * math.log(max(1, size - k)), 0)
            worst.note(
                bound_excess=max(float(one.max()) for one in (found - full, full - found - spare, before - found)),
                exact_gap=gap(found, full) if k >= size - 1 else 0.0,
                tail_gap=gap(found - bare, torch.special.entr(rest)),
            )
            before = found
            if k == 10:
                largest = max(largest, float((found - bare).max()))
    certain = torch.tensor([[0.0, -math.inf], [math.log(0.5), math.log(0.5)]], dtype=F64)
    worst.note(exact_gap=gap(listed_entropy(certain), [0.0, math.log(2)]))
    return {**worst, "tail_missing": largest}


def lengths_mask(generator: torch.Generator, rows: int, width: int) -> torch.Tensor:
    """Responses of 0 to `width` tokens."""
    return torch.arange(width) < torch.randint(0, width + 1, (rows, 1), generator=generator)


def windows(*, seed: int) -> dict[str, float]:
    """W, its percentile, counts and threshold against loops; what averaging does to noise and to the level."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for window, percentile in itertools.product((1, 3, 4, 8), (50.0, 95.0, 98.0)):
        h = torch.rand(12, 30, generator=generator, dtype=F64)
        mask = lengths_mask(generator, 12, 30)
        triggers = torch.rand(12, 30, generator=generator) < 0.5
        found = window_entropy(h.where(mask, math.nan), mask, window=window)
        own = own_percentile(found, mask, percentile=percentile)
        counts, soft = high_windows(found, triggers, 0.5)
        for row in range(12):
            kept = h[row][mask[row]].tolist()
            known = [fmean(kept[i + 1 : i + 1 + window]) for i in range(len(kept) - window)]
            filled = known.copy()
            while known and len(filled) < len(kept):
                filled.append(fmean(filled))  # the running mean, earlier fillers included
            hits = [value for i, value in enumerate(known) if triggers[row, i]]
            padded = known + [-math.inf] * (30 - len(known))
            worst.note(
                window_gap=gap(found[row], padded),
                count_gap=max(
                    gap(counts[row], sum(value >= 0.5 for value in hits)),
                    gap(soft[row], sum(max(0.0, value - 0.5) for value in hits)),
                ),
                percentile_gap=gap(own[row], np.percentile(filled, percentile))
                if known
                else float(not own[row].isnan()),
            )
    for length in (0, 4, 5):
        h = torch.rand(2, length, generator=generator, dtype=F64)
        there = torch.ones_like(h, dtype=torch.bool)
        found = window_entropy(h, there)
        own = own_percentile(found, there)
        first = h[:, 1:].mean(1, keepdim=True) if length == 5 else torch.full((2, 1), -math.inf)
        worst.note(
            window_gap=gap(found[:, :1], first[:, :length]) + gap(found[:, 1:].isfinite().double()),
            percentile_gap=gap(own, found[:, 0]) if length == 5 else float((~own.isnan()).sum()),
        )
    # Independent entropies of one distribution.
    noise = torch.rand(200, 4000, generator=generator, dtype=F64).square()
    there = torch.ones_like(noise, dtype=torch.bool)
    for window in (4, 8):
        smooth = window_entropy(noise, there, window=window)[:, :-window]
        worst.note(
            variance_gap=max(abs(float(smooth.var() / noise.var()) * window - 1), abs(float(3 * smooth.mean()) - 1))
        )
    # A response of any level has its twentieth above its own percentile.
    shares = []
    for level in (0.01, 1.0, 100.0):
        w = window_entropy(level * noise, there)
        own = own_percentile(w, there)
        counts, _ = high_windows(w, there, float(own.median()))
        shares.append(float(counts.double().mean()) / 4000)
    tie, _ = high_windows(torch.full((1, 3), 0.5, dtype=F64), torch.ones(1, 3, dtype=torch.bool), 0.5)
    worst.note(count_gap=gap(tie, 3))
    return {**worst, "level_matters": max(shares) - min(shares)}


def threshold(*, seed: int) -> dict[str, float]:
    """tau over batches against a loop; the percentile of bare entropies against that of the counted ones."""
    generator = torch.Generator().manual_seed(seed)
    tau, expected, worst = Threshold(), 0.0, Worst()
    worst.note(average_gap=abs(tau.value + 1))
    tau.validated(torch.tensor([1.0, 2.0, 6.0, math.nan], dtype=F64))
    worst.note(average_gap=abs(tau.value - 3))
    for number in range(8):
        batch = torch.rand(6 + number % 2, generator=generator, dtype=F64)
        expected = median(batch.tolist()) if number == 0 else 0.99 * expected + 0.01 * median(batch.tolist())
        tau.update(torch.cat([batch, torch.tensor([math.nan], dtype=F64)]))
        worst.note(average_gap=abs(tau.value - expected))
    held = tau.value
    tau.update(torch.full((3,), math.nan))
    tau.validated(torch.empty(0))
    worst.note(average_gap=abs(tau.value - held))
    logs = (4 * torch.randn(64, 400, 300, generator=generator, dtype=F64)).log_softmax(-1)
    listed = logs.topk(10).values
    mask = torch.ones(64, 400, dtype=torch.bool)
    full, bare = (window_entropy(listed_entropy(listed, tail=tail), mask) for tail in (True, False))
    shares = [
        float(high_windows(full, mask, float(own_percentile(one, mask).median()))[0].double().mean()) / 400
        for one in (full, bare)
    ]
    tokens = ["\u0120Wait", "wait", "\u2581 BUT", "waiting", "\u0120so,", ""]
    table = method.trigger_table(tokens, ("wait", "but", "so"))
    return {
        **worst,
        "mixed_share": shares[1],
        "same_share": shares[0],
        "trigger_wrong": float((table != torch.tensor([True, True, True, False, False, False])).sum()),
    }


def shaped(
    counts: torch.Tensor, right: bool, bucket: int, target: float, alpha: float, *, floor: bool = True
) -> torch.Tensor:
    """s of counts (N,) at one outcome and bucket."""
    every = torch.full((3,), target, dtype=F64), torch.full((3,), alpha, dtype=F64)
    outcome, buckets = torch.full(counts.shape, float(right)), torch.full(counts.shape, bucket)
    return entropy_reward(counts, outcome, buckets, *every, floor=floor)


def by_hand(n: float, right: bool, bucket: int, target: float, alpha: float) -> float:
    """s, case by case."""
    f, kappa, temp = (0.15, 0.25, 0.35)[bucket], (2.0, 3.0, 4.0)[bucket], (2.0, 2.5, 3.0)[bucket]
    cap, paid = alpha * (1.0, 1.0, 1.2)[bucket], (0.6, 0.8, 1.0)[bucket]
    delta, m = n - target, max(1.0, f * max(target, 1.0))

    def huber(x: float) -> float:
        return x * x / (2 * kappa) if x <= kappa else x - kappa / 2

    if not right:
        return paid * cap / (1 + math.exp(-max(delta - m, 0) / temp))
    if bucket == 2:
        if delta >= -m:
            return cap / (1 + math.exp(-(delta + m) / temp))
        return -min(cap, 0.5 * cap * huber(-delta - m) / (m + kappa))
    x = max((abs(delta) if bucket else delta) - m, 0)
    return -min(cap, cap * huber(x) / (m + kappa))


FALLBACK = ((0, -0.042, -0.167, -0.333, -0.5), (0.150, 0.187, 0.219, 0.245, 0.264))
"""Of right and wrong responses with 1 to 5 counts under the published configuration, to three digits."""


def reward() -> dict[str, float]:
    """The reward against its cases by hand; shapes, jumps, floors, and which right answers lose to which wrong ones."""
    worst = Worst()
    far = torch.arange(0, 4001, dtype=F64)
    found: dict[str, float] = {}
    for bucket, target, alpha in itertools.product(range(3), (0.0, 1.0, 7.0, 40.0), (0.0, 0.5, 2.0)):
        for right in (True, False):
            s = shaped(far[:200], right, bucket, target, alpha)
            worst.note(case_gap=gap(s, [by_hand(float(n), right, bucket, target, alpha) for n in far[:200]]))
    for kappa in (2.0, 3.0, 4.0):
        x = torch.tensor([kappa - 1e-6, kappa + 1e-6], dtype=F64, requires_grad=True)
        value = method.hub(x, kappa)
        (slope,) = torch.autograd.grad(value.sum(), x)
        worst.note(shape_excess=max(gap(value.diff()), gap(slope, 1.0)) - 1e-5)
    easy, hard = shaped(far, True, 0, 7.0, 0.5), shaped(far, True, 2, 40.0, 0.5)
    above = far >= 40 - 14
    worst.note(
        shape_excess=max(
            float(easy.diff().max()),
            -float(hard[above].diff().min()),
            0.3 - float(hard[above].min()),
            float(hard[above].max()) - 0.6,
            float(hard[~above].max()),
            -0.6 - float(hard[~above].min()),
        )
    )
    # Just below -m and at it, in a target that makes m whole: 0.35 * 40 = 14.
    edge = shaped(torch.tensor([26 - 1e-9, 26.0], dtype=F64), True, 2, 40.0, 0.5)
    found["jump"] = float(edge[1] - edge[0])
    unfloored = shaped(torch.tensor([26 - 1e-9, 26.0], dtype=F64), True, 2, 40.0, 0.5, floor=False)
    worst.note(without_floor=gap(unfloored.diff()))
    # All targets and counts: the worst right and the best wrong answer of a bucket.
    targets = (0.0, 1.0, 3.0, 10.0, 100.0, 3000.0, 1e6)
    reach = torch.cat([far, torch.tensor([1e7], dtype=F64)])
    for bucket, name in enumerate(NAMES):
        silent = torch.tensor([0.0], dtype=F64)
        found[f"floor_{name}"] = float(shaped(silent, False, bucket, 7.0, 0.5))
        bare = shaped(silent, False, bucket, 7.0, 0.5, floor=False)
        worst.note(without_floor=gap(bare))
        for alpha in (0.5, 2.0):
            worst_right = min(float(shaped(reach, True, bucket, one, alpha).min()) for one in targets)
            best_wrong = max(float(shaped(reach, False, bucket, one, alpha).max()) for one in targets)
            found[f"order_{name}_{alpha:g}"] = 1 + worst_right - best_wrong
    per_alpha = [1 - found[f"order_{name}_0.5"] for name in NAMES]
    # Deductions and pay are proportional to alpha.
    found |= {f"safe_{name}": 0.5 / each for name, each in zip(NAMES, per_alpha, strict=True)}
    found["safe_gap"] = gap([found["safe_easy"], found["safe_medium"]], [1 / 1.6, 1 / 1.8])
    few, several = (torch.tensor(one, dtype=F64) for one in ([1, 2, 3, 4, 5], [4] * 5))
    for right, printed in zip((True, False), FALLBACK, strict=True):
        counts = torch.cat([few, several])
        rewards = Shaping(bucketed=False).rewards(counts, torch.full((10,), float(right), dtype=F64), 5)
        worst.note(fallback_gap=gap((rewards - float(right))[:5], printed))
    return {**worst, **found}


def groups(*, seed: int) -> dict[str, float]:
    """Difficulty, targets and alpha of batches; what a group of one outcome learns; which groups are kept."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for right, size in itertools.combinations_with_replacement(range(33), 2):
        if not size:
            continue
        share = Fraction(right, size)
        bucket = 0 if share >= Fraction(2, 3) else 1 if share >= Fraction(1, 3) else 2
        outcomes = torch.tensor([1.0] * right + [0.0] * (size - right))
        worst.note(bucket_wrong=float(int(method.difficulty(outcomes, size)) != bucket))
    for _ in range(400):
        ability = torch.rand(6, generator=generator).repeat_interleave(8)
        correct = (torch.rand(48, generator=generator) < ability).double()
        counts = torch.randint(0, 30, (48,), generator=generator)
        shaping = Shaping()
        rewards = shaping.rewards(counts, correct, 8)
        buckets = method.difficulty(correct, 8)
        means = counts.double().view(6, 8).mean(1)
        for bucket in range(3):
            mine = means[buckets == bucket].tolist()
            wanted = float(round(fmean(mine))) if mine else 0.0
            apart = (fmean(mine) - wanted) * (1 if bucket < 2 else -1) if mine else 0.0
            worst.note(
                batch_gap=max(
                    abs(float(shaping.target[bucket]) - wanted),
                    abs(float(shaping.alpha[bucket]) - 0.5 - 0.05 * apart),
                ),
                alpha_step=abs(float(shaping.alpha[bucket]) - 0.5) / 0.05,
            )
        row = 8 * int(torch.randint(6, (1,), generator=generator))
        expected = correct[row] + by_hand(
            float(counts[row]), bool(correct[row]), int(buckets[row // 8]), float(shaping.target[buckets[row // 8]]),
            float(shaping.alpha[buckets[row // 8]]),
        )  # fmt: skip
        worst.note(batch_gap=abs(float(rewards[row] - expected)))
    # The targets that the validation computes and never stores.
    stored = torch.randint(0, 30, (200, 32), generator=generator).double()
    low, high = stored.amin(1), stored.amax(1)
    unstored = (stored.mean(1) - (low + 0.35 * (high - low)).floor()).mean()
    offset = torch.randn(64, generator=generator, dtype=F64)
    shift = torch.randn(8, 1, generator=generator, dtype=F64).expand(8, 8).flatten()
    # Only counts differ: all answers are wrong, on a question whose target is their mean.
    counts = torch.tensor([0, 0, 1, 1, 2, 3, 12, 14])
    wrong = Shaping().rewards(counts, torch.zeros(8, dtype=F64), 8)
    paid = group_advantages(wrong, 8).flatten()
    equal = Shaping().rewards(torch.full((8,), 5), torch.zeros(8, dtype=F64), 8)
    bound = torch.tensor([0.0, 2.0, 2.0], dtype=F64)
    ends = method.alpha_after(bound, torch.tensor([0.6, 9.4, 8.6]), torch.tensor([1.0, 9.0, 9.0]))
    worst.note(batch_gap=gap(ends, bound))
    return {
        **worst,
        "unstored_mean": float(unstored),
        "offset_gap": gap(group_advantages(offset + shift, 8), group_advantages(offset, 8))
        + gap(group_advantages(equal, 8)),
        "kept_wrong": float(method.kept_groups(wrong, 8).sum()),
        "kept_right": float(method.kept_groups(torch.tensor([1.0, 0.01, 0.99], dtype=F64), 1).sum()),
        "paid_for_counts": float(paid[-1] - paid[0]),
    }


def adaptive(*, seed: int) -> dict[str, float]:
    """beta under KL that stays above its goal, within the dead zone, and that of a random run against a loop."""
    hard = torch.tensor([2])
    control, events, steps = AdaptiveKL(), 0, []
    high = torch.tensor([1.0])
    while float(control.beta[2]) < 2 and events < 500:
        before = control.log_beta[2]
        for _ in range(100):
            control.observe(high, hard)
        events += 1
        steps.append(control.log_beta[2] - before)
    still = AdaptiveKL(mean=[0.01] * 3)
    for _ in range(1000):
        still.observe(torch.tensor([0.01015]), torch.tensor([1]))
    first = AdaptiveKL()
    first.observe(torch.zeros(100), torch.zeros(100, dtype=torch.int64))
    generator = torch.Generator().manual_seed(seed)
    kl, buckets = (
        torch.rand(3000, generator=generator, dtype=F64) * 0.03,
        torch.randint(3, (3000,), generator=generator),
    )
    run = AdaptiveKL(every=10)
    run.observe(kl, buckets)
    mean, error, log_beta = [0.0] * 3, [0.0] * 3, [0.0] * 3
    for number, (value, bucket) in enumerate(zip(kl.tolist(), buckets.tolist(), strict=True), 1):
        mean[bucket] += 0.03 * (value - mean[bucket])
        e = mean[bucket] / 0.01 - 1
        if number % 10 == 0 and abs(e) >= 0.02:
            error[bucket] += 0.03 * (e - error[bucket])
            log_beta[bucket] += 0.05 * float(np.clip(error[bucket], -0.2, 0.2))
    low = AdaptiveKL(log_beta=[math.log(1e-4)] * 3, every=1)
    low.observe(torch.zeros(5), torch.zeros(5, dtype=torch.int64))
    top = AdaptiveKL(log_beta=[math.log(100)] * 3, every=1)
    top.observe(torch.full((50,), 5.0), torch.zeros(50, dtype=torch.int64))
    fall = AdaptiveKL(every=1)
    fall.observe(torch.zeros(50), torch.zeros(50, dtype=torch.int64))
    held = fall.log_beta[0]
    fall.observe(torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    chance = method.second_chance(
        torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 0, 1]), torch.tensor([0.5, 0.4, 9.0, 9.0])
    )
    return {
        "events_to_double": float(events) if max(steps) <= 0.01 + 1e-12 else 0.0,
        "still_gap": gap(still.beta, [1.0] * 3),
        "run_gap": max(
            gap(run.log_beta, log_beta),
            gap(first.log_beta, [-0.0015, 0.0, 0.0]),
            gap(fall.log_beta[0] - held, -0.01),
        ),
        "bounds_gap": max(gap(low.beta[0], 1e-4) / 1e-4, gap(top.beta[0], 100.0) / 100),
        "chance_gap": gap(chance.double(), [0.67, 1.0, 1.0, 1.0]),
    }


Batch = tuple[torch.Tensor, ...]


def batch(seed: int, *, responses: int = 6, tokens: int = 12, vocabulary: int = 7) -> Batch:
    """Logits (B, T, V) with a gradient, old and reference log-probabilities, advantages, mask, actions, weights."""
    generator = torch.Generator().manual_seed(seed)
    z = (2 * torch.randn(responses, tokens, vocabulary, generator=generator, dtype=F64)).requires_grad_()
    actions = torch.randint(vocabulary, (responses, tokens), generator=generator)
    logp = token_log_probs(z, actions).detach()
    old, reference = (logp + 0.8 * torch.randn(responses, tokens, generator=generator, dtype=F64) for _ in range(2))
    advantages = torch.randn(responses, 1, generator=generator, dtype=F64)
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (responses, 1), generator=generator)
    weights = 0.5 + torch.rand(responses, 1, generator=generator, dtype=F64)
    return z, old, reference, advantages, mask, actions, weights


def loss(*, seed: int) -> dict[str, float]:
    """The loss against a loop, the KL estimator on a table, log-ratios of 90."""
    worst = Worst()
    for number in range(10):
        z, old, reference, advantages, mask, actions, weights = batch(seed + number)
        logp = token_log_probs(z, actions)
        terms = []
        for i, t in mask.nonzero().tolist():
            rho, a = math.exp(float((logp[i, t] - old[i, t]).detach())), float(advantages[i])
            term = max(-a * rho, -a * min(max(rho, 0.8), 1.3))
            apart = float((reference[i, t] - logp[i, t]).detach())
            k3 = min(10.0, math.exp(apart) - apart - 1)
            terms.append((min(term, -3 * a) if a < 0 else term) + 0.01 * float(weights[i]) * k3)
        worst.note(
            loop_gap=gap(ares_loss(logp, old, advantages, mask, reference=reference, weights=weights), fmean(terms)),
            option_gap=max(
                gap(
                    ares_loss(logp, old, advantages, mask),
                    ares_loss(logp, old, advantages, mask, reference=reference, coefficient=0.0),
                ),
                gap(
                    ares_loss(logp, old, advantages, mask, reference=reference),
                    ares_loss(logp, old, advantages, mask, reference=reference, weights=torch.ones_like(weights)),
                ),
            ),
        )
    # On all symbols of a table the mean of k3 under the policy is the KL divergence.
    generator = torch.Generator().manual_seed(seed)
    p, q = (0.5 * torch.randn(2, 50, 6, generator=generator, dtype=F64)).log_softmax(-1)
    there = torch.ones(50, 6, dtype=torch.bool)
    terms_of = method.held_kl(p, q, there)
    # In float32, where exp(90) is infinite.
    edge = torch.tensor([[0.0, 0.0]], requires_grad=True)
    far = torch.tensor([[90.0, -90.0]])
    both = torch.ones(1, 2, dtype=torch.bool)
    held = method.held_kl(edge, far, both)
    total = ares_loss(edge, far, torch.tensor([[-1.0]]), both, reference=far)
    gradient = torch.autograd.grad(total, edge)[0]
    return {
        **worst,
        "unbiased_gap": max(
            gap((p.exp() * terms_of).sum(-1), (p.exp() * (p - q)).sum(-1)),
            gap(method.held_kl(p, p, there)),
            -float(terms_of.min()),
        ),
        "far_gap": gap(held, [[10.0, 10.0]]) + float((~gradient.isfinite()).sum()),
    }


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, half precision, what lies outside the mask, nothing at all, calls without sense."""
    worst = Worst()
    z, old, reference, advantages, mask, actions, weights = batch(seed)
    logp, h = token_log_probs(z, actions).detach(), token_entropy(z).detach()
    whole = partial(ares_loss, logp, old, advantages, reference=reference, weights=weights)
    value = whole(mask)
    dirty = [torch.where(mask, one, math.nan) for one in (logp, old, reference)]
    half = [one.bfloat16() for one in (logp, old, advantages, reference)]
    single = [one.float() for one in half]
    none = torch.zeros_like(mask)
    holes = torch.tensor([[True, False, True]])
    nan, ones = torch.tensor([[0.1, math.nan, 0.2]]), torch.ones(1, 3, dtype=torch.bool)
    alone = Shaping().rewards(torch.tensor([3, 0]), torch.tensor([1.0, 0.0]), 1)
    silent = high_windows(window_entropy(h, none), none, 0.0)
    worst.note(
        other=other_defaults(ares_loss, reference=None, weights=None, coefficient=0.01, low=0.2, high=0.3, dual=3.0)
        + other_defaults(window_entropy, window=4)
        + other_defaults(own_percentile, percentile=95.0)
        + other_defaults(listed_entropy, tail=True)
        + other_defaults(entropy_reward, floor=True)
        + other_defaults(method.kept_groups, low=0.01, high=0.99)
        + other_defaults(Threshold, value=-1.0, decay=0.99, updates=0)
        + gap(Shaping().alpha, [0.5] * 3)
        + gap(Shaping().target, [0.0] * 3)
        + gap(AdaptiveKL().beta, [1.0] * 3)
        + gap([AdaptiveKL().mean, AdaptiveKL().error], [[0.0] * 3] * 2),
        input_gap=max(
            gap(ares_loss(dirty[0], dirty[1], advantages, mask, reference=dirty[2], weights=weights), value),
            gap(*(ares_loss(one[0], one[1], one[2], mask, reference=one[3]) for one in (half, single))),
            gap(listed_entropy(half[0]), listed_entropy(single[0])),
            gap(*(window_entropy(one, mask) for one in (h.bfloat16(), h.bfloat16().float()))),
            float(own_percentile(h.float(), mask).dtype != torch.float32),
            float(alone.dtype != torch.float32),
        ),
        nothing=gap(whole(none))
        + gap(silent[0])
        + gap(silent[1])
        + float((~own_percentile(window_entropy(h, none), none).isnan()).sum())
        + gap(group_advantages(alone, 1)),
        bad_passed=accepted(
            lambda: listed_entropy(torch.tensor([[0.1, -1.0]])),
            lambda: listed_entropy(torch.tensor([[math.nan, -1.0]])),
            lambda: window_entropy(h, mask[:, 1:]),
            lambda: window_entropy(h[0], mask[0]),
            lambda: window_entropy(h, mask, window=0),
            lambda: window_entropy(torch.rand(1, 3), holes),
            lambda: window_entropy(nan, ones),
            lambda: own_percentile(h, mask, percentile=101.0),
            lambda: own_percentile(h, mask, percentile=-1.0),
            lambda: high_windows(h, mask[:, 1:], 0.5),
            lambda: method.difficulty(torch.zeros(7), 2),
            lambda: method.difficulty(torch.tensor([math.nan, 1.0]), 2),
            lambda: method.kept_groups(torch.tensor([math.inf, 1.0]), 2),
            lambda: Shaping().rewards(torch.zeros(3), torch.zeros(4), 2),
            lambda: AdaptiveKL().observe(torch.tensor([math.nan]), torch.tensor([0])),
            lambda: ares_loss(logp, old, advantages[:2], mask),
            lambda: ares_loss(logp, old, advantages, mask, dual=1.0),
            lambda: ares_loss(logp, old, advantages, mask, reference=reference[:, 1:]),
        ),
    )
    return worst


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds for windows, percentiles, counts and rewards of 64 responses of 512 tokens, and for their entropies."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(64, 512, 100, generator=generator)
    h, mask = token_entropy(z), torch.ones(64, 512, dtype=torch.bool)
    correct, shaping = (torch.rand(64, generator=generator) < 0.5).float(), Shaping()

    def shape() -> None:
        w = window_entropy(h, mask)
        own_percentile(w, mask)
        shaping.rewards(high_windows(w, mask, 1.0)[0], correct, 8)

    return interleaved({"shaping": shape, "entropies": lambda: token_entropy(z)}, rounds=8)
