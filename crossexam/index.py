"""What was found out about texts once, kept by their content: nothing in it can be out of date.

An entry's name is a digest of all that it was made from: the texts, the code that read them, the version of Python. So
an edit makes a new entry and leaves the old one, and every project and branch of a user shares one index, in the cache
folder beside the data. It holds plain JSON. Entries appear whole or not at all, whoever else writes at the same time,
and each carries a digest of itself: a damaged one is made anew. Where the folder cannot be written, everything works,
only slower.

Entries lie in 256 folders with at most KEPT in each: those that were made first go.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from reference import cache

KEPT = 32
"""Of one folder. A project of 56 papers has some 700 entries in all, three to a folder."""


Hook = Callable[[dict[str, Any]], Any]


def remembered(made_from: Iterable[bytes], code: Iterable[str], make: Callable[[], Any]) -> Any:
    """What `make` returns, which JSON can hold, or returned when it was last called on the same.

    Args:
        made_from: all that it depends on. Their order and number count.
        code: files of the modules whose code it is made by (`__file__`).
    """
    name = name_of(made_from, code)
    found = recall(name)
    if found is None:
        found = make()
        keep(name, found)
    return found


def name_of(made_from: Iterable[bytes], code: Iterable[str]) -> str:
    """The name of the entry that is made from these texts by this code."""
    return digest([sys.version.encode(), *map(_source, code), *made_from])


def recall(name: str, hook: Hook | None = None) -> Any:
    """An entry; None where there is none, or none that is whole. `hook` is called with every JSON object in it."""
    try:
        written = _file(name).read_bytes()
    except OSError:
        return None
    seal, _, body = written.partition(b"\n")
    return json.loads(body, object_hook=hook) if seal.decode("ascii", "replace") == digest([body]) else None


def keep(name: str, value: Any) -> None:
    """Write an entry, if the folder can be written."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    file = _file(name)
    if cache.write_whole(file, lambda stream: stream.write(digest([body]).encode() + b"\n" + body)):
        with suppress(OSError):  # another process clears the folder, too
            entries = sorted(os.scandir(file.parent), key=lambda entry: entry.stat().st_mtime_ns)
            for entry in entries[:-KEPT]:
                Path(entry.path).unlink(missing_ok=True)


def digest(parts: Iterable[bytes]) -> str:
    """A digest of texts that depends on where one ends and the next begins."""
    total = hashlib.sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()[:40]


@functools.cache
def _source(file: str) -> bytes:
    """A digest of the text of a module of this program."""
    return digest([Path(file).read_bytes()]).encode()


def _file(name: str) -> Path:
    return cache.root() / "index" / name[:2] / name[2:]
