"""The experiments of cognitive-imperfection: each measures and returns metrics; paper.toml has the rules."""

from __future__ import annotations

from suites.cognitive_imperfection.exact import (
    agreements,
    crisis,
    divergences,
    events,
    p_values,
    processes,
    refusals,
    rounding,
    sentiment,
    sources,
    tests,
    texts,
    trading,
    volatility,
)
from suites.cognitive_imperfection.on_text import generations, recursion, style
