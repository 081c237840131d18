"""One night: run what has changed, repeat what has not, and say what is different and why, within a budget of time."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from crossexam.facts.paper import Paper
from crossexam.judging import stats, words
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.runs.committed import committed_processors, committed_rows
from crossexam.runs.environment import commit
from crossexam.runs.executors import Executor, LocalExecutor
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.runner import Listener, Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.watching import session
from crossexam.watching.reasons import Reason, Reasons
from crossexam.watching.watch import (
    ANCHOR,
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
UNKNOWN = 0.5
"""Share of the night that such a trial is taken to need at most."""
FRESH_SEEDS = 5
REPEATS = 0.5
"""Share of the time in which trials are repeated that this machine has measured as they are now."""
CONFIRMING = 0.85
"""Share of the time after which nothing new is begun but confirming runs."""
SLICE_SECONDS = 30.0
"""Trial-seconds a CPU that are started at once: between slices the clock is looked at."""
SLICE = 0.05
"""Share of the night that they are at most: what is left for confirming runs is not to be spent on one slice."""
FLOOR = 0.5
"""Of the claims that this machine could judge, the share that a night has to watch unless it is told otherwise."""
INTERVAL = 0.025
"""Error of each end of the interval of a series' level."""
MEDIAN = 2 / math.pi
"""Efficiency of a median of normal values."""


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
    paper: str
    experiment: str
    interval_before: tuple[float, float] | None
    """95 %, of the median of the first values; None with one value."""
    interval_now: tuple[float, float] | None
    """95 %, of the mean over seeds."""
    reason: Reason


@dataclass(frozen=True)
class Verdict:
    """What was known of a claim at some time."""

    verdict: str
    measured: str = ""
    """The value at the point that decides, with its interval."""
    rule: str = ""
    series: str = ""
    day: str = ""


@dataclass(frozen=True)
class Flip:
    """A claim whose verdict is another than last time, in whichever direction."""

    paper: str
    claim: str
    before: str
    now: str
    was: Verdict
    found: Verdict
    expected: bool
    """Whether the verdict is now the one that the file expects."""
    reason: Reason
    bisect: str
    """The command that finds the commit or the version; empty where there is nothing to search."""


@dataclass(frozen=True)
class Surprise:
    """A claim whose verdict is not the one that its file expects."""

    paper: str
    claim: str
    expected: str
    found: Verdict


@dataclass(frozen=True)
class Coverage:
    """What a night watched: claims that would not have gone unnoticed, had they moved."""

    claims: int
    judgeable: int
    """None of whose trials lacks anything on this machine."""
    watched: int
    """Of them, those with a verdict on rows that this machine has of all their trials as they are now."""
    floor: float
    blocked: int
    """Trials that lack something."""
    lacking: Mapping[str, int]
    """{what is missing: trials that lack it}; some lack several things."""

    @property
    def enough(self) -> bool:
        nothing = self.claims and self.floor and not self.judgeable
        return not nothing and self.watched >= self.floor * self.judgeable


@dataclass(frozen=True)
class Night:
    """What a night has found."""

    at: str
    commit: str
    seconds: float
    coverage: Coverage
    ran: int
    """Trials that were new or had changed."""
    repeated: int
    """Trials that had been measured before, here or elsewhere, as they are now."""
    left: int
    """Trials that this machine has no row of, for want of time."""
    series: int
    changes: tuple[Change, ...]
    flips: tuple[Flip, ...]
    unequal: tuple[str, ...]
    """Trials whose metrics differ from those of an earlier run of the same fingerprint."""
    failed: tuple[str, ...]
    unexpected: tuple[Surprise, ...]
    judged: tuple[tuple[str, str, str], ...]
    """(paper, claim, verdict or health) of every claim."""

    @property
    def alarm(self) -> bool:
        """Whether somebody should look: a confirmed change, a trial that does not repeat, or a failure."""
        return bool(self.unequal or self.failed or self.unexpected or any(one.confirmed for one in self.changes))

    @property
    def amber(self) -> bool:
        """Whether too little was watched for its quiet to mean anything."""
        return not self.coverage.enough


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
    floor: float = FLOOR
    started: float = field(default_factory=time.monotonic)
    """When its time began (by `time.monotonic`)."""

    def run(self) -> Night:
        """The whole night."""
        began = datetime.now(UTC)
        self._history = {paper.slug: list(committed_rows(self.project.root, paper.slug)) for paper in self.papers}
        known = [row for paper in self.papers for row in self._rows(paper.slug)]
        self._longest = _longest(known)
        before = {paper.slug: self._verdicts_before(paper) for paper in self.papers}
        trials = [trial for paper in self.papers for trial in plan(paper, self.project, Selection())]
        runnable = [trial for trial in trials if not trial.blocked]
        ran, repeated = self._measure(runnable, known)
        measured = [*ran, *repeated]
        with Reasons(self.project, self.store, known, began.isoformat(timespec="milliseconds")) as reasons:
            changes, count = self._changes(trials, measured, reasons)
            judged = {paper.slug: session.judge(paper, self.project, self.store, Selection()) for paper in self.papers}
            flips = tuple(self._flips(before, judged, trials, reasons))
        rows = [row for paper in self.papers for row in self._rows(paper.slug)]
        tonight = {row.fingerprint for row in measured}
        claims = [(slug, one) for slug, group in judged.items() for one in group]
        here = self.store.finished(trial.fingerprint for trial in runnable)
        night = Night(
            at=began.isoformat(timespec="seconds"), commit=commit(self.project.root),
            seconds=round(time.monotonic() - self.started, 1), coverage=self._coverage(trials, claims, here),
            ran=len(ran), repeated=len(repeated),
            left=len({trial.fingerprint for trial in runnable} - here - tonight), series=count, changes=tuple(changes),
            flips=flips,
            unequal=tuple(old.name for old, new in unequal(rows, self._processors(rows)) if new.fingerprint in tonight),
            failed=tuple(f"{row.name}: {row.cause}" for row in measured if row.health in ("error", "timeout")),
            unexpected=tuple(
                Surprise(slug, one.claim.id, one.claim.expected, _verdict(one))
                for slug, one in claims if one.as_expected is False
            ),
            judged=tuple((slug, one.claim.id, one.verdict or one.health) for slug, one in claims),
        )  # fmt: skip
        self.store.add_night(night.at, as_record(night))
        return night

    # What is measured, and in which order.

    def _measure(self, runnable: Sequence[Trial], known: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """Rows of trials that are new or have changed, and of those that have not.

        First what changed, then what has waited longest, then headlines, then what takes least; of what has waited as
        long, the exact tier before all others, for it takes seconds. An experiment for which the time does not last
        comes after those for which it does: half of one gives no verdict.
        """
        subjects = {row.subject for row in known if row.health == "done"}
        last: dict[str, str] = {}
        for row in known:
            last[row.subject] = max(row.started[:10], last.get(row.subject, ""))
        done = self.store.finished(trial.fingerprint for trial in runnable)
        changed = [one for one in runnable if one.subject not in subjects]
        elsewhere = [one for one in runnable if one.subject in subjects and one.fingerprint not in done]
        settled = [one for one in runnable if one.fingerprint in done]
        self.note(f"{len(changed)} trials are new or have changed")
        ran = self._run(self._ordered(changed, last, CONFIRMING), CONFIRMING)
        self.note(f"{len(elsewhere)} trials are known from other machines or libraries: measured here")
        repeated = self._run(self._ordered(elsewhere, last, CONFIRMING), CONFIRMING)
        self.note(f"{len(settled)} trials have not changed: the oldest are repeated")
        newest = {row.fingerprint: row.started[:10] for row in known}

        def waits(trial: Trial) -> tuple[str, bool, float]:
            return newest[trial.fingerprint], not _of_headline(trial), self._seconds(trial)

        return ran, repeated + self._run(sorted(settled, key=waits), REPEATS, fresh=True)

    def _ordered(self, trials: Sequence[Trial], last: Mapping[str, str], share: float) -> list[Trial]:
        """Trials by experiment, in the order in which the night looks at them."""
        groups: dict[tuple[str, str], list[Trial]] = {}
        for trial in trials:
            groups.setdefault((trial.paper.slug, trial.experiment.name), []).append(trial)

        def rank(group: list[Trial]) -> tuple[str, bool, bool, float]:
            since, exact = min(last.get(one.subject, "") for one in group), group[0].experiment.tier == "exact"
            return since, not exact, not _of_headline(group[0]), self._all(group)

        left = 60 * self.minutes * (share - self._share())
        fitting: list[Trial] = []
        others: list[Trial] = []
        for group in sorted(groups.values(), key=rank):
            fits = self._all(group) <= left
            left -= self._all(group) if fits else 0.0
            (fitting if fits else others).extend(group)
        return fitting + others

    def _all(self, group: Sequence[Trial]) -> float:
        """Seconds that some trials take together."""
        each = [self._seconds(trial) * trial.experiment.needs.cpus for trial in group]
        return max(sum(each) / self.jobs, max(self._seconds(trial) for trial in group))

    def _share(self) -> float:
        """How much of the time is over."""
        return (time.monotonic() - self.started) / (60 * self.minutes)

    def _seconds(self, trial: Trial) -> float:
        """What a trial took last time, or may take."""
        longest = self._longest.get((trial.paper.slug, trial.experiment.name, trial.arm))
        if longest is not None:
            return longest
        tier = trial.experiment.tier
        # However short the night: what nobody has timed is tried, unless it may take days.
        guess = GUESS[tier] if tier == "full" else min(GUESS[tier], 60 * self.minutes * UNKNOWN)
        return min(guess, 60 * trial.experiment.needs.minutes)

    def _run(self, trials: Sequence[Trial], share: float, *, fresh: bool = False) -> list[Row]:
        """Run trials in order, in slices, until that share of the time is over."""
        rows: list[Row] = []
        waiting = list(trials)
        most = min(SLICE_SECONDS, SLICE * 60 * self.minutes) * self.jobs
        while waiting and self._share() < share:
            taken: list[Trial] = []
            planned = 0.0
            while waiting and (not taken or planned < most):
                if self._share() + self._seconds(waiting[0]) / (60 * self.minutes) > 1:
                    waiting.pop(0)  # too long for what is left of the night
                    continue
                taken.append(waiting.pop(0))
                planned += self._seconds(taken[-1])
            measured = self._runner(fresh).run(taken)
            for key, seconds in _longest(measured).items():
                self._longest[key] = max(seconds, self._longest.get(key, 0.0))
            rows += measured
        return rows

    def _runner(self, fresh: bool) -> Runner:
        """A runner that stops when the night is over."""

        def start(modules: set[str]) -> Executor:
            return LocalExecutor(self.project.root, modules, self.jobs)

        until = self.started + 60 * self.minutes
        return Runner(self.store, self.project, start, self.listener, fresh, until)

    # What has moved.

    def _changes(self, trials: Sequence[Trial], rows: Sequence[Row], reasons: Reasons) -> tuple[list[Change], int]:
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
            key, last = series.key, series.generations[-1]
            past = [value for one in series.generations[:-1] for value in one.values][:ANCHOR]
            reason = reasons.of(_like(series, trials), costs=key.kind != "metric")
            changes.append(Change(
                str(key), last.id, first.before, first.now, first.z, None if again is None else again.z, known,
                key.paper, key.experiment, _interval(past, first.before, MEDIAN),
                _interval(last.values, first.now), reason,
            ))  # fmt: skip
        return changes, len(every)

    def _processors(self, rows: Iterable[Row]) -> Processors:
        return session.processors(rows, self.store) | committed_processors(self.project.root)

    def _rows(self, slug: str) -> list[Row]:
        """All rows of a paper: the committed ones are history, too, also where this machine measures for itself."""
        return [*self._history[slug], *self.store.rows(slug)]

    def _confirmed_before(self) -> dict[str, str]:
        """{series: generation of its last confirmed change}, from the nights before."""
        changes = [change for night in self.store.nights() for change in night["changes"] if change["confirmed"]]
        return {change["what"]: change["generation"] for change in changes}

    def _confirm(self, series: Series, trials: Sequence[Trial]) -> Score | None:
        """The same score for fresh seeds; for costs, for the same trials once more."""
        key = series.key
        like = _like(series, trials)
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

    def _verdicts_before(self, paper: Paper) -> dict[str, Verdict]:
        """What was last known of each claim: here, or by the committed rows, of whatever code they are."""
        newest = {
            (row.experiment, row.arm, canonical(row.params), row.seed): row
            for row in sorted(self._history[paper.slug], key=lambda row: row.started) if row.health == "done"
        }  # fmt: skip
        subjects = {row.subject: row.experiment for row in newest.values()}
        judged = judge_paper(paper, list(newest.values()), subjects) if newest else []
        found = {one.claim.id: _verdict(one) for one in judged if one.verdict is not None}
        for claim, last in self.store.last_verdicts(paper.slug).items():
            told = str(last.get("measured", "")), str(last.get("rule", ""))
            found[claim] = Verdict(last["verdict"], *told, last["series"], last["at"][:10])
        return found

    def _flips(
        self, before: Mapping[str, Mapping[str, Verdict]], judged: Mapping[str, Sequence[Judgement]],
        trials: Sequence[Trial], reasons: Reasons,
    ) -> Iterable[Flip]:  # fmt: skip
        papers = {paper.slug: paper for paper in self.papers}
        for slug, group in judged.items():
            for one in group:
                was = before[slug].get(one.claim.id)
                if one.verdict is None or was is None or was.verdict == one.verdict:
                    continue
                mine = [t for t in trials if t.paper.slug == slug and t.experiment.name == one.claim.experiment]
                reason = reasons.of(mine)
                if was.series and was.series != papers[slug].series(one.claim):
                    reason = replace(reason, causes=("the claim's rule, decision or protocol", *reason.causes))
                yield Flip(slug, one.claim.id, was.verdict, one.verdict, was, _verdict(one),
                           bool(one.as_expected), reason, reason.bisect(slug, one.claim.id))  # fmt: skip

    def _coverage(self, trials: Sequence[Trial], claims: Sequence[tuple[str, Judgement]], here: set[str]) -> Coverage:
        """How much of what there is to watch was watched."""
        blocked, lacking = set[tuple[str, str]](), set[tuple[str, str]]()
        for trial in trials:
            key = trial.paper.slug, trial.experiment.name
            if trial.blocked:
                blocked.add(key)
            elif trial.fingerprint not in here:
                lacking.add(key)
        places = [((slug, one.claim.experiment), one) for slug, one in claims]
        able = [(place, one) for place, one in places if place not in blocked]
        watched = sum(one.verdict is not None and place not in lacking for place, one in able)
        stuck = [trial for trial in trials if trial.blocked]
        causes = Counter(cause for trial in stuck for cause in _causes(trial.blocked))
        return Coverage(len(places), len(able), watched, self.floor, len(stuck), dict(causes.most_common()))


def _like(series: Series, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that a series is of."""
    key = series.key
    return [
        trial
        for trial in trials
        if (trial.paper.slug, trial.experiment.name, trial.arm) == (key.paper, key.experiment, key.arm)
        and trial.point == key.point
    ]


def _of_headline(trial: Trial) -> bool:
    """Whether a headline rests on its experiment."""
    names = {name for headline in trial.paper.headlines for name in headline.claims}
    return any(claim.experiment == trial.experiment.name and claim.id in names for claim in trial.paper.claims)


def _causes(blocked: str) -> list[str]:
    """What is missing, in short: "a GPU", "the data set 'cifar10'"."""
    parts = [part.partition(":")[0].removeprefix("needs ") for part in blocked.split("; and ")]
    return [re.sub(r"^CUDA with .*", "a GPU", part) for part in parts]


def _interval(values: Sequence[float], centre: float, efficiency: float = 1.0) -> tuple[float, float] | None:
    """Of an estimate of the level whose variance is that of the mean, over its efficiency; None with one value."""
    if len(values) < 2:
        return None
    error = stats.mean(np.asarray(values)).error / math.sqrt(efficiency)
    return stats.Estimate(centre, error, len(values) - 1).interval(INTERVAL)


def _verdict(one: Judgement) -> Verdict:
    day = one.source.day if one.source else ""
    return Verdict(str(one.verdict), words.measured(one), words.criterion(one.claim.rule), day=day)


def _longest(rows: Iterable[Row]) -> dict[tuple[str, str, str], float]:
    """{(paper, experiment, arm): seconds of its longest finished trial}."""
    found: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row.health == "done":
            key = row.paper, row.experiment, row.arm
            found[key] = max(row.seconds, found.get(key, 0.0))
    return found


def as_record(night: Night) -> dict[str, Any]:
    """The night as JSON has it."""
    return {**asdict(night), "alarm": night.alarm, "amber": night.amber}
