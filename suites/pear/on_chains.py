"""Chains of GSM8K's calculator marks, for which thinking pays: what the reward makes of length and accuracy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

from baselines.reinforcement.calculator_bench import calculator_policy, calculator_problems
from baselines.reinforcement.policies import LanguagePolicy
from baselines.reinforcement.policy_gradient import kl_penalty, ppo
from baselines.reinforcement.problems import CALCULATOR, CHAIN, Problems
from baselines.reinforcement.reasoning import LONGEST, TAG, gsm8k_chains, measure
from baselines.reinforcement.reasoning_runs import VALIDATION, started, trained
from baselines.reinforcement.rollouts import Rollouts, Update, collect
from suites.pear.method import phase_means, phase_reward, phases

Reward = Callable[[Rollouts], torch.Tensor]
RATES = (1e-4, 3e-4)
"""Of Adam: each arm and seed has its own choice."""


def pear(rollouts: Rollouts, alpha: float) -> torch.Tensor:
    """The paper's reward."""
    parts = phases(rollouts.actions, rollouts.mask, TAG)
    return phase_reward(rollouts.correct, rollouts.old_entropy, *parts, alpha=alpha)


def shorter(rollouts: Rollouts, coefficient: float) -> torch.Tensor:
    """Right answers less `coefficient` times their length over the longest possible."""
    return rollouts.correct * (1 - coefficient * rollouts.lengths / LONGEST)


ARMS: dict[str, Reward] = {
    "grpo": lambda rollouts: rollouts.correct,
    "pear": partial(pear, alpha=1.0),
    "pear_alpha_minus_1": partial(pear, alpha=-1.0),
    "length_0.3": partial(shorter, coefficient=0.3),
}


def objective(update: Update) -> torch.Tensor:
    """GRPO with the mean of each response, and a KL penalty of 0.001 to the start."""
    assert update.reference is not None
    loss = ppo(update.logp, update.old, update.advantages, update.mask, aggregation="sequence_mean")
    return loss + 1e-3 * kl_penalty(update.logp, update.reference, update.mask, aggregation="sequence_mean")


def split(seed: int) -> tuple[Problems, Problems, Problems, Problems]:
    """Chains of two and three steps to train on, to choose by and to test on; and those of four steps."""
    parts = {name: gsm8k_chains(name) for name in ("train", "test")}
    long = {name: torch.tensor([len(one) == 4 for one in values]) for name, (_, values) in parts.items()}
    short = parts["train"][0][(~long["train"]).nonzero().squeeze(1)]
    order = torch.randperm(len(short), generator=torch.Generator().manual_seed(seed))
    test = parts["test"][0][(~long["test"]).nonzero().squeeze(1)]
    four = parts["train"][0][long["train"].nonzero().squeeze(1)]
    return short[order[VALIDATION:]], short[order[:VALIDATION]], test, four


def chains(*, arm: str, seed: int, steps: int, chain_start: Path) -> dict[str, float]:
    """Train with the arm's reward at the rate of the best validation accuracy; then chains as long, and longer ones."""
    start = started(chain_start)
    train, validation, test, four = split(seed)
    policy, rate, _ = trained(
        start, train, validation, lambda: objective, rates=RATES, steps=steps, seed=seed, reward=ARMS[arm],
        reference=start,
    )  # fmt: skip
    found, farther = (measure(policy, one, samples=8, seed=seed, start=start) for one in (test, four))
    written = collect(policy, test, len(test), 4, torch.Generator().manual_seed(seed))
    silent = phases(written.actions, written.mask, TAG)[0].sum(1) == 0
    return {
        **found.numbers(),
        "longer_accuracy": farther.accuracy,
        "longer_length": farther.length,
        "silent": float(silent.float().mean()),
        "rate": rate,
    }


# The policies before training.


def before(*, problems: str, seed: int, questions: int, chain_start: Path, calculator_start: Path) -> dict[str, float]:
    """Phases of the taught policy, and how entropy goes with length, over 16 responses to each of `questions` prompts.

    problems: "chains", or "calculator" sums whose thinking repeats the value. `spearman` is the mean over questions of
    the rank correlation of a response's mean thinking entropy with its length; `spearman_inside` leaves out the places
    where the policy decides whether to go on, which are the first and those after a `;`.
    """
    policy: LanguagePolicy
    if problems == "chains":
        policy, asked, symbols = started(chain_start), gsm8k_chains("test")[0], CHAIN
    else:
        policy, asked, symbols = calculator_policy(seed), calculator_problems(seed)[2], CALCULATOR
        policy.load_state_dict(load_file(calculator_start))
    found = collect(policy, asked, min(questions, len(asked)), 16, torch.Generator().manual_seed(seed))
    thinking, answer = phases(found.actions, found.mask, symbols["#"])
    think_mean, answer_mean = phase_means(found.old_entropy, thinking, answer)
    decides = torch.ones_like(thinking)
    decides[:, 1:] = found.actions[:, :-1] == symbols[";"]
    inside, _ = phase_means(found.old_entropy, thinking & ~decides, answer)
    both = (thinking.sum(1) > 0) & (answer.sum(1) > 0)
    return {
        "thinking_entropy": float(think_mean[both].mean()),
        "answer_entropy": float(answer_mean[both].mean()),
        "phase_gap": float((think_mean - answer_mean)[both].mean()),
        "spearman": _within(think_mean, found.lengths, found.group, both),
        "spearman_inside": _within(inside, found.lengths, found.group, both),
        "spearman_answer": _within(answer_mean, found.lengths, found.group, both),
        "accuracy": float(found.correct.mean()),
        "length": float(found.lengths.float().mean()),
    }


def _within(values: torch.Tensor, lengths: torch.Tensor, group: int, kept: torch.Tensor) -> float:
    """Mean rank correlation over questions in which both differ among the kept responses."""
    found = []
    for row in torch.arange(len(values)).view(-1, group):
        rows = row[kept[row]]
        one, other = values[rows], lengths[rows]
        if len(rows) > 2 and len(one.unique()) > 1 and len(other.unique()) > 1:
            found.append(float(spearmanr(one.numpy(), other.numpy()).statistic))
    return sum(found) / len(found)
