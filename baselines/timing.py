"""Timing as a user would meet it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def unfilled() -> Iterator[None]:
    """Deterministic algorithms as they are set, but without NaN written into fresh memory.

    That is a debugging aid which deterministic mode turns on: it costs a pass over every temporary, and what is timed
    beside it is the slower the more temporaries it has.
    """
    before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before  # type: ignore[attr-defined]
