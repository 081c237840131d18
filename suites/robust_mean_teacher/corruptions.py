"""Corruptions of small gray images: those that methods are judged on, and others to choose learning rates on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

Corruption = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]
"""(images in [0, 1], strength in [0, 1], generator) -> images, still to be clipped."""


def _shot(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    photons = 3 / strength
    return torch.poisson(photons * images, generator) / photons


def _impulse(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    hit = torch.rand(images.shape, generator=generator) < 0.15 * strength
    return torch.where(hit, (torch.rand(images.shape, generator=generator) < 0.5).float(), images)


def _occluded(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    row, column = torch.randint(6, (2, len(images), 1, 1), generator=generator)
    rows, columns = torch.arange(8)[:, None], torch.arange(8)
    inside = (rows >= row) & (rows < row + 3) & (columns >= column) & (columns < column + 3)
    return images * (1 - strength * inside[:, None].float())


CORRUPTIONS: dict[str, Corruption] = {
    "noise": lambda x, s, g: x + 0.35 * s * torch.randn(x.shape, generator=g),
    "shot": _shot,
    "blur": lambda x, s, g: TF.gaussian_blur(x, [5, 5], [0.8 * s, 0.8 * s]),
    "rotation": lambda x, s, g: TF.rotate(x, 25 * s, interpolation=InterpolationMode.BILINEAR),
    "contrast": lambda x, s, g: 0.35 * s + (1 - 0.7 * s) * x,
    "brightness": lambda x, s, g: x + 0.4 * s,
}
"""What methods are judged on, in this order. At strength 1: the paper's dossier; below it: towards the clean image."""

OTHER_CORRUPTIONS: dict[str, Corruption] = {
    "impulse": _impulse,
    "pixelate": lambda x, s, g: (1 - s) * x + s * F.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3),
    "shift": lambda x, s, g: TF.affine(x, 0.0, [1, 1], 1.0, [0.0, 0.0]),
    "gamma": lambda x, s, g: x ** (1 + 1.5 * s),
    "occlusion": _occluded,
    "shear": lambda x, s, g: TF.affine(x, 0.0, [0, 0], 1.0, [20 * s, 0.0], interpolation=InterpolationMode.BILINEAR),
}
"""What learning rates are chosen on."""
