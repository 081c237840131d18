"""The paper's own protocol: a reasoning model trained on GSM8K with the reward by phases, evaluated on mathematics."""

from __future__ import annotations

from typing import Unpack

import torch

from baselines.language_models import pretrained
from baselines.reinforcement.mathematics import Settings, train_on_mathematics
from baselines.reinforcement.policy_gradient import ppo
from baselines.reinforcement.rollouts import Rollouts, Update
from suites.pear.method import phase_reward, phases

EVALUATED = {"gsm8k": (1, 1.0), "math500": (1, 1.0), "aime24": (1, 1.0), "amc23": (1, 1.0)}
"""One response to each problem at temperature 1."""
ALPHAS = {"grpo": None, "pear": 1.0, "pear_alpha_0": 0.0, "pear_alpha_minus_1": -1.0}


def closing_tag(model: str) -> int:
    """The token that closes the thinking, which these models have as one. Raises ValueError where it is not one."""
    tokens = list(pretrained(model)[1]("</think>", add_special_tokens=False).input_ids)
    if len(tokens) != 1:
        raise ValueError(f"'{model}' has no single token for </think>: {len(tokens)} tokens")
    return int(tokens[0])


def mathematics(*, arm: str, train: str, **settings: Unpack[Settings]) -> dict[str, float]:
    """GRPO with the mean of each response; the reward of the arm."""
    alpha, tag = ALPHAS[arm], closing_tag(settings["model"])

    def reward(rollouts: Rollouts) -> torch.Tensor:
        if alpha is None:
            return rollouts.correct
        parts = phases(rollouts.actions, rollouts.mask, tag)
        return phase_reward(rollouts.correct, rollouts.old_entropy, *parts, alpha=alpha)

    def objective(update: Update) -> torch.Tensor:
        return ppo(update.logp, update.old, update.advantages, update.mask, aggregation="sequence_mean")

    return train_on_mathematics(objective, train=train, evaluated=EVALUATED, dynamic=False, reward=reward, **settings)
