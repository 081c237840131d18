"""The largest tensor of a computation."""

from __future__ import annotations

import torch

from baselines.tensor_sizes import LargestTensor


def test_tables_are_seen_and_sums_are_small() -> None:
    rows = torch.randn(7, 3, requires_grad=True)
    with LargestTensor() as seen:
        (rows @ rows.T).sum().backward()
    assert seen.numbers == 49
    with LargestTensor() as seen:
        torch.einsum("ij,ij->", rows, rows)
    assert seen.numbers == 1


def test_tuples_count() -> None:
    with LargestTensor() as seen:
        torch.arange(10.0).sort()
    assert seen.numbers == 10
