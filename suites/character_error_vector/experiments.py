"""The experiments of character-error-vector: each returns metrics; the rules that judge them are in paper.toml."""

from __future__ import annotations

from suites.character_error_vector.exact import (
    closed_form,
    defaults,
    divergence,
    examples,
    identity,
    micro,
    parsing,
    triangle,
)
from suites.character_error_vector.on_engine import engine, readings
from suites.character_error_vector.on_engine import engine as engine_49
from suites.character_error_vector.on_pages import layouts, pages, response, speed, triage
from suites.character_error_vector.on_text import agreement, ratio
