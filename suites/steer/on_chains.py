"""Chains of GSM8K's calculator marks: how steady the entropy is, what weights change, what estimates foretell."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from scipy.stats import spearmanr

from baselines.reinforcement.policy_gradient import group_advantages, ppo, token_log_probs
from baselines.reinforcement.reasoning import entropies, measure, total_variation
from baselines.reinforcement.reasoning_runs import split_chains, started, trained
from baselines.reinforcement.rollouts import Objective, Update, collect
from suites.steer.method import Weighting, diagonal_change, entropy_change, estimate, steer_loss, token_weights

NORMAL, EXTREME = (0.2, 0.28), (0.99, 5.0)
"""Clip ranges: those of the method, and the wide ones of the paper's test."""
MICRO = 8
"""Responses that share extremes of |Omega|, as in the official code."""


def weights_of(update: Update, weighting: Weighting, least: float) -> torch.Tensor:
    """lambda of a minibatch, its extremes those of `MICRO` responses at a time, (B, T)."""
    omega = estimate(update.logp, update.old, update.advantages, update.old_entropy)
    parts = zip(omega.split(MICRO), update.mask.split(MICRO), strict=True)
    return torch.cat([token_weights(one, mask, weighting=weighting, least=least) for one, mask in parts])


def steered(update: Update, clip: tuple[float, float], weighting: Weighting, least: float) -> torch.Tensor:
    """The method."""
    return _weighted(update, clip, weights_of(update, weighting, least))


def permuted(update: Update, clip: tuple[float, float], least: float, generator: torch.Generator) -> torch.Tensor:
    """The weights of the method, each at a token drawn at random: what is left without the estimate."""
    found = weights_of(update, "exponential", least)
    mask = update.mask.bool()
    order = torch.randperm(int(mask.sum()), generator=generator, device=generator.device)
    moved = torch.zeros_like(found)
    moved[mask] = found[mask][order]
    return _weighted(update, clip, moved)


def uniform(update: Update, clip: tuple[float, float], least: float) -> torch.Tensor:
    """All tokens weighted by the mean weight of the method."""
    found = weights_of(update, "exponential", least)
    mean = found.sum() / update.mask.sum().clamp(min=1)
    return _weighted(update, clip, mean.expand_as(found))


def _weighted(update: Update, clip: tuple[float, float], weights: torch.Tensor) -> torch.Tensor:
    return steer_loss(
        update.logp, update.old, update.advantages, update.old_entropy, update.mask, low=clip[0], high=clip[1],
        weights=weights,
    )  # fmt: skip


def grpo(update: Update, clip: tuple[float, float]) -> torch.Tensor:
    """GRPO with dual-clip."""
    return ppo(update.logp, update.old, update.advantages, update.mask, low=clip[0], high=clip[1], dual=10.0)


ARMS: dict[str, Callable[[tuple[float, float], torch.Generator], Objective]] = {
    "grpo": lambda clip, _: partial(grpo, clip=clip),
    "grpo_normal": lambda clip, _: partial(grpo, clip=NORMAL),
    "steer": lambda clip, _: partial(steered, clip=clip, weighting="exponential", least=0.8),
    "steer_0.2": lambda clip, _: partial(steered, clip=clip, weighting="exponential", least=0.2),
    "steer_linear": lambda clip, _: partial(steered, clip=clip, weighting="linear", least=0.8),
    "permuted_0.2": lambda clip, generator: partial(permuted, clip=clip, least=0.2, generator=generator),
    "uniform_0.2": lambda clip, _: partial(uniform, clip=clip, least=0.2),
}
"""By name; numbers are lambda_min where it is not 0.8."""


def chains(*, arm: str, seed: int, steps: int, clip: str, chain_start: Path) -> dict[str, float]:
    """Train at the rate of the best validation accuracy, or, with the extreme clip range, at 3e-4; the entropy's path.

    clip: "normal" or "extreme". `variation` is the sum of the absolute changes of the mean entropy of a step's
    responses from step to step, `drift` the distance of its end from its beginning.
    """
    start = started(chain_start)
    train, validation, test = split_chains(seed)
    bounds, rates = (NORMAL, (1e-4, 3e-4)) if clip == "normal" else (EXTREME, (3e-4,))
    policy, rate, history = trained(
        start, train, validation, lambda: ARMS[arm](bounds, torch.Generator().manual_seed(seed)), steps=steps,
        seed=seed, rates=rates,
    )  # fmt: skip
    curve = [one.entropy for one in history]
    found = measure(policy, test, samples=8, seed=seed, start=start)
    return {
        **found.numbers(),
        "variation": total_variation(curve),
        "drift": abs(curve[-1] - curve[0]),
        "rate": rate,
    }


def foretold(*, seed: int, batches: int, rate: float, chain_start: Path) -> dict[str, float]:
    """Rank correlations, over batches, of estimates summed over tokens with what one SGD step of GRPO does to entropy.

    A batch is 8 questions x 8 samples; its entropy is measured before and after, at the tokens that were sampled.
    """
    start, (train, _, _) = started(chain_start), split_chains(seed)
    generator = torch.Generator().manual_seed(seed)
    table: list[list[float]] = []
    for _ in range(batches):
        batch = collect(start, train, 8, 8, generator)
        advantages, mask = group_advantages(batch.correct, 8), batch.mask
        policy = copy.deepcopy(start)
        logits = policy.logits(batch.prompts, batch.actions)
        logp = token_log_probs(logits, batch.actions)
        ppo(logp, batch.old, advantages, mask).backward()
        estimates = (
            entropy_change(logits.detach(), batch.actions, advantages, batch.old),
            diagonal_change(batch.old, batch.old, advantages, batch.old_entropy),
            -estimate(batch.old, batch.old, advantages, batch.old_entropy),
        )
        torch.optim.SGD(policy.parameters(), lr=rate).step()
        moved = entropies(policy, batch) - batch.old_entropy
        table.append([float(one[mask].sum()) for one in (moved, *estimates)])
    measured, *foreseen = zip(*table, strict=True)
    found = {
        name: float(spearmanr(measured, values).statistic)
        for name, values in zip(("exact", "diagonal", "code"), foreseen, strict=True)
    }
    fell = torch.tensor(measured) < 0
    return {**found, "exact_over_diagonal": found["exact"] - found["diagonal"], "fell": float(fell.double().mean())}
