"""The experiments and artifacts that paper.toml names."""

from __future__ import annotations

from suites.softmax_ghosts.bottlenecks import binding_released
from suites.softmax_ghosts.exact import (
    activations,
    binary_radius,
    controller,
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

__all__ = [
    "activations",
    "below_one",
    "binary_radius",
    "binding",
    "binding_released",
    "controller",
    "estimators",
    "extremes",
    "general_bound",
    "hessian_mismatch",
    "invariances",
    "kl_remainder",
    "last_layer",
    "phase_transition",
    "resnet_cifar10",
    "resnet_cifar10_jpeg",
    "series",
    "severity",
    "spike",
    "step_time",
    "table1",
    "temperature",
    "temperature_pooled",
    "temperature_trained",
    "trained",
]
