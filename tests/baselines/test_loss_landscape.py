"""Probing a loss along directions."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.loss_landscape import (
    gradient,
    loss_and_accuracy,
    loss_at,
    moved,
    random_direction,
    snapshot,
    times,
    unit,
)
from baselines.models import mlp

torch.manual_seed(0)
DATA = torch.rand(20, 1, 8, 8, dtype=torch.float64), torch.arange(20) % 10
MODEL = mlp([64, 8, 10], torch.nn.GELU, norm=True).double()


def norm(direction) -> float:
    return math.sqrt(sum(float((part**2).sum()) for part in direction.values()))


def test_unit_directions_have_length_one() -> None:
    direction = random_direction(MODEL, torch.Generator().manual_seed(0))
    assert norm(direction) == pytest.approx(1)
    assert norm(unit(times(direction, -7.0))) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gradient_is_the_slope_of_the_loss(temperature: float) -> None:
    slope = gradient(MODEL, DATA, temperature)
    direction = unit(slope)
    ahead, behind = (loss_and_accuracy(moved(MODEL, direction, t), DATA, temperature)[0] for t in (1e-5, -1e-5))
    assert (ahead - behind) / 2e-5 == pytest.approx(norm(slope), rel=1e-6)


def test_moved_leaves_the_model_alone() -> None:
    before = snapshot(MODEL)
    direction = random_direction(MODEL, torch.Generator().manual_seed(0))
    there = snapshot(moved(MODEL, direction, 2.0))
    for name, part in snapshot(MODEL).items():
        assert torch.equal(part, before[name])
        torch.testing.assert_close(there[name], part + 2 * direction[name])


def test_loss_at_and_loss_and_accuracy_agree_and_keep_the_mode() -> None:
    MODEL.train()
    loss, accuracy = loss_and_accuracy(MODEL, DATA)
    assert loss == pytest.approx(float(loss_at(MODEL, DATA)(snapshot(MODEL))))
    assert MODEL.training
    assert 0 <= accuracy <= 1
