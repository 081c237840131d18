"""Medical volumes with segmentations."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reference.catalog import DataError, get
from reference.images import SPLITS, check_split


@dataclass(frozen=True)
class Volume:
    """One scan: `image` uint8 (X, Y, Z), `label` uint8 of the same shape, 1 inside the structure."""

    case: str
    image: torch.Tensor
    label: torch.Tensor


def left_atrium_half(split: str) -> tuple[Volume, ...]:
    """Left-atrium MRI at half resolution: 80 train and 20 test cases, in the order of their names.

    About 80..122 x 66..80 x 44 voxels, 8 bits between the 0.5 and 99.5 percentiles; not comparable with results at
    full resolution.
    """
    check_split("left-atrium-half", split, SPLITS)
    entry = get("left-atrium-half")
    folder = entry.require()
    return tuple(read_packed(folder / file.name) for file in entry.files if file.name.startswith(f"{split}-"))


@dataclass(frozen=True)
class Scan:
    """One scan at full resolution: `image` float32 (X, Y, Z), normalised; `label` uint8 of the same shape, 0 or 1."""

    case: str
    image: torch.Tensor
    label: torch.Tensor


@dataclass(frozen=True)
class Scans:
    """`self[i]` reads one case, in the order of the list."""

    folder: Path
    cases: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: int) -> Scan:
        return read_scan(self.folder / self.cases[number] / "mri_norm2.h5")


def la2018(split: str) -> Scans:
    """Left-atrium MRI as UA-MT prepared it: 80 train, 20 test cases. Reading needs h5py (`crossexam[data]`)."""
    check_split("la2018", split, SPLITS)
    folder = get("la2018").require()
    return Scans(folder, tuple((folder / f"{split}.list").read_text("ascii").split()))


def read_scan(path: Path) -> Scan:
    """An HDF5 file of `image` and `label`. Raises DataError where they are absent or do not fit together."""
    import h5py

    try:
        with h5py.File(path) as file:
            image, label = np.asarray(file["image"], np.float32), np.asarray(file["label"], np.uint8)
    except (OSError, KeyError) as error:
        raise DataError(f"{path} is not an HDF5 file with image and label ({error})") from error
    if image.shape != label.shape or image.ndim != 3 or label.max(initial=0) > 1:
        raise DataError(f"{path}: image {image.shape} and label {label.shape} are not a volume and its mask")
    return Scan(path.parent.name, torch.from_numpy(image), torch.from_numpy(label))


def read_packed(path: Path) -> Volume:
    """An .npz of `image`, `shape` and the `label` as packed bits. Raises DataError where these do not fit together."""
    try:
        with np.load(path, allow_pickle=False) as found:
            image, packed, shape = found["image"], found["label"], tuple(found["shape"].tolist())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a volume with image, label and shape ({error})") from error
    bits = np.unpackbits(packed)[: image.size]
    if image.shape != shape or bits.size != image.size:
        raise DataError(f"{path}: its image, label and shape do not fit together")
    return Volume(path.stem.partition("-")[2], torch.from_numpy(image), torch.from_numpy(bits.reshape(shape)))
