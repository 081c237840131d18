"""The losses that are compared, as objectives of rollouts: the paper's two, GRPO, its usual variants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from baselines.reinforcement.policy_gradient import kl_penalty, masked_mean, ppo
from baselines.reinforcement.rollouts import Objective, Update, surrogate
from suites.entropy_mechanism.method import clip_cov, kl_cov

SHARE = 0.02
"""Of tokens, for Clip-Cov and plain KL-Cov: updates here see some hundred tokens where the paper's see 1e5."""


def with_entropy_bonus(update: Update, coefficient: float) -> torch.Tensor:
    """GRPO minus the mean entropy of the policy now."""
    loss = ppo(update.logp, update.old, update.advantages, update.mask)
    return loss - coefficient * masked_mean(update.entropy, update.mask)


def with_kl(update: Update, coefficient: float) -> torch.Tensor:
    """GRPO plus the KL penalty to the policy before training (k3)."""
    assert update.reference is not None
    loss = ppo(update.logp, update.old, update.advantages, update.mask)
    return loss + coefficient * kl_penalty(update.logp, update.reference, update.mask)


def kl_cov_of(percent: float, coefficient: float) -> Objective:
    """KL-Cov at one setting."""
    return surrogate(partial(kl_cov, percent=percent, coefficient=coefficient))


ARMS: dict[str, Callable[[torch.Generator], Objective]] = {
    "grpo": lambda generator: surrogate(ppo),
    "clip_higher": lambda generator: surrogate(partial(ppo, high=0.28)),
    # Clip-Cov's own clip range without Clip-Cov: what of its effect is only that PPO hardly clips.
    "wide_clip": lambda generator: surrogate(partial(ppo, low=1.0, high=1.0)),
    "entropy_bonus_0.02": lambda generator: partial(with_entropy_bonus, coefficient=0.02),
    "kl_to_reference_0.1": lambda generator: partial(with_kl, coefficient=0.1),
    "clip_cov": lambda generator: surrogate(partial(clip_cov, share=SHARE, generator=generator)),
    "kl_cov_0.2_1": lambda generator: kl_cov_of(0.2, 1.0),
    "kl_cov_0.2_10": lambda generator: kl_cov_of(0.2, 10.0),
    "kl_cov_2_1": lambda generator: kl_cov_of(2.0, 1.0),
    "kl_cov_2_10": lambda generator: kl_cov_of(2.0, 10.0),
    "kl_cov_10_1": lambda generator: kl_cov_of(10.0, 1.0),
    "kl_cov_10_10": lambda generator: kl_cov_of(10.0, 10.0),
}
"""By name; KL-Cov's are percent and coefficient. The generator is Clip-Cov's."""
