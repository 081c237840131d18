"""Stretches of real text read with errors of known kinds: which distance follows the character error rate."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from suites.character_error_vector.contenders import DISTANCES, Reader, cer
from suites.character_error_vector.method import count, normalise
from suites.character_error_vector.pages import words

REGIONS, RATE = 400, 0.3
"""Regions of a seed, and the largest error rate."""


def pairs(seed: int, text: str, channel: str) -> list[tuple[str, str]]:
    """Regions of 4 to 80 words, log-uniform, as they are and as they are read, error rate uniform to RATE."""
    rng, stock = np.random.default_rng(seed), words(text)
    sizes = np.exp(rng.uniform(np.log(4), np.log(81), REGIONS)).astype(int)
    starts = rng.integers(0, len(stock) - 81, REGIONS)
    truths = [normalise("".join(stock[start : start + size])) for start, size in zip(starts, sizes, strict=True)]
    reader = Reader("".join(truths), rng)
    return [(truth, reader.read(truth, rng.uniform(0, RATE), channel)) for truth in truths]


def agreement(*, arm: str, seed: int, text: str) -> dict[str, float]:
    """Spearman's correlation of a distance with the character error rate over regions."""
    read = pairs(seed, text, "mixed")
    rates = [cer(*pair) for pair in read]
    truths, found = count(*zip(*read, strict=True))
    return {"spearman": float(spearmanr(rates, DISTANCES[arm](truths, found)).statistic), "cer": float(np.mean(rates))}


def ratio(*, seed: int, channel: str) -> dict[str, float]:
    """SpACER over the character error rate: mean over regions with an error, largest distance from a half and one."""
    read = [pair for pair in pairs(seed, "ud-english-ewt", channel) if pair[0] != pair[1]]
    truths, found = count(*zip(*read, strict=True))
    ratios = DISTANCES["spacer"](truths, found) / [cer(*pair) for pair in read]
    return {
        "ratio": float(ratios.mean()),
        "from_half": float(np.abs(ratios - 0.5).max()), "from_one": float(np.abs(ratios - 1).max()),
    }  # fmt: skip
