"""What a run will do: which trials it runs, which are known already, and what it leaves for another day.

A trial is known where this machine has a finished row of it, or where a committed one stands for it: the row of its
very fingerprint taken on a processor like this one, or one of a set of rows of one setting and processor that covers
all its experiment (`judging.evidence`: arms are not compared across processors). A trial that failed here runs again.

Without `--tier` the exact and small tiers run, and of the full one what fits some minutes: experiments of the headline
that has waited longest first, then those of no headline; what does not fit is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossexam.facts.paper import Experiment, Paper
from crossexam.runs.committed import committed_builds, committed_processors, committed_rows, counted_rows
from crossexam.runs.costs import Costs, wall_seconds
from crossexam.runs.environment import processor_here
from crossexam.runs.plan import Build, Selection, Trial, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store

GPU_MINUTES = 30.0
"""Of the full tier, unless the caller says otherwise, where there is a GPU; where there is none, nothing of it runs."""


@dataclass(frozen=True)
class Left:
    """An experiment of the full tier that is left out."""

    paper: str
    experiment: str
    trials: int
    seconds: float
    known: bool
    """Whether they come from earlier rows; else they are the limit."""


@dataclass(frozen=True)
class Choice:
    """What a run will do."""

    trials: list[Trial]
    """All that were asked for, in order, less what is left out."""
    cached: frozenset[str]
    """Fingerprints that this machine has finished."""
    committed: Mapping[str, Row]
    """{fingerprint: the committed row that stands for it}."""
    left: tuple[Left, ...]
    jobs: Mapping[str, Trial | Build]
    """{fingerprint: trial or artifact that will run}."""
    seconds: float
    """About how long that takes."""
    known: bool
    """Whether earlier rows say so for all of it; else limits of the file are in it."""
    costs: Costs

    @property
    def running(self) -> list[Trial]:
        return [job for job in self.jobs.values() if isinstance(job, Trial)]

    @property
    def blocked(self) -> list[Trial]:
        """Trials that cannot run here, and of which there is no row."""
        known = self.cached | self.committed.keys()
        return [trial for trial in self.trials if trial.blocked and trial.fingerprint not in known]


def choose(
    papers: Sequence[Paper], project: Project, store: Store, selection: Selection, capacity: int, *,
    full_minutes: float | None = None, fresh: bool = False,
) -> Choice:  # fmt: skip
    """Choose what to run of some papers.

    Args:
        capacity: CPUs at hand.
        full_minutes: how long the full tier may take; None: as long as it takes.
        fresh: run all again, whatever is known.
    """
    trials = [trial for paper in papers for trial in plan(paper, project, selection)]
    cached = frozenset[str]() if fresh else frozenset(store.finished(trial.fingerprint for trial in trials))
    committed: dict[str, Row] = {}
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.paper.slug, trial.experiment.name), []).append(trial)
    rows = {paper.slug: counted_rows(project.root, paper.slug) for paper in papers}
    if not fresh:
        tried = store.tried(trial.fingerprint for trial in trials) - cached
        processors = {paper.slug: committed_processors(project.root, paper.slug) for paper in papers}
        for (slug, _), group in groups.items():
            if any(trial.fingerprint not in cached for trial in group):
                found = standing(group, rows[slug], processors[slug])
                committed |= {key: row for key, row in found.items() if key not in cached and key not in tried}
    costs = costs_of(papers, project, store)
    known = cached | committed.keys()
    waiting = {
        key: [one for one in group if not one.blocked and one.fingerprint not in known] for key, group in groups.items()
    }
    left = []
    if full_minutes is not None:
        left = _left_out(papers, waiting, rows, store, costs, capacity, 60 * full_minutes)
    out = {(one.paper, one.experiment) for one in left}
    jobs = jobs_of([trial for key, group in waiting.items() if key not in out for trial in group], store)
    return Choice(
        trials=[trial for trial in trials if (trial.paper.slug, trial.experiment.name) not in out],
        cached=cached, committed=committed, left=tuple(left), jobs=jobs,
        seconds=wall_seconds(jobs, costs, capacity),
        known=all(costs.known(job) is not None for job in jobs.values()), costs=costs,
    )  # fmt: skip


def costs_of(papers: Sequence[Paper], project: Project, store: Store) -> Costs:
    """What trials and artifacts took before: committed rows, whether or not they count here, then this machine's."""
    rows = [row for paper in papers for row in committed_rows(project.root, paper.slug)]
    slugs = [paper.slug for paper in papers]
    builds = {key: value for slug in slugs for key, value in committed_builds(project.root, slug).items()}
    return Costs([*rows, *store.rows(*slugs)], builds | store.builds(*slugs))


def standing(trials: Sequence[Trial], rows: Sequence[Row], processors: Mapping[str, str]) -> dict[str, Row]:
    """The committed rows that stand for trials of one experiment, by fingerprint."""
    subjects = {trial.subject: trial for trial in trials}
    sets: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        trial = subjects.get(row.subject)
        if trial is not None and row.health == "done" and row.device.startswith("cuda") == trial.needs_gpu:
            key = row.setting, processors.get(row.environment, ""), row.device
            sets.setdefault(key, {})[row.subject] = row
    here = processor_here()
    found = {
        trial.fingerprint: some[trial.subject]
        for trial in trials
        for (setting, processor, _), some in sets.items()
        if setting == trial.setting and processor == here and trial.subject in some
    }
    whole = [some for some in sets.values() if len(some) == len(subjects)]
    if whole and len(found) < len(subjects):
        newest = max(whole, key=lambda some: max(row.started for row in some.values()))
        found = {trial.fingerprint: newest[trial.subject] for trial in trials}
    return found


def _left_out(
    papers: Sequence[Paper], waiting: Mapping[tuple[str, str], Sequence[Trial]], rows: Mapping[str, Sequence[Row]],
    store: Store, costs: Costs, capacity: int, budget: float,
) -> list[Left]:  # fmt: skip
    """Experiments of the full tier for which the seconds do not last."""
    queue: list[tuple[tuple[bool, str, str, float], tuple[str, str]]] = []
    spent = 0.0
    for paper in papers:
        full = [one for one in paper.experiments.values() if one.tier == "full" and waiting.get((paper.slug, one.name))]
        if not full:
            continue
        since = dict[str, str]()
        for row in (*rows[paper.slug], *store.rows(paper.slug)):
            if row.health == "done":
                since[row.experiment] = max(row.started, since.get(row.experiment, ""))
        for one in full:
            key = paper.slug, one.name
            seconds = wall_seconds(jobs_of(waiting[key], store), costs, capacity)
            headline, waits = _headline_waits(paper, one, since)
            queue.append(((not headline, waits, since.get(one.name, ""), seconds), key))
    left = []
    for (*_, seconds), key in sorted(queue):
        if spent + seconds <= budget:
            spent += seconds
        else:
            jobs = jobs_of(waiting[key], store).values()
            known = all(costs.known(job) is not None for job in jobs)
            left.append(Left(*key, len(waiting[key]), seconds, known))
    return left


def _headline_waits(paper: Paper, experiment: Experiment, since: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a headline rests on an experiment, and since when the one that has waited longest does; "": for ever."""
    places = {claim.id: claim.experiment for claim in paper.claims}
    resting = [{places[name] for name in headline.claims} for headline in paper.headlines]
    waits = [min(since.get(name, "") for name in names) for names in resting if experiment.name in names]
    return bool(waits), min(waits, default="")


def jobs_of(trials: Sequence[Trial], store: Store) -> dict[str, Trial | Build]:
    """Trials, and the artifacts that must be built for them first."""
    builds = {
        build.fingerprint: build for trial in trials for build in trial.builds if not build.file(store.folder).is_file()
    }
    return {**builds, **{trial.fingerprint: trial for trial in trials}}


def full_minutes(minutes: float | None, *, tiers_given: bool, gpu: bool) -> float | None:
    """How long the full tier may take: as the caller says; else as long as it takes where tiers were named."""
    if minutes is not None:
        return minutes
    if tiers_given:
        return None
    return GPU_MINUTES if gpu else 0.0
