"""The experiments that paper.toml names."""

from __future__ import annotations

from suites.deep_linear_collapse.exact import (
    bottleneck,
    collapse_threshold,
    cross_entropy,
    cross_entropy_optimum,
    defaults,
    definitions,
    minority_collapse,
    scalar_search,
    unconstrained_optimum,
    unequal_decays,
)
from suites.deep_linear_collapse.on_digits import digits_balanced, digits_imbalanced
from suites.deep_linear_collapse.on_free_features import sgd_optimum
from suites.deep_linear_collapse.on_free_features import sgd_optimum as sgd_optimum_wide
from suites.deep_linear_collapse.on_images import (
    cifar10_convnet,
    cifar10_imbalanced,
    cifar10_jpeg_subset,
    cifar10_mlp,
    emnist_mlp,
)
from suites.deep_linear_collapse.on_images import cifar10_mlp as cifar10_subset
