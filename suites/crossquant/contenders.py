"""The arms: CrossQuant in its forms and what it is compared with, put into any network in place.

All arms of a setting quantise weights alike, by `method.quantise_weight`; what they do to activations differs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import nn

from baselines import quantisation
from baselines.tuning import choose
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
        return method.quantise_(
            model, **asdict(setting), alpha=method.DEFAULT_ALPHA if alpha is None else alpha, skip=skip,
            columns=columns if kind in ("calibrated", "folded") else None, folded=kind == "folded",
        )  # fmt: skip
    weight = partial(method.quantise_weight, bits=setting.weight_bits, group_size=setting.group_size)
    step = quantisation.per_tensor if arm == "per_tensor" else quantisation.per_token
    shared = {"activation": partial(step, bits=setting.activation_bits), "weight": weight}
    rotations: dict[int, torch.Tensor] = {}  # layers of one width share theirs

    def make(layer_name: str, layer: nn.Linear) -> nn.Module:
        if name == "outlier":
            return quantisation.SplitLinear(layer, **shared)
        if name == "hadamard":
            width = layer.in_features
            if width not in rotations:
                rotations[width] = quantisation.rotation(width).to(layer.weight)
            return quantisation.QuantisedLinear(layer, **shared, rotation=rotations[width])
        if name == "smoothquant":
            scale = quantisation.smoothing(columns[layer_name], layer.weight.detach(), 0.5 if alpha is None else alpha)
            return quantisation.QuantisedLinear(layer, **shared, smoothing=scale)
        return quantisation.QuantisedLinear(layer, **shared)

    return method.replace_linears_(model, make, skip=skip)


def chosen(
    arm: str,
    load: Callable[[], nn.Module],
    bits: int,
    columns: Mapping[str, torch.Tensor],
    loss: Callable[[nn.Module], float],
    skip: Collection[str] = (),
) -> tuple[nn.Module, dict[str, float]]:
    """A fresh network with activations of `bits` and 8-bit weights, and {"alpha": what a tuned arm chose} of one.

    It is the alpha of least validation loss; any other arm has its default.
    """

    def build(alpha: float | None) -> nn.Module:
        return quantised(arm, load(), Setting(bits, 8), columns, alpha=alpha, skip=skip)

    if arm not in TUNED:
        return build(None), {}
    alpha = choose({alpha: loss(build(alpha)) for alpha in ALPHAS}, smallest=True)
    return build(alpha), {"alpha": alpha}
