"""Image sets in their published formats and sizes: a few records of noise, the rest zeros that take no disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def cifar10(root: Path, count: int) -> Path:
    """`count` pictures of noise at the head of each file of CIFAR-10 below `root`, their classes in turn."""
    folder = root / "cifar10" / "cifar-10-batches-bin"
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        _records(folder / name, 10_000, 1, 10, count)
    return root


def cifar100(root: Path, count: int) -> Path:
    """The same of CIFAR-100, whose coarse and fine labels are equal here."""
    folder = root / "cifar100" / "cifar-100-binary"
    for name, size in (("train.bin", 50_000), ("test.bin", 10_000)):
        _records(folder / name, size, 2, 100, count)
    (folder / "fine_label_names.txt").write_text("\n".join(f"class{number}" for number in range(100)))
    return root


def _records(path: Path, size: int, label_bytes: int, classes: int, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
    noise[:, :label_bytes] = (np.arange(count) % classes)[:, None]
    with path.open("wb") as file:
        file.write(noise.tobytes())
        file.truncate(size * (label_bytes + 3072))
