"""Where jobs run. All executors give the same rows: `Local` isolates jobs in processes, `Inline` serves a debugger."""

from __future__ import annotations

import json
import math
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from crossexam.runs.environment import gpu_gib
from crossexam.runs.host import ENVIRONMENT, server
from crossexam.runs.rows import Health
from crossexam.runs.scratch import Scratch
from crossexam.runs.worker import Job, perform

GRACE = 1.0
"""Seconds between asking a job to stop and killing it."""
TAIL = 4000
"""Characters of a job's output that are kept."""
OUTPUT_LIMIT = 16 << 20
"""Bytes of output at which a job's file is emptied: only its end is ever shown."""
LOOK = 1.0
"""Seconds between looks at what running jobs have written."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    id: int
    health: Health
    cause: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_gib: float = 0.0
    tail: str = ""


class Executor(Protocol):
    """Runs jobs. The runner never starts more than `capacity` CPUs and `gpus` GPUs at once."""

    gpu_gib: float
    """Memory of one GPU, where trials may share it; else 0."""

    @property
    def capacity(self) -> int: ...

    @property
    def gpus(self) -> int: ...

    def describe(self) -> str:
        """Where the jobs run, for a person; empty where that goes without saying."""

    def start(self, job: dict[str, Any]) -> int:
        """Begin a job and return its id."""

    def wait(self, seconds: float) -> list[Outcome]:
        """What ended within that time; returns early when something has."""

    def close(self) -> None:
        """Stop everything that still runs, at once."""


@dataclass
class _Running:
    job: Job
    deadline: float = math.inf
    """Set when the job has its process: the server may still be importing torch."""
    pid: int = 0
    asked_to_stop: float = 0.0
    overfull: bool = False
    """Whether it is stopped because its temporary folder outgrew its limit."""


class LocalExecutor:
    """One process per job, forked from a server that has imported torch."""

    gpus = 1

    def __init__(self, root: Path, modules: Iterable[str], capacity: int) -> None:
        self.capacity = capacity
        self.gpu_gib = gpu_gib()
        self._scratch = Scratch()
        self._root = root
        self._modules = frozenset(modules)
        self._running: dict[int, _Running] = {}
        self._buffer = b""
        self._next = 0
        self._looked = 0.0
        self._start_server()

    def describe(self) -> str:
        return ""

    def _start_server(self) -> None:
        self._log = self._scratch.folder / "server.log"
        self._socket = server(self._root, self._modules, self._log)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def start(self, job: dict[str, Any]) -> int:
        self._next += 1
        files = {name: str(self._scratch.folder / f"{self._next}.{name}") for name in ("result", "output", "scratch")}
        sent = {**job, **files, "id": self._next}
        self._running[self._next] = _Running(sent)
        self._send(sent)
        return self._next

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # the server has died: `wait` reports every running job

    def wait(self, seconds: float) -> list[Outcome]:
        self._enforce_limits()
        deadlines = [task.deadline for task in self._running.values()]
        pause = max(0.0, min([seconds, 0.5, *(deadline - time.monotonic() for deadline in deadlines)]))
        if not self._selector.select(pause):
            return []
        try:
            received = self._socket.recv(1 << 16)
        except ConnectionResetError:
            received = b""
        if not received:
            return self._server_died()
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if "pid" in message:  # it comes before the same job's status
                task = self._running[message["id"]]
                task.pid, task.deadline = message["pid"], time.monotonic() + 60 * task.job["minutes"]
        return [self._outcome(message) for message in messages if "status" in message]

    def _enforce_limits(self) -> None:
        now = time.monotonic()
        if now > self._looked + LOOK:
            self._looked = now
            for task in self._running.values():
                self._look_at_disk(task)
        for task in self._running.values():
            if task.asked_to_stop and now > task.asked_to_stop + GRACE:
                _signal_group(task.pid, signal.SIGKILL)
            elif now > task.deadline and task.pid and not task.asked_to_stop:
                _signal_group(task.pid, signal.SIGTERM)
                task.asked_to_stop, task.deadline = now, now + GRACE

    @staticmethod
    def _look_at_disk(task: _Running) -> None:
        """Keep a job from filling the disk: with what it prints, or in its temporary folder."""
        output = Path(task.job["output"])
        if output.is_file() and output.stat().st_size > OUTPUT_LIMIT:
            os.truncate(output, 0)  # it is opened for appending, so that the job goes on at the new end
        if not task.asked_to_stop and _size(Path(task.job["scratch"])) > task.job["disk_gib"] * 2**30:
            task.overfull, task.deadline = True, 0.0

    def _outcome(self, message: dict[str, Any]) -> Outcome:
        task = self._running.pop(message["id"])
        tail = _tail(Path(task.job["output"]))
        shutil.rmtree(task.job["scratch"], ignore_errors=True)
        result = Path(task.job["result"])
        status = message["status"]
        if task.overfull:
            cause = f"its temporary folder outgrew {task.job['disk_gib']:g} GiB (needs.disk_gib)"
            return Outcome(message["id"], "error", cause, tail=tail)
        if task.asked_to_stop:
            cause = f"stopped after its limit of {task.job['minutes']:g} minutes (needs.minutes)"
            return Outcome(message["id"], "timeout", cause, seconds=60 * task.job["minutes"], tail=tail)
        if not result.is_file():
            return Outcome(message["id"], "error", _death(status), peak_memory_gib=message["peak"], tail=tail)
        found = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
        return Outcome(message["id"], peak_memory_gib=round(message["peak"], 4), tail=tail, **found)

    def _server_died(self) -> list[Outcome]:
        """The server itself was killed; the kernel has taken its jobs along. Start another one for what is left."""
        cause = f"the fork server died: {_tail(self._log).strip()[-300:] or 'killed'}"
        lost = [
            Outcome(number, "error", cause, tail=_tail(Path(task.job["output"])))
            for number, task in self._running.items()
        ]
        self._running.clear()
        self._selector.close()
        self._socket.close()
        self._buffer = b""
        self._start_server()
        return lost

    def close(self) -> None:
        for task in self._running.values():
            if task.pid:
                _signal_group(task.pid, signal.SIGKILL)
        self._selector.close()
        self._socket.close()  # the server ends when its socket does, and its jobs with it
        self._scratch.remove()


class InlineExecutor:
    """Jobs in this very process, one after the other: for a debugger, without isolation or limits."""

    capacity = 1
    gpus = 1
    gpu_gib = 0.0

    def describe(self) -> str:
        return ""

    def __init__(self, root: Path) -> None:
        os.environ.update(ENVIRONMENT)
        sys.path.insert(0, str(root))
        self._ended: list[Outcome] = []
        self._next = 0

    def start(self, job: dict[str, Any]) -> int:
        self._next += 1
        with tempfile.TemporaryDirectory(prefix="crossexam-") as scratch:
            result = Path(scratch) / "result"
            files = {"result": str(result), "scratch": str(Path(scratch) / "scratch")}
            # No memory limit: it would stay on this process when the job is over, as its temporary folder must not.
            folder = tempfile.tempdir, os.environ.get("TMPDIR")
            perform({**job, **files, "memory_gib": None})
            tempfile.tempdir = folder[0]
            del os.environ["TMPDIR"]
            if folder[1] is not None:
                os.environ["TMPDIR"] = folder[1]
            self._ended.append(Outcome(self._next, **json.loads(result.read_text(encoding="utf-8"))))
        return self._next

    def wait(self, seconds: float) -> list[Outcome]:  # noqa: ARG002 - nothing runs while nobody looks
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Nothing is left running."""


def _death(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status} and no result"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = " (the system may have run out of memory)" if -status == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}"


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it ended in between, or has not made its group yet: the next round tries again


def _size(folder: Path) -> int:
    """Bytes in the files below a folder; 0 where there is none."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(directory) / name).st_blocks * 512
            except OSError:
                continue  # it was removed in between
    return total


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - TAIL))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
