"""The paper's networks on CIFAR-10 and EMNIST letters: MLPs, ResNet-18 and VGG-16 with a deep linear head."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.models import resnet18_cifar
from suites.deep_linear_collapse.method import DeepLinearHead
from suites.deep_linear_collapse.networks import (
    Data,
    Metrics,
    Network,
    Recipe,
    collapse,
    imbalanced_collapse,
    take,
)

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def cifar10(counts: list[int], seed: int, device: torch.device, name: str = "cifar10") -> Data:
    """`counts[k]` training images of class k of CIFAR-10 or its copy, normalised, float32 (N, 3, 32, 32)."""
    train_set = reference.load(name, split="train")
    images, labels = take(train_set.images, train_set.labels, counts, seed)
    mean, std = torch.tensor(CIFAR_MEAN).view(3, 1, 1), torch.tensor(CIFAR_STD).view(3, 1, 1)
    return ((images.float() / 255 - mean) / std).to(device), labels.to(device)


def emnist_letters(per_class: int, seed: int, device: torch.device) -> Data:
    """`per_class` letters a class, resized to 32x32 and repeated to 3 channels, normalised as MNIST is."""
    train_set = reference.load("emnist-letters", split="train")
    images, labels = take(train_set.images, train_set.labels, [per_class] * len(train_set.classes), seed)
    resized = torch.cat(
        [F.interpolate(part.float() / 255, (32, 32), mode="bilinear", antialias=True) for part in images.split(5000)]
    )
    return ((resized - 0.1307) / 0.3081).to(device).expand(-1, 3, -1, -1), labels.to(device)


def paper_mlp(seed: int, width: int, classes: int, depth: int, *, bias: bool, norm: bool = True) -> Network:
    """Six layers of Linear, ReLU and BatchNorm, a last BatchNorm, then M linear layers.

    Without `norm`, as for unequal classes, a linear layer stands in for the last BatchNorm and there are no others.
    """
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (3 * 32 * 32, *[width] * 5):
        layers += [nn.Linear(inputs, width), nn.ReLU(), *([nn.BatchNorm1d(width)] if norm else [])]
    layers.append(nn.BatchNorm1d(width) if norm else nn.Linear(width, width))
    return Network(nn.Sequential(*layers), DeepLinearHead(width, classes, depth, bias=bias))


def convnet(seed: int, architecture: str, depth: int, *, bias: bool) -> Network:
    """ResNet-18 or VGG-16 without its classifier, BatchNorm on its 512 features, and M linear layers."""
    torch.manual_seed(seed)
    if architecture == "resnet18":
        backbone = resnet18_cifar(10)
        backbone.fc = nn.Identity()
    else:
        from torchvision.models import vgg16_bn  # 5 s that no other trial has to wait

        backbone = nn.Sequential(vgg16_bn().features, nn.Flatten())
    features = nn.Sequential(backbone, nn.BatchNorm1d(512))
    return Network(features, DeepLinearHead(512, 10, depth, bias=bias))


def mlp_recipe(epochs: int) -> Recipe:
    """Adam at 1e-4, divided by 10 every quarter; decay 1e-4 on head and features; batches of 128."""
    return Recipe(epochs=epochs, learning_rate=1e-4, decay=1e-4, step=math.ceil(epochs / 4), batch=128)


def cifar10_mlp(
    *, arm: str, seed: int, device: torch.device, depth: int, width: int, epochs: int, per_class: int
) -> Metrics:
    """The MLP grid on balanced CIFAR-10."""
    network = paper_mlp(seed, width, 10, depth, bias=arm == "bias").to(device)
    return collapse(network, cifar10([per_class] * 10, seed, device), mlp_recipe(epochs), seed)


def cifar10_jpeg_subset(
    *, arm: str, seed: int, device: torch.device, depth: int, width: int, epochs: int, per_class: int
) -> Metrics:
    """The same on some of the JPEG copy of CIFAR-10."""
    network = paper_mlp(seed, width, 10, depth, bias=arm == "bias").to(device)
    return collapse(network, cifar10([per_class] * 10, seed, device, "cifar10-jpeg"), mlp_recipe(epochs), seed)


def emnist_mlp(*, arm: str, seed: int, device: torch.device, depth: int, epochs: int, per_class: int) -> Metrics:
    """The MLP of width 512 on EMNIST letters."""
    network = paper_mlp(seed, 512, 26, depth, bias=arm == "bias").to(device)
    return collapse(network, emnist_letters(per_class, seed, device), mlp_recipe(epochs), seed)


def cifar10_convnet(
    *, arm: str, seed: int, device: torch.device, architecture: str, depth: int, epochs: int, per_class: int
) -> Metrics:
    """ResNet-18 and VGG-16 with a bias; SGD at 1e-3, with ordinary or separate decay 1e-4."""
    network = convnet(seed, architecture, depth, bias=True).to(device)
    recipe = Recipe(
        epochs=epochs,
        learning_rate=1e-3,
        decay=1e-4,
        step=math.ceil(epochs / 4),
        batch=128,
        separate=arm == "separate_decay",
        optimiser="sgd",
    )
    return collapse(network, cifar10([per_class] * 10, seed, device), recipe, seed)


def cifar10_imbalanced(
    *, seed: int, device: torch.device, depth: int, width: int, epochs: int, scale: float
) -> Metrics:
    """100 to 500 images a class times `scale`, without BatchNorm and bias, all at once, decay 1e-5."""
    counts = [round(scale * n) for n in (100, 100, 200, 200, 300, 300, 400, 400, 500, 500)]
    network = paper_mlp(seed, width, 10, depth, bias=False, norm=False).to(device)
    recipe = Recipe(epochs=epochs, learning_rate=1e-4, decay=1e-5, step=math.ceil(epochs / 2))
    return imbalanced_collapse(network, cifar10(counts, seed, device), recipe, seed, counts)
