"""Dice and Tversky: the hard limit is F1, closed forms, levels."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import f1_score

from baselines.overlap_losses import dice, tversky

PLAIN = {"level": "example", "square": False, "smooth": 0.5, "reduction": "none"}


def binary(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(n, generator=generator, dtype=torch.float64), torch.randint(2, (n,), generator=generator)


def test_set_level_dice_of_hard_predictions_is_one_minus_f1() -> None:
    logits, targets = binary()
    hard = 1e4 * logits.sign()
    for square in (False, True):
        loss = dice(hard, targets, level="set", square=square, smooth=0.0)
        assert 1 - float(loss) == pytest.approx(f1_score(targets, hard > 0), abs=1e-12)


def test_closed_forms_of_an_example() -> None:
    logits, _ = binary()
    p = logits.sigmoid()
    positive, negative = torch.ones(40, dtype=torch.int64), torch.zeros(40, dtype=torch.int64)
    torch.testing.assert_close(dice(logits, positive, **PLAIN), (1 - p) / (1.5 + p))
    torch.testing.assert_close(dice(logits, negative, **PLAIN), p / (p + 0.5))
    w = (1 - p) ** 0.3 * p
    torch.testing.assert_close(dice(logits, positive, alpha=0.3, **PLAIN), 1 - (2 * w + 0.5) / (w + 1.5))
    squared = dice(logits, positive, **{**PLAIN, "square": True})
    torch.testing.assert_close(squared, 1 - (2 * p + 0.5) / (p**2 + 1.5))
    torch.testing.assert_close(
        tversky(logits, positive, a=0.3, b=0.7, level="example", smooth=0.5, reduction="none"),
        1 - (p + 0.5) / (p + 0.7 * (1 - p) + 0.5),
    )
    torch.testing.assert_close(
        tversky(logits, negative, a=0.3, b=0.7, level="example", smooth=0.5, reduction="none"),
        1 - 0.5 / (0.3 * p + 0.5),
    )


@pytest.mark.parametrize("level", ["set", "example"])
def test_balanced_tversky_is_dice_with_twice_the_smoothing(level: str) -> None:
    logits, targets = binary()
    torch.testing.assert_close(
        tversky(logits, targets, a=0.5, b=0.5, level=level, smooth=0.7),
        dice(logits, targets, level=level, square=False, smooth=1.4),
    )


def test_levels_agree_for_one_example_and_differ_for_two() -> None:
    logits, targets = binary()
    options = {"square": True, "smooth": 1.0}
    assert float(dice(logits[:1], targets[:1], level="set", **options)) == pytest.approx(
        float(dice(logits[:1], targets[:1], level="example", **options))
    )
    assert float(dice(logits, targets, level="set", **options)) != pytest.approx(
        float(dice(logits, targets, level="example", **options)), abs=1e-3
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_classes_are_binary_problems(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (9,), generator=generator)
    p = logits.softmax(1)
    columns = [torch.logit(p[:, k]) for k in range(4)]
    options = {"square": True, "smooth": 1.0, "alpha": alpha, "reduction": "none"}
    example = sum(dice(z, (targets == k).long(), level="example", **options) for k, z in enumerate(columns))
    torch.testing.assert_close(dice(logits, targets, level="example", **options), example)
    whole = torch.stack([dice(z, (targets == k).long(), level="set", **options) for k, z in enumerate(columns)])
    torch.testing.assert_close(dice(logits, targets, level="set", **options), whole)


def test_binary_gradients() -> None:
    logits, targets = binary(6)
    for options in ({"level": "set", "square": True}, {"level": "example", "square": False}):
        assert torch.autograd.gradcheck(
            lambda z, options=options: dice(z, targets, smooth=1.0, alpha=0.01, **options), logits.requires_grad_()
        )
    extreme = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    dice(extreme, torch.tensor([1, 1, 0, 0]), level="example", square=False, smooth=1.0, alpha=0.01).backward()
    assert torch.isfinite(extreme.grad).all()
