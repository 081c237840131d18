"""The experiments of crrelu, by the names that paper.toml has; the rules that judge them are there."""

from suites.crrelu.exact import (
    cost,
    defaults,
    definition,
    descent,
    extremes,
    memory,
    moments,
    shape_of_activation,
    worst_activation,
    zero,
)
from suites.crrelu.on_cifar import cost_compiled, vit, vit_jpeg
from suites.crrelu.on_small_data import activations, dead_units, dying, hidden_entropy, trained
