"""The experiments of harmonic-loss, by the names that paper.toml has; the rules that judge them are there."""

from suites.harmonic_loss.costs import cost_compiled
from suites.harmonic_loss.exact import (
    cost,
    defaults,
    definition,
    distances,
    exponents,
    extremes,
    geometry,
    memory,
    nonsense,
    official_heads,
    optimum,
    relations,
    slow_metrics,
    symmetries,
)
from suites.harmonic_loss.on_arithmetic import adders, grokking
from suites.harmonic_loss.on_images import deep_vision, vision
from suites.harmonic_loss.on_small_data import classified, heads
from suites.harmonic_loss.on_wikitext import language_model
