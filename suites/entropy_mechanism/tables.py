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


def printed_table() -> dict[str, float]:
    """What follows from the printed cells, and what does not."""
    printed = {key: average for key, (_, average) in TABLE.items()}
    means = {key: mean(cells) for key, (cells, _) in TABLE.items()}
    gains = {size: printed[size, "kl_cov"] - printed[size, "grpo"] for size in ("7B", "32B")}
    aime = [TABLE["32B", "kl_cov"][0][place] - TABLE["32B", "grpo"][0][place] for place in (0, 1)]
    return {
        "gain_gap": max(abs(gains["7B"] - 2.0), abs(gains["32B"] - 6.4)),
        "aime_gap": max(abs(aime[0] - 15.0), abs(aime[1] - 14.6)),
        "average_gap": max(abs(printed[key] - means[key]) for key in TABLE),
        "kl_over_clip_7b": means["7B", "kl_cov"] - means["7B", "clip_cov"],
        "kl_over_clip_7b_printed": printed["7B", "kl_cov"] - printed["7B", "clip_cov"],
        "kl_over_grpo": min(means[size, "kl_cov"] - means[size, "grpo"] for size in ("7B", "32B")),
    }
