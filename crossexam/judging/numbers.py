"""Measured numbers in prose, filled in from rows: prose cannot drift from what was measured.

A `finding` holds `{= expression}`; a README holds `<!-- = expression -->...<!-- -->`, between which
`crossexam report --status` writes. An expression is one of

    claim-id                what was measured for a claim, at the point that decides
    claim-id.low, .high     the ends of its interval
    claim-id.p, .n          its p-value, after Holm where it has one; how many seeds, or values, stand behind it
    claim-id.least, .most, .median      over its seeds; where two arms are compared, of their paired differences
    claim-id.ahead, .behind             in how many seeds it was above 0, the method ahead, and in how many below
    experiment.metric arm=NAME parameter=value ...      the mean of a metric over the rows of one arm at one point
    experiment.metric.least arm=NAME ...                the least of its values there; .most and .median likewise

A claim of several points takes `parameter=value ...` where another than the one that decides is meant, a metric
`seed=NUMBER` where one run is. Any may be followed by `as FORMAT`: `.3f`, `+.2g` and the like, as Python has them;
`.1%` is percent without its sign.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from crossexam.facts.paper import Paper
from crossexam.facts.problems import did_you_mean
from crossexam.facts.rules import PairedRule, TrendRule
from crossexam.judging.judge import Judgement
from crossexam.judging.words import interval_of, number, two, value_of
from crossexam.runs.rows import Row, canonical

IN_TEXT = re.compile(r"\{= ([^{}]+?) *\}")
IN_README = re.compile(r"(<!-- = (.+?) -->)(.*?)(<!-- -->)", re.DOTALL)
UNKNOWN = "(not measured by the code as it stands)"
"""Stands in a finding for a number that has no row of the code as it stands."""
FORMAT = re.compile(r"[+]?(?:,)?(?:\.\d)?[fge%]")
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {"least": min, "most": max, "median": statistics.median}
COUNTS = ("ahead", "behind")
PARTS = ("low", "high", "p", "n", *STATISTICS, *COUNTS)


class BadExpression(ValueError):
    """An expression that names nothing that there is, with its mend."""


class Numbers:
    """The measured numbers of a paper, by expression."""

    def __init__(self, paper: Paper, judgements: Sequence[Judgement]) -> None:
        self._paper = paper
        self._claims = {one.claim.id: one for one in judgements}
        self._rows = {one.claim.experiment: one.rows for one in judgements if one.rows}

    def fill(self, text: str) -> str:
        """A text with every `{= expression}` as its number, or UNKNOWN. Raises BadExpression."""
        return IN_TEXT.sub(lambda match: self.value(match[1]) or UNKNOWN, text) if "{= " in text else text

    def refresh(self, readme: str) -> str:
        """A README with fresh numbers between its marks; those that have no rows now stay. Raises BadExpression."""
        return IN_README.sub(lambda m: f"{m[1]}{value}{m[4]}" if (value := self.value(m[2])) else m[0], readme)

    def value(self, expression: str) -> str | None:
        """The number that an expression means; None where it has not been measured. Raises BadExpression."""
        what, _, spec = (part.strip() for part in expression.partition(" as "))
        if spec and not FORMAT.fullmatch(spec):
            raise BadExpression(f"'{expression}' has the format {spec!r}: write one such as .3f, .2g or .1%")
        name, *conditions = what.split()
        left, _, part = name.partition(".")
        if left in self._paper.experiments:
            wanted = self._wanted(left, conditions, expression, "arm", "seed")
            return self._of_rows(left, part, wanted, expression, spec)
        experiment = next((claim.experiment for claim in self._paper.claims if claim.id == left), "")
        if not experiment:
            known = [*(claim.id for claim in self._paper.claims), *self._paper.experiments]
            raise BadExpression(f"'{expression}' names no claim and no experiment: {did_you_mean(left, known)}")
        if part not in ("", *PARTS):
            raise BadExpression(f"'{expression}': of a claim .{', .'.join(PARTS)} can be told, and nothing else")
        wanted = self._wanted(experiment, conditions, expression)
        judgement = self._claims.get(left)
        if judgement is None or judgement.decisive is None:
            self._must_be_possible(experiment, wanted, expression)
            return None
        return _of_claim(_at(judgement, wanted, expression), part, expression, spec)

    def _wanted(self, experiment: str, conditions: list[str], expression: str, *others: str) -> dict[str, str]:
        """What `parameter=value ...` restricts: parameters of the experiment, and what else can be restricted."""
        wanted = {}
        for condition in conditions:
            key, sign, value = condition.partition("=")
            if not sign or key not in (*others, *self._paper.experiments[experiment].params):
                or_else = "arm=NAME, nor seed=NUMBER, nor " if others else ""
                raise BadExpression(f"'{expression}': {condition!r} is not {or_else}PARAMETER=VALUE of {experiment}")
            wanted[key] = value
        return wanted

    def _of_rows(self, experiment: str, name: str, wanted: dict[str, str], expression: str, spec: str) -> str | None:
        """A statistic of a metric, the mean if none is named, over the rows of one arm at one point of the grid."""
        rows = [row for row in self._rows.get(experiment, ()) if row.health == "done" and _meets(row, wanted)]
        if not rows:
            self._must_be_possible(experiment, wanted, expression)
            return None
        if len({row.arm for row in rows}) > 1 or len({canonical(row.params) for row in rows}) > 1:
            open_ = [name for name in ("arm", *rows[0].params) if len({_told(row, name) for row in rows}) > 1]
            raise BadExpression(f"'{expression}' means several points: say {', '.join(open_)} too")
        metric, _, word = name.rpartition(".")
        statistic = STATISTICS.get(word, statistics.fmean)
        if word not in STATISTICS:
            metric = name
        if any(metric not in row.metrics for row in rows):
            raise BadExpression(f"'{expression}': {did_you_mean(metric, rows[0].metrics)}")
        values = [row.metrics[metric] for row in rows]
        flat = [float(one) for value in values for one in (value if isinstance(value, list) else [value])]
        return _formatted(statistic(flat), spec, number)

    def _must_be_possible(self, experiment: str, wanted: dict[str, str], expression: str) -> None:
        """There is no row yet; could there be one?"""
        found = self._paper.experiments[experiment]
        arm = wanted.get("arm")
        if arm is not None and arm not in found.arms:
            raise BadExpression(f"'{expression}': {did_you_mean(arm, found.arms)}")
        seed, seeds = wanted.get("seed"), found.seed_range()
        if seed is not None and seed not in map(str, seeds):
            raise BadExpression(f"'{expression}': the seeds of {experiment} are {seeds[0]} to {seeds[-1]}")
        points = [{name: _plain(value) for name, value in point.items()} for point in found.grid()]
        params = {name: value for name, value in wanted.items() if name not in ("arm", "seed")}
        if not any(all(point[name] == value for name, value in params.items()) for point in points):
            raise BadExpression(f"'{expression}': {experiment} has no such point in its grid")


def _at(one: Judgement, wanted: dict[str, str], expression: str) -> Judgement:
    """A judgement as if the one point that is named had decided it; itself where none is."""
    if not wanted:
        return one
    found = [
        finding
        for finding in one.findings
        if all(name in finding.at and _plain(finding.at[name]) == value for name, value in wanted.items())
    ]
    if len(found) != 1:
        points = "; ".join(finding.point for finding in one.findings if finding.point)
        raise BadExpression(f"'{expression}' means {len(found)} of the points of its claim: name one of {points}")
    return replace(one, findings=(found[0],), p=found[0].p, p_holm=None)


def _of_claim(one: Judgement, part: str, expression: str, spec: str) -> str | None:
    """A part of what was found at the point that decides."""
    finding, interval = one.decisive, interval_of(one)
    assert finding is not None
    if part == "n":
        return str(finding.n)
    if part == "p":
        p = one.p if one.p_holm is None else one.p_holm
        return None if p is None else _formatted(p, spec, two)
    if part in COUNTS:
        if finding.values is None or not isinstance(one.claim.rule, PairedRule | TrendRule):
            raise BadExpression(f"'{expression}': its rule is of no difference or trend, seed by seed")
        return str(sum(value > 0 if part == "ahead" else value < 0 for value in finding.values.tolist()))
    if part in STATISTICS:
        if finding.values is None:
            raise BadExpression(f"'{expression}': costs are told by {one.claim.experiment}.METRIC.{part} arm=NAME")
        return _formatted(STATISTICS[part](finding.values.tolist()), spec, number)
    if part:
        value = finding.low if part == "low" else finding.high
        ready = (interval or (number(finding.low), number(finding.high)))[part == "high"]
        return _formatted(value, spec, lambda _: ready)
    return _formatted(finding.estimate, spec, lambda _: value_of(one))


def _formatted(value: float, spec: str, default: Callable[[float], str]) -> str:
    return f"{value:{spec}}".removesuffix("%") if spec else default(value)


def _meets(row: Row, wanted: dict[str, str]) -> bool:
    return all(_told(row, name) == value for name, value in wanted.items())


def _told(row: Row, name: str) -> str:
    return str(getattr(row, name)) if name in ("arm", "seed") else _plain(row.params.get(name))


def _plain(value: Any) -> str:
    """A parameter as it is written in an expression."""
    return value if isinstance(value, str) else json.dumps(value)


def expressions(text: str) -> list[str]:
    """All that a finding or a README asks for."""
    return [*IN_TEXT.findall(text), *(match[1] for match in IN_README.findall(text))]
