"""The schema of paper.toml says what the loader takes, and what is checked in is fresh."""

from __future__ import annotations

import dataclasses
import tomllib

import jsonschema
import pytest

from crossexam.facts import schema
from crossexam.facts.project import suite_folders
from tests.conftest import ROOT, TOML

VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


def test_checked_in_schema_and_table_are_fresh() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.schema_text(), "run `crossexam schema`"
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert schema.with_key_table(contributing) == contributing, "run `crossexam schema`"


def test_every_key_has_its_line() -> None:
    silent = [
        f"{cls.__name__}.{field.name}"
        for _, cls, leave in schema.tables()
        for field in dataclasses.fields(cls)
        if field.name not in leave and not schema.described(cls, field.name)
    ]
    assert not silent


@pytest.mark.parametrize("slug", sorted(suite_folders(ROOT)))
def test_every_suite_is_valid_and_names_the_schema(slug: str) -> None:
    text = (suite_folders(ROOT)[slug] / "paper.toml").read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first == "#:schema ../../crossexam/facts/paper.schema.json"
    assert not [error.message[:200] for error in VALIDATOR.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at", "att"), ('kind = "exact"', 'kind = "exactly"'), ('tier = "exact"', 'tier = "small-ish"'),
        ("[experiment.sums]", "[experiment.sums]\nseeds = 'five'"), ("[paper]", "[papers]"),
    ],
)  # fmt: skip
def test_what_the_loader_refuses_by_shape_the_schema_refuses_too(old: str, new: str) -> None:
    assert VALIDATOR.is_valid(tomllib.loads(TOML))
    assert not VALIDATOR.is_valid(tomllib.loads(TOML.replace(old, new, 1)))
