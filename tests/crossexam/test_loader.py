"""The loader refuses what cannot be meant, with file, line, key and mend, all problems at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossexam.facts.loader import load_paper
from crossexam.facts.paper import Paper
from crossexam.facts.problems import BadFile, Lines
from tests.conftest import ROOT, TOML, Sandbox

LEVEL = """
[[experiment.sums.claim]]
id = "accuracy"
says = "It reaches 73.5 %."
where = "Table 1"
provenance = "paper-text"
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
        ('provenance = "derived"\n', "", "experiment.sums.claim[0].provenance is missing"),
        ('metric = "total"', 'metrik = "total"', "did you mean 'metric'?"),
        ('kind = "exact"', 'kind = "exactly"', "did you mean 'exact'?"),
        ('tier = "exact"', 'tier = "exat"', "did you mean 'exact'?"),
        ("[[experiment.sums.claim]]", "[[claim]]", "claims stand under their experiment"),
        ("[experiment.sums]\n", "[experiment.sums]\nparams = { base = 2 }\n", "sums() does not take"),
        ("[experiment.sums]\n", '[experiment.sums]\narms = ["method", "other"]\n', "sums() takes no `arm`"),
        ("[experiment.sums]\n", "[experiment.sums]\nseeds = 5\n", "sums() takes no `seed`"),
        ("[experiment.sums]\n", '[experiment.sums]\nprotocol = { like = "sum" }\n', "did you mean 'sums'?"),
        ("[experiment.sums]\n", '[experiment.sums]\nprotocol = { like = "sums" }\n', "leads back to 'sums'"),
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


HEADLINE = """
[[headline]]
says = "Sums are sums."
claims = ["two-and-two"]
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TOML + HEADLINE.replace("two-and-two", "two-and-to"), "headline[0].claims names 'two-and-to' -> did you mean"),
        (TOML + HEADLINE.replace('["two-and-two"]', "[]"), "headline[0].claims is empty"),
        (TOML + HEADLINE.replace('["two-and-two"]', '["two-and-two", "two-and-two"]'), "names a claim twice"),
        (TOML + HEADLINE.replace('claims = ["two-and-two"]', ""), "headline[0].claims is missing"),
        (TOML + HEADLINE + HEADLINE, "headline[1].says stands twice"),
        (TOML + HEADLINE + LEVEL.replace("paper-text", "abstract"), "is of the abstract, but no headline rests on it"),
        (TOML + 'aside = "trivial"\n' + HEADLINE, "is said of 'two-and-two', but a headline rests on it"),
        (TOML + 'aside = "trivial"\n', "is said of 'two-and-two', but it is 'derived'"),
        (TOML.replace('field = "losses"', 'field = "loss functions"'), "paper.field is 'loss functions' -> "),
    ],
)
def test_headlines_rest_on_claims_and_claims_of_the_abstract_are_in_one(
    sandbox: Sandbox, text: str, expected: str
) -> None:
    assert any(expected in line for line in refusals(sandbox, text))


def test_headlines_are_read_and_a_claim_of_the_abstract_may_stand_aside(sandbox: Sandbox) -> None:
    aside = LEVEL.replace("paper-text", "abstract") + 'aside = "It is about speed."\n'
    paper = load(sandbox, TOML + aside + HEADLINE)
    assert [(one.says, one.claims) for one in paper.headlines] == [("Sums are sums.", ("two-and-two",))]
    assert load(sandbox, TOML + LEVEL.replace("paper-text", "abstract")).headlines == ()  # `check` speaks of it


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


def test_fault_may_name_another_file_of_its_suite(sandbox: Sandbox) -> None:
    fault = '[[fault]]\nid = "f"\nsays = "x"\nreplace = "add(2.0, 2.0)"\nby = "5"\nbreaks = ["two-and-two"]\n'
    assert any("occurs 0 times in method.py" in line for line in refusals(sandbox, TOML + fault))
    assert load(sandbox, TOML + fault + 'file = "experiments.py"\n').faults[0].file == "experiments.py"
    for elsewhere in ("kernels.py", "../../suites/__init__.py", "paper.toml"):
        found = refusals(sandbox, TOML + fault + f'file = "{elsewhere}"\n')
        assert any("name a Python file of the suite" in line for line in found), elsewhere


def test_function_may_be_imported_and_must_be_given_what_it_requires(sandbox: Sandbox) -> None:
    folder = sandbox.suite(code="from suites.toy.exact import sums\n")
    (folder / "exact.py").write_text("def sums(*, base, seed=0, size=1):\n    return {'total': base}\n")
    with pytest.raises(BadFile, match="gives no 'base', which sums\\(\\) requires"):
        load_paper(folder)
    (folder / "paper.toml").write_text(
        TOML.replace("[experiment.sums]\n", "[experiment.sums]\nparams = { base = 4.0 }\n")
    )
    assert load_paper(folder).experiments["sums"].params == {"base": 4.0}


def test_artifact_brings_seeds_and_must_be_taken(sandbox: Sandbox) -> None:
    toml = TOML.replace("[experiment.sums]", '[artifact.made]\nby = ["seed", "size"]\n\n[experiment.sums]').replace(
        'tier = "exact"\n', 'tier = "exact"\nseeds = 5\nuses = ["made"]\nparams = { size = 2 }\n'
    )
    code = "def made(*, {}):\n    return {{}}\n\n\ndef sums(*, {}):\n    return {{'total': 4}}\n"
    sandbox.suite(toml, code.format("seed, size", "made, size"))
    assert load_paper(sandbox.root / "suites" / "toy").artifacts["made"].by == ("seed", "size")
    sandbox.suite(toml, code.format("seed", "size"))
    with pytest.raises(BadFile) as caught:
        load_paper(sandbox.root / "suites" / "toy")
    assert [f"{one.key} {one.wrong}" for one in caught.value.problems] == [
        "artifact.made.by gives 'size', which made() does not take",
        "experiment.sums.uses gives 'made', which sums() does not take",
    ]


PROTOCOLS = """
[experiment.first]
tier = "exact"
[experiment.first.protocol]
data = "digits"
model = "MLP"
tuning = "none"
evaluation = "accuracy"
deviations = "none"
sensitivity = "epochs at 10 and 90: the verdict stays"

[experiment.second]
tier = "exact"
protocol = { like = "first", model = "CNN" }

[experiment.third]
tier = "exact"
protocol = { like = "second", data = "letters" }

"""


def test_protocol_takes_over_what_it_does_not_say_again(sandbox: Sandbox) -> None:
    code = "def sums():\n    return {}\n"
    code += "".join(f"\n\ndef {name}():\n    return {{}}\n" for name in ("first", "second", "third"))
    folder = sandbox.suite(PROTOCOLS + TOML, code)
    third = load_paper(folder).experiments["third"].protocol
    assert third is not None
    assert (third.data, third.model, third.evaluation, third.sensitivity) == ("letters", "CNN", "accuracy", "")


def test_changed_protocol_starts_a_new_series_of_all_that_are_like_it(sandbox: Sandbox) -> None:
    code = "def sums():\n    return {}\n" + "".join(
        f"\n\ndef {name}():\n    return {{}}\n" for name in ("first", "second", "third")
    )
    copied = TOML.replace("[experiment.sums]\n", '[experiment.sums]\nprotocol = { like = "third" }\n')

    def series(protocols: str) -> str:
        paper = load_paper(sandbox.suite(protocols + copied, code))
        return paper.series(paper.claims[0])

    first = series(PROTOCOLS)
    assert series(PROTOCOLS.replace("10 and 90", "10 and 100")) == first  # what was tried beside it decides nothing
    assert series(PROTOCOLS.replace("CNN", "ResNet")) != first


def test_claims_take_where_and_provenance_from_their_experiment(sandbox: Sandbox) -> None:
    toml = TOML.replace('where = "nowhere"\nprovenance = "derived"\n', "").replace(
        "[experiment.sums]\n", '[experiment.sums]\nwhere = "Section 2"\nprovenance = "paper-text"\n'
    )
    claim = load(sandbox, toml).claims[0]
    assert (claim.where, claim.provenance, claim.experiment) == ("Section 2", "paper-text", "sums")


def test_ledger_entry_with_a_table_of_values_is_one_number_each(sandbox: Sandbox) -> None:
    entry = """
[[reported]]
setting = "toy"
where = "Table 1"
provenance = "recalled"
state = "listed"
why = "nobody has seen them"
values = [
  { id = "n1", metric = "accuracy", method = 73.5 },
  { id = "n2", metric = "loss", method = 0.5, baseline = 0.75 },
]
"""
    first, second = load(sandbox, TOML + entry).reported
    assert (first.metric, first.setting, first.why) == ("accuracy", "toy", "nobody has seen them")
    assert (second.method, second.baseline) == (0.5, 0.75)
    twice = refusals(sandbox, TOML + entry.replace('id = "n2"', 'id = "n1", setting = "other"'))
    assert any("'n1' is used twice" in line for line in twice)
    assert any("is said by the entry already" in line for line in twice)


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


def test_a_fault_may_leave_a_text_out(sandbox: Sandbox) -> None:
    toml = (
        TOML
        + '\n[[fault]]\nid = "gone"\nsays = "b is left out."\nreplace = " + b"\nby = ""\nbreaks = ["two-and-two"]\n'
    )
    assert load_paper(sandbox.suite(toml)).faults[0].by == ""


def test_the_examples_of_contributing_load(sandbox: Sandbox) -> None:
    """One claim of each kind of rule, as an author would copy it."""
    block = re.search(r"```toml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)
    assert block
    about = TOML.split("[experiment")[0]
    rest = "".join(f"\n\ndef {name}(*, seed):\n    ...\n" for name in ("mixture", "cost"))
    method = "def loss(hard, uniform, strength):\n    return (1 - strength) * hard + strength * uniform\n"
    aside = block[1].replace('provenance = "abstract"', 'provenance = "official-readme"')
    paper = load_paper(sandbox.suite(about + aside, "def on_digits(*, arm, seed, strength):\n    ...\n" + rest, method))
    assert {claim.rule.kind for claim in paper.claims} == {"exact", "level", "order", "effect", "trend", "resource"}
