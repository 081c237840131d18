"""What the exact tier is checked on: random networks in float64, and Taylor series in mpmath's precision."""

from __future__ import annotations

from collections.abc import Iterator

import mpmath
import numpy as np
import torch
from torch import nn

from baselines.landscape import random_direction
from baselines.models import DigitTransformer, mlp, small_cnn

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
