"""Small images under changing corruption: the source models, the streams, and every arm as an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    error_rate,
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


@dataclass(frozen=True)
class Split:
    """Images in [0, 1] and labels: to train the source model, to choose rates on, and to judge on."""

    train: Data
    tune: Data
    judge: Data


def digits_split(seed: int) -> Split:
    """1000, 200 and 597 digits, drawn by `seed` and stratified, in random order."""
    digits = reference.load("digits")
    images, labels = digits.images.float() / 16, digits.labels
    train, rest = train_test_split(range(len(labels)), train_size=1000, random_state=seed, stratify=labels.numpy())
    tune, judge = train_test_split(rest, train_size=200, random_state=seed, stratify=labels[rest].numpy())
    return Split(*((images[rows], labels[rows]) for rows in (train, tune, judge)))


FASHION_SEEDS = 20


def fashion_split(seed: int) -> Split:
    """2000 and 1000 training images of Fashion-MNIST, 2x2 pixels averaged. The 20 seeds share no image."""
    found = reference.load("fashion-mnist", split="train")
    block = len(found) // FASHION_SEEDS
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    rows = order[block * (seed % FASHION_SEEDS) :][:block]
    images, labels = F.avg_pool2d(found.images[rows].float() / 255, 2), found.labels[rows]
    train, judge = slice(0, 2 * block // 3), slice(2 * block // 3, block)
    return Split((images[train], labels[train]), (images[:0], labels[:0]), (images[judge], labels[judge]))


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


def train_source(train: Data, seed: int, norm: str) -> nn.Module:
    """15 epochs on clean images."""
    torch.manual_seed(seed)
    options = {"epochs": 15, "batch_size": BATCH, "drop_last": False, "seed": seed}
    adam = lambda parameters: torch.optim.Adam(parameters, lr=3e-3)  # noqa: E731
    return fit(network(norm), *train, supervised(F.cross_entropy), optimizer=adam, **options).model


def load_source(file: Path, norm: str) -> nn.Module:
    """The trained source model."""
    model = network(norm)
    model.load_state_dict(load_file(file))
    return model


CONSISTENCY = {"mt_ce": cross_entropy, "mt_mse": squared_error, "mt_sce": method.symmetric_cross_entropy}


@dataclass(frozen=True)
class Arm:
    """One way to adapt, with all that it needs but the learning rate."""

    name: str
    model: nn.Module
    train: Data
    seed: int
    momentum: float = 0.999
    mirror: bool = False

    def adapter(self, rate: float) -> Adapter:
        """A fresh adapter. All arms of a seed see the same second views; the projector comes from the seed too."""

        def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=rate)

        if self.name == "source":
            return Source(self.model)
        if self.name == "bn":
            return BatchStatistics(self.model)
        if self.name == "tent":
            return Tent(self.model, adam)
        second_view = SecondView(self.seed, mirror=self.mirror)
        if self.name in CONSISTENCY:
            return MeanTeacher(self.model, CONSISTENCY[self.name], adam, self.momentum, second_view)
        torch.manual_seed(self.seed)
        source = zip(self.train[0].split(BATCH), self.train[1].split(BATCH), strict=True)
        prototypes = method.source_prototypes(self.model, "fc", source, num_classes=10)
        setting = method.Setting(momentum=self.momentum)
        return method.RobustMeanTeacher(self.model, "fc", prototypes, adam, augment=second_view, setting=setting)

    def errors(self, stream: Stream, rate: float = RATE) -> list[float]:
        """The error in each batch of a stream, in percent."""
        return [100 * error for error in online_errors(self.adapter(rate), stream)]

    def error(self, stream: Stream, rate: float = RATE) -> float:
        """The error over all images of a stream, in percent."""
        return 100 * error_rate(self.adapter(rate), stream)

    def chosen_rate(self, stream: Stream) -> float:
        """The rate of the grid with the least error on a stream; the smaller one where two agree."""
        found = {rate: self.error(stream, rate) for rate in RATES}
        return min(RATES, key=lambda rate: found[rate])


def mean(batch_errors: list[float], stream: Stream) -> float:
    """The error over all images of a stream, whose batches may differ in size."""
    sizes = [len(labels) for _, labels in stream]
    return sum(size * error for size, error in zip(sizes, batch_errors, strict=True)) / sum(sizes)
