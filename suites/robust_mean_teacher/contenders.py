"""The arms: the method, mean teachers with other losses, TENT, batch statistics, and no adaptation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from baselines.adaptation import (
    Adapter,
    BatchStatistics,
    MakeOptimizer,
    MeanTeacher,
    Source,
    Tent,
    cross_entropy,
    error_rate,
    online_errors,
    squared_error,
)
from suites.robust_mean_teacher import method

Data = tuple[torch.Tensor, torch.Tensor]
Stream = list[Data]
"""Batches of images in [0, 1] and labels."""

CONSISTENCY = {"mt_ce": cross_entropy, "mt_mse": squared_error, "mt_sce": method.symmetric_cross_entropy}
BASELINES = ("source", "bn", "tent", *CONSISTENCY)

BATCH = 50
RATE = 1e-3
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Adam's learning rate: the official one, and the grid from which every adapting arm may choose."""


def second_view(seed: int, *, mirror: bool = True) -> method.Augment:
    """The augmentation of the paper's code."""
    from suites.robust_mean_teacher.augmentation import SecondView  # torchvision: 5 s that some arms do not need

    return SecondView(seed, mirror=mirror)


def baseline(
    arm: str, model: nn.Module, optimizer: MakeOptimizer, momentum: float, seed: int, *, mirror: bool = True
) -> Adapter:
    """The adapter of one of `BASELINES`. All arms of a seed see the same second views."""
    if arm == "source":
        return Source(model)
    if arm == "bn":
        return BatchStatistics(model)
    if arm == "tent":
        return Tent(model, optimizer)
    return MeanTeacher(model, CONSISTENCY[arm], optimizer, momentum, second_view(seed, mirror=mirror))


@dataclass(frozen=True)
class Arm:
    """One way to adapt a network for small images, with all that it needs but the learning rate."""

    name: str
    model: nn.Module
    train: Data
    seed: int
    momentum: float = 0.999
    mirror: bool = False

    def adapter(self, rate: float) -> Adapter:
        """A fresh adapter. The method's projector comes from the seed too."""

        def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=rate)

        if self.name in BASELINES:
            return baseline(self.name, self.model, adam, self.momentum, self.seed, mirror=self.mirror)
        torch.manual_seed(self.seed)
        source = zip(self.train[0].split(BATCH), self.train[1].split(BATCH), strict=True)
        prototypes = method.source_prototypes(self.model, "fc", source, num_classes=10)
        setting, view = method.Setting(momentum=self.momentum), second_view(self.seed, mirror=self.mirror)
        return method.RobustMeanTeacher(self.model, "fc", prototypes, adam, augment=view, setting=setting)

    def errors(self, stream: Stream) -> list[float]:
        """The error in each batch of a stream, in percent, at the official rate."""
        return [100 * error for error in online_errors(self.adapter(RATE), stream)]

    def error(self, stream: Stream, rate: float = RATE) -> float:
        """The error over all images of a stream, in percent."""
        return 100 * error_rate(self.adapter(rate), stream)

    def chosen_rate(self, stream: Stream) -> float:
        """The rate of the grid with the least error on a stream; the smaller one where two agree."""
        found = {rate: self.error(stream, rate) for rate in RATES}
        return min(RATES, key=lambda rate: found[rate])
