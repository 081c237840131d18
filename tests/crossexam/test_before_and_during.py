"""What a run says before, while and after it runs, and what it leaves out when nobody named a tier."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from crossexam.runs.runner import Progress
from crossexam.showing.show_runs import day, duration, progress_line
from crossexam.showing.terminal import table
from crossexam.watching.choice import full_minutes
from tests.conftest import CODE, TOML, Sandbox

PROTOCOL = 'protocol = { data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none" }'
FULL = f"""
[experiment.long]
tier = "full"
{PROTOCOL}
needs = {{ minutes = 8 }}

[[experiment.long.claim]]
id = "long-one"
says = "Two and two are four, at length."
where = "nowhere"
provenance = "derived"
rule = {{ kind = "exact", metric = "total", target = 4, atol = 1e-12 }}
"""
LONG = "\n\ndef long():\n    return {'total': 4.0}\n"


@pytest.fixture
def with_full(toy: Sandbox) -> Sandbox:
    """A paper with a small experiment and one of the full tier that may take eight minutes."""
    toy.suite(TOML + FULL, CODE + LONG)
    return toy


def test_the_full_tier_is_left_out_and_the_command_for_it_told(with_full: Sandbox) -> None:
    run = with_full.run("run", "toy", PATH="")  # without nvidia-smi there is no GPU
    assert run.returncode == 0
    assert run.stderr.startswith("1 trial to run")
    assert "Left out, of the full tier: long (1 trial, up to 8 min):\n    crossexam run toy --tier full" in run.stdout
    assert "not run: long-one: `crossexam run toy --tier full -k long`" in run.stdout
    left = with_full.json("run", "toy", PATH="")["left_out"]
    assert [(one["experiment"], one["known"]) for one in left] == [("long", False)]


def test_no_data_is_fetched_for_what_is_left_out(toy: Sandbox) -> None:
    toy.suite(TOML + FULL.replace("minutes = 8", 'data = ["fashion-mnist"]'), CODE + LONG)
    nowhere = {
        "PATH": "",
        "CROSSEXAM_DATA": "",
        "XDG_CACHE_HOME": str(toy.root / "cache"),
        "https_proxy": "http://127.0.0.1:9",
    }
    run = toy.run("run", "toy", **nowhere)
    assert run.returncode == 0 and "fashion-mnist" not in run.stderr
    assert "blocked: long-one: needs the data set 'fashion-mnist'" in run.stdout


def test_what_fits_the_minutes_runs_and_a_named_tier_runs_whole(with_full: Sandbox) -> None:
    assert "Left out" in with_full.run("run", "toy", "--minutes", "7", PATH="").stdout
    fits = with_full.run("run", "toy", "--minutes", "9", PATH="")
    assert "Left out" not in fits.stdout and "[2/2] done toy/long" in fits.stderr
    again = with_full.run("run", "toy", "--tier", "full", "--fresh", PATH="")
    assert again.stderr.startswith("1 trial to run, about "), "a row says how long it took"
    assert with_full.run("run", "toy", "--minutes", "-1").returncode == 2


def test_headlines_that_have_waited_longest_go_first(sandbox: Sandbox) -> None:
    other = FULL.replace("long", "other").replace("at length", "otherwise")
    headline = '\n[[headline]]\nsays = "Otherwise they are four, too."\nclaims = ["other-one"]\n'
    sandbox.suite(TOML + FULL + other + headline, CODE + LONG + LONG.replace("long", "other"))
    run = sandbox.run("run", "toy", "--minutes", "9", PATH="")
    assert "of the full tier: long (" in run.stdout and "done toy/other" in run.stderr


def test_minutes_of_the_full_tier() -> None:
    assert full_minutes(None, tiers_given=False, gpu=False) == 0
    assert full_minutes(None, tiers_given=False, gpu=True) == 30
    assert full_minutes(None, tiers_given=True, gpu=False) is None
    assert full_minutes(5, tiers_given=True, gpu=False) == 5


def test_what_artifacts_take_is_known_the_next_time(sandbox: Sandbox) -> None:
    toml = TOML.replace('tier = "exact"', 'tier = "exact"\nuses = ["base"]') + "\n[artifact.base]\nminutes = 7\n"
    toml = toml.replace("[experiment.sums]\n", "[experiment.sums]\nseeds = 1\n")
    code = (
        "import torch\n\n\ndef base(*, seed):\n    return {'x': torch.ones(1)}\n\n\n"
        "def sums(*, base):\n    return {'total': 4.0}\n"
    )
    sandbox.suite(toml, code)
    first = sandbox.run("run", "toy")
    assert first.stderr.startswith("1 trial and 1 artifact to run, up to 7 min"), first.stderr
    sandbox.suite(toml, code.replace("ones", "zeros"))
    assert sandbox.run("run", "toy").stderr.startswith("1 trial and 1 artifact to run, about ")


def test_a_broken_suite_does_not_keep_others_from_running(toy: Sandbox) -> None:
    toy.suite("[paper\n", name="broken")
    run = toy.run("run", "broken", "toy")
    assert run.returncode == 2
    assert "not valid TOML" in run.stderr and "1 reproduced" in run.stdout
    judged = toy.run("judge", "broken", "toy")
    assert judged.returncode == 2 and "1 reproduced" in judged.stdout


def test_a_closed_pipe_does_not_turn_a_failed_run_into_a_good_one(toy: Sandbox) -> None:
    toy.suite(method="def add(a, b):\n    return a - b\n")
    for closed, words in (
        ("stdout", ("run", "toy")),
        ("stderr", ("run", "toy", "--fresh")),
        ("stdout", ("judge", "toy")),
    ):
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, closed: subprocess.PIPE}
        process = subprocess.Popen(toy.command(*words), cwd=toy.root, env=toy.environment(), **pipes)
        reader = process.stdout if closed == "stdout" else process.stderr
        assert reader is not None
        reader.close()
        assert process.wait(timeout=60) == 1, (closed, words)


def test_completion_of_papers(toy: Sandbox) -> None:
    answer = subprocess.run(
        toy.command(), cwd=toy.root, capture_output=True, text=True, check=False,
        env=toy.environment(_CROSSEXAM_COMPLETE="bash_complete", COMP_WORDS="crossexam run t", COMP_CWORD="2"),
    )  # fmt: skip
    assert "plain,toy" in answer.stdout
    assert "_CROSSEXAM_COMPLETE=bash_source" in toy.run("--help").stdout


@pytest.mark.parametrize("width", range(8, 120, 7))
def test_the_line_of_a_run_is_never_cut(width: int) -> None:
    progress = Progress(total=1217, cached=400, done=17, failed=2, left=lambda: 4000.0)
    progress.running = {1: "ldr-loss/letter/cross_entropy[rows=10000]#0", 2: "artifact teacher"}
    parts = progress_line(progress, 83, width).split("  ")
    assert len("  ".join(parts)) <= max(width, len("419/1217"))
    known = {"419/1217", "about 67 min left", "1:23", "2 failed, 400 cached", "2 running",
             "now ldr-loss/letter/cross_entropy[rows=10000]#0, artifact teacher"}  # fmt: skip
    assert set(parts) - known <= {"━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌"}
    assert "419/1217" in parts


def test_times_in_words() -> None:
    said = [duration(seconds) for seconds in (0.2, 89, 200, 5 * 3600, 30 * 3600, 1e6)]
    assert said == ["1 s", "89 s", "3 min", "5.0 h", "30 h", "12 days"]
    assert (day("2026-11-26T10:00:00+00:00"), day("")) == ("26 November 2026", "on an unknown day")


@pytest.mark.parametrize(
    ("columns", "expected"), [("40", ["name    n   about", "letter  12  4 min"]), ("12", ["name    n", "letter  12"]),
                              ("5", ["name", "letter"])],
)  # fmt: skip
def test_a_narrow_page_drops_columns_and_no_letters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, expected: Sequence[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table([("letter", "12", "4 min")], ("name", "n", "about"), drop=(2, 1))
    assert capsys.readouterr().out.splitlines() == expected


def test_a_pipe_wraps_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table([("a", "word " * 100)])
    assert len(capsys.readouterr().out.splitlines()) == 1
