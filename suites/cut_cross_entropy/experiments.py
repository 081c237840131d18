"""The experiments that paper.toml names."""

from __future__ import annotations

from suites.cut_cross_entropy.costs import costs, memory
from suites.cut_cross_entropy.exact import (
    accumulation,
    constants,
    filtering,
    gradcheck,
    identities,
    ignored,
    paths_agree,
    phantom,
    pigeonhole,
    sorting,
    streaming,
)
from suites.cut_cross_entropy.on_wikitext import convergence, language_model

__all__ = [
    "accumulation", "constants", "convergence", "costs", "filtering", "gradcheck", "identities", "ignored",
    "language_model", "memory", "paths_agree", "phantom", "pigeonhole", "sorting", "streaming",
]  # fmt: skip
