"""Attacks against linear models, whose worst inputs are known, and TRADES by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from baselines import adversarial
from baselines.adversarial import near_start, pgd, prediction_change, shortfall, trades, uniform_start, withstands

WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 0.0], [-1.0, 3.0]])
INPUTS = torch.tensor([[0.5, 0.5, 0.5], [0.2, 0.9, 0.4]])


def test_pgd_finds_the_worst_of_a_linear_function() -> None:
    found = pgd(lambda x: x @ WEIGHT[:, 0], INPUTS, INPUTS, eps=0.1, step=0.03, steps=10)
    torch.testing.assert_close(found, INPUTS + 0.1 * WEIGHT[:, 0].sign())


def test_pgd_stays_in_the_ball_and_among_the_pixels() -> None:
    found = pgd(lambda x: x.sum(-1), INPUTS, uniform_start(INPUTS, 5.0), eps=0.3, step=1.0, steps=3)
    torch.testing.assert_close(found, (INPUTS + 0.3).clamp_max(1))
    projected = pgd(lambda x: x.sum(-1), INPUTS, INPUTS - 9, eps=0.3, step=1.0, steps=0)
    torch.testing.assert_close(projected, (INPUTS - 0.3).clamp_min(0))


def test_pgd_leaves_parameters_and_inputs_without_gradients() -> None:
    layer, inputs = torch.nn.Linear(3, 2), INPUTS.clone()
    with torch.no_grad():  # as an evaluation calls it
        found = pgd(lambda x: layer(x)[:, 0], inputs, inputs, eps=0.1, step=0.05, steps=2)
    assert layer.weight.grad is None
    assert not found.requires_grad and not inputs.requires_grad
    assert torch.equal(inputs, INPUTS)


def test_starts_lie_where_they_should() -> None:
    many = torch.full((2000, 3), 0.5)
    offsets = uniform_start(many, 0.2, torch.Generator().manual_seed(0)) - many
    assert 0.19 < float(offsets.max()) <= 0.2 and -0.2 <= float(offsets.min()) < -0.19
    near = near_start(many, torch.Generator().manual_seed(0)) - many
    assert math.isclose(float(near.std()), 0.001, rel_tol=0.05)


def test_shortfall_of_right_wrong_and_tied() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 3.5, 0.0], [1.0, 1.0, 0.0]])
    assert shortfall(logits, torch.zeros(3, dtype=torch.int64)).tolist() == [-1.0, 1.5, 0.0]


def test_what_withstands_of_two_linear_classes() -> None:
    # x_0 - 0.5 decides; the ball moves it by 0.1.
    def model(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([0.5 - x[..., 0], x[..., 0] - 0.5], dim=-1)

    inputs = torch.tensor([[0.61], [0.59], [0.45]])
    for shape in ((3,), (4, 3)):  # plain, and four copies side by side
        targets = torch.tensor([1, 1, 1]).expand(shape)
        survived = withstands(model, inputs.expand(*shape, 1), targets, eps=0.1, steps=5)
        assert torch.equal(survived, torch.tensor([True, False, False]).expand(shape))


def test_an_example_that_is_wrong_from_the_start_does_not_count() -> None:
    survived = withstands(lambda x: torch.stack([x[:, 0], 1 - x[:, 0]], 1), torch.tensor([[0.4]]), torch.tensor([0]),
                          eps=0.0, steps=1)  # fmt: skip
    assert not survived.any()


def test_trades_by_hand() -> None:
    logits, moved = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    p = math.exp(1) / (math.exp(1) + 1)
    kl = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert float(trades(logits, moved, torch.tensor([0]), beta=2.0)) == pytest.approx(-math.log(p) + 2 * kl)
    assert float(prediction_change(logits, logits)) == 0
    half = trades(logits.half(), moved.half(), torch.tensor([0]), beta=2.0)
    assert half.dtype == torch.float32


def test_trades_is_a_mean_over_the_examples_there_are() -> None:
    logits, moved = torch.randn(2, 5, 3)
    targets = torch.tensor([0, 1, 2, 0, 1])
    each = trades(logits, moved, targets, beta=3.0, reduction="none")
    expected = F.cross_entropy(logits, targets, reduction="none") + 3 * F.kl_div(
        moved.log_softmax(1), logits.softmax(1), reduction="none"
    ).sum(1)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(trades(logits, moved, targets, beta=3.0), each.mean())


@pytest.mark.parametrize(
    "call",
    [
        lambda: pgd(lambda x: x.sum(-1), INPUTS, INPUTS, eps=-0.1, step=0.1, steps=1),
        lambda: pgd(lambda x: x.sum(-1), INPUTS, INPUTS[:1], eps=0.1, step=0.1, steps=1),
        lambda: trades(INPUTS, INPUTS, torch.tensor([0, 1]), beta=-1.0),
        lambda: trades(INPUTS, INPUTS[:, :2], torch.tensor([0, 1])),
        lambda: adversarial.trades(INPUTS, INPUTS, torch.tensor([0, 3])),
    ],
)
def test_refuses_what_makes_no_sense(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()
