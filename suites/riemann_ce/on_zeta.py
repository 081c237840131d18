"""Searches of the strip at equal evaluations, and in boxes that grow."""

from __future__ import annotations

import numpy as np

from suites.riemann_ce.contenders import SEARCHES, search
from suites.riemann_ce.zeta import zeta

LOW, RIGHT = (0.02, 10.0), 0.98
CLOSE = 1e-6
"""|zeta| that counts as near a zero where evaluations are counted."""
FOUND, ON_LINE = 1e-9, 1e-6


def contest(*, arm: str, seed: int, budget: int) -> dict[str, float]:
    """The least |zeta| within a budget of evaluations, and how many it takes to come close to a zero."""
    values, _ = SEARCHES[arm](zeta, LOW, (RIGHT, 30.0), budget, seed)
    close = np.flatnonzero(values < CLOSE)
    return {
        "log10_least": float(np.log10(max(values.min(), 1e-16))),
        "evaluations": float(close[0] + 1 if len(close) else budget), "came_close": float(len(close) > 0),
    }  # fmt: skip


def box_sizes(*, arm: str, seed: int, top: float, runs: int) -> dict[str, float]:
    """Where searches of the box up to t = top end. None is left out."""
    ends = [search(zeta, LOW, (RIGHT, top), 100 * seed + run, arm, rounds=120) for run in range(runs)]
    from_line = [abs(float(end.point[0]) - 0.5) for end in ends]
    return {
        "found": float(np.mean([end.value < FOUND for end in ends])),
        "on_line": float(np.mean([distance < ON_LINE for distance in from_line])),
        "missed_by": max(from_line), "rounds": float(np.mean([end.rounds for end in ends])),
        "unconverged": float(np.mean([not end.converged for end in ends])),
        "kinds": float(len({round(float(end.point[1]), 3) for end in ends if end.value < FOUND})),
    }  # fmt: skip
