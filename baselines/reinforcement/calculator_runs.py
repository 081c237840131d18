"""Runs of the calculator bench: its taught policy, sums to train on, to choose by and to test on."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from baselines.reinforcement.calculator_bench import calculator_policy, calculator_problems
from baselines.reinforcement.policies import RecurrentPolicy
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.reasoning_runs import VALIDATION


def started_sums(start: Path, seed: int) -> tuple[RecurrentPolicy, Problems, Problems, Problems]:
    """The policy that has been taught, from the weights of `calculator_bench.calculator_start` of this seed; problems
    to train on; and of those held out the first 200, which choose the rate, and the others, which test."""
    policy = calculator_policy(seed)
    policy.load_state_dict(load_file(start))
    train, _, held_out = calculator_problems(seed)
    rows = torch.arange(len(held_out))
    return policy, train, held_out[rows[:VALIDATION]], held_out[rows[VALIDATION:]]
