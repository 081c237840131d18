"""A change reruns exactly what depends on it, and `why` names it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from crossexam.runs.executors import Executor
from crossexam.runs.source import Project
from crossexam.runs.syntax import dump
from tests.conftest import ROOT, Sandbox

TOML = """
[paper]
title = "Two experiments"
arxiv = "0000.00000"
field = "losses"
summary = "They use different things."

[experiment.focal]
tier = "exact"
[experiment.plain]
tier = "exact"

[[experiment.focal.claim]]
id = "focal"
says = "A number."
where = "nowhere"
provenance = "derived"
rule = { kind = "exact", metric = "x", at_least = 0 }
"""
EXPERIMENTS = '''
"""Prose."""
from baselines import losses
from suites.toy.method import scale


def focal(*, arm, seed, device):
    """More prose."""
    return {"x": scale(losses.focal(1.0))}


def plain(*, arm, seed, device):
    return {"x": losses.plain(1.0)}
'''
METHOD = "FACTOR = 2.0\n\n\ndef scale(x):\n    return FACTOR * x\n"
LOSSES = "GAMMA = 2.0\nUNUSED = 1\n\n\ndef focal(x):\n    return GAMMA * x\n\n\ndef plain(x):\n    return x\n"


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    sandbox.suite(TOML, EXPERIMENTS, METHOD)
    (sandbox.root / "baselines").mkdir()
    (sandbox.root / "baselines" / "__init__.py").touch()
    (sandbox.root / "baselines" / "losses.py").write_text(LOSSES)
    return sandbox


def digests(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    fresh = Project(root)
    return fresh.digests(("suites.toy.experiments", "focal")), fresh.digests(("suites.toy.experiments", "plain"))


def change(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_closure_follows_names_into_other_modules(project: Sandbox) -> None:
    focal, plain = digests(project.root)
    assert {
        "suites.toy.method:scale",
        "suites.toy.method:FACTOR",
        "baselines.losses:focal",
        "baselines.losses:GAMMA",
    } <= set(focal)
    assert set(plain) == {"suites.toy.experiments:plain", "baselines.losses:plain"}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("baselines/losses.py", "GAMMA = 2.0", "GAMMA = 3.0", (True, False)),
        ("baselines/losses.py", "UNUSED = 1", "UNUSED = 2", (False, False)),
        ("baselines/losses.py", "return x\n", "return -x\n", (False, True)),
        ("suites/toy/method.py", "FACTOR * x", "FACTOR + x", (True, False)),
        ("suites/toy/experiments.py", "More prose.", "Other prose.", (False, False)),
        ("suites/toy/experiments.py", "def plain", "# a comment\n\n\ndef plain", (False, False)),
        ("suites/toy/experiments.py", '"""Prose."""', '"""Prose."""\nprint("effect")', (True, True)),
        ("baselines/losses.py", "UNUSED = 1", "import random\nrandom.seed(0)", (True, True)),
    ],
)
def test_a_change_reaches_exactly_its_users(
    project: Sandbox, file: str, old: str, new: str, changed: tuple[bool, bool]
) -> None:
    before = digests(project.root)
    change(project.root, file, old, new)
    after = digests(project.root)
    assert tuple(one != other for one, other in zip(before, after, strict=True)) == changed


def test_modules_passed_around_and_imports_inside_functions_count(project: Sandbox) -> None:
    code = "def focal(*, arm, seed, device):\n    import baselines.losses as b\n    return getattr(b, arm)\n"
    (project.root / "suites/toy/experiments.py").write_text(code + "\n\ndef plain():\n    return 0\n")
    focal, plain = digests(project.root)
    assert {f"baselines.losses:{name}" for name in ("GAMMA", "UNUSED", "focal", "plain")} <= set(focal)
    assert set(plain) == {"suites.toy.experiments:plain"}


def test_an_experiment_may_be_a_name_that_is_only_imported(project: Sandbox) -> None:
    experiments = project.root / "suites/toy/experiments.py"
    experiments.rename(experiments.with_name("exact.py"))
    experiments.write_text("from suites.toy.exact import focal, plain\n")
    focal, plain = digests(project.root)
    assert {"suites.toy.exact:focal", "suites.toy.method:FACTOR", "baselines.losses:GAMMA"} <= set(focal)
    assert set(plain) == {"suites.toy.exact:plain", "baselines.losses:plain"}
    change(project.root, "suites/toy/experiments.py", "\n", "\nprint('this runs, too')\n")
    assert "suites.toy.experiments:<import>" in digests(project.root)[1]


def test_all_of_a_module_counts_where_all_its_names_are_imported(project: Sandbox) -> None:
    change(project.root, "suites/toy/experiments.py", "from baselines import losses", "from baselines.losses import *")
    change(project.root, "suites/toy/experiments.py", "losses.focal", "focal_loss")
    change(project.root, "baselines/losses.py", "def focal", "def focal_loss")
    assert {"baselines.losses:focal_loss", "baselines.losses:GAMMA"} <= set(digests(project.root)[0])


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("from math import log", "from math import log2 as log", True),
        ("from math import log", "from math import exp, log", False),
        ("from os import path as log", "import os.path as log", False),
        ("from math import log", "from cmath import *", True),
    ],
)
def test_what_a_name_is_outside_the_project_counts(project: Sandbox, before: str, after: str, changed: bool) -> None:
    method = project.root / "suites/toy/method.py"
    method.write_text(f"{before}\n\nFACTOR = 2.0\n\n\ndef scale(x):\n    return FACTOR * log(x)\n")
    first = digests(project.root)
    change(project.root, "suites/toy/method.py", before, after)
    second = digests(project.root)
    assert (first[0] != second[0], first[1] != second[1]) == (changed, False)


def test_effects_count_for_whoever_imports_the_module(project: Sandbox) -> None:
    (project.root / "suites/toy/setup.py").write_text("import sys\n\nsys.setrecursionlimit(10_000)\n")
    before = digests(project.root)
    change(project.root, "suites/toy/experiments.py", "from baselines", "import suites.toy.setup\nfrom baselines")
    after = digests(project.root)
    assert [set(new) - set(old) for old, new in zip(before, after, strict=True)] == 2 * [{"suites.toy.setup:<import>"}]


IMPORTS = """
from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from suites.toy.method import scale

if TYPE_CHECKING:
    import pandas


def focal(*, arm, seed, device):
    import numpy.linalg

    return {"x": scale(1.0)}


def plain(*, arm, seed, device):
    from suites.toy.heavy import fit

    return {"x": fit(1.0)}
"""


def test_imports_count_by_definition_reached(project: Sandbox) -> None:
    """What a process imports ahead, and whose versions are in the fingerprint."""
    (project.root / "suites/toy/experiments.py").write_text(IMPORTS)
    (project.root / "suites/toy/method.py").write_text("import torch\n\n\ndef scale(x):\n    return x\n")
    heavy = "import scipy.stats\n\n\ndef fit(x):\n    return x\n\n\ndef draw(x):\n    import matplotlib\n"
    (project.root / "suites/toy/heavy.py").write_text(heavy)
    fresh = Project(project.root)
    assert fresh.foreign(("suites.toy.experiments", "focal")) == {"torch", "numpy.linalg"}
    assert fresh.foreign(("suites.toy.experiments", "plain")) == {"torch", "scipy.stats"}


def test_a_run_imports_ahead_what_its_trials_import(project: Sandbox) -> None:
    from crossexam.facts.project import find_paper
    from crossexam.runs.plan import Selection, plan
    from crossexam.runs.runner import Runner
    from crossexam.runs.store import Store

    (project.root / "suites/toy/experiments.py").write_text(IMPORTS)
    (project.root / "suites/toy/heavy.py").write_text("import scipy.stats\n\n\ndef fit(x):\n    return x\n")
    asked: list[set[str]] = []

    class Enough(Exception):
        pass

    def start(modules: set[str]) -> Executor:
        asked.append(modules)
        raise Enough

    source = Project(project.root)
    trials = plan(find_paper(project.root, "toy"), source, Selection())
    with Store(project.root / "results") as store:
        for chosen in (trials[:1], trials):
            with pytest.raises(Enough):
                Runner(store, source, start).run(chosen)
    light = {"numpy", "numpy.linalg", "torch"}
    assert asked == [light, {*light, "scipy.stats"}]
    assert [trial.parts["libraries"].split("=")[0] for trial in trials] == ["numpy", "numpy"]
    assert ["scipy=" in trial.parts["libraries"] for trial in trials] == [False, True]


def test_a_module_that_does_not_parse_is_named(project: Sandbox) -> None:
    change(project.root, "suites/toy/method.py", "return FACTOR", "return = FACTOR")
    planned = project.run("plan", "toy")
    assert planned.returncode == 2
    assert "method.py:5: (file) does not parse: invalid syntax -> mend the syntax" in planned.stderr


def test_the_loader_of_declared_data_counts_and_the_catalogue_does_not() -> None:
    project = Project(ROOT)
    with_data = project.digests(("baselines.digits", "stratified"), ("reference.images", "digits"))
    assert {"reference.images:digits", "reference:load"} <= set(with_data)
    assert not any(key.startswith(("reference.catalog:", "reference.tables:")) for key in with_data)


def test_rerun_is_cached_and_why_names_what_changed(project: Sandbox) -> None:
    assert project.run("run", "toy").returncode == 0
    assert project.json("run", "toy")["trials"] == {"done": 2}
    (project.root / "suites/toy/README.md").write_text("prose")
    change(project.root, "suites/toy/paper.toml", "at_least = 0", "at_least = -1")
    assert {entry["state"] for entry in project.json("plan", "toy")} == {"cached"}
    change(project.root, "baselines/losses.py", "GAMMA = 2.0", "GAMMA = 2.5")
    states = {entry["trial"]: entry["state"] for entry in project.json("plan", "toy")}
    assert states == {"toy/focal/method#0": "to run", "toy/plain/method#0": "cached"}
    explained = project.json("why", "toy/focal")
    assert explained[0]["differences"] == ["code changed: baselines.losses:GAMMA"]
    assert "cached" in project.json("why", "toy/plain")[0]["state"]


def test_changed_rule_is_a_new_series(project: Sandbox) -> None:
    project.run("run", "toy")
    change(project.root, "suites/toy/paper.toml", "at_least = 0", "at_least = -1")
    assert "a new series begins" in project.run("judge", "toy").stdout
    assert "a new series begins" not in project.run("judge", "toy").stdout


def test_every_real_suite_reaches_its_method() -> None:
    project = Project(ROOT)
    from crossexam.facts.project import find_paper, suite_folders

    for slug in suite_folders(ROOT):
        paper = find_paper(ROOT, slug)
        reached = set()
        for experiment in paper.experiments:
            reached |= set(project.digests((f"{paper.package}.experiments", experiment)))
        assert any(key.startswith(f"{paper.package}.method:") for key in reached), slug


def test_code_has_one_fingerprint_in_every_version_of_python() -> None:
    """Rows of a machine with another Python are of the same code: the text is spelt out, not left to `ast.dump`."""
    code = "class A:\n    'd'\n    def f(self, a, *, b=[]):\n        return f'{a!r:>3} and {b}' if a else None\n"
    assert dump(ast.parse(code).body[0]) == (
        "ClassDef(name='A', bases=[], keywords=[], body=[FunctionDef(name='f', args=arguments(posonlyargs=[], "
        "args=[arg(arg='self'), arg(arg='a')], kwonlyargs=[arg(arg='b')], kw_defaults=[List(elts=[], ctx=Load())], "
        "defaults=[]), body=[Return(value=IfExp(test=Name(id='a', ctx=Load()), body=JoinedStr(values=["
        "FormattedValue(value=Name(id='a', ctx=Load()), conversion=114, format_spec=JoinedStr(values=["
        "Constant(value='>3')])), Constant(value=' and '), FormattedValue(value=Name(id='b', ctx=Load()), "
        "conversion=-1)]), orelse=Constant(value=None)))], decorator_list=[])], decorator_list=[])"
    )
