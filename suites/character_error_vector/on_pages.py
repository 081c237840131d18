"""Composed pages under noisy layouts and readers: the triage rule, the layout's quality, what each error answers to."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from scipy.stats import spearmanr

from baselines.timing import interleaved
from suites.character_error_vector.contenders import best_cut, f1
from suites.character_error_vector.layout import ocr_dominates
from suites.character_error_vector.method import cdd, decompose, decompose_micro, inside_boxes, vectors
from suites.character_error_vector.pages import TEXTS, compose, measured, misparse, words

CUTS = np.arange(10) / 10
"""Thresholds that are tried, as in the authors' notebook."""
COUNT, RATE = 200, 0.3
"""Pages of a seed, and the largest error rate of the reader."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
RATES = (0.0, 0.05, 0.1, 0.2, 0.3)


def pages(*, seed: int) -> dict[str, torch.Tensor]:
    """Errors (COUNT, 4) and COTe (COUNT,) of pages of four texts, severity uniform to 1 and error rate to RATE."""
    rng = np.random.default_rng(seed)
    stocks = [words(text) for text in TEXTS]
    errors, scores = [], []
    for number in range(COUNT):
        page = compose(stocks[number % len(stocks)], rng)
        boxes = misparse(page, rng.uniform(), rng)
        counted, score = measured(page, boxes, rng.uniform(0, RATE), (rng, rng))
        errors.append(list(vars(decompose(counted)).values()))
        scores.append(score)
    return {"errors": torch.tensor(errors, dtype=torch.float64), "scores": torch.tensor(scores, dtype=torch.float64)}


def triage(*, arm: str, pages: str) -> dict[str, float]:
    """F1 of "OCR is the larger error" on the second half of the pages; cuts are chosen on the first.

    Arms: the paper's `rule`, its first half alone (`ratio`), COTe alone (`cote`), a small total error (`total`), always
    yes (`constant`).
    """
    parsing, ocr, _, total, score = read(pages)
    truth = ocr >= parsing
    candidates = {
        "rule": [ocr_dominates(ocr, total, score, least_score=cut) for cut in CUTS],
        "ratio": [ocr_dominates(ocr, total, score, least_score=-np.inf)],
        "cote": [score >= cut for cut in CUTS],
        "total": [total <= cut for cut in CUTS],
        "constant": [np.ones_like(truth)],
    }[arm]
    half = len(truth) // 2
    chosen = candidates[best_cut(truth[:half], [said[:half] for said in candidates])]
    same = max(f1(truth, said) for said in candidates)
    return {"f1": f1(truth[half:], chosen[half:]), "f1_same_rows": same, "share": float(truth.mean())}


def layouts(*, pages: str) -> dict[str, float]:
    """The rank correlation of the parsing error with COTe, and of the errors' sum with the total."""
    parsing, ocr, interaction, total, score = read(pages)
    return {
        "spearman": float(spearmanr(parsing, score).statistic),
        "below_sum": float((total <= parsing + interaction).mean()),
        "sum_over_total": float(np.median((parsing + ocr + interaction) / total)),
    }


def read(path: str) -> tuple[np.ndarray, ...]:
    from safetensors.numpy import load_file

    found = load_file(path)
    return (*found["errors"].T, found["scores"])


def response(*, seed: int) -> dict[str, float]:
    """Twenty pages, the layout worse and worse at one error rate, and the reader at one severity, on common draws."""
    rng = np.random.default_rng(seed)
    stock = words("ud-english-ewt")
    made = [compose(stock, rng) for _ in range(20)]

    def mean(severity: float, rate: float) -> np.ndarray:
        found = []
        for number, page in enumerate(made):
            draws = [np.random.default_rng([seed, number, kind]) for kind in range(3)]
            counted, _ = measured(page, misparse(page, severity, draws[0]), rate, draws[1:])
            found.append(list(vars(decompose(counted)).values()))
        return np.mean(found, axis=0)

    by_layout, by_reader = (np.array(rows).T for rows in (
        [mean(level, 0.1) for level in LEVELS], [mean(0.5, rate) for rate in RATES]))  # fmt: skip
    ranks = spearmanr(LEVELS, by_layout[0]).statistic, spearmanr(RATES, by_reader[1]).statistic
    return {"least_rank": float(min(ranks)), "moves": float(max(np.ptp(by_layout[1]), np.ptp(by_reader[0])))}


def speed(*, seed: int) -> dict[str, float | list[float]]:
    """Milliseconds for 10,000 characters in 200 regions, all distances and micro, and by Python's counters."""
    rng, regions = np.random.default_rng(seed), 200
    letters = np.array(list("etaoinshrdlcumwfgypbvkjxqz"))
    characters = "".join(letters[rng.integers(0, 26, 10_000)])
    spots, owners = rng.uniform(0, 1000, (10_000, 2)), rng.integers(0, regions, 10_000)
    boxes = np.concatenate([rng.uniform(0, 900, (regions, 2)), rng.uniform(20, 100, (regions, 2))], axis=1)
    texts = ["".join(letters[rng.integers(0, 26, 50)]) for _ in range(regions)]

    def whole() -> list[float | None]:
        page = vectors(characters, inside_boxes(spots, boxes), owners=owners, read_true=texts, read=texts)
        return [*vars(decompose(page)).values(), *vars(decompose(page, cdd)).values(), decompose_micro(page).ocr]

    def counters() -> float:
        parsed: Counter[str] = Counter()
        for x, y, w, h in boxes:
            held = (spots[:, 0] >= x) & (spots[:, 0] < x + w) & (spots[:, 1] >= y) & (spots[:, 1] < y + h)
            parsed += Counter(characters[n] for n in np.flatnonzero(held))
        Q, S = Counter(characters), Counter("".join(texts))
        pairs = ((Q, parsed), (Q, S), (parsed, S), (Q, S))
        return sum(max(0, g.total() - p.total()) + sum(abs(g[c] - p[c]) for c in g | p) for g, p in pairs)

    spent = interleaved({"method": whole, "counters": counters}, rounds=7)
    return {
        "method_ms": [1e3 * one for one in spent["method"]], "counters_ms": [1e3 * one for one in spent["counters"]],
        "least_ms": 1e3 * min(spent["method"]),
    }  # fmt: skip
