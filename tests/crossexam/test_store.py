"""The store keeps what it was given, whatever happens around it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from crossexam.runs.rows import Row, canonical, digest
from crossexam.runs.store import MIGRATIONS, Store, StoreError
from tests.conftest import ROOT, Sandbox


def row(seed: int = 0, **changes: object) -> Row:
    values = {
        "paper": "toy", "experiment": "e", "arm": "method", "seed": seed, "params": {}, "tier": "exact", "subject": f"s{seed}",
        "setting": "here", "fingerprint": f"{seed:032x}", "device": "cpu", "health": "done", "metrics": {"m": 0.1 + seed},
    }  # fmt: skip
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add(row(0, metrics={"m": 0.1 + 0.2, "list": [1e-300, 2.0]}), {"torch": "2"})
    with Store(tmp_path) as store:
        assert store.rows("toy") == [row(0, metrics={"m": 0.1 + 0.2, "list": [1e-300, 2.0]})]
        assert store.done(row(0).fingerprint) is not None
        assert store.done("f" * 32) is None


def test_rows_of_an_older_schema_are_read_and_stay_who_they_are(tmp_path: Path) -> None:
    """Schema 1 had no `registered`: what its trials' rules were is unknown, and importing twice does not double them."""
    record = {name: value for name, value in row(0).as_json().items() if name != "registered"} | {"schema": 1}
    old = Row.from_json(record)
    assert old.registered == {}
    assert old.id == digest({name: value for name, value in record.items() if name != "schema"})
    line = canonical({"kind": "row", **record})
    with Store(tmp_path) as store:
        assert [store.load([line], "x").new for _ in range(2)] == [1, 0]
    assert row(0, registered={"c": "s"}).id != row(0).id


def test_the_newest_row_of_each_trial_and_setting_is_current(tmp_path: Path) -> None:
    """What judging looks at: neither older repetitions nor rows of other code."""
    there = {"setting": "there", "fingerprint": "f" * 32}
    rows = [
        row(0, seconds=1.0), row(0, seconds=2.0), row(0, seconds=3.0, health="error", cause="killed"),
        row(0, seconds=4.0, **there), row(1, health="timeout"), row(2, subject="of other code"), row(3, paper="other"),
    ]  # fmt: skip
    with Store(tmp_path) as store:
        for one in rows:
            store.add(one)
        found = store.current_rows("toy", ["s0", "s1", "s3"])
        assert found == [rows[1], rows[2], rows[3], rows[4]]
        assert store.current_rows("toy", []) == []
        assert store.rows("toy", "other") == rows
        assert store.rows("other") == rows[6:]


def test_many_fingerprints_are_one_question(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for one in (row(0), row(0, seconds=2.0), row(1, health="error", cause="x")):
            store.add(one)
        asked = [row(seed).fingerprint for seed in range(5000)]
        assert store.finished(asked) == {row(0).fingerprint}
        assert store.done_rows(asked) == {row(0).fingerprint: row(0, seconds=2.0)}
        assert store.finished([]) == set()


def test_a_verdict_is_appended_when_it_differs_from_the_last(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add_verdicts("toy", [("a", "s1", "reproduced", {"p": 0.1}), ("b", "s1", "inconclusive", {})])
        store.add_verdicts("toy", [("a", "s1", "reproduced", {"p": 0.1}), ("b", "s2", "inconclusive", {})])
        store.add_verdicts("other", [("a", "s1", "reproduced", {"p": 0.1})])
        store.add_verdicts("toy", [("b", "s1", "inconclusive", {})])
        kept = [(one["claim"], one["series"]) for one in store.verdict_history("toy")]
        assert kept == [("a", "s1"), ("b", "s1"), ("b", "s2"), ("b", "s1")]
        assert store.series("toy") == {"a": "s1", "b": "s1"}


def test_rows_are_append_only(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add(row())
    connection = sqlite3.connect(tmp_path / "crossexam.sqlite")
    for statement in ("UPDATE rows SET health = 'done'", "DELETE FROM rows"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_export_and_import_do_not_double(tmp_path: Path) -> None:
    with Store(tmp_path / "a") as store:
        store.add(row(0))
        store.add(row(1))
        lines = list(store.export().lines())
    with Store(tmp_path / "b") as store:
        store.add(row(1))
        first, again = store.load(lines, "x"), store.load(lines, "x")
        assert (first.new, first.known, again.new, again.known) == (1, 1, 0, 2)
        assert sorted(found.seed for found in store.rows()) == [0, 1]


@pytest.mark.parametrize(
    "bad", ["{", '{"kind": "row", "schema": 99}', '{"kind": "verse"}', "[1]", '{"kind": "row", "schema": 1}']
)
def test_bad_import_names_the_line_and_imports_nothing(tmp_path: Path, bad: str) -> None:
    with Store(tmp_path) as store:
        good = json.dumps({"kind": "row", **row().as_json()})
        with pytest.raises(StoreError, match="x:2"):
            store.load([good, bad], "x")
        assert store.rows() == []


def test_corrupt_database_is_kept_aside(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add(row())
    (tmp_path / "crossexam.sqlite").write_bytes(b"this is no database " * 100)
    with Store(tmp_path) as store:
        assert "corrupt" in store.note
        assert store.rows() == []
        store.add(row())
    kept = list(tmp_path.glob("crossexam.corrupt-*.sqlite"))
    assert len(kept) == 1
    assert kept[0].read_bytes().startswith(b"this is no database")


def test_older_schema_is_migrated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        store.add(row())
    monkeypatch.setattr("crossexam.runs.store.MIGRATIONS", (*MIGRATIONS, "ALTER TABLE verdicts ADD COLUMN note TEXT;"))
    with Store(tmp_path) as store:
        assert store.rows() == [row()]
    connection = sqlite3.connect(tmp_path / "crossexam.sqlite")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    connection.close()
    assert (tmp_path / f"crossexam.schema-{len(MIGRATIONS)}.sqlite").is_file()


def test_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        store.add(row())
    with monkeypatch.context() as patch:
        patch.setattr(
            "crossexam.runs.store.MIGRATIONS", (*MIGRATIONS, "ALTER TABLE verdicts ADD COLUMN x;\nCREATE NONSENSE;")
        )
        with pytest.raises(StoreError):
            Store(tmp_path)
    with Store(tmp_path) as store:
        assert store.rows() == [row()]


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "crossexam.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="upgrade crossexam"):
        Store(tmp_path)


def test_locks_exclude_other_processes_and_die_with_them(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from crossexam.runs.store import Store\n"
        "store = Store(Path(sys.argv[1])); print(store.lock('ab' * 16), flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    with Store(tmp_path) as store:
        assert not store.lock("ab" * 16)
        assert store.lock("cd" * 16)
        other.kill()
        other.wait()
        assert store.lock("ab" * 16)


def test_two_runs_at_once_share_the_work(sandbox: Sandbox) -> None:
    toml = (
        '[paper]\ntitle = "t"\narxiv = "0"\nfield = "losses"\nsummary = "s"\n[experiment.e]\ntier = "exact"\nseeds = 6\n'
        '[[experiment.e.claim]]\nid = "c"\nsays = "s"\nwhere = "w"\nprovenance = "derived"\n\n'
        'rule = { kind = "exact", metric = "m", target = 1 }\n'
    )
    sandbox.suite(toml, "import time\n\n\ndef e(*, arm, seed, device):\n    time.sleep(0.5)\n    return {'m': 1.0}\n")
    command, environment = sandbox.command("run", "toy", "--jobs", "1"), sandbox.environment()
    runs = [
        subprocess.Popen(
            command, cwd=sandbox.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for run in runs:
        out, error = run.communicate(timeout=120)
        assert run.returncode == 0, error
        assert "1 reproduced" in out
    with Store(sandbox.root / "results") as store:
        assert sorted(found.seed for found in store.rows("toy")) == list(range(6))


def fill(store: Store) -> None:
    for seed in range(1, 1000):
        store.add(row(seed, tail="x" * 4000))


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small tmpfs needs root on Linux")
def test_full_disk_is_a_clear_error_and_keeps_what_was_there(sandbox: Sandbox) -> None:
    disk = sandbox.root / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this sandbox may not mount a tmpfs")
    try:
        store = Store(disk / "results")
        store.add(row(0))
        with pytest.raises(StoreError, match=r"full|disk I/O"):
            fill(store)
        kept = len(store.rows())
        store.close()
        assert kept >= 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
