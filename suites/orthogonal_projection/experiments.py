"""The experiments of orthogonal-projection, by the names that paper.toml has; the rules that judge them are there."""

from suites.orthogonal_projection.exact import (
    batches,
    bounds,
    cost,
    defaults,
    definition,
    extremes,
    invariance,
    memory,
    minima,
    tables,
)
from suites.orthogonal_projection.on_cifar import cifar_classes, cifar_noise
from suites.orthogonal_projection.on_small_data import (
    batch_sizes,
    on_clean_labels,
    on_few,
    on_noisy_labels,
    on_signed,
    sized,
    studied,
    transferred,
    variants,
)
