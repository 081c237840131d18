"""The JSON Schema of `paper.toml` and the table of its keys, both from the dataclasses that read it.

`crossexam schema` writes both; editors that know TOML find the schema by the first line of a file.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from crossexam.facts import paper, rules
from crossexam.facts.paper import (
    About,
    Artifact,
    Claim,
    Decision,
    Excused,
    Experiment,
    Fault,
    Headline,
    Needs,
    Protocol,
    Reported,
)
from crossexam.facts.rules import RULES, Rule

FILE = Path(__file__).with_name("paper.schema.json")
BEGIN, END = "<!-- keys: written by `crossexam schema` -->", "<!-- end of keys -->"
LIKE = "The experiment whose protocol is taken over where this one says nothing."
VALUES = "One number each: what the entry leaves open (id, metric, method, ...)."
CLAIMS = "Its claims, one table each."
Schema = dict[str, Any]


def schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a `paper.toml`."""
    experiment = _table(Experiment, leave=("name",))
    experiment["properties"]["claim"] = {"type": "array", "items": _claim(), "description": CLAIMS}
    experiment["properties"]["protocol"]["properties"]["like"] = {"type": "string", "description": LIKE}
    entry = _table(Reported)
    entry["properties"]["values"] = {
        "type": "array",
        "items": {**_table(Reported), "required": ["id"]},
        "description": VALUES,
    }
    del entry["required"]  # with `values` any of them may stand there
    arrays = {"headline": _table(Headline), "reported": entry, "fault": _table(Fault), "excused": _table(Excused)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "paper.toml of CrossExam",
        "type": "object",
        "additionalProperties": False,
        "required": ["paper"],
        "properties": {
            "paper": _table(About),
            "experiment": {"type": "object", "additionalProperties": experiment, "description": _first(Experiment)},
            "artifact": {
                "type": "object",
                "additionalProperties": _table(Artifact, leave=("name",)),
                "description": _first(Artifact),
            },
            **{name: {"type": "array", "items": one} for name, one in arrays.items()},
        },
    }


def _claim() -> Schema:
    claim = _table(Claim, leave=("experiment", "rule"))
    claim["required"] = ["id", "says", "rule"]  # where and provenance may be the experiment's
    kinds = [_rule(kind) for kind in RULES]
    claim["properties"]["rule"] = {"oneOf": kinds, "description": described(Claim, "rule")}
    return claim


def _rule(kind: str) -> Schema:
    table = _table(RULES[kind])
    table["properties"] = {"kind": {"const": kind, "description": _first(RULES[kind])}, **table["properties"]}
    table["required"] = ["kind", *table.get("required", [])]
    return table


def _table(cls: type, leave: tuple[str, ...] = ()) -> Schema:
    """A dataclass as an object of its fields."""
    hints = get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if field.name not in leave]
    properties = {field.name: {**_type(hints[field.name]), **_told(cls, field)} for field in fields}
    required = [field.name for field in fields if _required(field)]
    return {
        "type": "object",
        "additionalProperties": False,
        "description": _first(cls),
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _told(cls: type, field: dataclasses.Field[Any]) -> Schema:
    told: Schema = {"description": described(cls, field.name)}
    if isinstance(field.default, str | int | float) and field.default != "":
        told["default"] = field.default
    return told


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _type(hint: Any) -> Schema:
    """A field's type as JSON Schema has it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _type(next(one for one in arguments if one is not types.NoneType))
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0])}
    if dataclasses.is_dataclass(hint):
        return _table(hint)  # type: ignore[arg-type]
    if origin is not None or hint is Mapping:
        return {"type": "object"}
    names: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": names[hint]} if hint in names else {}


def described(cls: type, name: str) -> str:
    """What the text under a field says, in one line. One field that several rules have is described once."""
    homes = [*inspect.getmro(cls), *RULES.values()]
    found = next((texts[name] for one in homes if name in (texts := _texts().get(one.__name__, {}))), "")
    return " ".join(found.split())


@functools.cache
def _texts() -> dict[str, dict[str, str]]:
    """{class: {field: the string under it}} of the modules that define the file."""
    found: dict[str, dict[str, str]] = {}
    for module in (paper, rules):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(_strings(node.body))
    return found


def _strings(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in itertools.pairwise(body):
        told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if told and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, str(below.value.value)  # type: ignore[attr-defined]


def _first(cls: type) -> str:
    """The first sentence of a class's docstring."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def tables() -> Iterator[tuple[str, type, tuple[str, ...]]]:
    """(how the table is written, its class, fields that are not the file's)."""
    yield "[paper]", About, ()
    yield "[[headline]]", Headline, ()
    yield "[experiment.NAME]", Experiment, ("name",)
    yield "needs = { ... }", Needs, ()
    yield "protocol = { ... }", Protocol, ()
    yield "[[experiment.NAME.claim]]", Claim, ("experiment",)
    yield "decision = { ... }", Decision, ()
    yield "rule = { ... }", Rule, ()
    shared = tuple(field.name for field in dataclasses.fields(Rule))
    for kind, cls in RULES.items():
        yield f'rule = {{ kind = "{kind}", ... }}', cls, shared
    yield "[artifact.NAME]", Artifact, ("name",)
    yield "[[reported]]", Reported, ()
    yield "[[fault]]", Fault, ()
    yield "[[excused]]", Excused, ()


def key_table() -> str:
    """All keys as a Markdown table: what they mean and what holds where they are absent."""
    lines = ["| table | key | default | meaning |", "|---|---|---|---|"]
    for title, cls, leave in tables():
        lines.append(f"| `{title}` | | | {_cell(_first(cls))} |")
        for field in dataclasses.fields(cls):
            if field.name not in leave:
                lines.append(f"| | `{field.name}` | {_default(field)} | {_cell(described(cls, field.name))} |")
        extra = {Protocol: ("like", LIKE), Reported: ("values", VALUES)}.get(cls)
        if extra:
            lines.append(f"| | `{extra[0]}` | | {_cell(extra[1])} |")
    return "\n".join(lines)


def _default(field: dataclasses.Field[Any]) -> str:
    if _required(field):
        return "required"
    plain = isinstance(field.default, str | int | float) and field.default != ""
    return f"`{json.dumps(field.default)}`" if plain else ""


def _cell(text: str) -> str:
    return re.sub(r"\|", r"\\|", text)


def schema_text() -> str:
    """The schema as it is checked in."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def with_key_table(contributing: str) -> str:
    """CONTRIBUTING.md with a fresh table of keys between its marks. Raises ValueError where it has none."""
    if BEGIN not in contributing or END not in contributing:
        raise ValueError(f"CONTRIBUTING.md has no '{BEGIN}' ... '{END}'")
    before, rest = contributing.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{key_table()}\n\n{END}{rest.split(END, 1)[1]}"
