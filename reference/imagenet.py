"""ImageNet-1k and ImageNet-C as files that are decoded when they are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reference.catalog import DataError, get
from reference.corruptions import NAMES
from reference.folders import listed, subfolders
from reference.soundness import reading

SIDE = 224
PER_CLASS = 100


@dataclass(frozen=True)
class ImageFiles:
    """Pictures on disk and their labels, int64 (N,): `files[ids]` decodes some to uint8 (B, 3, 224, 224)."""

    paths: tuple[Path, ...]
    labels: torch.Tensor
    classes: tuple[str, ...]
    border: int = 0
    """Pixels that are cut off at each side before anything else."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, ids: torch.Tensor) -> torch.Tensor:
        with ThreadPoolExecutor(8) as pool:  # decoding releases the interpreter lock
            return torch.stack(list(pool.map(self._picture, ids.tolist())))

    def _picture(self, number: int) -> torch.Tensor:
        return _decoded(self.paths[number], self.border)


def imagenet_train(split: str) -> ImageFiles:
    """The first 100 training images of each class, by file name. Its one split is "train"."""
    if split != "train":
        raise DataError(f"data set 'imagenet-1k-train' has no split '{split}': use train")
    root = get("imagenet-1k-train").require() / "train"
    classes = tuple(subfolders(root))
    found = [
        (path, k)
        for k, name in enumerate(classes)
        for path in listed(root / name, (root / name).glob("*.JPEG"))[:PER_CLASS]
    ]
    return _listed(found, classes)


def imagenet_c(split: str) -> ImageFiles:
    """The 5000 validation images of RobustBench's list under one corruption; the split is `<corruption>-<severity>`."""
    corruption, _, severity = split.rpartition("-")
    if corruption not in NAMES or severity not in ("1", "2", "3", "4", "5"):
        raise DataError(
            f"data set 'imagenet-c' has no split '{split}': use CORRUPTION-SEVERITY, one of {', '.join(NAMES)}"
        )
    folder = get("imagenet-c").require()
    names = (folder / "imagenet_test_image_ids.txt").read_text("ascii").split()
    classes = tuple(subfolders(folder / corruption / severity))
    paths = [(folder / corruption / severity / name, classes.index(name.partition("/")[0])) for name in names]
    if absent := next((path for path, _ in paths if not path.is_file()), None):
        raise DataError(f"{absent} is absent: unpack all archives of ImageNet-C")
    return _listed(paths, classes)


def _listed(found: list[tuple[Path, int]], classes: tuple[str, ...]) -> ImageFiles:
    return ImageFiles(tuple(path for path, _ in found), torch.tensor([label for _, label in found]), classes)


def _decoded(path: Path, border: int = 0) -> torch.Tensor:
    """One picture: as it is where it has the right size, else its short side scaled to 256 and the centre cut out."""

    from PIL import Image

    with reading(path), Image.open(path) as file:
        width, height = file.size
        picture = file.convert("RGB").crop((border, border, width - border, height - border))
    if picture.size != (SIDE, SIDE):
        scale = 256 / min(picture.size)
        picture = picture.resize([round(scale * side) for side in picture.size], Image.Resampling.BILINEAR)
        left, top = ((side - SIDE) // 2 for side in picture.size)
        picture = picture.crop((left, top, left + SIDE, top + SIDE))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
