"""What has changed since last time: series over generations of code, libraries and machines. Imports no torch.

A series is one number of one trial design on one machine class: a metric, the seconds or the peak memory of an
experiment's arm at a point of its grid. A generation is everything but the seed that a fingerprint is made of, on one
processor: another maker's takes other matrix kernels, and rounds otherwise. Within a generation a trial must repeat
bit for bit, and no statistics are needed. Between generations the question is whether the mean over seeds has moved by
more than seeds explain:

    z = (mean of this generation - median of the history's first values) / (s sqrt(1/n + pi/2N))

with s the robust spread of the history within its generations. What exceeds SCREEN is measured again, on
fresh seeds. Only if these deviate in the same direction, with p-values that survive Benjamini & Hochberg's procedure
over all series, is it called a change: screening alone would call hundreds of series by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from crossexam.judging.stats import Array
from crossexam.judging.student import t_tail
from crossexam.runs.rows import Row, canonical, digest

SCREEN = 2.0
"""|z| at which a series is measured again: 5 % of all series by chance, 97 % of steps of 4 standard deviations."""
FALSE_DISCOVERIES = 0.005
"""Level of Benjamini & Hochberg's procedure over the confirming runs."""
ANCHOR = 20
"""First values of a series, or of what follows its last confirmed change, that later ones are held against: a slow
drift is not followed, and adds up."""
LEAST_DAYS = 5
"""Days that costs are known before they are judged: one day's load is no history."""
LEAST_COST_SHIFT = 0.1
"""Shift of a logarithm of seconds or memory, that is 10 %, below which nobody is told."""
LEAST_SHIFT = 1e-9
"""Relative shift below which a change is one of rounding. Bitwise equality is asked for within a generation only."""

Kind = Literal["metric", "seconds", "memory"]

Processors = Mapping[str, str]
"""What stood under each environment that rows name: "AMD EPYC, AVX512". Where none is known, all count as one."""


@dataclass(frozen=True, order=True)
class Key:
    """What a series is of."""

    paper: str
    experiment: str
    arm: str
    point: str
    """The parameters, canonical."""
    name: str
    device: str
    kind: Kind = "metric"

    def __str__(self) -> str:
        point = "" if self.point == "{}" else f" at {self.point}"
        return f"{self.paper}/{self.experiment}/{self.arm}{point}: {self.name} ({self.device})"


@dataclass(frozen=True)
class Generation:
    """The values of one generation, by seed."""

    id: str
    began: str
    values: tuple[float, ...]


@dataclass
class Series:
    """Generations of one key, oldest first."""

    key: Key
    generations: list[Generation] = field(default_factory=list)


@dataclass(frozen=True)
class Score:
    """How far a generation lies from the history."""

    z: float
    p: float
    """Two-sided."""
    before: float
    now: float


def generation_of(row: Row, processors: Processors) -> str:
    """All that a row's fingerprint holds except its seed, arm and parameters, and the processor."""
    return digest({**row.parts, "processor": processors.get(row.environment, "")})


def day_of(row: Row, processors: Processors) -> str:
    """The generation of what a row took: a trial that repeats to the bit still takes another time every day."""
    return f"{generation_of(row, processors)}@{row.started[:10]}"


def series_of(rows: Iterable[Row], processors: Processors) -> list[Series]:
    """All series of the finished rows. Of repeated trials the newest metrics count, and the costs of a day.

    What one processor takes says nothing about another: costs are series of their own there.
    """
    found: dict[Key, dict[str, dict[int, tuple[str, float]]]] = {}
    for row in rows:
        if row.health == "done":
            for kind, name, value in _numbers(row):
                known = processors.get(row.environment, "")
                device = f"{row.device}, {known}" if known and kind != "metric" else row.device
                key = Key(row.paper, row.experiment, row.arm, canonical(row.params), name, device, kind)
                generation = generation_of(row, processors) if kind == "metric" else day_of(row, processors)
                found.setdefault(key, {}).setdefault(generation, {})[row.seed] = (row.started, value)
    result = []
    for key in sorted(found):
        generations = [
            Generation(name, min(values.values())[0], tuple(value for _, (_, value) in sorted(values.items())))
            for name, values in found[key].items()
        ]
        result.append(Series(key, sorted(generations, key=lambda one: one.began)))
    return result


def _numbers(row: Row) -> Iterable[tuple[Kind, str, float]]:
    """Metrics that are one number, and the logarithms of what the trial took: costs vary by factors."""
    for name, value in row.metrics.items():
        if isinstance(value, int | float):
            yield "metric", name, float(value)
    if row.seconds > 0:
        yield "seconds", "log seconds", math.log(row.seconds)
    if row.peak_memory_gib > 0:
        yield "memory", "log peak memory", math.log(row.peak_memory_gib)


def score(history: Sequence[Sequence[float]], now: Sequence[float]) -> Score | None:
    """The robust z of `now` against generations of values; None where the history cannot tell a spread."""
    past = np.concatenate([np.asarray(values, dtype=float) for values in history] or [np.zeros(0)])
    if len(past) < 3 or len(now) == 0:
        return None
    if all(len(values) == 1 for values in history):
        noise = np.diff(past) / math.sqrt(2)  # from one to the next, so that a drift does not widen it
    else:
        noise = np.concatenate([np.asarray(values, dtype=float) - np.median(values) for values in history])
    anchor = past[:ANCHOR]
    before, mean = float(np.median(anchor)), float(np.mean(now))
    shift = mean - before
    if abs(shift) <= LEAST_SHIFT * max(abs(before), abs(mean)):
        return Score(0.0, 1.0, before, mean)
    spread = _trimmed_std(noise)
    if spread == 0:
        return Score(math.copysign(math.inf, shift), 0.0, before, mean)  # it never moved, and now it has
    z = shift / (spread * math.sqrt(1 / len(now) + math.pi / 2 / len(anchor)))
    return Score(z, 2 * t_tail(abs(z), max(len(noise) - 1, 1)), before, mean)


def _trimmed_std(residuals: Array) -> float:
    """The standard deviation of residuals held within three robust deviations: a step in the past does not widen it."""
    limit = 3 * 1.4826 * float(np.median(np.abs(residuals)))
    return float(np.std(np.clip(residuals, -limit, limit) if limit else residuals, ddof=1))


def since(series: Iterable[Series], changed: Mapping[str, str]) -> list[Series]:
    """The series without what was before their last confirmed change: {series: the generation that began with it}."""
    found = []
    for one in series:
        ids = [generation.id for generation in one.generations]
        first = ids.index(changed[str(one.key)]) if changed.get(str(one.key)) in ids else 0
        found.append(Series(one.key, one.generations[first:]))
    return found


def screened(series: Iterable[Series], current: Iterable[str]) -> list[tuple[Series, Score]]:
    """Series whose present generation deviates from the earlier ones by more than SCREEN."""
    wanted = set(current)
    found = []
    for one in series:
        if one.generations[-1].id in wanted and len(one.generations) > 1:
            history = [generation.values for generation in one.generations[:-1]]
            result = score(history, one.generations[-1].values)
            if result and abs(result.z) > SCREEN and (one.key.kind == "metric" or _costly(history, result)):
                found.append((one, result))
    return found


def _costly(history: Sequence[Sequence[float]], found: Score) -> bool:
    return len(history) >= LEAST_DAYS and abs(found.now - found.before) >= LEAST_COST_SHIFT


def benjamini_hochberg(p_values: Sequence[float], tests: int, level: float = FALSE_DISCOVERIES) -> list[bool]:
    """Which of `p_values` are discoveries among `tests` tests, the others having p = 1."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    last = max((rank for rank, index in enumerate(order, 1) if p_values[index] <= level * rank / tests), default=0)
    kept = set(order[:last])
    return [index in kept for index in range(len(p_values))]


def confirmed(first: Sequence[Score], second: Sequence[Score | None], tests: int) -> list[bool]:
    """Which screened deviations the fresh seeds confirm: the same direction, and a discovery among all series."""
    p_values = [
        again.p if again is not None and again.z * one.z > 0 else 1.0 for one, again in zip(first, second, strict=True)
    ]
    return benjamini_hochberg(p_values, tests)


def unequal(rows: Iterable[Row], processors: Processors) -> list[tuple[Row, Row]]:
    """Pairs of rows of one fingerprint and processor whose metrics differ in any bit: the oldest and the newest."""
    by_fingerprint: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.health == "done":
            by_fingerprint.setdefault((row.fingerprint, processors.get(row.environment, "")), []).append(row)
    return [
        (group[0], group[-1])
        for group in by_fingerprint.values()
        if canonical(group[0].metrics) != canonical(group[-1].metrics)
    ]
