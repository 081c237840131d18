"""Adam side by side is Adam alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.stacked import Stacked
from baselines.stacked_adam import StackedAdam, train
from baselines.training import Batch


def cross_entropies(models: nn.Module, batch: Batch) -> torch.Tensor:
    return torch.stack([F.cross_entropy(one, batch.targets) for one in models(batch.inputs)])


def test_stacked_adam_is_adam() -> None:
    torch.manual_seed(0)
    inputs, labels = torch.randn(64, 5), torch.randint(3, (64,))
    one = mlp([5, 4, 3])
    models = Stacked(one, copies=2)
    optimizer = StackedAdam(models, torch.tensor([0.01, 0.0]), weight_decay=torch.tensor([0.1, 0.0]))
    before = models.weights[0].detach().clone()
    train(
        models, inputs, labels, cross_entropies,
        optimizer=optimizer, epochs=3, batch_size=64, seed=0, decayed=False,
    )  # fmt: skip
    adam = torch.optim.AdamW(one.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        adam.zero_grad()
        F.cross_entropy(one(inputs), labels).backward()
        adam.step()
    torch.testing.assert_close(models(inputs)[0], one(inputs), atol=1e-4, rtol=1e-4)
    assert torch.equal(models.weights[0][1], before[1])


def test_a_copy_without_a_gradient_stays() -> None:
    models = Stacked(mlp([5, 3]), copies=2)
    before = models.weights[0].detach().clone()
    optimizer = StackedAdam(models, torch.tensor([0.01, 0.01]))
    (models(torch.ones(1, 5)).sum((1, 2)) * torch.tensor([1.0, math.nan])).sum().backward()
    optimizer.step()
    assert torch.equal(models.weights[0][1], before[1])
    assert not torch.equal(models.weights[0][0], before[0])


def test_undecayed_parameters_have_no_decay() -> None:
    models = Stacked(mlp([5, 3]), copies=1)
    optimizer = StackedAdam(models, torch.tensor([0.01]), weight_decay=0.5, undecayed=models.biases)
    for parameter in models.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = [models.weights[0].detach().clone(), models.biases[0].detach().clone()]
    optimizer.step()
    torch.testing.assert_close(models.weights[0], 0.995 * before[0])
    assert torch.equal(models.biases[0], before[1])


def test_there_must_be_a_rate_a_copy() -> None:
    with pytest.raises(ValueError, match="one rate a copy"):
        StackedAdam(Stacked(mlp([5, 3]), copies=2), torch.ones(3))
