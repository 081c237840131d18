"""GSM8K's calculator marks one by one, where thinking repeats the value: length and accuracy after the reward."""

from __future__ import annotations

from pathlib import Path

import torch

from baselines.reinforcement.calculator_runs import started_sums
from baselines.reinforcement.problems import CALCULATOR
from baselines.reinforcement.reasoning import measure
from baselines.reinforcement.reasoning_runs import trained
from baselines.reinforcement.rollouts import collect
from suites.pear.method import phases
from suites.pear.on_chains import ARMS, objective

RATES = (3e-4, 1e-3)
"""Of Adam: each arm and seed has its own choice."""


def sums(*, arm: str, seed: int, steps: int, calculator_start: Path) -> dict[str, float]:
    """The steps of `on_chains.chains` on sums; accuracy and length on held-out ones that did not choose the rate."""
    start, train, validation, test = started_sums(calculator_start, seed)
    policy, rate, _ = trained(
        start, train, validation, lambda: objective, rates=RATES, steps=steps, seed=seed, reward=ARMS[arm],
        reference=start,
    )  # fmt: skip
    before, after = (measure(one, test, samples=8, seed=seed, start=start) for one in (start, policy))
    written = collect(policy, test, len(test), 4, torch.Generator().manual_seed(seed))
    silent = phases(written.actions, written.mask, CALCULATOR["#"])[0].sum(1) == 0
    return {
        **after.numbers(),
        "start_accuracy": before.accuracy,
        "start_length": before.length,
        "silent": float(silent.float().mean()),
        "rate": rate,
    }
