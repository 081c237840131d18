"""Digits under changing corruption: the source model, the streams, and every arm as an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

import reference
from baselines.adaptation import (
    Adapter,
    BatchStatistics,
    MeanTeacher,
    Source,
    Tent,
    cross_entropy,
    online_errors,
    squared_error,
)
from baselines.models import conv_net
from baselines.training import fit, supervised
from suites.robust_mean_teacher import method
from suites.robust_mean_teacher.augmentation import SecondView

Data = tuple[torch.Tensor, torch.Tensor]
Stream = list[Data]
Corruption = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]
"""(images in [0, 1], strength in [0, 1], generator) -> images, still to be clipped."""

BATCH = 50
RATE = 1e-3
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Adam's learning rate: the official one, and the grid from which every adapting arm may choose."""


def _shot(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    photons = 3 / strength
    return torch.poisson(photons * images, generator) / photons


def _impulse(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    hit = torch.rand(images.shape, generator=generator) < 0.15 * strength
    return torch.where(hit, (torch.rand(images.shape, generator=generator) < 0.5).float(), images)


def _occluded(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    row, column = torch.randint(6, (2, len(images), 1, 1), generator=generator)
    rows, columns = torch.arange(8)[:, None], torch.arange(8)
    inside = (rows >= row) & (rows < row + 3) & (columns >= column) & (columns < column + 3)
    return images * (1 - strength * inside[:, None].float())


CORRUPTIONS: dict[str, Corruption] = {
    "noise": lambda x, s, g: x + 0.35 * s * torch.randn(x.shape, generator=g),
    "shot": _shot,
    "blur": lambda x, s, g: TF.gaussian_blur(x, [5, 5], [0.8 * s, 0.8 * s]),
    "rotation": lambda x, s, g: TF.rotate(x, 25 * s, interpolation=InterpolationMode.BILINEAR),
    "contrast": lambda x, s, g: 0.35 * s + (1 - 0.7 * s) * x,
    "brightness": lambda x, s, g: x + 0.4 * s,
}
"""What methods are judged on, in this order. At strength 1: the paper's dossier; below it: towards the clean image."""

OTHER_CORRUPTIONS: dict[str, Corruption] = {
    "impulse": _impulse,
    "pixelate": lambda x, s, g: (1 - s) * x + s * F.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3),
    "shift": lambda x, s, g: TF.affine(x, 0.0, [1, 1], 1.0, [0.0, 0.0]),
    "gamma": lambda x, s, g: x ** (1 + 1.5 * s),
    "occlusion": _occluded,
    "shear": lambda x, s, g: TF.affine(x, 0.0, [0, 0], 1.0, [20 * s, 0.0], interpolation=InterpolationMode.BILINEAR),
}
"""What learning rates are chosen on."""


def split(seed: int) -> tuple[Data, Data, Data]:
    """(1000 to train the source model, 200 to choose rates on, 597 to judge on), drawn by `seed`, in random order."""
    digits = reference.load("digits")
    images, labels = digits.images.float() / 16, digits.labels
    train, rest = train_test_split(range(len(labels)), train_size=1000, random_state=seed, stratify=labels.numpy())
    tune, judge = train_test_split(rest, train_size=200, random_state=seed, stratify=labels[rest].numpy())
    return (images[train], labels[train]), (images[tune], labels[tune]), (images[judge], labels[judge])


def batches(
    data: Data, corruptions: dict[str, Corruption], seed: int, strengths: Sequence[float] = (1.0,), limit: int = 0
) -> Stream:
    """One corruption after the other, each at `strengths` in turn, on the first `limit` images (0: all) of `data`.

    A last batch of one image is left out: it has no statistics.
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = data[0][: limit or None], data[1][: limit or None]
    found = []
    for corrupt in corruptions.values():
        for strength in strengths:
            corrupted = corrupt(images, strength, generator).clamp(0, 1)
            found += list(zip(corrupted.split(BATCH), labels.split(BATCH), strict=True))
    return [batch for batch in found if len(batch[1]) > 1]


def by_class(data: Data) -> Data:
    """The same images, one class after the other: what neighbours in a video or on a road look like."""
    order = data[1].argsort(stable=True)
    return data[0][order], data[1][order]


def network(norm: str) -> nn.Sequential:
    """The source model's architecture."""
    return conv_net(10, (24, 48, 48), norm=norm)  # type: ignore[arg-type]


def train_source(seed: int, norm: str) -> nn.Module:
    """15 epochs on 1000 clean images."""
    torch.manual_seed(seed)
    options = {"epochs": 15, "batch_size": BATCH, "drop_last": False, "seed": seed}
    adam = lambda parameters: torch.optim.Adam(parameters, lr=3e-3)  # noqa: E731
    return fit(network(norm), *split(seed)[0], supervised(F.cross_entropy), optimizer=adam, **options).model


def load_source(file: Path, norm: str) -> nn.Module:
    """The trained source model."""
    model = network(norm)
    model.load_state_dict(load_file(file))
    return model


CONSISTENCY = {"mt_ce": cross_entropy, "mt_mse": squared_error, "mt_sce": method.symmetric_cross_entropy}


def adapter(arm: str, model: nn.Module, seed: int, rate: float, momentum: float) -> Adapter:
    """The adapter that an arm names. All of a seed see the same second views; the projector comes from `seed`."""

    def adam(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=rate)

    if arm == "source":
        return Source(model)
    if arm == "bn":
        return BatchStatistics(model)
    if arm == "tent":
        return Tent(model, adam)
    second_view = SecondView(seed, mirror=False)
    if arm in CONSISTENCY:
        return MeanTeacher(model, CONSISTENCY[arm], adam, momentum, second_view)
    torch.manual_seed(seed)
    train = split(seed)[0]
    source = zip(train[0].split(BATCH), train[1].split(BATCH), strict=True)
    prototypes = method.source_prototypes(model, "fc", source, num_classes=10)
    setting = method.Setting(momentum=momentum)
    return method.RobustMeanTeacher(model, "fc", prototypes, adam, augment=second_view, setting=setting)


def errors(arm: str, model: nn.Module, seed: int, rate: float, momentum: float, stream: Stream) -> list[float]:
    """The error of an arm in each batch of a stream, in percent."""
    return [100 * error for error in online_errors(adapter(arm, model, seed, rate, momentum), stream)]


def mean(batch_errors: list[float], stream: Stream) -> float:
    """The error over all images of a stream, whose batches may differ in size."""
    sizes = [len(labels) for _, labels in stream]
    return sum(size * error for size, error in zip(sizes, batch_errors, strict=True)) / sum(sizes)


def chosen_rate(arm: str, model: nn.Module, seed: int, momentum: float) -> float:
    """The rate of the grid with the least error on the stream for tuning; the smaller one where two agree."""
    tune = batches(split(seed)[1], OTHER_CORRUPTIONS, seed)
    found = {rate: mean(errors(arm, model, seed, rate, momentum, tune), tune) for rate in RATES}
    return min(RATES, key=lambda rate: found[rate])
