"""The calculator bench: calculator marks of GSM8K one by one, and a recurrent policy that has been taught them."""

from __future__ import annotations

import torch

from baselines.reinforcement.policies import RecurrentPolicy
from baselines.reinforcement.problems import CALCULATOR, Problems, calculator
from baselines.reinforcement.rollouts import teach

HELD_OUT = 660
"""Of the 6,600 expressions."""


def calculator_problems(seed: int) -> tuple[Problems, list[str], Problems]:
    """Problems to train on, their values, and held-out problems."""
    problems, values = calculator()
    order = torch.randperm(len(problems), generator=torch.Generator().manual_seed(seed))
    rows = order[HELD_OUT:]
    return problems[rows], [values[row] for row in rows.tolist()], problems[order[:HELD_OUT]]


def calculator_policy(seed: int) -> RecurrentPolicy:
    """The GRU, untaught."""
    torch.manual_seed(seed)
    return RecurrentPolicy(len(CALCULATOR), end=CALCULATOR["$"], max_tokens=24)


def taught_policy(seed: int, device: torch.device, steps: int) -> RecurrentPolicy:
    """The warm start: the value 0 to 3 times over, then the answer."""
    problems, values, _ = calculator_problems(seed)
    policy = calculator_policy(seed).to(device)
    teach(policy, problems.to(device), values, steps=steps, seed=seed)
    return policy


def calculator_start(*, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Weights of the policy after 1,000 steps of cross-entropy."""
    return taught_policy(seed, device, steps=1000).state_dict()
