"""What the exact tier is checked on: random networks in float64, and Taylor series in mpmath's precision."""

from __future__ import annotations

import math
from collections.abc import Iterator

import mpmath
import numpy as np
import torch
from torch import nn

from baselines.loss_landscape import random_direction
from baselines.models import DigitTransformer, mlp, small_cnn
from suites.softmax_ghosts import method

Case = tuple[nn.Module, torch.Tensor, dict[str, torch.Tensor]]
"""A model, six random images and a random unit direction, in float64."""


def random_cases(seed: int, *, smooth: bool = False) -> Iterator[Case]:
    """Two smooth MLPs and, unless only `smooth` ones are wanted, a ReLU CNN with BatchNorm and a transformer."""
    torch.manual_seed(seed)
    networks: list[nn.Module] = [mlp([64, 24, 10], nn.GELU), mlp([64, 24, 24, 10], nn.Tanh, norm=True)]
    if not smooth:
        networks += [small_cnn(batch_norm=True), DigitTransformer(depth=2)]
    for network in networks:
        model = network.double()
        direction = random_direction(model, torch.Generator().manual_seed(seed))
        yield model, torch.rand(6, 1, 8, 8, dtype=torch.float64), direction


class Scale(nn.Module):
    """Multiplies by a constant: logits / T as a layer of the network."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return self.factor * logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """The softmax of one vector."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def log_series(coefficients: list[mpmath.mpf]) -> list[mpmath.mpf]:
    """Taylor coefficients of log f from those of f, by f (log f)' = f'."""
    logs = [mpmath.log(coefficients[0])]
    for n in range(1, len(coefficients)):
        known = mpmath.fsum(k * logs[k] * coefficients[n - k] for k in range(1, n))
        logs.append((coefficients[n] - known / n) / coefficients[0])
    return logs


def gelu_coefficient(n: int) -> mpmath.mpf:
    """The coefficient of t^n, n even and positive, of t Phi(t), from the series of the error function."""
    k = n // 2 - 1
    return (-1) ** k / (mpmath.sqrt(2 * mpmath.pi) * 2**k * mpmath.factorial(k) * (2 * k + 1))


def two_point_remainder(p: float, t: float) -> float:
    """|KL(p(0) || p(t)) - t^2 V / 2| for mass p at slope 1 and 1 - p at slope 0, with 30 digits."""
    with mpmath.workdps(30):
        p, t = mpmath.mpf(p), mpmath.mpf(t)
        divergence = mpmath.log(1 - p + p * mpmath.exp(t)) - t * p
        return float(abs(divergence - t**2 * p * (1 - p) / 2))


def extremes(seed: int) -> dict[str, float | list[float]]:
    """The experiment of that name."""
    far = [abs(method.nearest_zero(np.array([0.0, 0.0, -2000.0]), np.array([-1.0, 1.0, 0.0]))) * 2 / math.pi - 1]
    for gap in (1500.0, -1500.0):
        found = abs(method.nearest_zero(np.array([gap, 0.0]), np.array([0.0, 1.0])))
        far.append(found / method.binary_radius(gap, 1.0) - 1)
    scaled, miscounted = [], 0
    for spread in (1e-9, 1.0, 1e9):
        zero = method.binary_zeros(0.3, spread)[0]
        found = method.newton_zero(zero * (1 + 0.1j), np.array([0.3, 0.0]), np.array([0.0, spread]))
        scaled.append(abs(found / zero - 1))
    for spread in (1.0, 40.0, 400.0):
        radius = 3000 / spread  # the zeros are i pi (2k + 1) / spread
        expected = 2 * math.ceil((radius * spread / math.pi - 1) / 2)
        slopes = np.array([-spread / 2, spread / 2])
        miscounted += method.zeros_within(radius, np.zeros(2), slopes) != expected
    model, inputs, _ = next(random_cases(seed))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    still = method.RadiusController(model, torch.optim.SGD(model.parameters(), 1.0)).step(inputs)
    return {
        "far_gap": float(np.abs(far).max()),
        "scale_gap": float(max(scaled)),
        "miscounted": float(miscounted),
        "still_factor": still.factor,
        "still_r": still.r,
    }
