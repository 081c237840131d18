"""Zeta functions of many complex arguments at once, by Euler-Maclaurin summation, and counts of their zeros.

Hurwitz:  zeta(s, a) = sum_{n < N} (n + a)^-s + x^(1-s) / (s - 1) + x^-s / 2
                       + sum_{k=1}^{m} B_2k / (2k)! s (s + 1) ... (s + 2k - 2) x^(-s-2k+1),   x = N + a.

What is left out is about (|s| / (2 pi x))^(2m+1): the cut N rises with |t|, s = sigma + i t. Riemann's zeta is
zeta(s, 1). All functions take complex or real tensors of any shape, compute in complex128, and can be differentiated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import bernoulli, loggamma

CORRECTIONS = 14
LOWEST_SIGMA, HIGHEST_T = -2.0, 1e4
BERNOULLI = bernoulli(2 * CORRECTIONS)[2::2] / np.cumprod(np.arange(1.0, 2 * CORRECTIONS + 1))[1::2]
"""B_2k / (2k)! for k = 1, ..., CORRECTIONS."""
BLOCK = 1 << 21
"""Entries of the table of terms that are held at once."""
DAVENPORT_HEILBRONN = (math.sqrt(10 - 2 * math.sqrt(5)) - 2) / (math.sqrt(5) - 1)

ComplexFunction = Callable[[torch.Tensor], torch.Tensor]


def cut(height: float) -> int:
    """N for arguments with |t| <= height: with 14 corrections the rest is below 1e-14 of the last term."""
    return 15 + math.ceil(height / 2)


def hurwitz(s: torch.Tensor, a: float = 1.0, *, terms: int | None = None) -> torch.Tensor:
    """zeta(s, a) for 0 < a <= 1, complex128 of the shape of s; complex infinity (inf + 0i) at the pole s = 1.

    terms: the cut N, `cut` of the largest |t| by default. Raises ValueError for sigma below -2 or |t| above 10,000,
    where float64 loses too many digits, for what is not finite, and for an `a` out of its range.
    """
    s = torch.as_tensor(s).to(torch.complex128)
    if not 0 < a <= 1 or (terms is not None and terms < 1):
        raise ValueError(f"a lies in (0, 1] and at least one term is summed; got a = {a}, terms = {terms}")
    if not s.numel():
        return s
    lowest, height = float(s.detach().real.min()), float(s.detach().imag.abs().max())
    if not torch.isfinite(s).all() or lowest < LOWEST_SIGMA or height > HIGHEST_T:
        raise ValueError(f"s is finite with sigma >= -2 and |t| <= 10,000; got sigma {lowest:.3g}, |t| {height:.3g}")
    count = cut(height) if terms is None else terms
    logs = (torch.arange(count, dtype=torch.float64, device=s.device) + a).log()
    flat = s.reshape(-1)
    parts = [_powers(part, logs) for part in flat.split(max(1, BLOCK // count))]
    x = count + a
    pole = flat == 1
    safe = torch.where(pole, 2.0, flat)
    power = torch.exp(-safe * math.log(x))
    total = torch.cat(parts) + x * power / (safe - 1) + power / 2
    k = 2 * torch.arange(1, CORRECTIONS, dtype=torch.float64, device=s.device)
    rising = ((safe[:, None] + k - 1) * (safe[:, None] + k) / x**2).cumprod(1)
    numbers = torch.from_numpy(BERNOULLI).to(s.device)
    total = total + safe * power / x * (numbers[0] + (numbers[1:] * rising).sum(1))
    return torch.where(pole, math.inf, total).view(s.shape)


def _powers(s: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """sum_n exp(-s log n) of each s: (B,). In real arithmetic, three times as fast as a complex exponential."""
    size, angle = torch.exp(-s.real[:, None] * logs), s.imag[:, None] * logs
    return torch.complex((size * angle.cos()).sum(1), -(size * angle.sin()).sum(1))


def zeta(s: torch.Tensor, *, terms: int | None = None) -> torch.Tensor:
    """Riemann's zeta(s); see `hurwitz`."""
    return hurwitz(s, terms=terms)


def davenport_heilbronn(s: torch.Tensor) -> torch.Tensor:
    """5^-s (zeta(s, 1/5) + c zeta(s, 2/5) - c zeta(s, 3/5) - zeta(s, 4/5)), c = 0.284...

    It has a functional equation between s and 1 - s as zeta has, no Euler product, and zeros off the line sigma = 1/2.
    """
    s = torch.as_tensor(s).to(torch.complex128)
    c = DAVENPORT_HEILBRONN
    total = hurwitz(s, 0.2) + c * hurwitz(s, 0.4) - c * hurwitz(s, 0.6) - hurwitz(s, 0.8)
    return torch.exp(-s * math.log(5)) * total


def xi(s: torch.Tensor) -> torch.Tensor:
    """s (s - 1) / 2 pi^(-s/2) Gamma(s/2) zeta(s) = xi(1 - s). Not differentiable: Gamma is scipy's."""
    s = torch.as_tensor(s).to(torch.complex128)
    return s * (s - 1) / 2 * torch.exp(_loggamma(s / 2) - s / 2 * math.log(math.pi)) * zeta(s)


def theta(t: torch.Tensor) -> torch.Tensor:
    """Riemann and Siegel's theta, Im log Gamma(1/4 + i t / 2) - t / 2 log pi: float64 of the shape of t."""
    t = torch.as_tensor(t, dtype=torch.float64)
    return _loggamma(torch.complex(torch.full_like(t, 0.25), t / 2)).imag - t / 2 * math.log(math.pi)


def hardy_z(t: torch.Tensor) -> torch.Tensor:
    """exp(i theta(t)) zeta(1/2 + i t), which is real and has the zeros of zeta on the line: float64."""
    t = torch.as_tensor(t, dtype=torch.float64)
    turned = torch.polar(torch.ones_like(t), theta(t)) * zeta(torch.complex(torch.full_like(t, 0.5), t))
    return turned.real


def gram_points(count: int) -> torch.Tensor:
    """g_n with theta(g_n) = n pi for n = 0, ..., count - 1, by Newton's method: float64 (count,)."""
    n = torch.arange(count, dtype=torch.float64)
    t = 18 + 2 * math.pi * n / (n / 7 + 3).log()
    for _ in range(20):
        t = t - (theta(t) - n * math.pi) / ((t / (2 * math.pi)).log() / 2)
    return t


def count_zeros(f: ComplexFunction, low: tuple[float, float], high: tuple[float, float], *, points: int = 200) -> int:
    """Zeros minus poles of f in the rectangle of corners (sigma, t), with multiplicity, by the argument principle.

    points: for each unit of length of the boundary. Raises ValueError where f turns by more than a right angle between
    two of them: a zero lies on the boundary or close to it, or the points are too few.
    """
    if not (low[0] < high[0] and low[1] < high[1]):
        raise ValueError(f"no rectangle from {low} to {high}")
    corners = [complex(*low), complex(high[0], low[1]), complex(*high), complex(low[0], high[1]), complex(*low)]
    path = np.concatenate([
        np.linspace(start, end, max(2, math.ceil(points * abs(end - start))), endpoint=False)
        for start, end in itertools.pairwise(corners)
    ])  # fmt: skip
    values = f(torch.from_numpy(path))
    turns = (values.roll(-1) / values).angle()
    if not turns.abs().max() <= math.pi / 2:
        raise ValueError("f turns by more than a right angle from point to point: move the rectangle or ask for more")
    return round(float(turns.sum()) / (2 * math.pi))


def _loggamma(z: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.asarray(loggamma(z.detach().cpu().numpy()))).to(z.device)
