"""What the vector is compared with: the character error rate, total variation, rules of triage; and a noisy reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from suites.character_error_vector.method import Distance, cdd, spacer

Array = npt.NDArray[np.float64]

CONFUSIONS = {
    "a": "o", "b": "h", "c": "e", "d": "l", "e": "c", "f": "t", "g": "q", "h": "b", "i": "l", "j": "i", "l": "1",
    "m": "n", "n": "u", "o": "0", "p": "n", "q": "g", "r": "n", "s": "5", "t": "f", "u": "n", "v": "y", "y": "v",
    "z": "2", "0": "o", "1": "l", "5": "s", "8": "b", ",": ".", ".": ",",
}  # fmt: skip
"""Characters that look alike; half of all substitutions are among them, the others by any character of the text."""
CHANNELS = {
    "mixed": (0.6, 0.2, 0.2), "substitutions": (1.0, 0.0, 0.0), "deletions": (0.0, 1.0, 0.0),
    "insertions": (0.0, 0.0, 1.0),
}  # fmt: skip
"""Shares of substitutions, deletions and insertions among the errors."""


def edits(reference: str, found: str) -> int:
    """The Levenshtein distance, by the bit vectors of Myers (1999) in Hyyrö's form (2003), a column in one integer."""
    if not reference:
        return len(found)
    ones, last = (1 << len(reference)) - 1, 1 << (len(reference) - 1)
    matches: dict[str, int] = {}
    for place, character in enumerate(reference):
        matches[character] = matches.get(character, 0) | 1 << place
    more, less, distance = ones, 0, len(reference)  # where the column's distances grow and fall by one downwards
    for character in found:
        match = matches.get(character, 0)
        diagonal = (((match & more) + more) ^ more) | match | less
        grow, fall = less | ~(diagonal | more) & ones, more & diagonal
        distance += bool(grow & last) - bool(fall & last)
        grow = grow << 1 | 1
        more, less = (fall << 1 | ~(diagonal | grow)) & ones, grow & diagonal & ones
    return distance


def cer(reference: str, found: str) -> float:
    """Edits over the length of the reference. Raises ValueError for an empty one."""
    if not reference:
        raise ValueError("no character error rate of an empty reference")
    return edits(reference, found) / len(reference)


def total_variation(reference: npt.ArrayLike, found: npt.ArrayLike) -> Array:
    """Half the L1 distance of the distributions of counts (..., V)."""
    p, q = (np.asarray(one, dtype=np.float64) for one in (reference, found))
    return np.abs(p / p.sum(-1, keepdims=True) - q / np.maximum(1, q.sum(-1, keepdims=True))).sum(-1) / 2


DISTANCES: dict[str, Distance] = {"spacer": spacer, "cdd": cdd, "total_variation": total_variation}


class Reader:
    """Text as an engine would read it that errs at a rate, each character by itself; `letters` are those of a text."""

    def __init__(self, text: str, rng: np.random.Generator) -> None:
        self._letters, sizes = zip(*sorted(Counter(text).items()), strict=True)
        self._shares, self._rng = np.array(sizes) / sum(sizes), rng

    def read(self, text: str, rate: float, channel: str = "mixed") -> str:
        kinds = self._rng.choice(4, len(text), p=[*(rate * share for share in CHANNELS[channel]), 1 - rate])
        other = self._rng.choice(len(self._letters), len(text), p=self._shares)
        alike = self._rng.random(len(text)) < 0.5
        found = []
        for character, kind, letter, confused in zip(text, kinds, other, alike, strict=True):
            if kind == 0:
                found.append(CONFUSIONS.get(character, self._letters[letter]) if confused else self._letters[letter])
            elif kind != 1:
                found.append(character + (self._letters[letter] if kind == 2 else ""))
        return "".join(found)


def f1(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    """F1 of the label true; 0 where it is neither there nor said."""
    hits = int((truth & said).sum())
    return 2 * hits / max(1, int(truth.sum()) + int(said.sum()))


def best_cut(truth: npt.NDArray[np.bool_], candidates: Sequence[npt.NDArray[np.bool_]]) -> int:
    """Which of the candidate labels has the best F1, the first of equals."""
    return int(np.argmax([f1(truth, said) for said in candidates]))
