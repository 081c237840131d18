"""The experiments of implicit-prm, by the names that paper.toml has; the rules that judge them are there."""

from suites.implicit_prm.exact import calibration, choosing, cost, edges, losses, printed, steps, values
from suites.implicit_prm.on_chains import amount, chains, modular
from suites.implicit_prm.on_mathematics import mathematics
