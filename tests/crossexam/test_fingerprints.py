"""A change reruns exactly what depends on it, and `why` names it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from crossexam.runs.source import Project, _dump
from tests.conftest import ROOT, Sandbox

TOML = """
[paper]
title = "Two experiments"
arxiv = "0000.00000"
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
    assert {"baselines.losses:*"} <= set(focal)
    assert set(plain) == {"suites.toy.experiments:plain"}


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
    assert _dump(ast.parse(code).body[0]) == (
        "ClassDef(name='A', bases=[], keywords=[], body=[FunctionDef(name='f', args=arguments(posonlyargs=[], "
        "args=[arg(arg='self'), arg(arg='a')], kwonlyargs=[arg(arg='b')], kw_defaults=[List(elts=[], ctx=Load())], "
        "defaults=[]), body=[Return(value=IfExp(test=Name(id='a', ctx=Load()), body=JoinedStr(values=["
        "FormattedValue(value=Name(id='a', ctx=Load()), conversion=114, format_spec=JoinedStr(values=["
        "Constant(value='>3')])), Constant(value=' and '), FormattedValue(value=Name(id='b', ctx=Load()), "
        "conversion=-1)]), orelse=Constant(value=None)))], decorator_list=[])], decorator_list=[])"
    )
