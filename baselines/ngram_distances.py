"""How far two texts are apart as bags of n-grams."""

from __future__ import annotations

import torch
from scipy.spatial.distance import jensenshannon


def ngram_divergence(first: torch.Tensor, second: torch.Tensor, vocabulary: int, order: int) -> float:
    """Jensen-Shannon divergence of the frequencies of `order` tokens in a row, in nats, 0 to log 2.

    Both int64 (rows, T); n-grams do not cross rows. It is biased upwards, the more the shorter the texts and the more
    their n-grams are spread out: compare texts of one length. Raises ValueError for tokens outside of the vocabulary,
    rows without an n-gram, and n-grams that do not fit into 63 bits.
    """
    if order < 1 or vocabulary**order >= 2**63 or min(first.shape[1], second.shape[1]) < order:
        raise ValueError(f"no {order}-grams of {vocabulary} tokens in rows of {first.shape[1]} and {second.shape[1]}")
    if min(int(first.min()), int(second.min())) < 0 or max(int(first.max()), int(second.max())) >= vocabulary:
        raise ValueError(f"tokens must lie in 0..{vocabulary - 1}")
    numbered = [_numbers(rows, vocabulary, order) for rows in (first, second)]
    _, place = torch.unique(torch.cat(numbered), return_inverse=True)
    kinds = int(place.max()) + 1
    p, q = (
        torch.bincount(part, minlength=kinds).double() / len(part)
        for part in place.split([len(one) for one in numbered])
    )
    return float(jensenshannon(p.numpy(), q.numpy()) ** 2)


def _numbers(rows: torch.Tensor, vocabulary: int, order: int) -> torch.Tensor:
    """Each n-gram as one number."""
    digits = vocabulary ** torch.arange(order).flip(0)
    return (rows.unfold(1, order, 1) * digits).sum(-1).flatten()
