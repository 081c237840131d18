"""The experiments of forking-tokens, by the names that paper.toml has; the rules that judge them are there."""

from suites.forking_tokens.exact import (
    cost,
    defaults,
    gradient_size,
    granularity,
    loss,
    pattern,
    printed,
    selection,
    temperature,
)
from suites.forking_tokens.on_calculator import calculator
from suites.forking_tokens.on_chains import chains, decoding, steps_pay
from suites.forking_tokens.on_language import skew
from suites.forking_tokens.on_mathematics import mathematics
