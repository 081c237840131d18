"""Attacks in an l_inf ball and adversarial training: PGD, robust accuracy, the objective of TRADES.

Inputs are of any shape and lie in [0, 1]; x' stays within eps of x in every coordinate, and in [0, 1].

    start = uniform_start(inputs, eps, generator)
    worst = pgd(lambda x: losses.cross_entropy(model(x), targets, reduction="none"), inputs, start, eps=eps, ...)
    loss = losses.cross_entropy(model(worst), targets)                               # PGD training (Madry et al. 2018)

    start, fixed = near_start(inputs, generator), model(inputs).detach()
    worst = pgd(lambda x: prediction_change(fixed, model(x)), inputs, start, eps=eps, ...)
    loss = trades(model(inputs), model(worst), targets, beta=6.0)                    # TRADES (Zhang et al. 2019)

Whoever has layers that behave differently in training (dropout, batch norm) sets the mode for the attack.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from baselines import losses


def pgd(
    objective: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    start: torch.Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
) -> torch.Tensor:
    """The last point of projected gradient ascent on the sum of objective(x'), moving by `step` times the sign.

    The objective gives one value an example, of any shape; its sum keeps the examples apart. `start` has the shape of
    the inputs and is projected first. What comes back has no gradient, and parameters have gained none. Raises
    ValueError for eps < 0, step < 0, steps < 0, and a start of another shape.
    """
    losses.require(eps >= 0 and step >= 0 and steps >= 0, "eps, step and steps must be at least 0", (eps, step, steps))
    losses.require(start.shape == inputs.shape, "start must have the shape of inputs", tuple(start.shape))
    low, high = (inputs - eps).clamp_min(0), (inputs + eps).clamp_max(1)
    point = start.detach().clamp(low, high)
    for _ in range(steps):
        free = point.requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(objective(free).sum(), free)
        point = (free.detach() + step * slope.sign()).clamp(low, high)
    return point.detach()


def uniform_start(inputs: torch.Tensor, eps: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """Inputs moved by a uniform draw from the ball, as PGD training starts."""
    noise = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype, device=inputs.device)
    return inputs + eps * (2 * noise - 1)


def near_start(inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Inputs moved by 0.001 times a normal draw: where TRADES starts, whose objective has no gradient at x itself."""
    return inputs + 0.001 * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype, device=inputs.device)


def shortfall(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """max_{k != y} f_k - f_y of logits (..., K) and targets (...): above 0 where the prediction is wrong."""
    target = logits.gather(-1, targets[..., None])
    return logits.scatter(-1, targets[..., None], -torch.inf).amax(-1) - target.squeeze(-1)


def withstands(
    model: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    eps: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Whether the prediction is right at x and after PGD on the `shortfall`, bool of the shape of targets.

    Steps of 2.5 eps / steps from a uniform start. Its mean is robust accuracy, from above: a stronger attack may find
    more. A tie is wrong.
    """
    start = uniform_start(inputs, eps, generator)
    worst = pgd(lambda x: shortfall(model(x), targets), inputs, start, eps=eps, step=2.5 * eps / steps, steps=steps)
    with torch.no_grad():
        return (shortfall(model(inputs), targets) < 0) & (shortfall(model(worst), targets) < 0)


def prediction_change(logits: torch.Tensor, perturbed: torch.Tensor) -> torch.Tensor:
    """KL(softmax(logits) || softmax(perturbed)) over the last dimension: what the attack of TRADES maximises."""
    return losses.kl_divergence(F.log_softmax(logits, dim=-1), F.log_softmax(perturbed, dim=-1))


def trades(
    logits: torch.Tensor,
    perturbed: torch.Tensor,
    targets: torch.Tensor,
    *,
    beta: float = 6.0,
    reduction: losses.Reduction = "mean",
) -> torch.Tensor:
    """CE(f(x), y) + beta KL(softmax f(x) || softmax f(x')), beta >= 0, of the logits (N, K) at x and at its worst x'.

    The mean is over the examples there are (the published code divides the second term by its argument `batch_size`).
    """
    losses.require(beta >= 0, "beta must be at least 0", beta)
    losses.require(logits.shape == perturbed.shape, "perturbed must have the shape of logits", tuple(perturbed.shape))
    natural = losses.cross_entropy(logits, targets, reduction="none")
    return losses.reduce(
        natural + beta * prediction_change(losses.widened(logits), losses.widened(perturbed)), reduction
    )
