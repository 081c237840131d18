"""Trials need no network: every connection is refused and written down, in each process, and none is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossexam.facts.project import suite_folders
from tests.conftest import ROOT, needed

BLOCK = """
import os
import socket


def refused(*words, **more):
    with open(os.environ["ATTEMPTS"], "a") as file:
        print(os.getpid(), words[1:], file=file)
    raise OSError("there is no network in this test")


def guarded(call):
    return lambda self, *words: call(self, *words) if self.family == socket.AF_UNIX else refused(self, *words)


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
socket.getaddrinfo = socket.gethostbyname = refused
"""
"""As sitecustomize it runs first in every Python process, the fork server and so the trials among them."""


@pytest.fixture
def blocked(tmp_path: Path) -> dict[str, str]:
    """An environment without a network."""
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(tmp_path / "block"), str(ROOT)])
    attempts, results = str(tmp_path / "attempts"), str(tmp_path / "results")
    return {**os.environ, "PYTHONPATH": path, "ATTEMPTS": attempts, "CROSSEXAM_RESULTS": results}


def run(environment: dict[str, str], *words: str, seconds: float = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_the_block_holds(blocked: dict[str, str]) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 80))"
    assert "there is no network in this test" in run(blocked, "-c", code).stderr
    assert Path(blocked["ATTEMPTS"]).exists()
    pair = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
    assert run(blocked, "-c", pair).stdout == "b'x'\n"


def test_exact_and_small_tier_without_a_network(blocked: dict[str, str]) -> None:
    needed("german-credit")
    exact = run(blocked, "-m", "crossexam", "run", "credit-iv", "--tier", "exact", "--own")
    assert exact.returncode == 0, exact.stdout + exact.stderr
    small = run(blocked, "-m", "crossexam", "run", "credit-iv", "--tier", "small", "-k", "drift_german", "--own")
    assert small.returncode == 0 and "5/5" in small.stderr, small.stdout + small.stderr
    assert not Path(blocked["ATTEMPTS"]).exists(), Path(blocked["ATTEMPTS"]).read_text()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("slug", suite_folders(ROOT))
def test_a_whole_paper_without_a_network(blocked: dict[str, str], slug: str) -> None:
    """Every exact and small trial of the paper ends, or is blocked for want of data, and none has tried to connect."""
    words = ("-m", "crossexam", "run", slug, "--tier", "exact", "--tier", "small", "--own", "--json")
    found = run(blocked, *words, seconds=3500)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    assert set(json.loads(found.stdout)["trials"]) <= {"done", "blocked"}
    assert not Path(blocked["ATTEMPTS"]).exists(), Path(blocked["ATTEMPTS"]).read_text()
