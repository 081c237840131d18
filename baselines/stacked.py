"""Many copies of one small network trained side by side, each with weights, a learning rate and a loss of its own.

A step of a network of a few thousand weights costs mostly overhead: a hundred of them as slices of stacked weights cost
little more than one. They share the start, the batches and their order, and no parameter, so that the sum of their
losses trains each as if it were alone.

    models = Stacked(mlp([64, 64, 10]), copies=len(rates))
    train(models, inputs, labels, losses_of_copies, rates=rates, epochs=10, batch_size=64, seed=0)
    models(inputs)                                                                # (copies, B, 10)
    accuracy(models, inputs, labels)                                              # (copies,)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from baselines.training import Batch, Fit, cosine, fit, step_count


class Stacked(nn.Module):
    """Copies of a ReLU network as `baselines.models.mlp` makes it: (B, d) or (copies, B, d) -> (copies, B, K)."""

    def __init__(self, network: nn.Sequential, copies: int) -> None:
        super().__init__()
        unknown = [layer for layer in network if not isinstance(layer, nn.Linear | nn.ReLU | nn.Flatten)]
        if unknown:
            raise ValueError(f"only linear layers and ReLU can be stacked, not {type(unknown[0]).__name__}")
        layers = [layer for layer in network if isinstance(layer, nn.Linear)]
        self.weights = nn.ParameterList([layer.weight.detach().T.repeat(copies, 1, 1) for layer in layers])
        self.biases = nn.ParameterList([layer.bias.detach().repeat(copies, 1, 1) for layer in layers])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs.expand(len(self.biases[0]), *inputs.shape[-2:])
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden if depth == 0 else hidden.relu(), weight)
        return hidden


def hidden(models: Stacked, inputs: torch.Tensor) -> torch.Tensor:
    """What the last ReLU reads, (copies, B, D): the features of networks that have none there."""
    found = inputs.expand(len(models.biases[0]), *inputs.shape[-2:])
    for depth, (weight, bias) in enumerate(zip(models.weights[:-1], models.biases[:-1], strict=True)):
        found = torch.baddbmm(bias, found if depth == 0 else found.relu(), weight)
    return found


def classify(models: Stacked, features: torch.Tensor) -> torch.Tensor:
    """The logits (copies, B, K) of features (copies, B, D), by the last layer."""
    return torch.baddbmm(models.biases[-1], features, models.weights[-1])


class StackedSGD(torch.optim.Optimizer):
    """SGD with Nesterov momentum for parameters (copies, ...): copy i has its own rate, and its own gradient norm.

    Schedules multiply `lr`, which starts at 1. A copy whose gradient is not finite is left as it is for that step.
    """

    def __init__(
        self,
        models: nn.Module,
        rates: torch.Tensor,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        clip_norm: float = math.inf,
    ) -> None:
        if any(len(parameter) != len(rates) for parameter in models.parameters()):
            raise ValueError(f"there must be one rate a copy, got {len(rates)}")
        super().__init__(models.parameters(), {"lr": 1.0})
        self.rates, self.momentum, self.weight_decay, self.clip_norm = rates, momentum, weight_decay, clip_norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One step of all copies; gradients must be there, for no closure is taken."""
        for group in self.param_groups:
            used = [parameter for parameter in group["params"] if parameter.grad is not None]
            norm = torch.stack([one.grad.flatten(1).norm(dim=1) for one in used]).norm(dim=0)
            # Norms that are not finite have no scale: 0 would keep NaN, so that the gradient itself is replaced.
            usable = norm.isfinite()
            scale = torch.where(usable, (self.clip_norm / norm).clamp_max(1), 0)
            rate = group["lr"] * self.rates
            for parameter in used:
                shape = (-1, *(1 for _ in parameter.shape[1:]))
                gradient = parameter.grad * scale.view(shape)
                if not bool(usable.all()):
                    gradient = torch.where(usable.view(shape), gradient, 0)
                gradient.add_(parameter, alpha=self.weight_decay)
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.mul_(self.momentum).add_(gradient)
                parameter.sub_(rate.view(shape) * gradient.add_(buffer, alpha=self.momentum))


def train(
    models: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    losses: Callable[[nn.Module, Batch], torch.Tensor],
    *,
    rates: torch.Tensor,
    epochs: int,
    batch_size: int,
    seed: int,
    weight_decay: float = 0.0,
    clip_norm: float = math.inf,
    decayed: bool = True,
    on_epoch: Callable[[Fit], None] | None = None,
) -> Fit:
    """Train all copies in place on whole batches; `losses(models, batch)` is the mean loss of each copy, (copies,).

    Rates fall to 0 by a cosine unless `decayed` is false. A copy whose loss is NaN or infinite does not stop the
    others: it is left as it is for that step.
    """

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        # Finite losses can be near float32's largest, so that their sum needs more.
        return torch.nan_to_num(losses(models, batch), nan=0.0, posinf=0.0, neginf=0.0).double().sum()

    return fit(
        models, inputs, targets, objective, epochs=epochs, batch_size=batch_size, drop_last=True, seed=seed,
        optimizer=lambda _: StackedSGD(models, rates, weight_decay=weight_decay, clip_norm=clip_norm),
        schedule=cosine(step_count(len(inputs), batch_size, epochs, drop_last=True)) if decayed else None,
        on_epoch=on_epoch,
    )  # fmt: skip


@torch.no_grad()
def accuracy(models: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The accuracy of every copy, (copies,), in float64."""
    parts = zip(inputs.split(1000), targets.split(1000), strict=True)
    hits = torch.stack([(models(x).argmax(-1) == y).double().sum(-1) for x, y in parts])
    return hits.sum(0) / len(targets)
