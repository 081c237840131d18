"""Adam for many copies of a network trained side by side (see `baselines.stacked`), each with a rate and a decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from baselines.training import Batch, Fit, cosine, fit, step_count


class StackedAdam(torch.optim.Optimizer):
    """Adam for parameters (copies, ...), with a rate and a decoupled weight decay (AdamW) for each copy.

    `undecayed` parameters have no decay. Schedules multiply `lr`, which starts at 1. A copy whose gradient is not
    finite is left as it is for that step.
    """

    def __init__(
        self, models: nn.Module, rates: torch.Tensor, *, weight_decay: torch.Tensor | float = 0.0,
        undecayed: Iterable[nn.Parameter] = (), betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if any(len(parameter) != len(rates) for parameter in models.parameters()):
            raise ValueError(f"there must be one rate a copy, got {len(rates)}")
        super().__init__(models.parameters(), {"lr": 1.0})
        self.rates, self.betas, self.eps = rates, betas, eps
        self.decay = torch.as_tensor(weight_decay).expand(len(rates))
        self.undecayed, self.steps = {id(one) for one in undecayed}, 0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One step of all copies; gradients must be there, for no closure is taken."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.betas)
        for group in self.param_groups:
            used = [parameter for parameter in group["params"] if parameter.grad is not None]
            usable = torch.stack([one.grad.flatten(1).isfinite().all(dim=1) for one in used]).all(dim=0)
            rate = torch.where(usable, group["lr"] * self.rates, 0)
            for parameter in used:
                shape = (-1, *(1 for _ in parameter.shape[1:]))
                gradient = parameter.grad
                if not bool(usable.all()):
                    gradient = torch.where(usable.view(shape), gradient, 0)
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter)).lerp_(gradient, 1 - self.betas[0])
                square = state.setdefault("square", torch.zeros_like(parameter))
                square.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
                if id(parameter) not in self.undecayed:
                    parameter.mul_(1 - (rate * self.decay).view(shape))
                scale = (square / second).sqrt_().add_(self.eps)
                parameter.sub_((rate / first).view(shape) * mean / scale)


def train(
    models: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    losses: Callable[[nn.Module, Batch], torch.Tensor],
    *,
    optimizer: StackedAdam,
    epochs: int,
    batch_size: int,
    seed: int,
    decayed: bool = True,
    on_epoch: Callable[[Fit], None] | None = None,
) -> Fit:
    """Train all copies in place on whole batches; `losses(models, batch)` is the mean loss of each copy, (copies,).

    Rates fall to 0 by a cosine unless `decayed` is false. A copy whose loss is NaN or infinite stops no other.
    """

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        return torch.nan_to_num(losses(models, batch), nan=0.0, posinf=0.0, neginf=0.0).double().sum()

    return fit(
        models, inputs, targets, objective, epochs=epochs, batch_size=batch_size, drop_last=True, seed=seed,
        optimizer=lambda _: optimizer, on_epoch=on_epoch,
        schedule=cosine(step_count(len(inputs), batch_size, epochs, drop_last=True)) if decayed else None,
    )  # fmt: skip
