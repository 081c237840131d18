"""Killed at any moment, a run goes on: no row is lost or doubled, and verdicts are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from crossexam.runs.rows import Row
from crossexam.runs.store import Store
from tests.conftest import Sandbox

TRIALS = 160
TOML = f"""
[paper]
title = "Many short trials"
arxiv = "0000.00000"
field = "losses"
summary = "Something to kill."

[artifact.base]
by = ["size"]

[experiment.draws]
tier = "exact"
arms = ["method", "base"]
seeds = {TRIALS // 4}
params = {{ size = [3, 4] }}
uses = ["base"]

[[experiment.draws.claim]]
id = "method-above-base"
says = "The method is above its baseline."
where = "nowhere"
provenance = "derived"
rule = {{ kind = "order", metric = "value", baseline = "base" }}
"""
CODE = """
import random
import time

import torch
from safetensors.torch import load_file


def base(*, size, device):
    time.sleep(0.3)
    return {"weights": torch.arange(float(size))}


def draws(*, arm, seed, device, size, base):
    time.sleep(0.2)
    return {"value": random.random() + 0.3 * (arm == "method") + float(load_file(base)["weights"].sum())}
"""
KILLS = 30


def server_of(runner: int) -> int | None:
    """The fork server that a runner has started."""
    return next(iter(children(runner)), None)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def start(sandbox: Sandbox) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        sandbox.command("run", "toy"), cwd=sandbox.root, env=sandbox.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def disturb(sandbox: Sandbox, generator: random.Random) -> list[str]:
    """Kill the runner, the server and workers of runs at random moments until KILLS have been made."""
    killed: list[str] = []
    while len(killed) < KILLS:
        assert not finished(sandbox), f"all trials were done after {len(killed)} kills: make them longer"
        process = start(sandbox)
        early = generator.random() < 0.25  # before torch is there, or anything runs
        while process.poll() is None and len(killed) < KILLS:
            server = server_of(process.pid)
            workers = children(server) if server else []
            if not workers and not early:
                time.sleep(0.02)
                continue
            time.sleep(generator.uniform(0, 0.5))
            target = generator.choices(["runner", "server", "worker"], [2, 1, 5])[0]
            pid = {"runner": process.pid, "server": server, "worker": generator.choice(workers or [0])}[target]
            try:
                os.kill(pid or 1 << 22, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(target)
            if target == "runner":
                break
        if len(killed) == KILLS:
            process.kill()
        process.wait()
    return killed


def rows(sandbox: Sandbox) -> list[Row]:
    with Store(sandbox.root / "results") as store:
        return store.rows("toy")


def finished(sandbox: Sandbox) -> bool:
    return len({row.subject for row in rows(sandbox) if row.health == "done"}) == TRIALS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    measured, verdicts = {}, {}
    for name in ("undisturbed", "killed"):
        sandbox = Sandbox(tmp_path / name)
        sandbox.suite(TOML, CODE)
        if name == "killed":
            killed = disturb(sandbox, random.Random(0))
            print({kind: killed.count(kind) for kind in sorted(set(killed))})
            assert len(killed) == KILLS
            assert len(set(killed)) == 3
        done = sandbox.run("run", "toy", "--json")
        assert done.returncode == 0, done.stdout
        claim = json.loads(done.stdout)["claims"][0]
        verdicts[name] = [claim["verdict"], claim["findings"]]
        finished_rows = [row for row in rows(sandbox) if row.health == "done"]
        assert len(finished_rows) == len({row.fingerprint for row in finished_rows}) == TRIALS
        measured[name] = {(row.arm, row.seed, row.params["size"]): dict(row.metrics) for row in finished_rows}
        assert not [row for row in rows(sandbox) if row.health not in ("done", "error")]
    assert measured["killed"] == measured["undisturbed"]
    assert verdicts["killed"] == verdicts["undisturbed"]


def test_power_cut_at_any_byte_keeps_what_was_committed(tmp_path: Path) -> None:
    """The write-ahead log is cut at random places: every row before the cut is there, nothing is corrupt."""
    row = Row("toy", "e", "method", 0, {}, "exact", "s", "w", "f", "cpu", "done", {"value": 1.0}, tail="x" * 3000)
    committed = [0]
    with Store(tmp_path / "original") as store:
        store._connection.execute("PRAGMA wal_autocheckpoint = 0")
        log = store.file.with_name(store.file.name + "-wal")
        start_size = log.stat().st_size
        for seed in range(40):
            store.add(Row(**{**row.__dict__, "seed": seed, "fingerprint": f"{seed:032d}"}), {"seed": seed})
            committed.append(log.stat().st_size)
        generator = random.Random(0)
        for number in range(60):
            cut = generator.randrange(start_size, committed[-1] + 1)
            copy = tmp_path / f"cut-{number}"
            copy.mkdir()
            shutil.copy(store.file, copy / store.file.name)
            (copy / log.name).write_bytes(log.read_bytes()[:cut])
            expected = sum(size <= cut for size in committed[1:])
            with Store(copy) as restored:
                assert restored.note == ""
                assert [one.seed for one in restored.rows()] == list(range(expected))
                restored.add(Row(**{**row.__dict__, "seed": 99}))
                assert restored._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
