"""Runs of reinforcement learning: the bandit on digits, and the calculator bench."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from baselines.digits import Data, first, stratified
from baselines.models import mlp
from baselines.reinforcement.policies import BanditPolicy, RecurrentPolicy
from baselines.reinforcement.policy_gradient import token_entropy
from baselines.reinforcement.problems import CALCULATOR, Problems, calculator, digits_bandit
from baselines.reinforcement.rollouts import (
    Objective,
    Rollouts,
    collect,
    mean_entropy,
    pass_at_k,
    summary,
    teach,
    train_policy,
)
from suites.entropy_mechanism.method import token_covariance


@dataclass
class Curves:
    """What a run looked like before each of its steps."""

    rewards: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    covariances: list[float] = field(default_factory=list)  # mean c_i of the rollouts

    def arrays(self) -> tuple[Any, Any, Any]:
        """Rewards, entropies, covariances as float64 (S,)."""
        return np.array(self.rewards), np.array(self.entropies), np.array(self.covariances)


def mean_covariance(rollouts: Rollouts) -> float:
    """M(c) of a whole batch of rollouts."""
    c = token_covariance(rollouts.old, rollouts.advantages, rollouts.mask)
    return float(c.sum() / rollouts.mask.sum())


def covariance_metrics(covariances: Any, entropies: Any, block: int) -> dict[str, float]:
    """How often the covariance is positive, and its rank correlation with the fall of entropy, by step and by block."""
    falls = entropies[:-1] - entropies[1:]
    paired = covariances[: len(falls)]
    count = len(falls) // block
    blocks = [one[: count * block].reshape(count, block).mean(1) for one in (paired, falls)]
    return {
        "positive": float((covariances > 0).mean()),
        "by_step": float(spearmanr(paired, falls).statistic),
        "by_block": float(spearmanr(*blocks).statistic),
    }


# The bandit.


def bandit_start(seed: int) -> tuple[torch.nn.Module, Data, Data]:
    """An MLP after 60 full-batch steps of Adam (2e-3) on 100 digits, the 1,200 contexts, and 597 held-out digits."""
    train, held_out = stratified(seed, 597)
    torch.manual_seed(seed)
    network = mlp((64, 64, 10))
    images, labels = first(train, 100)
    stepper = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(60):
        stepper.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        stepper.step()
    return network, train, held_out


def bandit(objective: Objective, seed: int, steps: int) -> Curves:
    """128 contexts x 8 actions a step, 4 epochs, Adam 2e-3. R and H are exact, on the held-out digits."""
    network, train, (images, labels) = bandit_start(seed)
    reference = BanditPolicy(copy.deepcopy(network))
    curves = Curves()

    @torch.no_grad()
    def look(rollouts: Rollouts | None = None) -> None:
        logits = network(images)
        curves.rewards.append(float(logits.softmax(-1).gather(1, labels[:, None]).mean()))
        curves.entropies.append(float(token_entropy(logits).mean()))
        if rollouts is not None:
            curves.covariances.append(mean_covariance(rollouts))

    train_policy(
        BanditPolicy(network), digits_bandit(train), objective, steps=steps, questions=128, samples=8, epochs=4,
        seed=seed, reference=reference, on_step=look,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
    )  # fmt: skip
    look()
    return curves


def entropy_at(level: float, rewards: Any, entropies: Any) -> float | None:
    """The entropy where the reward first reaches a level, interpolated between steps; None where it never does."""
    reached = np.flatnonzero(rewards >= level)
    if not len(reached) or reached[0] == 0:
        return None
    after = int(reached[0])
    share = (level - rewards[after - 1]) / (rewards[after] - rewards[after - 1])
    return float(entropies[after - 1] + share * (entropies[after] - entropies[after - 1]))


# The calculator bench.

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
    """The warm start."""
    problems, values, _ = calculator_problems(seed)
    policy = calculator_policy(seed).to(device)
    teach(policy, problems.to(device), values, steps=steps, seed=seed)
    return policy


def calculator_run(
    objective: Objective, policy: RecurrentPolicy, seed: int, *, steps: int, rate: float, questions: int = 256
) -> dict[str, float]:
    """32 questions x 8 samples, 4 minibatches, Adam; then samples for held-out questions, and fixed contexts there.

    The fixed contexts are responses of the policy before training to `questions` held-out questions.
    """
    device = next(policy.parameters()).device
    train, _, held_out = calculator_problems(seed)
    train, held_out = train.to(device), held_out.to(device)
    contexts = collect(policy, held_out, questions, 4, torch.Generator(device).manual_seed(10_000 + seed))
    before = mean_entropy(policy, contexts)
    covariances: list[float] = []
    history = train_policy(
        policy, train, objective, steps=steps, questions=32, samples=8, minibatches=4, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate),
        on_step=lambda rollouts: covariances.append(mean_covariance(rollouts)),
    )  # fmt: skip
    final = collect(policy, held_out, questions, 8, torch.Generator(device).manual_seed(20_000 + seed))
    means, after = summary(final), mean_entropy(policy, contexts)
    return {
        "accuracy": means.accuracy,
        "pass_at_8": float(pass_at_k(final.correct, 8, 8).mean()),
        "sampled_entropy": means.entropy,
        "length": means.length,
        "fixed_entropy": after,
        "fixed_change": after - before,
        "train_accuracy": float(np.mean([step.accuracy for step in history[-10:]])),
        "positive": float((np.array(covariances) > 0).mean()),
    }
