"""Photographs of several sizes, each a uint8 tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reference.catalog import get
from reference.images import check_split
from reference.soundness import reading


@dataclass(frozen=True)
class Photographs:
    """`images[i]` uint8 (3, H, W) in RGB, called `names[i]`."""

    images: tuple[torch.Tensor, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def kodak(split: str) -> Photographs:
    """The 24 Kodak photographs, kodim01 to kodim24: 768x512, six of them upright."""
    check_split("kodak", split, ("all",))
    return _read(sorted(get("kodak").require().glob("kodim*.png")))


def bsds500(split: str) -> Photographs:
    """Photographs of BSDS500, 481x321 or upright: 200 train, 100 val. The test part is not among them."""
    check_split("bsds500-images", split, ("train", "val"))
    folder, files = get("bsds500-images").require(), get("bsds500-images").files
    return _read(sorted(folder / file.name for file in files if file.name.startswith(f"{split}/")))


def _read(paths: Iterable[Path]) -> Photographs:
    from PIL import Image

    images, names = [], []
    for path in paths:
        with reading(path), Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        images.append(pixels.permute(2, 0, 1).contiguous())
        names.append(path.stem)
    return Photographs(tuple(images), tuple(names))
