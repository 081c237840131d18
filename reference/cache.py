"""What need not be computed twice: digests of files that were not touched. Imports no NumPy.

They lie in the user's cache folder beside the data. Files appear whole or not at all, whoever else writes at the same
time; where the cache cannot be written, everything works, only slower.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

RACY_SECONDS = 2.0
"""A file younger than this might change again within the resolution of its time stamps."""

Digest = tuple[str, int]
Book = dict[str, list[Any]]

_known: dict[tuple[Path, str], tuple[list[int], Digest]] = {}
_books: dict[Path, Book] = {}
_trusting = True


def root() -> Path:
    """The user's cache folder of this project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossexam"


@contextmanager
def digests(folder: Path) -> Iterator[None]:
    """Within it, digests of files below `folder` are taken from, and added to, what earlier processes found."""
    if folder in _books:
        yield
        return
    path = root() / "digests" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"
    book: Book = {}
    if _trusting:
        with suppress(OSError, ValueError):
            book = json.loads(path.read_text("utf-8"))
    before = dict(book)
    _books[folder] = book
    try:
        yield
    finally:
        del _books[folder]
        if book != before:
            write_whole(path, lambda stream: stream.write(json.dumps(book).encode()))


def remembered(path: Path, kind: str, compute: Callable[[], Digest]) -> Digest:
    """`compute()`, or what it gave earlier for the same untouched file."""
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    if (path, kind) in _known and _known[path, kind][0] == stamp:
        return _known[path, kind][1]
    book, name = next(((b, f"{kind} {path.relative_to(f)}") for f, b in _books.items() if f in path.parents), ({}, ""))
    noted = book.get(name)
    if noted is not None and noted[:-2] == stamp:
        digest: Digest = (str(noted[-2]), int(noted[-1]))
    else:
        digest = compute()
        if time.time() - max(stat.st_mtime, stat.st_ctime) > RACY_SECONDS:
            book[name] = [*stamp, *digest]
    _known[path, kind] = (stamp, digest)
    return digest


def distrust() -> None:
    """From here on, this process digests every file itself once."""
    global _trusting
    _trusting = False
    _known.clear()


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> bool:
    """Write a file and put it in place; False, and no trace, where that is not possible."""
    scratch = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
            scratch = stream.name
            write(stream)
        Path(scratch).replace(path)
    except OSError:
        if scratch:
            Path(scratch).unlink(missing_ok=True)
        return False
    return True
