"""Chains of GSM8K's calculator marks: what training on some of the tokens keeps, and decoding at two temperatures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

from baselines.reinforcement.policies import LanguagePolicy
from baselines.reinforcement.reasoning import entropies, gsm8k_chains, measure, worth_of_steps
from baselines.reinforcement.reasoning_runs import split_chains, started, trained
from baselines.reinforcement.rollouts import Objective, Update, collect
from suites.forking_tokens.method import (
    change_by_percentile,
    fork_mask,
    forking_loss,
    overlap,
    profile,
    two_temperatures,
)

RATES = (3e-5, 1e-4, 3e-4)
"""Of Adam: each arm and seed has its own choice."""

Choose = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
"""(entropy, mask, generator) -> the tokens that are trained on, bool (B, T)."""


def lowest(entropy: torch.Tensor, mask: torch.Tensor, share: float) -> torch.Tensor:
    """All tokens but the `share` of highest entropy; all of the former have a lower or equal one."""
    return mask.bool() & ~fork_mask(entropy, mask, share=share)


def at_random(entropy: torch.Tensor, mask: torch.Tensor, generator: torch.Generator, share: float) -> torch.Tensor:
    """As many tokens as have the highest entropy, whatever theirs is."""
    return fork_mask(torch.rand(entropy.shape, generator=generator, device=entropy.device), mask, share=share)


ARMS: dict[str, Choose] = {
    "all": lambda entropy, mask, generator: mask.bool(),
    "top_20": lambda entropy, mask, generator: fork_mask(entropy, mask, share=0.2),
    "random_20": partial(at_random, share=0.2),
    "bottom_80": lambda entropy, mask, generator: lowest(entropy, mask, 0.2),
    "top_10": lambda entropy, mask, generator: fork_mask(entropy, mask, share=0.1),
    "top_50": lambda entropy, mask, generator: fork_mask(entropy, mask, share=0.5),
}


def objective(choose: Choose, generator: torch.Generator) -> Objective:
    """The loss on the tokens that are chosen from a minibatch by the entropies of the policy now."""

    def loss(update: Update) -> torch.Tensor:
        entropy = update.entropy.detach()
        chosen = choose(entropy, update.mask, generator)
        return forking_loss(update.logp, update.old, update.advantages, entropy, update.mask, chosen=chosen)

    return loss


def chains(*, arm: str, seed: int, steps: int, chain_start: Path) -> dict[str, float]:
    """24 questions x 8 samples, 3 minibatches, Adam at the rate of the best validation accuracy; then the test part."""
    train, validation, test = split_chains(seed)
    start = started(chain_start)
    policy, rate, _ = trained(
        start, train, validation, lambda: objective(ARMS[arm], torch.Generator().manual_seed(seed)), steps=steps,
        seed=seed, rates=RATES, dynamic=True,
    )  # fmt: skip
    before, after = (measure(one, test, samples=8, seed=seed, start=start) for one in (start, policy))
    written = collect(policy, test, len(test), 4, torch.Generator().manual_seed(seed))
    base, now = entropies(start, written), entropies(policy, written)
    change = change_by_percentile(base, now, written.mask).abs()
    return {
        **after.numbers(),
        "gain": after.accuracy - before.accuracy,
        "entropy_change": after.entropy - before.entropy,
        "overlap": overlap(base, now, written.mask),
        "change_top": float(change[-4:].mean()),
        "change_bottom": float(change[:10].mean()),
        "change_gap": float(change[-4:].mean() - change[:10].mean()),
        "rate": rate,
    }


def steps_pay(*, seed: int, chain_start: Path) -> dict[str, float]:
    """The taught policy on GSM8K's test chains, made to think and made to answer at once, with a 95 % interval.

    Also `profile` of the entropies of its own responses.
    """
    policy = started(chain_start)
    problems, _ = gsm8k_chains("test")
    thinking, answering = (one.double().numpy() for one in worth_of_steps(policy, problems))
    gain = thinking - answering
    interval = bootstrap((gain,), np.mean, rng=np.random.default_rng(seed)).confidence_interval
    written = collect(policy, problems, len(problems), 8, torch.Generator().manual_seed(seed))
    return {
        "thinking": float(thinking.mean()),
        "answering": float(answering.mean()),
        "gain": float(gain.mean()),
        "gain_low": float(interval.low),
        "gain_high": float(interval.high),
        **{f"start_{name}": value for name, value in measure(policy, problems, samples=8, seed=seed).numbers().items()},
        **profile(written.old_entropy[written.mask]),
    }


class Scaled(LanguagePolicy):
    """A policy that samples from scaled logits, and is read as it is."""

    def __init__(self, inner: LanguagePolicy, scale: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale
        self.end, self.max_tokens = inner.end, inner.max_tokens

    def begin(self, prompts: torch.Tensor) -> tuple[torch.Tensor, Any]:
        logits, state = self.inner.begin(prompts)
        return self.scale(logits), state

    def step(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        logits, state = self.inner.step(tokens, state)
        return self.scale(logits), state

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.inner.read(tokens)


def decoding(*, arm: str, seed: int, hot: float, cold: float, chain_start: Path) -> dict[str, float]:
    """Accuracy of the taught policy with another temperature than 1 on forks only, or elsewhere only; 8 samples.

    arm: forks are the positions of an "entropy" above its 80th percentile in the policy's own responses, or a fifth
    of the positions at "random". `safer_hot` is what raising the forks' temperature costs less than raising that of the
    other positions, `dearer_cold` what lowering the forks' costs more.
    """
    policy, (problems, _) = started(chain_start), gsm8k_chains("test")
    own = collect(policy, problems, len(problems), 4, torch.Generator().manual_seed(seed))
    threshold = float(own.old_entropy[own.mask].quantile(0.8))
    chance = torch.Generator().manual_seed(seed)

    def scaled(logits: torch.Tensor, forks: float, others: float) -> torch.Tensor:
        if arm == "entropy":
            return two_temperatures(logits, threshold=threshold, high=forks, low=others)
        return logits / torch.where(torch.rand(len(logits), generator=chance) < 0.2, forks, others)[:, None]

    settings = {"plain": (1.0, 1.0), "hot_forks": (hot, 1.0), "hot_others": (1.0, hot), "cold_forks": (cold, 1.0),
                "cold_others": (1.0, cold)}  # fmt: skip
    accuracy = {
        name: measure(
            Scaled(policy, partial(scaled, forks=forks, others=others)), problems, samples=8, seed=seed
        ).accuracy
        for name, (forks, others) in settings.items()
    }
    return {
        **accuracy,
        "threshold": threshold,
        "safer_hot": accuracy["hot_forks"] - accuracy["hot_others"],
        "dearer_cold": accuracy["cold_others"] - accuracy["cold_forks"],
    }
