"""Stacked networks train as each would alone, and one that diverges leaves the others as they are."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.stacked import Stacked, StackedSGD
from baselines.stacked_features import classify, hidden

RATES = torch.tensor([0.05, 0.2, 1.0])


def problem() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mlp([4, 6, 3]).double(), torch.randn(20, 4, dtype=torch.float64), torch.randint(3, (20,))


@pytest.mark.parametrize("clip", [math.inf, 0.3])
def test_a_copy_trains_as_it_would_alone(clip: float) -> None:
    network, inputs, targets = problem()
    models = Stacked(network, 3)
    together = StackedSGD(models, RATES, momentum=0.9, weight_decay=0.01, clip_norm=clip)
    alone = [copy.deepcopy(network) for _ in RATES]
    optimizers = [
        torch.optim.SGD(one.parameters(), lr=float(rate), momentum=0.9, nesterov=True, weight_decay=0.01)
        for one, rate in zip(alone, RATES, strict=True)
    ]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(one, 8) for one in (together, *optimizers)]
    for _ in range(6):
        together.zero_grad()
        sum(F.cross_entropy(scores, targets) for scores in models(inputs)).backward()
        together.step()
        for one, optimizer in zip(alone, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(one(inputs), targets).backward()
            nn.utils.clip_grad_norm_(one.parameters(), clip)
            optimizer.step()
        for schedule in schedules:
            schedule.step()
    torch.testing.assert_close(models(inputs), torch.stack([one(inputs) for one in alone]), rtol=1e-5, atol=1e-6)


def test_every_copy_has_inputs_of_its_own_if_they_are_given() -> None:
    network, inputs, _ = problem()
    many = torch.stack([inputs, 2 * inputs])
    torch.testing.assert_close(Stacked(network, 2)(many), torch.stack([network(inputs), network(2 * inputs)]))


def test_features_are_what_the_last_layer_reads() -> None:
    models = Stacked(mlp([4, 6, 5, 3]), 2)
    inputs = torch.randn(7, 4)
    features = hidden(models, inputs)
    assert features.shape == (2, 7, 5)
    assert bool((features < 0).any())
    torch.testing.assert_close(classify(models, features.relu()), models(inputs))


def test_a_copy_without_a_finite_gradient_stands_still() -> None:
    network, inputs, _ = problem()
    models = Stacked(network, 3)
    optimizer = StackedSGD(models, RATES)
    before = models(inputs).detach()
    (models(inputs).sum((1, 2)) * torch.tensor([1.0, math.nan, 1.0])).sum().backward()
    optimizer.step()
    after = models(inputs)
    assert torch.equal(after[1], before[1])
    assert after.isfinite().all()
    assert not torch.equal(after[0], before[0])


def test_refuses_other_layers_and_a_rate_too_few() -> None:
    with pytest.raises(ValueError, match="Tanh"):
        Stacked(mlp([4, 6, 3], nn.Tanh), 2)
    with pytest.raises(ValueError, match="one rate a copy"):
        StackedSGD(Stacked(mlp([4, 3]), 2), RATES)
