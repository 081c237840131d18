"""A published language model as its own reward model: trained on outcomes of its solutions, choosing on MATH-500."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch

import reference
from baselines.language_models import pretrained
from baselines.reinforcement.policies import log_probs
from baselines.reinforcement.pretrained_policies import INSTRUCTION, PretrainedPolicy, word_problems
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.rollouts import Rollouts, collect
from suites.implicit_prm.contenders import rows
from suites.implicit_prm.method import (
    all_pairs,
    best_of_n,
    ce_loss,
    dpo_loss,
    response_scores,
    split_steps,
    step_rewards,
    token_rewards,
)


@torch.no_grad()
def solved(policy: PretrainedPolicy, problems: Problems, samples: int, generator: torch.Generator) -> Rollouts:
    """`samples` solutions of each problem, read one by one for the memory of their logits."""
    count = len(problems) * samples
    found = collect(
        policy, problems, len(problems), samples, generator, parts=[slice(one, one + 1) for one in range(count)]
    )
    return rows(found, found.ids.argsort(stable=True))


def rewards(policy: PretrainedPolicy, data: Rollouts, part: torch.Tensor, beta: float) -> torch.Tensor:
    """Of tokens of some solutions, (P, T)."""
    some = rows(data, part)
    width = int(some.mask.sum(1).max())
    some = Rollouts(**some.rows(slice(None)) | {
        name: getattr(some, name)[:, :width] for name in ("actions", "mask", "old", "old_entropy")
    })  # fmt: skip
    return token_rewards(log_probs(policy, some.prompts, some.actions), some.old, some.mask, beta=beta)


def mathematics(
    *, arm: str, seed: int, device: torch.device, model: str, questions: int, samples: int, candidates: int, batch: int,
    rate: float, beta: float, prompt: int, response: int,
) -> dict[str, float]:  # fmt: skip
    """Train a copy of `model` on the outcomes of its `samples` solutions to `questions` problems of DAPO-Math-17k, in
    one pass with `batch` responses in a step; it then chooses among `candidates` solutions of the model to each problem
    of MATH-500.

    Accuracies in %, of any solution and of the best of 4, 16 and 64 (those that there are) by the reward of the
    response and by the minimum over steps, which end with a blank line.
    """
    tokenizer: Any  # transformers' own types are wider than what it does
    network, tokenizer = pretrained(model)
    policy = PretrainedPolicy(
        network, pad=tokenizer.pad_token_id, end=tokenizer.eos_token_id, max_tokens=response
    ).to(device).eval()  # fmt: skip
    generator = torch.Generator(device).manual_seed(seed)
    ask = partial(word_problems, tokenizer=tokenizer, longest=prompt, template=INSTRUCTION)
    asked = ask(reference.load("dapo-math-17k", "train")).to(device)
    some = torch.randperm(len(asked), generator=generator, device=device)[:questions]
    data = solved(policy, asked[some], samples, generator)
    tested = solved(policy, ask(reference.load("math500", "test")).to(device), candidates, generator)
    judge = copy.deepcopy(policy)
    judge.model.gradient_checkpointing_enable()  # type: ignore[operator]
    items = all_pairs(data.correct, data.ids) if arm == "dpo" else torch.arange(len(data.ids), device=device)[:, None]
    items = items[torch.randperm(len(items), generator=generator, device=device)]
    stepper = torch.optim.Adam(judge.parameters(), lr=rate, betas=(0.9, 0.95))
    for step in items.split(batch):
        stepper.zero_grad()
        for part in step:
            found = rewards(judge, data, part, beta).sum(1)
            loss = dpo_loss(*found.chunk(2)) if arm == "dpo" else ce_loss(found, data.correct[part])
            (loss / len(step)).backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        stepper.step()
    blank = [one for one in range(len(tokenizer)) if "\n\n" in tokenizer.decode([one])]
    scores: dict[str, list[torch.Tensor]] = {"outcome": [], "minimum": []}
    with torch.no_grad():
        for number in range(len(tested.ids)):
            part = torch.tensor([number], device=device)
            found = rewards(judge, tested, part, beta)
            kept = found.shape[1]
            numbers = split_steps(tested.actions[part, :kept], tested.mask[part, :kept], blank)
            scores["outcome"].append(found.sum(1))
            scores["minimum"].append(response_scores(*step_rewards(found, numbers)))
    correct = tested.correct.view(-1, candidates)
    metrics = {"any": 100 * float(correct.mean())}
    for name, each in scores.items():
        score = torch.cat(each).view_as(correct)
        for n in (4, 16, 64):
            if n <= candidates:
                metrics[f"{name}_{n}"] = 100 * float(best_of_n(score, correct, n).mean())
        metrics[f"{name}_gain"] = 100 * float(best_of_n(score, correct, candidates).mean()) - metrics["any"]
    return metrics
