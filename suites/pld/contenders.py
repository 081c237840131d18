"""What is compared: losses of students, each with three settings of its own and the same rates to choose from."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from baselines.distillation import correlated, decoupled
from baselines.losses import knowledge_distillation
from suites.pld.method import list_wise, plackett_luce_distillation, position_weights, uniform_weights

RATES = (0.03, 0.1, 0.3, 1.0)
FACTORS = (0.7, 1.0, 1.5)
"""Of the rate, for losses that have no setting: they choose from twelve rates."""

SETTINGS: dict[str, tuple[tuple[float, ...], ...]] = {
    "ce": ((0.0,), (0.05,), (0.1,)),
    "kd": ((0.9, 2.0), (0.9, 4.0), (0.5, 2.0)),
    "dist": ((2.0, 1.0), (2.0, 4.0), (32.0, 4.0)),
    "dkd": ((2.0, 4.0), (8.0, 4.0), (2.0, 1.0)),
    "list_mle": tuple((factor,) for factor in FACTORS),
    "position_list_mle": tuple((factor,) for factor in FACTORS),
    "pld": ((1.0,), (2.0,), (4.0,)),
}
"""Label smoothing; weight and temperature of KL; both weights and temperature of DIST, without and with the square of
the temperature, and of DKD the weight among the other classes and the temperature; the temperature of PLD's weights."""
RESTRICTED = {"pld_tau_1": ("pld", 0), "pld_tau_4": ("pld", 2)}
"""Arms with one setting of another, which choose only the rate."""


def loss(
    arm: str, setting: tuple[float, ...], logits: torch.Tensor, targets: torch.Tensor, teacher: torch.Tensor,
    ranking: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """The mean loss of logits (N, K) with the teacher's logits (N, K) and its ranking."""
    if arm == "ce":
        return F.cross_entropy(logits, targets, label_smoothing=setting[0])
    if arm == "kd":
        return knowledge_distillation(
            logits, targets, teacher_logits=teacher, weight=setting[0], temperature=setting[1]
        )
    if arm == "dist":
        return correlated(
            logits, targets, teacher_logits=teacher, inter=setting[0], intra=setting[0], temperature=setting[1]
        )
    if arm == "dkd":
        return decoupled(logits, targets, teacher_logits=teacher, target=1.0, rest=setting[0], temperature=setting[1])
    if arm == "pld":
        return plackett_luce_distillation(
            logits, targets, teacher_logits=teacher, ranking=ranking, temperature=setting[0]
        )
    weights = uniform_weights if arm == "list_mle" else position_weights
    return list_wise(logits, ranking, weights(logits.shape[1]))
