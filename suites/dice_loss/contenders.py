"""The losses that are compared, by the names of their arms, and the official code as a loop over classes.

Two-class problems on digits have one logit (N,); taggers and BERT's classifier have K logits (N, K).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from baselines import losses, overlap_losses
from suites.dice_loss import method

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def by_arm(arm: str, counts: torch.Tensor) -> Loss:
    """The loss of an arm. `counts` (K,) are those of the classes in the training data, 2 classes for one logit.

    Raises ValueError for an unknown arm.
    """
    named: dict[str, Loss] = {
        "ce": cross_entropy,
        "weighted_ce": partial(cross_entropy, weight=counts.sum() / (len(counts) * counts.clamp_min(1))),
        "focal": focal,
        "dice_set": dice_of_the_scripts,
        # Per example, V-Net's; per example, the paper's headline.
        "dice_example": partial(overlap_losses.dice, level="example", square=True, smooth=1.0),
        "dsc_example": partial(method.dice, level="example", square=False, alpha=0.01, smooth=1.0),
    }
    if arm not in named:
        raise ValueError(f"no arm '{arm}': one of {', '.join(named)}")
    return named[arm]


def with_bert(arm: str, gamma: float = 2.0) -> Loss:
    """What the scripts train BERT with; gamma is that of the focal loss."""
    return {"ce": cross_entropy, "focal": partial(focal, gamma=gamma), "dice": dice_of_the_scripts}[arm]


def dice_of_the_scripts(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The paper's scripts at one logit: summed over the batch."""
    return method.dice(logits, targets, level="set", square=True, alpha=0.01, smooth=1.0)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy; weights (K,) of the classes average as torch's do, by their sum over the batch."""
    return F.cross_entropy(_two(logits), targets, weight=weight if weight is None else weight.to(logits))


def focal(logits: torch.Tensor, targets: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """The focal loss."""
    return losses.focal(_two(logits), targets, gamma=gamma)


def _two(logits: torch.Tensor) -> torch.Tensor:
    """One logit z as the two (0, z), whose softmax it is."""
    return torch.stack([torch.zeros_like(logits), logits], 1) if logits.dim() == 1 else logits


def class_by_class(
    logits: torch.Tensor,
    gold: torch.Tensor,
    *,
    square: bool,
    alpha: float,
    smooth: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the official code computes, one class after the other and in probabilities: an oracle for `official`."""
    shown = torch.ones_like(gold, dtype=logits.dtype) if mask is None else mask.to(logits.dtype)
    if logits.dim() == 1:
        columns = [(logits.sigmoid() * shown, gold * shown)]
    else:
        p, y = logits.softmax(1) * shown[:, None], F.one_hot(gold, logits.shape[1]) * shown[:, None]
        columns = list(zip(p.unbind(1), y.unbind(1), strict=True))
    total = torch.zeros(())
    for p, y in columns:
        w = (1 - p) ** alpha * p
        overlap, size = w * y, w**2 + y**2 if square else w.sum() + y.sum()
        if logits.dim() == 1:
            overlap, size = overlap.sum(), size.sum()
        total = total + 1 - (2 * overlap + smooth) / (size + smooth)
    return total.mean()
