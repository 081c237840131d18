"""The released ratings: Table 3 from a judge's ratings of single responses, and the judge against people."""

from __future__ import annotations

import numpy as np

import reference
from suites.crosseval import method, printed

NAMES = {"Image": "Image Recognition", "Tool": "Tool Use"}
"""Skills that are called otherwise in the files."""
FILES = {
    "GPT-4o mini": "gpt-4o-mini", "GPT-4o": "gpt-4o-2024-05-13", "o1-mini": "o1-mini", "o1-preview": "o1-preview",
    "Llama 3.1 8B": "8b", "Llama 3.1 70B": "70b", "Llama 3.1 405B": "405b",
}  # fmt: skip
"""What the file of a model has in its name."""


def called(column: str | tuple[str, str]) -> str:
    """A skill or a pair as the files have it."""
    if isinstance(column, tuple):
        return " & ".join(NAMES.get(skill, skill) for skill in column)
    return NAMES.get(column, column)


def scores(*, model: str) -> dict[str, float]:
    """One model's row of Table 3 from its file: the largest difference from print over all cells that are printed."""
    ratings = reference.load("crosseval", FILES[model])
    (column,) = (name for name in ratings if name.endswith("_response_rating"))
    found = method.capability_scores(ratings, column)
    skills, pairs = (table.loc[model].dropna() for table in (printed.skills(), printed.pairs()))
    gaps = [abs(found.get(called(key), np.inf) - value) for row in (skills, pairs) for key, value in row.items()]
    return {"gap": float(max(gaps)), "cells": float(len(gaps))}


def judge() -> dict[str, float]:
    """GPT-4o with two rated references against people, all 4,200 responses."""
    ratings = reference.load("crosseval", "judge")
    people = np.concatenate([
        ratings[[f"response_{i}_human_{j}_rating" for j in (1, 2)]].to_numpy(dtype=float) for i in (1, 2, 3)
    ]).T  # fmt: skip
    return method.agreement(ratings) | {
        "alike": float((people[0] == people[1]).mean()),
        **{f"alpha_{level}": method.krippendorff_alpha(people, level) for level in ("ordinal", "interval")},
    }
