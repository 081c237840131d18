"""Two runs beside each other: files of rows, machine classes, or commits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossexam.facts.paper import Paper
from crossexam.judging.judge import judge_paper
from crossexam.runs.committed import counted_rows
from crossexam.runs.git import GitError, text, worktree
from crossexam.runs.rows import Row, canonical
from crossexam.runs.store import Store, StoreError, read_export
from crossexam.watching.watch import (
    LEAST_COST_SHIFT,
    LEAST_SHIFT,
    SCREEN,
    Key,
    Score,
    Series,
    score,
    series_of,
)


@dataclass(frozen=True)
class Difference:
    """A series on both sides, and how far they are apart in robust standard errors."""

    what: str
    kind: str
    a: float
    b: float
    z: float | None
    """None with too few values to tell."""


@dataclass(frozen=True)
class Comparison:
    """What two sides have in common, and where they differ."""

    a: str
    b: str
    trials: int
    """Trials of the same experiment, arm, parameters and seed on both sides."""
    equal: int
    """Of them, those with the same metrics to the bit."""
    cached: int
    """Of these, those whose row is the same on both sides: nothing that they depend on has changed."""
    verdicts: tuple[tuple[str, str, str], ...]
    """(paper/claim, verdict of a, verdict of b) where they differ; by the rules as they stand."""
    differences: tuple[Difference, ...]
    """Series that differ by what the night would look at, the largest |z| first."""
    small: int
    """Series that differ by less."""

    def as_record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def side(name: str, root: Path, store: Store, papers: Sequence[str] = ()) -> list[Row]:
    """The rows that a name means: a file; a machine class, own and committed; a commit, own or its files.

    Those of a commit are the rows of its trials by their fingerprints, whenever they were measured, and those that were
    measured at it. Raises StoreError where it means none of these.
    """
    path = Path(name)
    if path.is_file():
        return read_export(path.read_text(encoding="utf-8").split("\n"), name).rows
    rows = [*counted_rows(root), *store.rows()]
    by_device = [row for row in rows if row.device == name]
    if by_device:
        return by_device
    revision = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    if revision:
        planned = _planned(root, revision, papers)
        of_it = [
            row for row in rows
            if row.fingerprint in planned or str(store.text(row.environment).get("commit", "")) == revision
        ]  # fmt: skip
        return of_it or _committed(root, revision)
    devices = ", ".join(sorted({row.device for row in rows})) or "none yet"
    raise StoreError(f"'{name}' is no file, no machine class that has rows ({devices}) and no commit")


def _planned(root: Path, revision: str, papers: Sequence[str]) -> set[str]:
    """The fingerprints of the trials of a commit; none where its harness cannot say."""
    here = str(Path(__file__).resolve().parents[2])
    with worktree(root, revision) as tree:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), here])}
        words = [sys.executable, "-m", "crossexam", "plan", *papers, "--json"]
        done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    try:
        return {str(one["fingerprint"]) for one in json.loads(done.stdout)}
    except (ValueError, KeyError, TypeError):
        return set()


def _committed(root: Path, revision: str) -> list[Row]:
    """The rows that a revision has under results/reference."""
    files = _git(root, "ls-tree", "-r", "--name-only", revision, "results/reference").split()
    if not any(file.endswith(".jsonl") for file in files):
        raise StoreError(f"no rows were measured at {revision[:12]}, and it has none under results/reference")
    return [
        row
        for file in files
        if file.endswith(".jsonl")
        for row in read_export(_git(root, "show", f"{revision}:{file}").split("\n"), f"{revision[:12]}:{file}").rows
    ]


def _git(root: Path, *words: str) -> str:
    """What git prints; "" where it says no."""
    try:
        return text(root, *words)
    except GitError:
        return ""


def compare(papers: Sequence[Paper], a: str, b: str, rows_a: Sequence[Row], rows_b: Sequence[Row]) -> Comparison:
    """Compare two sides, as far as they are about these papers."""
    slugs = {paper.slug for paper in papers}
    sides = [_newest(row for row in rows if row.paper in slugs) for rows in (rows_a, rows_b)]
    common = sides[0].keys() & sides[1].keys()
    equal = sum(canonical(sides[0][key].metrics) == canonical(sides[1][key].metrics) for key in common)
    series = [{_anywhere(one.key): one for one in series_of(one_side.values(), {})} for one_side in sides]
    every = [
        found
        for key in sorted(series[0].keys() & series[1].keys())
        if (found := _difference(*(s[key] for s in series)))
    ]
    differences = sorted(filter(_matters, every), key=lambda one: -abs(one.z or 0.0))
    return Comparison(
        a, b, len(common), equal, sum(sides[0][key].id == sides[1][key].id for key in common),
        tuple(_verdicts(papers, *(one.values() for one in sides))), tuple(differences), len(every) - len(differences),
    )  # fmt: skip


def _newest(rows: Iterable[Row]) -> dict[tuple[str, ...], Row]:
    """The newest finished row of every trial, whatever code it ran."""
    return {
        (row.paper, row.experiment, row.arm, canonical(row.params), str(row.seed)): row
        for row in rows
        if row.health == "done"
    }


def _anywhere(key: Key) -> tuple[str, ...]:
    """A key without the machine, so that two machines can be compared."""
    return (key.paper, key.experiment, key.arm, key.point, key.name, key.kind)


def _difference(a: Series, b: Series) -> Difference | None:
    values_a, values_b = ([v for generation in one.generations for v in generation.values] for one in (a, b))
    if values_a == values_b:
        return None
    means = [sum(values) / len(values) for values in (values_a, values_b)]
    found: Score | None = score([values_a], values_b)
    return Difference(str(b.key), b.key.kind, means[0], means[1], found.z if found else None)


def _matters(one: Difference) -> bool:
    """Whether the night would look at it: beyond what seeds explain, and costs beyond what load does."""
    shift = abs(one.b - one.a)
    floor = LEAST_SHIFT * max(abs(one.a), abs(one.b)) if one.kind == "metric" else LEAST_COST_SHIFT
    return shift > floor and (one.z is None or abs(one.z) > SCREEN)


def _verdicts(papers: Sequence[Paper], a: Iterable[Row], b: Iterable[Row]) -> Iterable[tuple[str, str, str]]:
    rows = [list(a), list(b)]
    for paper in papers:
        judged = []
        for one_side in rows:
            subjects = {row.subject: row.experiment for row in one_side if row.paper == paper.slug}
            judged.append(judge_paper(paper, [row for row in one_side if row.paper == paper.slug], subjects))
        for first, second in zip(*judged, strict=True):
            if first.verdict and second.verdict and first.verdict != second.verdict:
                yield f"{paper.slug}/{first.claim.id}", first.verdict, second.verdict
