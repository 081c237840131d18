"""The shared networks: parameter counts, shapes, and what is special about each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.models import DigitTransformer, mlp, resnet18_cifar, small_cnn

DIGITS = torch.rand(5, 1, 8, 8)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (mlp([64, 10]), 64 * 10 + 10),
        (mlp([64, 128, 10]), 64 * 128 + 128 + 128 * 10 + 10),
        (mlp([64, 128, 10], norm=True), 64 * 128 + 128 + 2 * 128 + 128 * 10 + 10),
        (small_cnn(), (9 * 16 + 16) + (9 * 16 * 32 + 32) + (32 * 4 * 10 + 10)),
        (small_cnn(batch_norm=True), (9 * 16 + 16) + (9 * 16 * 32 + 32) + (32 * 4 * 10 + 10) + 2 * (16 + 32)),
        # embedding, positions, 1 block (qkv, out, two norms, FFN of 64), last norm, head
        (DigitTransformer(), 9 * 32 + 8 * 32 + (33 * 96 + 33 * 32 + 2 * 64 + 33 * 64 + 65 * 32) + 64 + 33 * 10),
    ],
    ids=["linear", "mlp", "mlp_ln", "cnn", "cnn_bn", "transformer"],
)
def test_small_networks_have_the_parameters_and_shape_that_they_announce(model: nn.Module, count: int) -> None:
    assert parameters(model) == count
    assert model(DIGITS).shape == (5, 10)


def test_resnet18_for_cifar_keeps_the_resolution_and_its_classifier() -> None:
    model = resnet18_cifar(10).eval()
    assert parameters(model) == 11_173_962  # the count that the literature gives for CIFAR's ResNet-18
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert model.maxpool(model.conv1(torch.rand(1, 3, 32, 32))).shape == (1, 64, 32, 32)
    assert model.fc.in_features == 512


def test_norm_stands_before_the_activation() -> None:
    kinds = [type(layer) for layer in mlp([64, 32, 16, 10], nn.GELU, norm=True)]
    hidden = [nn.Linear, nn.LayerNorm, nn.GELU]
    assert kinds == [nn.Flatten, *hidden, *hidden, nn.Linear]


def test_attention_agrees_with_torch() -> None:
    block = DigitTransformer(width=32, heads=4).blocks[0].attention[1]
    tokens = torch.randn(3, 8, 32)
    query, key, value = block.qkv(tokens).chunk(3, dim=-1)
    split = [part.unflatten(-1, (4, 8)).transpose(1, 2) for part in (query, key, value)]
    mixed = nn.functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
    torch.testing.assert_close(block(tokens), block.out(mixed))


def test_the_order_of_rows_matters_to_the_transformer() -> None:
    model = DigitTransformer().eval()
    assert not torch.allclose(model(DIGITS), model(DIGITS.flip(2)), atol=1e-6)


@pytest.mark.parametrize("make", [lambda: mlp([64]), lambda: DigitTransformer(width=30, heads=4)])
def test_impossible_sizes_are_refused(make) -> None:
    with pytest.raises(ValueError, match="must"):
        make()
