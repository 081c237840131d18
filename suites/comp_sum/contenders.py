"""What is compared: members of the family and adversarial training, each with the settings that it may choose from."""

from __future__ import annotations

import torch

from baselines import adversarial, losses
from suites.comp_sum.method import change, smooth_adversarial

TAUS = {"tau_0": 0.0, "tau_0_5": 0.5, "tau_1": 1.0, "tau_1_5": 1.5, "tau_2": 2.0}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""From a thirtieth to thirty times the usual 0.1: at first gradients differ by n^(1 - tau) from those at tau = 1."""
NOISES = {"clean": 0.0, "uniform-0.4": 0.4}
"""The probability that a training or validation label becomes a uniform draw over all classes, itself included."""
CLIP = 5.0
"""Bound of the gradient's norm."""
DECAY = 1e-4

HARDENED: dict[str, tuple[float, ...]] = {
    "plain": (0.0,),
    "pgd": (0.2, 0.4, 0.6, 0.8, 1.0),
    "trades": (1.0, 2.0, 3.5, 6.0, 10.0),
    "adv_comp_sum": (0.3, 1.0, 3.0, 10.0, 30.0),
}
"""The weight of the adversarial examples, beta, and nu: five settings for each kind of adversarial training."""


def to_ascend(arm: str, natural: torch.Tensor, moved: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """What the attack in training maximises, (N,), of logits (N, K) at x, which are fixed, and at x'."""
    if arm == "pgd":
        return losses.cross_entropy(moved, targets, reduction="none")
    if arm == "trades":
        return adversarial.prediction_change(natural, moved)
    if arm == "adv_comp_sum":
        return change(natural, moved, targets)
    return torch.zeros_like(moved[:, 0])


def to_descend(
    arm: str, setting: float, natural: torch.Tensor, moved: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """The training loss, (N,), of logits (N, K) at x and at the worst x'."""
    if arm == "pgd":
        at_x, at_moved = (losses.cross_entropy(logits, targets, reduction="none") for logits in (natural, moved))
        return (1 - setting) * at_x + setting * at_moved
    if arm == "trades":
        return adversarial.trades(natural, moved, targets, beta=setting, reduction="none")
    if arm == "adv_comp_sum":
        return smooth_adversarial(natural, moved, targets, nu=setting, reduction="none")
    return losses.cross_entropy(natural, targets, reduction="none")
