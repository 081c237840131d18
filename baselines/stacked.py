"""Many copies of one small network trained side by side, each with weights, a learning rate and a loss of its own.

A step of a network of a few thousand weights costs mostly overhead: a hundred of them as slices of stacked weights cost
little more than one. They share the start, the batches and their order, and no parameter, so that the sum of their
losses trains each as if it were alone.

    models = Stacked(mlp([64, 64, 10]), copies=len(rates))
    optimizer = StackedSGD(models, rates, momentum=0.9, weight_decay=1e-4, clip_norm=5.0)
    models(inputs)                                                                # (copies, B, 10)
"""

from __future__ import annotations

import math

import torch
from torch import nn


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
