"""What is timed: every call in every round, without the passes over fresh memory that deterministic mode adds."""

from __future__ import annotations

import time

import torch

from baselines.timing import interleaved


def test_calls_take_turns_and_the_first_rounds_do_not_count() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.01)

    found = interleaved({"slow": slow, "fast": lambda: order.append("fast")}, rounds=3, warm_up=1)
    assert order == ["slow", "fast"] * 4
    assert [len(times) for times in found.values()] == [3, 3]
    assert min(found["slow"]) >= 0.01


def test_memory_is_left_unfilled_only_meanwhile() -> None:
    before = torch.utils.deterministic.fill_uninitialized_memory
    seen: list[bool] = []
    interleaved({"look": lambda: seen.append(torch.utils.deterministic.fill_uninitialized_memory)}, rounds=1, warm_up=0)
    assert seen == [False]
    assert torch.utils.deterministic.fill_uninitialized_memory == before
