"""The experiments and artifacts that paper.toml names."""

from __future__ import annotations

from suites.robust_mean_teacher.exact import (
    binary_balance,
    complexity,
    contrast,
    defaults,
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
