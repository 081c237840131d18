"""A host that has imported libraries once and forks: a server for every command, and a process for every job.

`python -m crossexam.runs.forkserver SOCKET MINUTES LIFELINE` listens on a Unix socket. Each connection begins with one
JSON line, {"root", "environment", "modules", "log"}: the host imports the modules (libraries only: it never holds code
of a project), forks a server with that environment and project, and goes on listening. The server speaks JSON lines:
a job comes in, {"id", "pid"} goes out when it has started and {"id", "status", "peak"} when it has ended. It ends, and
all its jobs with it, when the other side closes or dies.

The host ends after MINUTES without a server, when its environment has gone or changed, and when LIFELINE (a file
descriptor, or -1) is closed by whoever started it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from crossexam.runs.worker import perform

PR_SET_PDEATHSIG = 1
LOOK = 2.0
"""Seconds between looks at the environment and at the clock."""


def host(listener: socket.socket, minutes: float, lifeline: int) -> None:
    """Fork a server for every connection until nobody needs it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command to handle
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    if lifeline >= 0:
        selector.register(lifeline, selectors.EVENT_READ)
    born, servers, last = environment_mark(), set[int](), time.monotonic()
    while True:
        ready = {key.fileobj for key, _ in selector.select(LOOK)}
        if lifeline in ready:
            return
        if listener in ready:
            connection, _ = listener.accept()
            with connection:
                if (pid := _begin(connection, listener, lifeline)) is not None:
                    servers.add(pid)
        servers -= {pid for pid in servers if os.waitpid(pid, os.WNOHANG)[0]}
        if servers:
            last = time.monotonic()
        if environment_mark() != born or (minutes > 0 and time.monotonic() > last + 60 * minutes):
            return


def environment_mark() -> tuple[int, ...]:
    """What changes when the environment is removed, rebuilt, or its torch replaced."""
    import torch

    marks = []
    for file in (sys.executable, torch.__file__, __file__):
        try:
            found = Path(file).stat()
            marks += [found.st_ino, found.st_mtime_ns]
        except OSError:
            marks += [0, 0]
    return tuple(marks)


def _begin(connection: socket.socket, listener: socket.socket, lifeline: int) -> int | None:
    """Fork the server of one command; None where the other side asked for nothing, or for the end."""
    connection.settimeout(10)  # whoever connects says at once what it wants
    try:
        greeting, rest = _line(connection)
    except (OSError, ValueError):
        return None
    if greeting.get("stop"):
        os.kill(os.getpid(), signal.SIGTERM)
        return None
    import_ahead(greeting["modules"])
    here = os.getpid()
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        _die_with(here)
        listener.close()
        if lifeline >= 0:
            os.close(lifeline)
        connection.settimeout(None)
        _settle(greeting)
        _send(connection, {"ready": os.getpid()})
        serve(connection, rest)
        code = 0
    finally:
        os._exit(code)


def _line(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The first line, and what came behind it: jobs may be on their way before anybody answers."""
    received = b""
    while b"\n" not in received:
        if not (part := connection.recv(1 << 16)):
            raise ValueError("closed")
        received += part
    line, _, rest = received.partition(b"\n")
    return dict(json.loads(line)), rest


def _settle(greeting: dict[str, Any]) -> None:
    """Take over the command's environment, folder, project and log."""
    os.environ.clear()
    os.environ.update(greeting["environment"])
    os.chdir(greeting["root"])
    sys.path.insert(0, greeting["root"])
    log = os.open(greeting["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)


def serve(connection: socket.socket, received: bytes) -> None:
    """Fork a process for every job that arrives, those in `received` first, and report every one that ends."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    running: dict[int, Any] = {}
    while True:
        *lines, received = received.split(b"\n")
        for line in lines:
            job = json.loads(line)
            pid = _fork(job, connection)
            running[pid] = job["id"]
            _send(connection, {"id": job["id"], "pid": pid})
        for key, _ in selector.select():
            if key.fileobj == wake_read:
                os.read(wake_read, 4096)
            elif part := connection.recv(1 << 16):
                received += part
            else:
                return
        for pid in list(running):
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                _kill_group(pid)  # what it started itself must not outlive it
                peak = usage.ru_maxrss / 2**20 if sys.platform != "darwin" else usage.ru_maxrss / 2**30
                _send(connection, {"id": running.pop(pid), "status": os.waitstatus_to_exitcode(status), "peak": peak})


def _fork(job: dict[str, Any], connection: socket.socket) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()  # a group of its own, so that its children can be stopped with it
        _die_with(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        connection.close()
        output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        perform(job)
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere the runner's cleanup must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


AHEAD = frozenset(
    (
        "numpy",
        "pandas",
        "PIL",
        "pyarrow",
        "safetensors",
        "scipy",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    )
)
"""Packages that may be imported before a fork. Others may touch a GPU when they are imported, as kernels that are tuned
then do, and after that no child can use it."""


def import_ahead(modules: Iterable[str]) -> None:
    """Import what the jobs to come will need and may find there; the rest they import themselves."""
    for module in (one for one in modules if one.partition(".")[0] in AHEAD):
        try:
            importlib.import_module(module)
        except ImportError as error:
            # The trials that need it will fail by themselves, with this message in their own output.
            print(f"forkserver: could not import {module} ahead: {error}", file=sys.stderr)


def main() -> None:
    path, minutes, lifeline = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        waiting = path.with_suffix(".new")
        listener.bind(str(waiting))
        listener.listen(64)
        waiting.rename(path)  # it appears when it can be connected to
        import_ahead(["torch", "numpy"])
        try:
            host(listener, minutes, lifeline)
        finally:
            with suppress(OSError):
                path.unlink()


if __name__ == "__main__":
    main()
