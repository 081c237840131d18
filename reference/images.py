"""Image sets as plain uint8 tensors. No format read here can carry code: IDX and CIFAR's binary records are bytes."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reference.catalog import DataError, get
from reference.decoded import Pixels, decoded

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Images:
    """`images` uint8 (N, C, H, W), `labels` int64 (N,) indexing `classes`."""

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def digits(split: str) -> Images:
    """1,797 digits, uint8 (1797, 1, 8, 8) with values 0..16, in scikit-learn's order. Its one split is "all"."""

    from sklearn import datasets

    check_split("digits", split, ("all",))
    bunch = datasets.load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8)).unsqueeze(1)
    return Images(images, torch.from_numpy(bunch.target.astype(np.int64)), tuple(map(str, range(10))))


def cifar10(split: str) -> Images:
    """CIFAR-10 in its own order, uint8 (50000 or 10000, 3, 32, 32)."""
    check_split("cifar10", split, SPLITS)
    folder = get("cifar10").require() / "cifar-10-batches-bin"
    files = ["test_batch.bin"] if split == "test" else [f"data_batch_{number}.bin" for number in range(1, 6)]
    records = np.concatenate([np.fromfile(folder / name, dtype=np.uint8).reshape(-1, 3073) for name in files])
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())
    return Images(images, torch.from_numpy(records[:, 0].astype(np.int64)), CIFAR10_CLASSES)


def fashion_mnist(split: str) -> Images:
    """Fashion-MNIST, uint8 (60000 or 10000, 1, 28, 28)."""
    check_split("fashion-mnist", split, SPLITS)
    entry, part = get("fashion-mnist"), "t10k" if split == "test" else "train"
    folder, name = entry.require(), f"{part}-images-idx3-ubyte.gz"

    def decode(pixels: Pixels) -> None:
        pixels[:] = read_idx(folder / name).numpy()

    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz").long()
    checksum = next(file.sha256 for file in entry.files if file.name == name)
    images = torch.from_numpy(decoded(f"{checksum} IDX", (len(labels), 28, 28), decode))
    return Images(images.unsqueeze(1), labels, FASHION_CLASSES)


def emnist_letters(split: str) -> Images:
    """EMNIST letters, uint8 (124800 or 20800, 1, 28, 28), upright; labels 0..25 for a..z (the files count from 1)."""
    check_split("emnist-letters", split, SPLITS)
    folder = get("emnist-letters").require()
    images = read_idx(folder / f"emnist-letters-{split}-images-idx3-ubyte.gz").unsqueeze(1).transpose(2, 3)
    labels = read_idx(folder / f"emnist-letters-{split}-labels-idx1-ubyte.gz").long() - 1
    return Images(images.contiguous(), labels, tuple("abcdefghijklmnopqrstuvwxyz"))


def read_idx(path: Path) -> torch.Tensor:
    """A gzipped IDX file of unsigned bytes as a uint8 tensor of its own shape."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an IDX file of unsigned bytes")
    shape = np.frombuffer(raw, dtype=">u4", count=raw[3], offset=4).astype(int)
    data = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * raw[3])
    if data.size != shape.prod():
        raise DataError(f"{path} announces {tuple(shape)} but holds {data.size} bytes")
    return torch.from_numpy(data.reshape(shape).copy())


def check_split(name: str, split: str, known: tuple[str, ...]) -> None:
    """Raise DataError for a split that the set does not have."""
    if split not in known:
        raise DataError(f"data set '{name}' has no split '{split}': use one of {', '.join(known)}")
