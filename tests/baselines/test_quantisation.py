"""Quantisers of activations by hand, and layers that without rounding are the layer that they replace."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.quantisation import QuantisedLinear, SplitLinear, per_tensor, per_token, rotation, smoothing


def as_is(x: torch.Tensor) -> torch.Tensor:
    return x


def outlier_input(tokens: int = 32, channels: int = 24, scale: float = 50.0) -> torch.Tensor:
    x = torch.randn(tokens, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 3] *= scale
    return x


def layer(inputs: int = 24, outputs: int = 10) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs).double()


def test_per_token_by_hand() -> None:
    x = torch.tensor([[7.0, 3.4, -3.6, 0.0], [0.7, 0.12, -0.04, 0.06]])  # steps 1 and 0.1 at 4 bits
    torch.testing.assert_close(per_token(x, bits=4), torch.tensor([[7.0, 3.0, -4.0, 0.0], [0.7, 0.1, 0.0, 0.1]]))


def test_per_tensor_by_hand() -> None:
    x = torch.tensor([[7.0, 3.4], [0.7, 0.4]])  # one step, 1
    torch.testing.assert_close(per_tensor(x, bits=4), torch.tensor([[7.0, 3.0], [1.0, 0.0]]))


@pytest.mark.parametrize("quantise", [per_token, per_tensor])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeros_and_types_are_kept(quantise: partial, dtype: torch.dtype) -> None:
    found = quantise(torch.zeros(3, 2, 4, dtype=dtype), bits=8)
    assert found.dtype == dtype
    assert found.tolist() == torch.zeros(3, 2, 4).tolist()


def test_one_bit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 bits"):
        per_token(torch.ones(1, 1), bits=1)


def test_smoothing_by_hand() -> None:
    maxima, weight = torch.tensor([16.0, 4.0, 0.0, 9.0]), torch.tensor([[1.0, 0.5, 1.0, 0.0], [-4.0, 0.25, 1.0, 0.0]])
    assert smoothing(maxima, weight).tolist() == pytest.approx([2.0, 8**0.5, 1.0, 1.0])
    assert smoothing(maxima, weight, alpha=1.0)[:2].tolist() == [16.0, 4.0]
    assert smoothing(maxima, weight, alpha=0.0)[:2].tolist() == [0.25, 2.0]


def test_smoothing_balances_both_sides() -> None:
    """At alpha = 1/2 a channel and its weights end with the same maximum, the geometric mean of what they had."""
    x, linear = outlier_input(), layer()
    maxima = x.abs().amax(0)
    s = smoothing(maxima, linear.weight)
    torch.testing.assert_close((x / s).abs().amax(0), (linear.weight * s).abs().amax(0).detach())


@pytest.mark.parametrize("size", [1, 2, 3, 16, 24, 768, 784])
def test_rotations_are_orthogonal_and_flat(size: int) -> None:
    matrix = rotation(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64))
    assert float(matrix.abs().max()) <= (2 / size) ** 0.5 + 1e-12


def test_a_rotation_spreads_an_outlier() -> None:
    x = outlier_input(scale=1000.0)
    before, after = (row.abs().amax(-1) / row.norm(dim=-1) for row in (x, x @ rotation(24)))
    assert float(after.max()) < 0.5 < float(before.min())


@pytest.mark.parametrize("extra", [{}, {"smoothing": torch.arange(1.0, 25.0)}, {"rotation": rotation(24)}])
def test_without_rounding_a_layer_is_itself(extra: dict) -> None:
    x, linear = outlier_input(), layer()
    torch.testing.assert_close(QuantisedLinear(linear, activation=as_is, weight=as_is, **extra)(x), linear(x))
    torch.testing.assert_close(SplitLinear(linear, activation=as_is, weight=as_is)(x), linear(x))


def test_a_plain_layer_quantises_both_sides() -> None:
    x, linear, quantise = outlier_input(), layer(), partial(per_token, bits=4)
    found = QuantisedLinear(linear, activation=quantise, weight=quantise)(x)
    torch.testing.assert_close(found, F.linear(quantise(x), quantise(linear.weight), linear.bias))


def test_the_split_keeps_outlier_channels_in_floating_point() -> None:
    x, linear, quantise = outlier_input(), layer(), partial(per_token, bits=4)
    found = SplitLinear(linear, activation=quantise, weight=quantise, threshold=6.0)(x)
    ordinary = x.clone()
    ordinary[:, 3] = 0
    kept = x[:, 3:4] @ linear.weight[:, 3:4].T
    torch.testing.assert_close(found, F.linear(quantise(ordinary), quantise(linear.weight), linear.bias) + kept)


def test_the_split_depends_on_the_threshold() -> None:
    x, linear, quantise = outlier_input(), layer(), partial(per_token, bits=4)
    split = partial(SplitLinear, linear, activation=quantise, weight=quantise)
    torch.testing.assert_close(split(threshold=0.0)(x), linear(x))
    plain = QuantisedLinear(linear, activation=quantise, weight=quantise)
    torch.testing.assert_close(split(threshold=1e9)(x), plain(x))


def test_outliers_hurt_a_row_and_each_remedy_helps() -> None:
    x, linear, quantise = outlier_input(), layer(), partial(per_token, bits=8)
    both = {"activation": quantise, "weight": as_is}
    maxima = x.abs().amax(0)

    def error(found: nn.Module) -> float:
        return float((found(x) - linear(x)).norm().detach())

    plain = error(QuantisedLinear(linear, **both))
    assert error(QuantisedLinear(linear, **both, smoothing=smoothing(maxima, linear.weight))) < plain / 2
    assert error(QuantisedLinear(linear, **both, rotation=rotation(24))) < plain / 2
    assert error(SplitLinear(linear, **both)) < plain / 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: smoothing(torch.ones(2), torch.ones(3, 2), alpha=1.5), "between 0 and 1"),
        (lambda: smoothing(torch.ones(3), torch.ones(3, 2)), "maxima for a weight"),
        (lambda: rotation(0), "no rotation"),
        (lambda: SplitLinear(layer(), activation=as_is, weight=as_is, threshold=-1.0), "not negative"),
    ],
)
def test_bad_input_is_refused(wrong: partial, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
