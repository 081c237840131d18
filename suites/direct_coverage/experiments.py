"""The experiments of direct-coverage, by the names that paper.toml has; the rules that judge them are there."""

from suites.direct_coverage.exact import (
    batches,
    cost,
    defaults,
    digits,
    estimator,
    examples,
    extremes,
    gradients,
    official_code,
    policies,
    proofs,
    shape,
    smoothness,
)
from suites.direct_coverage.on_math import on_math
from suites.direct_coverage.on_small_data import swept, training, tries
