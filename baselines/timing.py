"""Timing as a user would meet it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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


def interleaved(calls: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each call, {name: (rounds,)}, all calls once in every round; the first `warm_up` rounds do not count.

    What slows a machine down for a while so meets all of them. For calls that return when they are done: on a CPU.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    with unfilled():
        for turn in range(warm_up + rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if turn >= warm_up:
                    spent[name].append(time.perf_counter() - start)
    return spent
