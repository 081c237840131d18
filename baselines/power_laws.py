"""Scaling laws fitted to points (x, y): a power law plus a constant, its rivals, and any law written like them.

Fits are least squares of the relative residuals f(x) / y - 1. Within a fit x is in units of its geometric mean and y in
units of its smallest value, so that one box of parameters serves all data: its levels reach ten times as far as y does.
An optimum at an end of the box is no optimum, and warned of, but for a constant of 0.

A constant and an exponent are strongly correlated and the sum of squares has flat valleys: hence a box, parameters on a
log scale, many starts (a Sobol sequence, so that a fit is deterministic), and intervals by profiling instead of a
quadratic approximation.

    fitted = fit(POWER_PLUS_CONSTANT, sizes, losses)
    law = power_law(fitted)  # offset + (scale / x) ** exponent
    print(law.offset, fitted.interval("offset"), fitted.aic - fit(POWER, sizes, losses).aic)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

STARTS = 512
"""Points of the box at which the sum of squares is looked at; the best ones are starts."""
POLISHED = 4


@dataclass(frozen=True)
class Parameter:
    """One parameter and where it is searched; positive ones over decades on a log scale."""

    name: str
    low: float
    high: float
    log: bool = True


@dataclass(frozen=True)
class Law:
    """y = function(x, *parameters) for x and y in the units above; it must broadcast over parameters.

    `levels` names the parameters that are in units of y: a multiple of all of them is that multiple of y.
    """

    name: str
    function: Callable[..., Array]
    parameters: tuple[Parameter, ...]
    levels: tuple[str, ...]


_OFFSET, _AMPLITUDE = Parameter("offset", 0.0, 1.0, log=False), Parameter("amplitude", 1e-8, 1e3)
_EXPONENT, _RATE = Parameter("exponent", 1e-3, 10.0), Parameter("rate", 1e-4, 1e3)

POWER_PLUS_CONSTANT = Law(
    "power law plus constant",
    lambda x, offset, amplitude, exponent: offset + amplitude * x**-exponent,
    (_OFFSET, _AMPLITUDE, _EXPONENT),
    ("offset", "amplitude"),
)
POWER = Law(
    "pure power law", lambda x, amplitude, exponent: amplitude * x**-exponent, (_AMPLITUDE, _EXPONENT), ("amplitude",)
)
EXPONENTIAL = Law(
    "exponential approach",
    lambda x, offset, amplitude, rate: offset + amplitude * np.exp(-rate * x),
    (_OFFSET, _AMPLITUDE, _RATE),
    ("offset", "amplitude"),
)
LOGARITHM = Law(
    "constant minus logarithm",
    lambda x, level, slope: level - slope * np.log(x),
    (Parameter("level", 1e-3, 1e3), Parameter("slope", 1e-8, 1e2)),
    ("level", "slope"),
)


@dataclass(frozen=True)
class PowerLaw:
    """offset + (scale / x) ** exponent: an irreducible part and a reducible one."""

    offset: float
    scale: float
    exponent: float

    def __call__(self, x: ArrayLike) -> Array:
        return self.offset + self.reducible(x)

    def reducible(self, x: ArrayLike) -> Array:
        """What is left to learn at x."""
        return (self.scale / np.asarray(x, dtype=float)) ** self.exponent


@dataclass(frozen=True)
class Fitted:
    """A law with its best parameters for some points."""

    law: Law
    x: Array
    y: Array
    coordinates: Array  # parameters in the units of the fit, those on a log scale as logarithms
    rss: float  # sum of squared relative residuals

    @property
    def parameters(self) -> dict[str, float]:
        """Values by name; those in units of y are in its own units, the others in units of the geometric mean of x."""
        values = _values(self.law, self.coordinates)
        return {
            parameter.name: float(value * self._unit(parameter.name))
            for parameter, value in zip(self.law.parameters, values, strict=True)
        }

    @property
    def bounded(self) -> tuple[str, ...]:
        """The parameters that an end of the box holds: their values, and those of the others, are not what was asked.

        A constant of 0 is not among them, for nothing lies beyond it.
        """
        low, high = _box(self.law, self.y)
        near = 1e-6 * (high - low)
        at_low, at_high = self.coordinates <= low + near, self.coordinates >= high - near
        named = zip(self.law.parameters, at_low, at_high, strict=True)
        return tuple(one.name for one, lowest, highest in named if highest or (lowest and one.low))

    @property
    def centre(self) -> float:
        """The geometric mean of x."""
        return _centre(self.x)

    @property
    def degrees_of_freedom(self) -> int:
        """Points less parameters."""
        return len(self.y) - len(self.coordinates)

    @property
    def aic(self) -> float:
        """Akaike's criterion for normal relative residuals of unknown variance, up to a constant of the data."""
        return len(self.y) * math.log(max(self.rss, 1e-300) / len(self.y)) + 2 * (len(self.coordinates) + 1)

    def __call__(self, x: ArrayLike) -> Array:
        """The law at x."""
        values = _values(self.law, self.coordinates)
        return self.law.function(np.asarray(x, dtype=float) / self.centre, *values) * self.y.min()

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The profile interval of a parameter: where the best fit with it held fixed is not worse than F allows.

        An end at which the box ends is one that the data do not bound. Without degrees of freedom that is both.
        """

        from scipy import stats

        index = [parameter.name for parameter in self.law.parameters].index(name)
        low, high = (bound[index] for bound in _box(self.law, self.y))
        ends = np.array([low, high])
        if self.degrees_of_freedom > 0:
            allowed = self.rss * (1 + stats.f.ppf(level, 1, self.degrees_of_freedom) / self.degrees_of_freedom)
            # Below this, residuals are the rounding of the data.
            allowed = max(allowed, len(self.y) * 1e-24)
            ends = np.array([self._end(index, end, allowed) for end in (low, high)])
        found = np.exp(ends) if self.law.parameters[index].log else ends
        return float(found[0] * self._unit(name)), float(found[1] * self._unit(name))

    def _end(self, index: int, end: float, allowed: float) -> float:
        """Where the profile crosses `allowed` between the best value and `end`; `end` where it does not."""

        from scipy import optimize

        best = self.coordinates[index]
        kept = {"free": np.delete(self.coordinates, index)}

        def excess(fraction: float) -> float:
            held = best + fraction * (end - best)
            cost, kept["free"] = _held(self.law, self.x, self.y, index, held, kept["free"])
            return cost - allowed

        # The first crossing from the best value outwards: steps that double, then bisection within the last one.
        inside = 0.0
        for outside in 2.0 ** np.arange(-20, 1):
            if excess(outside) > 0:
                return float(best + optimize.brentq(excess, inside, outside, rtol=1e-4) * (end - best))
            inside = outside
        return float(end)

    def _unit(self, name: str) -> float:
        return float(self.y.min()) if name in self.law.levels else 1.0


def fit(law: Law, x: ArrayLike, y: ArrayLike, *, below: bool = False) -> Fitted:
    """The law's least-squares fit to points with positive x and y.

    With `below` it is one-sided: among the laws that exceed no point, the one of least squares.

    Warns where an end of the box is reached. Raises ValueError for points that are no data for it: other shapes, not
    positive, not finite, or fewer than parameters.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x and y must be of one length, got shapes {x.shape} and {y.shape}")
    wrong = ~(np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0))
    if wrong.any():
        points = ", ".join(f"number {place} is ({x[place]:g}, {y[place]:g})" for place in np.flatnonzero(wrong)[:3])
        raise ValueError(f"x and y must be positive and finite: point {points}")
    if len(np.unique(x)) < len(law.parameters):
        raise ValueError(f"a {law.name} has {len(law.parameters)} parameters, got {len(np.unique(x))} distinct x")
    residual = _residual(law, x, y)
    low, high = _box(law, y)
    candidates = [_polish(residual, start, low, high) for start in _starts(residual, low, high)]
    if below:
        candidates = [_one_sided(law, x, y, start) for start, _ in candidates]
    best, rss = min(candidates, key=lambda candidate: candidate[1])
    fitted = Fitted(law, x, y, best, rss)
    if fitted.bounded:
        names = ", ".join(fitted.bounded)
        warnings.warn(f"the fit of '{law.name}' reached the end of the box of: {names}", stacklevel=2)
    return fitted


def power_law(fitted: Fitted) -> PowerLaw:
    """A fitted power law, with or without a constant, in the form offset + (scale / x) ** exponent."""
    found = fitted.parameters
    exponent = found["exponent"]
    scale = fitted.centre * math.exp(math.log(found["amplitude"]) / exponent)
    return PowerLaw(found.get("offset", 0.0), scale, exponent)


def _centre(x: Array) -> float:
    return float(np.exp(np.log(x).mean()))


def _box(law: Law, y: Array) -> tuple[Array, Array]:
    """The ends of each coordinate; a level on a log scale may be ten times what y spans, however many decades."""
    span = float(10 * y.max() / y.min())
    ends = [
        (math.log(one.low), math.log(max(one.high, span) if one.name in law.levels else one.high))
        if one.log
        else (one.low, one.high)
        for one in law.parameters
    ]
    low, high = np.array(ends).T
    return low, high


def _values(law: Law, coordinates: Array) -> list[Array]:
    """Parameters from coordinates (..., parameters)."""
    columns = np.moveaxis(coordinates, -1, 0)
    return [np.exp(column) if one.log else column for one, column in zip(law.parameters, columns, strict=True)]


def _residual(law: Law, x: Array, y: Array) -> Callable[[Array], Array]:
    """Coordinates (..., parameters) -> relative residuals (..., points)."""
    scaled, levels = x / _centre(x), y / y.min()

    def residual(coordinates: Array) -> Array:
        values = [value[..., None] for value in _values(law, np.asarray(coordinates))]
        return law.function(scaled, *values) / levels - 1

    return residual


def _starts(residual: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The best points of a Sobol sequence over the box."""

    from scipy.stats import qmc

    grid = low + qmc.Sobol(len(low), scramble=False).random(STARTS) * (high - low)
    # The first point is the corner of the box, which has no inside to start from.
    grid = grid[1:]
    cost = (residual(grid) ** 2).sum(-1)
    return grid[np.argsort(cost, kind="stable")[:POLISHED]]


def _polish(residual: Callable[[Array], Array], start: Array, low: Array, high: Array) -> tuple[Array, float]:
    from scipy import optimize

    span = (high - low) * 1e-9
    found = optimize.least_squares(
        residual,
        np.clip(start, low + span, high - span),
        bounds=(low, high),
        x_scale="jac",
        ftol=1e-11,
        xtol=1e-9,
        gtol=1e-13,
        max_nfev=400,
    )
    return found.x, float(2 * found.cost)


def _one_sided(law: Law, x: Array, y: Array, start: Array) -> tuple[Array, float]:
    """Least squares under residual <= 0: excess weighs ever more, and what is left of it is taken off all levels."""
    residual, (low, high) = _residual(law, x, y), _box(law, y)
    found = start
    for weight in 10.0 ** np.arange(5):

        def weighted(coordinates: Array, weight: float = weight) -> Array:
            signed = residual(coordinates)
            return np.where(signed > 0, weight * signed, signed)

        found, _ = _polish(weighted, found, low, high)
    excess = max(0.0, float(residual(found).max()))
    for index, one in enumerate(law.parameters):
        if one.name in law.levels:
            found[index] = found[index] - math.log1p(excess) if one.log else found[index] / (1 + excess)
    found = np.clip(found, low, high)
    return found, float((residual(found) ** 2).sum())


def _held(law: Law, x: Array, y: Array, index: int, value: float, start: Array) -> tuple[float, Array]:
    """The least sum of squares with one coordinate held, and the other coordinates."""
    residual, (low, high) = _residual(law, x, y), _box(law, y)
    free = np.delete(np.arange(len(low)), index)

    def of_the_others(coordinates: Array) -> Array:
        return residual(np.insert(coordinates, index, value))

    found, rss = _polish(of_the_others, start, low[free], high[free])
    return rss, found
