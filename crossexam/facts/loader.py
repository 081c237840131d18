"""Reads a suite's `paper.toml` into the objects of `paper`, and checks that all that it names is there.

Nothing here imports torch or the suite's code.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from crossexam.facts.paper import About, Artifact, Claim, Excused, Experiment, Fault, Paper, Reported
from crossexam.facts.problems import Key, Reader, did_you_mean
from crossexam.facts.rules import RULES, Rule, TrendRule

T = TypeVar("T")


def load_paper(folder: Path) -> Paper:
    """Read and check `folder/paper.toml`. Raises `BadFile` with every problem that it has."""
    file = folder / "paper.toml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    reader = Reader(file, text)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reader.refuse((), f"is not valid TOML: {error}", "mend the syntax")
        reader.finish()
    if not text:
        reader.refuse((), "is missing or empty", "start from `crossexam new`")
        reader.finish()
    for name in table.keys() - {"paper", "experiment", "artifact", "claim", "reported", "fault", "excused"}:
        reader.refuse((name,), "is an unknown table", did_you_mean(name, ["paper", "experiment", "claim", "reported"]))

    about = reader.read(About, table.get("paper", {}), ("paper",))
    artifacts = _named(reader, Artifact, table, "artifact")
    experiments = _named(reader, Experiment, table, "experiment")
    claims = [claim for key, body in _items(reader, table, "claim") if (claim := _claim(reader, body, key))]
    reported = [item for key, body in _items(reader, table, "reported") if (item := reader.read(Reported, body, key))]
    faults = [fault for key, body in _items(reader, table, "fault") if (fault := reader.read(Fault, body, key))]

    excused = [one for key, body in _items(reader, table, "excused") if (one := reader.read(Excused, body, key))]

    _check_unique(reader, table)
    _check_references(reader, table, artifacts, experiments, claims)
    _check_code(reader, folder, table, experiments, artifacts, faults)
    reader.finish()
    assert about is not None  # otherwise `finish` has raised
    slug = folder.name.replace("_", "-")
    return Paper(
        slug, folder, about, experiments, artifacts, tuple(claims), tuple(reported), tuple(faults), tuple(excused)
    )


def _named(reader: Reader, cls: type[T], table: Mapping[str, Any], name: str) -> dict[str, T]:
    """The tables `[name.x]` by their x."""
    bodies = table.get(name, {})
    if not isinstance(bodies, Mapping):
        reader.refuse((name,), "is not a table of tables", f"write [{name}.some_name]")
        return {}
    read = {key: reader.read(cls, body, (name, key), name=key) for key, body in bodies.items()}
    return {key: value for key, value in read.items() if value is not None}


def _items(reader: Reader, table: Mapping[str, Any], name: str) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    """The tables of an array `[[name]]` with their keys."""
    bodies = table.get(name, [])
    if not isinstance(bodies, list):
        reader.refuse((name,), "is not an array of tables", f"write [[{name}]]")
        return
    yield from (((name, index), body) for index, body in enumerate(bodies))


def _claim(reader: Reader, body: Mapping[str, Any], key: Key) -> Claim | None:
    """A claim with its rule, whose class depends on `rule.kind`."""
    rule = None
    table = body.get("rule")
    if not isinstance(table, Mapping):
        reader.refuse((*key, "rule"), "is missing or not a table", 'write rule = { kind = "exact", ... }')
    elif (kind := table.get("kind")) not in RULES:
        reader.refuse((*key, "rule", "kind"), f"is {kind!r}", did_you_mean(str(kind), RULES))
    else:
        rule = reader.read(RULES[kind], {k: v for k, v in table.items() if k != "kind"}, (*key, "rule"))
    rest = {name: value for name, value in body.items() if name != "rule"}
    # A claim whose rule is refused is still read, with a rule that is never used, so that all its problems show.
    claim = reader.read(Claim, rest, key, rule=rule or Rule(metric="refused"))
    return claim if rule else None


def _check_unique(reader: Reader, table: Mapping[str, Any]) -> None:
    for name in ("claim", "reported", "fault"):
        seen: set[str] = set()
        for key, body in _items(reader, table, name):
            if body.get("id") in seen:
                reader.refuse((*key, "id"), f"{body['id']!r} is used twice", "ids are unique within a paper")
            seen.add(body.get("id", ""))


def _check_references(
    reader: Reader,
    table: Mapping[str, Any],
    artifacts: Mapping[str, Artifact],
    experiments: Mapping[str, Experiment],
    claims: list[Claim],
) -> None:
    """Everything that is named must exist: experiments, arms, parameters, artifacts, claims."""
    for name, experiment in experiments.items():
        for used in experiment.uses:
            if used not in artifacts:
                reader.refuse(("experiment", name, "uses"), f"names {used!r}", did_you_mean(used, artifacts))
            else:
                for part in set(artifacts[used].by) - {"seed", "arm"} - set(experiment.params):
                    reader.refuse(("artifact", used, "by"), f"names {part!r}", f"'{name}' has no such parameter")
    keys = {body.get("id"): key for key, body in _items(reader, table, "claim")}
    for claim in claims:
        key = keys[claim.id]
        if claim.experiment not in experiments:
            if claim.experiment not in table.get("experiment", {}):
                known = did_you_mean(claim.experiment, experiments)
                reader.refuse((*key, "experiment"), f"{claim.experiment!r} does not exist", known)
            continue
        experiment = experiments[claim.experiment]
        for arm in claim.rule.arms:
            if arm not in experiment.arms:
                known = did_you_mean(arm, experiment.arms)
                reader.refuse((*key, "rule"), f"names the arm {arm!r}, which '{experiment.name}' has not", known)
        if isinstance(claim.rule, TrendRule) and claim.rule.over and claim.rule.over not in experiment.params:
            reader.refuse(
                (*key, "rule", "over"), f"is {claim.rule.over!r}", did_you_mean(claim.rule.over, experiment.params)
            )
        if claim.rule.statistical and claim.decision.n_min > experiment.seeds and experiment.tier != "full":
            reader.refuse(
                key,
                f"needs {claim.decision.n_min} seeds but '{experiment.name}' has {experiment.seeds}",
                "raise `seeds` of the experiment, or set decision = { n_min = ... } with care",
            )
        for name, value in claim.rule.at.items():
            axis = experiment.params.get(name)
            known_values = axis if isinstance(axis, list) else [axis]
            wanted = value if isinstance(value, list) else [value]
            if name not in experiment.params:
                reader.refuse((*key, "rule", "at"), f"names {name!r}", did_you_mean(name, experiment.params))
            elif any(one not in known_values for one in wanted):
                reader.refuse((*key, "rule", "at"), f"asks for {name} = {value!r}", f"'{experiment.name}' has {axis!r}")
    for name in ("reported", "fault"):
        for key, body in _items(reader, table, name):
            field_name = "claims" if name == "reported" else "breaks"
            for claim_id in body.get(field_name, []):
                if claim_id not in keys:
                    reader.refuse((*key, field_name), f"names {claim_id!r}", did_you_mean(claim_id, map(str, keys)))


def _defines(root: Path, module: str, function: str) -> bool:
    """Whether a module of the project defines a function; nothing is imported for it."""
    source = root.joinpath(*module.split(".")).with_suffix(".py")
    if not source.is_file():
        return False
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body)


def _check_code(
    reader: Reader,
    folder: Path,
    table: Mapping[str, Any],
    experiments: Mapping[str, Experiment],
    artifacts: Mapping[str, Artifact],
    faults: list[Fault],
) -> None:
    """The functions must be there and the texts that faults replace must occur once; nothing is imported for it."""
    source = folder / "experiments.py"
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except OSError:
        reader.refuse((), "has no experiments.py beside it", "write one function per experiment")
        return
    except SyntaxError as error:
        reader.refuse((), f"stands beside an experiments.py that does not parse (line {error.lineno})", f"{error.msg}")
        return
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    own = [name for name, artifact in artifacts.items() if not artifact.of]
    for kind, names in (("experiment", list(experiments)), ("artifact", own)):
        for name in names:
            if name not in functions:
                wrong = "has no function of that name in experiments.py"
                reader.refuse((kind, name), wrong, did_you_mean(name, functions))
    for name, artifact in artifacts.items():
        if artifact.of and not _defines(folder.parent.parent, *artifact.place("")):
            reader.refuse(("artifact", name, "of"), f"names {artifact.of!r}, which is not there", "correct it")
    method = folder / "method.py"
    text = method.read_text(encoding="utf-8") if method.is_file() else ""
    keys = {body.get("id"): key for key, body in _items(reader, table, "fault")}
    for fault in faults:
        if (count := text.count(fault.replace)) != 1:
            reader.refuse(
                (*keys[fault.id], "replace"), f"occurs {count} times in method.py", "quote a text that occurs once"
            )
