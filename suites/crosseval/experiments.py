"""The experiments of crosseval: each measures and returns metrics; the rules that judge them are in paper.toml."""

from __future__ import annotations

from suites.crosseval.exact import (
    alpha,
    averages,
    borders,
    correlations,
    judging,
    null,
    predictors,
    prompting,
    regressions,
    scale,
    tracking,
    weakest_link,
)
from suites.crosseval.on_digits import combined, strengthened
from suites.crosseval.on_scores import judge, scores
