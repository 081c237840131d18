"""Data sets of noise in their published on-disk format and size, for tests of a protocol from end to end.

Each function writes one set below a folder that CROSSEXAM_DATA may name. A few records hold noise, with all classes in
turn; the rest of the files is a hole of zeros, which takes no room on the disk.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def cifar10(root: Path, records: int = 40) -> None:
    """CIFAR-10's binary version: five training files and one for tests, 10,000 records each."""
    folder = root / "cifar10" / "cifar-10-batches-bin"
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        _cifar(folder / name, records, size=10_000, label_bytes=1, classes=10)


def cifar100(root: Path, records: int = 60) -> None:
    """CIFAR-100's binary version: coarse and fine label before each image, and the names of the classes."""
    folder = root / "cifar100" / "cifar-100-binary"
    for name, size in (("train.bin", 50_000), ("test.bin", 10_000)):
        _cifar(folder / name, records, size=size, label_bytes=2, classes=100)
    (folder / "fine_label_names.txt").write_text("\n".join(f"class{number}" for number in range(100)))


def emnist_letters(root: Path, images: int = 104) -> None:
    """EMNIST letters as gzipped IDX: labels count from 1."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 28, 28), dtype=np.uint8)
    for part in ("train", "test"):
        _idx(root / "emnist-letters" / f"emnist-letters-{part}-images-idx3-ubyte.gz", pixels)
        labels = np.arange(images, dtype=np.uint8) % 26 + 1
        _idx(root / "emnist-letters" / f"emnist-letters-{part}-labels-idx1-ubyte.gz", labels)


def _cifar(path: Path, records: int, *, size: int, label_bytes: int, classes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (records, label_bytes + 3072), dtype=np.uint8)
    noise[:, :label_bytes] = (np.arange(records) % classes)[:, None]
    with path.open("wb") as file:
        file.write(noise.tobytes())
        file.truncate(size * (label_bytes + 3072))


def _idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))
