"""The printed table: accuracies on AIME24, AIME25, AMC, MATH-500, OMNI, Olympiad, Minerva, and the printed average."""

from __future__ import annotations

TABLE: dict[tuple[str, str], tuple[tuple[float, ...], float]] = {
    ("7B", "grpo"): ((21.2, 9.6, 58.7, 78.8, 27.9, 40.7, 36.7), 38.6),
    ("7B", "clip_higher"): ((18.1, 11.5, 56.6, 79.2, 29.8, 43.3, 40.4), 38.8),
    ("7B", "clip_cov"): ((22.1, 15.8, 58.2, 80.4, 30.5, 44.1, 41.1), 40.4),
    ("7B", "kl_cov"): ((22.6, 12.9, 61.4, 80.8, 29.1, 42.6, 38.2), 40.6),
    ("32B", "grpo"): ((21.8, 16.2, 69.7, 84.2, 35.2, 43.6, 45.5), 45.8),
    ("32B", "clip_higher"): ((35.6, 22.3, 69.5, 77.2, 35.1, 42.5, 43.0), 47.2),
    ("32B", "clip_cov"): ((32.3, 22.7, 67.2, 87.0, 42.0, 57.2, 46.0), 50.3),
    ("32B", "kl_cov"): ((36.8, 30.8, 74.5, 84.6, 39.1, 49.0, 46.3), 52.2),
}


def mean(cells: tuple[float, ...]) -> float:
    """The unweighted mean."""
    return sum(cells) / len(cells)
