"""Reinforcement learning with verifiable rewards: one loop, into which a method's loss goes as a function.

    policy = RecurrentPolicy(len(CALCULATOR), end=CALCULATOR["$"], max_tokens=24)
    problems, values = calculator()
    teach(policy, problems, values, steps=600, seed=0)
    steps = train_policy(
        policy, problems, surrogate(partial(ppo, high=0.28)),
        steps=200, questions=32, samples=8, minibatches=4, seed=0,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-4),
    )
    print(steps[-1].accuracy, steps[-1].entropy, steps[-1].length)

A step samples `samples` responses to each of `questions` prompts, scores them, makes advantages of the rewards, and
takes gradient steps on minibatches of whole groups. What can be changed is a function each: the `objective` of an
update, the `reward` of a response, the `advantage` of its tokens, and `on_step`, which looks on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from baselines.reinforcement.policies import LanguagePolicy, Policy
from baselines.reinforcement.policy_gradient import (
    group_advantages,
    informative,
    masked_mean,
    token_entropy,
    token_log_probs,
)
from baselines.reinforcement.problems import CALCULATOR, Characters, Problems, redundant_response
from baselines.training import MakeOptimizer


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """B responses of at most T tokens, question by question, `group` of each; constants all."""

    ids: torch.Tensor  # number of the problem, int64 (B,)
    prompts: torch.Tensor  # (B, ...)
    actions: torch.Tensor  # int64 (B, T)
    mask: torch.Tensor  # bool (B, T)
    correct: torch.Tensor  # the verifiable outcome, 0 or 1, (B,)
    old: torch.Tensor  # log-probabilities under the policy that acted, (B, T)
    old_entropy: torch.Tensor  # its entropies in nats, at temperature 1 over the whole vocabulary, (B, T)
    group: int
    step: int = 0
    reference: torch.Tensor | None = None  # log-probabilities under the reference policy, (B, T)
    rewards: torch.Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))  # (B,)
    advantages: torch.Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))  # (B, T)

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each response, (B,)."""
        return self.mask.sum(1)

    def rows(self, part: slice | torch.Tensor) -> dict[str, Any]:
        """The fields of some responses."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(Rollouts)}
        return {name: one[part] if isinstance(one, torch.Tensor) else one for name, one in fields.items()}


@dataclass(frozen=True, kw_only=True)
class Update(Rollouts):
    """A minibatch of rollouts as the policy sees it now; gradients flow through `logp` and `logits`."""

    logp: torch.Tensor  # (B, T)
    logits: torch.Tensor  # (B, T, V)

    @property
    def entropy(self) -> torch.Tensor:
        """Entropies of the policy now, (B, T)."""
        return token_entropy(self.logits)


Objective = Callable[[Update], torch.Tensor]
"""What a minibatch is to minimise, a scalar."""
TokenLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(logp, old, advantages, mask) -> scalar, all (B, T): the contract of `baselines.reinforcement.policy_gradient`."""


def surrogate(loss: TokenLoss) -> Objective:
    """The objective of a loss that needs only log-probabilities and advantages."""
    return lambda update: loss(update.logp, update.old, update.advantages, update.mask)


def normalised(rollouts: Rollouts) -> torch.Tensor:
    """GRPO's advantages (B, 1)."""
    return group_advantages(rollouts.rewards, rollouts.group)


@dataclass(frozen=True)
class Step:
    """What one step met, before its update: means over its responses, and over the tokens of these."""

    accuracy: float
    reward: float
    entropy: float
    length: float


def train_policy(
    policy: Policy,
    problems: Problems,
    objective: Objective,
    *,
    steps: int,
    questions: int,
    samples: int,
    optimizer: MakeOptimizer,
    seed: int,
    minibatches: int = 1,
    epochs: int = 1,
    micro_batches: int = 1,
    clip_norm: float | None = 1.0,
    reference: Policy | None = None,
    reward: Callable[[Rollouts], torch.Tensor] | None = None,
    advantage: Callable[[Rollouts], torch.Tensor] = normalised,
    dynamic: bool = False,
    on_step: Callable[[Rollouts], None] | None = None,
) -> list[Step]:
    """Train `policy` in place. Prompts and samples depend on `seed` and on the policy alone.

    `reward` (B,) defaults to the verifiable outcome; `advantage` gives (B,), (B, 1) or (B, T). With `dynamic`, groups
    whose outcomes are all alike are drawn anew (DAPO). `old` is computed in the parts of the first epoch, so that in
    its first update logp == old to the last bit. With `micro_batches` the objective sees equal parts of a minibatch,
    one after the other, and their mean is what the step descends: less memory, and another loss where it is not a plain
    mean. `on_step` is shown the rollouts before their update: the policy is still the one that acted.

    Raises ValueError where questions do not fall into the minibatches, or the responses of these into the
    micro-batches, for rewards and advantages of other shapes, and at a loss that is not finite.
    """
    if min(questions, samples, minibatches, micro_batches, epochs) < 1 or questions % minibatches:
        raise ValueError(f"{questions} questions cannot be made {minibatches} minibatches of whole groups")
    if questions // minibatches * samples % micro_batches:
        raise ValueError(f"minibatches of {questions // minibatches * samples} do not fall into {micro_batches} parts")
    stepper = optimizer(policy.parameters())
    generator = torch.Generator(problems.prompts.device).manual_seed(seed)
    size = questions // minibatches * samples // micro_batches
    parts = [slice(start, start + size) for start in range(0, questions * samples, size)]
    history = []
    for number in range(steps):
        policy.train()
        rollouts = collect(
            policy, problems, questions, samples, generator, parts=parts, reference=reference, dynamic=dynamic
        )
        rollouts = dataclasses.replace(rollouts, step=number)
        rewards = rollouts.correct if reward is None else reward(rollouts)
        if rewards.shape != rollouts.correct.shape:
            raise ValueError(f"rewards must be (B,) = {tuple(rollouts.correct.shape)}, got {tuple(rewards.shape)}")
        rollouts = dataclasses.replace(rollouts, rewards=rewards)
        spread = _spread(advantage(rollouts), rollouts.old)
        rollouts = dataclasses.replace(rollouts, advantages=spread)
        if on_step:
            on_step(rollouts)
        history.append(summary(rollouts))
        for _ in range(epochs):
            for place, part in enumerate(parts):
                fields = rollouts.rows(part)
                logits = policy.logits(fields["prompts"], fields["actions"])
                logp = token_log_probs(logits, fields["actions"])
                loss = objective(Update(**fields, logp=logp, logits=logits))
                if not loss.isfinite():
                    raise ValueError(f"the loss of step {number} is {float(loss.detach())}")
                if place % micro_batches == 0:
                    stepper.zero_grad()
                (loss / micro_batches).backward()
                if (place + 1) % micro_batches:
                    continue
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(policy.parameters(), clip_norm)
                stepper.step()
    return history


def _spread(given: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Advantages (B,), (B, 1) or (B, T) as (B, T)."""
    if given.shape not in (like.shape[:1], (len(like), 1), like.shape):
        raise ValueError(f"advantages must be (B,), (B, 1) or (B, T) = {tuple(like.shape)}, got {tuple(given.shape)}")
    return (given[:, None] if given.ndim == 1 else given).expand_as(like)


@torch.no_grad()
def collect(
    policy: Policy,
    problems: Problems,
    questions: int,
    samples: int,
    generator: torch.Generator,
    *,
    parts: list[slice] | None = None,
    reference: Policy | None = None,
    dynamic: bool = False,
    temperature: float = 1.0,
    attempts: int = 10,
) -> Rollouts:
    """Responses to drawn prompts, with their outcome; no rewards and advantages yet.

    With `dynamic`, groups are drawn until `questions` of them have both outcomes, or `attempts` times: the last ones
    are then taken as they are. Log-probabilities are computed in `parts`.
    """
    kept: list[tuple[torch.Tensor, ...]] = []
    for attempt in range(attempts if dynamic else 1):
        missing = questions - sum(len(one[0]) // samples for one in kept)
        if not missing:
            break
        ids = problems.draw(questions, generator).repeat_interleave(samples)
        actions, mask = policy.sample(problems.prompts[ids], generator, temperature)
        correct = problems.verify(actions, mask, problems.answers[ids]).to(torch.float32)
        wanted = torch.ones(questions, dtype=torch.bool, device=ids.device)
        if dynamic and attempt < attempts - 1:
            wanted = informative(correct, samples)
        rows = wanted.nonzero().squeeze(1)[:missing, None] * samples + torch.arange(samples, device=ids.device)
        kept.append(tuple(one[rows.flatten()] for one in (ids, actions, mask, correct)))
    width = max(one[1].shape[1] for one in kept)
    ids, correct = (torch.cat([one[place] for one in kept]) for place in (0, 3))
    actions, mask = (
        torch.cat([F.pad(one[place], (0, width - one[place].shape[1])) for one in kept]) for place in (1, 2)
    )
    prompts = problems.prompts[ids]
    read = [_read(policy, prompts[part], actions[part]) for part in parts or [slice(None)]]
    referred = None
    if reference is not None:
        referred = torch.cat([_read(reference, prompts[part], actions[part])[0] for part in parts or [slice(None)]])
    return Rollouts(
        ids=ids, prompts=prompts, actions=actions, mask=mask, correct=correct, group=samples, reference=referred,
        old=torch.cat([one[0] for one in read]), old_entropy=torch.cat([one[1] for one in read]),
    )  # fmt: skip


def _read(policy: Policy, prompts: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = policy.logits(prompts, actions)
    return token_log_probs(logits, actions), token_entropy(logits)


def summary(rollouts: Rollouts) -> Step:
    """The means of a step."""
    rewards = rollouts.rewards if len(rollouts.rewards) else rollouts.correct
    return Step(
        accuracy=float(rollouts.correct.mean()),
        reward=float(rewards.mean()),
        entropy=float(masked_mean(rollouts.old_entropy, rollouts.mask)),
        length=float(rollouts.lengths.float().mean()),
    )


@torch.no_grad()
def mean_entropy(policy: Policy, contexts: Rollouts, *, rows: int = 256) -> float:
    """The policy's mean entropy before each token of given responses: on the same contexts for every policy."""
    parts = [slice(start, start + rows) for start in range(0, len(contexts.ids), rows)]
    read = [_read(policy, contexts.prompts[part], contexts.actions[part])[1] for part in parts]
    return float(masked_mean(torch.cat(read), contexts.mask))


def pass_at_k(correct: torch.Tensor, samples: int, k: int) -> torch.Tensor:
    """The unbiased estimate 1 - C(n - c, k) / C(n, k) for each question, float64 (questions,), of outcomes (B,)."""
    if not 1 <= k <= samples:
        raise ValueError(f"k must lie between 1 and {samples}, got {k}")
    if correct.ndim != 1 or len(correct) % samples:
        raise ValueError(f"outcomes (B,) must fall into groups of {samples}, got the shape {tuple(correct.shape)}")
    wrong = samples - correct.view(-1, samples).sum(1).double()
    chances = (wrong[:, None] - torch.arange(k, device=wrong.device)).clamp(min=0)
    return 1 - (chances / (samples - torch.arange(k, device=wrong.device))).prod(1)


def teach(
    policy: LanguagePolicy, problems: Problems, values: Sequence[str], *, steps: int, seed: int, batch: int = 128,
    rate: float = 3e-3, copies: int = 3,
) -> list[float]:  # fmt: skip
    """The supervised warm start of the calculator bench: `redundant_response` of 0 to `copies` copies."""
    responses = [[redundant_response(value, k) for value in values] for k in range(copies + 1)]
    return imitate(policy, problems, responses, CALCULATOR, steps=steps, seed=seed, batch=batch, rate=rate)


def imitate(
    policy: LanguagePolicy, problems: Problems, responses: Sequence[Sequence[str]], tokens: Characters, *, steps: int,
    seed: int, batch: int = 128, rate: float = 3e-3,
) -> list[float]:  # fmt: skip
    """Cross-entropy on written responses; `responses[k][i]` is one to problem i, and k is drawn for each example.

    Adam; the problems are drawn by weight. Returns the losses.
    """
    device = problems.prompts.device
    table = [tokens.encode(texts) for texts in responses]
    width = max(one.shape[1] for one in table)
    targets = torch.stack([F.pad(one, (0, width - one.shape[1])) for one in table]).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    stepper = torch.optim.Adam(policy.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        ids = problems.draw(batch, generator)
        wanted = targets[torch.randint(len(table), (batch,), generator=generator, device=device), ids]
        wanted = wanted[:, : int((wanted != 0).sum(1).max())]
        logits = policy.logits(problems.prompts[ids], wanted)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=tokens.PAD)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        losses.append(float(loss.detach()))
    return losses
