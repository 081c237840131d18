"""The experiments of emo, by the names that paper.toml has; the rules that judge them are there."""

from suites.emo.exact import (
    cost,
    defaults,
    definition,
    extremes,
    geometry,
    memory,
    minimisers,
    sure_tokens,
    transport,
    variants,
)
