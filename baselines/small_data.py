"""Digits, Fashion-MNIST and Letter as float vectors, in parts to train, to validate and to test on, drawn by seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

import reference
from baselines.digits import stratified

Part = tuple[torch.Tensor, torch.Tensor]
"""Float32 inputs (n, d) and int64 labels (n,)."""
LETTER_TRAINING = 15_000
"""Rows of Letter in the order of the file, before its 5,000 to test on."""


class Split(NamedTuple):
    """Three parts without common examples, and the number of classes."""

    train: Part
    validation: Part
    test: Part
    classes: int


def split(data: str, seed: int, rows: int, classes: int = 26) -> Split:
    """`rows` (digits: all) of the training part drawn by seed, a fifth of them to validate, and the whole test part.

    Letter can be had with its first `classes` letters alone. Raises ValueError for other data.
    """
    if data == "digits":
        (images, labels), (tested, test_labels) = stratified(seed)
        whole, test = (images.flatten(1), labels), (tested.flatten(1), test_labels)
        classes = 10
    elif data == "fashion-mnist":
        whole, test, classes = drawn(fashion("train"), rows, seed), fashion("test"), 10
    elif data == "letter":
        first, test = (of_classes(part, classes) for part in letters())
        whole = drawn(first, rows, seed)
    else:
        raise ValueError(f"data must be 'digits', 'fashion-mnist' or 'letter', got {data!r}")
    held = len(whole[1]) // 5
    return Split((whole[0][held:], whole[1][held:]), (whole[0][:held], whole[1][:held]), test, classes)


def letters() -> tuple[Part, Part]:
    """Letter's 15,000 rows to train and 5,000 to test on; the 16 features from 0..15 to [-1, 1]."""
    table = reference.load("letter")
    features = torch.from_numpy(table.features.to_numpy(np.float32)) / 7.5 - 1
    labels = torch.from_numpy(table.target)
    first, last = slice(LETTER_TRAINING), slice(LETTER_TRAINING, None)
    return (features[first], labels[first]), (features[last], labels[last])


def fashion(part: str) -> Part:
    """Fashion-MNIST's train (60,000) or test part (10,000), in [0, 1], averaged over 2 x 2 pixels to 196 of them."""
    images = reference.load("fashion-mnist", part)
    return F.avg_pool2d(images.images.float() / 255, 2).flatten(1), images.labels


def drawn(part: Part, rows: int, seed: int) -> Part:
    """`rows` examples in an order that depends on `seed` only."""
    ids = torch.from_numpy(np.random.default_rng(seed).permutation(len(part[1]))[:rows])
    return part[0][ids], part[1][ids]


def of_classes(part: Part, classes: int) -> Part:
    """The examples of the first `classes` classes."""
    kept = part[1] < classes
    return part[0][kept], part[1][kept]
