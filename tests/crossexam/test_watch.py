"""The watch: what it calls a change, what it keeps quiet about, and what a night, a comparison and a bisection say."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from crossexam.runs.environment import processor
from crossexam.runs.rows import Row
from crossexam.runs.store import Export
from crossexam.watching.bisect import BisectError, halve
from crossexam.watching.watch import (
    SCREEN,
    Score,
    benjamini_hochberg,
    confirmed,
    score,
    screened,
    series_of,
    since,
    unequal,
)
from tests.conftest import Sandbox


def row(value: float, *, seed: int = 0, code: str = "a", day: int = 1, **changes: object) -> Row:
    fields = {
        "paper": "toy", "experiment": "e", "arm": "method", "seed": seed, "params": {}, "tier": "small", "subject": code,
        "setting": "s", "fingerprint": f"{code}{seed}", "device": "cpu", "health": "done", "metrics": {"value": value},
        "parts": {"code": code}, "started": f"2026-01-{day:02d}T00:00:00", **changes,
    }  # fmt: skip
    return Row(**fields)  # type: ignore[arg-type]


def test_generations_are_all_of_a_fingerprint_but_the_seed() -> None:
    rows = [row(1.0), row(2.0, seed=1), row(3.0, code="b", day=2), row(4.0, seed=1, code="b", day=2)]
    (series,) = series_of(rows, {})
    assert [one.values for one in series.generations] == [(1.0, 2.0), (3.0, 4.0)]
    assert str(series.key) == "toy/e/method: value (cpu)"


def test_a_trial_that_does_not_repeat_is_found_without_statistics() -> None:
    same, other = row(1.0), row(1.0 + 2**-52, day=2)
    assert unequal([same, row(1.0, day=2)], {}) == []
    assert unequal([same, other], {}) == [(same, other)]


def test_another_processor_is_another_generation() -> None:
    """A trial that one maker's processor rounds otherwise has not failed to repeat; its cost starts a history."""
    processors = {"old": "A, AVX512", "same": "A, AVX512", "new": "B, AVX512"}
    rows = [
        row(value, day=day, environment=name, seconds=1.0)
        for day, (name, value) in enumerate((("old", 1.0), ("same", 1.0), ("new", 1.0 + 2**-52)), 1)
    ]
    assert unequal(rows, processors) == [] and len(unequal(rows, {})) == 1
    *costs, metric = series_of(rows, processors)
    assert [len(one.values) for one in metric.generations] == [1, 1]
    assert [one.key.device for one in costs] == ["cpu, A, AVX512", "cpu, B, AVX512"]
    assert processor({"cpu": "A", "capability": "AVX512", "commit": "c"}) == "A, AVX512" and processor({}) == ""


def test_costs_are_series_by_day() -> None:
    rows = [row(1.0, day=day, seconds=seconds) for day, seconds in ((1, 1.0), (2, 1.0), (3, math.e))]
    (costs,) = [one for one in series_of(rows, {}) if one.key.kind == "seconds"]
    assert [one.values for one in costs.generations] == [(0.0,), (0.0,), (1.0,)]


@pytest.mark.parametrize(
    ("history", "now", "expected"),
    [
        ([[1.0, 2.0, 3.0]], [2.0, 2.0, 2.0], 0.0),
        ([[1.0] * 5], [1.0] * 5, 0.0),
        ([[1.0] * 5], [1.0 + 1e-12] * 5, 0.0),  # rounding
        ([[1.0] * 5], [2.0] * 5, math.inf),  # it never moved
        ([[1.0] * 5], [0.0] * 5, -math.inf),
    ],
)
def test_scores_of_simple_histories(history: list[list[float]], now: list[float], expected: float) -> None:
    found = score(history, now)
    assert found is not None
    assert found.z == expected


def test_too_short_a_history_tells_nothing() -> None:
    assert score([[1.0, 2.0]], [5.0]) is None
    assert score([], [5.0]) is None


def test_benjamini_hochberg_by_hand() -> None:
    assert benjamini_hochberg([0.001, 0.02, 0.04, 0.5], 4, 0.05) == [True, True, False, False]
    assert benjamini_hochberg([0.04, 0.02, 0.001, 0.03], 4, 0.05) == [True, True, True, True]
    assert benjamini_hochberg([0.001], 1000, 0.05) == [False]
    assert benjamini_hochberg([], 10) == []


def test_fresh_seeds_must_deviate_in_the_same_direction() -> None:
    def deviation(z: float) -> Score:
        return Score(z, 1e-9, 0.0, 1.0)

    assert confirmed([deviation(5), deviation(5), deviation(5)], [deviation(6), deviation(-6), None], 500) == [
        True, False, False,
    ]  # fmt: skip


def nights(series: int, seed: int, *, steps: int, drifts: int, drift: float = 0.15) -> dict[str, float]:
    """60 nights, one value a night and series: 4-sd steps and slow drifts in some, none in the others."""
    generator = np.random.default_rng(seed)
    history = [[[value] for value in generator.normal(size=20)] for _ in range(series)]
    level, step_at = np.zeros(series), {one: int(generator.integers(5, 55)) for one in range(steps)}
    same_night, false_alarms, delays, screens = 0, 0, {}, 0
    for night in range(60):
        level[[one for one, at in step_at.items() if at == night]] += 4
        level[steps : steps + drifts] += drift
        values = level + generator.normal(size=series)
        scores = [score(past, [value]) for past, value in zip(history, values, strict=True)]
        suspects = [one for one, found in enumerate(scores) if found and abs(found.z) > SCREEN]
        screens += len(suspects)
        again = [score(history[one], level[one] + generator.normal(size=5)) for one in suspects]
        alarms = confirmed([scores[one] for one in suspects], again, series)  # type: ignore[misc]
        for past, value in zip(history, values, strict=True):
            past.append([value])
        for one in (one for one, sure in zip(suspects, alarms, strict=True) if sure):
            if one < steps:
                same_night += step_at[one] == night
                false_alarms += night < step_at[one]
            elif one < steps + drifts:
                delays.setdefault(one, night)
            else:
                false_alarms += 1
            history[one] = [[value] for value in level[one] + generator.normal(size=20)]  # known from now on
    return {
        "false_alarms": false_alarms, "steps_caught": same_night / steps, "drifts_caught": len(delays) / drifts,
        "drift_delay": float(np.mean(list(delays.values()))), "reruns_a_night": screens / 60,
    }  # fmt: skip


@pytest.mark.timeout(600)
def test_sixty_nights() -> None:
    found = nights(500, 0, steps=60, drifts=20)
    print(found)
    assert found["false_alarms"] <= 1
    assert found["steps_caught"] >= 0.95
    assert found["drifts_caught"] == 1.0  # 0.15 sd a night: 9 sd in the end
    assert found["drift_delay"] <= 40
    assert found["reruns_a_night"] <= 35  # 7 % of the series are measured again


def test_screening_asks_only_about_tonight() -> None:
    rows = [row(float(seed), seed=seed) for seed in range(5)]
    rows += [row(100.0 + seed, seed=seed, code="b", day=2) for seed in range(5)]
    (series,) = series_of(rows, {})
    assert [found.key for found, _ in screened([series], [series.generations[-1].id])] == [series.key]
    assert screened([series], ["another generation"]) == []


def test_after_a_confirmed_change_the_new_level_is_the_one_to_hold() -> None:
    rows = [row(1.0, code=code, day=day) for day, code in enumerate("abc", 1)]
    (series,) = series_of(rows, {})
    ids = [one.id for one in series.generations]
    assert [one.id for one in since([series], {str(series.key): ids[1]})[0].generations] == ids[1:]
    assert since([series], {"another": ids[1]}) == [series]


def test_costs_are_judged_after_some_days_and_from_ten_per_cent_on() -> None:
    def screen(last: float, days: int) -> int:
        spent = [row(1.0, day=day, seconds=1 + 0.001 * (day % 3)) for day in range(1, days)]
        series = series_of([*spent, row(1.0, day=days, seconds=last)], {})
        (costs,) = [one for one in series if one.key.kind == "seconds"]
        return len(screened([costs], [costs.generations[-1].id]))

    assert screen(1.5, days=5) == 0
    assert screen(1.5, days=8) == 1
    assert screen(1.05, days=8) == 0


@pytest.mark.parametrize("command", ["audit", "nightly"])
def test_no_time_is_refused(toy: Sandbox, command: str) -> None:
    refused = toy.run(command, "toy", "--minutes", "0")
    assert refused.returncode == 2
    assert "--minutes 0: more than 0" in refused.stderr


NIGHTLY = """
[paper]
title = "Watched"
arxiv = "0000.00000"
field = "losses"
summary = "Something that may move."

[experiment.draws]
tier = "exact"
seeds = 5

[[experiment.draws.claim]]
id = "below-two"
says = "Draws are below two."
where = "nowhere"
provenance = "derived"
rule = { kind = "exact", metric = "value", at_most = 2 }
"""
DRAWS = """
import random

from suites.toy.method import OFFSET


def draws(*, arm, seed, device):
    return {"value": OFFSET + random.random()}
"""


def test_a_night_is_quiet_then_names_what_moved(sandbox: Sandbox) -> None:
    folder = sandbox.suite(NIGHTLY, DRAWS, "OFFSET = 0.0\n")
    first = sandbox.run("nightly", "toy", "--minutes", "2", "-o", "first")
    assert first.returncode == 0, first.stdout + first.stderr
    assert (
        "**All quiet.** Watched 1 of 1 claims, 100% of the 1 that this machine can judge. 5 trials run" in first.stdout
    )
    (folder / "method.py").write_text("OFFSET = 10.0\n")
    second = sandbox.run("nightly", "toy", "--minutes", "2", "-o", "second")
    assert second.returncode == 1
    night = json.loads((sandbox.root / "second" / "night.json").read_text())
    assert [one["what"] for one in night["changes"] if one["confirmed"]] == ["toy/draws/method: value (cpu-x86_64)"]
    assert [(one["claim"], one["before"], one["now"]) for one in night["flips"]] == [
        ("below-two", "reproduced", "not reproduced")
    ]
    told = (sandbox.root / "second" / "night.md").read_text()
    assert "### Since its last row has changed: code changed: suites.toy.method:OFFSET\n" in told
    assert "**toy/below-two: reproduced -> not reproduced** (not as expected): measured 10." in told
    assert "before 0." in told and "rule <= 2." in told and "fresh seeds z = +" in told
    suite = ElementTree.parse(sandbox.root / "second" / "night.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "2")
    third = sandbox.run("nightly", "toy", "--minutes", "2")
    assert "0 trials run, 5 repeated" in third.stdout
    assert "What moved" not in third.stdout and "## Verdicts that are not as expected" in third.stdout
    assert third.returncode == 1  # the verdict is still not as expected


def test_a_trial_that_repeats_differently_raises_the_alarm(sandbox: Sandbox) -> None:
    sandbox.suite(
        NIGHTLY, "import time\n\n\ndef draws(*, arm, seed, device):\n    return {'value': time.time() / 1e10}\n", ""
    )
    assert sandbox.run("run", "toy").returncode == 0
    night = sandbox.json("nightly", "toy", "--minutes", "2")
    assert len(night["unequal"]) == 5
    assert night["alarm"]


def test_compare_files_of_rows(sandbox: Sandbox) -> None:
    folder = sandbox.suite(NIGHTLY, DRAWS, "OFFSET = 0.0\n")
    sandbox.run("run", "toy", "-o", "a.jsonl")
    same = sandbox.json("compare", "a.jsonl", "cpu-x86_64")
    assert (same["trials"], same["equal"], same["verdicts"]) == (5, 5, [])
    (folder / "method.py").write_text("OFFSET = 10.0\n")
    sandbox.run("run", "toy", "-o", "b.jsonl", CROSSEXAM_RESULTS="other")
    differing = sandbox.run("compare", "a.jsonl", "b.jsonl")
    assert differing.returncode == 1
    assert differing.stdout.startswith("toy/below-two: reproduced in a.jsonl, not reproduced in b.jsonl")
    assert "5 trials on both sides, 0 of them equal to the bit." in differing.stdout
    refused = sandbox.run("compare", "a.jsonl", "nothing-of-that-name")
    assert refused.returncode == 2
    assert "is no file, no machine class that has rows (cpu-x86_64) and no commit" in refused.stderr


def test_compare_applies_the_floors_of_the_night(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.suite(NIGHTLY, DRAWS, "OFFSET = 0.0\n")
    for name, seconds, memory in (("a", 1.0, 1.0), ("b", 1.05, 1.0003), ("c", 1.5, 1.0)):
        rows = [
            row(1.0, seed=seed, experiment="draws", seconds=seconds + seed / 1e4, peak_memory_gib=memory + seed / 1e9)
            for seed in range(5)
        ]
        (tmp_path / name).write_text("\n".join(Export(rows, {}, {}).lines()))
    near, far = sandbox.json("compare", "a", "b"), sandbox.json("compare", "a", "c")
    assert (near["trials"], near["equal"], near["differences"], near["small"]) == (5, 5, [], 2)
    assert [one["kind"] for one in far["differences"]] == ["seconds"]


def test_compare_counts_what_a_commit_did_not_run_again_among_the_equal(sandbox: Sandbox) -> None:
    second = NIGHTLY[NIGHTLY.index("[experiment") :].replace("draws", "other").replace("below-two", "other-below-two")
    fixed = "def other():\n    return {'value': 1.0}\n"
    folder = sandbox.suite(NIGHTLY + second.replace("seeds = 5\n", ""), f"{DRAWS}\n\n{fixed}", "OFFSET = 0.0\n")
    git(sandbox.root, "init", "-q")
    for offset in (0.0, 9.0):
        (folder / "method.py").write_text(f"OFFSET = {offset}\n")
        git(sandbox.root, "add", "suites")
        git(sandbox.root, "commit", "-qm", f"offset {offset}")
        sandbox.run("run", "toy")
    found = sandbox.json("compare", "HEAD~1", "HEAD")
    assert (found["trials"], found["equal"], found["cached"]) == (6, 1, 1)
    assert found["verdicts"] == [["toy/below-two", "reproduced", "not reproduced"]]
    assert "(1 by the same row: nothing that they depend on changed)" in sandbox.run("compare", "HEAD~1", "HEAD").stdout


def test_halving() -> None:
    tried = []

    def verdict(step: str) -> str:
        tried.append(step)
        return "reproduced" if int(step) < 37 else "not reproduced"

    culprit = halve([str(step) for step in range(100)], verdict, lambda line: None)
    assert (culprit.step, culprit.before, culprit.good, culprit.bad) == ("37", "36", "reproduced", "not reproduced")
    assert len(tried) == culprit.tried <= 9
    with pytest.raises(BisectError, match="both ends are 'reproduced'"):
        halve(["1", "2"], verdict, lambda line: None)


@pytest.mark.parametrize("skipped", [{50}, {50, 49, 51}, set(range(30, 37)), set(range(30, 37)) | {38, 39}])
def test_bisection_skips_what_has_no_verdict_and_says_where_it_matters(skipped: set[int]) -> None:
    def verdict(step: str) -> str:
        if int(step) in skipped:
            return "no verdict (invalid syntax)" if int(step) % 2 else "timeout"
        return "reproduced" if int(step) < 37 else "not reproduced"

    said: list[str] = []
    found = halve([str(step) for step in range(100)], verdict, said.append)
    before = max(step for step in range(37) if step not in skipped)
    assert (found.step, found.before) == ("37", str(before))
    assert found.skipped == tuple(str(step) for step in range(before + 1, 37))
    assert all(int(line.split(":")[0]) in skipped for line in said if line.endswith("skipped"))
    with pytest.raises(BisectError, match=r"1 gives no verdict \(invalid syntax\): choose another end"):
        halve(["1", "2"], lambda _: "no verdict (invalid syntax)", said.append)


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_bisect_over_commits_and_over_versions(sandbox: Sandbox) -> None:
    folder = sandbox.suite(NIGHTLY, DRAWS, "OFFSET = 0.0\n")
    git(sandbox.root, "init", "-q")
    revisions = []
    for offset in (0.0, 0.5, 1.5, 1.6):
        (folder / "method.py").write_text(f"OFFSET = {offset}\n")
        git(sandbox.root, "add", "suites")
        git(sandbox.root, "commit", "-qm", f"offset {offset}")
        revisions.append(git(sandbox.root, "rev-parse", "HEAD").strip())
    found = sandbox.json("bisect", "toy", "below-two", "--good", revisions[0], "--bad", "HEAD")
    assert (found["before"], found["step"]) == (revisions[1], revisions[2])
    assert (found["good"], found["bad"]) == ("reproduced", "not reproduced")
    assert git(sandbox.root, "worktree", "list").count("\n") == 1
    swapped = sandbox.run("bisect", "toy", "below-two", "--good", "HEAD", "--bad", revisions[0])
    assert swapped.returncode == 2
    assert "does not come after" in swapped.stderr
    unknown = sandbox.run("bisect", "toy", "below-two", "--good", "nowhere", "--bad", "HEAD")
    assert unknown.returncode == 2
    assert "'nowhere' is no commit" in unknown.stderr


def test_bisect_runs_nothing_at_commits_that_change_nothing_and_says_what_it_skips(sandbox: Sandbox) -> None:
    log = sandbox.root / "log"
    code = DRAWS.replace("    return", f"    open({str(log)!r}, 'a').write(f'{{OFFSET}} ')\n    return")
    folder = sandbox.suite(NIGHTLY, code, "OFFSET = 0.0\n")
    git(sandbox.root, "init", "-q")
    revisions = []
    texts = [
        "OFFSET = 0.0\n",
        "OFFSET = 0.0  # zero\n",
        "OFFSET = 0.0\n\n",
        "OFFSET = (\n",
        "OFFSET = 9.0\n",
        "OFFSET = 9.0  #\n",
    ]
    for text in texts:
        (folder / "method.py").write_text(text)
        git(sandbox.root, "add", "suites")
        git(sandbox.root, "commit", "-qm", "a step")
        revisions.append(git(sandbox.root, "rev-parse", "HEAD").strip())
    found = sandbox.run("bisect", "toy", "below-two", "--good", revisions[0], "--bad", "HEAD")
    assert f"{revisions[4]} is the first with 'not reproduced'; {revisions[2]} still had" in found.stdout
    assert f"or one of these, which have no verdict: {revisions[3]}" in found.stdout
    assert ", skipped" in found.stderr
    assert sorted(log.read_text().split()) == ["0.0"] * 5 + ["9.0"] * 5


def test_bisect_over_versions(sandbox: Sandbox) -> None:
    """Three versions of a package from a folder: the second one changes what it computes."""
    for version, offset in (("1.0", 0.0), ("2.0", 5.0), ("3.0", 5.0)):
        package = sandbox.root / f"package-{version}"
        package.mkdir()
        (package / "shifted.py").write_text(f"OFFSET = {offset}\n")
        (package / "pyproject.toml").write_text(
            f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n[project]\nname = "shifted"\n'
            f'version = "{version}"\n[tool.hatch.build.targets.wheel]\ninclude = ["shifted.py"]\n'
        )
        subprocess.run(
            ["uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", sandbox.root / "wheels", package],
            check=True,
        )  # fmt: skip
    sandbox.suite(NIGHTLY, DRAWS.replace("suites.toy.method", "shifted"), "")
    links = {"UV_FIND_LINKS": str(sandbox.root / "wheels"), "UV_NO_INDEX": "1"}
    words = ("--package", "shifted", "--good", "1.0", "--version", "2.0", "--bad", "3.0")
    found = sandbox.json("bisect", "toy", "below-two", *words, **{**os.environ, **links})
    assert (found["before"], found["step"]) == ("1.0", "2.0")
