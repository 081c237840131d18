"""What is compared: implicit rewards by four objectives and two stages, an outcome model, labels of steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from baselines.reinforcement.policies import LanguagePolicy, TransformerPolicy, log_probs
from baselines.reinforcement.rollouts import Rollouts
from baselines.training import cosine
from suites.implicit_prm.method import (
    all_pairs,
    ce_loss,
    dpo_loss,
    kl_baseline,
    kto_loss,
    nca_loss,
    split_steps,
    step_rewards,
    token_rewards,
)

IMPLICIT = ("ce", "dpo", "kto", "nca", "two_stage")
LABELLED = ("two_stage", "shepherd")
ARMS = (*IMPLICIT, "orm", "shepherd")
"""two_stage: ce, then step labels. orm: a scalar head after the last token. shepherd: that head after each step, taught
whether any of eight continuations is right."""
ROWS = 64
"""Responses in a batch."""
LABEL_PASSES = (4, 16)
"""Numbers of passes over step labels among which validation questions choose."""


@dataclass(frozen=True)
class Steps:
    """Responses (B, T) with S steps: the step of each token, where each ends, and which there are."""

    numbers: torch.Tensor  # int64 (B, T), -1 outside
    ends: torch.Tensor  # int64 (B, S), 0 where there is none
    present: torch.Tensor  # bool (B, S)

    @property
    def last(self) -> torch.Tensor:
        """The last step of each response, bool (B, S)."""
        return self.present & ~F.pad(self.present, (0, 1))[:, 1:]


def steps_of(actions: torch.Tensor, mask: torch.Tensor, separator: int) -> Steps:
    """Steps that end with the separator."""
    numbers = split_steps(actions, mask, {separator})
    places = torch.arange(actions.shape[1], dtype=torch.float32, device=actions.device).expand(actions.shape)
    _, present = step_rewards(places, numbers)
    ends = torch.zeros_like(present, dtype=torch.int64)
    for step in range(present.shape[1]):
        ends[:, step] = torch.where(numbers == step, places.long(), 0).amax(1)
    return Steps(numbers, ends, present)


@dataclass(frozen=True)
class Judged:
    """What a reward model says of responses; 0 of steps that are not there."""

    steps: torch.Tensor  # reward of each step, (B, S)
    values: torch.Tensor  # of the prefix that ends with it, (B, S)
    outcome: torch.Tensor  # of the whole, (B,)


class Implicit(nn.Module):
    """A policy that starts as the reference. Log-probabilities of the reference come with the responses."""

    def __init__(self, start: LanguagePolicy, beta: float) -> None:
        super().__init__()
        self.policy, self.reference, self.beta = copy.deepcopy(start), copy.deepcopy(start).requires_grad_(False), beta

    def rewards(self, batch: Rollouts) -> torch.Tensor:
        """Of tokens, (B, T)."""
        logp = log_probs(self.policy, batch.prompts, batch.actions)
        return token_rewards(logp, batch.old, batch.mask, beta=self.beta)

    def judge(self, batch: Rollouts, steps: Steps) -> Judged:
        """Of responses and their steps."""
        rewards = self.rewards(batch)
        each, _ = step_rewards(rewards, steps.numbers, count=steps.present.shape[1])
        return Judged(each, each.cumsum(1), rewards.sum(1))


class Headed(nn.Module):
    """The start with a scalar head. A value is a logit; `labels` says whether it was taught values of steps."""

    def __init__(self, start: TransformerPolicy, *, labels: bool) -> None:
        super().__init__()
        self.policy, self.labels = copy.deepcopy(start), labels
        self.policy.classifier = nn.Linear(self.policy.classifier.in_features, 1)
        nn.init.zeros_(self.policy.classifier.weight)
        nn.init.zeros_(self.policy.classifier.bias)

    def logits(self, batch: Rollouts) -> torch.Tensor:
        """After the prompt and after each token, (B, T + 1)."""
        width = batch.prompts.shape[1]
        return self.policy.read(torch.cat([batch.prompts, batch.actions], 1))[:, width - 1 :, 0]

    def judge(self, batch: Rollouts, steps: Steps) -> Judged:
        """The reward of a step is the log of its chance where steps were taught, else what it adds to the value."""
        logits = self.logits(batch)
        values = logits.gather(1, steps.ends + 1) * steps.present
        before = torch.cat([logits[:, :1], values[:, :-1]], 1)
        each = F.logsigmoid(values) if self.labels else values - before
        outcome = logits.gather(1, batch.mask.sum(1)[:, None]).squeeze(1)
        return Judged(each * steps.present, values, outcome)


Model = Implicit | Headed


@dataclass(frozen=True)
class StepLabels:
    """Whether steps of some responses can still come out right, (M, S), and which steps have a label."""

    responses: Rollouts
    steps: Steps
    right: torch.Tensor


def rows(rollouts: Rollouts, part: torch.Tensor) -> Rollouts:
    """Some responses, without rewards."""
    fields = rollouts.rows(slice(0, 0)) | {
        name: getattr(rollouts, name)[part]
        for name in ("ids", "prompts", "actions", "mask", "correct", "old", "old_entropy")
    }
    return Rollouts(**fields)


def fitted(
    arm: str, start: TransformerPolicy, data: Rollouts, labelled: StepLabels | None, *, passes: int, rate: float,
    beta: float, seed: int,
) -> Iterator[Model]:  # fmt: skip
    """A reward model after `passes` passes over the responses, or as many of their pairs as make so many; one for each
    of `LABEL_PASSES` where step labels are learned, too.

    Adam with betas 0.9 and 0.95, gradient norm at most 1, the rate up in 3 % of the steps and down to 0 as a cosine.
    """
    generator = torch.Generator().manual_seed(seed)
    model: Model = Headed(start, labels=arm == "shepherd") if arm in ("orm", "shepherd") else Implicit(start, beta)
    if arm != "shepherd":
        items = torch.arange(len(data.ids))[:, None]
        if arm in ("dpo", "nca"):
            items = all_pairs(data.correct, data.ids)
        width = items.shape[1]
        items = _repeated(items, passes * len(data.ids) // width, generator)
        objective = OBJECTIVES["ce" if arm == "two_stage" else arm]
        weight = float((data.correct == 0).sum() / data.correct.sum().clamp(min=1))
        _descend(model, items, lambda one, part: objective(one, data, part, weight), ROWS // width, rate)
    if arm not in LABELLED:
        yield model.eval()
        return
    assert labelled is not None
    for count in LABEL_PASSES:
        taught, rows_of_labels = copy.deepcopy(model), torch.arange(len(labelled.responses.ids))[:, None]
        items = _repeated(rows_of_labels, count * len(rows_of_labels), generator)
        _descend(taught, items, lambda one, part: _step_loss(one, labelled, part), ROWS, rate)
        yield taught.eval()


def _repeated(items: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` items, all of them in a new order again and again."""
    orders = [torch.randperm(len(items), generator=generator) for _ in range(0, count, max(1, len(items)))]
    return items[torch.cat(orders)[:count]]


def _descend(
    model: Model, items: torch.Tensor, loss: Callable[[Model, torch.Tensor], torch.Tensor], batch: int, rate: float
) -> None:
    parts = items.split(batch)
    stepper = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.95))
    schedule = cosine(len(parts), warmup=min(len(parts) - 1, len(parts) * 3 // 100))(stepper)
    for part in parts:
        stepper.zero_grad()
        loss(model, part).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        stepper.step()
        schedule.step()


def _responses(model: Model, data: Rollouts, part: torch.Tensor) -> tuple[torch.Tensor, Rollouts]:
    batch = rows(data, part.T.flatten())
    if isinstance(model, Implicit):
        return model.rewards(batch).sum(1), batch
    return model.logits(batch).gather(1, batch.mask.sum(1)[:, None]).squeeze(1), batch


def _ce(model: Model, data: Rollouts, part: torch.Tensor, weight: float) -> torch.Tensor:  # noqa: ARG001 - one contract
    rewards, batch = _responses(model, data, part)
    return ce_loss(rewards, batch.correct)


def _dpo(model: Model, data: Rollouts, part: torch.Tensor, weight: float) -> torch.Tensor:  # noqa: ARG001 - one contract
    return dpo_loss(*_responses(model, data, part)[0].chunk(2))


def _nca(model: Model, data: Rollouts, part: torch.Tensor, weight: float) -> torch.Tensor:  # noqa: ARG001 - one contract
    return nca_loss(*_responses(model, data, part)[0].chunk(2))


def _kto(model: Model, data: Rollouts, part: torch.Tensor, weight: float) -> torch.Tensor:
    """Right responses weigh so much more that they weigh as wrong ones in all. Mismatched: those of the row above."""
    assert isinstance(model, Implicit)
    rewards, batch = _responses(model, data, part)
    others, seen = batch.actions.roll(1, 0), batch.mask.roll(1, 0)
    with torch.no_grad():
        logp, reference = (log_probs(one, batch.prompts, others) for one in (model.policy, model.reference))
        mismatched = token_rewards(logp, reference, seen, beta=model.beta).sum(1)
    return kto_loss(rewards, batch.correct, kl_baseline(mismatched), desirable=weight)


def _step_loss(model: Model, labelled: StepLabels, part: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of a head's values, the squared error of sig(r_k) as in the official second stage."""
    batch, part = rows(labelled.responses, part[:, 0]), part[:, 0]
    steps = Steps(labelled.steps.numbers[part], labelled.steps.ends[part], labelled.steps.present[part])
    right, there = labelled.right[part], steps.present
    judged = model.judge(batch, steps)
    if isinstance(model, Implicit):
        losses = (judged.steps.sigmoid() - right).square()
    else:
        losses = F.binary_cross_entropy_with_logits(judged.values, right, reduction="none")
    return (losses * there).sum() / there.sum()


OBJECTIVES = {"ce": _ce, "orm": _ce, "dpo": _dpo, "nca": _nca, "kto": _kto}
