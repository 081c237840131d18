"""Divergence of bags of n-grams, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.ngram_distances import ngram_divergence


def test_by_hand() -> None:
    first, second = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0], [0, 0]])
    # p = (1/2, 1/2), q = (1, 0), the middle (3/4, 1/4)
    expected = 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) + 0.5 * math.log(1 / 0.75)
    assert ngram_divergence(first, second, 2, 1) == pytest.approx(expected)
    assert ngram_divergence(second, first, 2, 1) == pytest.approx(expected)


def test_ends() -> None:
    rows = torch.tensor([[0, 1, 2, 1, 0]])
    assert ngram_divergence(rows, rows, 3, 2) == pytest.approx(0)
    assert ngram_divergence(rows, torch.tensor([[2, 2, 0, 0]]), 3, 2) == pytest.approx(math.log(2))


def test_ngrams_do_not_cross_rows() -> None:
    apart, together = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0, 1, 0, 1]])
    assert ngram_divergence(apart, together, 2, 2) > 0.05


@pytest.mark.parametrize(
    ("first", "vocabulary", "order"), [([[0, 3]], 3, 1), ([[0, 1]], 3, 3), ([[0, 1]], 3, 0), ([[0, 1]], 10**6, 4)]
)
def test_refused(first: list[list[int]], vocabulary: int, order: int) -> None:
    with pytest.raises(ValueError, match=r"must|no "):
        ngram_divergence(torch.tensor(first), torch.tensor([[0, 1, 1, 0, 1]]), vocabulary, order)
