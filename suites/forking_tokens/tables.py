"""The printed table: accuracy in percent and mean length of DAPO on all tokens and on forking tokens (Table 2)."""

from __future__ import annotations

BENCHMARKS = ("AIME24", "AIME25", "AMC23", "MATH500", "Minerva", "OlympiadBench")

# Model: accuracies on the benchmarks, and the printed mean.
ALL = {
    "32B": ((55.83, 45.63, 91.88, 94.36, 45.70, 66.16), 66.59),
    "14B": ((45.21, 38.13, 89.53, 92.23, 42.16, 61.14), 61.40),
    "8B": ((33.33, 25.42, 77.81, 89.24, 39.77, 56.67), 53.71),
}
FORKS = {
    "32B": ((63.54, 56.67, 94.22, 94.88, 45.82, 69.02), 70.69),
    "14B": ((50.42, 42.92, 91.56, 93.59, 43.20, 64.62), 64.39),
    "8B": ((34.58, 26.25, 77.19, 89.70, 40.26, 57.43), 54.23),
}
GAINS = {  # model: printed gains on AIME24, AIME25 and of the mean
    "32B": (7.71, 11.04, 4.10),
    "14B": (5.21, 4.79, 2.99),
    "8B": (1.25, 0.83, 0.53),
}
CAPTION_GAIN = 7.73
"""Of the 32B model on AIME24, in the caption of Figure 6."""
