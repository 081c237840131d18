"""Image sets kept as JPEG in Parquet: decoded once, then memory-mapped. Needs pyarrow (`crossexam[data]`)."""

from __future__ import annotations

import numpy as np
import torch

from reference.catalog import get
from reference.decoded import Pixels, decoded
from reference.images import CIFAR10_CLASSES, SPLITS, Images, check_split


def cifar10_jpeg(split: str) -> Images:
    """CIFAR-10 re-encoded as JPEG, uint8 (50000 or 10000, 3, 32, 32), in the order of its files: class by class.

    Neither the pixels nor the order of CIFAR-10: not comparable with published numbers.
    """

    import pyarrow.parquet as parquet
    import torchvision
    from torchvision.io import ImageReadMode, decode_jpeg

    check_split("cifar10-jpeg", split, SPLITS)
    entry = get("cifar10-jpeg")
    name = f"{split}.parquet"
    path = entry.require() / name
    labels = parquet.read_table(path, columns=["label"])["label"].to_numpy()

    def decode(pixels: Pixels) -> None:
        row = 0
        for batch in parquet.ParquetFile(path).iter_batches(1000, columns=["img"]):
            encoded = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in batch["img"].to_pylist()]
            for image in decode_jpeg(encoded, mode=ImageReadMode.RGB):
                pixels[row] = image.numpy()
                row += 1

    checksum = next(file.sha256 for file in entry.files if file.name == name)
    pixels = decoded(f"{checksum} RGB, torchvision {torchvision.__version__}", (len(labels), 3, 32, 32), decode)
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)), CIFAR10_CLASSES)
