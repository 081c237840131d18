r"""Orthogonal projection loss, OPL (arXiv:2103.14021): features of a class together, classes at right angles.

Features f (B, D) of a mini-batch, those that the classifier reads; labels y (B,); u_i = f_i / ||f_i||; the cosine
G_ij = <u_i, u_j>. P are the ordered pairs i != j of one class, Q those of two classes.

    s = mean_P G_ij,   d = mean_Q G_ij,   OPL = (1 - s) + gamma |d|,   loss = cross-entropy + weight OPL

    loss = cross_entropy_with_projection(classifier(f), f, y, weight=1.0, gamma=0.5)

The paper and its code have three terms for the pairs of two classes; they agree where no feature is negative, as after
a ReLU, and pull elsewhere to different places:

    abs_of_mean   |d|            the paper's formula. 0 also where cosines of both signs cancel
    mean_of_abs   mean_Q |G_ij|  the code of its experiments. 0 only where all classes are orthogonal
    signed        d              the code that users are told to copy. Least at -1/(K-1): a simplex, not right angles

The first and the last need sums over classes only, S_c = sum of u_i over y_i = c:
sum_P G = sum_c ||S_c||^2 - sum_i ||u_i||^2 and sum_Q G = ||sum_c S_c||^2 - sum_c ||S_c||^2. That takes O(B D) time and
memory. The second needs all pairs, but never more than `ROWS` rows of G at once, also in the backward pass. Batches of
up to `ROWS` rows are done by G itself, which is the quickest there.

Without pairs s or d is 0, so that a batch without two of a class has 1 - s = 1. The code adds 1e-6 to the number of
pairs; here it is exact. Cosines are computed, and losses returned, in float32 at least, also under autocast. Features
shorter than 1e-12 have no direction: they count as cosine 0 and get no gradient. Features that are not finite give NaN.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional as F

from baselines.losses import checked, require, visible, widened

Variant = Literal["abs_of_mean", "mean_of_abs", "signed"]
ROWS = 128
"""Of G at once: fewer cost time in calls, more cost memory."""
SHORTEST = 1e-12


def cross_entropy_with_projection(
    logits: torch.Tensor,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    weight: float = 1.0,
    gamma: float = 0.5,
    variant: Variant = "abs_of_mean",
) -> torch.Tensor:
    """Cross-entropy of logits (B, K) plus weight >= 0 times OPL of features (B, D): a scalar.

    Weight and gamma are 1 and 0.5 for CIFAR-100 in the paper's code, 0.1 and 2 for ImageNet and noisy labels. Raises
    ValueError for wrong shapes, dtypes or parameters, and targets out of range.
    """
    logits = checked(logits, targets)
    require(0 <= weight < math.inf, "weight must be finite and at least 0", weight)
    projection = orthogonal_projection(features, targets, gamma=gamma, variant=variant)
    return F.cross_entropy(logits, targets) + weight * projection


def orthogonal_projection(
    features: torch.Tensor, labels: torch.Tensor, *, gamma: float = 0.5, variant: Variant = "abs_of_mean"
) -> torch.Tensor:
    """OPL of features (..., B, D) and labels int64 (..., B): one value a batch, shape (...).

    gamma >= 0 weighs the pairs of two classes. Raises ValueError for wrong shapes, dtypes or parameters, and labels
    below 0: leave rows out that have none.
    """
    require(0 <= gamma < math.inf, "gamma must be finite and at least 0", gamma)
    within, between = cosines(features, labels, absolute=variant == "mean_of_abs")
    if variant == "abs_of_mean":
        between = between.abs()
    else:
        require(variant in ("mean_of_abs", "signed"), "variant must be one of the three", repr(variant))
    return 1 - within + gamma * between


def cosines(
    features: torch.Tensor, labels: torch.Tensor, *, absolute: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """s and d of features (..., B, D) and labels (..., B), each of shape (...); `absolute` averages |G_ij| in d."""
    _check(features, labels)
    shape, rows = labels.shape[:-1], labels.shape[-1]
    flat = (math.prod(shape), rows)
    units, labels = directions(features).reshape(*flat, features.shape[-1]), labels.reshape(flat)
    with torch.autocast(features.device.type, enabled=False):
        of_classes, of_others, alike = (_by_pairs if rows <= ROWS else _by_sums)(units, labels, absolute)
    # Lengths are constants: their gradient in features is 0.
    within = (of_classes - units.detach().square().sum((1, 2))) / (alike - rows).clamp_min(1)
    return within.view(shape), (of_others / (rows * rows - alike).clamp_min(1)).view(shape)


Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Of units (N, B, D): cosines of rows of one class, each with itself included; of two; the number of the former."""


def _by_pairs(units: torch.Tensor, labels: torch.Tensor, absolute: bool) -> Sums:
    gram, same = units @ units.mT, labels[:, :, None] == labels[:, None, :]
    of_classes = (gram * same).sum((1, 2))
    of_others = gram.abs().masked_fill(same, 0).sum((1, 2)) if absolute else gram.sum((1, 2)) - of_classes
    return of_classes, of_others, same.sum((1, 2))


def _by_sums(units: torch.Tensor, labels: torch.Tensor, absolute: bool) -> Sums:
    group, counts = _groups(labels)
    # One place a row is enough for the sums of all classes, whatever the labels are.
    offset = labels.shape[1] * torch.arange(len(group), device=group.device)[:, None]
    sums = torch.zeros_like(units).flatten(0, 1).index_add(0, (group + offset).flatten(), units.flatten(0, 1))
    of_classes = sums.square().view(len(units), -1).sum(1)
    if absolute:
        of_others = (units * _Pulls.apply(units, units.detach(), labels)).sum((1, 2))
    else:
        of_others = units.sum(1).square().sum(1) - of_classes
    return of_classes, of_others, counts.square().sum(1)


def directions(features: torch.Tensor) -> torch.Tensor:
    """Rows of length 1, in float32 at least; 0 and without gradient for rows shorter than 1e-12."""
    features = widened(features)
    length = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return features / length.masked_fill(length <= SHORTEST, math.inf)


def _check(features: torch.Tensor, labels: torch.Tensor) -> None:
    if features.dim() < 2 or not features.shape[-1] or not features.is_floating_point():
        found = f"{features.dtype} {tuple(features.shape)}"
        raise ValueError(f"features must be floats of shape (..., B, D), D >= 1, got {found}")
    if labels.shape != features.shape[:-1] or labels.dtype != torch.int64:
        demand = f"labels must be int64 of shape {tuple(features.shape[:-1])}"
        raise ValueError(f"{demand}, got {labels.dtype} {tuple(labels.shape)}")
    if labels.numel() and visible(labels) and int(labels.min()) < 0:
        raise ValueError(f"labels must be at least 0, got {int(labels.min())}: leave out rows that have no label")


def _groups(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (N, B) as 0, 1, ... by size, and how many rows each of these has, (N, B), both int64."""
    ordered, order = labels.sort(dim=1)
    steps = F.pad((ordered[:, 1:] != ordered[:, :-1]).long(), (1, 0)).cumsum(1)
    group = torch.empty_like(labels).scatter_(1, order, steps)
    return group, torch.zeros_like(labels).scatter_add_(1, group, torch.ones_like(labels))


class _Pulls(torch.autograd.Function):
    """A v for v (N, B, D), where A_ij = sign G_ij for rows of two classes and 0 for others; sum_Q |G| = <u, A u>.

    A is symmetric and constant wherever no cosine is 0, so that the gradient in v is A times the incoming one. It is
    made anew from u, `ROWS` rows at a time, whenever it is needed.
    """

    @staticmethod
    def forward(ctx, values, units, labels):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(units, labels)
        parts = []
        for start in range(0, units.shape[1], ROWS):
            few = slice(start, start + ROWS)
            same = labels[:, few, None] == labels[:, None, :]
            parts.append((units[:, few] @ units.mT).sign_().masked_fill_(same, 0) @ values)
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        units, labels = ctx.saved_tensors
        return _Pulls.apply(slope, units, labels), None, None
