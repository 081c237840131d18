"""n-gram models by hand, as distributions, and on a source that two tokens of context tell all about."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.ngrams import ngram_nats


def test_unigrams_by_hand() -> None:
    """Counts 3 and 1 of 4, two kinds: P(0) = (3 + 2/3) / 6, of a token not seen (0 + 2/3) / 6."""
    nats = ngram_nats(torch.tensor([[0, 0, 1, 0]]), torch.tensor([[0, 1, 2]]), 3, 0)
    expected = [-math.log((count + 2 / 3) / 6) for count in (3, 1, 0)]
    assert nats[0].tolist() == pytest.approx(expected)


def test_bigrams_by_hand() -> None:
    """After 0 came 0 once and 1 twice: P(1 | 0) = (2 + 2 P(1)) / (3 + 2), P(1) = (2 + 2/2) / (5 + 2)."""
    nats = ngram_nats(torch.tensor([[0, 0, 1, 0, 1]]), torch.tensor([[0, 1]]), 2, 1)
    assert nats[0, 1] == pytest.approx(-math.log((2 + 2 * 3 / 7) / 5))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_probabilities_sum_to_one(order: int) -> None:
    train = torch.randint(5, (20, 9), generator=torch.Generator().manual_seed(0))
    context = torch.randint(5, (7, 4), generator=torch.Generator().manual_seed(1))
    rows = torch.cat([context.repeat_interleave(5, 0), torch.arange(5).repeat(7)[:, None]], 1)
    last = ngram_nats(train, rows, 5, order)[:, -1]
    torch.testing.assert_close(last.neg().exp().view(7, 5).sum(1), torch.ones(7, dtype=torch.float64))


def test_a_row_does_not_see_the_one_before() -> None:
    train, rows = torch.tensor([[0, 1], [1, 0]] * 50), torch.tensor([[0, 1], [0, 1]])
    nats = ngram_nats(train, rows, 2, 1)
    assert nats[0].tolist() == nats[1].tolist()
    assert nats[0, 0] == pytest.approx(math.log(2), abs=1e-3)  # half of the rows begin with 0
    assert nats[0, 1] < 0.05


def test_an_unseen_context_falls_back() -> None:
    train = torch.tensor([[0, 1, 0, 1]])
    unigram, bigram = (ngram_nats(train, torch.tensor([[2, 1]]), 3, order)[0, 1] for order in (0, 1))
    assert unigram == bigram


@pytest.mark.parametrize(
    ("token", "order", "message"), [(3, 1, "lie in"), (-1, 1, "lie in"), (1, 40, "numbered"), (1, -1, "numbered")]
)
def test_what_cannot_be_counted_is_refused(token: int, order: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ngram_nats(torch.tensor([[0, 1]]), torch.tensor([[token]]), 3, order)
