"""The experiments of steer, by the names that paper.toml has; the rules that judge them are there."""

from suites.steer.exact import agreement, change, code_mean, defaults, loss, weights, zeros
from suites.steer.on_calculator import sums
from suites.steer.on_chains import chains, foretold
from suites.steer.on_chains import chains as normal_chains
from suites.steer.on_mathematics import mathematics
