"""Convolutional networks on CIFAR-10: how the first weights set the first DSE; and the paper's backbones, in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import nn
from torch.nn import functional as F

import reference
from baselines.distillation import normalised
from baselines.models import conv_net
from baselines.small_data import Part, drawn
from baselines.training import Fit, cosine, fit, step_count, supervised
from suites.diffusion_spectral_entropy.method import dse, dsmi, groups
from suites.diffusion_spectral_entropy.on_noise import correlation

CHANNELS, ROWS, TESTED = (16, 32, 64), 2000, 1000
EPOCHS, RATE, BATCH = 4, 3e-3, 50
FACTORS = {"small": 0.3, "large": 3.0}
"""Standard deviations of the first weights over Kaiming's, a tenfold difference as between the paper's 1e-2 and 1e-1,
which for the layers of a ResNet-50 lie below and above it."""
TWIN_GAIN = 2.0**10
"""A power of two, so that multiplying and dividing by it changes no bit."""


def pictures() -> dict[str, torch.Tensor]:
    """The 10,000 test images of the JPEG copy of CIFAR-10 in [0, 1], averaged to (3, 16, 16), and their labels."""
    found = reference.load("cifar10-jpeg", "test")
    return {"images": F.avg_pool2d(found.images.float() / 255, 2), "labels": found.labels}


class Gained(nn.Module):
    """A network whose features are multiplied by `gain`, and divided by it again in front of its classifier."""

    def __init__(self, network: nn.Sequential, gain: float) -> None:
        super().__init__()
        self.network, self.gain = network, gain

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.network[:-1](images) * self.gain

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network[-1](self.features(images) / self.gain)


def started(factor: float, gain: float, seed: int) -> Gained:
    """A small network with batch norm, its convolutions' weights normal with `factor` times Kaiming's deviation."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = conv_net(10, CHANNELS, in_channels=3)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                with torch.no_grad():
                    layer.weight.mul_(factor)
    return Gained(network, gain)


class Course:
    """What a network was like before training and after every epoch: its DSE at sigma = 10, and its test accuracy."""

    def __init__(self, model: Gained, test: Part) -> None:
        self.model, self.test = model, test
        self.entropies: list[float] = []
        self.accuracies: list[float] = []
        self.note(None)

    @torch.no_grad()
    def note(self, _: Fit | None) -> None:
        self.model.eval()
        self.entropies.append(dse(self.model.features(self.test[0])))
        self.accuracies.append(float((self.model(self.test[0]).argmax(1) == self.test[1]).double().mean()))
        self.model.train()


def course(factor: float, gain: float, seed: int, pictures: Path, *, rate: float = RATE) -> Course:
    """A network trained from such weights, measured on 1,000 images."""
    found = load_file(pictures)
    images, labels = drawn((found["images"] - 0.5, found["labels"]), ROWS + TESTED, seed)
    model = started(factor, gain, seed)
    seen = Course(model, (images[ROWS:], labels[ROWS:]))
    fit(
        model, images[:ROWS], labels[:ROWS], supervised(F.cross_entropy), epochs=EPOCHS, batch_size=BATCH,
        drop_last=True, seed=seed, optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=rate),
        on_epoch=seen.note,
    )  # fmt: skip
    return seen


def initialisation(*, arm: str, seed: int, rate: float, pictures: Path) -> dict[str, float]:
    """Small or large first weights: DSE before training and after an epoch, accuracy after the first and last epoch."""
    seen = course(FACTORS[arm], 1.0, seed, pictures, rate=rate)
    return {
        "dse_start": seen.entropies[0],
        "dse_first": seen.entropies[1],
        "accuracy_first": seen.accuracies[1],
        "accuracy": seen.accuracies[-1],
    }


def twins(*, seed: int, pictures: Path) -> dict[str, float]:
    """Two networks that are one function, one with features a thousand times as large: DSE alone differs.

    `alone` is by how much, and 0 if their accuracies ever differ.
    """
    plain, grown = (course(FACTORS["small"], gain, seed, pictures) for gain in (1.0, TWIN_GAIN))
    return {
        "dse_start": plain.entropies[0],
        "dse_start_of_twin": grown.entropies[0],
        "alone": grown.entropies[0] - plain.entropies[0] if grown.accuracies == plain.accuracies else 0.0,
        "accuracy": plain.accuracies[-1],
    }


# The paper's own protocol.

BACKBONES = (
    "resnet50", "resnext50_32x4d", "convnext_nano", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224",
    "xcit_nano_12_p16_224",
)  # fmt: skip
"""The six networks, by their names in timm."""
RATES = {"mnist": 1e-5, "cifar10": 1e-4, "cifar10-jpeg": 1e-4}
CLASSES, EVERY, WARM_UP = 10, 10, 20
"""Epochs from one look to the next, and the part of all epochs in which the rate rises, a twentieth."""


def backbone(name: str, seed: int, size: int) -> nn.Module:
    """An untrained network of timm with the authors' first weights: Kaiming's in convolutions, 1e-3 in linear layers.

    Raises ValueError for networks that are not the paper's.
    """
    if name not in BACKBONES:
        raise ValueError(f"name must be one of {', '.join(BACKBONES)}, got {name!r}")
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sized: dict[str, Any] = {"img_size": size} if name.startswith(("vit", "swin")) else {}
        network = timm.create_model(name, pretrained=False, num_classes=CLASSES, **sized)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=1e-3)
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images of three channels and that many pixels a side, one batch at a time: a whole set would not fit."""
    coloured = images.expand(-1, 3, -1, -1)
    return coloured if size == images.shape[-1] else F.interpolate(coloured, size, mode="bicubic", antialias=True)


class Resized(nn.Module):
    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(resized(images, self.size))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.network.forward_features(resized(images, self.size))  # type: ignore[operator]
        return self.network.forward_head(hidden, pre_logits=True)  # type: ignore[operator]


def backbones(
    *, arm: str, seed: int, device: torch.device, data: str, name: str, size: int, epochs: int, rows: int
) -> dict[str, float]:
    """One network trained with true or shuffled labels on one set; DSE, DSMI with labels and inputs on the test part.

    Trained on the first `rows` images, measured every ten epochs on as many of the test part as there are up to `rows`.
    """
    parts = [reference.load(data, part) for part in ("train", "test")]
    (images, test), (labels, answers) = zip(*[(p.images[:rows], p.labels[:rows]) for p in parts], strict=True)
    if arm == "shuffled":
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    elif arm != "true":
        raise ValueError(f"arm must be 'true' or 'shuffled', got {arm!r}")
    inputs, shown = (normalised(one, images).to(device) for one in (images, test))
    clusters = groups(F.interpolate(test.float(), 64, mode="bicubic").flatten(1), 10, seed=seed)
    model = Resized(backbone(name, seed, size), size).to(device)
    rows_of: dict[str, list[float]] = {"dse": [], "labels": [], "inputs": [], "accuracy": []}

    @torch.no_grad()
    def note(done: Fit | None) -> None:
        if done and len(done.losses) % EVERY and len(done.losses) < epochs:
            return
        model.eval()
        z = torch.cat([model.features(part) for part in shown.split(250)])
        guesses = torch.cat([model(part).argmax(1).cpu() for part in shown.split(250)])
        model.train()
        found = dse(z), dsmi(z, answers), dsmi(z, clusters), float((guesses == answers).double().mean())
        for values, value in zip(rows_of.values(), found, strict=True):
            values.append(value)

    note(None)
    steps = step_count(len(inputs), 128, epochs, drop_last=False)
    fit(
        model, inputs, labels.to(device), supervised(F.cross_entropy), epochs=epochs, batch_size=128, drop_last=False,
        seed=seed, optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=RATES[data]),
        schedule=cosine(steps, warmup=steps // WARM_UP), precision=torch.bfloat16, on_epoch=note,
    )  # fmt: skip
    along = range(len(rows_of["dse"]))
    return {
        "accuracy": rows_of["accuracy"][-1],
        **{f"{name}_start": values[0] for name, values in rows_of.items() if name != "accuracy"},
        **{f"{name}_end": values[-1] for name, values in rows_of.items() if name != "accuracy"},
        **{f"{name}_rank": correlation(rankdata(along), rankdata(values)) for name, values in rows_of.items()},
    }
