"""CIFAR-100 as the paper trains it: ResNet-18, five folds, noisy training and validation labels, on one GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import KFold
from torch import nn
from torch.nn import functional as F

import reference
from baselines.models import resnet18_cifar
from baselines.training import Batch, Diverged, fit, step_count, step_decay
from suites.ldr_loss.contenders import all_losses, with_noise

CLASSES = 100


@dataclass(frozen=True)
class Fold:
    """Normalised float32 images on the device; labels of `train` and `validation` are noisy, those of `test` clean."""

    train: tuple[torch.Tensor, torch.Tensor]
    validation: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def fold(number: int, noise: str, device: torch.device, *, rows: int) -> Fold:
    """One of five folds of the first `rows` training images, in the order of the file; class noise is y + 1 mod K."""
    train, test = reference.load("cifar100", "train"), reference.load("cifar100", "test")
    partner = torch.arange(1, CLASSES + 1) % CLASSES
    labels = with_noise(train.labels[:rows], noise, partner, seed=number)
    pixels = train.images[:rows].float() / 255
    mean, std = (statistic.view(1, 3, 1, 1) for statistic in (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))))

    def part(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return ((images - mean) / std).to(device), labels.to(device)

    kept, held = list(KFold(5).split(np.arange(rows)))[number % 5]
    return Fold(
        part(pixels[kept], labels[kept]),
        part(pixels[held], labels[held]),
        part(test.images[:rows].float() / 255, test.labels[:rows]),
    )


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The paper's: a random 30x30 crop of each image, mirrored half the time, resized to 32x32 again."""
    count, device = len(images), images.device
    shifts = torch.randint(3, (2, count, 1), generator=generator, device=device)
    mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
    rows, columns = shifts + torch.arange(30, device=device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(count, device=device)[:, None, None]
    crops = images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return F.interpolate(crops, size=(32, 32), mode="bilinear", align_corners=False)


def train(data: Fold, name: str, rate: float, *, epochs: int, seed: int) -> dict[str, float]:
    """Train on one loss at one rate: SGD in batches of 64, rate / 10 after a third and two thirds of the epochs.

    Returns test top-1 ... top-5 and noisy validation top-1; all zero where training diverged.
    """
    inputs, labels = data.train
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = resnet18_cifar(CLASSES).to(inputs.device)
    steps = step_count(len(inputs), 64, 1, drop_last=False)
    loss = all_losses(len(inputs), epochs * steps)[name]
    if isinstance(loss, nn.Module):
        loss.to(inputs.device)

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        return loss(model(batch.inputs), batch.targets, batch.ids).mean()

    try:
        fit(
            network,
            inputs,
            labels,
            objective,
            epochs=epochs,
            batch_size=64,
            drop_last=False,
            seed=seed,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-3),
            schedule=step_decay([epochs * steps // 3, 2 * epochs * steps // 3]),
            augment=augment,
            channels_last=True,
        )
    except Diverged:
        return {**{f"top{k}": 0.0 for k in range(1, 6)}, "validation": 0.0}
    tops = accuracies(network, *data.test)
    return {
        **{f"top{k + 1}": value for k, value in enumerate(tops)},
        "validation": accuracies(network, *data.validation)[0],
    }


@torch.no_grad()
def accuracies(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Top-1 ... top-5."""
    network.eval()
    best = torch.cat([network(part).topk(5, dim=1).indices for part in images.split(500)])
    return [float(value) for value in (best == labels[:, None]).cumsum(1).double().mean(0)]
