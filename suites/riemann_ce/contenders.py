"""Searches for the least |f(s)| over a box of s = sigma + i t: variants of the cross-entropy method, and others.

Each takes a complex function, the corners of the box and a budget of evaluations, and returns every value |f| in the
order of evaluation and the point of the least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from suites.riemann_ce import method
from suites.riemann_ce.zeta import ComplexFunction

Floats = npt.NDArray[np.float64]
Corner = tuple[float, float]
Trace = tuple[Floats, complex]
RECENTRED = (0.2, 1.0)
"""Standard deviations of sigma and t about the best point of the first round."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "cross_entropy": {"recentre": RECENTRED},
    "hundred_samples": {"recentre": RECENTRED, "samples": 100},
    "not_recentred": {},
    "clipped": {"bounds": "clipped"},
    "smoothed": {"samples": 100, "smoothing": 0.4, "dynamic": (0.4, 10.0)},
}
"""`smoothed` has the published choices of a reference implementation of the method for continuous variables."""


def pairs(s: torch.Tensor) -> torch.Tensor:
    """Points (sigma, t) as float64 (N, 2) from complex (N,)."""
    return torch.view_as_real(s)


def complexes(x: torch.Tensor) -> torch.Tensor:
    """Complex (N,) from points (sigma, t), float64 (N, 2)."""
    return torch.view_as_complex(x.contiguous())


def search(
    f: ComplexFunction, low: Corner, high: Corner, seed: int, variant: str = "cross_entropy", **other: Any
) -> method.Found:
    """The cross-entropy method on |f| over a box, by a variant of `VARIANTS` with `other` settings."""
    settings = {**VARIANTS[variant], **other}
    start = method.BoxNormal.uniform(low, high, settings.pop("bounds", "truncated"))
    generator = torch.Generator().manual_seed(seed)
    return method.minimise(lambda x: f(complexes(x)).abs(), start, generator=generator, **settings)


class Counted:
    """|f| of one point or many, with a record, up to a budget."""

    def __init__(self, f: ComplexFunction, budget: int) -> None:
        self.f, self.budget = f, budget
        self.values: list[float] = []
        self.best, self.point = np.inf, complex(np.nan)

    @property
    def left(self) -> int:
        return self.budget - len(self.values)

    def note(self, s: torch.Tensor, sizes: torch.Tensor) -> None:
        self.values += sizes.tolist()
        place = int(sizes.argmin())
        if float(sizes[place]) < self.best:
            self.best, self.point = float(sizes[place]), complex(s[place])

    def __call__(self, s: torch.Tensor) -> torch.Tensor:
        sizes = self.f(s).abs()
        self.note(s, sizes)
        return sizes

    @property
    def trace(self) -> Trace:
        return np.array(self.values[: self.budget]), self.point


def uniform(low: Corner, high: Corner, count: int, generator: torch.Generator) -> torch.Tensor:
    return complexes(method.BoxNormal.uniform(low, high).sample(count, generator))


def cross_entropy(variant: str) -> Callable[[ComplexFunction, Corner, Corner, int, int], Trace]:
    def run(f: ComplexFunction, low: Corner, high: Corner, budget: int, seed: int) -> Trace:
        counted = Counted(f, budget)
        samples = VARIANTS[variant].get("samples", 500)
        search(counted, low, high, seed, variant, rounds=budget // samples, tolerance=0.0)
        return counted.trace

    return run


def random_search(f: ComplexFunction, low: Corner, high: Corner, budget: int, seed: int) -> Trace:
    counted = Counted(f, budget)
    for part in uniform(low, high, budget, torch.Generator().manual_seed(seed)).split(500):
        counted(part)
    return counted.trace


class Spent(Exception):
    """The budget is used up."""


def nelder_mead(f: ComplexFunction, low: Corner, high: Corner, budget: int, seed: int) -> Trace:
    """scipy's simplex within the box, begun anew at a random point whenever it has converged."""
    from scipy.optimize import Bounds, minimize

    counted, generator = Counted(f, budget), torch.Generator().manual_seed(seed)

    def size(x: Floats) -> float:
        if not counted.left:
            raise Spent
        return float(counted(torch.tensor([complex(*x)], dtype=torch.complex128)))

    try:
        while True:
            start = pairs(uniform(low, high, 1, generator))[0].numpy()
            minimize(size, start, method="Nelder-Mead", bounds=Bounds(low, high), options={"xatol": 1e-14, "fatol": 0})
    except Spent:
        return counted.trace


def newton(f: ComplexFunction, low: Corner, high: Corner, budget: int, seed: int) -> Trace:
    """s - f / f' from random points, begun anew outside the box or after 30 steps; a derivative counts as a value."""
    counted, generator = Counted(f, budget), torch.Generator().manual_seed(seed)
    while counted.left > 1:
        s = uniform(low, high, 1, generator)
        for _ in range(30):
            inside = low[0] <= float(s.real) <= high[0] and low[1] <= float(s.imag) <= high[1]
            if counted.left < 2 or not inside:
                break
            s.requires_grad_(True)
            value = f(s)
            (gradient,) = torch.autograd.grad(value.real.sum(), s)  # conjugate of the derivative
            counted.note(s.detach().repeat(2), value.detach().abs().repeat(2))
            s = (s - value / gradient.conj()).detach()
    return counted.trace


SEARCHES: Mapping[str, Callable[[ComplexFunction, Corner, Corner, int, int], Trace]] = {
    **{name: cross_entropy(name) for name in ("cross_entropy", "hundred_samples", "smoothed")},
    "random_search": random_search,
    "nelder_mead": nelder_mead,
    "newton": newton,
}
