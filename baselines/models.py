"""Networks that several papers are tried on: ResNets for 32x32 images, and small ones for CPU experiments on digits.

Thin builders on torch.nn. The small networks read images of shape (N, 1, 8, 8), are initialised by PyTorch's defaults
and return logits of shape (N, num_classes). Networks with a part `fc` have it as their linear classifier: what it reads
are the features. Those that need timm or transformers are in `baselines.transformer_models`.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F


def resnet18_cifar(num_classes: int) -> nn.Module:
    """ResNet-18 for 32x32 images: torchvision's with a 3x3 stem of stride 1 and no max-pool. Classifier: `.fc`."""

    import torchvision

    network = torchvision.models.resnet18(num_classes=num_classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def resnet34_cifar(num_classes: int) -> nn.Module:
    """ResNet-34 for 32x32 images, as `resnet18_cifar`. Classifier: `.fc`."""

    import torchvision

    network = torchvision.models.resnet34(num_classes=num_classes)
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


def conv_net(
    num_classes: int,
    channels: Sequence[int],
    *,
    in_channels: int = 1,
    norm: Literal["batch", "layer", "none"] = "batch",
) -> nn.Sequential:
    """3x3 convolutions with norm and ReLU, 2x2 max-pools between them, a global average, and the classifier `.fc`.

    "layer" normalises each sample over channels and places. Images may have any size of at least 2^(convolutions - 1).
    """
    if not channels:
        raise ValueError("channels must name at least one convolution")
    norms: dict[str, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "layer": lambda width: nn.GroupNorm(1, width),
        "none": lambda _: nn.Identity(),
    }
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise([in_channels, *channels]):
        convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=norm == "none")
        layers += [convolution, norms[norm](outputs), nn.ReLU(), nn.MaxPool2d(2)]
    layers[-1:] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), fc=nn.Linear(channels[-1], num_classes)))


class Subsample(nn.Module):
    """The parameter-free shortcut of He et al. (option A): every second pixel, new channels filled with zeros."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new_channels))


def resnet_cifar(depth: int, num_classes: int = 10, *, in_channels: int = 3) -> nn.Sequential:
    """He et al.'s ResNet for CIFAR of 6n + 2 layers (8, 20, 32, ...): 16, 32 and 64 channels. Classifier: `.fc`."""

    import torchvision

    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth must be 6n + 2 with n >= 1, got {depth}")
    block = torchvision.models.resnet.BasicBlock
    layers: list[nn.Module] = [nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
        narrow = inputs == outputs
        layers.append(block(inputs, outputs, 1 if narrow else 2, None if narrow else Subsample(outputs - inputs)))
        layers += [block(outputs, outputs) for _ in range((depth - 2) // 6 - 1)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(OrderedDict(features=nn.Sequential(*layers), fc=nn.Linear(64, num_classes)))
    return _he_initialised(network)


def _he_initialised(network: nn.Sequential) -> nn.Sequential:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


class WideBlock(nn.Module):
    """Zagoruyko & Komodakis' pre-activation block; where the width changes, the shortcut reads the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.bn1(images))
        shortcut = images if self.convShortcut is None else self.convShortcut(active)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(active))))


def wide_resnet(depth: int, width: int, num_classes: int = 10) -> nn.Sequential:
    """WRN-depth-width for 32x32 images, without dropout. Classifier: `.fc`.

    Its parts bear the names that checkpoints of the adversarial-robustness literature have (block1.layer.0.conv1, ...).
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth must be 6n + 4 with n >= 1, got {depth}")
    parts: list[tuple[str, nn.Module]] = [("conv1", nn.Conv2d(3, 16, 3, padding=1, bias=False))]
    widths = [16, 16 * width, 32 * width, 64 * width]
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
        blocks = [WideBlock(inputs, outputs, stride=1 if number == 1 else 2)]
        blocks += [WideBlock(outputs, outputs, stride=1) for _ in range((depth - 4) // 6 - 1)]
        parts.append((f"block{number}", nn.Sequential(OrderedDict(layer=nn.Sequential(*blocks)))))
    parts += [("bn1", nn.BatchNorm2d(widths[-1])), ("relu", nn.ReLU()), ("pool", nn.AdaptiveAvgPool2d(1))]
    parts += [("flatten", nn.Flatten()), ("fc", nn.Linear(widths[-1], num_classes))]
    return _he_initialised(nn.Sequential(OrderedDict(parts)))
