"""Temporary folders that do not outlive their process for long, even where that is killed: the next one sweeps them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX, OWNER = "crossexam-", "owner"
GRACE = 60.0
"""Seconds in which a new folder may still be without its lock, and children of a killed run still write."""


class Scratch:
    """A folder that this process owns: it holds a lock on a file in it, which the kernel frees with the process."""

    def __init__(self, within: str | None = None) -> None:
        within = within or tempfile.gettempdir()
        sweep(within)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=within))
        self._lock = os.open(self.folder / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        os.close(self._lock)
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(within: str) -> None:
    """Remove the folders of this user whose processes are gone."""
    for owner in Path(within).glob(f"{PREFIX}*/{OWNER}"):
        with suppress(OSError):
            found = owner.stat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > GRACE and _abandoned(owner):
                shutil.rmtree(owner.parent, ignore_errors=True)


def _abandoned(owner: Path) -> bool:
    lock = os.open(owner, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
