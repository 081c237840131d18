"""Runs of the bench of reasoning: a taught policy, its problems, and training at the rate that validation chooses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from baselines.reinforcement.policies import Policy, TransformerPolicy
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.reasoning import Measures, chain_policy, gsm8k_chains, measure
from baselines.reinforcement.rollouts import Objective, Rollouts, Step, normalised, train_policy

RATES = (1e-4, 3e-4)
"""Of Adam: each arm and seed has its own choice."""
VALIDATION = 200
"""Chains of the training part that are not trained on: they choose the rate."""


def started(start: Path) -> TransformerPolicy:
    """The policy that has been taught, from the weights of `reasoning.chain_start` or `modular_start`."""
    policy = chain_policy()
    policy.load_state_dict(load_file(start))
    return policy


def split_chains(seed: int) -> tuple[Problems, Problems, Problems]:
    """Chains of GSM8K to train on, to choose by, and those of its test part."""
    problems, _ = gsm8k_chains("train")
    order = torch.randperm(len(problems), generator=torch.Generator().manual_seed(seed))
    return problems[order[VALIDATION:]], problems[order[:VALIDATION]], gsm8k_chains("test")[0]


def trained(
    start: TransformerPolicy,
    train: Problems,
    validation: Problems,
    objective: Callable[[], Objective],
    *,
    steps: int,
    seed: int,
    rates: Sequence[float] = RATES,
    reward: Callable[[], Callable[[Rollouts], torch.Tensor]] | None = None,
    advantage: Callable[[Rollouts], torch.Tensor] = normalised,
    reference: Policy | None = None,
    dynamic: bool = False,
    score: Callable[[Measures], float] = lambda measures: measures.accuracy,
    on_step: Callable[[Rollouts], None] | None = None,
) -> tuple[TransformerPolicy, float, list[Step]]:
    """A copy of the policy after `steps` steps, its rate, and what each step met.

    Each step takes 24 questions x 8 samples at temperature 1 in 3 minibatches, with Adam and gradient norm 1. The rate
    is the one with the best `score` on validation problems. Objectives and rewards are made anew for each rate, as they
    may remember what they saw. `on_step` sees the runs of all rates, one after the other.
    """
    best: tuple[float, float, TransformerPolicy, list[Step]] | None = None
    for rate in rates:
        learner = copy.deepcopy(start)
        history = train_policy(
            learner, train, objective(), steps=steps, questions=24, samples=8, minibatches=3, seed=seed,
            dynamic=dynamic, reward=None if reward is None else reward(), advantage=advantage, on_step=on_step,
            reference=reference, optimizer=partial(torch.optim.Adam, lr=rate),
        )  # fmt: skip
        found = score(measure(learner, validation, samples=8, seed=seed))
        if best is None or found > best[0]:
            best = found, rate, learner, history
    if best is None:
        raise ValueError("there must be a rate to choose")
    return best[2], best[1], best[3]
