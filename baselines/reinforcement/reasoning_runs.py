"""Runs of the bench of reasoning: a taught policy, its problems, and training at the rate that validation chooses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file

from baselines.reinforcement.policies import LanguagePolicy, TransformerPolicy
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.reasoning import chain_policy, gsm8k_chains, measure
from baselines.reinforcement.rollouts import Objective, Step, train_policy

Started = TypeVar("Started", bound=LanguagePolicy)
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
    start: Started,
    train: Problems,
    validation: Problems,
    objective: Callable[[], Objective],
    *,
    rates: Sequence[float],
    steps: int,
    seed: int,
    **options: Any,
) -> tuple[Started, float, list[Step]]:
    """A copy of the policy after `steps` steps, its rate, and what each step met.

    Each step takes 24 questions x 8 samples at temperature 1 in 3 minibatches, with Adam and gradient norm 1; `options`
    are further ones of `train_policy`. The rate is the one with the best accuracy on validation problems, the first of
    equals. The objective is made anew for each rate, as it may draw or remember.
    """
    runs = []
    for rate in rates:
        learner = copy.deepcopy(start)
        history = train_policy(
            learner, train, objective(), steps=steps, questions=24, samples=8, minibatches=3, seed=seed,
            optimizer=partial(torch.optim.Adam, lr=rate), **options,
        )  # fmt: skip
        runs.append((learner, rate, history))
    return max(runs, key=lambda run: measure(run[0], validation, samples=8, seed=seed).accuracy)
