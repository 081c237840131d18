"""The experiments and artifacts that paper.toml names."""

from __future__ import annotations

from suites.softmax_ghosts.bottlenecks import binding_released
from suites.softmax_ghosts.exact import (
    activations,
    binary_radius,
    controller,
    defaults,
    estimators,
    extremes,
    general_bound,
    hessian_mismatch,
    invariances,
    kl_remainder,
    last_layer,
    series,
)
from suites.softmax_ghosts.on_cifar import resnet_cifar10, resnet_cifar10_jpeg, step_time
from suites.softmax_ghosts.on_digits import (
    below_one,
    binding,
    phase_transition,
    severity,
    spike,
    table1,
    temperature,
    temperature_pooled,
    temperature_trained,
    trained,
)
