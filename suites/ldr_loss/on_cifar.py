"""CIFAR-100 as the paper trains it, ResNet-18 with noisy training and validation labels on one GPU; and less of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.distillation import normalised
from baselines.models import resnet18_cifar
from baselines.training import Batch, Diverged, fit, step_count, step_decay
from baselines.tuning import choose
from suites.ldr_loss.contenders import RATES, all_losses, fold, with_noise

CLASSES = 100
FEW = 10
"""Classes of CIFAR-10."""
QUICK_RATES, QUICK_DECAYS = (1e-1, 1e-2), (5e-3, 5e-4, 0.0)
"""What every loss may choose from on CIFAR-10, all pairs."""
TUNED_ON = 1000
"""The draw of images that settings are chosen on, apart from those that are compared."""
Part = tuple[torch.Tensor, torch.Tensor]


class Fold(NamedTuple):
    """Normalised float32 images on the device; labels of `train` and `validation` are noisy, those of `test` clean."""

    train: Part
    validation: Part
    test: Part


def cifar100(*, arm: str, seed: int, device: torch.device, noise: str, epochs: int, rows: int) -> dict[str, float]:
    """One fold, one loss; the learning rate by noisy validation accuracy."""
    data = noisy_fold(seed, noise, device, rows=rows)
    tried = {rate: train(data, arm, rate, classes=CLASSES, epochs=epochs, seed=seed) for rate in RATES}
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


def tuned_cifar10(*, arm: str, device: torch.device, noise: str, epochs: int, rows: int) -> dict[str, torch.Tensor]:
    """The learning rate and weight decay of best noisy validation accuracy, for one loss, on a draw of its own."""
    data = noisy_draw(TUNED_ON, noise, device, rows=rows)
    tried = {
        (rate, decay): train(data, arm, rate, decay=decay, classes=FEW, epochs=epochs, seed=TUNED_ON, quick=True)
        for rate in QUICK_RATES
        for decay in QUICK_DECAYS
    }
    validation = {setting: found["validation"] for setting, found in tried.items()}
    best = max(validation, key=lambda setting: validation[setting])  # the first of equals
    return {"setting": torch.tensor(best, dtype=torch.float64), "validation": torch.tensor([*validation.values()])}


def cifar10_jpeg(
    *, arm: str, seed: int, device: torch.device, noise: str, epochs: int, rows: int, tuned_cifar10: Path
) -> dict[str, float]:
    """One draw of images of the JPEG copy of CIFAR-10, one loss at its tuned setting."""
    rate, decay = load_file(tuned_cifar10)["setting"].tolist()
    data = noisy_draw(seed, noise, device, rows=rows)
    found = train(data, arm, rate, decay=decay, classes=FEW, epochs=epochs, seed=seed, quick=True)
    return {**found, "learning_rate": rate, "weight_decay": decay}


def noisy_draw(seed: int, noise: str, device: torch.device, *, rows: int) -> Fold:
    """`rows` training images of the JPEG copy of CIFAR-10, drawn by seed, a fifth to validate; y + 1 mod 10."""
    found, test = reference.load("cifar10-jpeg", "train"), reference.load("cifar10-jpeg", "test")
    drawn = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:rows]
    images, partner = found.images[drawn], torch.arange(1, FEW + 1) % FEW
    labels = with_noise(found.labels[drawn], noise, partner, seed=seed)
    parts = [(images[rows // 5 :], labels[rows // 5 :]), (images[: rows // 5], labels[: rows // 5])]
    parts.append((test.images, test.labels))
    return Fold(*((normalised(part, images).to(device), of_part.to(device)) for part, of_part in parts))


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


def train(
    data: Fold,
    name: str,
    rate: float,
    *,
    classes: int,
    epochs: int,
    seed: int,
    decay: float = 5e-3,
    quick: bool = False,
) -> dict[str, float]:
    """Train on one loss at one rate: SGD in batches of 64, rate / 10 after a third and two thirds of the epochs.

    `quick` runs the network in bfloat16 where there is CUDA; losses are in float32 in any case. Returns test top-1 ...
    top-5 and noisy validation top-1; all zero where training diverged.
    """
    inputs, labels = data.train
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = resnet18_cifar(classes).to(inputs.device)
    steps = step_count(len(inputs), 64, 1, drop_last=False)
    loss = all_losses(len(inputs), epochs * steps)[name]
    if isinstance(loss, nn.Module):
        loss.to(inputs.device)

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        return loss(model(batch.inputs).float(), batch.targets, batch.ids).mean()

    try:
        fit(
            network, inputs, labels, objective, epochs=epochs, batch_size=64, drop_last=False, seed=seed,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay),
            schedule=step_decay([epochs * steps // 3, 2 * epochs * steps // 3]), augment=augment, channels_last=True,
            precision=torch.bfloat16 if quick else None,
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
