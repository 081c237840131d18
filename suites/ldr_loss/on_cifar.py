"""CIFAR-100 as the paper trains it: ResNet-18, five folds, noisy training and validation labels, on one GPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.distillation import normalised
from baselines.models import resnet18_cifar
from baselines.training import Batch, Diverged, fit, step_count, step_decay
from baselines.tuning import choose
from suites.ldr_loss.contenders import RATES, all_losses, fold, with_noise

CLASSES = 100


Part = tuple[torch.Tensor, torch.Tensor]


class Fold(NamedTuple):
    """Normalised float32 images on the device; labels of `train` and `validation` are noisy, those of `test` clean."""

    train: Part
    validation: Part
    test: Part


def cifar100(*, arm: str, seed: int, device: torch.device, noise: str, epochs: int, rows: int) -> dict[str, float]:
    """One fold, one loss; the learning rate by noisy validation accuracy."""
    data = noisy_fold(seed, noise, device, rows=rows)
    tried = {rate: train(data, arm, rate, epochs=epochs, seed=seed) for rate in RATES}
    rate = choose({rate: found["validation"] for rate, found in tried.items()})
    return {**tried[rate], "learning_rate": rate}


def noisy_fold(number: int, noise: str, device: torch.device, *, rows: int) -> Fold:
    """One of five folds of the first `rows` training images; class noise is y + 1 mod K."""
    found, test = reference.load("cifar100", "train"), reference.load("cifar100", "test")
    partner = torch.arange(1, CLASSES + 1) % CLASSES
    images, labels = found.images[:rows], with_noise(found.labels[:rows], noise, partner, seed=number)

    def part(images: torch.Tensor, labels: torch.Tensor) -> Part:
        return normalised(images, found.images[:rows]).to(device), labels.to(device)

    kept, held = fold(number, rows)
    return Fold(
        part(images[kept], labels[kept]),
        part(images[held], labels[held]),
        part(test.images[:rows], test.labels[:rows]),
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
            network, inputs, labels, objective, epochs=epochs, batch_size=64, drop_last=False, seed=seed,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-3),
            schedule=step_decay([epochs * steps // 3, 2 * epochs * steps // 3]), augment=augment, channels_last=True,
        )  # fmt: skip
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
