"""What is compared: label noise, folds, the losses with their fixed parameters, and the rates that all may choose."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from baselines import losses
from baselines.label_noise import with_label_noise
from suites.ldr_loss.method import ALDRKL, ldr_kl, normalised

RATES = (1e-1, 1e-2, 1e-3)

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(scores (n, K), targets (n,), ids (n,)) -> (n,)."""


def with_noise(labels: torch.Tensor, noise: str, partner: torch.Tensor, seed: int) -> torch.Tensor:
    """Labels after "clean", "uniform-R" or "class-R" noise, R the probability that a label is struck.

    A struck label becomes a uniform draw over all K classes, itself included, or its `partner` (K,). Raises ValueError
    for other noise.
    """
    if noise == "clean":
        return labels.clone()
    kind, _, rate = noise.partition("-")
    if kind not in ("uniform", "class"):
        raise ValueError(f"noise must be 'clean', 'uniform-R' or 'class-R', got {noise!r}")
    named = "uniform" if kind == "uniform" else "partner"
    return with_label_noise(labels, named, float(rate), classes=len(partner), seed=seed, partner=partner)


def fold(number: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(kept, held out) rows of fold `number` (mod 5) of five, in the order of the file."""
    folds = list(torch.arange(rows).tensor_split(5))
    held = folds.pop(number % 5)
    return torch.cat(folds), held


def plain(loss: Callable[..., torch.Tensor], **options: object) -> Loss:
    """A loss of the scores as they are, which does not look at ids."""
    return lambda scores, targets, ids: loss(scores, targets, reduction="none", **options)


def robust(lam: float) -> Loss:
    """LDR-KL as the authors train it: margin 0.1 on scores made positive and of sum K."""
    return lambda scores, targets, ids: ldr_kl(
        normalised(scores, softplus=True), targets, lam=lam, margin=0.1, reduction="none"
    )


class Adaptive(nn.Module):
    """ALDR-KL as the authors train it: lam0 10, alpha 2, margin 0.1 on normalised scores."""

    def __init__(self, examples: int, labels: Literal["paper", "official"], *, softplus: bool) -> None:
        super().__init__()
        self.softplus = softplus
        self.loss = ALDRKL(examples, lam0=10.0, alpha=2.0, margin=0.1, labels=labels)

    def forward(self, scores: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.loss(normalised(scores, softplus=self.softplus), targets, ids, reduction="none")


def truncated(steps: int) -> Loss:
    """GCE for the first half of the steps, then truncated at p_y <= k: from the start it would have no gradient."""
    met = itertools.count()

    def loss(scores: torch.Tensor, targets: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        whole = next(met) < steps // 2
        chosen = losses.gce if whole else partial(losses.truncated_gce, k=0.5)
        return chosen(scores, targets, q=0.7, reduction="none")

    return loss


def all_losses(examples: int, steps: int) -> dict[str, Loss]:
    """Every loss of the comparison, fresh: `examples` rows in the adaptive tables, `steps` of training.

    The authors train ALDR-KL as "aldr" on tables and as "aldr_softplus" on CIFAR-100.
    """
    return {
        "cross_entropy": plain(losses.cross_entropy),
        "label_smoothing": plain(losses.cross_entropy, label_smoothing=0.1),
        "temperature": plain(ldr_kl, lam=10.0),  # T CE(f / T) - T log K
        "crammer_singer": plain(losses.crammer_singer),
        "weston_watkins": plain(F.multi_margin_loss),  # its mean over K, as the authors take it
        "gce": plain(losses.gce, q=0.7),
        "truncated_gce": truncated(steps),
        "symmetric_ce": plain(losses.symmetric_ce, alpha=0.5, beta=0.5, A=-4.0),
        "mae": plain(losses.mae),
        "mse": plain(losses.mse),
        "rll": plain(losses.rll, alpha=0.01),
        "jensen_shannon": plain(losses.jensen_shannon, weights=(0.5, 0.5)),
        "nce_rce": plain(losses.nce_rce, alpha=5.0, beta=5.0, A=math.log(1e-4)),
        "nce_agce": plain(losses.nce_agce, alpha=5.0, beta=5.0, a=3.0, q=1.5),
        "nce_aul": plain(losses.nce_aul, alpha=5.0, beta=5.0, a=6.0, p=1.5),
        "ldr_0_1": robust(0.1),
        "ldr_1": robust(1.0),
        "ldr_10": robust(10.0),
        "aldr": Adaptive(examples, "paper", softplus=False),
        "aldr_official": Adaptive(examples, "official", softplus=False),
        "aldr_softplus": Adaptive(examples, "paper", softplus=True),
    }


LOSSES = tuple(all_losses(1, 1))
