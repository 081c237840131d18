"""Choices on validation data: ties, directions, runs that diverged."""

from __future__ import annotations

import math

import pytest

from baselines.tuning import choose


def test_largest_score_or_smallest_loss_and_of_equal_ones_the_first() -> None:
    assert choose({0.1: 0.7, 0.01: 0.9, 0.001: 0.9}) == 0.01
    assert choose({0.1: 0.7, 0.01: 0.9, 0.001: 0.9}, smallest=True) == 0.1
    assert choose({"a": -math.inf}) == "a"


def test_a_run_that_diverged_is_no_choice() -> None:
    assert choose({0.1: math.nan, 0.01: 0.2}) == 0.01
    assert choose({0.1: math.inf, 0.01: 3.0}, smallest=True) == 0.01
    for scores in ({}, {0.1: math.nan}):
        with pytest.raises(ValueError, match="nothing can be chosen"):
            choose(scores)
