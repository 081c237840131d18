r"""Implicit process rewards (arXiv:2412.01981): an outcome reward that is a log-likelihood ratio rewards every step.

For responses (B, T) with log-probabilities log pi and log pi_ref of their tokens, 0 outside the mask:

    d_t = log pi(y_t | y_<t) - log pi_ref(y_t | y_<t)
    q_t = beta sum_{i <= t} d_i = beta log E_ref[exp(r / beta) | y_<=t]        the value of a prefix, q_0 = 0
    r   = q_T                                                                  the reward of the response
    r_k = q at the end of step k less q at its beginning                       the reward of a step

pi is trained on outcomes alone, l in {0, 1} per response, by any of

    CE     -l log sig(r) - (1 - l) log(1 - sig(r))        DPO    -log sig(r+ - r-)
    KTO    1 - sig(r - z) if l else 1 - sig(z - r)        NCA    -log sig(r+) - (log sig(-r+) + log sig(-r-)) / 2

with z the KL of pi from pi_ref times beta, estimated on mismatched responses, no part of the gradient.

    rewards = token_rewards(logp, reference, mask)
    loss = ce_loss(rewards.sum(1), labels)
    steps, present = step_rewards(rewards, split_steps(actions, mask, {newline}))
    scores = response_scores(steps, present)                                   min over steps: the larger, the better

All is computed in float32 at least, from logits of a probability and never from the probability, which rounds to 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

import torch
from torch.nn import functional as F

from baselines.losses import require, visible, widened
from baselines.reinforcement.policy_gradient import log_ratio

# Rewards.


def token_rewards(
    logp: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, *, beta: float = 0.05
) -> torch.Tensor:
    """beta d, (B, T), of log-probabilities (B, T); 0 outside the mask. `reference` gets no gradient.

    Their sum over T is the reward of a response, their cumulative sum the value of its prefixes. Raises ValueError for
    other shapes, beta <= 0, NaN, and tokens that pi_ref cannot write: what has come from it has a log-probability.
    """
    require(0 < beta < math.inf, "beta must be positive and finite", beta)
    difference = log_ratio(logp, reference.detach(), mask)
    if visible(difference):
        wrong = (~(difference < math.inf)).nonzero()[:5].tolist()
        require(not wrong, "log-ratios are numbers below infinity", f"others at (response, token) {wrong}")
    return beta * difference


def split_steps(actions: torch.Tensor, mask: torch.Tensor, separators: Collection[int]) -> torch.Tensor:
    """The step of each token, int64 (B, T), -1 outside the mask: a separator is the last token of its step.

    What follows the last separator, the answer and the end among it, is a step of its own.
    """
    if actions.shape != mask.shape or actions.ndim != 2:
        raise ValueError(f"actions {tuple(actions.shape)} and mask {tuple(mask.shape)} must be of one shape (B, T)")
    inside = mask.bool()
    closes = torch.isin(actions, torch.tensor(sorted(separators), device=actions.device)) & inside
    return (closes.long().cumsum(1) - closes.long()).masked_fill(~inside, -1)


def step_rewards(
    rewards: torch.Tensor, steps: torch.Tensor, *, count: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """r_k and whether there is a step k, (B, S) both, of token rewards and step numbers (B, T), -1 for none.

    S is `count`, or the largest number of steps; of steps that are not there the reward is 0. Raises ValueError for
    shapes that differ, numbers below -1 and those of `count` and more.
    """
    if rewards.shape != steps.shape or rewards.ndim != 2:
        raise ValueError(f"rewards {tuple(rewards.shape)} and steps {tuple(steps.shape)} must be of one shape (B, T)")
    if steps.numel() and visible(steps):
        require(int(steps.min()) >= -1, "steps are numbered from 0, and -1 is none", int(steps.min()))
        require(count is None or int(steps.max()) < count, "steps are numbered below count", int(steps.max()))
    if count is None:
        count = int(steps.max()) + 1 if steps.numel() else 0
    values = widened(rewards)
    # Tokens of no step go to a last column, which is cut off.
    place = torch.where(steps >= 0, steps, count)
    summed = values.new_zeros(len(steps), count + 1).scatter_add(1, place, torch.where(steps >= 0, values, 0))
    present = torch.zeros_like(summed, dtype=torch.bool).scatter(1, place, True)
    return summed[:, :count], present[:, :count]


# Objectives.


def _labelled(rewards: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if rewards.ndim != 1 or rewards.shape != labels.shape:
        raise ValueError(f"rewards {tuple(rewards.shape)} and labels {tuple(labels.shape)} must be of one shape (B,)")
    _no_nan(rewards)
    if visible(labels):
        require(bool(((labels == 0) | (labels == 1)).all()), "labels are 0 or 1", labels.unique()[:5].tolist())
    return widened(rewards), labels == 1


def _paired(chosen: torch.Tensor, rejected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if chosen.ndim != 1 or chosen.shape != rejected.shape:
        raise ValueError(f"chosen {tuple(chosen.shape)} and rejected {tuple(rejected.shape)} must be of one shape (P,)")
    _no_nan(chosen)
    _no_nan(rejected)
    return widened(chosen), widened(rejected)


def _no_nan(rewards: torch.Tensor) -> None:
    if visible(rewards):
        wrong = rewards.isnan().nonzero().flatten()[:5].tolist()
        require(not wrong, "rewards must not be NaN", f"NaN for the responses {wrong}")


def ce_loss(rewards: torch.Tensor, labels: torch.Tensor, *, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy of sig(r), the mean over responses, or that weighted by weights (B,); 0 of no responses or weight.

    Raises ValueError for other shapes, NaN, labels other than 0 and 1 and weights that are negative.
    """
    values, right = _labelled(rewards, labels)
    # Of a reward of -inf, which a response without probability has, both are defined.
    losses = -F.logsigmoid(torch.where(right, values, -values))
    if weights is None:
        return losses.sum() / max(1, len(losses))
    require(weights.shape == losses.shape, "weights must be of shape (B,)", tuple(weights.shape))
    if visible(weights):
        require(bool((weights >= 0).all()), "weights must be at least 0", weights[~(weights >= 0)][:5].tolist())
    total = weights.sum().to(losses)
    return torch.where(weights > 0, weights * losses, 0).sum() / torch.where(total > 0, total, 1)


def dpo_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """The mean over pairs of rewards (P,), a right response and a wrong one to one question; 0 of no pairs."""
    plus, minus = _paired(chosen, rejected)
    return -F.logsigmoid(plus - minus).sum() / max(1, len(plus))


def nca_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """The mean over pairs of rewards (P,): unlike DPO's it moves when a constant is added to both."""
    plus, minus = _paired(chosen, rejected)
    losses = -F.logsigmoid(plus) - (F.logsigmoid(-plus) + F.logsigmoid(-minus)) / 2
    return losses.sum() / max(1, len(plus))


def kl_baseline(mismatched: torch.Tensor) -> torch.Tensor:
    """z of KTO, a scalar without gradient: the mean reward (M,) of responses put after questions of others, at least 0.

    0 where there are none.
    """
    _no_nan(mismatched)
    return (widened(mismatched.detach()).sum() / max(1, len(mismatched))).clamp(min=0)


def kto_loss(
    rewards: torch.Tensor,
    labels: torch.Tensor,
    baseline: torch.Tensor,
    *,
    desirable: float = 1.0,
    undesirable: float = 1.0,
) -> torch.Tensor:
    """The mean over responses; right ones weigh `desirable`, wrong ones `undesirable`; 0 of no responses.

    Raises as `ce_loss` does, and for weights that are negative.
    """
    require(min(desirable, undesirable) >= 0, "weights must be at least 0", (desirable, undesirable))
    values, right = _labelled(rewards, labels)
    margin = values - baseline.detach()
    losses = torch.where(right, desirable * (-margin).sigmoid(), undesirable * margin.sigmoid())
    return losses.sum() / max(1, len(losses))


# Data.


def balanced_weights(labels: torch.Tensor, questions: torch.Tensor | None = None) -> torch.Tensor:
    """Weights (B,) for `ce_loss` by which right and wrong responses weigh equally, a response 1 on average.

    With the question of each response, int64 (B,), they do so within every question; one that has been answered in one
    way only has weight 0, as nothing can be weighed against it. The same without questions, for all responses.
    """
    right = labels == 1
    where = (
        torch.zeros_like(labels, dtype=torch.int64) if questions is None else questions.unique(return_inverse=True)[1]
    )
    require(
        labels.ndim == 1 and where.shape == labels.shape, "labels and questions must be of one shape (B,)", "others"
    )
    groups = int(where.max()) + 1 if len(where) else 0
    counts = torch.zeros(groups, 2, device=labels.device).index_put_((where, right.long()), torch.ones(()), True)
    total = counts.sum(1)
    share = torch.where(counts.amin(1) > 0, total / 2, 0)[:, None] / counts.clamp(min=1)
    return share[where, right.long()]


def all_pairs(labels: torch.Tensor, questions: torch.Tensor) -> torch.Tensor:
    """Every right with every wrong response to one question: their numbers, int64 (P, 2), the right one first."""
    require(
        labels.ndim == 1 and questions.shape == labels.shape, "labels and questions must be of one shape (B,)", "others"
    )
    return ((labels == 1)[:, None] & (labels != 1) & (questions[:, None] == questions)).nonzero()


# Choosing among N responses.


def response_scores(
    steps: torch.Tensor, present: torch.Tensor, *, over: Literal["min", "sum"] = "min", accumulated: bool = False
) -> torch.Tensor:
    """A score of each response (B,), of step rewards (B, S) and which steps there are; 0 without any.

    accumulated: values of the prefixes that end with a step, in place of rewards of steps. The sum of rewards is that
    of the response.
    """
    require(steps.shape == present.shape and steps.ndim == 2, "steps and present must be of one shape (B, S)", "others")
    require(over in ("min", "sum"), "over must be 'min' or 'sum'", repr(over))
    values = widened(steps).cumsum(1) if accumulated else widened(steps)
    if over == "sum":
        return torch.where(present, values, 0).sum(1)
    if not steps.shape[1]:
        return values.sum(1)
    return torch.where(present.any(1), values.masked_fill(~present, math.inf).amin(1), 0)


def best_of_n(scores: torch.Tensor, correct: torch.Tensor, n: int) -> torch.Tensor:
    """How often the best-scored of n responses is right, float64 (Q,), of scores and outcomes (Q, N).

    The mean over all subsets of n of the N responses, and over the equals of the best: the response of rank i, from 0,
    leads C(N - 1 - i, n - 1) of the C(N, n) subsets. Raises ValueError for other shapes, n outside 1..N, and NaN.
    """
    if scores.ndim != 2 or scores.shape != correct.shape or not 1 <= n <= scores.shape[1]:
        raise ValueError(
            f"scores and correct (Q, N) and 1 <= n <= N: {tuple(scores.shape)}, {tuple(correct.shape)}, {n}"
        )
    if visible(scores):
        require(not bool(scores.isnan().any()), "scores must not be NaN", "NaN")
    count = scores.shape[1]
    leads = [math.comb(count - 1 - rank, n - 1) / math.comb(count, n) for rank in range(count)]
    ranked, order = scores.sort(dim=1, descending=True, stable=True)
    equal = (ranked[:, :, None] == ranked[:, None]).double()
    shared = (equal @ correct.double().gather(1, order)[:, :, None]).squeeze(2) / equal.sum(2)
    return shared @ torch.tensor(leads, dtype=torch.float64, device=scores.device)


def weighted_vote(scores: torch.Tensor, answers: torch.Tensor, *, coefficient: float = 0.001) -> torch.Tensor:
    """The response (Q,) with the answer that has the largest sum of sig(coefficient score), the first of equals.

    answers: int64 (Q, N), equal numbers for equal answers; -1 is none and has no vote. Coefficient 0 is a plain vote.
    The default is the official code's, which takes the sum of d for a score, whatever beta is.
    """
    require(
        scores.ndim == 2 and scores.shape == answers.shape, "scores and answers must be of one shape (Q, N)", "others"
    )
    if visible(scores):
        require(not bool(scores.isnan().any()), "scores must not be NaN", "NaN")
    # 0 times an infinite score is NaN.
    votes = (coefficient * widened(scores)).sigmoid() if coefficient else torch.full_like(widened(scores), 0.5)
    same = (answers[:, :, None] == answers[:, None]) & (answers >= 0)[:, None]
    return torch.where(same, votes[:, None], 0).double().sum(2).argmax(1)
