"""The experiments of dice-loss, by the names that paper.toml has; the rules that judge them are there."""

from __future__ import annotations

from functools import partial

import torch

from baselines.timing import interleaved
from suites.dice_loss.contenders import class_by_class
from suites.dice_loss.exact import (
    consistency,
    easy_and_hard,
    gradients,
    hard_negatives,
    hard_predictions,
    numerics,
    official_code,
    self_adjustment,
    values,
)
from suites.dice_loss.method import dice
from suites.dice_loss.on_conll import conll2003_imbalance, conll2003_mrc
from suites.dice_loss.on_digits import alpha_sweep, imbalanced_digits, parity_digits, per_example_digits
from suites.dice_loss.on_mrpc import mrpc
from suites.dice_loss.on_sentences import tagging, tagging_more


def cost(*, seed: int, classes: int) -> dict[str, list[float]]:
    """Milliseconds of forward and backward on 4,096 tokens, as the scripts run it, in turn with a loop over classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4096, classes, generator=generator).requires_grad_()
    gold = torch.randint(classes, (4096,), generator=generator)
    losses = {"method_ms": partial(dice, level="example"), "loop_ms": class_by_class}
    settings = {"square": True, "alpha": 0.01, "smooth": 1.0}
    calls = {
        name: lambda loss=loss: torch.autograd.grad(loss(logits, gold, **settings), logits)
        for name, loss in losses.items()
    }
    return {name: [1000 * one for one in spent] for name, spent in interleaved(calls, rounds=40).items()}
