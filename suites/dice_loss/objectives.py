"""The losses that are compared, by the names of their arms: (logits, targets) -> scalar.

Two-class problems on digits have one logit (N,); taggers and BERT's classifier have K logits (N, K).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from baselines import losses
from baselines import overlap_losses as region
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
        # What the paper's scripts use, summed over the batch; per example, V-Net's; per example, the paper's headline.
        "dice_set": partial(method.dice, level="set", square=True, alpha=0.01, smooth=1.0),
        "dice_example": partial(region.dice, level="example", square=True, smooth=1.0),
        "dsc_example": partial(method.dice, level="example", square=False, alpha=0.01, smooth=1.0),
    }
    if arm not in named:
        raise ValueError(f"no arm '{arm}': one of {', '.join(named)}")
    return named[arm]


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy; weights (K,) of the classes average as torch's do, by their sum over the batch."""
    return F.cross_entropy(_two(logits), targets, weight=weight if weight is None else weight.to(logits))


def focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Focal loss of gamma 2."""
    return losses.focal(_two(logits), targets, gamma=2.0)


def _two(logits: torch.Tensor) -> torch.Tensor:
    """One logit z as the two (0, z), whose softmax it is."""
    return torch.stack([torch.zeros_like(logits), logits], 1) if logits.dim() == 1 else logits
