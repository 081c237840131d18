"""The protocols for a GPU: CIFAR-10 with corruptions made here, and the official CIFAR-10/100-C and ImageNet-C."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.adaptation import Adapter, MakeOptimizer, error_rate
from baselines.models import wide_resnet
from baselines.training import cosine, crop_and_flip, fit, step_count, supervised
from suites.robust_mean_teacher import method
from suites.robust_mean_teacher.contenders import BASELINES, Data, baseline, second_view
from suites.robust_mean_teacher.exact import Metrics
from suites.robust_mean_teacher.networks import Normalised, resnext29

if TYPE_CHECKING:
    from reference.imagenet import ImageFiles

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
    keep = slice(limit or None)
    labels = found.labels[keep]
    listed = hasattr(found, "paths")  # pictures that stay files until they are needed
    pictures = replace(found, paths=found.paths[keep], labels=labels) if listed else found.images[keep]
    return Pool(pictures, labels, len(found.classes))


def joined(pools: list[Pool]) -> Pool:
    """All pictures of several pools."""
    labels, pictures = torch.cat([pool.labels for pool in pools]), [pool.pictures for pool in pools]
    if isinstance(pictures[0], torch.Tensor):
        return Pool(torch.cat(pictures), labels, pools[0].classes)
    paths = itertools.chain.from_iterable(files.paths for files in pictures)
    return Pool(replace(pictures[0], paths=tuple(paths), labels=labels), labels, pools[0].classes)


@dataclass(frozen=True)
class Setup:
    """What the adapters of one benchmark share."""

    model: nn.Module
    classifier: str
    optimizer: MakeOptimizer
    batch: int
    source: Pool
    device: torch.device

    def adapter(self, arm: str, seed: int) -> Adapter:
        """The adapter that an arm names; "rmt" is source-free, "rmt_replay" replays, "rmt_full" warms up as well."""
        setting = method.Setting()
        if arm in BASELINES:
            return baseline(arm, self.model, self.optimizer, setting.momentum, seed)
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
            augment=second_view(seed), setting=setting, replay=None if arm == "rmt" else endless,
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


def cifar_source(*, seed: int, device: torch.device, epochs: int, limit: int) -> dict[str, torch.Tensor]:
    """WRN-16-4 on CIFAR-10 images in [0, 1]: SGD, a cosine after one epoch of warm-up, crops and mirror images."""
    return trained_source(load("cifar10", "train", limit), seed, device, epochs)


def jpeg_source(*, seed: int, device: torch.device, epochs: int, train: int) -> dict[str, torch.Tensor]:
    """The same on the JPEG copy of CIFAR-10."""
    return trained_source(some("train", train, seed), seed, device, epochs)


def some(split: str, count: int, seed: int) -> Pool:
    """`count` pictures of the JPEG copy of CIFAR-10, drawn by seed: its files go class by class."""
    whole = load("cifar10-jpeg", split)
    rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:count]
    return Pool(whole.pictures[rows], whole.labels[rows], whole.classes)


def trained_source(train: Pool, seed: int, device: torch.device, epochs: int) -> dict[str, torch.Tensor]:
    """The weights of a WRN-16-4."""
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


def cifar_stream(*, seed: int, limit: int) -> dict[str, torch.Tensor]:
    """CIFAR-10's test images under eight corruptions of severity 5, uint8 (8, N, 3, 32, 32), and their labels."""
    return corrupted(load("cifar10", "test", limit), seed)


def jpeg_stream(*, seed: int, test: int) -> dict[str, torch.Tensor]:
    """The same of some test images of the JPEG copy of CIFAR-10."""
    return corrupted(some("test", test, seed), seed)


def corrupted(clean: Pool, seed: int) -> dict[str, torch.Tensor]:
    """A pool under each of `EIGHT`."""
    from reference.corruptions import corrupt

    return {"images": torch.stack([corrupt(clean.pictures, name, 5, seed) for name in EIGHT]), "labels": clean.labels}


def read_stream(file: Path, seed: int, device: torch.device) -> Iterator[Data]:
    """Batches of 200, one corruption after the other, each in an order of its own."""
    found, generator = load_file(file), torch.Generator().manual_seed(seed)
    for images in found["images"]:
        order = torch.randperm(len(images), generator=generator)
        yield from Pool(images, found["labels"], 10).batches(order, 200, device)


def cifar10_corrupted(
    *,
    arm: str,
    seed: int,
    device: torch.device,
    limit: int,
    cifar_source: Path,
    cifar_stream: Path,
    **_: object,  # the epochs of the source model
) -> Metrics:
    """Eight in-process corruptions of CIFAR-10 in sequence."""
    return adapted(arm, seed, device, load("cifar10", "train", limit), cifar_source, cifar_stream)


def cifar10_jpeg_corrupted(
    *,
    arm: str,
    seed: int,
    device: torch.device,
    train: int,
    jpeg_source: Path,
    jpeg_stream: Path,
    **_: object,  # the epochs of the source model, the length of the stream
) -> Metrics:
    """The same of the JPEG copy of CIFAR-10."""
    return adapted(arm, seed, device, some("train", train, seed), jpeg_source, jpeg_stream)


def adapted(arm: str, seed: int, device: torch.device, train: Pool, source: Path, stream: Path) -> Metrics:
    """The error in percent of an arm on a stream."""
    model = wide_resnet(16, 4)
    model.load_state_dict(load_file(source))
    prepared = Setup(model.to(device), "fc", adam, 200, train, device)
    return {"error": 100 * error_rate(prepared.adapter(arm, seed), read_stream(stream, seed, device))}


# The official benchmarks.


def setup(benchmark: str, device: torch.device, limit: int) -> Setup:
    """Model, weights, optimiser and source images of the official runs."""
    if benchmark == "cifar10":
        model, weights, classifier = wide_resnet(28, 10), "robustbench-cifar10", "fc"
    elif benchmark == "cifar100":
        model, weights, classifier = resnext29(100), "robustbench-cifar100", "1.classifier"
    else:
        import torchvision

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


def benchmark(name: str, arm: str, seed: int, device: torch.device, order: str, limit: int) -> Metrics:
    """The error in percent over 15 corruptions of severity 5, one after the other ("continual") or "mixed"."""
    from reference.corruptions import NAMES

    prepared, generator = setup(name, device, limit), torch.Generator().manual_seed(seed)
    pools = [load(f"{name}-c", f"{corruption}-5", limit) for corruption in NAMES]
    streams = [joined(pools)] if order == "mixed" else pools
    orders = [torch.randperm(len(pool), generator=generator) for pool in streams]
    stream = itertools.chain.from_iterable(
        pool.batches(order, prepared.batch, device) for pool, order in zip(streams, orders, strict=True)
    )
    return {"error": 100 * error_rate(prepared.adapter(arm, seed), stream)}


def cifar10_c(*, arm: str, seed: int, device: torch.device, order: str, limit: int) -> Metrics:
    """CIFAR-10-C with RobustBench's WRN-28-10."""
    return benchmark("cifar10", arm, seed, device, order, limit)


def cifar100_c(*, arm: str, seed: int, device: torch.device, order: str, limit: int) -> Metrics:
    """CIFAR-100-C with RobustBench's ResNeXt-29."""
    return benchmark("cifar100", arm, seed, device, order, limit)


def imagenet_c(*, arm: str, seed: int, device: torch.device, order: str, limit: int) -> Metrics:
    """ImageNet-C with torchvision's ResNet-50."""
    return benchmark("imagenet", arm, seed, device, order, limit)
