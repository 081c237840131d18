"""Runs a plan: reuses rows, orders artifacts before trials, stores each row the moment its trial ends."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crossexam.facts.paper import Needs
from crossexam.runs.costs import Costs, cpus, on_gpu
from crossexam.runs.environment import commit, libraries
from crossexam.runs.executors import Executor, Outcome
from crossexam.runs.placement import gpu_share
from crossexam.runs.plan import Build, Trial
from crossexam.runs.rows import Row, digest
from crossexam.runs.source import Project
from crossexam.runs.store import Store

LOOKAHEAD = 1000
"""How many trials that do not fit are passed over in search of one that does."""
GIVEN = ("arm", "seed")
"""What of its inputs a function gets only if it takes it; parameters it must take."""
POLL = 0.2
"""Seconds to wait for a job to end before looking again at trials that another run has taken."""


@dataclass
class Progress:
    """How far a run is; listeners get it after every change."""

    total: int = 0
    cached: int = 0
    committed: int = 0
    done: int = 0
    failed: int = 0
    blocked: int = 0
    running: dict[int, str] = field(default_factory=dict)
    place: str = ""
    """Where it runs, if not simply here."""
    last: Row | None = None
    left: Callable[[], float] = lambda: 0.0
    """About how many seconds it will still take, artifacts included."""

    @property
    def ended(self) -> int:
        return self.cached + self.committed + self.done + self.failed + self.blocked


Listener = Callable[[Progress], None]


@dataclass
class Runner:
    """Takes the trials of a plan to rows. `start_executor` is called only if something has to run."""

    store: Store
    project: Project
    """The project as it was when the trials were planned."""
    start_executor: Callable[[set[str]], Executor]
    listener: Listener = lambda progress: None
    fresh: bool = False
    until: float = math.inf
    """When it stops (by `time.monotonic`): what is not finished then has no row."""
    in_order: bool = False
    """Whether trials start in the order that they are given, as far as they fit; else the longest go first."""
    costs: Costs = field(default_factory=Costs)
    """What jobs took before; what they take now is added."""

    def run(self, trials: Sequence[Trial], committed: Mapping[str, Row] | None = None) -> list[Row]:
        """Rows for all trials (that ended in time), in order. Interrupting it loses only what was in flight.

        `committed` are rows that stand for trials, by fingerprint: these do not run.
        """
        self._progress = Progress(total=len(trials))
        self._rows: dict[str, Row] = {}
        waiting: list[Trial] = []
        done = {} if self.fresh else self.store.done_rows(trial.fingerprint for trial in trials)
        for trial in trials:
            if row := done.get(trial.fingerprint):
                self._progress.cached += 1
                self._rows[trial.fingerprint] = row
            elif row := (committed or {}).get(trial.fingerprint):
                self._progress.committed += 1
                self._rows[trial.fingerprint] = row
            elif trial.blocked:
                self._progress.blocked += 1
                self._rows[trial.fingerprint] = _row(trial, Outcome(0, "blocked", trial.blocked), "")
            else:
                waiting.append(trial)
        self.listener(self._progress)
        if waiting:
            self._execute(waiting)
        return [self._rows[trial.fingerprint] for trial in trials if trial.fingerprint in self._rows]

    def _execute(self, waiting: list[Trial]) -> None:
        imported = {trial.imports for trial in waiting}
        imported |= {build.imports for trial in waiting for build in trial.builds}
        executor = self.start_executor({"torch", "numpy"}.union(*imported))
        self._commit = commit(self.project.root)
        self._jobs: dict[int, Trial | Build] = {}
        self._active: set[str] = set()
        self._busy, self._lent, self._gpu_gib = 0, 0.0, executor.gpu_gib
        self._started: dict[int, str] = {}
        self._broken: dict[str, str] = {}
        self._ahead = {trial.fingerprint: trial for trial in waiting} | self._missing(waiting)
        self._began: dict[int, float] = {}
        self._capacity = executor.capacity
        self._progress.left = self._left
        # Longest first keeps the machine busy to the end.
        queue = deque(waiting if self.in_order else sorted(waiting, key=lambda trial: -self.costs.seconds(trial)))
        try:
            while (queue or self._jobs) and time.monotonic() < self.until:
                self._progress.place = executor.describe()
                self._start_some(executor, queue)
                if not self._jobs:
                    time.sleep(POLL)  # all that is left is being run by others
                for outcome in executor.wait(POLL):
                    self._finish(outcome)
        finally:
            executor.close()
            for job in self._jobs.values():
                self.store.unlock(job.fingerprint)

    def _missing(self, trials: Sequence[Trial]) -> dict[str, Build]:
        """Artifacts that are to be built."""
        builds = {build.fingerprint: build for trial in trials for build in trial.builds}
        return {key: build for key, build in builds.items() if not build.file(self.store.folder).is_file()}

    def _left(self) -> float:
        """Seconds until the last job ends, if each takes what its like took. One that takes longer is given a tenth
        more than it has had."""
        now = time.monotonic()
        running = [(job, now - self._began[number]) for number, job in self._jobs.copy().items()]  # a display's thread
        jobs = self._ahead | {job.fingerprint: job for job, _ in running}
        seconds = {key: self.costs.seconds(job) for key, job in jobs.items()}
        seconds |= {job.fingerprint: max(seconds[job.fingerprint] - had, had / 10) for job, had in running}
        busy = sum(value * cpus(jobs[key]) for key, value in seconds.items() if not on_gpu(jobs[key]))
        gpu = sum(value for key, value in seconds.items() if on_gpu(jobs[key]))
        return max(busy / self._capacity, gpu, *seconds.values(), 0.0)

    def _start_some(self, executor: Executor, waiting: deque[Trial]) -> None:
        """Start what fits, in order, and take it out of `waiting`; a plan may have many thousands of trials."""
        capacity, gpus = executor.capacity, executor.gpus
        passed: list[Trial] = []
        while waiting and self._busy < capacity and len(passed) < LOOKAHEAD:
            trial = waiting.popleft()
            if self._settled(trial):
                continue
            missing = [build for build in trial.builds if not build.file(self.store.folder).is_file()]
            job = missing[0] if missing else trial
            fits = not self._busy or self._busy + cpus(job) <= capacity
            lendable = self._lent + self._gpus(job) <= gpus + 1e-9
            if fits and lendable and self._start(executor, job) and job is trial:
                continue
            passed.append(trial)
        waiting.extendleft(reversed(passed))

    def _settled(self, trial: Trial) -> bool:
        """Whether nothing is left to do for it: another run has measured it, or its artifact cannot be built."""
        for build in trial.builds:
            if build.fingerprint in self._broken:
                cause = f"artifact '{build.artifact.name}' failed: {self._broken[build.fingerprint]}"
                self._record(trial, Outcome(0, "error", cause), "")
                return True
        return False

    def _start(self, executor: Executor, job: Trial | Build) -> bool:
        if job.fingerprint in self._active:
            return False
        if not self.store.lock(job.fingerprint):
            return False  # another run has it; look again later
        if isinstance(job, Trial) and not self.fresh and (row := self.store.done(job.fingerprint)):
            self.store.unlock(job.fingerprint)
            self._progress.cached += 1
            self._ahead.pop(job.fingerprint, None)
            self._rows[job.fingerprint] = row
            self.listener(self._progress)
            return True
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        number = executor.start(self._trial_job(job) if isinstance(job, Trial) else self._build_job(job))
        self._began[number] = time.monotonic()
        self._jobs[number] = job
        self._ahead.pop(job.fingerprint, None)
        self._active.add(job.fingerprint)
        self._count(job, 1)
        self._started[number] = started
        self._progress.running[number] = job.name if isinstance(job, Trial) else f"artifact {job.artifact.name}"
        self.listener(self._progress)
        return True

    def _count(self, job: Trial | Build, sign: int) -> None:
        """Keep count of the CPUs and GPUs that running jobs have."""
        self._busy += sign * cpus(job)
        self._lent += sign * self._gpus(job)

    def _gpus(self, job: Trial | Build) -> float:
        """How much of a GPU a job takes; an artifact takes as much as the trials that wait for it."""
        return gpu_share(job.experiment.needs if isinstance(job, Trial) else job.needs, self._gpu_gib)

    def _trial_job(self, trial: Trial) -> dict[str, Any]:
        module, needs = f"{trial.paper.package}.experiments", trial.experiment.needs
        paths = {build.artifact.name: str(build.file(self.store.folder)) for build in trial.builds}
        return {
            "kind": "trial", "seeded_by": trial.paper.slug, "module": module, "function": trial.experiment.name,
            "given": {"arm": trial.arm, "seed": trial.seed}, "params": dict(trial.params), "paths": paths,
            "threads": needs.cpus, "memory_gib": needs.memory_gib, "minutes": needs.minutes, "gpu": trial.needs_gpu,
            "gpus": self._gpus(trial), "disk_gib": needs.disk_gib, "data": list(needs.sets),
            "libraries": libraries(trial.imports),
            "commit": self._commit,
        }  # fmt: skip

    def _build_job(self, build: Build) -> dict[str, Any]:
        artifact = build.artifact
        module, function = artifact.place(build.paper.package)
        return {
            "kind": "artifact", "seeded_by": artifact.of or build.paper.slug, "module": module, "function": function,
            "given": {name: value for name, value in build.inputs.items() if name in GIVEN},
            "params": {name: value for name, value in build.inputs.items() if name not in GIVEN}, "paths": {},
            "threads": artifact.cpus,
            "memory_gib": artifact.memory_gib, "minutes": artifact.minutes,
            "gpu": build.needs.gpu_memory_gib > 0,
            "gpus": self._gpus(build),
            "disk_gib": Needs.disk_gib, "data": list(artifact.data), "artifact": str(build.file(self.store.folder)),
        }  # fmt: skip

    def _finish(self, outcome: Outcome) -> None:
        job = self._jobs.pop(outcome.id)
        self._active.discard(job.fingerprint)
        self._count(job, -1)
        self._progress.running.pop(outcome.id)
        if edited := self.project.edited(job.code):
            cause = f"{', '.join(edited)} changed during the run, so what was measured is unknown: run it again"
            outcome = Outcome(outcome.id, "error", cause, seconds=outcome.seconds, tail=outcome.tail)
        if isinstance(job, Trial):
            self._record(job, outcome, self._started[outcome.id])
        elif outcome.health == "done":
            self.store.add_build(job.paper.slug, job.artifact.name, job.device, outcome.seconds)
            self.costs.learn_build(job, outcome.seconds)
        else:
            self._broken[job.fingerprint] = outcome.cause
        self.store.unlock(job.fingerprint)

    def _record(self, trial: Trial, outcome: Outcome, started: str) -> None:
        row = _row(trial, outcome, started)
        texts = [trial.code, outcome.environment] if outcome.environment else [trial.code]
        self.store.add(row, *texts)
        self._ahead.pop(trial.fingerprint, None)
        if row.health == "done":
            self.costs.learn(row)
        self._rows[trial.fingerprint] = row
        self._progress.done += outcome.health == "done"
        self._progress.failed += outcome.health != "done"
        self._progress.last = row
        self.listener(self._progress)


def _row(trial: Trial, outcome: Outcome, started: str) -> Row:
    return Row(
        paper=trial.paper.slug, experiment=trial.experiment.name, arm=trial.arm, seed=trial.seed,
        params=trial.params, tier=trial.experiment.tier, subject=trial.subject, setting=trial.setting,
        fingerprint=trial.fingerprint, device=trial.device, health=outcome.health, metrics=outcome.metrics,
        cause=outcome.cause, tail="" if outcome.health == "done" else outcome.tail, started=started,
        seconds=round(outcome.seconds, 4), peak_memory_gib=outcome.peak_memory_gib, parts=trial.parts,
        environment=digest(outcome.environment) if outcome.environment else "",
        registered=trial.paper.registration(trial.experiment.name),
    )  # fmt: skip
