"""The shared networks: parameter counts, shapes, and what is special about each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.models import (
    DigitTransformer,
    Subsample,
    conv_net,
    mlp,
    resnet18_cifar,
    resnet_cifar,
    small_cnn,
    wide_resnet,
)

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


def basic_blocks(depth: int) -> int:
    """The parameters of He et al.'s three stages: two 3x3 convolutions and two norms a block, shortcuts without any."""
    count = 0
    for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
        rest = (depth - 2) // 6 - 1
        count += 9 * inputs * outputs + (1 + 2 * rest) * 9 * outputs**2 + (2 + 2 * rest) * 2 * outputs
    return count


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (conv_net(10, (24, 48, 48), in_channels=3), 9 * (3 * 24 + 24 * 48 + 48 * 48) + 2 * 120 + 49 * 10),
        (conv_net(10, (8,), in_channels=3, norm="layer"), 9 * 3 * 8 + 2 * 8 + 9 * 10),
        (conv_net(10, (8,), in_channels=3, norm="none"), 9 * 3 * 8 + 8 + 9 * 10),
        (resnet_cifar(8), 9 * 3 * 16 + 2 * 16 + basic_blocks(8) + 65 * 10),
        (resnet_cifar(20), 269_722),  # the literature's 0.27 M
        (wide_resnet(16, 4), 2_748_890),  # 2.7 M
        (wide_resnet(28, 10), 36_479_194),  # 36.5 M
    ],
    ids=["conv_bn", "conv_ln", "conv", "resnet8", "resnet20", "wrn16-4", "wrn28-10"],
)
def test_networks_for_32x32_have_the_parameters_and_shape_that_they_announce(model: nn.Module, count: int) -> None:
    assert parameters(model) == count
    features: list[torch.Tensor] = []
    model.fc.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.no_grad():
        assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert features[0].shape == (2, model.fc.in_features)


def test_conv_net_reads_digits_and_layer_norm_keeps_samples_apart() -> None:
    for norm, apart in (("batch", False), ("layer", True)):
        model = conv_net(10, (24, 48, 48), norm=norm).train()
        together, alone = model(DIGITS), model(DIGITS[:2])
        assert together.shape == (5, 10)
        assert torch.allclose(together[:2], alone, atol=1e-5) == apart


def test_shortcut_without_parameters() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    out = Subsample(2)(images)
    assert out.shape == (1, 3, 2, 2)
    assert out[0, 0].tolist() == [[0, 2], [8, 10]]
    assert not out[0, 1:].any()


def test_wide_resnet_has_the_names_of_published_checkpoints() -> None:
    names = set(wide_resnet(28, 10).state_dict())
    expected = {"conv1.weight", "block1.layer.0.convShortcut.weight", "block3.layer.3.bn2.running_var", "bn1.weight"}
    assert expected | {"fc.weight", "fc.bias"} <= names
    assert "block1.layer.1.convShortcut.weight" not in names


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp([64]),
        lambda: DigitTransformer(width=30, heads=4),
        lambda: conv_net(10, ()),
        lambda: resnet_cifar(18),
        lambda: wide_resnet(18, 2),
    ],
)
def test_impossible_sizes_are_refused(make) -> None:
    with pytest.raises(ValueError, match="must"):
        make()
