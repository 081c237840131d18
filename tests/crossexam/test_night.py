"""A night: how much it watched, in which order, in what time; why something moved; and whom it tells."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from crossexam.watching import told
from crossexam.watching.nightly import Change, Coverage, Flip, Night, Verdict
from crossexam.watching.reasons import Reason, grouped
from tests.conftest import Sandbox
from tests.crossexam.test_watch import DRAWS, NIGHTLY, git

PROTOCOL = 'protocol = { data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none" }'


def experiment(name: str, more: str = "") -> str:
    return f"""
[experiment.{name}]
tier = "small"
{PROTOCOL}
{more}

[[experiment.{name}.claim]]
id = "{name}-is-one"
says = "One is one in {name}."
where = "nowhere"
provenance = "derived"
rule = {{ kind = "exact", metric = "value", target = 1, atol = 1e-12 }}
"""


HEAD = NIGHTLY[: NIGHTLY.index("[experiment")]


def test_a_fresh_clone_says_what_changed_since_the_committed_rows(sandbox: Sandbox) -> None:
    """Committed rows come without their lists of definitions: the code of their commit is read from git."""
    code = DRAWS.replace("OFFSET + ", "OFFSET + baseline() + ").replace(
        "OFFSET\n", "OFFSET\nfrom suites.toy.contenders import baseline\n"
    )
    folder = sandbox.suite(NIGHTLY, code, "OFFSET = 0.0\n")
    (folder / "contenders.py").write_text("SCALE = 0.5\n\n\ndef baseline():\n    return SCALE\n")
    git(sandbox.root, "init", "-q")
    git(sandbox.root, "add", "suites")
    git(sandbox.root, "commit", "-qm", "A suite")
    rows = sandbox.root / "results" / "reference"
    sandbox.run("run", "toy", CROSSEXAM_RESULTS="elsewhere")
    rows.mkdir(parents=True)
    sandbox.run("export", "toy", "-o", str(rows / "toy.cpu.jsonl"), CROSSEXAM_RESULTS="elsewhere")
    git(sandbox.root, "add", "results")
    git(sandbox.root, "commit", "-qm", "Its rows")
    (folder / "contenders.py").write_text("SCALE = 5.0\n\n\ndef baseline():\n    return SCALE\n")
    git(sandbox.root, "commit", "-qam", "Tidy the baseline")
    night = sandbox.run("nightly", "toy", "--minutes", "2", "-o", "night", GITHUB_ACTIONS="true")
    assert night.returncode == 1, night.stderr
    assert "code changed: suites.toy.contenders:SCALE" in night.stdout
    assert "Tidy the baseline" in night.stdout and "Its rows" not in night.stdout
    first = git(sandbox.root, "rev-list", "--max-parents=0", "HEAD").strip()
    assert f"`crossexam bisect toy below-two --good {first[:12]} --bad HEAD`" in night.stdout
    assert "::error file=suites/toy/contenders.py,title=toy/below-two::" in night.stdout
    assert night.stdout.count("### Since its last row") == 1, "the verdict and the series have one cause"
    (flip,) = json.loads((sandbox.root / "night" / "night.json").read_text())["flips"]
    assert flip["was"]["verdict"] == "reproduced" and flip["was"]["measured"] and flip["found"]["rule"] == "<= 2"
    case = ElementTree.parse(sandbox.root / "night" / "night.xml").getroot()[0]
    assert "Tidy the baseline" in (case.findtext("failure") or "")


def test_what_lacks_data_is_counted_by_cause_and_too_little_is_amber(sandbox: Sandbox) -> None:
    toml = HEAD + experiment("here") + experiment("there", 'needs = { data = ["taiwan-default"] }')
    slow = "    import time\n    time.sleep(20)\n"
    code = "def here():\n{}    return {{'value': 1.0}}\n\n\ndef there():\n    return {{'value': 1.0}}\n"
    sandbox.suite(toml, code.format(""))
    nowhere = {"CROSSEXAM_DATA": "", "XDG_CACHE_HOME": str(sandbox.root / "cache")}
    quiet = sandbox.run("nightly", "toy", "--minutes", "1", **nowhere)
    assert quiet.returncode == 0
    assert "Watched 1 of 2 claims, 100% of the 1 that this machine can judge." in quiet.stdout
    assert "1 blocked (1 for want of the data set 'taiwan-default')" in quiet.stdout
    sandbox.suite(toml, code.format(slow))
    amber = sandbox.run("nightly", "toy", "--minutes", "0.15", "-o", "night", **nowhere)
    assert amber.returncode == 5, amber.stdout
    assert "**Amber: nothing moved" in amber.stdout and "1 left for want of time" in amber.stdout
    assert '<failure message="Amber' in (sandbox.root / "night" / "night.xml").read_text()
    assert sandbox.run("nightly", "toy", "--minutes", "0.15", "--floor", "0", **nowhere).returncode == 0
    assert sandbox.run("nightly", "toy", "--floor", "2").returncode == 2


def test_a_night_fetches_what_its_papers_need_unless_offline(sandbox: Sandbox) -> None:
    sandbox.suite(
        HEAD + experiment("there", 'needs = { data = ["letter"] }'), "def there():\n    return {'value': 1.0}\n"
    )
    cut_off = {"CROSSEXAM_DATA": "", "XDG_CACHE_HOME": str(sandbox.root / "cache"), "https_proxy": "http://127.0.0.1:9"}
    online = sandbox.run("nightly", "toy", "--minutes", "1", **cut_off)
    assert "could not fetch" in online.stderr and "1 for want of the data set 'letter'" in online.stdout
    offline = sandbox.run("nightly", "toy", "--minutes", "1", "--offline", **cut_off)
    assert online.returncode == 5 and "**Amber: this machine can judge no claim.**" in online.stdout
    assert "could not fetch" not in offline.stderr and "1 for want of the data set 'letter'" in offline.stdout


@pytest.mark.timeout(120)
def test_a_night_ends_in_its_time(sandbox: Sandbox) -> None:
    """Twenty trials of 2 s each on one CPU, and 18 s for the night."""
    sandbox.suite(
        HEAD + experiment("slow", "seeds = 20"),
        "import time\n\n\ndef slow(*, seed):\n    time.sleep(2)\n    return {'value': 1.0}\n",
    )

    started = time.monotonic()
    night = sandbox.json("nightly", "toy", "--minutes", "0.3", "--jobs", "1")
    assert night["seconds"] >= 0.3 * 60 * 0.8 and time.monotonic() - started <= 0.3 * 60 * 1.2 + 1  # 1 s: Python
    assert night["ran"] >= 4 and night["left"] == 20 - night["ran"]


def test_what_changed_goes_first_then_what_waits_longest_then_headlines(sandbox: Sandbox) -> None:
    toml = HEAD + "".join(experiment(name) for name in ("plain", "leading", "edited"))
    toml += '\n[[headline]]\nsays = "One leads."\nclaims = ["leading-is-one"]\n'
    body = "def {0}():\n    open({1!r}, 'a').write('{0} ')\n    return {{'value': {2}}}\n\n\n"
    log = sandbox.root / "order"

    def write(edited: str) -> None:
        names = (("plain", "1.0"), ("leading", "1.0"), ("edited", edited))
        sandbox.suite(toml, "".join(body.format(name, str(log), value) for name, value in names))

    write("1.0")
    assert sandbox.run("run", "toy").returncode == 0
    write("2.0 / 2")
    log.write_text("")
    night = sandbox.json("nightly", "toy", "--minutes", "1", "--jobs", "1")
    assert (night["ran"], night["repeated"]) == (1, 2)
    assert log.read_text().split()[0] == "edited"


def test_a_cost_is_held_against_the_last_row_and_a_metric_against_the_last_of_other_code(toy: Sandbox) -> None:
    from crossexam.facts.project import find_paper
    from crossexam.runs.plan import Selection, plan
    from crossexam.runs.source import Project
    from crossexam.runs.store import Store
    from crossexam.watching.reasons import NOTHING, Reasons

    toy.run("run", "toy")
    toy.suite(method="def add(a, b):\n    return b + a\n")
    toy.run("run", "toy")
    trials = plan(find_paper(toy.root, "toy"), Project(toy.root), Selection())
    with Store(toy.root / "results") as store, Reasons(Project(toy.root), store, store.rows(), "9999") as reasons:
        assert reasons.of(trials).causes == ("code changed: suites.toy.method:add",)
        assert reasons.of(trials, costs=True).causes == (NOTHING,)


def a_night(**changes: object) -> Night:
    seen = Coverage(4, 4, 4, 0.5, 0, {})
    fields = {
        "at": "2026-11-27T02:00:00+00:00", "commit": "c" * 40, "seconds": 60.0, "coverage": seen, "ran": 1,
        "repeated": 0, "left": 0, "series": 3, "changes": (), "flips": (), "unequal": (), "failed": (),
        "unexpected": (), "judged": (), **changes,
    }  # fmt: skip
    return Night(**fields)  # type: ignore[arg-type]


CAUSE = Reason(
    ("code changed: suites.toy.method:OFFSET",), "a" * 12, ("b1 2026-11-27 Tidy, 100 %",), "suites/toy/method.py"
)


def a_change(what: str, fresh_z: float | None, *, confirmed: bool = False) -> Change:
    return Change(what, "g", 1.0, 2.0, 9.0, fresh_z, confirmed, "toy", "draws", (0.9, 1.1), None, CAUSE)


def test_not_confirmed_and_no_time_to_confirm_are_two_things() -> None:
    told_ = told.markdown(a_night(changes=(a_change("toy/a: v (cpu)", None), a_change("toy/b: v (cpu)", 0.1))))
    assert told_.startswith("# CrossExam, 2026-11-27\n\n**All quiet.** Watched 4 of 4 claims")
    unsure, doubted = told_.split("## Deviations that fresh seeds did not confirm")
    assert "no time to confirm\n\n- toy/a: v (cpu): 1 [0.9, 1.1] -> 2 (z = +9.0, no time to confirm" in unsure
    assert "toy/b: v (cpu)" in doubted and "fresh seeds z = +0.1" in doubted


def test_annotations_are_escaped() -> None:
    flip = Flip(
        "toy",
        "c",
        "reproduced",
        "inconclusive",
        Verdict("reproduced", "1"),
        Verdict("inconclusive", "2", "<= 1"),
        True,
        CAUSE,
        "crossexam bisect",
    )
    (line,) = told.workflow_commands(a_night(flips=(flip,)))
    assert line.startswith(
        "::warning file=suites/toy/method.py,title=toy/c::toy/c: reproduced -> inconclusive: measured 2"
    )
    assert "Tidy, 100 %25" in line and "\n" not in line


def test_entries_of_one_cause_stand_together() -> None:
    other = Reason(("library torch: 2.11.0 -> 2.13.0",), packages=(("torch", "2.11.0", "2.13.0"),))
    assert [numbers for _, numbers in grouped([(other, 0), (CAUSE, 1), (CAUSE, 2)])] == [[1, 2], [0]]
    assert other.bisect("toy", "c") == "crossexam bisect toy c --package torch --good 2.11.0 --bad 2.13.0"
    assert CAUSE.bisect("toy", "c") == f"crossexam bisect toy c --good {'a' * 12} --bad HEAD"
    assert Reason(("code changed: x:y",), "a", ("not committed: x.py",)).bisect("toy", "c") == ""


GH = """#!/bin/sh
echo "$@" >> "$GH_LOG"
case "$1 $2" in
  "issue list") if [ -e "$GH_LOG.open" ]; then echo '[{"number": 7}]'; else echo '[]'; fi;;
  "issue create") touch "$GH_LOG.open"; cat >> "$GH_LOG.body"; echo https://example.org/issues/7;;
  "issue edit") cat >> "$GH_LOG.body";;
  "issue close") rm "$GH_LOG.open";;
esac
"""


def test_one_issue_is_opened_rewritten_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_LOG", str(log))
    monkeypatch.setenv("GITHUB_JOB", "gpu")
    loud, quiet = a_night(failed=("toy/a: it broke",)), a_night()
    assert told.issue(quiet) == "no issue"
    assert told.issue(loud) == "issue opened: https://example.org/issues/7"
    assert told.issue(loud) == "issue 7 rewritten"
    assert told.issue(a_night(coverage=Coverage(4, 4, 0, 0.5, 0, {}))) == "no issue"  # amber: it stays open
    assert told.issue(quiet) == "issue 7 closed" and told.issue(quiet) == "no issue"
    words = [" ".join(line.split()[:2]) for line in log.read_text().splitlines() if line.startswith("issue")]
    assert words.count("issue create") == words.count("issue edit") == words.count("issue close") == 1
    assert "--label crossexam-night-gpu" in log.read_text(), "jobs of one workflow do not close each other's"
    assert "toy/a: it broke" in (tmp_path / "log.body").read_text()


def test_without_gh_the_night_says_so_and_goes_on(sandbox: Sandbox) -> None:
    sandbox.suite(NIGHTLY, DRAWS, "OFFSET = 0.0\n")
    night = sandbox.run("nightly", "toy", "--minutes", "1", "--issue", PATH="")
    assert night.returncode == 0 and "--issue needs GitHub's client: install gh" in night.stderr
