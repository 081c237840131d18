"""Generated arithmetic after the description of the mathematics data set: characters, and only answers carry loss.

A problem of entropy s has about 10^s possible operands: s is split at random between two integers, each uniform up to
half of 10 to its share in absolute value. Problems stand one after another in rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

from baselines.corpora import Characters
from suites.scaling_autoregressive.sources import NO_LOSS, Examples

KINDS: dict[str, Callable[[int, int], tuple[str, str]]] = {
    "add": lambda a, b: (f"What is {a} + {b}?", str(a + b)),
    "subtract": lambda a, b: (f"What is {a} - {b}?", str(a - b)),
    "multiply": lambda a, b: (f"What is {a} * {b}?", str(a * b)),
    "compare": lambda a, b: (f"Is {a} greater than {b}?", str(a > b)),
}
CHARACTERS = Characters("".join(sorted(set("0123456789-+*? \nWhatisIsgreaterthanTrueFalse"))))


def problem(kind: str, entropy: float, generator: random.Random) -> tuple[str, str]:
    """(question, answer)."""
    share = generator.uniform(0, entropy)
    operands = [generator.randint(-limit, limit) for limit in (round(10**s / 2) for s in (share, entropy - share))]
    return KINDS[kind](*operands)


def maths_examples(rows: int, length: int, entropies: tuple[float, float], generator: random.Random) -> Examples:
    """Rows of problems whose entropy is uniform between two values, cut off at `length`: (rows, length) both."""
    found = []
    for _ in range(rows):
        text, carries = "\n", [False]
        while len(text) <= length:
            question, answer = problem(generator.choice(list(KINDS)), generator.uniform(*entropies), generator)
            text += f"{question} {answer}\n"
            carries += [False] * (len(question) + 1) + [True] * (len(answer) + 1)
        tokens = CHARACTERS.encode(text[: length + 1])
        mask = torch.tensor(carries[1 : length + 1])
        found.append(torch.stack([tokens[:-1], torch.where(mask, tokens[1:], NO_LOSS)]))
    inputs, targets = torch.stack(found, 1)
    return Examples(inputs, targets)
