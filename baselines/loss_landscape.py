"""Probing a loss along directions in parameter space.

A direction is a mapping from parameter names (as in `model.named_parameters()`) to tensors of their shapes; `data` is
a pair of inputs and labels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch.func import functional_call, grad, jvp
from torch.nn.functional import cross_entropy
from torch.nn.utils import get_total_norm

Tensors = Mapping[str, torch.Tensor]
Data = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[Tensors], torch.Tensor]
"""A loss as a function of the parameters."""


def times(direction: Tensors, factor: float) -> dict[str, torch.Tensor]:
    """factor * v."""
    return {name: factor * part for name, part in direction.items()}


def unit(direction: Tensors) -> dict[str, torch.Tensor]:
    """v / ||v||, the norm taken over all tensors."""
    return times(direction, 1 / float(get_total_norm(direction.values())))


def random_direction(model: torch.nn.Module, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A uniformly random unit direction over all parameters."""
    return unit({name: torch.randn(p.shape, generator=generator).to(p) for name, p in model.named_parameters()})


def gradient(model: torch.nn.Module, data: Data, temperature: float = 1.0) -> dict[str, torch.Tensor]:
    """The gradient of the mean cross-entropy of z / T, in the model's present mode."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    loss = cross_entropy(model(data[0]) / temperature, data[1])
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def loss_at(model: torch.nn.Module, data: Data) -> Loss:
    """The mean cross-entropy as a function of the parameters, in the model's present mode."""
    return lambda point: cross_entropy(functional_call(model, dict(point), (data[0],)), data[1])


def curvature(loss: Loss, point: Tensors, direction: Tensors) -> float:
    """v^T H v at `point`, by one Hessian-vector product (forward over reverse)."""
    here = {name: part.detach() for name, part in point.items()}
    _, product, *_ = jvp(grad(loss), (here,), (dict(direction),))
    return sum(float((product[name] * direction[name]).sum()) for name in product)


def snapshot(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the parameters."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def moved(model: torch.nn.Module, direction: Tensors, distance: float) -> torch.nn.Module:
    """A copy of the model at theta + distance v."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in copied.named_parameters():
            p.add_(direction[name], alpha=float(distance))
    return copied


@torch.no_grad()
def loss_and_accuracy(model: torch.nn.Module, data: Data, temperature: float = 1.0) -> tuple[float, float]:
    """The mean cross-entropy of z / T, and the accuracy, in eval mode. The model's mode is left as it was."""
    training = model.training
    logits = model.eval()(data[0]) / temperature
    model.train(training)
    return float(cross_entropy(logits, data[1])), float((logits.argmax(1) == data[1]).double().mean())
