"""Step-size safeguards that an optimiser's update can be held by: a norm cap, Armijo backtracking, a curvature limit.

An update is a mapping from parameter names (as in `model.named_parameters()`) to tensors, as is a point.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.func import jvp
from torch.nn.utils import get_total_norm

from baselines.loss_landscape import Loss, Tensors, curvature, snapshot, times


def rescaled_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, factor: Callable[[Tensors, Tensors], float]
) -> None:
    """Step `optimizer`, then multiply the step that it made by `factor(point before, update)`. Its state is kept."""
    before = snapshot(model)
    optimizer.step()
    with torch.no_grad():
        update = {name: p - before[name] for name, p in model.named_parameters()}
        scale = factor(before, update)
        for name, p in model.named_parameters():
            p.copy_(before[name] + scale * update[name])


def cap_factor(update: Tensors, limit: float) -> float:
    """min(1, limit / ||p||): a trust region of constant radius."""
    size = float(get_total_norm(update.values()))
    return 1.0 if size <= limit else limit / size


def armijo_factor(
    loss: Loss, point: Tensors, update: Tensors, decrease: float = 1e-4, shrink: float = 0.5, most: int = 40
) -> float:
    """The largest of 1, shrink, shrink^2, ... with loss(point + c p) <= loss(point) + decrease c min(0, g . p).

    Zero where `most` trials find none. An update that points uphill, as momentum can, only has to not raise the loss.
    """
    start, slope = (float(part) for part in jvp(loss, (dict(point),), (dict(update),)))
    factor = 1.0
    for _ in range(most):
        moved = {name: point[name] + factor * update[name] for name in point}
        with torch.no_grad():
            if float(loss(moved)) <= start + decrease * factor * min(0.0, slope):
                return factor
        factor *= shrink
    return 0.0


def curvature_factor(loss: Loss, point: Tensors, update: Tensors) -> float:
    """min(1, (2 / v^T H v) / ||p||) with v = p / ||p||; 1 where the curvature is not positive."""
    size = float(get_total_norm(update.values()))
    if size == 0:
        return 1.0
    bend = curvature(loss, point, times(update, 1 / size))
    return min(1.0, 2 / (bend * size)) if bend > 0 else 1.0
