r"""EMO (arXiv:2310.04691): next-token training by cross-entropy and a bound of the earth mover's distance.

Logits z (N, V), Q = softmax(z), x the next token of a row, e_i (H,) the direction (norm 1) of token i in a *cost
embedding*, by custom the rows of a language model's output layer. Moving probability from token i to token j costs

    C_ij = 1 - <e_i, e_j>  in [0, 2],   C_ii = 0.

The independent coupling of Q and P gives a bound of the earth mover's distance that has a gradient; for the one-hot P
of a training text it is the distance itself:

    DEMD = sum_ij Q_i P_j C_ij = 1 - <E^T Q, E^T P>;
    for one-hot P:  DEMD = sum_i Q_i C_ix,   d DEMD / dz_k = Q_k (C_kx - DEMD).

The losses that were released, with MLE = -log Q_x, sg what gets no gradient, T = DEMD + sg(Q_x), eps = 1e-10:

    emo            ( MLE + sg(MLE / (DEMD + eps)) DEMD ) / 2         costs of a fixed embedding; its value is MLE
    emo1_adaptive  ( MLE + sg(MLE / (T + eps)) T ) / 2               costs of the output layer as it is now
    emo1_clipped   ( MLE + sg(min(MLE / (T + eps), 3)) T ) / 2       fixed
    emo2_fixed     sg(T / (MLE + eps)) MLE + T                       fixed
    emo2_adaptive  sg(T / (MLE + eps)) MLE + T                       as it is now

    loss = EarthMoverLoss(model.lm_head.weight, "emo")
    loss(model(tokens).logits[:, :-1], tokens[:, 1:]).backward()

Only the rows of C that the targets name are ever made: N x V numbers as the logits have, never V x V, no one-hot. They
need no gradient, so that one matrix product serves forward and backward. Costs are at least 0 and DEMD is summed from
them, which keeps its digits for tokens that the model is sure of; as 1 - <.,.> it would be rounding there, and
MLE / DEMD noise.

Half precision is computed, and the loss returned, in float32. A token with logit -inf has probability 0; as a target it
makes `emo` and emo1 infinite (with the gradient of cross-entropy alone, which is finite) and leaves emo2 finite. Rows
that `ignore_index` names count for nothing; if there are no others "mean" is NaN, as PyTorch has it. A row of zeros in
the embedding has no direction: it is at cost 1 from all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from baselines.losses import Reduction, checked, finite, require, visible, widened

EPS = 1e-10


@dataclass(frozen=True)
class Variant:
    """Which of the released losses: all but `adaptive` are properties of the formula.

    shifted: T in place of DEMD. emphasis: which of both terms has weight 1, cross-entropy (all halved) or T. clip: the
    largest weight of the transport term. adaptive: whether costs follow the output layer.
    """

    shifted: bool = True
    emphasis: Literal["mle", "emo"] = "mle"
    clip: float = math.inf
    adaptive: bool = False


VARIANTS: dict[str, Variant] = {
    "emo": Variant(shifted=False),
    "emo1_adaptive": Variant(adaptive=True),
    "emo1_clipped": Variant(clip=3.0),
    "emo2_fixed": Variant(emphasis="emo"),
    "emo2_adaptive": Variant(emphasis="emo", adaptive=True),
}


def emo_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    embedding: torch.Tensor,
    variant: str = "emo",
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The loss of logits (..., V), V >= 2, targets int64 (...) and a cost embedding (V, H): a scalar, or (...).

    The embedding is taken as it is at this call, and gets no gradient: pass the output layer's weight itself for the
    adaptive variants, a copy of an earlier state for the fixed ones (`EarthMoverLoss` does). Raises ValueError for
    wrong shapes and dtypes, unknown variants, on the CPU for targets out of range and embeddings that are not finite.
    """
    chosen = released(variant)
    flat, kept, tokens = _rows(logits, targets, ignore_index)
    log_q = F.log_softmax(flat, dim=1)
    q = log_q.exp()
    mle = -log_q.gather(1, tokens[:, None]).squeeze(1)
    demd = (q * _costs_of(flat, tokens, embedding)).sum(1)
    transport = demd + q.detach().gather(1, tokens[:, None]).squeeze(1) if chosen.shifted else demd
    if chosen.emphasis == "mle":
        weight = (mle / (transport + EPS)).detach().clamp_max(chosen.clip)
        values = 0.5 * (mle + torch.where(mle == math.inf, 0, weight) * transport)
    else:
        mle = _surprise(flat, tokens)
        values = (transport / (mle + EPS)).detach() * mle + transport
    values = torch.where(kept, values, 0)
    if reduction == "mean":
        return values.sum() / kept.sum()
    if reduction == "sum":
        return values.sum()
    require(reduction == "none", "reduction must be 'mean', 'sum' or 'none'", repr(reduction))
    return values.view(targets.shape)


class EarthMoverLoss:
    """A released variant with the output layer that it takes costs from: called with logits (..., V) and targets (...).

    weight (V, H): the output layer's, or that of a larger model with the same tokens. Fixed variants copy it now,
    adaptive ones read it at every call.
    """

    def __init__(self, weight: torch.Tensor, variant: str = "emo", *, ignore_index: int = -100) -> None:
        self.variant, self.ignore_index = variant, ignore_index
        self.embedding = weight if released(variant).adaptive else weight.detach().clone()

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return emo_loss(logits, targets, embedding=self.embedding, variant=self.variant, ignore_index=self.ignore_index)


def earth_mover_bound(logits: torch.Tensor, targets: torch.Tensor, *, embedding: torch.Tensor) -> torch.Tensor:
    """DEMD of softmax(logits) (N, V) and the one-hot of targets (N,): (N,), equal to the earth mover's distance."""
    logits = checked(logits, targets)
    return (F.softmax(logits, dim=1) * _costs_of(logits, targets, embedding)).sum(1)


def transport_bound(q: torch.Tensor, p: torch.Tensor, *, embedding: torch.Tensor) -> torch.Tensor:
    """1 - <E^T q, E^T p> of distributions (N, V) each: (N,). It bounds their earth mover's distance from above."""
    require(q.shape == p.shape and q.dim() == 2, "q and p must be distributions (N, V)", (q.shape, p.shape))
    require(len(embedding) == q.shape[1], "embedding must have one row a token", tuple(embedding.shape))
    e = directions(embedding).to(q)
    return 1 - ((q @ e) * (p @ e)).sum(1)


def transport_costs(embedding: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Row x of C for each of the tokens int64 (N,): (N, V), in [0, 2], exactly 0 at the token itself. No gradient."""
    e = directions(embedding)
    with torch.autocast(e.device.type, enabled=False):
        costs = (e[tokens] @ e.T).neg_().add_(1).clamp_(0, 2)
    return costs.scatter_(1, tokens[:, None], 0)


def directions(embedding: torch.Tensor) -> torch.Tensor:
    """Rows (V, H) at norm 1, in float32 at least, without gradient; a row of zeros stays."""
    require(embedding.dim() == 2 and embedding.is_floating_point(), "embedding must be floats (V, H)", embedding.shape)
    e = widened(embedding.detach())
    require(not visible(e) or bool(e.isfinite().all()), "embedding must be finite", "inf or NaN")
    return F.normalize(e, dim=1)


def released(variant: str) -> Variant:
    """The variant of a name. Raises ValueError for one that is not released."""
    require(variant in VARIANTS, f"variant must be one of {', '.join(VARIANTS)}", repr(variant))
    return VARIANTS[variant]


def _surprise(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """-log Q_x as log(1 + sum_{k != x} exp(z_k - z_x)), (N,): of a sure token value and gradient have all their digits.

    By a log-softmax both are rounding there, and emo2 divides by the value. An impossible token has a huge number.
    """
    z = finite(logits)
    others = z.scatter(1, tokens[:, None], torch.finfo(z.dtype).min).logsumexp(1)
    return F.softplus(others - z.gather(1, tokens[:, None]).squeeze(1), threshold=50)


def _costs_of(logits: torch.Tensor, tokens: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """Costs (N, V) on the device of the logits (N, V) and in their dtype."""
    require(len(embedding) == logits.shape[1], "embedding must have one row a token", tuple(embedding.shape))
    return transport_costs(embedding.to(logits.device), tokens).to(logits.dtype)


def _rows(
    logits: torch.Tensor, targets: torch.Tensor, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (N, V) in float32 at least, which rows count, and targets in range for all rows."""
    require(
        logits.dim() >= 2 and targets.shape == logits.shape[:-1], "targets must have the shape of logits without V",
        (tuple(logits.shape), tuple(targets.shape)),
    )  # fmt: skip
    flat, wanted = logits.flatten(0, -2), targets.flatten()
    kept = wanted != ignore_index
    tokens = torch.where(kept, wanted, 0)
    return checked(flat, tokens), kept, tokens
