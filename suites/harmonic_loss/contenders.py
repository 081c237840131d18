"""What is compared: heads on the same features, each with three settings and the same rates to choose from."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from suites.harmonic_loss.method import distance_of, harmonic_logits

SETTINGS: dict[str, tuple[float, ...]] = {
    "ce": (0.0, 0.05, 0.1),
    "normface": (4.0, 10.0, 25.0),
    "euclidean": (2.0, 6.0, 28.0),
    "cosine": (1.0, 3.0, 10.0),
    "bray_curtis": (1.0, 3.0, 10.0),
    "mahalanobis": (2.0, 6.0, 28.0),
}
"""Label smoothing of cross-entropy; the scale of NormFace, softmax(s cos); the
exponent n of harmonic heads. The Mahalanobis metric is diagonal and learned."""


class Heads(nn.Module):
    """Heads of many copies, from one start: features (copies, B, D) -> logits (copies, B, K).

    `arms` names the head of each copy, in runs of one arm, and `settings` its setting.
    """

    def __init__(self, features: int, classes: int, arms: list[str], settings: list[float]) -> None:
        super().__init__()
        start = nn.Linear(features, classes)
        self.centres = nn.Parameter(start.weight.detach().repeat(len(arms), 1, 1))
        self.bias = nn.Parameter(start.bias.detach().repeat(len(arms), 1, 1))
        self.log_diagonal = nn.Parameter(torch.zeros(len(arms), 1, features))
        self.runs = runs(arms)
        self.settings = torch.tensor(settings).view(-1, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [
                logits(arm, self.settings[of], features[of], self.centres[of], self.bias[of], self.log_diagonal[of])
                for arm, of in self.runs
            ]
        )  # fmt: skip


def runs(arms: list[str]) -> list[tuple[str, slice]]:
    """Each arm and its copies, which stand beside one another."""
    return [(arm, slice(arms.index(arm), arms.index(arm) + arms.count(arm))) for arm in dict.fromkeys(arms)]


def logits(
    arm: str, setting: torch.Tensor, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor, log_diagonal: torch.Tensor
) -> torch.Tensor:
    """Of features (copies, B, D), weights (copies, K, D) and settings (copies, 1, 1)."""
    if arm == "ce":
        return torch.baddbmm(bias, x, w.mT)
    if arm == "normface":
        return setting * (1 - distance_of("cosine")(x, w))
    if arm == "mahalanobis":
        root = (log_diagonal / 2).exp()
        return setting * harmonic_logits(x * root, w * root, metric="euclidean")
    return setting * harmonic_logits(x, w, metric=arm)


def losses(arms: list[str], settings: list[float], found: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean loss of each copy, (copies,), of logits (copies, B, K): cross-entropy, of "ce" with smoothed labels."""
    log_p = F.log_softmax(found, dim=-1)
    smoothing = torch.tensor([one if arm == "ce" else 0.0 for arm, one in zip(arms, settings, strict=True)])
    of_target = log_p.gather(-1, targets.expand(len(arms), -1)[..., None]).squeeze(-1).mean(-1)
    return -(1 - smoothing) * of_target - smoothing * log_p.mean((-1, -2))


def top2(points: torch.Tensor, *, standardised: bool = False) -> torch.Tensor:
    """Of the variance of points (copies, n, D), the share of two principal components, (copies,).

    `standardised`: each of the D has a variance of 1 first, but for constants.
    """
    points = points.double() - points.double().mean(1, keepdim=True)
    if standardised:
        points = points / points.std(1, keepdim=True).clamp_min(1e-12)
    values = torch.linalg.svdvals(points).square()
    return values[:, :2].sum(1) / values.sum(1)
