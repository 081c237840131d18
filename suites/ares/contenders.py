"""What is compared: AEPO, its ablations, what its published configuration comes down to, GRPO and a length penalty."""

from __future__ import annotations

import torch

from baselines.reinforcement.rollouts import Rollouts, Update
from suites.ares.method import (
    AdaptiveKL,
    Shaping,
    Threshold,
    ares_loss,
    difficulty,
    held_kl,
    high_windows,
    own_percentile,
    window_entropy,
)

ARMS = ("grpo", "ares", "no_floor", "shipped", "length_penalty", "token_count")
"""no_floor: without the pay that every wrong answer gets, alpha fixed. shipped: every question under the rule of easy
ones. token_count: tokens of high entropy in place of windows. All have a KL penalty of 0.01 to the start."""


class Arm:
    """The reward of rollouts and the objective of updates, with what they remember of a run.

    questions: of the problems that are trained on. triggers (V,): symbols that count, all by default; the sampled
    symbol is looked at, not the likeliest. limit: the longest response.
    """

    def __init__(
        self, name: str, questions: int, *, limit: int, window: int, percentile: float,
        triggers: torch.Tensor | None = None, device: torch.device | None = None,
    ) -> None:  # fmt: skip
        if name not in ARMS:
            raise ValueError(f"an arm is one of {ARMS}, got {name!r}")
        self.name, self.limit, self.window, self.percentile, self.triggers = name, limit, window, percentile, triggers
        self.threshold, self.kl = Threshold(), AdaptiveKL()
        self.shaping = Shaping(adapt=name != "no_floor", floor=name != "no_floor", bucketed=name != "shipped")
        self.buckets = torch.zeros(questions, dtype=torch.int64, device=device)
        self.paid: list[float] = []

    def signal(self, rollouts: Rollouts) -> torch.Tensor:
        """W, or the entropy of the token itself, (B, T)."""
        if self.name == "token_count":
            return rollouts.old_entropy.masked_fill(~rollouts.mask, -torch.inf)
        return window_entropy(rollouts.old_entropy, rollouts.mask, window=self.window)

    def percentiles(self, rollouts: Rollouts) -> torch.Tensor:
        """What the threshold is made of, (B,)."""
        return own_percentile(self.signal(rollouts), rollouts.mask, percentile=self.percentile)

    def counts(self, rollouts: Rollouts) -> torch.Tensor:
        """n, (B,)."""
        there = rollouts.mask if self.triggers is None else rollouts.mask & self.triggers[rollouts.actions]
        return high_windows(self.signal(rollouts), there, self.threshold.value)[0]

    def reward(self, rollouts: Rollouts) -> torch.Tensor:
        """(B,); the threshold moves after the counts are taken, for the next rollouts."""
        self.buckets[rollouts.ids[:: rollouts.group]] = difficulty(rollouts.correct, rollouts.group)
        if self.name == "grpo":
            return rollouts.correct
        if self.name == "length_penalty":
            return rollouts.correct * (1 - 0.5 * rollouts.lengths / self.limit)
        rewards = self.shaping.rewards(self.counts(rollouts), rollouts.correct, rollouts.group)
        self.threshold.update(self.percentiles(rollouts))
        # Groups whose shaping is one number for all of one outcome: it is lost in the advantages, or nearly.
        shaped = (rewards - rollouts.correct).view(-1, rollouts.group)
        self.paid.append(float((shaped.amax(1) - shaped.amin(1) > 1e-6).float().mean()))
        return rewards

    def objective(self, update: Update) -> torch.Tensor:
        """The loss of a minibatch; the KL of each response then moves the weight of its bucket."""
        assert update.reference is not None
        logp, buckets = update.logp, self.buckets[update.ids]
        adapted = self.name not in ("grpo", "length_penalty")
        weights = self.kl.beta.to(logp)[buckets][:, None] if adapted else None
        if adapted:
            kl = held_kl(logp.detach(), update.reference, update.mask)
            self.kl.observe(kl.sum(1) / update.mask.sum(1), buckets)
        return ares_loss(logp, update.old, update.advantages, update.mask, reference=update.reference, weights=weights)
