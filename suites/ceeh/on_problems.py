"""GSM8K's calculator marks: chains of them, for which thinking pays, and single sums, where it can be saved.

Both train on few questions, so that each is met ten times on average, as in the paper's ten epochs: on all of them few
would come twice, and there would be no history. `hard_` metrics are of the test questions on which the start is below
its mean.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

from baselines.reinforcement.calculator_bench import calculator_policy, calculator_problems
from baselines.reinforcement.policies import LanguagePolicy
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.reasoning import measure
from baselines.reinforcement.reasoning_runs import split_chains, started
from baselines.reinforcement.rollouts import train_policy
from suites.ceeh.contenders import Learner

CPU = torch.device("cpu")
SAMPLES = 8


def chains(
    *, arm: str, seed: int, steps: int, questions: int, rate: float, length_scale: float, coefficient: float,
    chain_start: Path,
) -> dict[str, float]:  # fmt: skip
    """From the policy that has been taught four styles of showing its steps; tested on GSM8K's test chains."""
    train, _, test = split_chains(seed)
    return _trained(
        arm, started(chain_start), train, test, seed=seed, steps=steps, questions=questions, rate=rate,
        length_scale=length_scale, coefficient=coefficient,
    )  # fmt: skip


def sums(
    *, arm: str, seed: int, steps: int, questions: int, rate: float, length_scale: float, coefficient: float,
    calculator_start: Path,
) -> dict[str, float]:  # fmt: skip
    """From the policy that writes the value 0 to 3 times before its answer; tested on held-out sums."""
    start = calculator_policy(seed)
    start.load_state_dict(load_file(calculator_start))
    train, _, test = calculator_problems(seed)
    return _trained(
        arm, start, Problems(train.prompts, train.answers, train.verify), test, seed=seed, steps=steps,
        questions=questions, rate=rate, length_scale=length_scale, coefficient=coefficient,
    )  # fmt: skip


def _trained(
    arm: str, start: LanguagePolicy, train: Problems, test: Problems, *, seed: int, steps: int, questions: int,
    rate: float, length_scale: float, coefficient: float,
) -> dict[str, float]:  # fmt: skip
    """Adam on `questions` x 8 samples a step in 2 minibatches; then 8 samples of each test question."""
    asked = train[torch.arange(steps * questions // 10)]
    learner = Learner(
        arm, len(asked), steps=steps, seed=seed, length_scale=length_scale, coefficient=coefficient, device=CPU
    )
    policy = copy.deepcopy(start)
    train_policy(
        policy, asked, learner.objective, steps=steps, questions=questions, samples=SAMPLES, minibatches=2, seed=seed,
        reference=start, reward=learner.reward, optimizer=partial(torch.optim.Adam, lr=rate),
    )  # fmt: skip
    before, after = (measure(one, test, samples=SAMPLES, seed=seed, start=start) for one in (start, policy))
    true = measure(policy, asked, samples=SAMPLES, seed=seed).solved
    known = learner.memory.accuracy
    met = ~known.isnan()
    hard = before.solved < before.solved.mean()
    return {
        **after.numbers(),
        "start_accuracy": before.accuracy,
        "start_length": before.length,
        "start_entropy": before.entropy,
        "gain": after.accuracy - before.accuracy,
        "length_ratio": after.length / before.length,
        "hard_pass": float((after.solved[hard] > 0).double().mean()),
        "hard_accuracy": float(after.solved[hard].mean()),
        "hard_length": float(after.lengths[hard].mean()),
        "easy_length": float(after.lengths[~hard].mean()),
        "history_rank": float(spearmanr(known[met].numpy(), true[met].numpy()).statistic),
    }
