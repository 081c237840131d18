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
