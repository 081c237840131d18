"""MNIST and SVHN."""

from __future__ import annotations

import numpy as np
import torch

from reference.catalog import get
from reference.images import SPLITS, Images, check_split, read_idx

DIGITS = tuple(map(str, range(10)))


def mnist(split: str) -> Images:
    """MNIST, uint8 (60000 or 10000, 1, 28, 28)."""
    check_split("mnist", split, SPLITS)
    folder, part = get("mnist").require(), "t10k" if split == "test" else "train"
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz").unsqueeze(1)
    return Images(images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").long(), DIGITS)


def svhn(split: str) -> Images:
    """SVHN cropped digits, uint8 (73257 or 26032, 3, 32, 32); label 0 for the digit 0 (the files say 10)."""

    from scipy.io import loadmat

    check_split("svhn", split, SPLITS)
    found = loadmat(get("svhn").require() / f"{split}_32x32.mat")
    images = torch.from_numpy(np.ascontiguousarray(found["X"].transpose(3, 2, 0, 1)))
    return Images(images, torch.from_numpy(found["y"].ravel().astype(np.int64) % 10), DIGITS)
