"""The classes that learners choose from, targets drawn from them, samples large enough, and the VC dimension."""

from __future__ import annotations

import functools

import numpy as np

from suites.cot_information import method
from suites.cot_information.method import Bools, Floats, HypothesisClass, Ints

FAMILIES = ("automata", "automata_free", "thresholds")
ACCEPTING = {"automata": [0], "automata_free": None}


@functools.cache
def family(name: str) -> HypothesisClass:
    """Automata with 3 states on 64 binary strings, the start state accepting or any set of states; or thresholds.

    Thresholds have windows of 4 bits and 8 steps, on 16 starts. Raises ValueError for another name.
    """
    if name not in FAMILIES:
        raise ValueError(f"a family is one of {', '.join(FAMILIES)}, got {name!r}")
    return method.linear_thresholds(4, 8) if name == "thresholds" else method.automata(3, 2, 6, ACCEPTING[name])


def targets(classes: HypothesisClass, count: int, generator: np.random.Generator) -> list[int]:
    """Different hypotheses, equally many of each kind of base rate as far as there are: many have constant answers.

    Kinds are by the share of the rarer answer: none, up to 0.2, up to 0.4, more.
    """
    _, numbers = np.unique(classes.answers, return_inverse=True)
    high = numbers.reshape(classes.answers.shape).astype(float).mean(1)
    kind = np.digitize(np.minimum(high, 1 - high), [1e-9, 0.2, 0.4], right=False)
    turns = np.empty(classes.size)
    for one in np.unique(kind):  # the places of each kind in a random order; then first all first ones, ...
        turns[kind == one] = generator.permutation((kind == one).sum())
    return [int(star) for star in np.lexsort((generator.random(classes.size), turns))[:count]]


def enough_for_worst(times: Ints, error: Floats, eps: float, delta: float) -> int:
    """The least m after which, in a share 1 - delta of the repetitions, every consistent hypothesis errs <= eps."""
    wrong = error > eps
    if not wrong.any():
        return 0
    last = np.sort(times[wrong].max(0))
    return int(last[int(np.ceil((1 - delta) * len(last) - 1e-9)) - 1])


def enough_for_random(failing: Floats, delta: float) -> int:
    """The least m from which on a random consistent hypothesis errs by more than eps with probability <= delta."""
    over = np.nonzero(failing.mean(1) > delta)[0]
    return int(over[-1]) + 1 if len(over) else 0


def vc_dimension(sets: Bools) -> int:
    """The most inputs that sets (H, n) cut out in all ways; -1 for no sets."""
    if len(sets) == 0:
        return -1
    rows = np.unique(np.unique(sets, axis=0), axis=1)
    columns = rows.T.astype(np.int64)
    shattered, patterns = np.zeros((1, 0), dtype=np.int64), np.zeros((1, len(rows)), dtype=np.int64)
    while True:
        size = shattered.shape[1]
        last = shattered[:, -1] if size else np.array([-1])
        old, new = np.nonzero(np.arange(len(columns)) > last[:, None])
        grown = 2 * patterns[old] + columns[new]
        kept: Bools = np.zeros(len(old), dtype=np.bool_)
        if 2 ** (size + 1) <= len(rows):  # else there are too few sets for all patterns
            met = np.zeros((len(old), 2 ** (size + 1)), dtype=np.bool_)
            met[np.arange(len(old))[:, None], grown] = True
            kept = np.all(met, axis=1)
        if not kept.any():
            return size
        shattered, patterns = np.column_stack([shattered[old], new])[kept], grown[kept]
