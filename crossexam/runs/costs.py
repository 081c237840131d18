"""How long trials and artifacts will take, from what they took before on a like machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crossexam.runs.plan import Build, Trial
from crossexam.runs.rows import Row, canonical
from crossexam.runs.store import Builds

START = 3.0
"""Seconds until the first trial runs: torch is imported once."""


class Costs:
    """Seconds of jobs: as the last of its kind, else as the mean of its experiment, else the limit of the file."""

    def __init__(self, rows: Iterable[Row] = (), builds: Builds | None = None) -> None:
        """Rows and builds in the order of their worth: what stands later replaces what stands before."""
        self._trials: dict[tuple[str, str, str, str], float] = {}
        self._experiments: dict[tuple[str, str], tuple[float, int]] = {}
        self._builds = {(paper, artifact): seconds for (paper, artifact, _), seconds in (builds or {}).items()}
        for row in rows:
            if row.health == "done":
                self.learn(row)

    def learn(self, row: Row) -> None:
        """Take a finished row into account."""
        self._trials[row.paper, row.experiment, row.arm, canonical(row.params)] = row.seconds
        total, count = self._experiments.get((row.paper, row.experiment), (0.0, 0))
        self._experiments[row.paper, row.experiment] = total + row.seconds, count + 1

    def learn_build(self, build: Build, seconds: float) -> None:
        self._builds[build.paper.slug, build.artifact.name] = seconds

    def known(self, job: Trial | Build) -> float | None:
        """Seconds by experience; None where there is none."""
        if isinstance(job, Build):
            return self._builds.get((job.paper.slug, job.artifact.name))
        slug, name = job.paper.slug, job.experiment.name
        exactly = self._trials.get((slug, name, job.arm, job.point))
        if exactly is None and (like := self._experiments.get((slug, name))):
            return like[0] / like[1]
        return exactly

    def seconds(self, job: Trial | Build) -> float:
        """Seconds by experience, else the limit."""
        known = self.known(job)
        needs = job.artifact if isinstance(job, Build) else job.experiment.needs
        return 60 * needs.minutes if known is None else known


def cpus(job: Trial | Build) -> int:
    """Threads of a job."""
    return job.artifact.cpus if isinstance(job, Build) else job.experiment.needs.cpus


def on_gpu(job: Trial | Build) -> bool:
    return job.needs.gpu_memory_gib > 0 if isinstance(job, Build) else job.needs_gpu


def wall_seconds(jobs: Mapping[str, Trial | Build], costs: Costs, capacity: int) -> float:
    """About how long jobs take together on so many CPUs and, of those that need one, one GPU; {fingerprint: job}."""
    each = [(costs.seconds(job), job) for job in jobs.values()]
    if not each:
        return 0.0
    busy = sum(seconds * cpus(job) for seconds, job in each if not on_gpu(job)) / capacity
    gpu = sum(seconds for seconds, job in each if on_gpu(job))
    return START + max(busy, gpu, *(seconds for seconds, _ in each))
