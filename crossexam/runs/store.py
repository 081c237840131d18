"""Where rows are kept: SQLite in WAL mode, append-only, safe to kill at any moment and to share between runs."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossexam.runs.rows import Row, canonical, digest

CREATE = """
CREATE TABLE rows (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, paper TEXT NOT NULL, experiment TEXT NOT NULL,
    fingerprint TEXT NOT NULL, health TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX rows_by_paper ON rows (paper, experiment);
CREATE INDEX rows_by_fingerprint ON rows (fingerprint);
CREATE TABLE texts (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE verdicts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, paper TEXT NOT NULL, claim TEXT NOT NULL,
    series TEXT NOT NULL, verdict TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TRIGGER rows_are_facts BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'rows are append-only'); END;
CREATE TRIGGER rows_stay BEFORE DELETE ON rows BEGIN SELECT RAISE(ABORT, 'rows are append-only'); END;
CREATE TRIGGER verdicts_are_facts BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END;
CREATE TRIGGER verdicts_stay BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END;
"""
AUDITS = """
CREATE TABLE audits (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, paper TEXT NOT NULL, body TEXT NOT NULL);
CREATE TRIGGER audits_are_facts BEFORE UPDATE ON audits BEGIN SELECT RAISE(ABORT, 'audits are append-only'); END;
CREATE TRIGGER audits_stay BEFORE DELETE ON audits BEGIN SELECT RAISE(ABORT, 'audits are append-only'); END;
"""
NIGHTS = """
CREATE TABLE nights (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, body TEXT NOT NULL);
CREATE TRIGGER nights_are_facts BEFORE UPDATE ON nights BEGIN SELECT RAISE(ABORT, 'nights are append-only'); END;
CREATE TRIGGER nights_stay BEFORE DELETE ON nights BEGIN SELECT RAISE(ABORT, 'nights are append-only'); END;
"""
BUILDS = """
CREATE TABLE builds (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, paper TEXT NOT NULL, artifact TEXT NOT NULL, device TEXT NOT NULL,
    seconds REAL NOT NULL
);
CREATE TRIGGER builds_are_facts BEFORE UPDATE ON builds BEGIN SELECT RAISE(ABORT, 'builds are append-only'); END;
CREATE TRIGGER builds_stay BEFORE DELETE ON builds BEGIN SELECT RAISE(ABORT, 'builds are append-only'); END;
"""
MIGRATIONS: tuple[str, ...] = (CREATE, AUDITS, NIGHTS, BUILDS)
"""MIGRATIONS[n] takes a database of version n to version n + 1. An empty database has version 0."""


class StoreError(Exception):
    """The results cannot be kept or read. The message says what to do."""


Builds = dict[tuple[str, str, str], float]
"""{(paper, artifact, device class): seconds that building it took, the last time}."""


@dataclass(frozen=True)
class Export:
    """What a file that `export` wrote holds."""

    rows: list[Row]
    texts: dict[str, Any]
    """Environments, by the digest that rows name."""
    builds: Builds

    def lines(self) -> Iterator[str]:
        """JSON Lines, as `read_export` reads them."""
        for key in sorted({row.environment for row in self.rows if row.environment}):
            yield canonical({"kind": "environment", "id": key, "body": self.texts.get(key, {})})
        for (paper, artifact, device), seconds in sorted(self.builds.items()):
            yield canonical(
                {"kind": "build", "paper": paper, "artifact": artifact, "device": device, "seconds": seconds}
            )
        for row in self.rows:
            yield canonical({"kind": "row", **row.as_json()})


@dataclass(frozen=True)
class ImportCount:
    """What an import did."""

    new: int
    known: int


class Store:
    """The rows below one folder. `note` is set where the store had to do something that a person should know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "crossexam.sqlite"
        self.note = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
            self._locks = os.open(folder / "crossexam.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot keep results in {folder} ({error}): make it writable, or set CROSSEXAM_RESULTS"
            ) from error

    def close(self) -> None:
        self._connection.close()
        os.close(self._locks)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._prepare()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a subclass: locked, read-only, full, a bad migration; the database itself is sound
            aside = self.file.with_name(f"crossexam.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S}.sqlite")
            self.file.rename(aside)
            for suffix in ("-wal", "-shm"):
                companion = self.file.with_name(self.file.name + suffix)
                if companion.exists():
                    companion.rename(aside.with_name(aside.name + suffix))
            self.note = f"the database was corrupt ({error}); it is kept as {aside.name}, and a new one was started"
            return self._prepare()

    def _prepare(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=30, isolation_level=None)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            connection.close()
            raise StoreError(
                f"{self.file} is of schema {version}, this version of crossexam knows {len(MIGRATIONS)}: "
                "upgrade crossexam, or set CROSSEXAM_RESULTS to another folder"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if version < len(MIGRATIONS):
            self._migrate(connection, version)
        return connection

    def _migrate(self, connection: sqlite3.Connection, version: int) -> None:
        if version:  # keep what was there: a migration is the one thing that rewrites
            with sqlite3.connect(self.file.with_name(f"crossexam.schema-{version}.sqlite")) as copy:
                connection.backup(copy)
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]  # another run may have been faster
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise StoreError(f"cannot write to {self.file}: {error}") from error

    def add(self, row: Row, *texts: Mapping[str, Any]) -> None:
        """Append a row, and the texts (environment, code closure) whose digests it names."""
        self._append([row], {digest(text): text for text in texts})

    def _append(self, rows: Iterable[Row], texts: Mapping[str, Any]) -> int:
        new = 0
        with self._transaction() as connection:
            for key, text in texts.items():
                connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (key, canonical(text)))
            for row in rows:
                values = (row.id, row.paper, row.experiment, row.fingerprint, row.health, canonical(row.as_json()))
                cursor = connection.execute(
                    "INSERT OR IGNORE INTO rows VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                    values,
                )
                new += cursor.rowcount
        return new

    def rows(self, *papers: str) -> list[Row]:
        """All rows, or those of some papers, oldest first."""
        chosen = f" WHERE paper IN ({', '.join('?' * len(papers))})" if papers else ""
        found = self._connection.execute(f"SELECT body FROM rows{chosen} ORDER BY seq", papers)
        return [Row.from_json(json.loads(body)) for (body,) in found]

    def mark(self, paper: str) -> str:
        """How far the rows of a paper have come: another mark means that there are others."""
        query = "SELECT count(*), ifnull(max(seq), 0) FROM rows WHERE paper = ?"
        return ":".join(map(str, self._connection.execute(query, (paper,)).fetchone()))

    def current_rows(self, paper: str, subjects: Collection[str]) -> list[Row]:
        """What is known of some subjects: of each setting the newest row, and the newest finished one, oldest first."""
        query = (
            "SELECT body FROM rows WHERE seq IN "
            "(SELECT max(seq) FROM rows WHERE paper = ? GROUP BY fingerprint, health = 'done') "
            "AND json_extract(body, '$.subject') IN (SELECT value FROM json_each(?)) ORDER BY seq"
        )
        found = self._connection.execute(query, (paper, json.dumps(list(subjects))))
        return [Row.from_json(json.loads(body)) for (body,) in found]

    def measured(self, paper: str) -> set[tuple[str, int]]:
        """(experiment, seed) of all finished rows of a paper, of whatever code."""
        query = "SELECT DISTINCT experiment, json_extract(body, '$.seed') FROM rows WHERE paper = ? AND health = 'done'"
        return {(experiment, seed) for experiment, seed in self._connection.execute(query, (paper,))}

    def finished(self, fingerprints: Iterable[str]) -> set[str]:
        """Those for which there is a finished row."""
        query = (
            "SELECT DISTINCT fingerprint FROM rows "
            "WHERE health = 'done' AND fingerprint IN (SELECT value FROM json_each(?))"
        )
        return {found for (found,) in self._connection.execute(query, (json.dumps(list(fingerprints)),))}

    def tried(self, fingerprints: Iterable[str]) -> set[str]:
        """Those for which there is a row, finished or not."""
        query = "SELECT DISTINCT fingerprint FROM rows WHERE fingerprint IN (SELECT value FROM json_each(?))"
        return {found for (found,) in self._connection.execute(query, (json.dumps(list(fingerprints)),))}

    def done_rows(self, fingerprints: Iterable[str]) -> dict[str, Row]:
        """The newest finished row of each fingerprint that has one."""
        query = (
            "SELECT body FROM rows WHERE seq IN (SELECT max(seq) FROM rows WHERE health = 'done' "
            "AND fingerprint IN (SELECT value FROM json_each(?)) GROUP BY fingerprint)"
        )
        found = self._connection.execute(query, (json.dumps(list(fingerprints)),))
        rows = (Row.from_json(json.loads(body)) for (body,) in found)
        return {row.fingerprint: row for row in rows}

    def done(self, fingerprint: str) -> Row | None:
        """The newest finished row with that fingerprint."""
        return self.done_rows([fingerprint]).get(fingerprint)

    def text(self, key: str) -> dict[str, Any]:
        """A text that rows name by its digest; empty where it is unknown (rows imported without it)."""
        found = self._connection.execute("SELECT body FROM texts WHERE id = ?", (key,)).fetchone()
        return json.loads(found[0]) if found else {}

    def add_build(self, paper: str, artifact: str, device: str, seconds: float) -> None:
        """Note what building an artifact took."""
        with self._transaction() as connection:
            values = (paper, artifact, device, round(seconds, 2))
            connection.execute("INSERT INTO builds (paper, artifact, device, seconds) VALUES (?, ?, ?, ?)", values)

    def builds(self, *papers: str) -> Builds:
        """What building the artifacts of all papers, or of some, took the last time."""
        chosen = f" WHERE paper IN ({', '.join('?' * len(papers))})" if papers else ""
        query = f"SELECT paper, artifact, device, seconds FROM builds{chosen} ORDER BY seq"
        found = self._connection.execute(query, papers)
        return {(paper, artifact, device): seconds for paper, artifact, device, seconds in found}

    def add_verdicts(self, paper: str, verdicts: Iterable[tuple[str, str, str, Mapping[str, Any]]]) -> None:
        """Append (claim, series, verdict, body) each, unless it repeats the last one of its claim."""
        query = "SELECT claim, series, verdict, body FROM verdicts WHERE paper = ? ORDER BY seq"
        last = {claim: tuple(record) for claim, *record in self._connection.execute(query, (paper,))}
        records = [(claim, series, verdict, canonical(body)) for claim, series, verdict, body in verdicts]
        if new := [record for record in records if last.get(record[0]) != record[1:]]:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            with self._transaction() as connection:
                connection.executemany(
                    "INSERT INTO verdicts (at, paper, claim, series, verdict, body) VALUES (?, ?, ?, ?, ?, ?)",
                    [(at, paper, *record) for record in new],
                )

    def series(self, paper: str) -> dict[str, str]:
        """The series of each claim's last verdict."""
        query = "SELECT claim, series FROM verdicts WHERE paper = ? ORDER BY seq"
        return dict(self._connection.execute(query, (paper,)))

    def last_verdicts(self, paper: str) -> dict[str, dict[str, Any]]:
        """What each claim's last judgement found, with its day (`at`), `series` and `verdict`."""
        query = "SELECT claim, at, series, verdict, body FROM verdicts WHERE paper = ? ORDER BY seq"
        return {
            claim: {**json.loads(body), "at": at, "series": series, "verdict": verdict}
            for claim, at, series, verdict, body in self._connection.execute(query, (paper,))
        }

    def verdict_history(self, paper: str) -> list[dict[str, str]]:
        """All recorded verdicts of a paper, oldest first."""
        query = "SELECT at, claim, series, verdict FROM verdicts WHERE paper = ? ORDER BY seq"
        names = ("at", "claim", "series", "verdict")
        return [dict(zip(names, entry, strict=True)) for entry in self._connection.execute(query, (paper,))]

    def add_audit(self, paper: str, at: str, body: Mapping[str, Any]) -> None:
        """Append what an audit found."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO audits (at, paper, body) VALUES (?, ?, ?)", (at, paper, canonical(body)))

    def audit(self, paper: str) -> dict[str, Any] | None:
        """What the last audit of a paper found."""
        query = "SELECT body FROM audits WHERE paper = ? ORDER BY seq DESC LIMIT 1"
        found = self._connection.execute(query, (paper,)).fetchone()
        return json.loads(found[0]) if found else None

    def add_night(self, at: str, body: Mapping[str, Any]) -> None:
        """Append what a night found."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO nights (at, body) VALUES (?, ?)", (at, canonical(body)))

    def nights(self) -> list[dict[str, Any]]:
        """What all nights found, oldest first."""
        return [json.loads(body) for (body,) in self._connection.execute("SELECT body FROM nights ORDER BY seq")]

    def lock(self, fingerprint: str) -> bool:
        """Take a trial for this process, or learn that another run has it. The kernel frees it if we die."""
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._offset(fingerprint))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(self, fingerprint: str) -> None:
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, self._offset(fingerprint))

    @staticmethod
    def _offset(fingerprint: str) -> int:
        return int(fingerprint[:15], 16)  # below 2**60: one byte of a file that stays empty

    def export(self, *papers: str) -> Export:
        """All rows, or those of some papers, with the environments that they name and what their artifacts took."""
        rows = self.rows(*papers)
        texts = {row.environment: self.text(row.environment) for row in rows if row.environment}
        return Export(rows, texts, self.builds(*papers))

    def load(self, lines: Iterable[str], name: str) -> ImportCount:
        """Import what `export` wrote; rows that are here already are counted, not doubled. All or nothing."""
        export = read_export(lines, name)
        new = self._append(export.rows, export.texts)
        known = self.builds()
        for key, seconds in export.builds.items():
            if known.get(key) != seconds:
                self.add_build(*key, seconds)
        return ImportCount(new, len(export.rows) - new)


def read_export(lines: Iterable[str], name: str) -> Export:
    """What a file holds that was exported. Raises StoreError with the line of what is wrong.

    Its lines end with "\\n" alone: `str.splitlines` would cut a row at a U+2028 in what a trial printed.
    """
    rows: list[Row] = []
    texts: dict[str, Any] = {}
    builds: Builds = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            kind = record.pop("kind")
            if kind == "row":
                rows.append(Row.from_json(record))
            elif kind == "environment":
                texts[record["id"]] = record["body"]
            elif kind == "build":
                builds[record["paper"], record["artifact"], record["device"]] = float(record["seconds"])
            else:
                raise ValueError(f"a record of kind {kind!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{name}:{number}: not a row that `crossexam export` wrote: {error}") from error
    return Export(rows, texts, builds)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
