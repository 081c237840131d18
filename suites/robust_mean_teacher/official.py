"""The protocols for a GPU: CIFAR-10 with corruptions made here, and the official CIFAR-10/100-C and ImageNet-C."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.adaptation import (
    Adapter,
    BatchStatistics,
    MeanTeacher,
    Source,
    Tent,
    cross_entropy,
    error_rate,
)
from baselines.models import wide_resnet
from baselines.training import cosine, crop_and_flip, fit, step_count, supervised
from reference.corruptions import NAMES, corrupt
from reference.imagenet import ImageFiles
from suites.robust_mean_teacher import method
from suites.robust_mean_teacher.augmentation import SecondView

Data = tuple[torch.Tensor, torch.Tensor]
PROTOTYPE_SAMPLES = 100_000
WARM_UP_SAMPLES = 50_000
EIGHT = (
    "gaussian_noise",
    "impulse_noise",
    "defocus_blur",
    "motion_blur",
    "fog",
    "contrast",
    "pixelate",
    "jpeg_compression",
)


@dataclass(frozen=True)
class Pool:
    """Labelled pictures in bytes: `pictures[ids]` is uint8 (B, 3, H, W)."""

    pictures: torch.Tensor | ImageFiles
    labels: torch.Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, order: torch.Tensor, size: int, device: torch.device) -> Iterator[Data]:
        """Images in [0, 1] and labels on the device, in the order of the ids."""
        for ids in order.split(size):
            yield self.pictures[ids].to(device).float() / 255, self.labels[ids].to(device)


def load(name: str, split: str, limit: int = 0) -> Pool:
    """A set of the catalogue; only its first `limit` pictures, if given."""
    found = reference.load(name, split=split)
    keep = torch.arange(len(found))[: limit or None]
    if isinstance(found, ImageFiles):
        paths = tuple(found.paths[number] for number in keep.tolist())
        return Pool(ImageFiles(paths, found.labels[keep], found.classes), found.labels[keep], len(found.classes))
    return Pool(found.images[keep], found.labels[keep], len(found.classes))


def joined(pools: list[Pool]) -> Pool:
    """All pictures of several pools."""
    labels, classes = torch.cat([pool.labels for pool in pools]), pools[0].classes
    pictures = [pool.pictures for pool in pools]
    if isinstance(pictures[0], ImageFiles):
        paths = itertools.chain.from_iterable(files.paths for files in pictures)
        return Pool(ImageFiles(tuple(paths), labels, pictures[0].classes), labels, classes)
    return Pool(torch.cat(pictures), labels, classes)


@dataclass(frozen=True)
class Setup:
    """What the adapters of one benchmark share."""

    model: nn.Module
    classifier: str
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    batch: int
    source: Pool
    device: torch.device

    def adapter(self, arm: str, seed: int) -> Adapter:
        """The adapter that an arm names; "rmt" is source-free, "rmt_replay" replays, "rmt_full" warms up as well."""
        if arm == "source":
            return Source(self.model)
        if arm == "bn":
            return BatchStatistics(self.model)
        if arm == "tent":
            return Tent(self.model, self.optimizer)
        view, setting = SecondView(seed), method.Setting()
        if arm == "mt_ce":
            return MeanTeacher(self.model, cross_entropy, self.optimizer, setting.momentum, view)
        generator = torch.Generator().manual_seed(seed)

        def shuffled() -> Iterator[Data]:
            order = torch.randperm(len(self.source), generator=generator)
            whole = len(order) // self.batch * self.batch or len(order)
            return self.source.batches(order[:whole], self.batch, self.device)

        few = itertools.islice(shuffled(), max(1, PROTOTYPE_SAMPLES // self.batch))
        prototypes = method.source_prototypes(self.model, self.classifier, few, self.source.classes)
        endless = itertools.chain.from_iterable(shuffled() for _ in itertools.count())
        torch.manual_seed(seed)  # the projector
        adapted = method.RobustMeanTeacher(
            self.model, self.classifier, prototypes, self.optimizer,
            augment=view, setting=setting, replay=None if arm == "rmt" else endless,
        )  # fmt: skip
        if arm == "rmt_full":
            steps = min(WARM_UP_SAMPLES, len(self.source)) // self.batch
            adapted.warm_up((images for images, _ in endless), steps)
        return adapted


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The official optimiser for CIFAR."""
    return torch.optim.Adam(parameters, lr=1e-3, betas=(0.9, 0.999))


def momentum_sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The official optimiser for ImageNet."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


# CIFAR-10 with corruptions made here.


def train_wide_resnet(seed: int, device: torch.device, epochs: int, limit: int) -> dict[str, torch.Tensor]:
    """WRN-16-4 on CIFAR-10 images in [0, 1]: SGD, a cosine after one epoch of warm-up, crops and mirror images."""
    train = load("cifar10", "train", limit)
    torch.manual_seed(seed)
    model = wide_resnet(16, 4).to(device)
    steps = step_count(len(train), 128, epochs, drop_last=True)
    move = crop_and_flip(4)
    fit(
        model, train.pictures.to(device), train.labels.to(device), supervised(F.cross_entropy),
        epochs=epochs, batch_size=128, drop_last=True, seed=seed,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=cosine(steps, warmup=steps // epochs),
        augment=lambda images, generator: move(images, generator).float() / 255,
        precision=torch.bfloat16, channels_last=True,
    )  # fmt: skip
    return {name: value.cpu().contiguous() for name, value in model.state_dict().items()}


def corrupted_cifar10(seed: int, limit: int) -> dict[str, torch.Tensor]:
    """uint8 (8, N, 3, 32, 32) test images and their labels."""
    clean = load("cifar10", "test", limit)
    return {"images": torch.stack([corrupt(clean.pictures, name, 5, seed) for name in EIGHT]), "labels": clean.labels}


def wide_resnet_setup(weights: Path, device: torch.device, limit: int) -> Setup:
    """The trained WRN-16-4 and its training images."""
    model = wide_resnet(16, 4)
    model.load_state_dict(load_file(weights))
    return Setup(model.to(device), "fc", adam, 200, load("cifar10", "train", limit), device)


def read_stream(file: Path, seed: int, device: torch.device) -> Iterator[Data]:
    """Batches of 200, one corruption after the other, each in an order of its own."""
    found, generator = load_file(file), torch.Generator().manual_seed(seed)
    for images in found["images"]:
        order = torch.randperm(len(images), generator=generator)
        yield from Pool(images, found["labels"], 10).batches(order, 200, device)


# The official benchmarks.


class Normalised(nn.Module):
    """(x - mean) / std for each channel."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class Bottleneck(nn.Module):
    """ResNeXt's block with 4 groups of `width` / 64 * 32 channels, under the names of the published weights."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        inner, outputs = 2 * width, 4 * width
        self.conv_reduce, self.bn_reduce = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv_conv = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=4, bias=False)
        self.bn = nn.BatchNorm2d(inner)
        self.conv_expand, self.bn_expand = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.bn_reduce(self.conv_reduce(images)))
        inner = F.relu(self.bn(self.conv_conv(inner)))
        return F.relu(self.downsample(images) + self.bn_expand(self.conv_expand(inner)))


def resnext29(num_classes: int) -> nn.Sequential:
    """ResNeXt-29 4x32d for CIFAR, under the names of the published weights. Classifier: `.classifier`."""
    stages: list[tuple[str, nn.Module]] = []
    for number, (inputs, width) in enumerate(((64, 64), (256, 128), (512, 256)), 1):
        blocks = [
            Bottleneck(inputs, width, 1 if number == 1 else 2),
            *(Bottleneck(4 * width, width, 1) for _ in range(2)),
        ]
        stages.append((f"stage_{number}", nn.Sequential(*blocks)))
    stem = [
        ("conv_1_3x3", nn.Conv2d(3, 64, 3, padding=1, bias=False)),
        ("bn_1", nn.BatchNorm2d(64)),
        ("relu", nn.ReLU()),
    ]
    head = [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("classifier", nn.Linear(1024, num_classes))]
    return nn.Sequential(OrderedDict([*stem, *stages, *head]))


def setup(benchmark: str, device: torch.device, limit: int) -> Setup:
    """Model, weights, optimiser and source images of the official runs."""
    if benchmark == "cifar10":
        model, weights, classifier = wide_resnet(28, 10), "robustbench-cifar10", "fc"
    elif benchmark == "cifar100":
        model, weights, classifier = resnext29(100), "robustbench-cifar100", "1.classifier"
    else:
        model, weights, classifier = torchvision.models.resnet50(), "torchvision-resnet50", "1.fc"
    found = reference.load(weights)
    model.load_state_dict({name: value for name, value in found.items() if name not in ("mu", "sigma")})
    if benchmark == "cifar100":
        model = nn.Sequential(Normalised((0.5,) * 3, (0.5,) * 3), model)
    if benchmark == "imagenet":
        model = nn.Sequential(Normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), model)
    optimizer, batch = (momentum_sgd, 64) if benchmark == "imagenet" else (adam, 200)
    source = load("imagenet-1k-train" if benchmark == "imagenet" else benchmark, "train", limit)
    return Setup(model.to(device), classifier, optimizer, batch, source, device)


def benchmark(name: str, arm: str, seed: int, device: torch.device, order: str, limit: int) -> dict[str, float]:
    """The error in percent over 15 corruptions of severity 5, one after the other ("continual") or "mixed"."""
    prepared, generator = setup(name, device, limit), torch.Generator().manual_seed(seed)
    pools = [load(f"{name}-c", f"{corruption}-5", limit) for corruption in NAMES]
    streams = [joined(pools)] if order == "mixed" else pools
    orders = [torch.randperm(len(pool), generator=generator) for pool in streams]
    stream = itertools.chain.from_iterable(
        pool.batches(order, prepared.batch, device) for pool, order in zip(streams, orders, strict=True)
    )
    return {"error": 100 * error_rate(prepared.adapter(arm, seed), stream)}
