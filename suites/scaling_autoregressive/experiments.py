"""The experiments of scaling-autoregressive, by the names that paper.toml has; the rules that judge them are there."""

from suites.scaling_autoregressive.exact import (
    data_laws,
    decomposition,
    ground_truth,
    hulls,
    information,
    language,
    learning_rates,
    network,
    parameter_counts,
    recovery,
    resampling,
    types,
    units,
)
from suites.scaling_autoregressive.on_grounds import (
    family,
    fine_tuning,
    known_entropy,
    optimal_size,
    rival_laws,
    size_curves,
)
from suites.scaling_autoregressive.on_images import cifar10, cifar10_jpeg
from suites.scaling_autoregressive.on_mathematics import arithmetic
