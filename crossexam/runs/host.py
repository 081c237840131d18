"""Finds or starts the host that forks servers, and connects to it: one that ends with this process, or a warm one.

A host holds libraries, never a project's code, so that one serves every project and branch of a user and environment.
A private one ends with the process that started it. A warm one (`--warm MINUTES`) waits in a folder that only its user
can open, and stays for that long after the last command; in CI there is none. CROSSEXAM_HOST names the socket of a
host that somebody else keeps, as a test run does for all commands that it starts.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from crossexam.runs.scratch import Scratch

KEPT = "CROSSEXAM_HOST"
WARM = "CROSSEXAM_WARM"
"""The setting behind `--warm`: minutes."""
SHAPING = ("OMP_", "MKL_", "OPENBLAS_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_", "NVIDIA_", "LD_", "PYTHON")
"""Beginnings of the variables that libraries read when they are imported: warm hosts differ by them."""
SERVING = ("forkserver.py", "worker.py", "environment.py")
"""The modules of the harness that a host holds: warm hosts differ by their text."""
LONGEST = 60
"""Bytes of a folder's path that leave room for a socket in it."""
PATIENCE = 120.0
"""Seconds in which a new host must be there."""
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it deterministic cuBLAS refuses to run
    "OMP_NUM_THREADS": "1",  # libraries other than torch; torch is told per trial
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


class NoHost(RuntimeError):
    """A host did not come up. The message has the end of what it printed."""


def server(root: Path, modules: Iterable[str], log: Path) -> socket.socket:
    """A connection to a fresh server for the project at `root`, with the modules imported, that prints into `log`."""
    greeting = {
        "root": str(root), "modules": sorted(modules), "log": str(log), "environment": {**os.environ, **ENVIRONMENT},
    }  # fmt: skip
    connection = _connect()
    connection.sendall(json.dumps(greeting).encode() + b"\n")
    return connection


def warm_minutes() -> float:
    """How long a host may outlive this command; 0 for not at all."""
    return 0.0 if os.environ.get("CI") else float(os.environ.get(WARM) or 0)


def stop_warm() -> int:
    """End the warm hosts of this user, of all environments; return how many there were."""
    stopped = 0
    for path in warm_folder().glob("*.host"):
        with suppress(OSError):
            _dial(path).sendall(b'{"stop": true}\n')
            stopped += 1
        path.unlink(missing_ok=True)
    return stopped


def _connect() -> socket.socket:
    if kept := os.environ.get(KEPT):
        with suppress(OSError):
            return _dial(Path(kept))
    if minutes := warm_minutes():
        path = warm_folder() / f"{kind()}.host"
        with FileLock(path.with_suffix(".lock")):
            return _dial_or_start(path, lambda: start(path, minutes, shared=True))
    return _connect_private()


def private_host() -> Path:
    """The socket of this process's own host, started if need be: what CROSSEXAM_HOST may name for its children."""
    _connect_private().close()
    return _private_path()


def _connect_private() -> socket.socket:
    path = _private_path()
    return _dial_or_start(path, lambda: start(path, 0.0))


@functools.cache
def _private_path() -> Path:
    scratch = Scratch(_short(tempfile.gettempdir()))
    atexit.register(scratch.remove)
    return scratch.folder / "host"


def _dial_or_start(path: Path, begin: Callable[[], None]) -> socket.socket:
    try:
        return _dial(path)
    except OSError:
        path.unlink(missing_ok=True)
        begin()
        return _dial(path)


def _dial(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def start(path: Path, minutes: float, *, shared: bool = False) -> None:
    """Start a host that listens at `path`, and wait until it does. Not shared, it ends when this process does.

    Raises NoHost.
    """
    log = path.with_suffix(".log")
    here = str(Path(__file__).resolve().parents[2])
    known = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    ours, theirs = (-1, -1) if shared else _lifeline()
    command = [sys.executable, "-m", "crossexam.runs.forkserver", str(path), str(minutes), str(theirs)]
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command, env={**os.environ, **ENVIRONMENT, "PYTHONPATH": known}, stdin=subprocess.DEVNULL, stdout=printed,
            stderr=printed, start_new_session=True, cwd="/", pass_fds=() if shared else (theirs,),
        )  # fmt: skip
    if not shared:
        os.close(theirs)
        atexit.register(_end, process, ours)
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoHost(f"the host of fork servers did not start: {log.read_text(errors='replace').strip()[-300:]}")
        time.sleep(0.005)


def _lifeline() -> tuple[int, int]:
    """(write end for us, read end for the host): it reads the end of the file when we are gone, however we went."""
    theirs, ours = os.pipe()
    return ours, theirs


def _end(process: subprocess.Popen[bytes], lifeline: int) -> None:
    os.close(lifeline)
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def warm_folder() -> Path:
    """The folder of warm hosts. Raises NoHost where it is not this user's alone."""
    base = _short(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = Path(base) / f"crossexam-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoHost(f"{folder} can be opened by others: remove it, or go without --warm")
    return folder


def _short(folder: str) -> str:
    """A folder whose files may be sockets: their paths have room for 108 bytes, in which some folders do not fit."""
    return folder if len(os.fsencode(folder)) <= LONGEST else "/tmp"


def kind() -> str:
    """A digest of what a host is made of: Python, environment, the variables that shape libraries, the harness."""
    shaping = {name: value for name, value in os.environ.items() if name.startswith(SHAPING)}
    parts = [sys.executable, sys.prefix, sys.version, json.dumps(shaping, sort_keys=True)]
    parts += [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in SERVING]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
