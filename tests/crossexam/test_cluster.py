"""A Ray cluster of several nodes on this machine: the same rows as here, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossexam.runs.rows import Row
from crossexam.runs.store import Store
from tests.conftest import Sandbox
from tests.crossexam.test_kills import CODE, TOML

ray = pytest.importorskip("ray", reason="Ray is an optional extra: python -m pip install 'crossexam[cluster]'")
TRIALS = 40
SHORT = TOML.replace("seeds = 40", f"seeds = {TRIALS // 4}")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that runs nothing; tests add nodes of one CPU."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
    yield started
    started.shutdown()


def add_node(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=100 << 20, memory=16 << 30)


def rows(sandbox: Sandbox) -> list[Row]:
    with Store(sandbox.root / "results") as store:
        return store.rows("toy")


def finished(sandbox: Sandbox) -> int:
    return sum(row.health == "done" for row in rows(sandbox))


def start(sandbox: Sandbox, cluster: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        sandbox.command("run", "toy", "--cluster", cluster.address, "--json"), cwd=sandbox.root,
        env=sandbox.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition: Any, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_are_those_of_one_machine_while_nodes_come_and_go(cluster: Any, tmp_path: Path) -> None:
    """One node from the start, one that joins, one that dies with its jobs; a driver that is killed and started again."""
    local, far = Sandbox(tmp_path / "local"), Sandbox(tmp_path / "far")
    for sandbox in (local, far):
        sandbox.suite(SHORT, CODE)
    assert local.run("run", "toy").returncode == 0

    add_node(cluster)
    driver = start(far, cluster)
    wait_for(lambda: finished(far) >= 2)
    doomed = add_node(cluster)
    wait_for(lambda: finished(far) >= 10)
    cluster.remove_node(doomed, allow_graceful=False)
    wait_for(lambda: finished(far) >= 12)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = finished(far)
    assert before < TRIALS
    again = start(far, cluster)
    output, error = again.communicate(timeout=300)
    assert again.returncode == 0, error
    assert "cluster: " in error

    assert json.loads(output)["trials"]["done"] == TRIALS
    done = [row for row in rows(far) if row.health == "done"]
    assert len(done) == len({row.fingerprint for row in done}) == TRIALS
    here = {row.fingerprint: dict(row.metrics) for row in rows(local) if row.health == "done"}
    assert {row.fingerprint: dict(row.metrics) for row in done} == here


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ill_trials_end_as_they_do_here(cluster: Any, sandbox: Sandbox) -> None:
    code = """
import os
import time


def draws(*, arm, seed, device, size, base):
    if arm == "base" and size == 3:
        os.abort()
    if arm == "base":
        time.sleep(60)
    return {"value": 1.0}


def base(*, size, device):
    import torch

    return {"weights": torch.zeros(1)}
"""
    sandbox.suite(SHORT.replace(f"seeds = {TRIALS // 4}", "seeds = 5\nneeds = { minutes = 0.05 }"), code)
    add_node(cluster)
    driver = start(sandbox, cluster)
    output, _ = driver.communicate(timeout=250)
    assert driver.returncode == 3
    assert json.loads(output)["trials"] == {"done": 10, "error": 5, "timeout": 5}
    causes = {row.health: row.cause for row in rows(sandbox)}
    assert "killed by SIGABRT" in causes["error"]
    assert "stopped after its limit of 0.05 minutes" in causes["timeout"]


def test_no_cluster_is_told(sandbox: Sandbox) -> None:
    sandbox.suite(SHORT, CODE)
    run = sandbox.run("run", "toy", "--cluster", "127.0.0.1:1")
    assert run.returncode == 2
    assert "no Ray cluster at '127.0.0.1:1'" in run.stderr


def test_needs_become_resources_of_ray() -> None:
    from crossexam.runs.cluster import kind_of, resources
    from crossexam.runs.placement import Gpu

    job = {"threads": 4, "memory_gib": 3.0, "gpu": True, "gpus": 0.25}
    assert resources(job, Gpu("H100", 80, "H100")) == {
        "num_cpus": 4, "num_gpus": 0.25, "memory": 4 << 30, "max_retries": 0, "accelerator_type": "H100"
    }  # fmt: skip
    on_cpu = resources({**job, "gpu": False, "gpus": 0.0}, Gpu("H100", 80, "H100"))
    assert on_cpu["accelerator_type"] is None and on_cpu["num_gpus"] == 0
    assert kind_of({"H100"}, "") == "H100" and kind_of({"H100", "A100"}, "A100") == "A100" and kind_of(set(), "") == ""
    with pytest.raises(ConnectionError, match="choose with --accelerator one of A100, H100"):
        kind_of({"H100", "A100"}, "")
    with pytest.raises(ConnectionError, match="no GPU of the type 'T4': its types are H100"):
        kind_of({"H100"}, "T4")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dry_run_says_where_trials_would_go(cluster: Any, sandbox: Sandbox) -> None:
    sandbox.suite(SHORT, CODE)
    for _ in range(2):
        add_node(cluster)
    run = sandbox.run("run", "toy", "--cluster", cluster.address, "--dry-run", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    counts = [sum(node["trials"].values()) for node in found["nodes"]]
    assert sorted(counts) == [0, TRIALS // 2, TRIALS // 2]  # the head runs nothing
    assert found["impossible"] == {} and not rows(sandbox)


def test_sets_that_share_a_folder_arrive_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossexam.runs import cluster as module
    from reference.catalog import get

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CROSSEXAM_DATA", raising=False)
    monkeypatch.setattr("reference.catalog.verify", lambda path, file: None)
    monkeypatch.setattr(module.ray, "get", lambda content: content)
    for name in ("brown", "treebank"):
        module.receive(name, [(file.name, b"content") for file in get(name).files])
        assert get(name).available
    assert sorted(path.name for path in (tmp_path / "crossexam" / "data" / "nltk").iterdir()) == [
        "brown.zip",
        "treebank.zip",
    ]
    assert [path.name for path in (tmp_path / "crossexam" / "data").iterdir()] == ["nltk"]
