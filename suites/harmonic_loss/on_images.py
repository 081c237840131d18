"""The paper's vision runs on a GPU: MLP, CNN, ResNet-50 and PVT on MNIST, CIFAR-10 and CIFAR-100, one head each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.models import mlp
from baselines.training import (
    Augment,
    MakeOptimizer,
    Schedule,
    cosine,
    crop_and_flip,
    fit,
    step_count,
    step_decay,
    supervised,
)
from suites.harmonic_loss.contenders import top2
from suites.harmonic_loss.method import HarmonicHead

EXPONENTS = {"euclidean": 2.0}
"""As printed n = 1 for every metric: of the squared distance for Euclid, so 2 here, and of the distance for others."""


EPOCHS = {"mlp": 40, "cnn": 40, "resnet50": 100, "pvt": 80}
BATCHES = {
    ("mlp", "mnist"): 2048, ("mlp", "cifar10"): 1024, ("cnn", "mnist"): 8192, ("cnn", "cifar10"): 4096,
    ("resnet50", "cifar10"): 512, ("pvt", "cifar10"): 512,
}  # fmt: skip


def vision(
    *, arm: str, seed: int, device: torch.device, data: str, backbone: str, rows: int = 60_000, epochs: int = 0
) -> dict[str, float]:
    """Test accuracy after the last epoch, and the variance that principal components of test features explain.

    `arm` is "ce", a linear classifier with bias, or a metric. `rows` takes so many images of each part at most, and
    `epochs` stand in for the official number where they are not 0.
    """
    epochs = epochs or EPOCHS[backbone]
    train, test = (reference.load(data, part) for part in ("train", "test"))
    classes, side = len(train.classes), 28 if data == "mnist" and backbone in ("mlp", "cnn") else 32
    (images, labels), (tested, answers) = (
        (scaled(one.images[:rows], side, 1 if side == 28 else 3).to(device), one.labels[:rows].to(device))
        for one in (train, test)
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body, width = BODIES[backbone](images.shape[1], side)
        head = nn.Linear(width, classes) if arm == "ce" else HarmonicHead(
            width, classes, metric=arm, exponent=EXPONENTS.get(arm, 1.0)
        )  # fmt: skip
    network = nn.Sequential(body, head).to(device)
    batch = min(BATCHES[backbone, data], len(labels))
    steps = step_count(len(labels), batch, 1, drop_last=True)
    optimizer, schedule, augment = recipe(backbone, steps, epochs)
    fit(
        network, images, labels, supervised(lambda found, y: F.cross_entropy(found.float(), y)),
        epochs=epochs, batch_size=batch, drop_last=True, seed=seed, augment=augment, channels_last=True,
        precision=torch.bfloat16 if backbone in ("resnet50", "pvt") else None,
        optimizer=optimizer, schedule=schedule,
    )  # fmt: skip
    network.eval()
    with torch.no_grad():
        features = torch.cat([body(part).float() for part in tested.split(500)])
        found = torch.cat([head(part) for part in features.split(500)]).argmax(1)
    share = top2(features[None, :2000].cpu(), standardised=True)
    return {"accuracy": float((found == answers).double().mean()), "feature_top2": float(share)}


def deep_vision(
    *, arm: str, seed: int, device: torch.device, backbone: str, rows: int = 60_000, epochs: int = 0
) -> dict[str, float]:
    """`vision` on CIFAR-10 with a large network, which needs more of the machine."""
    return vision(arm=arm, seed=seed, device=device, data="cifar10", backbone=backbone, rows=rows, epochs=epochs)


def scaled(images: torch.Tensor, side: int, channels: int) -> torch.Tensor:
    """Pixels (n, C, H, W) of 0..255 with mean and deviation 0.5, resized and with the channel repeated as needed."""
    pixels = (images.float() / 255 - 0.5) / 0.5
    pixels = pixels if pixels.shape[-1] == side else F.interpolate(pixels, size=side, mode="bilinear", antialias=True)
    return pixels.expand(-1, channels, -1, -1).contiguous() if pixels.shape[1] == 1 else pixels


Body = tuple[nn.Module, int]


def _mlp(channels: int, side: int) -> Body:
    return nn.Sequential(mlp([channels * side * side, 512, 256]), nn.ReLU()), 256


def _cnn(channels: int, side: int) -> Body:
    layers: list[nn.Module] = []
    for inputs, outputs in ((channels, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 128), nn.ReLU()), 128


def _resnet50(channels: int, side: int) -> Body:  # noqa: ARG001
    import torchvision

    network = torchvision.models.resnet50()
    network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    network.maxpool, network.fc = nn.Identity(), nn.Identity()
    return network, 2048


def _pvt(channels: int, side: int) -> Body:  # noqa: ARG001
    import timm

    return timm.create_model("pvt_v2_b0", num_classes=0, in_chans=channels), 256


BODIES: dict[str, Callable[[int, int], Body]] = {"mlp": _mlp, "cnn": _cnn, "resnet50": _resnet50, "pvt": _pvt}
"""From channels and side of the images to a network up to its features, and their number."""


def recipe(backbone: str, steps: int, epochs: int) -> tuple[MakeOptimizer, Schedule | None, Augment | None]:
    """Optimiser, schedule and augmentation of the official settings for CIFAR-10; `steps` an epoch."""
    if backbone == "resnet50":
        milestones = [steps * epoch for epoch in range(30, epochs, 30)]
        return (
            (lambda of: torch.optim.SGD(of, lr=0.1, momentum=0.9, weight_decay=1e-4)),
            step_decay(milestones),
            crop_and_flip(),
        )
    if backbone == "pvt":
        return (lambda of: torch.optim.AdamW(of, lr=1e-3, weight_decay=0.01)), cosine(steps * epochs), None
    return (lambda of: torch.optim.Adam(of, lr=3e-4)), None, None
