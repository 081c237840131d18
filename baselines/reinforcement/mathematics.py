"""Reinforcement learning of a published language model on problems of mathematics in words, and its evaluation.

The protocol that papers of this kind share: train on one set of problems, then answer those of others. What differs is
the objective of an update, the reward of a response and the settings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from statistics import fmean
from typing import Any, TypedDict, Unpack

import torch

import reference
from baselines.language_models import pretrained
from baselines.reinforcement.pretrained_policies import INSTRUCTION, PretrainedPolicy, word_problems
from baselines.reinforcement.rollouts import Objective, Rollouts, collect, train_policy

COMPETITIONS = {"aime24": (32, 0.6), "aime25": (32, 0.6), "amc23": (32, 0.6), "math500": (1, 0.0)}
"""Sets to evaluate on: responses to each problem, and their temperature."""


class Settings(TypedDict):
    """What experiments of this protocol have in common and hand on."""

    seed: int
    device: torch.device
    model: str
    steps: int
    questions: int
    samples: int
    minibatch: int
    rate: float
    prompt: int
    response: int


def train_on_mathematics(
    objective: Objective,
    *,
    train: str = "dapo-math-17k",
    subset: int | None = None,
    evaluated: Mapping[str, tuple[int, float]] = COMPETITIONS,
    weight_decay: float = 0.0,
    dynamic: bool = True,
    reward: Callable[[Rollouts], torch.Tensor] | None = None,
    anchored: bool = False,
    **settings: Unpack[Settings],
) -> dict[str, float]:
    """Train from `model`, a checkpoint of the catalogue, on the set `train` (`subset`: on so many of its problems,
    drawn by the seed), and evaluate what comes out.

    A step takes `samples` responses of at most `response` tokens to each of `questions` prompts of at most `prompt`
    tokens, in minibatches of `minibatch` questions and micro-batches of `samples` responses. AdamW at a constant rate.
    With `anchored` the objective also sees log-probabilities under the model as it was, for a KL penalty.
    Metrics: entropy, training accuracy and length of the last step; accuracy on each set in percent, and their mean.
    """
    seed, device = settings["seed"], settings["device"]
    samples, prompt = settings["samples"], settings["prompt"]
    tokenizer: Any  # transformers' own types are wider than what it does
    network, tokenizer = pretrained(settings["model"])
    network.gradient_checkpointing_enable()
    policy = PretrainedPolicy(
        network, pad=tokenizer.pad_token_id, end=tokenizer.eos_token_id, max_tokens=settings["response"]
    ).to(device)
    problems = word_problems(reference.load(train, "train"), tokenizer, longest=prompt)
    drawn = torch.randperm(len(problems), generator=torch.Generator().manual_seed(seed))[:subset]
    problems = (problems if subset is None else problems[drawn]).to(device)
    history = train_policy(
        policy, problems, objective, reference=copy.deepcopy(policy) if anchored else None,
        steps=settings["steps"], questions=settings["questions"], samples=samples,
        seed=seed, dynamic=dynamic, minibatches=settings["questions"] // settings["minibatch"],
        micro_batches=settings["minibatch"], reward=reward,
        optimizer=partial(torch.optim.AdamW, lr=settings["rate"], weight_decay=weight_decay),
    )  # fmt: skip
    policy.eval()
    last = history[-1]
    metrics = {"entropy": last.entropy, "train_accuracy": last.accuracy, "length": last.length}
    generator = torch.Generator(device).manual_seed(seed)
    for name, (count, temperature) in evaluated.items():
        asked = word_problems(reference.load(name, "test"), tokenizer, longest=prompt, template=INSTRUCTION).to(device)
        found = collect(policy, asked, len(asked), count, generator, temperature=temperature)
        metrics[name] = 100 * float(found.correct.mean())
    metrics["mean"] = fmean(metrics[name] for name in evaluated)
    return metrics
