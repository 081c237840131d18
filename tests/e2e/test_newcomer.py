"""What a person sees: a live display on a terminal, one nox session per paper."""

from __future__ import annotations

import os
import pty
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from crossexam.facts.project import find_paper, suite_folders
from crossexam.runs.committed import committed_rows
from crossexam.runs.store import Store
from tests.conftest import ROOT, Sandbox


def on_a_terminal(sandbox: Sandbox, *words: str, **extra: str) -> str:
    """What a run prints when its output is a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    environment = {**sandbox.environment(COLUMNS="120", TERM="xterm-256color"), **extra}
    if "NO_COLOR" not in extra:
        del environment["NO_COLOR"]
    process = subprocess.Popen(
        sandbox.command(*words), cwd=sandbox.root, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the terminal's other side is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return seen.decode()


def test_terminal_shows_progress_and_colours(sandbox: Sandbox) -> None:
    sandbox.suite(
        code="import time\n\n\ndef sums():\n    time.sleep(1)  # long enough to be seen\n    return {'total': 4}\n"
    )
    seen = on_a_terminal(sandbox, "run", "toy")
    assert "0/1" in seen  # the bar
    assert "\x1b[32mreproduced" in seen  # green
    assert "all verdicts as expected" in seen


def test_no_color_is_obeyed_on_a_terminal(toy: Sandbox) -> None:
    seen = on_a_terminal(toy, "judge", "toy", NO_COLOR="1")
    assert "\x1b[3" not in seen


def test_every_suite_is_a_nox_session_with_its_title() -> None:
    nox = shutil.which("nox")
    if nox is None:
        pytest.skip("nox is not on the PATH: it runs these tests from outside their environment")
    listed = subprocess.run([nox, "-l"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for slug in suite_folders(ROOT):
        assert f"reproduce-{slug} -> {find_paper(ROOT, slug).about.title}" in listed


@pytest.mark.parametrize("slug", sorted(suite_folders(ROOT)))
def test_exact_tier_holds(slug: str, tmp_path: Path) -> None:
    """Trials whose committed row has today's fingerprint are trusted, all but a tenth; at night every one is run."""
    drawn = trust(slug, tmp_path)
    run = Sandbox(ROOT).run("run", slug, "--tier", "exact", "--own", CROSSEXAM_RESULTS=str(tmp_path), timeout=280)
    assert run.returncode == 0, f"run again: {', '.join(drawn)}\n{run.stdout}{run.stderr}"


def trust(slug: str, results: Path) -> list[str]:
    """Put the committed rows of the exact tier into `results`, all but a random tenth, whose names are returned."""
    rows = [row for row in committed_rows(ROOT, slug) if row.tier == "exact"]
    drawn = [row for row in rows if os.environ.get("CROSSEXAM_TRUST") == "0" or random.random() < 0.1]
    with Store(results) as store:
        for row in rows:
            if row not in drawn:
                store.add(row)
    names = [row.name for row in drawn]
    print(f"{slug}: run again though a row is committed: {', '.join(names) or 'none'}")
    return names
