"""Unit tests of the method of ceeh; its claims are tested by `crossexam run ceeh`."""

from __future__ import annotations

import torch

from suites.ceeh import method


def test_the_method_says_its_formula() -> None:  # replace it by values computed by hand, edges and refusals
    assert "=" in (method.__doc__ or "")


def test_hand_computed_value_of_the_toy() -> None:
    from suites.ceeh.toy import probabilities

    torch.testing.assert_close(probabilities(torch.tensor([[0.0, 0.0]])), torch.tensor([[0.5, 0.5]]))
