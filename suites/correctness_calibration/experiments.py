"""The experiments of correctness-calibration: each measures and returns metrics; paper.toml has the rules."""

from __future__ import annotations

from suites.correctness_calibration.exact import bounds, cues, directions, extremes, figure, losses, optima, training
from suites.correctness_calibration.on_cifar import images
from suites.correctness_calibration.on_digits import calibrated, digits
