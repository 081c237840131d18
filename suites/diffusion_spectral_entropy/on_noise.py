"""Entropies and informations of samples that lie in few of 100 dimensions, with noise in all of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import rankdata

from baselines.digits import stratified
from baselines.label_noise import with_label_noise
from suites.diffusion_spectral_entropy import contenders
from suites.diffusion_spectral_entropy.contenders import bandwidth
from suites.diffusion_spectral_entropy.method import dse, dsmi

AMBIENT, COUNT, SIGMA, WIDE = 100, 500, 1.0, 3.0
DIMENSIONS = (1, 2, 3, 5, 8)
NOISES = (0.02, 0.05, 0.1)
"""Standard deviations in each of the 100 dimensions; each of the samples' own has 1."""
ENTROPIES: dict[str, Callable[[torch.Tensor], float]] = {
    "dse": lambda x: dse(x, sigma=SIGMA),
    "dse_wide": lambda x: dse(x, sigma=WIDE),
    "cells": contenders.cell_entropy,
    "neighbours": contenders.neighbour_entropy,
    "adjacency": lambda x: contenders.adjacency_entropy(x, SIGMA),
    "nearest_adjacency": lambda x: contenders.adjacency_entropy(x, None),
    "participation": contenders.participation_ratio,
}


def cloud(source: str, dimension: int, rng: np.random.Generator) -> torch.Tensor:
    """Samples (500, 100) of unit variance in each of `dimension` directions: of a cube ("uniform"), or the leading
    principal components of digits, whitened ("digits"). Raises ValueError for other sources."""
    if source == "uniform":
        inside = rng.uniform(-math.sqrt(3), math.sqrt(3), (COUNT, dimension))
    elif source == "digits":
        images = whole_digits()[0].numpy()
        chosen = images[rng.permutation(len(images))[:COUNT]]
        left = np.linalg.svd(chosen - chosen.mean(0), full_matrices=False)[0]
        inside = left[:, :dimension] * math.sqrt(COUNT)
    else:
        raise ValueError(f"source must be 'uniform' or 'digits', got {source!r}")
    frame = np.linalg.qr(rng.standard_normal((AMBIENT, dimension)))[0]
    return torch.from_numpy(inside @ frame.T)


def whole_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 digits as float64 rows, and their labels."""
    (images, labels), (more, more_labels) = stratified(0)
    return torch.cat([images, more]).flatten(1).double(), torch.cat([labels, more_labels])


def noise(*, arm: str, seed: int, source: str) -> dict[str, float]:
    """One entropy along five dimensions, without noise and with three strengths of it.

    `shift` is the root mean square change at the largest noise over the spread along dimensions without noise: how far
    noise looks like another dimension. An entropy that is the same for all dimensions correlates with nothing.
    """
    rng, entropy = np.random.default_rng(seed), ENTROPIES[arm]
    clean, noisy = [], []
    for dimension in DIMENSIONS:
        x = cloud(source, dimension, rng)
        direction = torch.from_numpy(rng.standard_normal(x.shape))
        clean.append(entropy(x))
        noisy.append([entropy(x + strength * direction) for strength in NOISES])
    before, after = np.array(clean), np.array(noisy)
    return {
        "correlation": min(correlation(before, one) for one in after.T),
        "shift": float(np.sqrt(np.mean((after[:, -1] - before) ** 2)) / before.std()),
        "rank": correlation(rankdata(DIMENSIONS), rankdata(after[:, -1])),
    }


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, 0 where one of both does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


RATES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of labels that are replaced by a random one."""
STRENGTH, SAMPLES, CLASSES = 0.3, 1000, 10
"""Noise in each of the 100 dimensions; digits as they are have a standard deviation of 0.4 along their widest ten."""


def informations(seed: int) -> dict[str, Callable[[torch.Tensor, torch.Tensor], float]]:
    return {
        "dsmi": lambda z, y: dsmi(z, y, sigma=bandwidth(z)),
        "dsmi_root": lambda z, y: dsmi(z, y, sigma=math.sqrt(AMBIENT)),
        "cells": contenders.cell_information,
        "neighbours": contenders.neighbour_information,
        "neural": lambda z, y: contenders.neural_information(z, y, classes=CLASSES, seed=seed),
    }


def dependence(*, arm: str, seed: int) -> dict[str, float]:
    """An estimate of the information of noisy digits in 100 dimensions on labels of which a growing share is random.

    Digits all but determine their label, so that what is held against is the information of the true label on the
    replaced one. `rank` is the correlation with it, `error` the mean distance from it in bits.
    """
    rng, estimate = np.random.default_rng(seed), informations(seed)[arm]
    images, labels = whole_digits()
    chosen = torch.from_numpy(rng.permutation(len(images))[:SAMPLES])
    frame = torch.from_numpy(np.linalg.qr(rng.standard_normal((AMBIENT, images.shape[1])))[0])
    z = images[chosen] @ frame.T + STRENGTH * torch.from_numpy(rng.standard_normal((SAMPLES, AMBIENT)))
    found = [
        estimate(z, with_label_noise(labels[chosen], "uniform", rate, classes=CLASSES, seed=seed)) for rate in RATES
    ]
    truth = [known_information(rate) for rate in RATES]
    return {
        "rank": correlation(rankdata(found), rankdata(truth)),
        "error": float(np.abs(np.subtract(found, truth)).mean()),
        "of_true_labels": found[0],
        "of_random_labels": found[-1],
    }


def known_information(rate: float) -> float:
    """Bits that one of ten equally likely labels says of itself after it is replaced with probability `rate`."""
    stays, moves = 1 - rate + rate / CLASSES, rate / CLASSES
    lost = -stays * math.log2(stays) - ((CLASSES - 1) * moves * math.log2(moves) if moves else 0.0)
    return math.log2(CLASSES) - lost
