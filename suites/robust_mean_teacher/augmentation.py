"""The second view of a test batch: the random colours, shifts and noise of the paper's official code.

Each call draws one set of parameters for the whole batch, as the official code does. Images are float (B, C, H, W) in
[0, 1]; the result has the same shape and range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

JITTER: dict[str, tuple[Callable[[torch.Tensor, float], torch.Tensor], float, float]] = {
    "brightness": (F.adjust_brightness, 0.6, 1.4),
    "contrast": (F.adjust_contrast, 0.7, 1.3),
    "saturation": (F.adjust_saturation, 0.5, 1.5),
    "hue": (F.adjust_hue, -0.06, 0.06),
    "gamma": (lambda images, gamma: F.adjust_gamma(images.clamp(1e-8, 1), gamma), 0.7, 1.3),
}
"""How, from, to. A power of zero would have no finite derivative, hence gamma's clamp."""
COLOURS = ("saturation", "hue")


class SecondView:
    """Colour jitter in random order, a small affine map, blur, a mirror image, and noise, drawn by `seed`.

    Gray images (C = 1) have neither saturation nor hue. `mirror` is off for what a mirror changes, such as digits.
    """

    def __init__(self, seed: int, *, mirror: bool = True) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.mirror = mirror

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        images = images.clamp(0, 1)
        names = [name for name in JITTER if images.shape[1] == 3 or name not in COLOURS]
        for place in torch.randperm(len(names), generator=self.generator).tolist():
            adjust, low, high = JITTER[names[place]]
            images = adjust(images, self._uniform(low, high))
        images = F.pad(images, [width // 2, height // 2], padding_mode="edge")
        angle, scale = self._uniform(-15, 15), self._uniform(0.9, 1.1)
        # Shifts are up to 1/16 of the padded image, in whole pixels.
        shift = [round(self._uniform(-size / 16, size / 16)) for size in (images.shape[-1], images.shape[-2])]
        images = F.affine(images, angle, shift, scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
        images = F.gaussian_blur(images, [5, 5], [self._uniform(0.001, 0.5)] * 2)
        images = F.center_crop(images, [height, width])
        if self.mirror and self._uniform(0, 1) < 0.5:
            images = F.horizontal_flip(images)
        noise = torch.randn(images.shape, generator=self.generator)
        return (images + 0.005 * noise.to(images)).clamp(0, 1)

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))
