"""The experiments of MIST, by the names that paper.toml has; their rules are there."""

from __future__ import annotations

from suites.mist.at_scale import released
from suites.mist.exact import (
    additive_information,
    bounds,
    cca_bias,
    classical,
    gradients,
    network_formula,
    normal_information,
    parameters,
    quantile_loss,
    samples,
    student_information,
    symmetries,
    training,
    transforms,
    usage,
)
from suites.mist.on_families import cost, errors, intervals, networks, neural

__all__ = [
    "additive_information", "bounds", "cca_bias", "classical", "cost", "errors", "gradients", "intervals",
    "network_formula", "networks", "neural", "normal_information", "parameters", "quantile_loss", "released", "samples",
    "student_information", "symmetries", "training", "transforms", "usage",
]  # fmt: skip
