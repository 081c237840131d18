"""CIFAR-100, and CIFAR-10-C and CIFAR-100-C as they were published. CIFAR-10 itself is in `images`."""

from __future__ import annotations

import numpy as np
import torch

from reference.arrays import read_npy
from reference.catalog import DataError, get
from reference.corruptions import NAMES
from reference.images import CIFAR10_CLASSES, SPLITS, Images, check_split

PER_SEVERITY = 10_000


def cifar100(split: str) -> Images:
    """CIFAR-100 in its own order, uint8 (50000 or 10000, 3, 32, 32), with the 100 fine labels."""
    check_split("cifar100", split, SPLITS)
    folder = get("cifar100").require() / "cifar-100-binary"
    records = np.fromfile(folder / f"{split}.bin", dtype=np.uint8).reshape(-1, 3074)
    images = torch.from_numpy(records[:, 2:].reshape(-1, 3, 32, 32).copy())
    names = (folder / "fine_label_names.txt").read_text("ascii").split()
    return Images(images, torch.from_numpy(records[:, 1].astype(np.int64)), tuple(names))


def cifar10_c(split: str) -> Images:
    """CIFAR-10-C, uint8 (10000, 3, 32, 32): the test images in their own order under one corruption.

    The split is `<corruption>-<severity>`, such as "fog-5": one of `corruptions.NAMES`, or of the four extra ones, at
    severity 1..5.
    """
    return _corrupted("cifar10-c", "CIFAR-10-C", split, CIFAR10_CLASSES)


def cifar100_c(split: str) -> Images:
    """CIFAR-100-C, in the format of `cifar10_c`. Its classes are named by their number."""
    return _corrupted("cifar100-c", "CIFAR-100-C", split, tuple(map(str, range(100))))


def _corrupted(name: str, folder: str, split: str, classes: tuple[str, ...]) -> Images:
    corruption, _, severity = split.rpartition("-")
    extra = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    if corruption not in (*NAMES, *extra) or severity not in ("1", "2", "3", "4", "5"):
        known = ", ".join((*NAMES, *extra))
        raise DataError(f"data set '{name}' has no split '{split}': use CORRUPTION-SEVERITY with one of {known}")
    path = get(name).require() / folder
    part = slice((int(severity) - 1) * PER_SEVERITY, int(severity) * PER_SEVERITY)
    pixels = read_npy(path / f"{corruption}.npy", np.uint8, (5 * PER_SEVERITY, 32, 32, 3))[part]
    labels = read_npy(path / "labels.npy", np.uint8, (5 * PER_SEVERITY,))[part]
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return Images(images, torch.from_numpy(labels.astype(np.int64)), classes)
