"""The benchmark's ResNeXt-29 under the names of its published weights, and the normalisation before a network."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


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
