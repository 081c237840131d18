"""The arms: CrossQuant in its forms and what it is compared with, put into any network in place.

All arms of a setting quantise weights alike, by `method.quantise_weight`; what they do to activations differs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from baselines import quantisation
from suites.crossquant import method

ALPHAS = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
"""What both tuned arms choose from, on validation data."""

TUNED = ("crossquant_tuned", "smoothquant_tuned")
ARMS = (
    "float", "per_token", "per_tensor", "outlier_split", "hadamard", "smoothquant",
    "crossquant", "crossquant_calibrated", "crossquant_folded", *TUNED,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Bits of activations and weights, and the size of the groups of weights (None: per output channel)."""

    activation_bits: int
    weight_bits: int
    group_size: int | None = None


def quantised(
    arm: str,
    model: nn.Module,
    setting: Setting,
    columns: Mapping[str, torch.Tensor],
    *,
    alpha: float | None = None,
    skip: Collection[str] = (),
) -> nn.Module:
    """`model`, quantised in place. columns: calibrated maxima for the arms that use them. alpha: not the default."""
    if arm not in ARMS:
        raise ValueError(f"no arm {arm!r}: there are {', '.join(ARMS)}")
    if arm == "float":
        return model
    name, _, kind = arm.partition("_")
    if name == "crossquant":
        calibrated = columns if kind in ("calibrated", "folded") else None
        return method.quantise_(
            model,
            activation_bits=setting.activation_bits,
            weight_bits=setting.weight_bits,
            group_size=setting.group_size,
            alpha=method.DEFAULT_ALPHA if alpha is None else alpha,
            columns=calibrated,
            folded=kind == "folded",
            skip=skip,
        )
    weight = partial(method.quantise_weight, bits=setting.weight_bits, group_size=setting.group_size)
    row, whole = (
        partial(quantise, bits=setting.activation_bits)
        for quantise in (quantisation.per_token, quantisation.per_tensor)
    )
    rotations: dict[int, torch.Tensor] = {}  # layers of one width share theirs

    def make(layer_name: str, layer: nn.Linear) -> nn.Module:
        if name == "per":
            activation = row if arm == "per_token" else whole
            return quantisation.QuantisedLinear(layer, activation=activation, weight=weight)
        if arm == "outlier_split":
            return quantisation.SplitLinear(layer, activation=row, weight=weight)
        if arm == "hadamard":
            width = layer.in_features
            if width not in rotations:
                rotations[width] = quantisation.rotation(width).to(layer.weight)
            return quantisation.QuantisedLinear(layer, activation=row, weight=weight, rotation=rotations[width])
        scale = quantisation.smoothing(columns[layer_name], layer.weight.detach(), 0.5 if alpha is None else alpha)
        return quantisation.QuantisedLinear(layer, activation=row, weight=weight, smoothing=scale)

    return method.replace_linears_(model, make, skip=skip)
