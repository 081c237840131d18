r"""Reasoning shaped by window entropy and difficulty (ARES, arXiv:2510.08457): the reward and KL weights of its AEPO.

For responses (B, T) with the sampler's k best log-probabilities log q before each token and the rest t = 1 - sum q,

    H_i = -sum q log q - t log t                   nats; without the last term where the threshold tau is measured
    W_i = (H_{i+1} + ... + H_{i+w}) / w            of the w = 4 tokens after i; only where so many follow
    n   = #{i in S: W_i >= tau}                    S: the likeliest of the listed tokens is a word of reasoning
    r   = correct + s(n - n*)

tau follows the median over responses of their own 95th percentile of W. A question is easy where 2/3 of its group are
right, medium where 1/3 are, else hard; n* is the rounded mean n of its bucket. With m = max(1, f max(n*, 1)), delta =
n - n*, hub of Huber and sig(x) = 1 / (1 + exp(-x / temp)), s is

    right, easy     -min(cap, cap hub(max(delta - m, 0)) / (m + kappa))       medium: |delta| in place of delta
    right, hard     cap sig(delta + m) where delta >= -m, else -min(cap, cap / 2 hub(-delta - m) / (m + kappa))
    wrong           g cap sig(max(delta - m, 0))

with cap = alpha (1.2 alpha if hard) and alpha adapted per bucket. Groups give GRPO's advantages; the KL penalty of a
response is weighted by a beta that is adapted per bucket.

    windows = window_entropy(listed_entropy(log_probs), mask)
    counts, _ = high_windows(windows, triggers, threshold.value)
    rewards = shaping.rewards(counts, correct, group=8)

Formulas and constants are those of the official code (shawn0728/ARES). What is measured here is no part of a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from baselines.losses import expectation, require, visible, widened
from baselines.reinforcement.policy_gradient import aggregate, log_ratio, ppo

EASY, MEDIUM, HARD = range(3)
# Of easy, medium and hard questions.
SLACK = (0.15, 0.25, 0.35)  # f
KAPPA = (2.0, 3.0, 4.0)
TEMPERATURE = (2.0, 2.5, 3.0)  # temp
CAP = (1.0, 1.0, 1.2)  # over alpha
PAID = (0.6, 0.8, 1.0)  # g


# Entropies and windows.


@torch.no_grad()
def listed_entropy(log_probs: torch.Tensor, *, tail: bool = True) -> torch.Tensor:
    """H (...) of listed log-probabilities (..., k) in nats; what is not listed counts as one symbol, or not at all.

    Raises ValueError for NaN, and for log-probabilities above 0.
    """
    logs = widened(log_probs)
    if visible(logs):
        # Half precision rounds a probability of 1 to a little more.
        wrong = logs[~(logs <= 1e-2)][:5].tolist()
        require(not wrong, "log-probabilities are at most 0", wrong)
    chances = logs.exp()
    listed = -expectation(chances, logs)
    return listed + torch.special.entr((1 - chances.sum(-1)).clamp(min=0)) if tail else listed


@torch.no_grad()
def window_entropy(entropy: torch.Tensor, mask: torch.Tensor, *, window: int = 4) -> torch.Tensor:
    """W, (B, T), from entropies (B, T) of responses whose mask is a prefix; -inf where fewer than `window` follow.

    The official function has a window of 8, its configuration 4. Raises ValueError for shapes that differ, a window
    below 1, masks with holes and NaN in the mask.
    """
    if window < 1:
        raise ValueError(f"a window has at least one token, got {window}")
    inside = _checked(entropy, mask)
    windows = torch.full(entropy.shape, -torch.inf, dtype=widened(entropy).dtype, device=entropy.device)
    width = entropy.shape[1] - window
    if width > 0 and len(entropy):
        values = torch.where(inside, widened(entropy), 0)
        means = values[:, 1:].unfold(1, window, 1).mean(-1)
        windows[:, :width] = means.masked_fill(~inside[:, window:], -torch.inf)
    return windows


def _checked(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if values.shape != mask.shape or values.ndim != 2:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} must be of one shape (B, T)")
    inside = mask.bool()
    if visible(values):
        holes = bool((inside[:, 1:] & ~inside[:, :-1]).any())
        require(not holes, "a response is the beginning of its row", "a mask has holes")
        wrong = (values.isnan() & inside).nonzero()[:5].tolist()
        require(not wrong, "entropies must not be NaN", f"NaN at (response, token) {wrong}")
    return inside


@torch.no_grad()
def own_percentile(windows: torch.Tensor, mask: torch.Tensor, *, percentile: float = 95.0) -> torch.Tensor:
    """The percentile of W over all tokens of each response, (B,); tokens without a W have the mean of the others.

    NaN where none has one. The official function has 98, its call 95. Raises ValueError outside [0, 100].
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must lie between 0 and 100, got {percentile}")
    inside = _checked(windows, mask)
    known = inside & (windows > -torch.inf)
    mean = torch.where(known, windows, 0).sum(1) / known.sum(1)
    filled = torch.where(known, windows, mean[:, None]).masked_fill(~inside, torch.inf).sort(1).values
    if not filled.shape[1]:
        return mean
    at = (inside.sum(1) - 1).clamp(min=0).double() * (percentile / 100)
    below, above = (filled.gather(1, place.long()[:, None]).squeeze(1) for place in (at.floor(), at.ceil()))
    return torch.where(known.any(1), below + (above - below) * at.frac().to(below.dtype), torch.nan)


@dataclass
class Threshold:
    """tau, from percentiles of responses (B,); NaN among them are left out, and of nothing else tau stays.

    At first every trigger counts. `validated` takes the mean; the first `update` the median, later ones move towards
    theirs by 1 - `decay`, for the rollouts that come next.
    """

    value: float = -1.0
    decay: float = 0.99
    updates: int = 0

    def validated(self, percentiles: torch.Tensor) -> None:
        """What the first validation, before any training, leaves."""
        if (known := percentiles[~percentiles.isnan()]).numel():
            self.value = float(known.mean())

    def update(self, percentiles: torch.Tensor) -> None:
        """After a batch of training."""
        if (known := percentiles[~percentiles.isnan()]).numel():
            median = float(known.quantile(0.5))
            self.value = self.decay * self.value + (1 - self.decay) * median if self.updates else median
            self.updates += 1


def trigger_table(vocabulary: Sequence[str], words: Collection[str]) -> torch.Tensor:
    """Which tokens are words of reasoning once their leading space marks are off and they are lower-case, bool (V,)."""
    wanted = set(words)
    return torch.tensor([token.lstrip(" \u0120\u2581").lower() in wanted for token in vocabulary], dtype=torch.bool)


@torch.no_grad()
def high_windows(windows: torch.Tensor, triggers: torch.Tensor, tau: float) -> tuple[torch.Tensor, torch.Tensor]:
    """n and the soft cost, the sum of max(0, W - tau) over the triggers, (B,) both, of W and bool triggers (B, T)."""
    if windows.shape != triggers.shape or windows.ndim != 2:
        raise ValueError(f"W {tuple(windows.shape)} and triggers {tuple(triggers.shape)} must be of one shape (B, T)")
    there = triggers.bool() & (windows > -torch.inf)
    return (there & (windows >= tau)).sum(1), torch.where(there, windows - tau, 0).clamp(min=0).sum(1)


# Difficulty and reward.


def difficulty(correct: torch.Tensor, group: int) -> torch.Tensor:
    """The bucket of each question, int64 (Q,), from outcomes (B,), 0 or 1: easy 0, medium 1, hard 2.

    Raises ValueError where outcomes do not fall into groups, or are NaN.
    """
    right = _grouped(correct, group).sum(1)
    # Whole numbers: 2/3 of a group of 3 is 2, whatever 2/3 rounds to.
    return HARD - (3 * right >= group).long() - (3 * right >= 2 * group).long()


def _grouped(values: torch.Tensor, group: int) -> torch.Tensor:
    """(Q, group), float64."""
    if values.ndim != 1 or group < 1 or len(values) % group:
        raise ValueError(f"values (B,) must fall into groups of {group}, got the shape {tuple(values.shape)}")
    if visible(values):
        require(bool(values.isfinite().all()), "outcomes, counts and rewards must be finite", "NaN or infinity")
    return values.double().view(-1, group)


def mean_counts(counts: torch.Tensor, buckets: torch.Tensor, group: int) -> torch.Tensor:
    """The mean over a bucket's questions of their mean n, float64 (3,), from counts (B,); NaN for an empty bucket."""
    means = _grouped(counts, group).mean(1)
    here = buckets[:, None] == torch.arange(3, device=buckets.device)
    return torch.where(here, means[:, None], 0).sum(0) / here.sum(0)


def hub(x: torch.Tensor, kappa: torch.Tensor | float) -> torch.Tensor:
    """Huber's function of x >= 0, over kappa: x^2 / (2 kappa) up to kappa, then x - kappa / 2."""
    return torch.where(x <= kappa, x.square() / (2 * kappa), x - kappa / 2)


def entropy_reward(
    counts: torch.Tensor,
    correct: torch.Tensor,
    buckets: torch.Tensor,
    target: torch.Tensor,
    alpha: torch.Tensor,
    *,
    floor: bool = True,
) -> torch.Tensor:
    """s, float64 (B,), of counts, outcomes and buckets of responses (B,), with n* and alpha of the buckets (3,).

    Without `floor`, an ablation of ours, 2 sig - 1 stands for sig, which is at least 1/2.
    """
    slack, kappa, temperature, ceiling, paid = (
        torch.tensor(one, dtype=torch.float64, device=counts.device)[buckets]
        for one in (SLACK, KAPPA, TEMPERATURE, CAP, PAID)
    )
    wanted, cap = target.double()[buckets], ceiling * alpha.double()[buckets]
    delta, margin = counts.double() - wanted, (slack * wanted.clamp(min=1)).clamp(min=1)

    def sig(x: torch.Tensor) -> torch.Tensor:
        found = (x / temperature).sigmoid()
        return found if floor else 2 * found - 1

    away = torch.where(buckets == EASY, delta, delta.abs())
    costly = -(cap * hub((away - margin).clamp(min=0), kappa) / (margin + kappa)).minimum(cap)
    short = -(cap / 2 * hub((-delta - margin).clamp(min=0), kappa) / (margin + kappa)).minimum(cap)
    hard = torch.where(delta >= -margin, cap * sig((delta + margin).clamp(min=0)), short)
    wrong = paid * cap * sig((delta - margin).clamp(min=0))
    return torch.where(correct.bool(), torch.where(buckets == HARD, hard, costly), wrong)


@dataclass
class Shaping:
    """The reward of batches, one after another, with what it remembers.

    alpha (3,) moves by 0.05 (mean n - n*) within [0, 2], for hard questions by the opposite, before it is used; with
    `adapt` off it stays. Without `bucketed` all is the rule of easy questions with n* = 0 and alpha 0.5, which is what
    the published configuration comes down to: it rewards before difficulty is known. `floor` is of `entropy_reward`.
    """

    adapt: bool = True
    bucketed: bool = True
    floor: bool = True
    alpha: torch.Tensor = field(default_factory=lambda: torch.full((3,), 0.5, dtype=torch.float64))
    target: torch.Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    def rewards(self, counts: torch.Tensor, correct: torch.Tensor, group: int) -> torch.Tensor:
        """correct + s, (B,), of counts and outcomes (B,) that lie question by question. Raises as `difficulty` does."""
        buckets = difficulty(correct, group)
        if not self.bucketed:
            buckets = torch.full_like(buckets, EASY)
        else:
            mean = mean_counts(counts, buckets, group)
            self.target = mean.nan_to_num(0).round()
            if self.adapt:
                self.alpha = alpha_after(self.alpha, mean, self.target)
        each = buckets.repeat_interleave(group)
        shaped = entropy_reward(counts, correct, each, self.target, self.alpha, floor=self.floor)
        return (correct.double() + shaped).to(torch.promote_types(correct.dtype, torch.float32))


def alpha_after(alpha: torch.Tensor, mean: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """alpha (3,) after a batch with these mean counts and targets (3,); that of an empty bucket (NaN) stays."""
    apart = (mean - target).nan_to_num(0)
    return (alpha + 0.05 * torch.cat([apart[:HARD], -apart[HARD:]])).clamp(0, 2)


def kept_groups(rewards: torch.Tensor, group: int, *, low: float = 0.01, high: float = 0.99) -> torch.Tensor:
    """Groups that are trained on, bool (Q,): their mean reward, shaping included, lies strictly in between."""
    means = _grouped(rewards, group).mean(1)
    return (means > low) & (means < high)


# KL weights and the loss.


@dataclass
class AdaptiveKL:
    """beta, a multiplier of the KL penalty for each bucket, after KL of responses, one after another.

    The mean KL of a bucket has decay 0.97 and begins at 0. Every `every` responses the bucket of the last of them takes
    its error e = KL / goal - 1, ignored within `dead` of 0, into a mean with decay 0.97, and that, held within 0.2,
    moves log beta by 0.05 of it. beta stays in [1e-4, 100].
    """

    goal: float = 0.01
    every: int = 100
    dead: float = 0.02
    calls: int = 0
    log_beta: list[float] = field(default_factory=lambda: [0.0] * 3)
    mean: list[float] = field(default_factory=lambda: [0.0] * 3)
    error: list[float] = field(default_factory=lambda: [0.0] * 3)

    @property
    def beta(self) -> torch.Tensor:
        """(3,)"""
        return torch.tensor(self.log_beta).exp()

    def observe(self, kl: torch.Tensor, buckets: torch.Tensor) -> None:
        """KL and bucket of responses, (B,) both. Raises ValueError for KL that is not finite."""
        if not bool(kl.isfinite().all()):
            raise ValueError("the KL of a response must be finite: an empty one has none and is left out")
        for value, bucket in zip(kl.tolist(), buckets.tolist(), strict=True):
            self.mean[bucket] = 0.97 * self.mean[bucket] + 0.03 * value
            self.calls += 1
            error = self.mean[bucket] / self.goal - 1
            if self.calls % self.every or abs(error) < self.dead:
                continue
            self.error[bucket] = 0.97 * self.error[bucket] + 0.03 * error
            moved = self.log_beta[bucket] + 0.05 * min(0.2, max(-0.2, self.error[bucket]))
            self.log_beta[bucket] = min(math.log(100), max(math.log(1e-4), moved))


def second_chance(correct: torch.Tensor, buckets: torch.Tensor, soft_cost: torch.Tensor) -> torch.Tensor:
    """0.67 for wrong responses to easy questions with a soft cost of at least 0.5, else 1: a factor of beta, (B,).

    The official code has it and never hands it the soft cost, so that it is 1 for all.
    """
    chosen = (buckets == EASY) & ~correct.bool() & (soft_cost >= 0.5)
    return torch.where(chosen, 0.67, 1.0)


def ares_loss(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    reference: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    coefficient: float = 0.01,
    low: float = 0.2,
    high: float = 0.3,
    dual: float = 3.0,
) -> torch.Tensor:
    """PPO's surrogate plus coefficient * weights * KL, a mean over tokens, of (B, T); advantages and weights or (B, 1).

    The KL to `reference` (none: no penalty) is k3 of a log-ratio held within 20, itself held at 10. Raises ValueError
    for shapes that do not go together, negative clip ranges and a dual-clip of 1 or less.
    """
    loss = ppo(logp, old, advantages, mask, low=low, high=high, dual=dual)
    if reference is None:
        return loss
    terms = held_kl(logp, reference, mask)
    return loss + coefficient * aggregate(terms if weights is None else weights * terms, mask)


def held_kl(logp: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """k3 of each token, (B, T), its log-ratio within 20 and itself at most 10; zero outside the mask."""
    apart = log_ratio(reference, logp, mask).clamp(-20, 20)
    return (torch.expm1(apart) - apart).clamp(max=10)
