"""Measured numbers in prose, filled in from rows: prose cannot drift from what was measured.

A `finding` holds `{= expression}`; a README holds `<!-- = expression -->...<!-- -->`, between which
`crossexam report --status` writes. An expression is one of

    claim-id              what was measured for a claim, at the point that decides
    claim-id.low, .high   the ends of its interval
    claim-id.p, .n        its p-value, after Holm where it has one; how many seeds, or values, stand behind it
    experiment.metric arm=NAME parameter=value ...    the mean of a metric over the rows of one arm at one point

each perhaps followed by `as FORMAT`: `.3f`, `+.2g` and the like, as Python has them; `.1%` is percent without its sign.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from crossexam.facts.paper import Paper
from crossexam.facts.problems import did_you_mean
from crossexam.judging.judge import Judgement
from crossexam.judging.words import interval_of, number, two, value_of
from crossexam.runs.rows import Row, canonical

IN_TEXT = re.compile(r"\{= ([^{}]+?) *\}")
IN_README = re.compile(r"(<!-- = (.+?) -->)(.*?)(<!-- -->)", re.DOTALL)
UNKNOWN = "(not measured by the code as it stands)"
"""Stands in a finding for a number that has no row of the code as it stands."""
FORMAT = re.compile(r"[+]?(?:,)?(?:\.\d)?[fge%]")
PARTS = ("low", "high", "p", "n")


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
            return self._mean(left, part, conditions, expression, spec)
        if left not in {claim.id for claim in self._paper.claims}:
            known = [*(claim.id for claim in self._paper.claims), *self._paper.experiments]
            raise BadExpression(f"'{expression}' names no claim and no experiment: {did_you_mean(left, known)}")
        if conditions or part not in ("", *PARTS):
            raise BadExpression(f"'{expression}': of a claim, .low, .high, .p and .n can be told, and nothing else")
        judgement = self._claims.get(left)
        return _of_claim(judgement, part, spec) if judgement else None

    def _mean(self, experiment: str, metric: str, conditions: list[str], expression: str, spec: str) -> str | None:
        """The mean of a metric over the rows of one arm at one point of the grid."""
        wanted = {}
        for condition in conditions:
            key, sign, value = condition.partition("=")
            if not sign or key not in ("arm", *self._paper.experiments[experiment].params):
                raise BadExpression(
                    f"'{expression}': {condition!r} is not arm=NAME, nor PARAMETER=VALUE of {experiment}"
                )
            wanted[key] = value
        rows = [row for row in self._rows.get(experiment, ()) if row.health == "done" and _meets(row, wanted)]
        if not rows:
            self._must_be_possible(experiment, wanted, expression)
            return None
        if len({row.arm for row in rows}) > 1 or len({canonical(row.params) for row in rows}) > 1:
            open_ = [name for name in ("arm", *rows[0].params) if len({_told(row, name) for row in rows}) > 1]
            raise BadExpression(f"'{expression}' means several points: say {', '.join(open_)} too")
        if any(metric not in row.metrics for row in rows):
            raise BadExpression(f"'{expression}': {did_you_mean(metric, rows[0].metrics)}")
        values = [row.metrics[metric] for row in rows]
        flat = [float(one) for value in values for one in (value if isinstance(value, list) else [value])]
        mean = math.fsum(flat) / len(flat)
        return _formatted(mean, spec, number)

    def _must_be_possible(self, experiment: str, wanted: dict[str, str], expression: str) -> None:
        """There is no row yet; could there be one?"""
        found = self._paper.experiments[experiment]
        arm = wanted.get("arm")
        if arm is not None and arm not in found.arms:
            raise BadExpression(f"'{expression}': {did_you_mean(arm, found.arms)}")
        points = [{name: _plain(value) for name, value in point.items()} for point in found.grid()]
        params = {name: value for name, value in wanted.items() if name != "arm"}
        if not any(all(point[name] == value for name, value in params.items()) for point in points):
            raise BadExpression(f"'{expression}': {experiment} has no such point in its grid")


def _of_claim(one: Judgement, part: str, spec: str) -> str | None:
    finding, interval = one.decisive, interval_of(one)
    if finding is None:
        return None
    if part == "n":
        return str(finding.n)
    if part == "p":
        p = one.p if one.p_holm is None else one.p_holm
        return None if p is None else _formatted(p, spec, two)
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
    return row.arm if name == "arm" else _plain(row.params.get(name))


def _plain(value: Any) -> str:
    """A parameter as it is written in an expression."""
    return value if isinstance(value, str) else json.dumps(value)


def expressions(text: str) -> list[str]:
    """All that a finding or a README asks for."""
    return [*IN_TEXT.findall(text), *(match[1] for match in IN_README.findall(text))]
