"""Sentences stand alone, and the numbers in prose are those of the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossexam.facts import sentences
from crossexam.facts.loader import load_paper
from crossexam.facts.paper import Paper
from crossexam.judging.judge import judge_paper
from crossexam.judging.numbers import UNKNOWN, BadExpression, Numbers
from crossexam.runs.plan import Selection, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.watching.check import check
from tests.conftest import TOML, Sandbox


@pytest.mark.parametrize(
    "sentence",
    ["E6: IV is 0.68.", "S3. It grows.", "n7 is below it.", "E12, again.", "V5a: its sign.", "(E8) it exceeds.",
     "The same at lam = 1.", "It holds. The same for P.", "It is 0.1; the same for Q.", "All others have the same."],
)  # fmt: skip
def test_a_sentence_that_leans_on_another_document_or_sentence(sentence: str) -> None:
    assert sentences.flaw(sentence)


@pytest.mark.parametrize(
    "sentence",
    ["F1 is twice the product.", "L1 normalisation costs 25 points.", "All arms see the same batches.", "K = 3 classes.",
     "A seed gives the same draws twice.", "IV >= 0.", "Top-5 is 0.9.", "H0 is kept.", "ResNet18 learns."],
)  # fmt: skip
def test_a_sentence_that_stands_alone(sentence: str) -> None:
    assert sentences.flaw(sentence) == ""


CODED = TOML.replace('says = "Two and two are four."\nwhere', 'says = "E6: two and two are four."\nwhere')


def test_check_tells_of_each_by_its_place(sandbox: Sandbox) -> None:
    headline = '\n[[headline]]\nsays = "The same for three."\nclaims = ["two-and-two"]\n'
    found = check(load_paper(sandbox.suite(CODED + headline)), Project(sandbox.root), [])
    told = {one.about: (one.wrong, one.grave) for one in found}
    assert "E6" in told["claim two-and-two"][0] and told["claim two-and-two"][1]
    assert "the same" in told["headline 1"][0]


ARMS = """
[experiment.arms]
tier = "exact"
arms = ["method", "base"]
seeds = 5
params = { size = [1, 2.5], kind = "plain" }

[[experiment.arms.claim]]
id = "better"
says = "It is better."
where = "nowhere"
provenance = "derived"
rule = { kind = "order", metric = "score", baseline = "base", at = { size = 1 } }

[[experiment.arms.claim]]
id = "larger"
says = "It is better at each size."
where = "nowhere"
provenance = "derived"
rule = { kind = "order", metric = "score", baseline = "base" }

[[experiment.arms.claim]]
id = "cheap"
says = "It costs no more."
where = "nowhere"
provenance = "derived"
rule = { kind = "resource", metric = "list", reference = "list", at_most = 2.0, at = { size = 1 } }
"""
CODE = "def sums():\n    return {}\n\n\ndef arms(*, arm, seed, size, kind):\n    return {}\n"


@pytest.fixture
def paper(sandbox: Sandbox) -> Paper:
    return load_paper(sandbox.suite(TOML + ARMS, CODE))


def numbers(paper: Paper, root: Path, only: str = "") -> Numbers:
    """Of made-up rows: base scores its seed, method a hundredth of the size and 0.5 more."""
    trials = plan(paper, Project(root), Selection())
    rows = [
        Row(
            paper.slug, trial.experiment.name, trial.arm, trial.seed, trial.params, "exact", trial.subject, trial.setting,
            trial.fingerprint, trial.device, "done", measured(trial.arm, trial.seed, trial.params.get("size")),
        )
        for trial in trials if only in ("", trial.experiment.name)
    ]  # fmt: skip
    return Numbers(paper, judge_paper(paper, rows, {trial.subject: trial.experiment.name for trial in trials}))


def measured(arm: str, seed: int, size: float | None) -> dict[str, float | list[float]]:
    if size is None:
        return {"total": 4.0 + 1e-14}
    gain = 0.5 + size / 100 + (seed % 2) / 1000 if arm == "method" else 0.0
    return {"score": seed / 10 + gain, "list": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("better", "0.5104"),
        ("better as .2f", "0.51"),
        ("better as +.1%", "+51.0"),
        ("better.low as .3f", "0.510"),
        ("better.high", "0.5109"),
        ("better.n", "5"),
        ("better.p as .0e", "3e-13"),
        ("two-and-two", "4"),
        ("two-and-two.n", "1"),
        ("arms.score arm=base size=2.5", "0.2"),
        ("arms.score arm=method size=1 as .3f", "0.710"),
        ("arms.list arm=base size=1", "1.5"),
        ("sums.total as .1f", "4.0"),
        ("arms.score.least arm=base size=2.5", "0"),
        ("arms.score.most arm=base size=2.5", "0.4"),
        ("arms.score.median arm=method size=1 as .3f", "0.710"),
        ("arms.list.most arm=base size=1", "2"),
        ("arms.score arm=base size=1 seed=3", "0.3"),
        ("better.least as .3f", "0.510"),
        ("better.most as .3f", "0.511"),
        ("better.median as .1%", "51.0"),
        ("better.ahead", "5"),
        ("better.behind", "0"),
        ("better size=1", "0.5104"),
        ("larger as .4f", "0.5104"),
        ("larger size=2.5 as .4f", "0.5254"),
        ("larger.high size=2.5", "0.5259"),
        ("two-and-two.least", "4"),
        ("cheap.n", "10"),
    ],
)
def test_an_expression_is_its_number(sandbox: Sandbox, paper: Paper, expression: str, expected: str) -> None:
    found = numbers(paper, sandbox.root)
    assert found.fill(f"It is {{= {expression}}} here.") == f"It is {expected} here."


@pytest.mark.parametrize(
    ("expression", "mend"),
    [
        ("bettre", "did you mean 'better'?"),
        ("better.mean", "of a claim .low, .high, .p, .n, .least, .most, .median, .ahead, .behind can be told"),
        ("better arm=base", "is not PARAMETER=VALUE of arms"),
        ("better size=2.5", "means 0 of the points of its claim: name one of size 1, kind plain"),
        ("larger kind=plain", "means 2 of the points of its claim"),
        ("two-and-two.ahead", "is of no difference or trend"),
        ("cheap.ahead", "is of no difference or trend"),
        ("cheap.least", "costs are told by arms.METRIC.least arm=NAME"),
        ("arms.score.mean arm=base size=1", "did you mean 'score'?"),
        ("arms.score arm=base size=1 seed=7", "the seeds of arms are 0 to 4"),
        ("better as three", "write one such as .3f"),
        ("arms.score", "means several points: say arm, size too"),
        ("arms.score arm=bass size=1", "did you mean 'base'?"),
        ("arms.score arm=base width=1", "is not arm=NAME, nor seed=NUMBER, nor PARAMETER=VALUE"),
        ("arms.score arm=base size=3", "no such point in its grid"),
        ("arms.skore arm=base size=1", "did you mean 'score'?"),
    ],
)
def test_an_expression_that_means_nothing_is_refused_with_its_mend(
    sandbox: Sandbox, paper: Paper, expression: str, mend: str
) -> None:
    with pytest.raises(BadExpression, match=mend.replace(".", r"\.").replace("?", r"\?")):
        numbers(paper, sandbox.root).value(expression)


def test_a_number_without_rows_is_said_to_be_unknown_and_a_readme_keeps_its_own(sandbox: Sandbox, paper: Paper) -> None:
    found = numbers(paper, sandbox.root, only="sums")
    assert found.fill("It is {= better}.") == f"It is {UNKNOWN}."
    assert found.fill("{= arms.score arm=base size=1}") == UNKNOWN
    text = "| <!-- = better -->.51<!-- --> | <!-- = two-and-two -->5<!-- --> |"
    assert found.refresh(text) == "| <!-- = better -->.51<!-- --> | <!-- = two-and-two -->4<!-- --> |"
    assert found.fill("Sets {0, 1} and {p >= 0} are text.") == "Sets {0, 1} and {p >= 0} are text."


def test_a_stale_number_in_a_readme_and_a_bad_expression_are_for_check(sandbox: Sandbox, paper: Paper) -> None:
    readme = paper.folder / "README.md"
    project = Project(sandbox.root)
    trials = plan(paper, project, Selection())
    rows = [
        Row("toy", "sums", t.arm, t.seed, t.params, "exact", t.subject, t.setting, t.fingerprint, t.device, "done",
            {"total": 4.0})
        for t in trials if t.experiment.name == "sums"
    ]  # fmt: skip
    for text, told in (("<!-- = two-and-two -->5<!-- -->", "numbers that the rows do not have"),
                       ("<!-- = two-and-too -->5<!-- -->", "did you mean 'two-and-two'?"),
                       ("<!-- = two-and-two -->4<!-- -->", "")):  # fmt: skip
        readme.write_text(text, encoding="utf-8")
        found = [one.wrong for one in check(paper, project, rows) if "number" in one.wrong and one.about == "README.md"]
        assert (told in found[0]) if told else not found


def test_only_findings_tell_what_was_measured(sandbox: Sandbox) -> None:
    toml = TOML.replace('says = "Two and two are four."\nwhere', 'says = "It is {= two-and-two}."\nwhere')
    found = check(load_paper(sandbox.suite(toml)), Project(sandbox.root), [])
    assert any("only findings" in one.mend for one in found)
