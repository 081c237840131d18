"""Shares of a GPU, and the forecast of where a plan goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossexam.facts.paper import Needs
from crossexam.facts.project import find_paper
from crossexam.runs.placement import Gpu, Node, gpu_share, place
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.source import Project
from tests.conftest import Sandbox

H100 = Gpu("NVIDIA H100 80GB HBM3", 80.0, "H100")
TOML = """
[paper]
title = "Toy"
arxiv = "0000.00000"
summary = "Nothing."
field = "losses"

[experiment.small]
tier = "exact"
seeds = 6
needs = { minutes = 2, memory_gib = 1 }

[experiment.wide]
tier = "exact"
seeds = 2
needs = { minutes = 10, memory_gib = 1, cpus = 4 }

[experiment.shared]
tier = "exact"
seeds = 5
needs = { minutes = 3, gpu_memory_gib = 20, shares_gpu = true, memory_gib = 1 }

[experiment.huge]
tier = "exact"
seeds = 1
needs = { memory_gib = 500 }
"""
CODE = "\n".join(
    f"def {name}(*, arm, seed, device):\n    return {{'x': 1.0}}\n" for name in ("small", "wide", "shared", "huge")
)


@pytest.mark.parametrize(
    ("needs", "gib", "share"),
    [
        (Needs(), 80, 0),
        (Needs(gpu_memory_gib=10), 80, 1),
        (Needs(gpu_memory_gib=10, shares_gpu=True), 80, 0.13),
        (Needs(gpu_memory_gib=100, shares_gpu=True), 80, 1),
        (Needs(gpu_memory_gib=10, shares_gpu=True), 0, 1),  # a GPU of unknown memory is not shared
    ],
)
def test_a_gpu_is_shared_only_where_a_suite_says_so(needs: Needs, gib: float, share: float) -> None:
    assert gpu_share(needs, gib) == share


@pytest.fixture
def trials(sandbox: Sandbox) -> list[Trial]:
    sandbox.suite(TOML, CODE)
    return plan(find_paper(sandbox.root, "toy"), Project(sandbox.root), Selection())


def minutes(trial: Trial) -> float:
    return trial.experiment.needs.minutes


def test_a_plan_on_nodes(trials: list[Trial]) -> None:
    nodes = [Node("a", 4, 0, 16), Node("b", 2, 1, 16, "H100"), Node("c", 8, 1, 16, "A100")]
    found = place(trials, nodes, H100, minutes)
    by_node = {load.node.name: load.trials for load in found.loads}
    assert sum(load.trials.total() for load in found.loads) == 13
    assert by_node["b"]["toy/shared"] == 5 and by_node["b"]["toy/wide"] == 0  # the one with that GPU has two CPUs
    assert by_node["a"]["toy/wide"] + by_node["c"]["toy/wide"] == 2
    assert found.impossible == {"toy/huge": "needs 1 CPUs and 501 GiB on one node; the largest have 8 CPUs and 16 GiB"}
    assert found.minutes == 10  # both wide ones at once, the five shared ones two at a time beside them


def test_four_share_what_one_would_have_alone(trials: list[Trial]) -> None:
    shared = [trial for trial in trials if trial.experiment.name == "shared"]
    node = [Node("b", 16, 1, 64, "H100")]
    assert place(shared, node, H100, minutes).minutes == 6  # 20 GiB of 80: four at a time, then the fifth
    assert place(shared, node, Gpu("unknown", 0, "H100"), minutes).minutes == 15


def test_what_no_node_has_is_named(trials: list[Trial]) -> None:
    shared = [trial for trial in trials if trial.experiment.name == "shared"]
    assert place(shared, [Node("a", 4, 0, 16)], None, minutes).impossible == {
        "toy/shared": "needs a GPU, and no node has one"
    }
    little = Gpu("little", 16.0, "T4")
    assert place(shared, [Node("a", 4, 1, 16, "T4")], little, minutes).impossible == {
        "toy/shared": "needs 20 GiB of GPU memory, and little has 16"
    }
    assert place([], [Node("a", 4, 0, 16)], None, minutes).minutes == 0


def test_sharing_without_a_gpu_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.suite(TOML.replace("memory_gib = 500", "shares_gpu = true"), CODE)
    result = sandbox.run("plan", "toy")
    assert result.returncode == 2
    assert "shares_gpu" in result.stderr and "say how much memory one trial takes" in result.stderr


def test_accelerators_need_a_cluster(sandbox: Sandbox) -> None:
    sandbox.suite(TOML, CODE)
    result = sandbox.run("run", "toy", "--accelerator", "H100")
    assert result.returncode == 2 and "give --cluster, too" in result.stderr
