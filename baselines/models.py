"""Networks that several papers are tried on: ResNet-18 for 32x32 images, and small ones for CPU experiments on digits.

Thin builders on torch.nn. The small networks read images of shape (N, 1, 8, 8), are initialised by PyTorch's defaults
and return logits of shape (N, num_classes).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import nn


def resnet18_cifar(num_classes: int) -> nn.Module:
    """ResNet-18 for 32x32 images: torchvision's with a 3x3 stem of stride 1 and no max-pool. Classifier: `.fc`."""
    network = torchvision.models.resnet18(num_classes=num_classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def mlp(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU, *, norm: bool = False) -> nn.Sequential:
    """A multilayer perceptron on flattened inputs: `sizes` = (inputs, hidden ..., classes).

    With `norm`, a LayerNorm stands before each activation. Two sizes make a linear classifier.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least inputs and classes, got {tuple(sizes)}")
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), *([nn.LayerNorm(outputs)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def small_cnn(
    num_classes: int = 10, channels: tuple[int, int] = (16, 32), *, batch_norm: bool = False
) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU, a 2x2 max-pool after each, and a linear classifier; optionally BatchNorm."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
        return [convolution, *([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.ReLU(), nn.MaxPool2d(2)]

    first, second = channels
    return nn.Sequential(*block(1, first), *block(first, second), nn.Flatten(), nn.Linear(second * 2 * 2, num_classes))


class Attention(nn.Module):
    """Multi-head self-attention on (N, tokens, width).

    Written out because its softmax is a module of its own, so that a hook can read the scores; fused kernels hide
    them and have no forward-mode derivative.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width ({width}) must be a multiple of heads ({heads})")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return self.out((self.softmax(scores) @ value).transpose(1, 2).flatten(-2))


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward network (of twice the width), each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.ffn = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(tokens)
        return tokens + self.ffn(tokens)


class DigitTransformer(nn.Module):
    """A small transformer encoder whose tokens are the eight rows of an 8x8 image; the mean token is classified."""

    def __init__(self, num_classes: int = 10, width: int = 32, heads: int = 4, depth: int = 1) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.02 * torch.randn(8, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(images.squeeze(1)) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))
