r"""Dice loss for imbalanced classification (Li et al., ACL 2020, arXiv:1911.02855), in every form the paper uses.

For one class taken as positive, p_i is the probability of example i, y_i its label (0 or 1), g >= 0 the smoothing,
alpha >= 0 the decay of the self-adjusting form (0 for none), and

    w_i = (1 - p_i)^alpha p_i
    Dice      1 - (2 w y + g) / (w + y + g),          squared   1 - (2 w y + g) / (w^2 + y^2 + g)
    Tversky   1 - (w y + g) / (w y + a w (1 - y) + b (1 - w) y + g)

`level="example"` takes this of each example and averages; `level="set"` sums numerator and denominator over the
examples first (soft F1 of the whole set). With K > 1 classes each is positive in turn, and the K losses are summed.

Which form is meant changes everything, so that none is a default. The paper's headline, the self-adjusting DSC, is
(level="example", square=False, alpha > 0); what its scripts run is (square=True, alpha=0.01, smooth=1), set-level for
one logit and per example for K logits; V-Net's is (square=True, alpha=0).

    logits, targets = network(tokens), labels          # (N, K) and int64 (N,), or (N,) and 0/1 for one logit
    loss = dice(logits, targets, level="set", square=True, alpha=0.01, smooth=1.0)

Everything starts from log p and log(1 - p), so that logits of any size have finite losses and gradients: in float32 the
formula itself gives w = 0 and an infinite derivative as soon as p rounds to 1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

Level = Literal["set", "example"]
Reduction = Literal["mean", "none"]


def dice(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    level: Level,
    square: bool,
    alpha: float,
    smooth: float,
    mask: torch.Tensor | None = None,
    ohem_ratio: float | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The (self-adjusting) Dice loss.

    Args:
        logits: float32 or float64, (..., K) for K > 1 classes, or one logit each: (..., 1) or the shape of targets.
        targets: int64 (...), in 0..K-1, or 0 and 1 where there is one logit.
        mask: bool, shape of targets; False leaves an example out of everything, the averages too.
        ohem_ratio: keep, of the negatives of each class, only the int(ratio * positives) of highest p, and at most all.
        reduction: "mean", a scalar. "none": of n examples under the mask, (n,) for level "example", summed over the
            classes, with 0 for terms that OHEM leaves out; for level "set" () where there is one logit, else (K,).

    Raises ValueError for wrong shapes, dtypes, targets or parameters. Without smoothing, a class of which there is
    neither a prediction nor a label has the loss 0 / 0.
    """
    w, y, kept = _prepared(logits, targets, alpha, smooth, mask, ohem_ratio)
    size = (w.square() if square else w) + y  # y is 0 or 1, its own square
    return _reduced(w * y, size, kept, level, smooth, reduction, times=2)


def tversky(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    a: float,
    b: float,
    level: Level,
    alpha: float,
    smooth: float,
    mask: torch.Tensor | None = None,
    ohem_ratio: float | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The Tversky loss: a >= 0 weighs false positives, b >= 0 false negatives; the rest is as in `dice`.

    With a = b = 1/2 and smoothing g it is the Dice loss, not squared, with smoothing 2 g.
    """
    _require(a >= 0 and b >= 0 and a + b > 0, "a and b must be at least 0 and not both 0", (a, b))
    w, y, kept = _prepared(logits, targets, alpha, smooth, mask, ohem_ratio)
    overlap = w * y
    size = overlap + a * (w - overlap) + b * (y - overlap)
    return _reduced(overlap, size, kept, level, smooth, reduction, times=1)


def turning_point(alpha: float) -> float:
    """p* = 1 / (1 + alpha), where w is largest: beyond it the self-adjusting loss of a positive rises again."""
    _require(alpha >= 0, "alpha must be at least 0", alpha)
    return 1 / (1 + alpha)


def official(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    square: bool,
    alpha: float,
    smooth: float,
    mask: torch.Tensor | None = None,
    ohem_ratio: float = 0.0,
) -> torch.Tensor:
    """What the official `DiceLoss` returns, to compare with its runs; not a loss that the paper describes.

    One logit: set-level. K logits, squared: per example, and a masked example counts in the average with a loss of 0. K
    logits, not squared: each example's own numerator over the denominator of the whole set, near K - 1 to K. OHEM, here
    for one logit only, keeps the negatives above its threshold, see `official_negatives`.
    """
    flat, gold = _flat(logits, targets, None)
    shown = None if mask is None else _mask(mask, targets).flatten()
    w, y = _decayed(flat, alpha), _labels(flat, gold)
    if flat.dim() == 1 and ohem_ratio > 0:
        shown = torch.ones_like(gold, dtype=torch.bool) if shown is None else shown
        count = min(int((gold[shown] == 1).sum() * ohem_ratio), int((gold == 0).sum()))
        # The original thresholds p after the mask has set it to 0.
        shown = shown & ((gold == 1) | official_negatives(flat.sigmoid() * shown, gold == 0, count))
    elif ohem_ratio:
        raise ValueError(f"the official OHEM is here for one logit only, got ohem_ratio {ohem_ratio}")
    if shown is not None:
        shown = shown.view(-1, *[1] * (flat.dim() - 1))
        w, y = w * shown, y * shown
    overlap, size = 2 * w * y, (w.square() if square else w) + y
    if flat.dim() == 1:
        return 1 - (overlap.sum() + smooth) / (size.sum() + smooth)
    return (1 - (overlap + smooth) / ((size if square else size.sum(0)) + smooth)).sum(1).mean()


def hardest_negatives(scores: torch.Tensor, negative: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Which negatives OHEM keeps: the `count` of highest score in each column. Ties fall to the first.

    scores: (N, K); negative: bool (N, K); count: int64 (K,). Returns bool (N, K).
    """
    order = scores.masked_fill(~negative, -torch.inf).argsort(dim=0, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        0, order, torch.arange(len(order), device=order.device)[:, None].expand_as(order)
    )
    return negative & (rank < count)


def official_negatives(scores: torch.Tensor, negative: torch.Tensor, count: int) -> torch.Tensor:
    """Which negatives the official code keeps, for one logit: those above the entry [-count + 1] of the sorted scores.

    That is count - 2 of them, and for a count of 1 or 0 all but the lowest one or two. All arguments (N,) as above.
    """
    ordered = scores[negative].sort().values
    _require(len(ordered) > (count == 0), "there are too few negatives for the threshold", len(ordered))
    return negative & (scores > ordered[-count + 1])


def _prepared(
    logits: torch.Tensor,
    targets: torch.Tensor,
    alpha: float,
    smooth: float,
    mask: torch.Tensor | None,
    ohem_ratio: float | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """w, y and which terms OHEM keeps (None: all), each (N,) or (N, K)."""
    _require(smooth >= 0, "smooth must be at least 0", smooth)
    flat, gold = _flat(logits, targets, mask)
    w, y = _decayed(flat, alpha), _labels(flat, gold)
    if ohem_ratio is None:
        return w, y, None
    _require(ohem_ratio >= 0, "ohem_ratio must be at least 0", ohem_ratio)
    columns, positive = flat.view(len(gold), -1), y.view(len(gold), -1).bool()
    with torch.no_grad():  # which terms are kept is no path for gradients, only the order of p; a sigmoid would tie
        scores = columns.log_softmax(1) if flat.dim() == 2 else columns
    positives = positive.sum(0)
    count = (positives * ohem_ratio).long()  # more than there are keeps all: positives come last in the order
    return w, y, (positive | hardest_negatives(scores, ~positive, count)).view_as(w)


def _reduced(
    overlap: torch.Tensor,
    size: torch.Tensor,
    kept: torch.Tensor | None,
    level: Level,
    smooth: float,
    reduction: Reduction,
    times: int,
) -> torch.Tensor:
    """1 - (times * overlap + smooth) / (size + smooth), of each example or of the sums."""
    _require(level in ("set", "example"), "level must be 'set' or 'example'", repr(level))
    _require(reduction in ("mean", "none"), "reduction must be 'mean' or 'none'", repr(reduction))
    if level == "set":
        if kept is not None:
            overlap, size = overlap * kept, size * kept
        losses = 1 - (times * overlap.sum(0) + smooth) / (size.sum(0) + smooth)
        return losses.sum() if reduction == "mean" else losses
    losses = 1 - (times * overlap + smooth) / (size + smooth)
    if kept is not None:
        losses = losses * kept
    if reduction == "none":
        return losses.view(len(losses), -1).sum(1)
    return (losses.mean(0) if kept is None else losses.sum(0) / kept.sum(0)).sum()


def _decayed(flat: torch.Tensor, alpha: float) -> torch.Tensor:
    """w = (1 - p)^alpha p of flat logits (N,) or (N, K), in their shape."""
    _require(alpha >= 0, "alpha must be at least 0", alpha)
    if flat.dim() == 1:
        log_p = F.logsigmoid(flat)
        return (log_p + alpha * F.logsigmoid(-flat) if alpha else log_p).exp()
    if not alpha:
        return flat.softmax(1)
    if flat.shape[1] == 2:
        log_p = flat.log_softmax(1)
        return (log_p + alpha * log_p.flip(1)).exp()
    # Of the largest p, 1 - p has no digits left where it is near 1: there it is the sum of the others.
    top = flat.argmax(1, keepdim=True)
    shifted = flat - flat.gather(1, top)
    # The least float, as the gradient of logsumexp is NaN where all that it sums is -inf.
    others = shifted.scatter(1, top, torch.finfo(flat.dtype).min).logsumexp(1, keepdim=True)
    log_total = F.softplus(others)  # of the whole denominator, less the largest logit
    p = (shifted - log_total).exp()
    return p * (alpha * torch.log1p(-p.scatter(1, top, 0.0)).scatter(1, top, others - log_total)).exp()


def _labels(flat: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """y, in the shape and dtype of the flat logits."""
    if flat.dim() == 1:
        return gold.to(flat.dtype)
    return torch.zeros_like(flat).scatter(1, gold[:, None], 1.0)


def _flat(logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N,) or (N, K) and targets (N,) of the examples under the mask."""
    _require(logits.is_floating_point(), "logits must be floats", logits.dtype)
    _require(targets.dtype == torch.int64, "targets must be int64", targets.dtype)
    shapes = tuple(logits.shape), tuple(targets.shape)
    single = logits.shape == targets.shape or logits.shape == (*targets.shape, 1)
    _require(single or logits.shape[:-1] == targets.shape, "logits must be (..., K) for targets (...)", shapes)
    _require(targets.numel() > 0, "there must be at least one example", shapes)
    gold = targets.flatten()
    flat = logits.flatten() if single else logits.flatten(0, -2)
    if mask is not None:
        shown = _mask(mask, targets).flatten()
        flat, gold = flat[shown], gold[shown]
        _require(len(gold) > 0, "the mask must show at least one example", "none")
    if gold.device.type == "cpu":  # on CUDA the look would stall the device
        most = (2 if single else flat.shape[1]) - 1
        low, high = (int(end) for end in torch.aminmax(gold))
        _require(low >= 0 and high <= most, "targets must lie in 0..K-1, or be 0 and 1", (low, high))
    return flat, gold


def _mask(mask: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    fits = mask.dtype == torch.bool and mask.shape == targets.shape
    _require(fits, "mask must be bool, in the shape of targets", (mask.dtype, tuple(mask.shape)))
    return mask


def _require(holds: bool, demand: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{demand}, got {value}")
