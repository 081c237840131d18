"""Reads a suite's `paper.toml` into the objects of `paper`, and checks that all that it names is there.

Nothing here imports torch or the suite's code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from crossexam.facts.paper import About, Artifact, Claim, Excused, Experiment, Fault, Headline, Paper, Reported
from crossexam.facts.problems import Key, Reader, did_you_mean
from crossexam.facts.rules import RULES, ResourceRule, Rule, TrendRule
from crossexam.facts.signatures import Functions, Signature

T = TypeVar("T")
Table = Mapping[str, Any]

TABLES = ("paper", "headline", "experiment", "artifact", "reported", "fault", "excused")
GIVEN = ("arm", "seed", "device")
"""What a function is called with only if it takes it."""


def load_paper(folder: Path, functions: Functions | None = None) -> Paper:
    """Read and check `folder/paper.toml`. Raises `BadFile` with every problem that it has.

    `functions` are those of the project: afterwards they know which files the check depended on.
    """
    file = folder / "paper.toml"
    raw = file.read_bytes() if file.is_file() else b""
    text = raw.decode("utf-8", "replace")
    reader = Reader(file, text)
    try:
        raw.decode("utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        reader.refuse((), f"is not UTF-8 (line {line}, byte {raw[error.start]:#x})", "save it as UTF-8")
        reader.finish()
    except tomllib.TOMLDecodeError as error:
        reader.refuse((), f"is not valid TOML: {error}", "mend the syntax")
        reader.finish()
    if not text:
        reader.refuse((), "is missing or empty", "start from `crossexam new`")
        reader.finish()
    paper, places = _read(reader, folder, table)
    _check_references(reader, paper, places)
    _check_code(reader, paper, places, functions or Functions(folder.parent.parent))
    reader.finish()
    return paper


Places = Mapping[tuple[str, str], Key]
"""Where in the file a claim, an entry of the ledger or a fault stands, by (kind, id)."""


def _read(reader: Reader, folder: Path, table: Table) -> tuple[Paper, Places]:
    """Every table as its object. What could not be read is left out, and the reader knows why."""
    for name in table.keys() - {*TABLES}:
        nested = "claims stand under their experiment: [[experiment.NAME.claim]]"
        reader.refuse((name,), "is an unknown table", nested if name == "claim" else did_you_mean(name, TABLES))
    about = reader.read(About, table.get("paper", {}), ("paper",))
    artifacts = _named(reader, Artifact, table, "artifact")
    experiments: dict[str, Experiment] = {}
    claims: list[Claim] = []
    places: dict[tuple[str, str], Key] = {}

    def keep(kind: str, key: Key, item: Any) -> bool:
        """Whether an item was read; an id that stands already is refused."""
        if item is None:
            return False
        if (kind, item.id) in places:
            reader.refuse((*key, "id"), f"{item.id!r} is used twice", "ids are unique within a paper")
        places.setdefault((kind, item.id), key)
        return True

    for name, body in _protocols(reader, table).items():
        own = {key: value for key, value in body.items() if key != "claim"}
        if experiment := reader.read(Experiment, own, ("experiment", name), name=name):
            experiments[name] = experiment
        defaults = {key: body[key] for key in ("where", "provenance") if key in body}
        for key, claim_table in _items(reader, body, ("experiment", name, "claim")):
            claim = _claim(reader, {**defaults, **claim_table}, key, name)
            if keep("claim", key, claim):
                claims.append(claim)  # type: ignore[arg-type]
    reported = [
        item
        for key, body in _items(reader, table, ("reported",))
        for one, place in _entries(reader, body, key)
        if keep("reported", key, item := reader.read(Reported, one, place))
    ]
    faults = [
        fault
        for key, body in _items(reader, table, ("fault",))
        if keep("fault", key, fault := reader.read(Fault, body, key))
    ]
    excused = [one for key, body in _items(reader, table, ("excused",)) if (one := reader.read(Excused, body, key))]
    headlines = [
        head for key, body in _items(reader, table, ("headline",)) if (head := reader.read(Headline, body, key))
    ]
    slug = folder.name.replace("_", "-")
    unread = About(title="", arxiv="", summary="", field="theory")  # after a refusal: no paper comes out then
    found = (tuple(claims), tuple(reported), tuple(faults), tuple(excused), tuple(headlines))
    return Paper(slug, folder, about or unread, experiments, artifacts, *found), places  # type: ignore[arg-type]


def _named(reader: Reader, cls: type[T], table: Table, name: str) -> dict[str, T]:
    """The tables `[name.x]` by their x."""
    read = {key: reader.read(cls, body, (name, key), name=key) for key, body in _tables(reader, table, name).items()}
    return {key: value for key, value in read.items() if value is not None}


def _tables(reader: Reader, table: Table, name: str) -> dict[str, Table]:
    bodies = table.get(name, {})
    if not isinstance(bodies, Mapping):
        reader.refuse((name,), "is not a table of tables", f"write [{name}.some_name]")
        return {}
    for key in (key for key, body in bodies.items() if not isinstance(body, Mapping)):
        reader.refuse((name, key), "is not a table", f"write [{name}.{key}]")
    return {key: body for key, body in bodies.items() if isinstance(body, Mapping)}


def _items(reader: Reader, table: Table, key: Key) -> Iterator[tuple[Key, Table]]:
    """The tables of the array `[[key]]`, with their keys."""
    bodies = table.get(str(key[-1]), [])
    if not isinstance(bodies, list) or not all(isinstance(body, Mapping) for body in bodies):
        reader.refuse(key, "is not an array of tables", f"write [[{'.'.join(map(str, key))}]]")
        return
    yield from (((*key, index), body) for index, body in enumerate(bodies))


def _protocols(reader: Reader, table: Table) -> dict[str, Table]:
    """The experiments' tables, each protocol with what it takes over from the one that it is `like`."""
    bodies = _tables(reader, table, "experiment")

    def whole(name: str, passed: tuple[str, ...]) -> Table:
        own = bodies[name].get("protocol", {})
        if not isinstance(own, Mapping) or "like" not in own:
            return own if isinstance(own, Mapping) else {}
        other, key = own["like"], ("experiment", name, "protocol", "like")
        rest = {field: text for field, text in own.items() if field != "like"}
        if other not in bodies:
            reader.refuse(key, f"names {other!r}", did_you_mean(str(other), bodies))
        elif other in passed:
            reader.refuse(key, f"leads back to {other!r}", "one of them says it all itself")
        else:
            inherited = whole(other, (*passed, other))
            return {**{field: text for field, text in inherited.items() if field != "sensitivity"}, **rest}
        return rest

    resolved = {}
    for name, body in bodies.items():
        like = isinstance(body.get("protocol"), Mapping) and "like" in body["protocol"]
        resolved[name] = {**body, "protocol": whole(name, (name,))} if like else body
    return resolved


def _claim(reader: Reader, body: Table, key: Key, experiment: str) -> Claim | None:
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
    claim = reader.read(Claim, rest, key, rule=rule or Rule(metric="refused"), experiment=experiment)
    return claim if rule else None


def _entries(reader: Reader, body: Table, key: Key) -> Iterator[tuple[Table, Key]]:
    """An entry of the ledger as one number each: those of `values`, which fill in what the entry leaves open."""
    if "values" not in body:
        yield body, key
        return
    shared = {name: value for name, value in body.items() if name != "values"}
    for place, one in _items(reader, body, (*key, "values")):
        for name in one.keys() & shared.keys():
            reader.refuse((*place, name), "is said by the entry already", "say it in one of the two places")
        yield {**shared, **one}, place


def _check_references(reader: Reader, paper: Paper, places: Places) -> None:
    """Everything that is named must exist: arms, parameters, artifacts, claims."""
    for name, experiment in paper.experiments.items():
        for used in experiment.uses:
            if used not in paper.artifacts:
                reader.refuse(("experiment", name, "uses"), f"names {used!r}", did_you_mean(used, paper.artifacts))
            else:
                for part in set(paper.artifacts[used].by) - {"seed", "arm"} - set(experiment.params):
                    reader.refuse(("artifact", used, "by"), f"names {part!r}", f"'{name}' has no such parameter")
    for claim in paper.claims:
        if claim.experiment in paper.experiments:
            _check_claim(reader, claim, paper.experiments[claim.experiment], places["claim", claim.id])
    known = [claim.id for claim in paper.claims]
    named = [("reported", "claims", one.id, one.claims) for one in paper.reported]
    for kind, field, one, ids in [*named, *(("fault", "breaks", fault.id, fault.breaks) for fault in paper.faults)]:
        for wrong in (name for name in ids if name not in known):
            reader.refuse((*places[kind, one], field), f"names {wrong!r}", did_you_mean(wrong, known))
    if not reader.problems:  # else the places of headlines and claims that were read are not those of the file
        _check_headlines(reader, paper, places)


def _check_headlines(reader: Reader, paper: Paper, places: Places) -> None:
    """Headlines rest on claims, and every claim of the abstract is in one, or marked.

    A paper without any headline is let through: `crossexam check` speaks of it.
    """
    known, said = [claim.id for claim in paper.claims], set[str]()
    for index, headline in enumerate(paper.headlines):
        for wrong in (name for name in headline.claims if name not in known):
            reader.refuse(("headline", index, "claims"), f"names {wrong!r}", did_you_mean(wrong, known))
        if headline.says in said:
            reader.refuse(("headline", index, "says"), "stands twice", "one headline is one sentence")
        said.add(headline.says)
    used = {name for headline in paper.headlines for name in headline.claims}
    for claim in paper.claims:
        key = places["claim", claim.id]
        if claim.aside and (claim.id in used or claim.provenance != "abstract"):
            why = "a headline rests on it" if claim.id in used else f"it is '{claim.provenance}'"
            reader.refuse((*key, "aside"), f"is said of {claim.id!r}, but {why}", "remove it")
        elif paper.headlines and claim.provenance == "abstract" and claim.id not in used and not claim.aside:
            mend = 'name it in one, or say `aside = "why not"`'
            reader.refuse(key, f"{claim.id!r} is of the abstract, but no headline rests on it", mend)


def _check_claim(reader: Reader, claim: Claim, experiment: Experiment, key: Key) -> None:
    """A rule may only name what its experiment has."""
    for arm in claim.rule.arms:
        if arm not in experiment.arms:
            wrong = f"names the arm {arm!r}, which '{experiment.name}' has not"
            reader.refuse((*key, "rule"), wrong, did_you_mean(arm, experiment.arms))
    over = claim.rule.over if isinstance(claim.rule, TrendRule) else ""
    if over and over not in experiment.params:
        reader.refuse((*key, "rule", "over"), f"is {over!r}", did_you_mean(over, experiment.params))
    if claim.rule.statistical and claim.decision.n_min > experiment.seeds and experiment.tier != "full":
        reader.refuse(
            key,
            f"needs {claim.decision.n_min} seeds but '{experiment.name}' has {experiment.seeds}",
            "raise `seeds` of the experiment, or set decision = { n_min = ... } with care",
        )
    for name, value in claim.rule.at.items():
        axis = experiment.params.get(name)
        known = axis if isinstance(axis, list) else [axis]
        wanted = value if isinstance(value, list) else [value]
        if name not in experiment.params:
            reader.refuse((*key, "rule", "at"), f"names {name!r}", did_you_mean(name, experiment.params))
        elif any(one not in known for one in wanted):
            reader.refuse((*key, "rule", "at"), f"asks for {name} = {value!r}", f"'{experiment.name}' has {axis!r}")


def _check_code(reader: Reader, paper: Paper, places: Places, functions: Functions) -> None:
    """Functions must be there and take what they get; texts that faults replace must occur once."""
    module = f"{paper.package}.experiments"
    try:
        if not functions.has(module):
            reader.refuse((), "has no experiments.py beside it", "write one function per experiment")
            return
        for experiment in paper.experiments.values():
            _check_experiment(reader, paper, experiment, functions, module)
        for artifact in paper.artifacts.values():
            _check_artifact(reader, paper, artifact, functions)
    except SyntaxError as error:
        file = Path(error.filename or "experiments.py").name
        reader.refuse((), f"stands beside an {file} that does not parse (line {error.lineno})", f"{error.msg}")
    for fault in paper.faults:
        edited, key = paper.folder / fault.file, places["fault", fault.id]
        if edited.parent != paper.folder or edited.suffix != ".py" or not edited.is_file():
            reader.refuse((*key, "file"), f"is {fault.file!r}", "name a Python file of the suite")
        elif (count := edited.read_bytes().count(fault.replace.encode())) != 1:
            reader.refuse((*key, "replace"), f"occurs {count} times in {fault.file}", "quote a text that occurs once")


def _check_experiment(reader: Reader, paper: Paper, experiment: Experiment, functions: Functions, module: str) -> None:
    key: Key = ("experiment", experiment.name)
    found = functions.find(module, experiment.name)
    if found is None:
        near = did_you_mean(experiment.name, functions.names(module))
        reader.refuse(key, "has no function of that name in experiments.py", near)
        return
    _check_call(reader, key, found, {name: (*key, "params", name) for name in experiment.params}, experiment.uses)
    built_by = {part for name in experiment.uses if name in paper.artifacts for part in paper.artifacts[name].by}
    timed = any(c.experiment == experiment.name and isinstance(c.rule, ResourceRule) for c in paper.claims)
    if len(experiment.arms) > 1 and not found.accepts("arm") and "arm" not in built_by:
        wrong = f"are several, but {experiment.name}() takes no `arm`: all would measure one thing"
        reader.refuse((*key, "arms"), wrong, "let the function take `arm`, or keep one arm")
    if experiment.seeds > 1 and not found.accepts("seed") and "seed" not in built_by and not timed:
        wrong = f"is {experiment.seeds}, but {experiment.name}() takes no `seed`: all would measure one thing"
        reader.refuse((*key, "seeds"), wrong, "let the function take `seed`, or keep one seed")


def _check_artifact(reader: Reader, paper: Paper, artifact: Artifact, functions: Functions) -> None:
    key: Key = ("artifact", artifact.name)
    found = functions.find(*artifact.place(paper.package))
    if found is None and artifact.of:
        reader.refuse((*key, "of"), f"names {artifact.of!r}, which is not there", "correct it")
    elif found is None:
        near = did_you_mean(artifact.name, functions.names(f"{paper.package}.experiments"))
        reader.refuse(key, "has no function of that name in experiments.py", near)
    else:
        params = {name: (*key, "by") for name in artifact.by if name not in GIVEN}
        _check_call(reader, key, found, params, ())


def _check_call(
    reader: Reader, key: Key, function: Signature, params: Mapping[str, Key], paths: tuple[str, ...]
) -> None:
    """A function must take all that it is called with, and be given all that it requires."""
    name = str(key[-1])
    for param, place in params.items():
        if not function.accepts(param):
            near = did_you_mean(param, function.takes - {*GIVEN} or {"(nothing)"})
            reader.refuse(place, f"gives {param!r}, which {name}() does not take", near)
    for path in paths:
        if not function.accepts(path):
            reader.refuse((*key, "uses"), f"gives {path!r}, which {name}() does not take", "take it, as a path")
    for needed in sorted(function.required - params.keys() - {*paths, *GIVEN}):
        reader.refuse(key, f"gives no {needed!r}, which {name}() requires", "add it to params, or give it a default")
