"""The experiments and artifacts that paper.toml names."""

from __future__ import annotations

from suites.robust_mean_teacher.exact import (
    binary_balance,
    complexity,
    contrast,
    moving_average,
    one_stream,
    symmetric_loss,
)
from suites.robust_mean_teacher.on_corruptions import (
    cifar10_c,
    cifar10_corrupted,
    cifar10_jpeg_corrupted,
    cifar100_c,
    cifar_source,
    cifar_stream,
    imagenet_c,
    jpeg_source,
    jpeg_stream,
)
from suites.robust_mean_teacher.on_digits import (
    continual,
    correlated,
    gradual,
    long_stream,
    source,
    tuned,
)
from suites.robust_mean_teacher.on_fashion import (
    fashion,
    fashion_correlated,
    fashion_source,
)

__all__ = [
    "binary_balance",
    "cifar10_c",
    "cifar10_corrupted",
    "cifar10_jpeg_corrupted",
    "cifar100_c",
    "cifar_source",
    "cifar_stream",
    "complexity",
    "continual",
    "contrast",
    "correlated",
    "fashion",
    "fashion_correlated",
    "fashion_source",
    "gradual",
    "imagenet_c",
    "jpeg_source",
    "jpeg_stream",
    "long_stream",
    "moving_average",
    "one_stream",
    "source",
    "symmetric_loss",
    "tuned",
]
