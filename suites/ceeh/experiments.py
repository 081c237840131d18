"""The experiments of ceeh, by the names that paper.toml has; the rules that judge them are there."""

from suites.ceeh.exact import (
    advantage,
    anchors,
    average,
    cost,
    defaults,
    differences,
    entropy_loss,
    memory,
    metrics,
    reward,
)
from suites.ceeh.on_mathematics import mathematics
from suites.ceeh.on_problems import chains, sums
