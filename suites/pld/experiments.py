"""The experiments of pld, by the names that paper.toml has; the rules that judge them are there."""

from suites.pld.exact import choice_model, cost, defaults, definition, extremes, limits, shape_of_loss, tables
from suites.pld.on_cifar import cifar_students
from suites.pld.on_small_data import distilled, students
