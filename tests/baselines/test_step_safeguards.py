"""Step-size safeguards on a quadratic, where the right answer is known."""

from __future__ import annotations

import pytest
import torch

from baselines.loss_landscape import curvature
from baselines.step_safeguards import armijo_factor, cap_factor, curvature_factor, rescaled_step

POINT = {"x": torch.tensor([2.0, 0.0], dtype=torch.float64)}


def quadratic(point):
    """x^T diag(3, 1) x / 2, whose curvature along the first axis is 3."""
    return (torch.tensor([3.0, 1.0], dtype=torch.float64) * point["x"] ** 2).sum() / 2


def step(first: float) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor([first, 0.0], dtype=torch.float64)}


def test_cap_shortens_long_updates_only() -> None:
    assert cap_factor(step(-4.0), 1.0) == pytest.approx(0.25)
    assert cap_factor(step(-4.0), 5.0) == 1.0
    assert cap_factor(step(0.0), 1.0) == 1.0


@pytest.mark.parametrize(("first", "factor"), [(-1.0, 1.0), (-8.0, 0.25), (-5.0, 0.5)])
def test_armijo_takes_the_largest_power_of_one_half_that_descends(first: float, factor: float) -> None:
    # From x = 2 the loss falls up to x = -2, a step of -4; -8 / 2 only just does not (the slope term).
    assert armijo_factor(quadratic, POINT, step(first)) == factor


def test_armijo_refuses_an_uphill_step() -> None:
    assert armijo_factor(quadratic, POINT, step(1.0)) < 1e-9


def test_curvature_is_exact_on_a_quadratic() -> None:
    assert curvature(quadratic, POINT, step(1.0)) == pytest.approx(3.0)
    assert curvature_factor(quadratic, POINT, step(-2.0)) == pytest.approx(2 / 3 / 2)
    assert curvature_factor(quadratic, POINT, step(-0.1)) == 1.0
    assert curvature_factor(lambda point: -quadratic(point), POINT, step(-2.0)) == 1.0
    assert curvature_factor(quadratic, POINT, step(0.0)) == 1.0


def test_rescaled_step_moves_by_the_factor() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    model.weight.grad = torch.ones_like(model.weight)
    seen = {}

    def factor(point, update):
        seen.update(point=point["weight"], update=update["weight"])
        return 0.25

    rescaled_step(model, torch.optim.SGD(model.parameters(), lr=2.0), factor)
    torch.testing.assert_close(seen["point"], before)
    torch.testing.assert_close(seen["update"], -2 * torch.ones_like(before))
    torch.testing.assert_close(model.weight.detach(), before - 0.5)
