"""What is compared: losses of answers of several labels, each with the settings that it may choose from."""

from __future__ import annotations

import torch

from baselines import losses
from suites.direct_coverage.method import coverage_loss

LOSSES: dict[str, tuple[float, ...]] = {
    "ce": (0.0,),
    "label_smoothing": (0.1, 0.4),
    "focal": (2.0, 8.0),
    "confidence_penalty": (0.2, 1.0),
    "dco_16": (16.0,),
    "dco_256": (256.0,),
}
"""The share of smoothing, gamma, the weight of the entropy; of the method the tries that it trains for."""
RATES = (0.02, 0.1, 0.5)
TEMPERATURES = (0.5, 1.0, 1.4, 2.0, 3.0, 4.0, 6.0, 10.0)
"""At which a model that was trained by cross-entropy may be sampled."""


def loss(arm: str, setting: float, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss (B,) of answers of T labels: logits (B, T, K), targets int64 (B, T)."""
    flat, gold = logits.flatten(0, 1), targets.flatten()
    if arm.startswith("dco"):
        log_p = -losses.cross_entropy(flat, gold, reduction="none").view_as(targets).sum(1)
        return coverage_loss(log_p, setting)
    if arm == "focal":
        values = losses.focal(flat, gold, gamma=setting, reduction="none")
    elif arm == "label_smoothing":
        values = losses.cross_entropy(flat, gold, label_smoothing=setting, reduction="none")
    elif arm == "confidence_penalty":
        log_p = flat.log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1)
        values = losses.cross_entropy(flat, gold, reduction="none") - setting * entropy
    else:
        values = losses.cross_entropy(flat, gold, reduction="none")
    return values.view_as(targets).sum(1)
