"""What a person sees of reference data: the catalogue, one set, and downloads."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crossexam.showing.terminal import table
from reference.catalog import DataError, catalog, get

if TYPE_CHECKING:
    from reference.catalog import DataSet


def data_sets(entries: Sequence[DataSet]) -> None:
    rows = [(entry.name, entry.state, "yes" if entry.available else "no", entry.title) for entry in entries]
    table(rows, ("data set", "state", "here", "title"))


def data_record(entry: DataSet) -> dict[str, Any]:
    try:
        checksum = entry.checksum()
    except DataError as error:
        checksum = str(error)
    return {
        "name": entry.name, "title": entry.title, "note": entry.note, "state": entry.state,
        "available": entry.available, "folder": str(entry.locate() or ""), "licence": entry.licence,
        "citation": entry.citation, "source": entry.source, "loader": entry.loader, "checksum": checksum,
        "urls": list(entry.urls), "wheel": entry.wheel.requirement if entry.wheel else "",
        "files": [file.name for file in entry.files], "obtain": "" if entry.available else entry.remedy,
    }  # fmt: skip


def verified(entry: DataSet) -> tuple[bool, str]:
    """Whether a set is here and what the catalogue says, and that in words."""
    from reference.soundness import check_format

    if entry.state == "bundled":
        return True, f"bundled with {entry.source}"
    try:
        folder = entry.require()
        for file in entry.files:
            if not file.known:
                check_format(folder / file.name)
    except DataError as error:
        return False, str(error)
    if all(file.known for file in entry.files):
        return True, "verified"
    if entry.identity and entry.checksum() == entry.identity:
        return True, f"untouched since it was fetched from what has {entry.identity}"
    return True, "present and readable; the catalogue has no checksum for all of it"


def fetch_sets(names: Iterable[str], *, offline: bool = False) -> tuple[dict[str, str], dict[str, str]]:
    """Fetch the sets of these names that are absent: ({name: its folder}, {name: why it is not to be had})."""
    from reference.fetch import fetch  # it brings urllib, zipfile and tarfile

    folders: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            with Fetching() as fetching:
                folder = fetch(name, offline=offline, progress=fetching.update)
            folders[name] = str(folder) if get(name).files else ""
        except DataError as error:
            missing[name] = str(error)
    return folders, missing


def fetch_missing(names: Iterable[str]) -> bool:
    """Fetch those sets that are absent and may be fetched; says what could not be. Returns whether any has come."""
    absent = [name for name in sorted(set(names) & catalog().keys()) if not catalog()[name].available]
    folders, missing = fetch_sets(name for name in absent if catalog()[name].state == "auto")
    for problem in missing.values():
        print(f"crossexam: {problem}", file=sys.stderr)
    return bool(folders)


class Fetching:
    """The display of downloads: a bar on a terminal, a line at each quarter elsewhere; nothing where none is."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> Fetching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, name: str, done: int, total: int | None) -> None:
        """Show how much of a file is here."""
        if not sys.stderr.isatty():
            quarter = 4 * done // total if total else 0
            if quarter > self._said.get(name, -1):
                self._said[name] = quarter
                size = f"{total / 1e6:.1f} MB" if total else "unknown size"
                print(f"{name}: {25 * quarter} % of {size}" if total else f"{name}: {size}", file=sys.stderr)
            return
        if self._bar is None:
            from rich.console import Console  # here: what only prints does not wait for it
            from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

            columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total)
        self._bar.update(self._tasks[name], completed=done, total=total)
