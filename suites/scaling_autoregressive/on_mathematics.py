"""Generated arithmetic after the description of the mathematics data set: characters, and only answers carry loss.

A problem of entropy s has about 10^s possible operands: s is split at random between two integers, each uniform up to
half of 10 to its share in absolute value. Problems stand one after another in rows.
"""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable

import numpy as np
import torch

from baselines.corpora import Characters
from baselines.power_laws import POWER, POWER_PLUS_CONSTANT, fit, power_law
from suites.scaling_autoregressive.networks import NARROW, NO_LOSS, Examples, Recipe, rank_correlation, train_family

Metrics = dict[str, float | list[float]]

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


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, ">": operator.gt}


def check_arithmetic(problems: Examples) -> tuple[float, float, float]:
    """(answers that are wrong or not exactly what carries loss, share of tokens with loss, answers)."""
    wrong, count = 0, 0
    carries = problems.targets != NO_LOSS
    for row, mask in zip(problems.inputs, carries, strict=True):
        text = CHARACTERS.decode(row)
        start = 1
        for line in text[1:].split("\n")[:-1]:  # the last one is cut off
            question, answer = line.split("? ")
            first = start + len(question) + 2
            numbers = question.removeprefix("What is ").removeprefix("Is ").replace("greater than", ">")
            left, sign, right = numbers.split(" ")
            wrong += str(OPERATORS[sign](int(left), int(right))) != answer
            # Target t is token t + 1: the answer and its line end carry loss, the question does not.
            wrong += not bool(mask[first - 1 : first + len(answer)].all())
            wrong += bool(mask[start - 1 : first - 1].any()) if start > 1 else bool(mask[: first - 1].any())
            start += len(line) + 1
            count += 1
    return float(wrong), float(carries.double().mean()), float(count)


def arithmetic(*, seed: int, device: torch.device, depths: int, steps: int, batch: int, length: int) -> Metrics:
    """The paper's shapes on generated problems, s uniform on 3..10; tested at 8 (interpolate) and 12 (extrapolate)."""
    generator = random.Random(seed)
    rows = maths_examples(steps * batch, length, (3, 10), generator).to(device)
    tests = [maths_examples(256, length, (s, s), generator).to(device) for s in (8, 12)]
    both = Examples(*(torch.cat([getattr(test, name) for test in tests]) for name in ("inputs", "targets")))
    recipe = Recipe(batch=batch, weight_decay=0.05, warmup=min(0.1, 3000 / steps))
    curves, _ = train_family(NARROW[:depths], CHARACTERS.vocabulary, rows, both, recipe, seed)
    sizes, found = curves.sizes.numpy(), {}
    near, far = (part.double().mean(-1).numpy() for part in curves.losses.split(256, -1))
    for name, losses in (("interpolate", near), ("extrapolate", far)):
        lowest = losses.min(1)
        found[f"{name}_spearman"] = rank_correlation(sizes, lowest)
        constant, pure = fit(POWER_PLUS_CONSTANT, sizes, lowest), fit(POWER, sizes, lowest)
        small = power_law(constant).offset < 0.1 * lowest.min()
        found[f"{name}_needs_no_other_law"] = float(constant.aic < pure.aic or small)
        found[f"{name}_lowest"] = lowest.tolist()
    return found | matched_gaps(curves.training.double().numpy(), far)


def matched_gaps(training: np.ndarray, extrapolation: np.ndarray) -> Metrics:
    """Mean relative difference of extrapolation losses between neighbouring sizes, at matched training loss and step.

    Both (sizes, points). Losses are interpolated over the range of training losses that both sizes have met.
    """
    at_loss, at_step = [], []
    for (x, y), (u, v) in itertools.pairwise(zip(training, extrapolation, strict=True)):
        shared = np.linspace(max(x.min(), u.min()), min(x.max(), u.max()), 50)
        smaller, larger = (np.interp(shared, np.sort(a), b[np.argsort(a)]) for a, b in ((x, y), (u, v)))
        at_loss.append(float(np.abs(larger / smaller - 1).mean()))
        at_step.append(float(np.abs(v / y - 1).mean()))
    return {
        "gap_at_loss": float(np.max(at_loss)),
        "gap_at_step": float(np.mean(at_step)),
        "gap_ratio": float(np.mean(at_loss) / np.mean(at_step)),
    }
