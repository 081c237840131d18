"""The experiments of cot-information, by the names that paper.toml has; the rules that judge them are there."""

from __future__ import annotations

from suites.cot_information.exact import (
    agnostic,
    finite_class_bounds,
    forms,
    inequalities,
    pairs_of_states,
    refusals,
    sample_sizes,
    steps,
    survival,
    telling_two_apart,
    traces,
)
from suites.cot_information.on_classes import curves, gains
from suites.cot_information.on_strings import networks, strings_learned
