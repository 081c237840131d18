"""The experiments of pear, by the names that paper.toml has; the rules that judge them are there."""

from suites.pear.exact import advantages, bounds, defaults, definition, range_of_reward, tables, ways_around
from suites.pear.on_calculator import sums
from suites.pear.on_chains import before, chains
from suites.pear.on_filler import filler, filler_start
from suites.pear.on_mathematics import mathematics
