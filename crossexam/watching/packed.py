"""A pack on the machine that it was made for: unpacked, verified, run in its order, its rows written as they come."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossexam.facts.project import find_paper
from crossexam.runs.costs import Costs
from crossexam.runs.executors import Executor, LocalExecutor
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.runner import Listener, Progress, Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Export, Store, StoreError, read_export
from crossexam.watching.choice import costs_of
from crossexam.watching.pack import SCHEMA, PackError
from reference.catalog import CHUNK, DataError, content_digest, get


@dataclass(frozen=True)
class Outcome:
    """What a machine did with a pack."""

    done: int
    failed: tuple[str, ...]
    blocked: tuple[str, ...]
    """What trials lack here, each reason once."""
    left: int
    """Trials that there was no time for."""
    strangers: int
    """Trials of the pack that the code and data here would not run: they are others."""


def read(folder: Path) -> dict[str, Any]:
    """What pack.json says. Raises PackError where it is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        known = found["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{folder} holds no pack ({error}): `crossexam pack PAPER -o FOLDER` makes one") from error
    if not known:
        raise PackError(f"{folder} holds a pack of schema {found['schema']}; this code reads {SCHEMA}: pack it again")
    return found


def unpack(folder: Path, pack: dict[str, Any]) -> None:
    """Put the data in place and verify it. Raises DataError for what is not as it was packed."""
    for file in pack["files"]:
        path, stored = folder / file["path"], folder / file["stored"]
        if path != stored and not path.is_file():
            part = path.with_name(path.name + ".part")
            with lzma.open(stored) as source, _opened(path, part) as target:
                shutil.copyfileobj(source, target, CHUNK)
            part.replace(path)
        if content_digest(path)[0] != file["content"]:
            raise DataError(f"{path} is not what was packed: copy the pack again")
    for name in pack["fetched"]:
        entry = get(name)
        place = folder / "data" / (entry.folder or entry.name)
        entry.manifest(place).write_text(json.dumps(entry.describe(place)), "utf-8")


def _opened(path: Path, part: Path) -> Any:
    return gzip.open(part, "wb", compresslevel=1) if path.suffix == ".gz" else part.open("wb")


def work(
    folder: Path, pack: dict[str, Any], project: Project, store: Store, rows: Path, *, until: float, jobs: int,
    listener: Listener, note: Callable[[str], None],
) -> Outcome:  # fmt: skip
    """Run the trials of a pack in its order until a time (of `time.monotonic`); `rows` has each as it ends."""
    known = (folder / "known.jsonl").read_text(encoding="utf-8").split("\n")
    store.load(known, "known.jsonl")
    brought = {row.id for row in read_export(known, "known.jsonl").rows}
    trials: list[Trial] = []
    wanted = 0
    papers = {slug: find_paper(project.root, slug) for slug in {one["paper"] for one in pack["runs"]}}
    for one in pack["runs"]:
        subjects = set(one["subjects"])
        planned = plan(papers[one["paper"]], project, Selection(keyword=one["experiment"]))
        trials += [trial for trial in planned if trial.subject in subjects]
        wanted += len(subjects)
    note(f"{len(trials)} trials; {max(until - time.monotonic(), 0) / 60:.1f} minutes")
    runnable = [trial for trial in trials if not trial.blocked]
    sink = Sink(rows, store)
    for row in store.rows(*papers):  # of an earlier run of this pack, which goes on here
        if row.id not in brought:
            sink.add(row)

    def heard(progress: Progress) -> None:
        if progress.last is not None:
            sink.add(progress.last)
        listener(progress)

    def start(modules: set[str]) -> Executor:
        return LocalExecutor(project.root, modules, jobs)

    costs: Costs = costs_of(list(papers.values()), project, store)
    try:
        found = Runner(store, project, start, heard, until=until, costs=costs, in_order=True).run(runnable)
    finally:
        sink.close(*papers)
    failed = tuple(f"{row.name}: {row.cause}" for row in found if row.health != "done")
    reasons = dict.fromkeys(trial.blocked for trial in trials if trial.blocked)
    done = sum(row.health == "done" for row in found)
    return Outcome(done, failed, tuple(reasons), len(runnable) - len(found), wanted - len(trials))


class Sink:
    """A file of rows that is whole at every moment: a line at a time, and what building artifacts took at the end."""

    def __init__(self, file: Path, store: Store) -> None:
        self._file, self._store = file, store
        self._rows: dict[str, Row] = {}
        self._environments: set[str] = set()
        try:
            self._out = file.open("w", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {file}: {error}") from error

    def add(self, row: Row) -> None:
        """Write a row, unless it was written."""
        if row.id in self._rows:
            return
        self._rows[row.id] = row
        if row.environment and row.environment not in self._environments:
            self._environments.add(row.environment)
            body = self._store.text(row.environment)
            self._out.write(canonical({"kind": "environment", "id": row.environment, "body": body}) + "\n")
        self._out.write(canonical({"kind": "row", **row.as_json()}) + "\n")
        self._out.flush()

    def close(self, *papers: str) -> None:
        """Write the whole once more, as `export` does."""
        self._out.close()
        texts = {key: self._store.text(key) for key in self._environments}
        export = Export(list(self._rows.values()), texts, self._store.builds(*papers))
        part = self._file.with_name(self._file.name + ".part")
        part.write_text("".join(f"{line}\n" for line in export.lines()), encoding="utf-8")
        part.replace(self._file)
