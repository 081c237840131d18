"""The experiments of ares, by the names that paper.toml has; the rules that judge them are there."""

from suites.ares.exact import adaptive, cost, defaults, entropies, groups, loss, reward, threshold, windows
from suites.ares.on_chains import chains, forks
from suites.ares.on_language import resampling
from suites.ares.on_mathematics import mathematics
