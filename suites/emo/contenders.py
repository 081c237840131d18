"""What is compared, and by what: losses of logits (N, V) and next tokens (N,), with nothing to tune but the rate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from suites.emo.method import emo_loss, transport_costs

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits, tokens, cost embedding of the checkpoint) -> the mean loss."""

MIXING, SMOOTHING = 0.5, 0.1
"""The ratio of MixCE and TaiLr that is the default of EMO's released code, and the usual label smoothing."""


def weighted_by(weight: Callable[[torch.Tensor], torch.Tensor]) -> Loss:
    """Cross-entropy of each token by a weight of the probability that the model gives it, without gradient."""

    def loss(logits: torch.Tensor, tokens: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        mle = F.cross_entropy(logits, tokens, reduction="none")
        return (weight((-mle.detach()).exp()) * mle).mean()

    return loss


def mix_ce(q: torch.Tensor) -> torch.Tensor:
    """r + (1 - r) Q_x: forward and, by the model's own samples replaced by the data's, reverse cross-entropy."""
    return MIXING + (1 - MIXING) * q


def tailr(q: torch.Tensor) -> torch.Tensor:
    """TaiLr's weight as EMO's released code has it: g + (1 - g) times Q_x / (1 - g + g Q_x), held in 0.2..1."""
    return MIXING + (1 - MIXING) * (q / (1 - MIXING + MIXING * q)).clamp(0.2, 1)


def orthogonal(logits: torch.Tensor, tokens: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """EMO with a cost of 1 between any two tokens, so that DEMD = 1 - Q_x: what is left without meaning."""
    mle = F.cross_entropy(logits, tokens, reduction="none")
    away = -torch.expm1(-mle)
    return (0.5 * (mle + (mle / (away + 1e-10)).detach() * away)).mean()


LOSSES: dict[str, Loss] = {
    "mle": lambda logits, tokens, _: F.cross_entropy(logits, tokens),
    "emo": lambda logits, tokens, embedding: emo_loss(logits, tokens, embedding=embedding),
    "emo2": lambda logits, tokens, embedding: emo_loss(logits, tokens, embedding=embedding, variant="emo2_fixed"),
    "orthogonal": orthogonal,
    "mixce": weighted_by(mix_ce),
    "tailr": weighted_by(tailr),
    "smoothing": lambda logits, tokens, _: F.cross_entropy(logits, tokens, label_smoothing=SMOOTHING),
}

SCORES = ("nll", "bound", "entropy", "top1")


def sums_of_scores(log_q: torch.Tensor, tokens: torch.Tensor, costs: torch.Tensor) -> torch.Tensor:
    """Over rows of log-probabilities (N, V), float64: nats of the next token, DEMD, entropy in nats, hits."""
    q = log_q.exp()
    bound, entropy = (q * transport_costs(costs, tokens)).sum(), -(q * log_q).nan_to_num(0.0).sum()
    nll, hits = F.nll_loss(log_q, tokens, reduction="sum"), (log_q.argmax(1) == tokens).sum()
    return torch.stack([nll, bound, entropy, hits]).double()
