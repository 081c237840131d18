"""What a person sees of reference data: the catalogue, one set, and downloads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossexam.showing.show import PIPE_WIDTH, console

if TYPE_CHECKING:
    from reference.catalog import DataSet


def data_sets(entries: Sequence[DataSet]) -> None:
    table = Table("data set", "state", "here", "title", box=None, header_style="bold")
    for entry in entries:
        table.add_row(entry.name, entry.state, "yes" if entry.available else "no", escape(entry.title))
    console().print(table)


def data_record(entry: DataSet) -> dict[str, Any]:
    from reference.catalog import DataError

    try:
        checksum = entry.checksum()
    except DataError as error:
        checksum = str(error)
    return {
        "name": entry.name, "title": entry.title, "note": entry.note, "state": entry.state,
        "available": entry.available, "folder": str(entry.locate() or ""), "licence": entry.licence,
        "citation": entry.citation, "source": entry.source, "loader": entry.loader, "checksum": checksum,
        "urls": list(entry.urls),
        "files": [file.name for file in entry.files], "obtain": "" if entry.available else entry.remedy,
    }  # fmt: skip


def verified(entry: DataSet) -> tuple[bool, str]:
    """Whether a set is here and what the catalogue says, and that in words."""
    from reference.catalog import DataError

    if entry.state == "bundled":
        return True, f"bundled with {entry.source}"
    try:
        entry.require()
    except DataError as error:
        return False, str(error)
    if all(file.known for file in entry.files):
        return True, "verified"
    if entry.identity and entry.checksum() == entry.identity:
        return True, f"untouched since it was fetched from what has {entry.identity}"
    return True, "present; the catalogue has no checksum for all of it"


class Fetching:
    """The display of downloads: a bar on a terminal, a line at each quarter elsewhere; nothing where none is."""

    def __init__(self) -> None:
        self._out = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)
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
        if not self._out.is_terminal:
            quarter = 4 * done // total if total else 0
            if quarter > self._said.get(name, -1):
                self._said[name] = quarter
                size = f"{total / 1e6:.1f} MB" if total else "unknown size"
                self._out.print(f"{name}: {25 * quarter} % of {size}" if total else f"{name}: {size}", markup=False)
            return
        if self._bar is None:
            from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

            columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(*columns, console=self._out)
            self._bar.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(escape(name), total=total)
        self._bar.update(self._tasks[name], completed=done, total=total)
