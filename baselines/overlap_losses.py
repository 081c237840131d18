r"""Losses of overlap: soft Dice and Tversky, of each example or of the whole set.

With p the probability of the positive class and y its label (0 or 1), w = (1 - p)^alpha p (alpha >= 0 is the decay of
Li et al. 2020, 0 for none) and g the smoothing,

    Dice     1 - (2 w y + g) / (w + y + g),    squared: 1 - (2 w y + g) / (w^2 + y^2 + g)
    Tversky  1 - (w y + g) / (w y + a w (1 - y) + b (1 - w) y + g)

where level "set" sums numerator and denominator over the examples first and "example" does not. Which of these is
meant changes everything, so that none is a default. Tversky with a = b = 1/2 and g is Dice, not squared, with 2 g.

Logits are (N,) for a binary problem (p is their sigmoid, targets are 0 and 1) or (N, K) (p is their softmax, and each
class in turn is the positive one). Level "example" gives (N,), summed over classes; level "set" gives one value a
class, shape (K,), or () where binary: `reduction` "mean" is over examples or over classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

from baselines.losses import Reduction, check_targets, checked, finite, reduce, require, widened

Level = Literal["set", "example"]


def dice(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    level: Level,
    square: bool,
    smooth: float,
    alpha: float = 0.0,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The soft Dice loss (Milletari et al. 2016, squared; Li et al. 2020, per example and with decay alpha)."""
    w, y = _weights(logits, targets, alpha, smooth)
    power = 2 if square else 1
    return _loss(2 * w * y, w**power + y, level, smooth, reduction)  # y is 0 or 1, its own square


def tversky(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    a: float,
    b: float,
    level: Level,
    smooth: float,
    alpha: float = 0.0,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The Tversky loss: a >= 0 weighs false positives, b >= 0 false negatives (Salehi et al. 2017)."""
    require(a >= 0 and b >= 0 and a + b > 0, "a and b must be at least 0 and not both 0", (a, b))
    w, y = _weights(logits, targets, alpha, smooth)
    return _loss(w * y, w * y + a * w * (1 - y) + b * (1 - w) * y, level, smooth, reduction)


def _loss(overlap: torch.Tensor, size: torch.Tensor, level: Level, smooth: float, reduction: Reduction) -> torch.Tensor:
    """1 - (overlap + smooth) / (size + smooth), both (N,) or (N, K)."""
    if level == "set":
        overlap, size = overlap.sum(0), size.sum(0)
    else:
        require(level == "example", "level must be 'set' or 'example'", repr(level))
    # Nothing over nothing, without smoothing, has the limit of p -> 0: no overlap.
    losses = 1 - (overlap + smooth) / torch.where(size + smooth > 0, size + smooth, 1)
    return reduce(losses.sum(1) if level == "example" and losses.dim() == 2 else losses, reduction)


def _weights(
    logits: torch.Tensor, targets: torch.Tensor, alpha: float, smooth: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """w = (1 - p)^alpha p and y as floats, both of the shape of the logits."""
    require(alpha >= 0, "alpha must be at least 0", alpha)
    require(smooth >= 0, "smooth must be at least 0", smooth)
    if logits.dim() == 1:
        require(logits.is_floating_point(), "logits must be floats", logits.dtype)
        check_targets(targets, len(logits), 2)
        logits = widened(logits)
        log_p, log_complement, y = F.logsigmoid(logits), F.logsigmoid(-logits), targets.to(logits.dtype)
    else:
        log_p = F.log_softmax(checked(logits, targets), dim=1)
        log_complement = _log_complement(log_p) if alpha else log_p
        y = F.one_hot(targets, logits.shape[1]).to(log_p.dtype)
    return (log_p + alpha * log_complement).exp() if alpha else log_p.exp(), y


def _log_complement(log_p: torch.Tensor) -> torch.Tensor:
    """log(1 - p), (N, K): of the largest p from the others, for 1 - p would lose all its digits there."""
    top = F.one_hot(log_p.argmax(1), log_p.shape[1]).bool()
    others = finite(log_p.masked_fill(top, -torch.inf))  # where all are -inf, logsumexp has no gradient
    of_the_top = others.logsumexp(1, keepdim=True)
    return torch.where(top, of_the_top, torch.log1p(-log_p.masked_fill(top, -1.0).exp()))
