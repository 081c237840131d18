"""The experiments of comp-sum, by the names that paper.toml has; the rules that judge them are there."""

from suites.comp_sum.exact import (
    adversarial_chain,
    algorithm,
    along_training,
    bound_functions,
    bounded_scores,
    conditional,
    consistency_bound,
    cost,
    defaults,
    extremes,
    family,
    minimizability,
    tightness,
    transforms,
)
from suites.comp_sum.on_cifar import hardened_cifar10, images, jpeg
from suites.comp_sum.on_small_data import hardened, letter_classes, robust, swept, tau_sweep
