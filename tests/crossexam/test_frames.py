"""Rows and verdicts as tables, in Python and in files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import crossexam
from tests.conftest import TOML, Sandbox

CODE = """
def sums(*, seed, size):
    return {"total": 4.0, "curve": [float(size), float(seed)]}
"""


@pytest.fixture
def project(toy: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A paper of four trials, with a grid and a metric that is a list, in the current folder."""
    toy.suite(TOML.replace('tier = "exact"', 'tier = "exact"\nseeds = 2\nparams = { size = [1, 2] }'), CODE)
    assert toy.run("run", "toy").returncode == 0
    monkeypatch.chdir(toy.root)
    monkeypatch.delenv("CROSSEXAM_RESULTS", raising=False)
    return toy


def test_results_are_a_line_a_trial(project: Sandbox) -> None:
    found = crossexam.results("toy")
    assert list(found)[:8] == [
        "paper", "experiment", "tier", "arm", "seed", "params.size", "health", "metrics.curve",
    ]  # fmt: skip
    assert found.groupby("params.size")["metrics.total"].mean().to_dict() == {1: 4.0, 2: 4.0}
    assert sorted(found["metrics.curve"].tolist()) == [[1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [2.0, 1.0]]
    assert not found["committed"].any()
    assert len(crossexam.results()) == 4 and crossexam.results("toy", "absent").empty
    project.suite(project.root.joinpath("suites/toy/paper.toml").read_text(), CODE.replace("4.0", "2.0 + 2.0"))
    assert crossexam.results("toy").empty and len(crossexam.results("toy", current=False)) == 4


def test_verdicts_are_a_line_a_claim(project: Sandbox) -> None:
    found = crossexam.verdicts().set_index("claim").loc["two-and-two"]
    assert (found["verdict"], found["estimate"], found["seeds"], found["kind"]) == ("reproduced", 4.0, 2, "exact")
    assert found["as_expected"] and not found["committed"]
    assert project.root.joinpath("results").is_dir()


@pytest.mark.usefixtures("project")
def test_an_unknown_paper_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(Exception, match="did you mean 'toy'"):
        crossexam.results("tou")


def test_export_as_a_table(project: Sandbox) -> None:
    read = pd.read_csv(io.StringIO(project.run("export", "toy", "--format", "csv").stdout))
    assert len(read) == 4 and json.loads(read["metrics.curve"][0]) == [1.0, 0.0]
    told = project.json("export", "toy", "--format", "csv", "-o", "rows.csv")
    assert told == {"out": "rows.csv", "rows": 4, "format": "csv"}
    refused = project.run("export", "toy", "--format", "parquet")
    assert refused.returncode == 2 and "say with -o where" in refused.stderr
    pytest.importorskip("pyarrow")
    assert project.run("export", "toy", "--format", "parquet", "-o", "rows.parquet").returncode == 0
    assert sorted(map(list, pd.read_parquet(Path("rows.parquet"))["metrics.curve"])) == [
        [1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [2.0, 1.0],
    ]  # fmt: skip


def test_tables_need_no_torch_and_commands_no_pandas(project: Sandbox) -> None:
    code = (
        "import sys, crossexam\nassert 'pandas' not in sys.modules\ncrossexam.results('toy'); crossexam.verdicts('toy')\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, env=project.environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
