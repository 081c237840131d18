"""The paper's own protocol: a base model on DAPO-Math-17k with DAPO, on all tokens or on forking tokens only."""

from __future__ import annotations

from typing import Unpack

import torch

from baselines.reinforcement.mathematics import Settings, train_on_mathematics
from baselines.reinforcement.rollouts import Rollouts
from suites.forking_tokens.method import overlong_penalty
from suites.forking_tokens.on_chains import ARMS, objective

EVALUATED = {"aime24": (16, 1.0), "aime25": (16, 1.0), "amc23": (16, 1.0), "math500": (16, 1.0)}
"""16 responses to each problem at temperature 1."""


def mathematics(*, arm: str, buffer: int, **settings: Unpack[Settings]) -> dict[str, float]:
    """DAPO: groups of one outcome drawn anew, a penalty for the last `buffer` tokens of the limit, AdamW, no KL."""

    def reward(rollouts: Rollouts) -> torch.Tensor:
        return rollouts.correct + overlong_penalty(rollouts.lengths, settings["response"], buffer)

    generator = torch.Generator(settings["device"]).manual_seed(settings["seed"])
    return train_on_mathematics(
        objective(ARMS[arm], generator), evaluated=EVALUATED, weight_decay=0.1, reward=reward, **settings
    )
