"""GSM8K's calculator marks one by one: how steady the entropy is in a run of some length with a clip range too wide."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import torch

from baselines.reinforcement.calculator_runs import started_sums
from baselines.reinforcement.reasoning import measure, total_variation
from baselines.reinforcement.reasoning_runs import trained
from suites.steer.on_chains import ARMS, EXTREME

WINDOW = 10
"""Steps that are averaged: the questions of a step alone move its mean entropy."""


def sums(*, arm: str, seed: int, steps: int, rate: float, calculator_start: Path) -> dict[str, float]:
    """Train with the extreme clip range; the path of the entropy in means over ten steps, as in `on_chains.chains`."""
    start, train, validation, test = started_sums(calculator_start, seed)
    policy, _, history = trained(
        start, train, validation, lambda: ARMS[arm](EXTREME, torch.Generator().manual_seed(seed)), rates=(rate,),
        steps=steps, seed=seed,
    )  # fmt: skip
    curve = [fmean(one.entropy for one in history[at : at + WINDOW]) for at in range(0, steps, WINDOW)]
    after = measure(policy, test, samples=8, seed=seed, start=start)
    return {**after.numbers(), "variation": total_variation(curve), "drift": abs(curve[-1] - curve[0])}
