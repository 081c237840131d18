"""Surroundings that commands are called in: folders, locales, pipes, signals, repositories, other users' files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossexam.facts.project import project_root
from crossexam.runs import scratch
from crossexam.runs.environment import commit
from crossexam.runs.scratch import Scratch, sweep
from crossexam.runs.store import Store, StoreError
from tests.conftest import CODE, TOML, Sandbox
from tests.crossexam.test_watch import git

ODD = """
def sums():
    print("a\\u2028b")
    raise ValueError("no \\udce9")
"""
SLOW = """
import pathlib
import time


def sums():
    pathlib.Path("started").touch()
    time.sleep(60)
"""


@pytest.fixture
def repository(toy: Sandbox) -> Sandbox:
    (toy.root / ".gitignore").write_text("results\n")
    git(toy.root, "init", "-q")
    git(toy.root, "add", ".")
    git(toy.root, "commit", "-qm", "one")
    commit.cache_clear()
    return toy


def test_a_folder_of_the_tests_is_not_the_project(toy: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = toy.root / "tests" / "suites"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent, toy.root / "suites" / "toy"):
        monkeypatch.chdir(folder)
        assert project_root() == toy.root


@pytest.mark.parametrize("file", ["suites/toy/paper.toml", "suites/toy/method.py", "suites/toy/experiments.py"])
def test_a_suite_that_is_not_utf_8_is_named_and_hides_no_other(toy: Sandbox, file: str) -> None:
    toy.suite(code=CODE.replace("suites.toy", "suites.other"), name="other")
    with (toy.root / file).open("ab") as stream:
        stream.write(b"caf\xe9 = 1\n")
    listed = toy.run("list")
    assert "A toy" in listed.stdout
    broken = toy.run("run", "toy")
    assert broken.returncode == 2
    assert Path(file).name in broken.stderr
    assert "Traceback" not in broken.stderr
    assert toy.run("run", "other").returncode == 0


def test_changes_that_are_not_utf_8_and_untracked_code_are_in_the_commit(repository: Sandbox) -> None:
    clean = commit(repository.root)
    assert len(clean) == 40
    (repository.root / "suites" / "toy" / "new.py").write_text("")
    commit.cache_clear()
    untracked = commit(repository.root)
    assert untracked.startswith(f"{clean}+")
    (repository.root / "suites" / "toy" / "method.py").write_bytes(b"# caf\xe9\n")
    commit.cache_clear()
    assert commit(repository.root).startswith(f"{clean}+")
    assert commit(repository.root) != untracked


def test_git_dir_of_another_repository_is_not_believed(
    repository: Sandbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "other")
    clean = commit(repository.root)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    commit.cache_clear()
    assert commit(repository.root) == clean


def test_what_a_trial_prints_and_raises_is_kept_whatever_it_is(toy: Sandbox) -> None:
    toy.suite(code=ODD)
    run = toy.run("run", "toy")
    assert run.returncode == 3
    assert "no \\udce9" in run.stdout
    rows = toy.root / "rows.jsonl"
    assert toy.run("export", "toy", "-o", str(rows)).returncode == 0
    assert "\u2028" in rows.read_text("utf-8")
    imported = toy.run("import", str(rows), CROSSEXAM_RESULTS=str(toy.root / "elsewhere"))
    assert (imported.returncode, imported.stdout) == (0, f"{rows}: 1 new rows, 0 known\n")


def test_an_export_that_could_not_be_written_is_refused_before_the_run(toy: Sandbox) -> None:
    run = toy.run("run", "toy", "--out", "absent/rows.jsonl")
    assert run.returncode == 2
    assert "cannot write absent/rows.jsonl" in run.stderr
    assert not (toy.root / "results").exists()


def test_without_git(repository: Sandbox) -> None:
    run = repository.run("compare", "HEAD", "HEAD", PATH="/nowhere")
    assert run.returncode == 2
    assert run.stderr.startswith("crossexam: git cannot be run")
    assert repository.run("run", "toy", PATH="/nowhere").returncode == 0


@pytest.mark.parametrize("words", [("list",), ("show", "toy"), ("show", "toy", "--json"), ("run", "toy")])
def test_an_ascii_locale_and_a_terminal_without_width(toy: Sandbox, words: tuple[str, ...]) -> None:
    toy.suite(TOML.replace("A toy", "Ä toy → 𝔗"))
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "0"}
    run = toy.run(*words, **plain)
    assert run.returncode == 0, run.stderr
    if "--json" in words:
        assert json.loads(run.stdout)["title"] == "Ä toy → 𝔗"
    else:
        assert "toy" in run.stdout


def test_a_reader_that_leaves_is_no_error(toy: Sandbox) -> None:
    process = subprocess.Popen(
        toy.command("show", "toy"), cwd=toy.root, env=toy.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_run_and_leaves_no_scratch(toy: Sandbox, number: signal.Signals, tmp_path: Path) -> None:
    toy.suite(code=SLOW.replace('"started"', repr(str(tmp_path / "started"))))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        toy.command("run", "toy"), cwd=toy.root, env=toy.environment(TMPDIR=str(temporary)), stderr=subprocess.PIPE
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert b"interrupted: finished trials are kept" in process.stderr.read()
    assert list(temporary.glob("crossexam-*")) == []


def test_the_scratch_of_a_killed_run_is_swept_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "GRACE", -1.0)
    ours = Scratch()
    program = "from crossexam.runs.scratch import Scratch; import os; print(Scratch().folder); os._exit(9)"
    left = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    ).stdout.strip()  # fmt: skip
    assert Path(left).is_dir()
    sweep(str(tmp_path))
    assert not Path(left).exists()
    assert ours.folder.is_dir()
    ours.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "crossexam.lock").mkdir()  # as root, what another user owns can be opened all the same
    with pytest.raises(StoreError, match=r"cannot keep results in .*make it writable, or set CROSSEXAM_RESULTS"):
        Store(tmp_path)
