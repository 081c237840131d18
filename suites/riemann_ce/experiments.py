"""The experiments of riemann-ce, by the names that paper.toml has; the rules that judge them are there."""

from __future__ import annotations

from suites.riemann_ce.exact import (
    averages,
    beams,
    box_normals,
    controls,
    defaults,
    drawn_beams,
    elitism,
    exponential_tail,
    likelihood,
    long_chains,
    refusals,
    rules,
    small_values,
    symmetries,
    weights,
    zeros,
    zeta_search,
    zeta_values,
)
from suites.riemann_ce.on_language import chains, decoding, sums
from suites.riemann_ce.on_zeta import box_sizes, contest
