"""A policy that may fill its thinking with tokens that it is sure of: does the reward, a mean, lengthen it?"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from baselines.reinforcement.policy_gradient import ppo
from baselines.reinforcement.problems import CHAIN
from baselines.reinforcement.reasoning import TAG, Values, chain_policy, measure, modular_chains
from baselines.reinforcement.reasoning_runs import started, trained
from baselines.reinforcement.rollouts import collect, surrogate
from suites.pear.method import phases
from suites.pear.on_chains import ARMS

FILLER = 6
"""Symbols `;` of a filled response, after its first one, which says that they come."""


def response(values: Values, filled: bool) -> str:
    """`b` and the filler, or `a` and none; then the first value, which thinks, and the answer."""
    head = "b" + ";" * FILLER if filled else "a"
    return f"{head}{values[0]};#{values[-1]}$"


def filler_start(*, device: torch.device, steps: int = 500) -> dict[str, torch.Tensor]:
    """The bench's policy taught sums of two steps modulo 5, half of the responses filled."""
    problems, values = modular_chains((2,), 4000, seed=1_000_000, modulus=5)
    texts = [CHAIN.encode([response(one, filled) for one in values]) for filled in (False, True)]
    width = max(one.shape[1] for one in texts)
    targets = torch.stack([F.pad(one, (0, width - one.shape[1])) for one in texts]).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = chain_policy().to(device)
    prompts, generator = problems.prompts.to(device), torch.Generator(device).manual_seed(0)
    stepper = torch.optim.Adam(policy.parameters(), lr=2e-3)
    for _ in range(steps):
        ids = torch.randint(len(prompts), (128,), generator=generator, device=device)
        wanted = targets[torch.randint(2, (128,), generator=generator, device=device), ids]
        logits = policy.logits(prompts[ids], wanted)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=CHAIN.PAD)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    return policy.state_dict()


def filler(*, arm: str, seed: int, steps: int, filler_start: Path) -> dict[str, float]:
    """The share of filled responses after training with the arm's reward, and before it."""
    start = started(filler_start)
    train = modular_chains((2,), 1000, seed=2 * seed, modulus=5)[0]
    test = modular_chains((2,), 200, seed=2 * seed + 1, modulus=5)[0]
    policy, rate, _ = trained(
        start, train, test, lambda: surrogate(ppo), rates=(1e-3,), steps=steps, seed=seed, reward=ARMS[arm]
    )
    shares = []
    for one in (start, policy):
        written = collect(one, test, len(test), 8, torch.Generator().manual_seed(seed))
        thinking, _ = phases(written.actions, written.mask, TAG)
        shares.append(float((thinking.sum(1) > FILLER).float().mean()))
    after = measure(policy, test, samples=8, seed=seed, start=start)
    return {**after.numbers(), "filled": shares[1], "filled_before": shares[0], "rate": rate}
