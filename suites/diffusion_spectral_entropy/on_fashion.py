"""Thirty small networks on Fashion-MNIST whose accuracy DSMI and simpler measures are to foretell; what it costs."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from baselines.label_noise import with_label_noise
from baselines.models import mlp
from baselines.small_data import drawn, fashion
from baselines.timing import interleaved
from baselines.training import fit, supervised
from suites.diffusion_spectral_entropy import contenders
from suites.diffusion_spectral_entropy.contenders import bandwidth
from suites.diffusion_spectral_entropy.method import (
    diffusion_operator,
    dse,
    dsmi,
    entropy_within,
    median_distance,
    spectral_entropy,
)

NETWORKS, TRAINED, MEASURED, TESTED = 30, 2000, 1000, 4000
"""Networks a draw; images to train each, to measure features on, and to test accuracy on."""
WIDTHS, DEPTHS, NOISES, EPOCHS = (16, 64, 256), (1, 2, 3), (0.0, 0.3, 0.6, 0.9), (1, 3, 10, 30)
RESAMPLES, CLASSES = 1000, 10


class Setting(NamedTuple):
    width: int
    depth: int
    noise: float
    epochs: int


def settings(seed: int) -> list[Setting]:
    """Thirty of the 144 settings, drawn by seed without repetition."""
    grid = [Setting(*one) for one in itertools.product(WIDTHS, DEPTHS, NOISES, EPOCHS)]
    return [grid[i] for i in np.random.default_rng(seed).permutation(len(grid))[:NETWORKS]]


def networks(*, seed: int) -> dict[str, torch.Tensor]:
    """Features of each network on 1,000 test images (features0, ...), their labels, its accuracy on the labels that it
    was trained with, and on 4,000 other test images."""
    inputs, labels = drawn(fashion("train"), TRAINED, seed)
    test, answers = drawn(fashion("test"), MEASURED + TESTED, seed)
    found: dict[str, torch.Tensor] = {"labels": answers[:MEASURED]}
    accuracies = []
    for place, one in enumerate(settings(seed)):
        targets = with_label_noise(labels, "uniform", one.noise, classes=CLASSES, seed=seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed + place)
            model = mlp([inputs.shape[1], *[one.width] * one.depth, CLASSES])
        fit(
            model, inputs, targets, supervised(F.cross_entropy), epochs=one.epochs, batch_size=64, drop_last=True,
            seed=seed, optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        )  # fmt: skip
        with torch.no_grad():
            found[f"features{place}"] = model[:-1](test[:MEASURED])
            right = [model(x).argmax(1) == y for x, y in ((inputs, targets), (test[MEASURED:], answers[MEASURED:]))]
        accuracies.append([float(one.double().mean()) for one in right])
    return found | dict(
        zip(("train", "test"), torch.tensor(accuracies, dtype=torch.float64).T.contiguous(), strict=True)
    )


MEASURES: dict[str, Callable[[torch.Tensor, torch.Tensor], float]] = {
    "dsmi": lambda z, y: dsmi(z, y, sigma=math.sqrt(z.shape[1])),
    "dsmi_ten": lambda z, y: dsmi(z, y),
    "dsmi_free": lambda z, y: dsmi(z, y, sigma=bandwidth(z)),
    "feature_norm": lambda z, _: float(z.norm(dim=1).mean()),
    "participation": lambda z, _: contenders.participation_ratio(z) if float(z.var()) > 0 else 1.0,
    "linear_probe": lambda z, y: contenders.linear_probe(z, y, CLASSES),
}


def foretelling(*, arm: str, seed: int, networks: Path) -> dict[str, float]:
    """The rank correlation of a measure with test accuracy over thirty networks; `low` and `high` are the ends of its
    bootstrap interval (95 %, networks resampled), `beyond_norm` is its partial correlation given the feature norm."""
    from scipy.stats import rankdata, spearmanr

    found = load_file(networks)
    features = [found[f"features{place}"] for place in range(NETWORKS)]
    if arm == "train_accuracy":
        values = found["train"].numpy()
    else:
        values = np.array([MEASURES[arm](z, found["labels"]) for z in features])
    truth, norms = found["test"].numpy(), np.array([MEASURES["feature_norm"](z, found["labels"]) for z in features])
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, NETWORKS, NETWORKS) for _ in range(RESAMPLES)]
    low, high = np.quantile([spearmanr(values[one], truth[one]).statistic for one in draws], (0.025, 0.975))
    given = np.stack([np.ones(NETWORKS), rankdata(norms)], 1)
    rests = [
        one - given @ np.linalg.lstsq(given, one, rcond=None)[0] for one in map(rankdata, (values, truth))
    ]  # fmt: skip
    return {
        "correlation": float(spearmanr(values, truth).statistic),
        "low": float(low),
        "high": float(high),
        "beyond_norm": 0.0 if arm == "feature_norm" else float(np.corrcoef(*rests)[0, 1]),
    }


def cost(*, seed: int) -> dict[str, float | list[float]]:
    """DSE and DSMI of 2,000 images, sigma their median distance: CPU seconds of both at t = 1 with all eigenvalues (the
    least of three), and seconds of the entropy at t = 2 from leading eigenvalues and from all, in turn."""
    images, labels = drawn(fashion("test"), 2000, seed)
    sigma = median_distance(images)

    def both() -> float:
        before = time.process_time()
        dse(images, sigma=sigma)
        dsmi(images, labels, sigma=sigma)
        return time.process_time() - before

    operator = diffusion_operator(images, sigma)
    spent = interleaved({
        "leading": lambda: entropy_within(operator, 2.0, 1e-2),
        "all": lambda: spectral_entropy(torch.linalg.eigvalsh(operator), 2.0),
    }, rounds=3, warm_up=1)  # fmt: skip
    found, whole = entropy_within(operator, 2.0, 1e-2), spectral_entropy(torch.linalg.eigvalsh(operator), 2.0)
    return {
        "cpu_seconds": min(both() for _ in range(3)),
        "seconds": spent["leading"],
        "seconds_of_all": spent["all"],
        "rank": float(found.rank),
        "error": abs(found.entropy - whole),
        "bound": found.error,
    }
