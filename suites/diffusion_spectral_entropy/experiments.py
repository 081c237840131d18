"""The experiments of diffusion spectral entropy, by the names that paper.toml has; their rules are there."""

from __future__ import annotations

from suites.diffusion_spectral_entropy.exact import (
    bounds,
    closed_forms,
    comparators,
    dimensions,
    disagreement,
    information,
    invariances,
    monotone,
    spectra,
    usage,
)
from suites.diffusion_spectral_entropy.on_cifar import backbones, initialisation, pictures, twins
from suites.diffusion_spectral_entropy.on_fashion import cost, foretelling, networks
from suites.diffusion_spectral_entropy.on_noise import dependence, noise
from suites.diffusion_spectral_entropy.on_small_data import inputs, trained, training
