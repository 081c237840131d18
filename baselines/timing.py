"""Timing as a user would meet it."""

from __future__ import annotations

import ctypes
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


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    It gives back the top of the heap as it sees fit, and tensors of megabytes then cost three times as much in page
    faults as in arithmetic: in one process the method pays for them, in the next what it is compared with. A training
    loop settles. For processes that only measure, as it stays so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never trim
    mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: from the heap up to 32 MiB, the most that it takes


def interleaved(calls: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each call, {name: (rounds,)}, all calls once in every round; the first `warm_up` rounds do not count.

    What slows a machine down for a while so meets all of them. For calls that return when they are done: on a CPU.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    keep_memory()
    with unfilled():
        for turn in range(warm_up + rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if turn >= warm_up:
                    spent[name].append(time.perf_counter() - start)
    return spent
