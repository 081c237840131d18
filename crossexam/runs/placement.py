"""Which node runs what: the share of a GPU that a job takes, and a forecast of where a plan goes. Imports no Ray."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from crossexam.facts.paper import Needs
from crossexam.runs.plan import Trial

SPARE_GIB = 1.0
"""What a trial's process takes before it allocates anything: torch itself."""


@dataclass(frozen=True)
class Gpu:
    """The GPU that a run uses: its name as nvidia-smi has it, its memory, and what Ray calls its type."""

    name: str
    gib: float
    kind: str


@dataclass(frozen=True)
class Node:
    """What a machine offers. `kind` is Ray's name of its GPUs; empty without any, or where Ray has none for them."""

    name: str
    cpus: float
    gpus: float
    gib: float
    kind: str = ""


def gpu_share(needs: Needs, gpu_gib: float) -> float:
    """How much of a GPU of that memory a job takes: all of it unless it may share; in hundredths, rounded up."""
    if not needs.gpu_memory_gib:
        return 0.0
    if not needs.shares_gpu or not gpu_gib:
        return 1.0
    return min(1.0, math.ceil(100 * needs.gpu_memory_gib / gpu_gib) / 100)


@dataclass
class Load:
    """What is to run on one node."""

    node: Node
    trials: Counter[str] = field(default_factory=Counter)
    """By experiment."""
    minutes: float = 0.0
    """Of all trials together."""


@dataclass
class Placement:
    """A forecast: the runner and Ray decide anew whenever something ends."""

    loads: list[Load]
    minutes: float
    """When the last trial ends."""
    impossible: Mapping[str, str]
    """{experiment: what no node has}."""


def place(
    trials: Sequence[Trial], nodes: Sequence[Node], gpu: Gpu | None, length: Callable[[Trial], float]
) -> Placement:
    """Start trials as the runner does, longest first, wherever there is room, until all have ended.

    `length` is in minutes. Artifacts are left out: they are built by the first trial that waits for them.
    """
    groups: dict[str, deque[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: -trial.experiment.needs.minutes):
        groups.setdefault(f"{trial.paper.slug}/{trial.experiment.name}", deque()).append(trial)
    impossible = {
        name: _lacking(group[0].experiment.needs, nodes, gpu)
        for name, group in groups.items()
        if not any(_fits(group[0].experiment.needs, node, gpu, node.cpus, node.gpus, node.gib) for node in nodes)
    }
    loads = [Load(node) for node in nodes]
    free = [[node.cpus, node.gpus, node.gib] for node in nodes]
    ends: list[tuple[float, int, int, tuple[float, ...]]] = []  # when, a tie-breaker, which node, what it had taken
    order = itertools.count()

    def fill(where: int, now: float) -> None:
        for name, group in groups.items():
            while (
                group and name not in impossible and _fits(group[0].experiment.needs, nodes[where], gpu, *free[where])
            ):
                trial = group.popleft()
                needs = trial.experiment.needs
                takes = (float(needs.cpus), gpu_share(needs, gpu.gib if gpu else 0.0), needs.memory_gib + SPARE_GIB)
                free[where] = [have - take for have, take in zip(free[where], takes, strict=True)]
                heapq.heappush(ends, (now + length(trial), next(order), where, takes))
                loads[where].trials[name] += 1
                loads[where].minutes += length(trial)

    for where in range(len(nodes)):
        fill(where, 0.0)
    now = 0.0
    while ends:
        now, _, where, taken = heapq.heappop(ends)
        free[where] = [have + take for have, take in zip(free[where], taken, strict=True)]
        fill(where, now)
    return Placement(loads, now, impossible)


def _fits(needs: Needs, node: Node, gpu: Gpu | None, cpus: float, gpus: float, gib: float) -> bool:
    share = gpu_share(needs, gpu.gib if gpu else 0.0)
    of_the_kind = not share or gpu is None or not gpu.kind or node.kind == gpu.kind
    room = cpus >= needs.cpus and gib >= needs.memory_gib + SPARE_GIB and gpus >= share - 1e-9
    return of_the_kind and room and (not share or needs.gpu_memory_gib <= (gpu.gib if gpu and gpu.gib else math.inf))


def _lacking(needs: Needs, nodes: Sequence[Node], gpu: Gpu | None) -> str:
    if needs.gpu_memory_gib and not any(node.gpus for node in nodes):
        return "needs a GPU, and no node has one"
    if needs.gpu_memory_gib and gpu and gpu.gib and needs.gpu_memory_gib > gpu.gib:
        return f"needs {needs.gpu_memory_gib:g} GiB of GPU memory, and {gpu.name} has {gpu.gib:g}"
    most = max((node.cpus for node in nodes), default=0), max((node.gib for node in nodes), default=0)
    return (
        f"needs {needs.cpus} CPUs and {needs.memory_gib + SPARE_GIB:g} GiB on one node; the largest have "
        f"{most[0]:g} CPUs and {most[1]:.3g} GiB"
    )
