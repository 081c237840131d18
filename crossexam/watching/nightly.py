"""One night: run what has changed, repeat what has not, and say what is different, within a budget of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from xml.etree import ElementTree

from crossexam.facts.paper import Paper
from crossexam.judging.judge import Judgement
from crossexam.judging.words import in_units
from crossexam.runs.committed import committed_processors, counted_rows
from crossexam.runs.environment import commit
from crossexam.runs.executors import Executor, LocalExecutor
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.runner import Listener, Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.watching import session
from crossexam.watching.watch import (
    Processors,
    Score,
    Series,
    confirmed,
    day_of,
    generation_of,
    score,
    screened,
    series_of,
    since,
    unequal,
)

GUESS = {"exact": 5.0, "small": 60.0, "full": math.inf}
"""Seconds of a trial that has never been run, unless its limit is shorter."""
FRESH_SEEDS = 5
REPEATS = 0.5
"""Share of the time in which trials are repeated that have not changed, once those are done that have."""
CONFIRMING = 0.85
"""Share of the time after which nothing new is begun but confirming runs."""
SLICE_SECONDS = 30.0
"""Trial-seconds that are started at once: between slices the clock is looked at."""


@dataclass(frozen=True)
class Change:
    """A series that has moved, on tonight's seeds and on fresh ones."""

    what: str
    generation: str
    """The generation that began with it: it is what later nights are held against, once the change is confirmed."""
    before: float
    now: float
    z: float
    fresh_z: float | None
    """None where no time was left to confirm it; then it is no alarm."""
    confirmed: bool


@dataclass(frozen=True)
class Flip:
    """A claim whose verdict is another than last time, in whichever direction."""

    paper: str
    claim: str
    before: str
    now: str


@dataclass(frozen=True)
class Night:
    """What a night has found."""

    at: str
    commit: str
    seconds: float
    ran: int
    repeated: int
    left: int
    """Trials that there was no time for."""
    series: int
    changes: tuple[Change, ...]
    flips: tuple[Flip, ...]
    unequal: tuple[str, ...]
    """Trials whose metrics differ from those of an earlier run of the same fingerprint."""
    failed: tuple[str, ...]
    unexpected: tuple[str, ...]
    judged: tuple[tuple[str, str, str], ...]
    """(paper, claim, verdict or health) of every claim."""

    @property
    def alarm(self) -> bool:
        """Whether somebody should look: a confirmed change, a trial that does not repeat, or a failure."""
        return bool(self.unequal or self.failed or self.unexpected or any(one.confirmed for one in self.changes))


@dataclass
class Watchman:
    """Keeps the watch for one night."""

    papers: Sequence[Paper]
    project: Project
    store: Store
    jobs: int
    minutes: float
    listener: Listener = lambda progress: None
    note: Callable[[str], None] = lambda line: None
    today: date | None = None

    def run(self) -> Night:
        """The whole night."""
        self._started = time.monotonic()
        began = datetime.now(UTC)
        self._known = {row.fingerprint: row for paper in self.papers for row in self._rows(paper.slug)}
        self._longest = _longest(self._known.values())
        before = {paper.slug: self.store.last_verdicts(paper.slug) for paper in self.papers}
        trials = [trial for paper in self.papers for trial in plan(paper, self.project, Selection())]
        runnable = [trial for trial in trials if not trial.blocked]
        done = self.store.finished(trial.fingerprint for trial in runnable)
        changed = [trial for trial in runnable if trial.fingerprint not in done]
        self.note(f"{len(changed)} trials are new or have changed")
        ran = self._run(sorted(changed, key=self._order), CONFIRMING)
        settled = [trial for trial in runnable if trial.fingerprint in done]
        self.note(f"{len(settled)} trials have not changed: the oldest are repeated")
        repeated = self._run(sorted(settled, key=self._age), REPEATS, fresh=True)
        changes, count = self._changes(trials, [*ran, *repeated])
        judged = {paper.slug: session.judge(paper, self.project, self.store, Selection()) for paper in self.papers}
        rows = [row for paper in self.papers for row in self._rows(paper.slug)]
        measured = [*ran, *repeated]
        tonight = {row.fingerprint for row in measured}
        claims = [(slug, one) for slug, group in judged.items() for one in group]
        night = Night(
            at=began.isoformat(timespec="seconds"), commit=commit(self.project.root),
            seconds=round(time.monotonic() - self._started, 1), ran=len(ran), repeated=len(repeated),
            left=len(changed) - len(ran), series=count, changes=tuple(changes), flips=tuple(_flips(before, judged)),
            unequal=tuple(old.name for old, new in unequal(rows, self._processors(rows)) if new.fingerprint in tonight),
            failed=tuple(f"{row.name}: {row.cause}" for row in measured if row.health in ("error", "timeout")),
            unexpected=tuple(
                f"{slug}/{one.claim.id}: expected {one.claim.expected}, judged {one.verdict}"
                for slug, one in claims if one.as_expected is False
            ),
            judged=tuple((slug, one.claim.id, one.verdict or one.health) for slug, one in claims),
        )  # fmt: skip
        self.store.add_night(night.at, as_record(night))
        return night

    def _share(self) -> float:
        """How much of the time is over."""
        return (time.monotonic() - self._started) / (60 * self.minutes)

    def _order(self, trial: Trial) -> tuple[int, float]:
        return ("exact", "small", "full").index(trial.experiment.tier), self._seconds(trial)

    def _age(self, trial: Trial) -> tuple[str, float]:
        row = self._known[trial.fingerprint]
        return row.started[:10], row.seconds

    def _seconds(self, trial: Trial) -> float:
        """What a trial took last time, or may take."""
        longest = self._longest.get((trial.paper.slug, trial.experiment.name, trial.arm))
        return min(GUESS[trial.experiment.tier], 60 * trial.experiment.needs.minutes) if longest is None else longest

    def _run(self, trials: Sequence[Trial], share: float, *, fresh: bool = False) -> list[Row]:
        """Run trials in order, in slices, until that share of the time is over."""
        rows: list[Row] = []
        waiting = list(trials)
        while waiting and self._share() < share:
            taken: list[Trial] = []
            seconds = 0.0
            while waiting and (not taken or seconds < SLICE_SECONDS * self.jobs):
                if self._share() + self._seconds(waiting[0]) / (60 * self.minutes) > 1:
                    waiting.pop(0)  # too long for what is left of the night
                    continue
                taken.append(waiting.pop(0))
                seconds += self._seconds(taken[-1])
            rows += self._runner(fresh).run(taken)
        return rows

    def _runner(self, fresh: bool) -> Runner:
        """A runner that stops when the night is over."""

        def start(modules: set[str]) -> Executor:
            return LocalExecutor(self.project.root, modules, self.jobs)

        until = self._started + 60 * self.minutes
        return Runner(self.store, self.project, start, self.listener, fresh, until)

    def _changes(self, trials: Sequence[Trial], rows: Sequence[Row]) -> tuple[list[Change], int]:
        """Series that tonight's rows have moved, confirmed on fresh seeds where time is left."""
        history = [row for paper in {row.paper for row in rows} for row in self._rows(paper)]
        processors = self._processors(history)
        current = {name(row, processors) for row in rows for name in (generation_of, day_of)}
        every = since(series_of(history, processors), self._confirmed_before())
        found = screened(every, current)
        found.sort(key=lambda pair: -abs(pair[1].z))
        self.note(f"{len(every)} series, {len(found)} to be confirmed on fresh seeds")
        second = [self._confirm(series, trials) if self._share() < 1 else None for series, _ in found]
        sure = confirmed([first for _, first in found], second, max(len(every), 1))
        changes = []
        for (series, first), again, known in zip(found, second, sure, strict=True):
            z = None if again is None else again.z
            began = series.generations[-1].id
            changes.append(Change(str(series.key), began, first.before, first.now, first.z, z, known))
        return changes, len(every)

    def _processors(self, rows: Iterable[Row]) -> Processors:
        return session.processors(rows, self.store) | committed_processors(self.project.root)

    def _rows(self, slug: str) -> list[Row]:
        """All rows of a paper: the committed ones are history, too."""
        return [*counted_rows(self.project.root, slug), *self.store.rows(slug)]

    def _confirmed_before(self) -> dict[str, str]:
        """{series: generation of its last confirmed change}, from the nights before."""
        changes = [change for night in self.store.nights() for change in night["changes"] if change["confirmed"]]
        return {change["what"]: change["generation"] for change in changes}

    def _confirm(self, series: Series, trials: Sequence[Trial]) -> Score | None:
        """The same score for fresh seeds; for costs, for the same trials once more."""
        key = series.key
        like = [
            trial
            for trial in trials
            if (trial.paper.slug, trial.experiment.name, trial.arm) == (key.paper, key.experiment, key.arm)
            and canonical(trial.params) == key.point
        ]
        if key.kind == "metric":
            experiment = like[0].experiment
            narrowed = replace(like[0].paper, experiments={experiment.name: experiment})
            fresh = plan(narrowed, self.project, Selection(seeds=FRESH_SEEDS, first_seed=self._first_fresh_seed()))
            like = [one for one in fresh if one.arm == key.arm and canonical(one.params) == key.point]
        rows = self._runner(key.kind != "metric").run(like)
        again = series_of(rows, self._processors(rows))
        measured = [one for one in again if replace(one.key, device=key.device) == key]
        history = [generation.values for generation in series.generations[:-1]]
        return score(history, measured[0].generations[-1].values) if measured else None

    def _first_fresh_seed(self) -> int:
        """Other seeds every night, and none that a file would ask for."""
        return 1_000_000 + 100 * (self.today or datetime.now(UTC).date()).toordinal()


def _longest(rows: Iterable[Row]) -> dict[tuple[str, str, str], float]:
    """{(paper, experiment, arm): seconds of its longest finished trial}."""
    found: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row.health == "done":
            key = row.paper, row.experiment, row.arm
            found[key] = max(row.seconds, found.get(key, 0.0))
    return found


def _flips(before: dict[str, dict[str, tuple[str, str]]], judged: dict[str, list[Judgement]]) -> Iterable[Flip]:
    for slug, group in judged.items():
        for one in group:
            last = before[slug].get(one.claim.id, ("", ""))[1]
            if one.verdict is not None and last and last != one.verdict:
                yield Flip(slug, one.claim.id, last, one.verdict)


def markdown(night: Night) -> str:
    """The night for a person."""
    lines = [
        f"# CrossExam, {night.at[:10]}", "",
        f"{'**Alarm.**' if night.alarm else 'All quiet.'} {night.ran} trials run, {night.repeated} repeated, "
        f"{night.left} left for lack of time; {night.series} series watched; {night.seconds:.0f} s; commit "
        f"{night.commit[:12] or 'unknown'}.",
    ]  # fmt: skip
    sections: list[tuple[str, list[str]]] = [
        ("Confirmed changes", [_sentence(one) for one in night.changes if one.confirmed]),
        ("Verdicts that flipped", [f"{one.paper}/{one.claim}: {one.before} -> {one.now}" for one in night.flips]),
        ("Verdicts that are not as expected", list(night.unexpected)),
        ("Trials that did not repeat bit for bit", list(night.unequal)),
        ("Trials that failed", list(night.failed)),
        ("Deviations that fresh seeds did not confirm", [_sentence(one) for one in night.changes if not one.confirmed]),
    ]
    for title, entries in sections:
        if entries:
            lines += ["", f"## {title}", "", *(f"- {entry}" for entry in entries)]
    return "\n".join(lines) + "\n"


def _sentence(change: Change) -> str:
    again = "no time to confirm" if change.fresh_z is None else f"fresh seeds z = {change.fresh_z:+.1f}"
    what, before, now = in_units(change.what, change.before, change.now)
    return f"{what}: {before} -> {now} (z = {change.z:+.1f}, {again})"


def junit(night: Night) -> str:
    """The night for a build server: one case per claim, and one per alarm of another kind."""
    suite = ElementTree.Element("testsuite", name="crossexam nightly", timestamp=night.at, time=str(night.seconds))
    surprises = {text.split(":")[0]: text for text in night.unexpected}
    failures = 0
    for slug, claim, outcome in night.judged:
        case = ElementTree.SubElement(suite, "testcase", classname=slug, name=claim)
        if text := surprises.get(f"{slug}/{claim}"):
            ElementTree.SubElement(case, "failure", message=text)
            failures += 1
        elif outcome in ("blocked", "not run", "incomplete", "outdated", "error", "timeout"):
            ElementTree.SubElement(case, "skipped", message=outcome)
    others: list[tuple[str, str, str]] = [
        *(("change", one.what, _sentence(one)) for one in night.changes if one.confirmed),
        *(("repetition", name, "metrics differ from an earlier run of the same fingerprint") for name in night.unequal),
        *(("trial", text.split(": ")[0], text) for text in night.failed),
    ]
    for kind, name, message in others:
        case = ElementTree.SubElement(suite, "testcase", classname=kind, name=name)
        ElementTree.SubElement(case, "failure", message=message)
    suite.set("tests", str(len(night.judged) + len(others)))
    suite.set("failures", str(failures + len(others)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_record(night: Night) -> dict[str, Any]:
    """The night as JSON has it."""
    return {**asdict(night), "alarm": night.alarm}
