"""Fashion-MNIST under corruptions in sequence or by class: the protocols of the digits where seeds share no image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

import reference
from suites.robust_mean_teacher.contenders import Arm, Data
from suites.robust_mean_teacher.exact import Metrics
from suites.robust_mean_teacher.on_digits import by_class, corrupted, in_sequence, load_source, train_source

SEEDS = 20


def fashion_split(seed: int) -> tuple[Data, Data]:
    """2000 images to train on and 1000 to judge on, 2x2 pixels averaged. The 20 seeds share no image."""
    found = reference.load("fashion-mnist", split="train")
    block = len(found) // SEEDS
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    rows = order[block * (seed % SEEDS) :][:block]
    images, labels = F.avg_pool2d(found.images[rows].float() / 255, 2), found.labels[rows]
    train = 2 * block // 3
    return (images[:train], labels[:train]), (images[train:], labels[train:])


def fashion_source(*, seed: int, norm: str) -> dict[str, torch.Tensor]:
    """The source model, trained on clean Fashion-MNIST."""
    return train_source(fashion_split(seed)[0], seed, norm)


def fashion(*, arm: str, seed: int, norm: str, momentum: float, fashion_source: Path) -> Metrics:
    """Six corruptions in sequence, at the official learning rate."""
    train, judge = fashion_split(seed)
    chosen = Arm(arm, load_source(fashion_source, norm), train, seed, momentum, mirror=True)
    return in_sequence(chosen, corrupted(judge, seed))


def fashion_correlated(*, arm: str, seed: int, norm: str, momentum: float, fashion_source: Path) -> Metrics:
    """The same stream, sorted by class within each corruption."""
    train, judge = fashion_split(seed)
    chosen = Arm(arm, load_source(fashion_source, norm), train, seed, momentum, mirror=True)
    return {"error": chosen.error(corrupted(by_class(judge), seed))}
