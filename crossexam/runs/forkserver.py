"""A server that has imported torch once and forks a process per job. `python -m crossexam.runs.forkserver FD MODULE...`

It speaks JSON lines over the socket FD: a job comes in, {"id", "pid"} goes out when it has started and
{"id", "status", "peak"} when it has ended. {"modules"} asks it to import more. It ends, and all jobs with it, when the
other side closes or dies.
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
import warnings
from collections.abc import Iterable
from typing import Any

from crossexam.runs.worker import perform

PR_SET_PDEATHSIG = 1


def serve(connection: socket.socket) -> None:
    """Fork a process for every job that arrives, and report every one that ends."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner to handle
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    running: dict[int, Any] = {}
    buffer = b""
    while True:
        for key, _ in selector.select():
            if key.fileobj == wake_read:
                os.read(wake_read, 4096)
                continue
            received = connection.recv(1 << 16)
            if not received:
                return
            *lines, buffer = (buffer + received).split(b"\n")
            for line in lines:
                job = json.loads(line)
                if "modules" in job:
                    import_ahead(job["modules"])
                    continue
                pid = _fork(job, connection)
                running[pid] = job["id"]
                _send(connection, {"id": job["id"], "pid": pid})
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


def import_ahead(modules: Iterable[str]) -> None:
    """Import what the jobs to come will need, so that they find it there."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            # The trials that need it will fail by themselves, with this message in their own output.
            print(f"forkserver: could not import {module} ahead: {error}", file=sys.stderr)


def main() -> None:
    descriptor, root, *modules = sys.argv[1:]
    sys.path.insert(0, root)
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork")
    import_ahead(modules)
    connection = socket.socket(fileno=int(descriptor))
    _send(connection, {"ready": os.getpid()})
    serve(connection)


if __name__ == "__main__":
    main()
