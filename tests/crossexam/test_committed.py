"""Committed rows are evidence: they count where this machine has none, and every command says whose they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crossexam.judging.evidence import Group, speaking
from crossexam.runs.rows import Row
from tests.conftest import TOML, Sandbox

FILE = "results/reference/toy.cpu-x86_64.jsonl"


@pytest.fixture
def clone(toy: Sandbox) -> Sandbox:
    """A project as a fresh clone has it: one committed row, and none of this machine."""
    assert toy.run("run", "toy", CROSSEXAM_RESULTS="elsewhere").returncode == 0
    (toy.root / "results" / "reference").mkdir(parents=True)
    assert toy.run("export", "toy", "--current", "-o", FILE, CROSSEXAM_RESULTS="elsewhere").returncode == 0
    return toy


def as_elsewhere(clone: Sandbox, **changes: str) -> None:
    """Rewrite the committed row as one of another machine."""
    lines = [json.loads(line) for line in (clone.root / FILE).read_text().splitlines()]
    for line in lines:
        if line["kind"] == "environment":
            line["body"] |= {name: value for name, value in changes.items() if name == "cpu"}
        else:
            line |= {name: value for name, value in changes.items() if name != "cpu"}
    (clone.root / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_fresh_clone_shows_committed_verdicts_and_whose_they_are(clone: Sandbox) -> None:
    shown = clone.run("show", "toy").stdout
    assert "1 reproduced; all verdicts as expected." in shown
    assert "1 claim on rows that are committed (" in shown and "x86-64" in shown
    source = clone.json("judge", "toy")["claims"][0]["source"]
    assert (source["own"], source["committed"]) == (0, 1)
    assert clone.json("plan", "toy")[0]["state"] == "committed"
    assert "committed: measured on" in clone.run("why", "toy/sums").stdout
    assert clone.json("judge", "toy", CROSSEXAM_OWN="1")["claims"][0]["health"] == "not run"


def test_run_counts_what_is_committed_and_runs_it_when_told(clone: Sandbox) -> None:
    run = clone.run("run", "toy")
    assert run.returncode == 0 and "1 reproduced" in run.stdout
    assert run.stderr.startswith("nothing to run; 1 committed (x86-64, ")
    assert clone.json("judge", "toy")["claims"][0]["source"]["own"] == 0
    assert "[1/1] done toy/sums" in clone.run("run", "toy", "--own").stderr
    assert (
        clone.json("judge", "toy")["claims"][0]["source"] | {"own": 1, "committed": 0}
        == clone.json("judge", "toy")["claims"][0]["source"]
    )
    assert "[1/1] done toy/sums" in clone.run("run", "toy", "--fresh").stderr


def test_committed_rows_of_older_code_are_outdated(clone: Sandbox) -> None:
    clone.suite(method="def add(a, b):\n    return b + a\n")
    judged = clone.json("judge", "toy")["claims"][0]
    assert (judged["verdict"], judged["health"]) == (None, "outdated")
    assert "`crossexam run toy -k sums` measures it again" in judged["cause"]
    assert "1 outdated; no verdict yet." in clone.run("show", "toy").stdout
    assert "[1/1] done toy/sums" in clone.run("run", "toy").stderr


def test_rows_of_other_libraries_and_processors_are_evidence_and_not_run_again(clone: Sandbox) -> None:
    as_elsewhere(clone, cpu="Another", setting="f" * 32, fingerprint="e" * 32)
    assert clone.json("judge", "toy")["claims"][0]["source"]["processor"].startswith("Another")
    assert clone.run("run", "toy").stderr.startswith("nothing to run; 1 committed")
    # With one more seed the committed row does not cover the experiment, and rows of two processors are not compared.
    more = clone.run("run", "toy", "--seeds", "2")
    assert more.stderr.startswith("2 trials to run") and more.returncode == 0


def test_only_what_is_missing_runs_beside_rows_of_a_processor_like_this_one(clone: Sandbox) -> None:
    more = clone.run("run", "toy", "--seeds", "2")
    assert more.stderr.startswith("1 trial to run") and more.returncode == 0
    source = clone.json("judge", "toy", "--seeds", "2")["claims"][0]["source"]
    assert (source["own"], source["committed"]) == (1, 1)


def test_current_export_keeps_what_only_others_measured(clone: Sandbox) -> None:
    assert clone.run("export", "toy").stdout.count('"kind":"row"') == 0
    assert clone.run("export", "toy", "--current").stdout.count('"kind":"row"') == 1
    other = clone.run("export", "toy", "--current", "--device", "cuda-nvidia-h200")
    assert other.stdout.count('"kind":"row"') == 0 and "no row of the machine class" in other.stderr


def test_rows_of_a_gpu_say_nothing_of_an_experiment_without_one(clone: Sandbox) -> None:
    as_elsewhere(clone, device="cuda-nvidia-h200")
    assert clone.json("judge", "toy")["claims"][0]["verdict"] is None


def test_incomplete_is_neither_an_error_nor_blocked(toy: Sandbox) -> None:
    code = "def sums(*, seed):\n    return {'total': 4.0}\n"
    toy.suite(TOML.replace('tier = "exact"', 'tier = "exact"\nseeds = 4'), code)
    assert toy.run("run", "toy", "--seeds", "3").returncode == 0
    judged = toy.json("judge", "toy")["claims"][0]
    assert (judged["verdict"], judged["health"]) == (None, "incomplete")
    assert judged["cause"].startswith("3 of 4 trials of 'sums' are there")


def rows(count: int, where: str, setting: str = "s", health: str = "done") -> Iterator[Row]:
    for seed in range(count):
        yield Row(
            "toy", "e", "method", seed, {}, "small", f"subject {seed}", setting, f"{seed} {setting}", "cpu-x86_64",
            health, {"m": 1.0}, started="2026-11-26T00:00:00", environment=where,
        )  # type: ignore[arg-type]  # fmt: skip


PROCESSORS = {"here": "A", "there": "B"}


def chosen(own: list[Row], committed: list[Row]) -> Group:
    found = speaking(own, committed, 3, "s", PROCESSORS)
    assert found is not None
    return found


def test_who_speaks() -> None:
    theirs = list(rows(3, "there"))
    assert speaking([], [], 3, "s", PROCESSORS) is None
    assert chosen([], theirs).source.committed == 3
    assert chosen(list(rows(3, "here")), theirs).source.own == 3, "this machine's, where they are complete"
    begun = chosen(list(rows(2, "here")), theirs)
    assert (begun.processor, begun.source.own) == ("B", 0), "a run that has only begun does not hide them"
    assert chosen(list(rows(2, "here")), list(rows(2, "there"))).source.own == 2
    failed = [*rows(1, "here"), *(replace(row, seed=1, subject="subject 1") for row in rows(1, "here", health="error"))]
    assert chosen(failed, theirs).processor == "A", "who saw it fail here is told so"
    killed = [*rows(1, "here"), replace(failed[1], environment="")]
    assert len(chosen(killed, theirs).rows) == 2, "a killed trial has not told where it ran"


def test_rows_of_two_processors_are_never_one_group() -> None:
    mixed = [*rows(2, "here"), *(row for row in rows(3, "there") if row.seed == 2)]
    assert {row.environment for row in chosen([], mixed).rows.values()} == {"here"}
    like = chosen(list(rows(1, "here")), list(rows(3, "here")))
    assert (like.source.own, like.source.committed) == (1, 2), "equal to the bit: one group"
    newer = [replace(row, started="2026-11-27T00:00:00") for row in rows(3, "there")]
    assert chosen([], [*rows(3, "here", setting="old"), *newer]).source.day == "2026-11-27"


def test_a_gpu_row_counts_for_a_gpu_experiment_without_a_gpu(toy: Sandbox, tmp_path: Path) -> None:
    protocol = 'data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none"'
    needs = f'tier = "full"\nneeds = {{ gpu_memory_gib = 8 }}\nprotocol = {{ {protocol} }}'
    toy.suite(TOML.replace('tier = "exact"', needs))
    trial = toy.json("plan", "toy", PATH="")[0]
    assert trial["state"] == "blocked"
    exported = tmp_path / "fake.jsonl"
    toy.suite(TOML)
    assert toy.run("run", "toy", "-o", str(exported), CROSSEXAM_RESULTS="elsewhere").returncode == 0
    record = json.loads(exported.read_text().splitlines()[-1])
    toy.suite(TOML.replace('tier = "exact"', needs))
    (toy.root / "results" / "reference").mkdir(parents=True)
    (toy.root / "results/reference/toy.cuda-nvidia-h200.jsonl").write_text(
        json.dumps(record | {"device": "cuda-nvidia-h200", "setting": "f" * 32, "environment": ""}) + "\n"
    )
    assert toy.json("judge", "toy", PATH="")["claims"][0]["verdict"] == "reproduced"
    assert toy.json("plan", "toy", PATH="")[0]["state"] == "committed"
