"""Hosts: warm for the next command of the same user, gone with their environment, never in CI, holding no project."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossexam.runs import host
from crossexam.runs.forkserver import import_ahead
from tests.conftest import ROOT, Sandbox


@pytest.fixture
def warm(toy: Sandbox) -> Iterator[Sandbox]:
    """A project whose warm hosts lie in a folder of their own, of a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="x", dir="/tmp") as folder:
        (toy.root / "runtime").symlink_to(folder)
        yield toy
        run(toy, "warm", "--stop")


def run(sandbox: Sandbox, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    settings = {"XDG_RUNTIME_DIR": str((sandbox.root / "runtime").resolve()), "CROSSEXAM_HOST": "", "CI": "", **extra}
    return sandbox.run(*words, **settings)


def hosts(sandbox: Sandbox) -> list[Path]:
    return sorted((sandbox.root / "runtime").resolve().rglob("*.host"))


def test_warm_host_serves_the_next_command_with_the_code_as_it_is_then(warm: Sandbox) -> None:
    assert run(warm, "run", "toy", "--warm", "5").returncode == 0
    (first,) = hosts(warm)
    folder = first.parent.lstat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert folder.st_uid == os.getuid()
    (warm.root / "suites" / "toy" / "method.py").write_text("def add(a, b):\n    return a + b + 1\n")
    started = time.monotonic()
    assert run(warm, "run", "toy", "--warm", "5").returncode == 1  # the edit is seen: two and two are five
    assert time.monotonic() - started < 10
    assert hosts(warm) == [first]
    assert "ended 1 warm host" in run(warm, "warm", "--stop").stdout
    assert hosts(warm) == []


def test_warm_host_ends_by_itself(warm: Sandbox) -> None:
    run(warm, "run", "toy", "--warm", "0.02")
    deadline = time.monotonic() + 30
    while hosts(warm) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not hosts(warm)


def test_nothing_is_warm_in_ci_or_where_it_is_not_asked_for(warm: Sandbox) -> None:
    assert run(warm, "run", "toy", "--warm", "5", CI="true").returncode == 0
    assert run(warm, "run", "toy", "--fresh").returncode == 0
    assert not hosts(warm)


def test_folder_that_others_may_open_is_refused(warm: Sandbox) -> None:
    (warm.root / "runtime" / f"crossexam-{os.getuid()}").mkdir(mode=0o755)
    outcome = run(warm, "run", "toy", "--warm", "5")
    assert outcome.returncode == 2
    assert "can be opened by others" in outcome.stderr


def test_hosts_differ_by_what_shapes_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [host.kind()]
    for name, value in (("OMP_DYNAMIC", "true"), ("CUDA_VISIBLE_DEVICES", "7")):
        monkeypatch.setenv(name, value)
        kinds.append(host.kind())
    assert len(set(kinds)) == 3
    monkeypatch.setenv("CROSSEXAM_DATA", "elsewhere")  # a trial gets its command's own
    assert host.kind() == kinds[-1]


def test_private_host_dies_with_its_process_however_that_goes(tmp_path: Path) -> None:
    code = (
        "from crossexam.runs.host import private_host; print(private_host(), flush=True); import time; time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    assert path.exists()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not path.exists()


def test_trials_get_environment_and_folder_of_their_command(toy: Sandbox) -> None:
    toy.suite(
        code="import os\n\n\ndef sums():\n    assert os.environ['MARK'] == 'here', os.environ.get('MARK')\n    return {'total': 4.0}\n"
    )
    assert toy.run("run", "toy", MARK="here").returncode == 0
    assert toy.run("run", "toy", "--fresh", MARK="there").returncode == 3


def test_only_known_libraries_are_imported_before_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of kernels may touch the GPU when it is imported, and no child of a process that did can use it."""
    (tmp_path / "tuned_kernels.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_ahead(["tuned_kernels", "numpy.linalg"])
    assert "tuned_kernels" not in sys.modules
    assert "numpy.linalg" in sys.modules
