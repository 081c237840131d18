"""The experiments that paper.toml names."""

from __future__ import annotations

from suites.cut_cross_entropy.costs import costs, memory
from suites.cut_cross_entropy.exact import (
    accumulation,
    constants,
    defaults,
    filtering,
    gradcheck,
    identities,
    ignored,
    masked,
    paths_agree,
    phantom,
    pigeonhole,
    precision,
    sorting,
    streaming,
)
from suites.cut_cross_entropy.on_wikitext import convergence, language_model

__all__ = [
    "accumulation", "constants", "convergence", "costs", "defaults", "filtering", "gradcheck", "identities", "ignored",
    "language_model", "masked", "memory", "paths_agree", "phantom", "pigeonhole", "precision", "sorting", "streaming",
]  # fmt: skip
