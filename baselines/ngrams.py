"""n-gram models of token sequences with Witten-Bell smoothing: what a loss is held against before anything is learned.

P(x | h) = (c(h x) + u(h) P(x | h')) / (c(h) + u(h)): c counts in the training rows, u(h) how many different tokens
followed h, h' is h without its oldest token, and below the empty context stands the uniform distribution.
"""

from __future__ import annotations

import torch


def ngram_nats(train: torch.Tensor, rows: torch.Tensor, vocabulary: int, order: int) -> torch.Tensor:
    """Nats of each token of `rows` given the `order` tokens before it in its row, learned on `train`.

    Both int64 (rows, T) -> float64 (rows, T). Contexts begin with their row: behind its start a token of its own
    stands for what is not there. Raises ValueError for tokens outside of the vocabulary, and an order whose contexts
    do not fit into 63 bits.
    """
    if min(train.min(), rows.min()) < 0 or max(train.max(), rows.max()) >= vocabulary:
        raise ValueError(f"tokens must lie in [0, {vocabulary})")
    if order < 0 or (vocabulary + 1) ** (order + 1) >= 2**63:
        raise ValueError(f"contexts of {order} of {vocabulary} tokens cannot be numbered")
    probability = torch.full(rows.shape, 1 / vocabulary, dtype=torch.float64)
    for length in range(order + 1):
        contexts, grams = _numbered(train, vocabulary, length)
        seen, counts = torch.unique(grams, return_counts=True)
        followed, different = torch.unique(seen // (vocabulary + 1), return_counts=True)
        wanted_contexts, wanted = _numbered(rows, vocabulary, length)
        known, total = torch.unique(contexts, return_counts=True)
        assert torch.equal(followed, known)  # both are the contexts that occur
        joint = _look_up(seen, counts, wanted)
        within, kinds = _look_up(known, total, wanted_contexts), _look_up(known, different, wanted_contexts)
        mixed = (joint + kinds * probability) / (within + kinds).clamp(min=1)
        probability = torch.where(within > 0, mixed, probability)
    return -probability.log()


def _numbered(rows: torch.Tensor, vocabulary: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A number for the context of each token, and for context and token together, both (rows, T)."""
    padded = torch.nn.functional.pad(rows, (length, 0), value=vocabulary)
    context = torch.zeros_like(rows)
    for back in range(length):
        context = context * (vocabulary + 1) + padded[:, back : back + rows.shape[1]]
    return context, context * (vocabulary + 1) + rows


def _look_up(keys: torch.Tensor, values: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The value of each wanted key, 0 where it is not among the sorted keys."""
    places = torch.searchsorted(keys, wanted.contiguous()).clamp(max=len(keys) - 1)
    return torch.where(keys[places] == wanted, values[places], 0).double()
