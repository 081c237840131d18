"""The paper's own protocol: Qwen2.5 on DAPO-Math-17k, evaluated on AIME, AMC and MATH-500."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import torch

from baselines.reinforcement.mathematics import Settings, train_on_mathematics
from baselines.reinforcement.policy_gradient import ppo
from baselines.reinforcement.rollouts import Objective, surrogate
from suites.entropy_mechanism.method import clip_cov, kl_cov


def objective(arm: str, seed: int, device: torch.device, percent: float) -> Objective:
    """The arms of the official scripts."""
    losses = {
        "grpo": ppo,
        "clip_higher": partial(ppo, high=0.28),
        "clip_cov": partial(clip_cov, generator=torch.Generator(device).manual_seed(seed)),
        "kl_cov": partial(kl_cov, percent=percent),
    }
    return surrogate(losses[arm])


def qwen_mathematics(*, arm: str, percent: float, **settings: Unpack[Settings]) -> dict[str, float]:
    """Train from a checkpoint of the catalogue, and evaluate what comes out."""
    return train_on_mathematics(objective(arm, settings["seed"], settings["device"], percent), **settings)
