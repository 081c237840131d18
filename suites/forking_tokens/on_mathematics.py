"""The paper's own protocol: a base model on DAPO-Math-17k with DAPO, on all tokens or on forking tokens only."""

from __future__ import annotations

import torch

from baselines.reinforcement.mathematics import train_on_mathematics
from baselines.reinforcement.rollouts import Rollouts
from suites.forking_tokens.method import overlong_penalty
from suites.forking_tokens.on_chains import ARMS, objective

EVALUATED = {"aime24": (16, 1.0), "aime25": (16, 1.0), "amc23": (16, 1.0), "math500": (16, 1.0)}
"""16 responses to each problem at temperature 1."""


def mathematics(
    *,
    arm: str,
    seed: int,
    device: torch.device,
    model: str,
    steps: int,
    questions: int,
    samples: int,
    minibatch: int,
    rate: float,
    prompt: int,
    response: int,
    buffer: int,
) -> dict[str, float]:
    """DAPO: groups of one outcome drawn anew, a penalty for the last `buffer` tokens of the limit, AdamW, no KL."""

    def reward(rollouts: Rollouts) -> torch.Tensor:
        return rollouts.correct + overlong_penalty(rollouts.lengths, response, buffer)

    return train_on_mathematics(
        objective(ARMS[arm], torch.Generator(device).manual_seed(seed)), seed=seed, device=device, model=model,
        steps=steps, questions=questions, samples=samples, minibatch=minibatch, rate=rate, prompt=prompt,
        response=response, evaluated=EVALUATED, weight_decay=0.1, reward=reward,
    )  # fmt: skip
