"""The paper's own protocol: Qwen2.5 on DAPO-Math-17k, evaluated on AIME, AMC and MATH-500."""

from __future__ import annotations

from functools import partial

import torch

import reference
from baselines.language_models import pretrained
from baselines.reinforcement.policy_gradient import ppo
from baselines.reinforcement.pretrained_policies import INSTRUCTION, PretrainedPolicy, word_problems
from baselines.reinforcement.rollouts import Objective, collect, surrogate, train_policy
from suites.entropy_mechanism.method import clip_cov, kl_cov

EVALUATED = {"aime24": (32, 0.6), "aime25": (32, 0.6), "amc23": (32, 0.6), "math500": (1, 0.0)}
"""Responses to each problem, and the temperature."""


def objective(arm: str, seed: int, device: torch.device, percent: float) -> Objective:
    """The arms of the official scripts."""
    losses = {
        "grpo": ppo,
        "clip_higher": partial(ppo, high=0.28),
        "clip_cov": partial(clip_cov, generator=torch.Generator(device).manual_seed(seed)),
        "kl_cov": partial(kl_cov, percent=percent),
    }
    return surrogate(losses[arm])


def qwen_mathematics(
    *,
    arm: str,
    seed: int,
    device: torch.device,
    model: str,
    steps: int,
    questions: int,
    samples: int,
    minibatch: int,
    rate: float,
    percent: float,
    prompt: int,
    response: int,
) -> dict[str, float]:
    """Train from `model`, a checkpoint of the catalogue, and evaluate what comes out."""
    network, tokenizer = pretrained(model)
    network.gradient_checkpointing_enable()
    policy = PretrainedPolicy(network, pad=tokenizer.pad_token_id, end=tokenizer.eos_token_id, max_tokens=response)
    policy = policy.to(device)
    train = word_problems(reference.load("dapo-math-17k", "train"), tokenizer, longest=prompt).to(device)
    history = train_policy(
        policy, train, objective(arm, seed, device, percent), steps=steps, questions=questions, samples=samples,
        minibatches=questions // minibatch, micro_batches=minibatch, seed=seed, dynamic=True,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0),
    )  # fmt: skip
    policy.eval()
    metrics = {"entropy": history[-1].entropy, "train_accuracy": history[-1].accuracy, "length": history[-1].length}
    generator = torch.Generator(device).manual_seed(seed)
    for name, (count, temperature) in EVALUATED.items():
        problems = word_problems(reference.load(name, "test"), tokenizer, longest=prompt, template=INSTRUCTION)
        problems = problems.to(device)
        found = collect(policy, problems, len(problems), count, generator, temperature=temperature)
        metrics[name] = 100 * float(found.correct.mean())
    metrics["mean"] = sum(metrics[name] for name in EVALUATED) / len(EVALUATED)
    return metrics
