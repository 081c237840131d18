r"""CrossEval (Zhong et al., ICLR 2025, arXiv:2409.19951): is a model on a pair of skills only as good as on the weaker?

    score       mean over prompts of 1 + 24.75 (r - 1), ratings r in [1, 5] of a judge, missing ones left out
    eligible    |a - b| > 3 for the scores a, b of both skills;  w = min(a, b), s = max(a, b), x on the pair
    position    n = (2 x - (s + w)) / (s - w):  -1 at the weaker skill, 0 half way, 1 at the stronger
    kind        "below": x < w;  "nearer weaker": w <= x < (w + s) / 2;  "nearer stronger": x < s;  "above": s <= x

`null_counts` and `regression` ask what the paper does not: would x look so if pairs were only harder?
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
KINDS = ("below", "nearer weaker", "nearer stronger", "above")
Level = Literal["nominal", "ordinal", "interval"]

# Scores.


def rescaled(ratings: npt.ArrayLike) -> Floats:
    """Ratings in [1, 5] on the scale from 1 to 100; NaN stays. Raises ValueError for ratings outside."""
    r = np.asarray(ratings, dtype=float)
    if ((r < 1) | (r > 5)).any():
        raise ValueError(f"ratings must lie in [1, 5], got {r[(r < 1) | (r > 5)][:5].tolist()}")
    return 1 + 24.75 * (r - 1)


def capability_scores(frame: pd.DataFrame, rating: str) -> pd.Series:
    """The mean score of each `capability` of a table with one row a prompt; what is no number is missing, not 1."""
    numbers = pd.Series(rescaled(pd.to_numeric(frame[rating], errors="coerce")), index=frame.index)
    return numbers.groupby(frame["capability"], sort=False).mean()


def parse_rating(text: str) -> float | None:
    """The rating in a judge's text, the number of "Evaluation Score ... Score: 3.5/5" whatever stars and colons stand
    between; the first one. None where there is none, or it does not lie in [1, 5]: ask again."""
    found = re.search(r"evaluation score[:*\s]*score:\s*\**(\d+(?:\.\d+)?)/5", text, re.IGNORECASE)
    rating = float(found[1]) if found else None
    return rating if rating is not None and 1 <= rating <= 5 else None


# The law of the weakest link.


def cells(skills: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row for each model and pair of which all three scores are known: `model`, `pair`, `a`, `b` and `x`.

    `skills` is models x skills, `pairs` models x (first, second). Raises ValueError for unknown skills, other models.
    """
    unknown = {skill for pair in pairs.columns for skill in pair} - set(skills.columns)
    if unknown or not skills.index.equals(pairs.index):
        raise ValueError(f"skills {sorted(unknown)} must be columns, and both tables must list the models alike")
    rows = [
        (model, pair, skills.at[model, pair[0]], skills.at[model, pair[1]], value)
        for pair, column in pairs.items() for model, value in column.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "pair", "a", "b", "x"]).dropna().reset_index(drop=True)


def position(x: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """n, -1 at the weaker and 1 at the stronger of a and b; NaN where they are equal."""
    x, a, b = (np.asarray(one, dtype=float) for one in (x, a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(a == b, np.nan, (2 * x - (a + b)) / np.abs(a - b))


def kinds(x: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where x lies, as a place in KINDS; a score on a border counts with the better kind."""
    x, a, b = (np.asarray(one, dtype=float) for one in (x, a, b))
    weak, strong = np.minimum(a, b), np.maximum(a, b)
    return (x >= weak).astype(np.int64) + (x >= (weak + strong) / 2) + (x >= strong)


def eligible(cells: pd.DataFrame, delta: float = 3.0) -> pd.DataFrame:
    """The cells whose skills differ by more than `delta`. Raises ValueError for a negative one."""
    if delta < 0:
        raise ValueError(f"delta must be at least 0, got {delta}")
    return cells[(cells.a - cells.b).abs() > delta]


def counts(cells: pd.DataFrame, delta: float = 3.0) -> dict[str, int]:
    """How many eligible cells are of each kind."""
    chosen = eligible(cells, delta)
    found = np.bincount(kinds(chosen.x, chosen.a, chosen.b), minlength=len(KINDS))
    return dict(zip(KINDS, found.tolist(), strict=True))


def counts_within(cells: pd.DataFrame, delta: float, error: float) -> dict[str, tuple[int, int]]:
    """The least and largest count of each kind, and of `eligible` cells, where every score may be off by `error`.

    A difference of two scores is then off by 2 error, x - w by as much, x from the middle too.
    """
    gap = (cells.a - cells.b).abs()
    sure, perhaps = cells[gap > delta + 2 * error], cells[gap > delta - 2 * error]
    edges = [kinds(sure.x + shift, sure.a, sure.b) for shift in (-2 * error, 2 * error)]
    certain = edges[0] == edges[1]
    found = {"eligible": (len(sure), len(perhaps))}
    for place, kind in enumerate(KINDS):
        least = int((certain & (edges[0] == place)).sum())
        touched = int(((edges[0] <= place) & (place <= edges[1])).sum())
        found[kind] = (least, touched + len(perhaps) - len(sure))
    return found


# Would it look so if pairs were only harder?


def null_counts(
    cells: pd.DataFrame, *, draws: int, seed: int, delta: float = 3.0, per_pair: bool = False
) -> npt.NDArray[np.int64]:
    """Counts "below" (draws,) where x = (a + b) / 2 + offset + noise: no skill matters more than the other.

    Offset and spread (n - 1, or n - pairs) are those of the balanced cells, |a - b| <= delta, with `per_pair` an offset
    for each pair that has balanced cells (else the common one). Raises ValueError without two balanced cells.
    """
    balanced, chosen = cells.drop(eligible(cells, delta).index), eligible(cells, delta)
    if len(balanced) < 2:
        raise ValueError(f"at least two cells must be balanced, |a - b| <= {delta}")
    lost = balanced.x - (balanced.a + balanced.b) / 2
    offset = pd.Series(lost.mean(), index=chosen.index)
    residual, parameters = lost - lost.mean(), 1
    if per_pair:
        means = lost.groupby(balanced.pair).mean()
        residual, parameters = lost - balanced.pair.map(means), len(means)
        offset = chosen.pair.map(means).astype(float).fillna(lost.mean())
    spread = float(np.sqrt((residual**2).sum() / (len(balanced) - parameters)))
    noise = np.random.default_rng(seed).normal(scale=spread, size=(draws, len(chosen)))
    x = ((chosen.a + chosen.b) / 2 + offset).to_numpy() + noise
    return (x < np.minimum(chosen.a, chosen.b).to_numpy()).sum(1)


class Regression(NamedTuple):
    """x on w and s with intercepts: their coefficients, w's minus s's, and standard errors of the three."""

    weaker: float
    stronger: float
    difference: float
    errors: tuple[float, ...]  # classical
    clustered: tuple[float, ...]  # by model, whose pairs share skills


def regression(cells: pd.DataFrame, *, per_pair: bool = False) -> Regression:
    """Least squares of x on the weaker and the stronger score, with one intercept or one for each pair.

    Clustered errors are Liang and Zeger's with the factor G / (G - 1) (N - 1) / (N - K).
    """
    weak, strong = np.minimum(cells.a, cells.b), np.maximum(cells.a, cells.b)
    constant = pd.get_dummies(cells.pair, dtype=float).to_numpy() if per_pair else np.ones((len(cells), 1))
    design = np.column_stack([weak, strong, constant])
    if np.linalg.matrix_rank(design) < design.shape[1] or len(cells) <= design.shape[1]:
        raise ValueError(f"{len(cells)} cells must determine {design.shape[1]} coefficients")
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ cells.x.to_numpy()
    residual = cells.x.to_numpy() - design @ coefficients
    count, size = design.shape
    scores = pd.DataFrame(design * residual[:, None]).groupby(cells.model.to_numpy()).sum().to_numpy()
    groups = len(scores)
    classical = inverse * (residual @ residual) / (count - size)
    clustered = inverse @ (scores.T @ scores) @ inverse * groups / (groups - 1) * (count - 1) / (count - size)
    contrasts = np.zeros((3, size))
    contrasts[[0, 1, 2, 2], [0, 1, 0, 1]] = 1, 1, 1, -1
    errors, by_model = (np.sqrt(np.diag(contrasts @ one @ contrasts.T)) for one in (classical, clustered))
    weaker, stronger, difference = contrasts @ coefficients
    return Regression(float(weaker), float(stronger), float(difference), tuple(errors), tuple(by_model))


PREDICTORS: dict[str, Callable[[pd.Series, pd.Series], pd.Series]] = {
    "weaker": np.minimum, "mean": lambda a, b: (a + b) / 2, "stronger": np.maximum,
}  # fmt: skip


def predictions(cells: pd.DataFrame) -> pd.DataFrame:
    """How well each of PREDICTORS foretells x: mean absolute error, mean of x - prediction, Pearson correlation."""
    rows = {}
    for name, predict in PREDICTORS.items():
        off = cells.x - predict(cells.a, cells.b)
        rows[name] = (off.abs().mean(), off.mean(), np.corrcoef(cells.x, cells.x - off)[0, 1])
    return pd.DataFrame.from_dict(rows, orient="index", columns=["error", "bias", "correlation"])


# A prompt for one skill.


def follows(before: Mapping[Any, float], after: Mapping[Any, float], pair: tuple[Hashable, Hashable]) -> bool | None:
    """Whether a pair's score moved as its weaker skill (before) did; None unless one skill rose and the other fell."""
    change = {key: after[key] - before[key] for key in (*pair, pair)}
    if change[pair[0]] * change[pair[1]] >= 0:
        return None
    weak = min(pair, key=lambda skill: before[skill])
    return bool(change[pair] * change[weak] > 0)


def revised(principles: Sequence[str], action: str, text: str = "", place: int = 0, most: int = 10) -> list[str]:
    """A list of principles after one step of prompting: ADD `text`, REPLACE or REVISE the one at `place`, or KEEP all.

    Raises ValueError for other actions, a place that is none, a missing text, and an eleventh principle.
    """
    if action == "KEEP":
        return list(principles)
    if not text:
        raise ValueError(f"{action} must bring a text")
    if action == "ADD" and len(principles) < most:
        return [*principles, text]
    if action in ("REPLACE", "REVISE") and 0 <= place < len(principles):
        return [*principles[:place], text, *principles[place + 1 :]]
    raise ValueError(
        f"action must be ADD (to fewer than {most}), REPLACE or REVISE one that is there, or KEEP: {action}"
    )


# Does the judge agree with people?


def others(place: int, count: int, responses: int = 3) -> list[int]:
    """Which of the rated responses (from 1) the judge of one of them is shown: the `count` that follow in a circle."""
    if not 1 <= place <= responses or not 0 <= count < responses:
        raise ValueError(f"place must lie in 1..{responses} and count below that, got {place}, {count}")
    return [(place + step) % responses + 1 for step in range(count)]


def agreement(frame: pd.DataFrame) -> dict[str, float]:
    """Pearson, Spearman and Kendall (tau-b) of the judge with the mean of two people, over all three responses pooled.

    Columns `response_i_human_j_rating` and `response_i_llm_rating`; a rating that is missing is left out of the mean,
    a pair without one is left out.
    """
    people = pd.concat([frame[[f"response_{i}_human_{j}_rating" for j in (1, 2)]].mean(axis=1) for i in (1, 2, 3)])
    judge = pd.concat([frame[f"response_{i}_llm_rating"] for i in (1, 2, 3)])
    methods: tuple[Literal["pearson", "spearman", "kendall"], ...] = ("pearson", "spearman", "kendall")
    return {name: float(people.corr(judge, method=name)) for name in methods}


def krippendorff_alpha(ratings: npt.ArrayLike, level: Level = "interval") -> float:
    """Krippendorff's alpha of ratings (raters, units), NaN where missing; NaN if all ratings are equal.

    1 - observed / expected disagreement over pairs of ratings of a unit, and over pairs of all. Differences are 0 or 1
    (nominal), squared (interval), or squared sums of ranks between (ordinal). Raises ValueError without a unit that two
    rated, and for other levels.
    """
    table = np.asarray(ratings, dtype=float)
    units = [unit[~np.isnan(unit)] for unit in table.T]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        raise ValueError("at least one unit must have two ratings")
    values, places = np.unique(np.concatenate(units), return_inverse=True)
    together = np.zeros((len(values), len(values)))
    start = 0
    for unit in units:
        own = np.bincount(places[start : start + len(unit)], minlength=len(values)).astype(float)
        together += (np.outer(own, own) - np.diag(own)) / (len(unit) - 1)
        start += len(unit)
    totals = together.sum(1)
    if level == "nominal":
        apart = (values[:, None] != values[None]).astype(float)
    elif level == "interval":
        apart = (values[:, None] - values[None]) ** 2
    elif level == "ordinal":
        middle = totals.cumsum() - totals / 2  # ranks of the values, from half of the own count
        apart = (middle[:, None] - middle[None]) ** 2
    else:
        raise ValueError(f"level must be nominal, ordinal or interval, got {level!r}")
    chance = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    expected = (chance * apart).sum()
    return float(1 - (together * apart).sum() / expected) if expected > 0 else float("nan")
