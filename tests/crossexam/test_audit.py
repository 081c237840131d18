"""An audit notices what it is there for: claims that cannot fail, comparisons that chance wins, metrics that waver."""

from __future__ import annotations

import ast
import json
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from crossexam.facts.loader import load_paper
from crossexam.facts.rules import OrderRule
from crossexam.runs.runner import Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.watching.audit import Audit, Auditor, Faulty, Laboratory
from crossexam.watching.mutants import mutants, sample
from tests.conftest import Sandbox

SOURCE = textwrap.dedent('''
    def scaled(x: int = 3, *, rate: float = 0.5):
        """Not 7 but 8."""
        if rate < 0:
            raise ValueError(f"rate is {rate + 1}")
        total = x.mean() - rate * x
        return max(total, -x) if rate <= 2 else total


    def other(x):
        return x + 1
''')


def test_mutants_change_one_thing_that_computes() -> None:
    found = mutants(SOURCE, ["scaled"])
    assert len({one.name for one in found}) == len(found) == len({one.source for one in found})
    kinds = {one.name.split(":")[1] for one in found}
    assert kinds == {"comparison", "tie", "sign", "term", "constant", "arguments", "reduction", "option", "default"}
    for one in found:
        ast.parse(one.source)
        removed = [line for line in one.diff.splitlines() if line.startswith("-")]
        assert len(removed) == 1
        assert not any(word in removed[0] for word in ("raise", "Not 7", "rate < 0", "x + 1"))
    assert {"-    total = x.mean() - rate * x\n+    total = (x.sum()) - rate * x"} <= {one.diff for one in found}


OPTIONS = textwrap.dedent("""
    def loss(x, y, margin=1.0, robust=False, reduction="mean"):
        teacher = y.detach().double()
        if robust:
            return (x - teacher).abs().clamp_min(0.5).sum(dim=-1)
        order = x.argsort(stable=True)
        return torch.softmax(x, 1)[order[0]] + min(margin, 2.0)
""")


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("default", "margin=2.0"), ("default", "robust=True"), ("option", "if (not (robust)):"), ("return", "if False:"),
        ("detach", "teacher = y.double()"), ("dtype", "teacher = y.detach()\n"), ("guard", "((x - teacher).abs()).sum(dim=-1)"),
        ("axis", "sum(dim=0)"), ("axis", "torch.softmax(x, -1)"), ("tie", "stable=False"), ("end", "order[-1]"),
        ("reduction", "(max(margin, 2.0))"),
    ],
)  # fmt: skip
def test_mutants_know_what_hides_from_claims(kind: str, edit: str) -> None:
    found = {one.source for one in mutants(OPTIONS, ["loss"]) if one.kind == kind}
    assert any(edit in source for source in found), sorted(found)


def test_every_function_option_and_default_is_drawn() -> None:
    found = mutants(OPTIONS + SOURCE, ["loss", "scaled", "other"])
    drawn = sample(found, 8)
    assert {one.function for one in drawn} == {"loss", "scaled", "other"}
    assert {one.about for one in drawn if one.about} == {one.about for one in found if one.about}
    assert len({one.kind for one in sample(found, 30)}) >= 12  # kinds take turns


def test_mutants_are_drawn_by_seed() -> None:
    found = mutants(SOURCE, ["scaled", "other"])
    assert sample(found, 5) == sample(found, 5) != sample(found, 5, seed=1)
    assert sample(found, 1000) == found


TOML = """
[paper]
title = "Sums, pairs and clocks"
arxiv = "0000.00000"
field = "losses"
summary = "What an audit is there for."

[experiment.sums]
tier = "exact"
[experiment.climbs]
tier = "exact"
needs = { minutes = 0.05 }
[experiment.clock]
tier = "exact"
[experiment.honest]
tier = "exact"
arms = ["method", "base"]
seeds = 5
[experiment.rising]
tier = "exact"
arms = ["method", "base"]
seeds = 5

[[fault]]
id = "difference"
says = "The sum is a difference."
replace = "a + b + 0.0"
by = "a - b"
breaks = ["two-and-two"]
[[fault]]
id = "order"
says = "Adds nothing once more, which no claim can see."
replace = "return a + b + 0.0"
by = "return 0.0 + a + b"
breaks = ["two-and-two"]
[[fault]]
id = "endless"
says = "Never arrives."
replace = "at += 1"
by = "at += 0"
breaks = ["arrives"]

[[excused]]
mutant = "add:sign:1"
why = "Plus or minus nothing."
"""
CLAIM = """
[[experiment.{experiment}.claim]]
id = "{id}"
says = "It is so."
where = "nowhere"
provenance = "derived"
rule = {{ {rule} }}
"""
CLAIMS = (
    ("two-and-two", "sums", 'kind = "exact", metric = "total", target = 4, atol = 1e-12'),
    ("anything", "sums", 'kind = "exact", metric = "total", at_least = -1e9'),
    ("arrives", "climbs", 'kind = "exact", metric = "top", at_least = 3'),
    ("ticks", "clock", 'kind = "exact", metric = "time", at_least = 1'),
    ("honest-better", "honest", 'kind = "order", metric = "score", baseline = "base"'),
    ("rising-better", "rising", 'kind = "order", metric = "score", baseline = "base"'),
)
METHOD = """
def idle():
    return 0


def add(a, b):
    return a + b + 0.0


def climb(top):
    at = 0
    while at < top:
        at += 1
    return at
"""
CODE = """
import random
import time

from suites.toy.method import add, climb


def sums(*, arm, seed, device):
    return {"total": add(2.0, 2.0)}


def climbs(*, arm, seed, device):
    return {"top": climb(3)}


def clock(*, arm, seed, device):
    return {"time": time.time()}


def honest(*, arm, seed, device):
    return {"score": random.random() + 5 * (arm == "method")}


def rising(*, arm, seed, device):
    return {"score": float(seed) + (arm == "method")}
"""


@dataclass(frozen=True)
class Audited:
    """One toy suite after its audit."""

    sandbox: Sandbox
    exit_code: int
    found: dict[str, Any]
    tree: dict[Path, bytes]

    def red(self, fault: str) -> list[str]:
        return next(one["red"] for one in self.found["faults"] if one["id"] == fault)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    sandbox = Sandbox(tmp_path_factory.mktemp("audit"))
    claims = "".join(CLAIM.format(id=name, experiment=experiment, rule=rule) for name, experiment, rule in CLAIMS)
    folder = sandbox.suite(TOML + claims, CODE, METHOD)
    tree = {file: file.read_bytes() for file in folder.glob("*.*")}
    assert sandbox.run("run", "toy").returncode == 0
    audit = sandbox.run("audit", "toy", "--json")
    return Audited(sandbox, audit.returncode, json.loads(audit.stdout)[0], tree)


def test_faults_are_caught_or_named(audited: Audited) -> None:
    assert "two-and-two" in audited.red("difference")
    assert audited.red("order") == []
    assert audited.red("add:sign:2") == ["two-and-two"]
    assert audited.exit_code == 1
    assert "audit FAILED: 2 of 3 listed faults caught" in audited.sandbox.run("show", "toy").stdout


def test_a_fault_that_never_ends_is_stopped(audited: Audited) -> None:
    assert audited.red("endless") == ["arrives"]


def test_an_equivalent_mutant_is_excused_by_name(audited: Audited) -> None:
    excused = {one["id"]: one["excused"] for one in audited.found["faults"] if one["excused"]}
    assert excused == {"add:sign:1": "Plus or minus nothing."}


def test_a_claim_that_nothing_turns_red_is_toothless(audited: Audited) -> None:
    assert audited.found["toothless"] == ["anything"]


def test_null_control_finds_a_baseline_that_beats_itself(audited: Audited) -> None:
    """Where the metric rises with the seed, later seeds of the baseline beat earlier ones."""
    verdicts = {one["claim"]: one["verdict"] for one in audited.found["null_control"]}
    assert verdicts["rising-better"] == "reproduced"
    assert verdicts["honest-better"] != "reproduced"
    assert {one["verdict"] for one in audited.found["placebo"]} == {"not reproduced"}


def test_a_null_control_that_is_cut_off_has_no_verdict(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    root = audited.sandbox.root
    monkeypatch.setattr(Runner, "run", lambda *_: [])
    with Store(root / "results") as store:
        auditor = Auditor(load_paper(root / "suites" / "toy"), Project(root), store, 1, minutes=1)
        assert {one.verdict for one in auditor._null_control()} == {""}


def test_a_claim_of_being_not_much_worse_has_no_control(audited: Audited) -> None:
    """It holds of an arm against itself, so that a control which says so is no false alarm."""
    root = audited.sandbox.root
    paper = load_paper(root / "suites" / "toy")
    lenient = [
        replace(one, rule=replace(one.rule, margin=-0.5, margin_reason="half"))
        if isinstance(one.rule, OrderRule)
        else one
        for one in paper.claims
    ]
    with Store(root / "results") as store:
        names = [
            {claim.id for claim in Auditor(one, Project(root), store, 1, minutes=1)._paired()}
            for one in (paper, replace(paper, claims=tuple(lenient)))
        ]
    assert "honest-better" in names[0]
    assert not names[1]


def test_metrics_that_waver_are_named(audited: Audited) -> None:
    assert audited.found["unrepeatable"] == ["toy/clock/method#0"]
    assert audited.found["repeated"] == 5


def test_the_tree_is_left_alone(audited: Audited) -> None:
    assert {file: file.read_bytes() for file in audited.tree} == audited.tree


def test_an_excuse_by_a_unit_test_holds_if_the_test_fails(toy: Sandbox) -> None:
    folder = toy.root / "tests" / "suites"
    folder.mkdir(parents=True)
    code = "from suites.toy.method import add\n\n\ndef test_sum():\n    assert add(1, 2) == 3\n\n\ndef test_twice():\n    assert add(2, 2) == 4\n"
    (folder / "test_toy.py").write_text(code)
    paper = load_paper(toy.root / "suites" / "toy")
    laboratory = Laboratory(toy.root / "laboratory", paper, toy.root)
    fault = Faulty("add:sign:1", "generated", "", "method.py", "def add(a, b):\n    return a * b\n")
    assert laboratory.caught_by_test(replace(fault, test="test_toy.py::test_sum"))
    assert not laboratory.caught_by_test(replace(fault, test="test_toy.py::test_twice"))
    assert not laboratory.caught_by_test(replace(fault, test="test_toy.py::test_absent"))


def test_a_public_function_that_no_claim_reaches_is_named(audited: Audited) -> None:
    assert audited.found["unreached"] == ["method.py:idle"]


def test_a_fault_that_is_excused_keeps_nobody_waiting() -> None:
    """A mutant that is equal to the source reaches no experiment: what was not run is then no lack of time."""
    fault = {"id": "f", "kind": "generated", "says": "", "excused": "", "ran": ["e"], "red": ["c"]}
    equal = {**fault, "id": "g", "ran": [], "red": []}
    found = Audit(
        paper="toy", at="", commit="", seconds=0.0, faults=(fault, equal), toothless=(), null_control=(), placebo=(),
        alarm_rate=(0.0, 1.0), repeated=0, unrepeatable=(), overspent=(), untuned=(),
    )  # fmt: skip
    assert found.untried == 1 and not found.passed
    excused = replace(found, faults=(fault, {**equal, "excused": "both arguments are the same"}))
    assert excused.untried == 0 and excused.passed
