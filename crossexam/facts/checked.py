"""Papers that were found good once, kept in the index: they are not parsed and checked again.

What a check depends on is the suite's own files, the catalogue of data and the code of the check, which together name
the entry, and files outside the suite that functions come from. Which those are only the check itself can tell: they
stand in the entry with their digests, and are looked at again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import reference.catalog
from crossexam import index
from crossexam.facts import loader, paper, problems, rules, signatures

SHELVES = [str(Path(reference.catalog.__file__).with_name(name)) for name in reference.catalog.CATALOGUES]
CODE = [str(module.__file__) for module in (loader, paper, problems, rules, signatures, reference.catalog)]
KIND = ""
"""The key, in a JSON object, of the class that it is of and of those of its fields that are tuples."""
CLASSES = {
    cls.__name__: cls
    for cls in (paper.About, paper.Artifact, paper.Claim, paper.Decision, paper.Excused, paper.Experiment, paper.Fault,
                paper.Headline, paper.Needs, paper.Paper, paper.Protocol, paper.Reported, *rules.RULES.values())
}  # fmt: skip


def checked_paper(folder: Path) -> paper.Paper:
    """The paper of a suite as `loader.load_paper` reads it. Raises BadFile."""
    root, place = folder.parent.parent, {"slug": folder.name.replace("_", "-"), "folder": folder}
    texts = _texts(folder)
    name = index.name_of([folder.name.encode(), *texts], [__file__, *CODE, *SHELVES])
    entry = index.recall(name, _made)
    if entry and all(_digest(root / file) == digest for file, digest in entry["beside"].items()):
        known: paper.Paper = dataclasses.replace(entry["paper"], **place)
        return known
    functions = signatures.Functions(root)
    found = loader.load_paper(folder, functions)
    if _texts(folder) == texts:  # else an edit meanwhile would be kept under the name of the text before
        beside = {str(file.relative_to(root)): _digest(file) for file in functions.files if file.parent != folder}
        try:
            index.keep(name, {"beside": beside, "paper": _record(found, leaving_out=place)})
        except TypeError:
            pass  # a date in the ledger, for which JSON has no word
    return found


def _texts(folder: Path) -> list[bytes]:
    """The names and contents of a suite's files."""
    files = sorted(file for file in folder.iterdir() if file.suffix == ".py" or file.name == "paper.toml")
    return [part for file in files for part in (file.name.encode(), file.read_bytes())]


def _digest(file: Path) -> str:
    """The digest of a file's content; empty where there is none."""
    return index.digest([file.read_bytes()]) if file.is_file() else ""


def _record(value: Any, leaving_out: Collection[str] = ()) -> Any:
    """A value as JSON can hold it. Raises TypeError where it cannot."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name not in leaving_out]
        fields = {name: getattr(value, name) for name in names}
        tuples = [name for name, part in fields.items() if isinstance(part, tuple)]
        return {KIND: [type(value).__name__, *tuples], **{name: _record(part) for name, part in fields.items()}}
    if isinstance(value, Mapping) and KIND not in value:
        return {name: _record(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_record(part) for part in value]
    if isinstance(value, str | float | int | None):
        return value
    raise TypeError(f"{value!r} is not for JSON")


def _made(record: dict[str, Any]) -> Any:
    """The object behind a JSON object. Its class does not check it: that was done when it was read."""
    if KIND not in record:
        return record
    kind, *tuples = record.pop(KIND)
    made: Any = object.__new__(CLASSES[kind])
    vars(made).update(record, **{name: tuple(record[name]) for name in tuples})
    return made
