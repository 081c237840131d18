"""Labels that people gave to CIFAR's training images: CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

import numpy as np
import torch

from reference.catalog import DataError, get
from reference.images import check_split

TRAINING_IMAGES = 50_000
CIFAR10_KINDS = ("clean_label", "aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
CIFAR100_KINDS = ("clean_label", "noisy_label")


def cifar10_n(split: str) -> torch.Tensor:
    """int64 (50000,), 0..9, in the order of `cifar10`'s train part. The split is the kind of label."""
    return _labels("cifar10-n", CIFAR10_KINDS, 10, split)


def cifar100_n(split: str) -> torch.Tensor:
    """int64 (50000,), 0..99, in the order of `cifar100`'s train part. The split is the kind of label."""
    return _labels("cifar100-n", CIFAR100_KINDS, 100, split)


def _labels(name: str, kinds: tuple[str, ...], classes: int, split: str) -> torch.Tensor:
    check_split(name, split, kinds)
    path = get(name).require() / "labels.npz"
    with np.load(path, allow_pickle=False) as found:
        if split not in found:
            raise DataError(f"{path} lacks {split}: {get(name).how}")
        labels = found[split]
    if labels.shape != (TRAINING_IMAGES,) or labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{path}: {split} is not {TRAINING_IMAGES} labels of {classes} classes")
    return torch.from_numpy(labels.astype(np.int64))
