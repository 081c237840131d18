"""Packs: what they hold, what they would run first, and that no end of a run takes the rows that it has."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossexam.watching.pack import gpu_of
from tests.conftest import TOML, Sandbox
from tests.crossexam.test_watch import git

PROTOCOL = 'protocol = { data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none" }'


def experiment(name: str, **needs: str) -> str:
    """An experiment of the full tier with one claim of the same name."""
    told = ", ".join(f"{key} = {value}" for key, value in needs.items())
    return f"""
[experiment.{name}]
tier = "full"
seeds = 3
{PROTOCOL}
needs = {{ {told} }}

[[experiment.{name}.claim]]
id = "{name.replace("_", "-")}"
says = "Two and two are four in {name}."
where = "nowhere"
provenance = "derived"
rule = {{ kind = "exact", metric = "total", target = 4, atol = 1e-12 }}
"""


def function(name: str, body: str = "") -> str:
    return f"\n\ndef {name}(*, seed):\n    {body or 'pass'}\n    return {{'total': 4.0}}\n"


def headline(*claims: str) -> str:
    says = f"They are four in {', '.join(claims)}."
    return f"\n[[headline]]\nsays = {json.dumps(says)}\nclaims = {json.dumps(claims)}\n"


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A git repository of a paper with experiments of the full tier."""
    names = {"long": "30", "short": "1", "wide": "2", "lonely": "1"}
    toml = TOML + "".join(experiment(name, minutes=minutes) for name, minutes in names.items())
    toml += experiment("on_gpu", minutes="1", gpu_memory_gib="90")
    toml += experiment("of_data", minutes="1", data='["letter"]') + experiment("absent", data='["taiwan-default"]')
    toml += headline("long") + headline("short", "wide") + headline("short") + headline("of-data")
    code = "import time\n\n\ndef sums():\n    return {'total': 4.0}\n" + function("long", "time.sleep(30)")
    code += "".join(map(function, ("short", "wide", "lonely", "on_gpu", "of_data", "absent")))
    sandbox.suite(toml, code)
    git(sandbox.root, "init", "-q")
    git(sandbox.root, "add", "suites")
    git(sandbox.root, "commit", "-qm", "A toy")
    return sandbox


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A folder with the set `letter` as the project has it."""
    for root in filter(None, os.environ.get("CROSSEXAM_DATA", "").split(os.pathsep)):
        if (Path(root) / "letter").is_dir():
            shutil.copytree(Path(root) / "letter", tmp_path / "sets" / "letter")
            return str(tmp_path / "sets")
    pytest.skip("the set letter is absent: set CROSSEXAM_DATA")


def test_a_pack_is_ordered_by_worth_and_says_what_it_leaves_out(project: Sandbox, data: str) -> None:
    (project.root / "suites" / "toy" / "method.py").write_text("def add(a, b):\n    return b + a\n")
    (project.root / "suites" / "toy" / "new.py").touch()
    words = ("pack", "toy", "--minutes", "9", "--cpus", "4", "--gpu", "Some GPU 80GB", "-o", "pack", "--offline")
    made = project.json(*words, CROSSEXAM_DATA=data)
    order = [(one["experiment"], one["spare"]) for one in made["runs"]]
    # `short` and `of_data` decide a headline each in the least time; then `wide` decides one in twice as much.
    assert order == [("of_data", False), ("short", False), ("wide", False), ("lonely", False), ("long", True)]
    left = {one["experiment"]: one["why"] for one in made["left"]}
    assert left["on_gpu"] == "needs 90 GiB of GPU memory, and Some GPU 80GB has 79"
    assert "needs the data set 'taiwan-default'" in left["absent"] and "it runs last, if at all" in left["long"]
    assert (made["uncommitted"], made["untracked"]) == (["suites/toy/method.py"], ["suites/toy/new.py"])
    packed = project.root / "pack" / "code" / "suites" / "toy"
    assert "b + a" in (packed / "method.py").read_text() and not (packed / "new.py").exists()
    (stored,) = [one["stored"] for one in made["files"]]
    assert stored.endswith(".xz"), "text is compressed"
    told = project.run(*words, CROSSEXAM_DATA=data)
    assert "With uncommitted changes in suites/toy/method.py." in told.stdout and told.returncode == 0


def test_what_is_too_large_is_left_out(project: Sandbox, data: str) -> None:
    made = project.json("pack", "toy", "--mib", "0.1", "-o", "pack", "--offline", CROSSEXAM_DATA=data)
    assert "of_data" not in [one["experiment"] for one in made["runs"]] and made["files"] == []
    assert {one["experiment"]: one["why"] for one in made["left"]}["of_data"].startswith("its data (letter) takes 0.")
    assert not list((project.root / "pack" / "data").rglob("*.*"))


def start(project: Sandbox, *words: str) -> subprocess.Popen[str]:
    own = {**project.environment(), "CROSSEXAM_PYTHON": sys.executable}
    return subprocess.Popen(
        ["bash", "pack/run.sh", *words], cwd=project.root, env=own, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_pack_runs_by_itself_and_its_rows_come_home(project: Sandbox, data: str) -> None:
    commit = git(project.root, "rev-parse", "HEAD").strip()
    project.run("pack", "toy", "-o", "pack", "--offline", CROSSEXAM_DATA=data)
    shutil.rmtree(project.root / "sets")
    running = start(project, str(project.root / "rows.jsonl"), "--minutes", "0.3")
    out, _ = running.communicate(timeout=90)
    assert running.returncode == 0, out
    assert "12 trials done, 0 failed, 3 left for want of time" in out
    out, _ = start(project, str(project.root / "rows.jsonl"), "--minutes", "0.1").communicate(timeout=90)
    assert "12 trials done" in out, "what was measured before is in the rows of a run that goes on"
    assert project.run("import", "rows.jsonl").stdout == "rows.jsonl: 12 new rows, 0 known\n"
    records = [json.loads(line) for line in (project.root / "rows.jsonl").read_text().splitlines()]
    assert {one["body"]["commit"] for one in records if one["kind"] == "environment"} == {commit}
    assert project.json("judge", "toy", "-k", "short")["claims"][0]["verdict"] == "reproduced"
    again = project.json("pack", "toy", "-o", "pack", "--offline", CROSSEXAM_DATA=data)
    assert [one["experiment"] for one in again["runs"]] == ["long"] and again["rows"] == 12


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_pack_has_written_the_rows_of_the_trials_that_had_ended(project: Sandbox, number: int) -> None:
    project.run("pack", "toy", "-o", "pack", "-k", "o", "--offline")
    running, rows = start(project), project.root / "pack" / "rows.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not rows.is_file() or rows.read_text().count('"kind":"row"') < 3):
        time.sleep(0.1)
    running.send_signal(number)
    running.wait(timeout=30)
    count = project.run("import", "pack/rows.jsonl").stdout
    assert "new rows, 0 known" in count and int(count.split(": ")[1].split()[0]) >= 3


def test_damaged_data_is_refused_on_arrival(project: Sandbox, data: str) -> None:
    project.run("pack", "toy", "-o", "pack", "--offline", CROSSEXAM_DATA=data)
    (stored,) = [one["path"] for one in json.loads((project.root / "pack" / "pack.json").read_text())["files"]]
    (project.root / "pack" / stored).write_bytes(b"other")
    out, _ = (running := start(project)).communicate(timeout=60)
    assert running.returncode == 2 and "is not what was packed: copy the pack again" in out


def test_gzipped_content_survives_being_packed(tmp_path: Path) -> None:
    from crossexam.watching.pack import stored_at
    from crossexam.watching.packed import unpack
    from reference.catalog import content_digest

    source, folder = tmp_path / "a.gz", tmp_path / "pack"
    source.write_bytes(gzip.compress(b"0123456789" * 100_000, compresslevel=1))
    stored = stored_at(source, folder / "data" / "a.gz")
    assert stored.name == "a.gz.xz" and stored.stat().st_size < source.stat().st_size
    content = content_digest(source)[0]
    unpack(folder, {"files": [{"path": "data/a.gz", "stored": "data/a.gz.xz", "content": content}], "fetched": []})
    assert content_digest(folder / "data" / "a.gz")[0] == content


def test_memory_of_a_named_gpu() -> None:
    known = {"H200": 139.0}
    assert gpu_of("NVIDIA H200", known).gib == 139 and gpu_of("NVIDIA H200:40", known).gib == 40
    assert gpu_of("NVIDIA H100 80GB HBM3", known).gib == pytest.approx(79.2) and gpu_of("Other", known).gib == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pack", "toy", "-o", "suites"), "is there and is no pack: name a new folder"),
        (("pack", "toy", "-o", "p", "--minutes", "0"), "--minutes 0: more than 0"),
        (("pack", "toy", "-o", "p", "--gpu", "H200:much"), "after the colon stands its memory in GiB"),
        (("run-pack", "suites", "-o", "rows.jsonl"), "suites holds no pack"),
    ],
)
def test_bad_usage(project: Sandbox, words: tuple[str, ...], message: str) -> None:
    refused = project.run(*words)
    assert refused.returncode == 2 and message in refused.stderr
