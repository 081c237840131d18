"""The splits and batches in which experiments take scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

import reference

Data = tuple[torch.Tensor, torch.Tensor]
"""Inputs, float32 (N, 1, 8, 8) in [0, 1], and labels, int64 (N,)."""


def stratified(seed: int, test_size: float = 0.2) -> tuple[Data, Data]:
    """(train, test), stratified by class and drawn by `seed`."""

    from sklearn.model_selection import train_test_split

    images, labels = _digits()
    rows = np.arange(len(labels))
    train, test = train_test_split(rows, test_size=test_size, random_state=seed, stratify=labels.numpy())
    return (images[train], labels[train]), (images[test], labels[test])


def unshuffled(test_size: int = 360) -> tuple[Data, Data]:
    """(train, test) in the order of the file, whose first `test_size` images (20 %) are the test part."""
    images, labels = _digits()
    return (images[test_size:], labels[test_size:]), (images[:test_size], labels[:test_size])


def first(data: Data, count: int) -> Data:
    """The first `count` examples."""
    return data[0][:count], data[1][:count]


def batches(data: Data, size: int, steps: int, seed: int) -> Iterator[Data]:
    """`steps` batches of exactly `size`, reshuffled every epoch, in an order that depends on `seed` only."""
    generator = torch.Generator().manual_seed(seed)
    whole = len(data[1]) // size
    if whole == 0:
        raise ValueError(f"a batch of {size} needs at least as many examples, got {len(data[1])}")
    done = 0
    while done < steps:
        for rows in torch.randperm(len(data[1]), generator=generator).split(size)[: min(whole, steps - done)]:
            yield data[0][rows], data[1][rows]
            done += 1


def _digits() -> Data:
    digits = reference.load("digits")
    return digits.images.float() / 16, digits.labels
