"""What the exact tier of a suite counts: the worst case over many inputs, bad calls that pass, defaults that moved."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import numpy as np
import torch


def gap(found: object, expected: object = 0.0) -> float:
    """The largest |found - expected| of tensors, arrays, lists or numbers that broadcast.

    Equal infinities are not apart, and NaN is infinitely far from anything, so that no bound lets it pass.
    """
    a, b = (
        one.detach().cpu().double().numpy() if isinstance(one, torch.Tensor) else np.asarray(one, dtype=float)
        for one in (found, expected)
    )
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b))
    return float(np.nan_to_num(apart, nan=math.inf, posinf=math.inf).max(initial=0.0))


class Worst(dict[str, float]):
    """The largest value of each metric so far. NaN is worse than any number, and stays."""

    def note(self, **values: float) -> None:
        for name, value in values.items():
            new, old = float(value), self.get(name, -math.inf)
            self[name] = new if math.isnan(new) or new > old else old


def accepted(*calls: Callable[[], object]) -> float:
    """How many of these calls, none of which makes sense, are not refused with a ValueError."""
    passed = 0
    for call in calls:
        try:
            call()
        except ValueError:
            continue
        passed += 1
    return float(passed)


def other_defaults(function: Callable[..., object], **expected: object) -> float:
    """How many parameters of `function` have another default than expected, or one that is not named here at all."""
    parameters = inspect.signature(function).parameters.values()
    found = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return float(sum(name not in found or name not in expected or found[name] != expected[name]
                     for name in found.keys() | expected.keys()))  # fmt: skip
