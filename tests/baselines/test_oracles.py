"""What exact tiers count: worst cases, bad calls that pass, defaults that moved."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from baselines.oracles import Worst, accepted, gap, other_defaults


def test_nan_is_worst_and_stays() -> None:
    worst = Worst()
    for value in (1.0, math.nan, 3.0):
        worst.note(metric=value)
    assert math.isnan(worst["metric"])
    worst.note(other=-2.0)
    worst.note(other=-3.0)
    assert worst["other"] == -2.0


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        (torch.tensor([1.0, 2.5]), [1.0, 2.0], 0.5),
        (torch.tensor([math.inf, 0.0]), torch.tensor([math.inf, 0.0]), 0.0),
        (np.array([math.inf]), -math.inf, math.inf),
        (torch.tensor([0.0, math.nan]), 0.0, math.inf),
        (math.nan, math.nan, math.inf),
        (torch.tensor([3, 4]), 3, 1.0),
        (torch.empty(0), 0.0, 0.0),
        (torch.tensor([1.0], dtype=torch.bfloat16, requires_grad=True), 1.0, 0.0),
    ],
)
def test_gap(found, expected, apart) -> None:
    assert gap(found, expected) == apart


def test_accepted_counts_what_is_not_refused() -> None:
    def refuse() -> None:
        raise ValueError("no")

    assert accepted(refuse, lambda: 1, refuse, lambda: None) == 2
    with pytest.raises(TypeError):
        accepted(lambda: len(3))  # type: ignore[arg-type]


def test_other_defaults_sees_changed_missing_and_unnamed() -> None:
    def function(a: int, b: float = 1.0, *, c: str = "x") -> None: ...

    assert other_defaults(function, b=1.0, c="x") == 0
    assert other_defaults(function, b=2.0, c="x") == 1
    assert other_defaults(function, b=1.0) == 1
    assert other_defaults(function, b=1.0, c="x", d=0) == 1
