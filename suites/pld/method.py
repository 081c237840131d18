r"""Plackett-Luce distillation, PLD (arXiv:2506.12542): one convex list-wise loss for labels and a teacher's logits.

Student logits s (N, K), teacher logits t (N, K), targets y (N,), q = softmax(t / tau). The ranking pi of an example is
the target first, then the other classes from the teacher's largest logit to its smallest. Classes are picked one after
another without replacement, each with probability proportional to exp(s) (Plackett-Luce), and pick k weighs

    L(s) = sum_k alpha_k (phi_k - s_{pi_k}),   phi_k = log sum_{l >= k} exp(s_{pi_l}),   alpha_k = q_{pi_k}.

    dL/ds_i = exp(s_i) sum_{k : i among pi_k..pi_K} alpha_k / exp(phi_k) - alpha_{k(i)},   pi_{k(i)} = i.

alpha = (1, 0, ..., 0) is cross-entropy, alpha = 1/K is ListMLE over K, and a fixed decreasing alpha is position-aware
ListMLE. The weight of the label is the teacher's probability of it: where the teacher errs, the label counts little.

    loss = plackett_luce_distillation(student(x), y, teacher_logits=teacher(x), temperature=1.0)

The sort is most of the cost on a CPU. Of a fixed teacher it is needed once: `ranking=teacher_ranking(t, y)`.

Half precision is computed, and the loss returned, in float32. A class that the student excludes (logit -inf) makes the
loss inf where it has weight and a class after it in the ranking can be; classes excluded by the teacher come last and
have no weight. Teachers get no gradient. Without examples "mean" is NaN, as PyTorch has it.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from baselines.losses import Reduction, check_targets, checked, expectation, finite, reduce, require, visible, widened


def plackett_luce_distillation(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    teacher_logits: torch.Tensor,
    temperature: float = 1.0,
    ranking: torch.Tensor | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """L of logits (N, K), K >= 2, targets int64 (N,) and teacher_logits (N, K): a scalar, or (N,) for "none".

    `temperature` is that of the teacher's weights: 1 in the paper's method and ImageNet runs, 4 on CIFAR-100. Student
    logits are never softened. `ranking` is `teacher_ranking(teacher_logits, targets)`, where it is known already.
    Raises ValueError for wrong shapes, dtypes or temperatures, targets out of range, rankings not led by the target.
    """
    logits = checked(logits, targets)
    require(teacher_logits.shape == logits.shape, "teacher_logits must have the shape of logits", teacher_logits.shape)
    if ranking is None:
        ranking = teacher_ranking(teacher_logits, targets)
    elif ranking.shape == logits.shape and visible(targets):
        require(bool((ranking[:, 0] == targets).all()), "ranking must begin with the target", "another class")
    return list_wise(logits, ranking, confidence(teacher_logits, ranking, temperature=temperature), reduction=reduction)


def teacher_ranking(teacher_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """pi, int64 (N, K): the target, then the other classes by falling teacher logit, of equal ones the first first."""
    check_targets(targets, *teacher_logits.shape)
    return teacher_logits.scatter(1, targets[:, None], math.inf).argsort(dim=1, descending=True, stable=True)


def confidence(teacher_logits: torch.Tensor, ranking: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """alpha (N, K): the teacher's softmax at a temperature, in the order of the ranking; sums to 1 over a row."""
    require(0 < temperature < math.inf, "temperature must be positive and finite", temperature)
    return F.softmax(widened(teacher_logits.detach()) / temperature, dim=1).gather(1, ranking)


def uniform_weights(classes: int) -> torch.Tensor:
    """alpha_k = 1/K, (K,), float64: ListMLE over K."""
    return torch.full((classes,), 1 / classes, dtype=torch.float64)


def position_weights(classes: int) -> torch.Tensor:
    """alpha_k proportional to 2^(K-k) - 1, (K,), float64, of sum 1: position-aware ListMLE."""
    raw = 2.0 ** -torch.arange(1, classes + 1, dtype=torch.float64) - 2.0**-classes
    return raw / raw.sum()


def list_wise(
    logits: torch.Tensor, ranking: torch.Tensor, weights: torch.Tensor, *, reduction: Reduction = "mean"
) -> torch.Tensor:
    """sum_k weights_k (phi_k - s_{pi_k}) for a ranking int64 (N, K) and weights (N, K) or (K,), any that are >= 0.

    With weights of 1 it is minus the Plackett-Luce log-probability of the ranking.
    """
    require(ranking.shape == logits.shape, "ranking must have the shape of logits", tuple(ranking.shape))
    backwards = widened(logits).gather(1, ranking.flip(1))  # the last pick first, so that suffixes are prefixes
    suffix = prefix_logsumexp(finite(backwards))
    # What is excluded has a huge negative logit here: its pick is impossible only while something else is left.
    impossible = (backwards == -math.inf) & (suffix > torch.finfo(suffix.dtype).min / (8 * suffix.shape[1]))
    picks = torch.where(impossible, math.inf, suffix - finite(backwards))
    return reduce(expectation(weights.to(picks).flip(-1), picks), reduction)


def prefix_logsumexp(values: torch.Tensor) -> torch.Tensor:
    """log sum_{l <= k} exp(v_l) along the last dimension, for finite values of any size.

    That is logcumsumexp. Where no term of a row can be lost beside its largest, a sum of exponentials has as many
    digits and costs a tenth on a CPU; elsewhere a look at the values would stall the device.
    """
    if values.numel() and visible(values):
        top = values.detach().amax(-1, keepdim=True)
        if bool((top - values.detach().amin(-1, keepdim=True)).max() < math.log(torch.finfo(values.dtype).max) - 20):
            return (values - top).exp().cumsum(-1).log() + top
    return torch.logcumsumexp(values, dim=-1)
