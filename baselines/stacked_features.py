"""Features of networks that are trained side by side (see `baselines.stacked`), and their last layer by itself."""

from __future__ import annotations

import torch

from baselines.stacked import Stacked


def hidden(models: Stacked, inputs: torch.Tensor) -> torch.Tensor:
    """What the last ReLU reads, (copies, B, D): the features of networks that have none there."""
    found = inputs.expand(len(models.biases[0]), *inputs.shape[-2:])
    for depth, (weight, bias) in enumerate(zip(models.weights[:-1], models.biases[:-1], strict=True)):
        found = torch.baddbmm(bias, found if depth == 0 else found.relu(), weight)
    return found


def classify(models: Stacked, features: torch.Tensor) -> torch.Tensor:
    """The logits (copies, B, K) of features (copies, B, D), by the last layer."""
    return torch.baddbmm(models.biases[-1], features, models.weights[-1])
