"""Reward as a function of entropy over a run: the paper's curve, its rivals, and how well each tells unseen steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from suites.entropy_mechanism.method import EntropyLaw

Array = npt.NDArray[np.float64]
Curve = Callable[[Array], Array]


def exponential(entropy: Array, reward: Array) -> Curve:
    """R = -a exp(H) + b, the paper's."""
    law = EntropyLaw.fit(torch.from_numpy(entropy), torch.from_numpy(reward))
    return lambda at: law(torch.from_numpy(at)).numpy()


def linear(entropy: Array, reward: Array) -> Curve:
    """R = -a H + b: as many parameters."""
    return np.polynomial.Polynomial.fit(entropy, reward, 1)


def quadratic(entropy: Array, reward: Array) -> Curve:
    """R = a H^2 + c H + b."""
    return np.polynomial.Polynomial.fit(entropy, reward, 2)


def power(entropy: Array, reward: Array) -> Curve:
    """R = -a H^c + b, 0.1 <= c <= 5."""
    from scipy.optimize import minimize_scalar

    def at_exponent(exponent: float) -> tuple[float, Array]:
        columns = np.stack([entropy**exponent, np.ones_like(entropy)], 1)
        weights = np.linalg.lstsq(columns, reward, rcond=None)[0]
        return float(np.square(reward - columns @ weights).sum()), weights

    best = float(minimize_scalar(lambda c: at_exponent(c)[0], bounds=(0.1, 5.0), method="bounded").x)
    slope, level = at_exponent(best)[1]
    return lambda at: slope * at**best + level


CURVES: dict[str, Callable[[Array, Array], Curve]] = {
    "exponential": exponential,
    "linear": linear,
    "quadratic": quadratic,
    "power": power,
}


def r_squared(curve: Curve, entropy: Array, reward: Array) -> float:
    """1 minus the share of the variance that the curve leaves."""
    return float(1 - np.square(reward - curve(entropy)).sum() / np.square(reward - reward.mean()).sum())


def held_out_error(fit: Callable[[Array, Array], Curve], entropy: Array, reward: Array, block: int) -> float:
    """Root mean squared error on every second block of steps, fitted on the others: neighbours are too alike."""
    odd = np.arange(len(entropy)) // block % 2 == 1
    curve = fit(entropy[~odd], reward[~odd])
    return float(np.sqrt(np.square(reward[odd] - curve(entropy[odd])).mean()))


def extrapolation_error(fit: Callable[[Array, Array], Curve], entropy: Array, reward: Array, share: float) -> float:
    """|error| of the reward of the last step, from the first `share` of the steps and the entropy of the last one."""
    first = round(share * len(entropy))
    return float(abs(fit(entropy[:first], reward[:first])(entropy[-1:])[0] - reward[-1]))


def interval(entropy: Array, reward: Array, *, block: int, draws: int, seed: int) -> dict[str, float]:
    """95 % intervals of a, b and b - a from one run: circular block bootstrap, for its steps are not independent.

    The blocks go round, so that the first steps, where the entropy is highest, come as often as any.
    """
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, len(entropy), (draws, len(entropy) // block))
    rows = (starts[..., None] + np.arange(block)).reshape(draws, -1) % len(entropy)
    fitted = [EntropyLaw.fit(torch.from_numpy(entropy[row]), torch.from_numpy(reward[row])) for row in rows]
    found = {}
    for name in ("a", "b", "ceiling"):
        low, high = np.quantile([getattr(law, name) for law in fitted], [0.025, 0.975])
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found
