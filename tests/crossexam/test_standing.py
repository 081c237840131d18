"""How papers stand: what is counted, where, and that a list of them does not judge them again."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import pytest

from crossexam.facts.loader import load_paper
from crossexam.facts.paper import Claim, Reported, Verdict
from crossexam.facts.project import find_paper
from crossexam.facts.rules import ExactRule
from crossexam.judging.judge import Judgement
from crossexam.judging.standing import last_run, ledger_state, record, total
from crossexam.runs.plan import Selection, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.showing.report import out as data_out
from crossexam.showing.report.site import PaperPage, gather
from crossexam.showing.report.status import table
from crossexam.watching import standings as listed
from tests.conftest import TOML, Sandbox

State = Literal["asserted", "small", "listed", "unobtainable"]


def judged(name: str, verdict: Verdict | None, **more: Any) -> Judgement:
    claim = Claim(name, "It is so.", "nowhere", "abstract", "e", ExactRule(metric="m", at_most=1))
    return Judgement(claim, verdict, "done" if verdict else "blocked", **more)


def number(state: State, *claims: str) -> Reported:
    return Reported("n", "s", "m", "w", "abstract", state, claims=claims, why="a test")


EVERY: tuple[Verdict | None, ...] = ("reproduced", "not reproduced", "inconclusive", None)


@pytest.mark.parametrize("verdicts", itertools.product(EVERY, repeat=2))
def test_a_number_counts_as_what_its_claims_found_and_never_as_asserted_alone(
    verdicts: tuple[Verdict | None, Verdict | None],
) -> None:
    found = {name: judged(name, verdict) for name, verdict in zip("ab", verdicts, strict=True)}
    there = [one for one in verdicts if one]
    expected = "not run" if not there else "agrees" if set(there) == {"reproduced"} else "undecided"
    if "not reproduced" in there:
        expected = "differs"
    assert ledger_state(number("asserted", "a", "b"), found) == expected
    assert ledger_state(number("small", "a", "b"), found) == ("small" if there else "not run")
    assert ledger_state(number("listed"), found) == "listed"
    assert ledger_state(number("unobtainable"), found) == "unobtainable"


EXTRA = """
[[experiment.sums.claim]]
id = "paper-says"
says = "Two and two are four, says the paper."
where = "Table 1"
provenance = "abstract"
rule = { kind = "exact", metric = "total", target = 4, atol = 1e-12 }

[[headline]]
says = "Sums are <b>sums</b>."
claims = ["paper-says"]

[[reported]]
id = "n1"
setting = "toy"
metric = "total"
method = 4
where = "Table 1"
provenance = "abstract"
state = "asserted"
claims = ["paper-says"]
"""


def page_of(sandbox: Sandbox, total_: float = 4.0, registered: bool = True) -> PaperPage:
    paper, project = load_paper(sandbox.suite(TOML + EXTRA)), Project(sandbox.root)
    rows = [
        Row(
            "toy", "sums", one.arm, one.seed, one.params, "exact", one.subject, one.setting, one.fingerprint, one.device,
            "done", {"total": total_}, started="2026-11-26T10:00:00",
            registered=paper.registration("sums") if registered else {},
        )
        for one in plan(paper, project, Selection())
    ]  # fmt: skip
    return gather([paper], project, rows, {}).pages[0]


def test_claims_of_the_paper_and_checks_are_counted_apart(sandbox: Sandbox) -> None:
    page = page_of(sandbox)
    assert record(page.standing) == {
        "headlines": {"holds": 1, "partly": 0, "fails": 0, "open": 0},
        "claims": {"reproduced": 1},
        "checks": {"reproduced": 1},
        "ledger": {"measured and agrees": 1},
        "registered": {"before": 2},
    }
    assert page.count(checks=False) == page.count(checks=True) == {"reproduced": 1}
    assert [one.claim.id for one in page.first_claims] == ["paper-says"]
    assert [one.claim.id for one in page.others(checks=True)] == ["two-and-two"]
    assert last_run(page.judgements) == "2026-11-26"
    assert record(page_of(sandbox, 5.0, registered=False).standing)["ledger"] == {"measured and differs": 1}
    assert record(page_of(sandbox, 5.0, registered=False).standing)["registered"] == {"unknown": 2}
    assert total([{"a": 1}, {"b": 2, "a": 3}]) == {"a": 4, "b": 2}


def test_the_table_of_the_readme_leads_with_what_one_types(sandbox: Sandbox) -> None:
    page = page_of(sandbox)
    lines = table(replace(gather([], Project(sandbox.root), [], {}), pages=(page,)), "suites/").splitlines()
    assert lines[2].startswith("| [`toy`](suites/toy) | 1 | 0 | 0 | 0 | 1 / 0 / 0 / 0 | 1 / 0 / 0 / 0 | 2026-11-26 |")
    assert "Reported numbers: 1 measured and agrees." in lines
    assert "Rules of the verdicts: 2 stood before their rows." in lines


def test_programs_read_verdicts_and_badges(sandbox: Sandbox, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    data_out.write([page_of(sandbox)], site)
    found = json.loads((site / "data" / "toy.json").read_text())
    assert found["headlines"][0]["outcome"] == "holds"
    assert [one["kind"] for one in found["claims"]] == ["check", "claim of the paper"]
    assert found["ledger"] == {"n1": "measured and agrees"}
    assert json.loads((site / "data" / "all.json").read_text())["papers"] == [found]
    rows = list(csv.DictReader(io.StringIO((site / "data" / "all.csv").read_text())))
    assert [row["claim"] for row in rows] == ["two-and-two", "paper-says"]
    assert rows[0]["measured"] == "ok (0, allowed 1e-12)"
    badge = json.loads((site / "badges" / "toy.json").read_text())
    assert badge == {
        "schemaVersion": 1, "label": "CrossExam: toy", "message": "1 holds", "color": data_out.COLOURS["holds"],
    }  # fmt: skip
    picture = ElementTree.fromstring((site / "badges" / "toy.svg").read_text())
    assert picture.get("aria-label") == "CrossExam: toy: 1 holds"


def test_a_badge_says_how_many_and_shows_the_worst(sandbox: Sandbox) -> None:
    page = page_of(sandbox, 5.0)
    assert data_out.as_badge(page)["message"] == "1 fails"
    assert data_out.as_badge(page)["color"] == data_out.COLOURS["fails"]
    bare = replace(page, paper=replace(page.paper, headlines=()))
    assert data_out.as_badge(bare)["message"] == "no headlines yet"


def test_a_list_judges_only_what_changed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sandbox.suite(TOML + EXTRA)
    paper = find_paper(sandbox.root, "toy")
    judged_: list[str] = []
    real = listed._standing

    def judge(paper: Any, project: Any, store: Any) -> dict[str, Any]:
        judged_.append(paper.slug)
        return real(paper, project, store)

    monkeypatch.setattr(listed, "_standing", judge)
    with Store(sandbox.root / "results") as store:
        for _ in range(2):
            found = listed.standings([paper], Project(sandbox.root), store)[0]["toy"]
        assert (judged_, found["last_run"], found["headlines"]["open"]) == (["toy"], "", 1)
    assert sandbox.run("run", "toy").returncode == 0
    with Store(sandbox.root / "results") as store:
        found = listed.standings([paper], Project(sandbox.root), store)[0]["toy"]
        assert (judged_, found["headlines"]["holds"], len(found["last_run"])) == (["toy", "toy"], 1, 10)


def test_what_a_person_sees(sandbox: Sandbox) -> None:
    sandbox.suite(TOML + EXTRA)
    (sandbox.root / "suites" / "toy" / "README.md").write_text("# Toy\n\n```python\nprint('used')\n```\n")
    run = sandbox.run("run", "toy")
    assert run.stdout.index("holds   Sums are") < run.stdout.index("paper-says") < run.stdout.index("two-and-two")
    assert "toy: claims: 1 reproduced; checks: 1 reproduced; all verdicts as expected." in run.stdout
    shown = sandbox.run("show", "toy").stdout
    for text in ("holds   Sums are <b>sums</b>.", "On: exact, in float64.", "    print('used')", "suites/toy/README.md",
                 "https://arxiv.org/abs/0000.00000", "Claims of the paper: 1 reproduced", "crossexam show toy --all",
                 "Reported numbers: 1 measured and agrees.", "Rules of the verdicts: 2 stood before their rows."):  # fmt: skip
        assert text in shown, text
    assert "two-and-two" not in shown
    assert "two-and-two" in sandbox.run("show", "toy", "--all").stdout
    assert "  toy   1" in sandbox.run("list").stdout
    selected = sandbox.json("judge", "toy", "-k", "two-and-two")
    assert [one["claim"] for one in selected["claims"]] == ["two-and-two"]
    assert selected["headlines"][0]["outcome"] == "holds"  # of the whole paper, whatever was selected
    found = sandbox.json("show", "toy")
    assert found["headlines"][0]["claims"] == [{"claim": "paper-says", "verdict": "reproduced"}]
    assert found["totals"][0]["checks"] == {"reproduced": 1}
    assert found["claims"][0]["registered"] == "before"
    assert sandbox.json("list")[0]["standing"]["claims"] == {"reproduced": 1}


def test_a_summary_over_no_verdict_expects_nothing(sandbox: Sandbox) -> None:
    sandbox.suite(TOML + EXTRA)
    told = sandbox.run("judge", "toy").stdout
    assert "as expected" not in told
    assert "no verdict yet" in told


@pytest.mark.parametrize("columns", ["80", "160"])
def test_no_word_is_cut_on_a_narrow_page(sandbox: Sandbox, columns: str) -> None:
    sandbox.suite(TOML + EXTRA)
    sandbox.run("run", "toy")
    for words in (("show", "toy", "--all"), ("list",), ("judge", "toy")):
        printed = sandbox.run(*words, COLUMNS=columns).stdout
        tables = [line for line in printed.splitlines() if line.startswith(("claim", "paper-says", "two-and", "  toy"))]
        assert tables and all(len(line) <= int(columns) for line in tables), words
    assert "reproduced" in printed
