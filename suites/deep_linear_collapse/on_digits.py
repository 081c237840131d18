"""The digits of scikit-learn, all in one batch: balanced, and with 20 to 160 images a class."""

from __future__ import annotations

import math

import torch

import reference
from suites.deep_linear_collapse.exact import DECAY
from suites.deep_linear_collapse.networks import (
    Metrics,
    Recipe,
    collapse,
    digits_network,
    free_value_excess,
    imbalanced_collapse,
    take,
)

RATES = {"no_bias": 3e-3, "bias": 3e-3, "weight_decay": 3e-3, "cross_entropy": 1e-2}
"""Adam's learning rate of each arm: see the protocol in paper.toml."""


def digits_balanced(*, arm: str, seed: int, depth: int, epochs: int) -> Metrics:
    """100 digits of each class."""
    digits = reference.load("digits")
    data = take(digits.images.float() / 16, digits.labels, [100] * 10, seed)
    network = digits_network(seed, depth, bias=arm == "bias")
    recipe = Recipe(
        epochs=epochs,
        learning_rate=RATES[arm],
        decay=DECAY,
        step=math.ceil(epochs / 3),
        separate=arm != "weight_decay",
        loss="ce" if arm == "cross_entropy" else "mse",
    )
    metrics = collapse(network, data, recipe, seed)
    if recipe.separate and recipe.loss == "mse":
        metrics["value_excess"] = free_value_excess(network, data, recipe)
    return metrics


def digits_imbalanced(*, seed: int, depth: int, epochs: int) -> Metrics:
    """20 to 160 digits a class, which class has how many drawn by seed; no bias."""
    digits = reference.load("digits")
    sizes = torch.linspace(20, 160, 10).round().long()
    counts = sizes[torch.randperm(10, generator=torch.Generator().manual_seed(seed))].tolist()
    data = take(digits.images.float() / 16, digits.labels, counts, seed)
    recipe = Recipe(epochs=epochs, learning_rate=RATES["no_bias"], decay=DECAY, step=math.ceil(epochs / 3))
    return imbalanced_collapse(digits_network(seed, depth, bias=False), data, recipe, seed, counts)
