"""Reinforcement learning on verifiable problems: the bandit on digits, its law, and the calculator bench."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from baselines.digits import Data, first, stratified
from baselines.models import mlp
from baselines.reinforcement.calculator_bench import HELD_OUT, calculator_policy, calculator_problems, taught_policy
from baselines.reinforcement.policies import BanditPolicy, RecurrentPolicy
from baselines.reinforcement.policy_gradient import token_entropy
from baselines.reinforcement.problems import digits_bandit
from baselines.reinforcement.rollouts import (
    Objective,
    Rollouts,
    collect,
    mean_entropy,
    pass_at_k,
    summary,
    train_policy,
)
from suites.entropy_mechanism import laws
from suites.entropy_mechanism.contenders import ARMS
from suites.entropy_mechanism.method import EntropyLaw, token_covariance

BLOCK = 20
"""Steps that are held out, or resampled, together."""


class Course(NamedTuple):
    """A run before each of its steps, float64: reward and entropy (S + 1,), with the end, mean c of rollouts (S,)."""

    rewards: torch.Tensor
    entropies: torch.Tensor
    covariances: torch.Tensor


def mean_covariance(rollouts: Rollouts) -> float:
    """M(c) of a whole batch of rollouts."""
    c = token_covariance(rollouts.old, rollouts.advantages, rollouts.mask)
    return float(c.sum() / rollouts.mask.sum())


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


def bandit_course(objective: Objective, seed: int, steps: int) -> Course:
    """128 contexts x 8 actions a step, 4 epochs, Adam 2e-3. R and H are exact, on the held-out digits."""
    network, train, (images, labels) = bandit_start(seed)
    reference = BanditPolicy(copy.deepcopy(network))
    seen: list[tuple[float, float]] = []
    covariances: list[float] = []

    @torch.no_grad()
    def look(rollouts: Rollouts | None = None) -> None:
        logits = network(images)
        reward = float(logits.softmax(-1).gather(1, labels[:, None]).mean())
        seen.append((reward, float(token_entropy(logits).mean())))
        if rollouts is not None:
            covariances.append(mean_covariance(rollouts))

    train_policy(
        BanditPolicy(network), digits_bandit(train), objective, steps=steps, questions=128, samples=8, epochs=4,
        seed=seed, reference=reference, on_step=look,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
    )  # fmt: skip
    look()
    columns = (*zip(*seen, strict=True), covariances)
    return Course(*(torch.tensor(column, dtype=torch.float64) for column in columns))


def grpo_bandit(*, seed: int) -> dict[str, torch.Tensor]:
    """The course of one GRPO run on the bandit, 400 steps."""
    return bandit_course(ARMS["grpo"](torch.Generator()), seed, steps=400)._asdict()


def entropy_law(*, arm: str, seed: int, grpo_bandit: Path) -> dict[str, float]:
    """How well a curve of reward over entropy tells a run. The arm is a curve, and the run is the same for all."""
    run = load_file(grpo_bandit)
    rewards, entropies = run["rewards"].numpy(), run["entropies"].numpy()
    fit = laws.CURVES[arm]
    metrics = {
        "r_squared": laws.r_squared(fit(entropies, rewards), entropies, rewards),
        "held_out": laws.held_out_error(fit, entropies, rewards, BLOCK),
        "extrapolation_10": laws.extrapolation_error(fit, entropies, rewards, 0.1),
        "extrapolation_50": laws.extrapolation_error(fit, entropies, rewards, 0.5),
        "final_reward": float(rewards[-1]),
    }
    if arm == "exponential":
        metrics |= laws.interval(entropies, rewards, block=BLOCK, draws=500, seed=seed)
        law = EntropyLaw.fit(run["entropies"], run["rewards"])
        metrics |= {"a": law.a, "b": law.b, "ceiling": law.ceiling, "ceiling_miss": abs(law.ceiling - rewards[-1])}
    return metrics


def covariance_sign(*, grpo_bandit: Path) -> dict[str, float]:
    """The covariance of each step of the same run, and the fall of the entropy that follows, by step and by block."""
    from scipy.stats import spearmanr

    rewards, entropies, covariances = (load_file(grpo_bandit)[name] for name in Course._fields)
    falls, block = entropies[:-1] - entropies[1:], 10
    count = len(falls) // block
    blocks = [one[: count * block].view(count, block).mean(1).numpy() for one in (covariances, falls)]
    third = round(0.32 * (len(entropies) - 1))
    used, made = ((run[third] - run[0]) / (run[-1] - run[0]) for run in (entropies, rewards))
    return {
        "positive": float((covariances > 0).double().mean()),
        "by_step": float(spearmanr(covariances.numpy(), falls.numpy()).statistic),
        "by_block": float(spearmanr(*blocks).statistic),
        "entropy_used": float(used),
        "reward_made": float(made),
    }


def bandit(*, arm: str, seed: int, steps: int) -> dict[str, float]:
    """What entropy is left, at equal step and at equal reward."""
    rewards, entropies, _ = bandit_course(ARMS[arm](torch.Generator().manual_seed(seed)), seed, steps)
    left = float(entropies[-1])
    metrics = {"entropy": left, "log10_entropy": math.log10(left), "reward": float(rewards[-1])}
    reached = entropy_at(0.85, rewards, entropies)
    return metrics if reached is None else {**metrics, "entropy_at_reward": reached}


def entropy_at(level: float, rewards: torch.Tensor, entropies: torch.Tensor) -> float | None:
    """The entropy where the reward first reaches a level, interpolated between steps; None where it never does."""
    reached = (rewards >= level).nonzero().flatten()
    if not len(reached) or reached[0] == 0:
        return None
    after = int(reached[0])
    share = (level - rewards[after - 1]) / (rewards[after] - rewards[after - 1])
    return float(entropies[after - 1] + share * (entropies[after] - entropies[after - 1]))


# The calculator bench.


def calculator(
    *, arm: str, seed: int, device: torch.device, steps: int, rate: float, calculator_start: Path
) -> dict[str, float]:
    """What a short run leaves of accuracy and entropy."""
    policy = calculator_policy(seed).to(device)
    policy.load_state_dict(load_file(calculator_start))
    return calculator_run(arm, policy, seed, steps=steps, rate=rate)


def calculator_benefit(
    *, arm: str, seed: int, device: torch.device, steps: int, rate: float, lessons: int
) -> dict[str, float]:
    """The bench for longer, its policy taught anew, and all held-out questions (full tier)."""
    policy = taught_policy(seed, device, lessons)
    return calculator_run(arm, policy, seed, steps=steps, rate=rate, questions=HELD_OUT)


def calculator_run(
    arm: str, policy: RecurrentPolicy, seed: int, *, steps: int, rate: float, questions: int = 256
) -> dict[str, float]:
    """32 questions x 8 samples, 4 minibatches, Adam; then samples for held-out questions, and fixed contexts there.

    The fixed contexts are responses of the policy before training to `questions` held-out questions.
    """
    device = next(policy.parameters()).device
    train, _, held_out = calculator_problems(seed)
    train, held_out = train.to(device), held_out.to(device)
    contexts = collect(policy, held_out, questions, 4, torch.Generator(device).manual_seed(10_000 + seed))
    before = mean_entropy(policy, contexts)
    objective, covariances = ARMS[arm](torch.Generator(device).manual_seed(seed)), list[float]()
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
        "train_accuracy": fmean([step.accuracy for step in history[-10:]]),
        "positive": fmean([one > 0 for one in covariances]),
    }
