"""The experiments of entropy-mechanism: identities, the bandit on digits, the calculator bench, and Qwen2.5."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_file

from suites.entropy_mechanism import exact, laws, runs
from suites.entropy_mechanism.contenders import ARMS
from suites.entropy_mechanism.exact import Metrics

# Exact tier.


def lemma(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E1."""
    return exact.lemma(seed)


def gradient_steps(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E2, E3."""
    return exact.gradient_steps(seed)


def signs(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E4, E5."""
    return exact.signs(seed)


def token_covariance(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E8, E9."""
    return exact.token_covariance(seed)


def selection(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """Facts (c): sizes, and micro-batches."""
    return exact.selection(seed)


def kl_cov(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E6 and fact (b)."""
    return exact.kl_cov(seed)


def clip_cov(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E7 and facts (a), (d), (e)."""
    return exact.clip_cov(seed)


def printed_table(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E10."""
    return exact.table()


def law_algebra(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E11."""
    return exact.law(seed)


def refusals(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """Bad input."""
    return exact.refusals()


# Small tier.

BLOCK = 20
"""Steps that are held out, or resampled, together."""


def grpo_bandit(*, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
    """The course of one GRPO run on the bandit, 400 steps."""
    rewards, entropies, covariances = runs.bandit(ARMS["grpo"](torch.Generator()), seed, steps=400).arrays()
    return {
        "rewards": torch.from_numpy(rewards),
        "entropies": torch.from_numpy(entropies),
        "covariances": torch.from_numpy(covariances),
    }


def entropy_law(*, arm: str, seed: int, device: torch.device, grpo_bandit: Path) -> Metrics:
    """S-A: the arm is a curve, and the run is the same for all of them."""
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
        law = laws.EntropyLaw.fit(run["entropies"], run["rewards"])
        metrics |= {"a": law.a, "b": law.b, "ceiling": law.ceiling, "ceiling_miss": abs(law.ceiling - rewards[-1])}
    return metrics


def covariance_sign(*, arm: str, seed: int, device: torch.device, grpo_bandit: Path) -> Metrics:
    """S-B: the covariance of each step of the same run, and the fall of the entropy that follows."""
    run = load_file(grpo_bandit)
    entropies = run["entropies"].numpy()
    used = (entropies[0] - entropies) / (entropies[0] - entropies[-1])
    gained = (run["rewards"] - run["rewards"][0]) / (run["rewards"][-1] - run["rewards"][0])
    third = round(0.32 * (len(entropies) - 1))
    return {
        **runs.covariance_metrics(run["covariances"].numpy(), entropies, block=10),
        "entropy_used": float(used[third]),
        "reward_made": float(gained[third]),
    }


def bandit(*, arm: str, seed: int, device: torch.device, steps: int) -> Metrics:
    """S-C on the bandit: what entropy is left, at equal step and at equal reward."""
    generator = torch.Generator().manual_seed(seed)
    rewards, entropies, _ = runs.bandit(ARMS[arm](generator), seed, steps).arrays()
    metrics = {
        "entropy": float(entropies[-1]),
        "log10_entropy": math.log10(entropies[-1]),
        "reward": float(rewards[-1]),
    }
    reached = runs.entropy_at(0.85, rewards, entropies)
    return metrics if reached is None else {**metrics, "entropy_at_reward": reached}


def calculator_start(*, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
    """The policy that has been taught by cross-entropy."""
    return runs.taught_policy(seed, device, steps=1000).state_dict()


def calculator(
    *, arm: str, seed: int, device: torch.device, steps: int, rate: float, calculator_start: Path
) -> Metrics:
    """S-C on the calculator bench."""
    policy = runs.calculator_policy(seed).to(device)
    policy.load_state_dict(load_file(calculator_start))
    return runs.calculator_run(
        ARMS[arm](torch.Generator(device).manual_seed(seed)), policy, seed, steps=steps, rate=rate
    )


# Full tier.


def calculator_benefit(*, arm: str, seed: int, device: torch.device, steps: int, rate: float, lessons: int) -> Metrics:
    """S-D: the calculator bench for longer, on a GPU, its policy taught anew."""
    policy = runs.taught_policy(seed, device, lessons)
    objective = ARMS[arm](torch.Generator(device).manual_seed(seed))
    return runs.calculator_run(objective, policy, seed, steps=steps, rate=rate, questions=runs.HELD_OUT)


def qwen_mathematics(*, arm: str, seed: int, device: torch.device, **protocol: object) -> Metrics:
    """R1 to R4: the 7B protocol."""
    # Imports transformers, which would cost every other trial seconds.
    from suites.entropy_mechanism.on_mathematics import reinforce_mathematics

    return reinforce_mathematics(arm, seed, device, **protocol)  # type: ignore[arg-type]
