"""The loader refuses what cannot be meant, with file, line, key and mend, all problems at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossexam.facts.loader import load_paper
from crossexam.facts.paper import Paper
from crossexam.facts.problems import BadFile, Lines
from tests.conftest import TOML, Sandbox

LEVEL = """
[[claim]]
id = "accuracy"
says = "It reaches 73.5 %."
where = "Table 1"
provenance = "paper-text"
experiment = "sums"
decision = { n_min = 1 }
rule = { kind = "level", metric = "total", reported = 73.5, reported_baseline = 72.5, margin = 0.5, margin_reason = "half the gain" }
"""


def load(sandbox: Sandbox, toml: str) -> Paper:
    return load_paper(sandbox.suite(toml))


def refusals(sandbox: Sandbox, toml: str) -> list[str]:
    folder = sandbox.suite(toml)
    with pytest.raises(BadFile) as caught:
        load_paper(folder)
    for problem in caught.value.problems:
        assert problem.file == folder / "paper.toml"
        assert problem.mend
    return [f"{problem.line}: {problem.key} {problem.wrong} -> {problem.mend}" for problem in caught.value.problems]


def test_good_file_becomes_frozen_objects(sandbox: Sandbox) -> None:
    paper = load(sandbox, TOML + LEVEL)
    assert paper.slug == "toy"
    assert [claim.id for claim in paper.claims] == ["two-and-two", "accuracy"]
    with pytest.raises(AttributeError):
        paper.claims[0].id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('provenance = "derived"\n', "", "claim[0].provenance is missing"),
        ('metric = "total"', 'metrik = "total"', "did you mean 'metric'?"),
        ('kind = "exact"', 'kind = "exactly"', "did you mean 'exact'?"),
        ('tier = "exact"', 'tier = "exat"', "did you mean 'exact'?"),
        ('experiment = "sums"', 'experiment = "sum"', "did you mean 'sums'?"),
        ("[experiment.sums]", '[experiment.sums]\narms = ["other"]', "names the arm 'method'"),
        ("[experiment.sums]", "[experiment.sums]\nseeds = 0", "experiment.sums.seeds is 0"),
        ("[experiment.sums]", "[experiment.sums]\nseeds = true", "it must be of type int"),
        ("[experiment.sums]", "[experiment.missing]\ntier = 'exact'\n[experiment.sums]", "no function of that name"),
        ("[experiment.sums]", '[experiment.sums]\nneeds = { data = ["cifar10"] }', "the exact tier needs no files"),
        ("[experiment.sums]", "[experiment.sums]\nparams = { seed = 3 }", "passed by the harness"),
        ("target = 4", "target = 4, at = { noise = 1 }", "rule.at names 'noise'"),
        ("target = 4, atol = 1e-12", "atol = 1", "has no bound"),
        ("[paper]", "[papers]", "papers is an unknown table"),
        ('says = "Two and two are four."\nwhere', 'says = " "\nwhere', "says is empty"),
        ('provenance = "derived"', 'provenance = "derived"\nexpected = "inconclusive"', "finding is missing"),
        ('tier = "exact"', 'tier = "small"', "protocol lacks"),
    ],
)  # fmt: skip
def test_refusal_names_key_and_mend(sandbox: Sandbox, old: str, new: str, expected: str) -> None:
    assert old in TOML
    assert any(expected in line for line in refusals(sandbox, TOML.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("margin = 0.5", "margin = 0.51", "non-discriminating"),
        ('margin_reason = "half the gain"', 'margin_reason = ""', "margin_reason is"),
        ('"paper-text"', '"recalled"', "nobody has seen the asserted number"),
        ('"paper-text"', '"secondary"', "nobody has seen the asserted number"),
        ("n_min = 1", "n_min = 5", "needs 5 seeds but 'sums' has 1"),
    ],
)
def test_number_is_asserted_only_with_provenance_and_a_telling_margin(
    sandbox: Sandbox, old: str, new: str, expected: str
) -> None:
    assert any(expected in line for line in refusals(sandbox, TOML + LEVEL.replace(old, new)))


def test_ledger_does_not_assert_what_nobody_has_seen(sandbox: Sandbox) -> None:
    entry = """
[[reported]]
id = "n1"
setting = "toy"
metric = "accuracy"
method = 73.5
where = "Table 1"
provenance = "recalled"
state = "asserted"
claims = ["two-and-two"]
"""
    assert any("asserts a number that is 'recalled'" in line for line in refusals(sandbox, TOML + entry))


def test_all_problems_at_once_each_with_its_line(sandbox: Sandbox) -> None:
    broken = TOML.replace('title = "A toy"\n', "").replace('where = "nowhere"', 'wehre = "nowhere"')
    found = refusals(sandbox, broken)
    lines = broken.splitlines()
    assert len(found) == 3  # title missing, wehre unknown, where missing
    misspelt = next(line for line in found if "wehre" in line)
    assert lines[int(misspelt.split(":")[0]) - 1].startswith("wehre")


def test_malformed_toml_is_one_readable_refusal(sandbox: Sandbox) -> None:
    assert ["not valid TOML" in line for line in refusals(sandbox, "[paper\n")] == [True]


def test_missing_or_unparsable_experiments(sandbox: Sandbox) -> None:
    folder = sandbox.suite(code="def sums(:\n")
    with pytest.raises(BadFile, match="does not parse"):
        load_paper(folder)
    (folder / "experiments.py").unlink()
    with pytest.raises(BadFile, match=r"no experiments\.py"):
        load_paper(folder)


def test_fault_must_quote_a_text_that_occurs_once(sandbox: Sandbox) -> None:
    fault = '[[fault]]\nid = "f"\nsays = "x"\nreplace = "a * b"\nby = "a - b"\nbreaks = ["two-and-two"]\n'
    assert any("occurs 0 times" in line for line in refusals(sandbox, TOML + fault))
    assert load(sandbox, TOML + fault.replace("a * b", "a + b")).faults[0].by == "a - b"


def test_lines_of_tables_arrays_and_multiline_strings() -> None:
    text = '[a]\nx = """\n[not.a.table]\n"""\ny = 1\n[[b]]\nz = 1\n[[b]]\nz = 2\n[b.c]\nw = 3\n'
    lines = Lines(text)
    assert [lines[("a", "y")], lines[("b", 1, "z")], lines[("b", 1, "c", "w")]] == [5, 9, 11]
    assert lines[("b", 0, "absent")] == 6


def test_series_follows_rule_decision_and_protocol_only(sandbox: Sandbox) -> None:
    def series(toml: str) -> str:
        paper = load(sandbox, toml)
        return paper.series(paper.claims[0])

    first = series(TOML)
    assert series(TOML.replace('says = "Two and two are four."\nwhere', 'says = "2 + 2 = 4"\nwhere')) == first
    assert series(TOML.replace("1e-12", "1e-9")) != first


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="missing or empty"):
        load_paper(tmp_path)
