"""What is compared: losses of logits and features, each with three settings of its own and the same four rates."""

from __future__ import annotations

import torch

from baselines import losses
from baselines.contrastive import supcon
from suites.orthogonal_projection.method import Variant, orthogonal_projection

RATES = (0.03, 0.1, 0.3, 1.0)
FACTORS = ((0.7,), (1.0,), (1.5,))
"""Of the rate, for losses that have no setting: they choose from twelve rates."""
PRINTED = ((1.0, 0.5), (0.1, 2.0), (1.0, 2.0))
"""Weight and gamma: of CIFAR-100 and the README, of ImageNet and noisy labels, of the few-shot grid's corner."""

SETTINGS: dict[str, tuple[tuple[float, ...], ...]] = {
    "ce": FACTORS,
    "label_smoothing": ((0.05,), (0.1,), (0.2,)),
    "supcon": ((0.1,), (0.3,), (1.0,)),
    "opl": PRINTED,
    "gce": FACTORS,
    "gce_opl": PRINTED,
}
"""Smoothing; the weight of SupCon (temperature 0.1) beside cross-entropy; weight and gamma of OPL beside
cross-entropy, or beside generalised cross-entropy with q = 0.7."""
RESTRICTED = {"opl_printed": ("opl", 0)}
"""Arms with one setting of another, which choose only the rate."""
CLEAN, NOISY = ("ce", "label_smoothing", "supcon", "opl"), ("ce", "gce", "opl", "gce_opl")
SIGNED: dict[str, Variant | None] = {
    "ce": None, "abs_of_mean": "abs_of_mean", "mean_of_abs": "mean_of_abs", "signed": "signed",
}  # fmt: skip
"""For features of both signs: cross-entropy alone and with each variant, weight 1 and gamma 0.5."""

Q = 0.7


def factor(arm: str, setting: tuple[float, ...]) -> float:
    """What the rates are multiplied by."""
    return setting[0] if SETTINGS[arm] is FACTORS else 1.0


def loss(
    arm: str, setting: tuple[float, ...], logits: torch.Tensor, features: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """The mean loss of each of several networks, (n,), of logits (n, B, K), features (n, B, D) and targets (B,)."""
    many = targets.expand(len(logits), -1)
    flat = logits.flatten(0, 1), many.flatten()
    if arm.startswith("gce"):
        each = losses.gce(*flat, q=Q, reduction="none")
    else:
        smoothing = setting[0] if arm == "label_smoothing" else 0.0
        each = losses.cross_entropy(*flat, label_smoothing=smoothing, reduction="none")
    fitted = each.view_as(many).mean(1)
    if arm.endswith("opl"):
        return fitted + setting[0] * orthogonal_projection(features, many, gamma=setting[1])
    if arm == "supcon":
        return fitted + setting[0] * torch.vmap(lambda of_one: supcon(of_one, targets))(features)
    return fitted


def signed_loss(arm: str, logits: torch.Tensor, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """As `loss`, of the arms in `SIGNED`."""
    fitted, variant = loss("ce", (1.0,), logits, features, targets), SIGNED[arm]
    if variant is None:
        return fitted
    return fitted + orthogonal_projection(features, targets.expand(len(logits), -1), gamma=0.5, variant=variant)
