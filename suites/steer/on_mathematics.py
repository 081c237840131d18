"""The paper's own protocol: Qwen2.5 on DAPO-Math-17k, with and without the weights, at both clip ranges."""

from __future__ import annotations

from functools import partial
from typing import Unpack

from baselines.reinforcement.mathematics import Settings, train_on_mathematics
from suites.steer.method import Weighting
from suites.steer.on_chains import EXTREME, NORMAL, grpo, steered

EVALUATED = {"aime24": (32, 1.0), "aime25": (32, 1.0), "amc23": (32, 1.0), "math500": (1, 1.0)}
"""Responses to each problem, at temperature 1."""


def mathematics(*, arm: str, clip: str, **settings: Unpack[Settings]) -> dict[str, float]:
    """arm: "grpo", "steer" or "steer_linear"; clip: "normal" or "extreme"."""
    bounds = NORMAL if clip == "normal" else EXTREME
    weighting: Weighting = "linear" if arm == "steer_linear" else "exponential"
    loss = partial(grpo, clip=bounds)
    if arm != "grpo":
        loss = partial(steered, clip=bounds, weighting=weighting, least=0.8)
    return train_on_mathematics(loss, evaluated=EVALUATED, weight_decay=0.01, dynamic=False, **settings)
