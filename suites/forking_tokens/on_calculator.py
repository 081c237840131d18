"""GSM8K's calculator marks one by one: what training on some of the tokens keeps, in a run of some length."""

from __future__ import annotations

from pathlib import Path

import torch

from baselines.reinforcement.calculator_runs import started_sums
from baselines.reinforcement.reasoning import measure
from baselines.reinforcement.reasoning_runs import trained
from suites.forking_tokens.on_chains import ARMS, objective

RATES = (1e-4, 3e-4, 1e-3)
"""Of Adam: each arm and seed has its own choice."""


def calculator(*, arm: str, seed: int, steps: int, calculator_start: Path) -> dict[str, float]:
    """The steps of `on_chains.chains` on sums; accuracy on held-out ones that did not choose the rate."""
    start, train, validation, test = started_sums(calculator_start, seed)
    policy, rate, _ = trained(
        start, train, validation, lambda: objective(ARMS[arm], torch.Generator().manual_seed(seed)), rates=RATES,
        steps=steps, seed=seed, dynamic=True,
    )  # fmt: skip
    before, after = (measure(one, test, samples=8, seed=seed, start=start) for one in (start, policy))
    return {
        **after.numbers(),
        "gain": after.accuracy - before.accuracy,
        "entropy_change": after.entropy - before.entropy,
        "rate": rate,
    }
