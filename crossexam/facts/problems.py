"""Reading tables into frozen dataclasses that validate themselves, with every problem of a file at once.

A problem names file, line, key and the mend. `tomllib` keeps no line numbers, so `Lines` finds them again.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

Key = tuple[str | int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Flaw:
    """What is wrong with one key of a table, and how to mend it. An empty key means the table itself."""

    key: str
    wrong: str
    mend: str


class Invalid(ValueError):
    """Raised by a `Validated` object that was given values that cannot be meant."""

    def __init__(self, flaws: list[Flaw]) -> None:
        super().__init__("; ".join(f"{flaw.key} {flaw.wrong}: {flaw.mend}".strip() for flaw in flaws))
        self.flaws = flaws


@dataclass(frozen=True)
class Validated:
    """Base of the frozen objects of a file: `flaws()` yields what is wrong, and construction refuses it."""

    def flaws(self) -> Iterator[Flaw]:
        return iter(())

    def __post_init__(self) -> None:
        if flaws := list(self.flaws()):
            raise Invalid(flaws)


@dataclass(frozen=True)
class Problem:
    """One refusal: where it is, what is wrong, what to do."""

    file: Path
    line: int
    key: str
    wrong: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key} {self.wrong} -> {self.mend}"


class BadFile(Exception):
    """A file that cannot be used, with all of its problems."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Lines:
    """The line of each key of a TOML text. Keys inside an inline table have the line of that table."""

    HEADER = re.compile(r"^\s*(\[{1,2})\s*([^\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
    ASSIGNMENT = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(.*)$""")

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        table: Key = ()
        counts: dict[Key, int] = {}
        fence = ""
        for number, line in enumerate(text.splitlines(), 1):
            if fence:  # inside a multi-line string
                if fence in line:
                    fence = ""
                continue
            if header := self.HEADER.match(line):
                table = self._resolve(self._parts(header[2]), counts, is_item=header[1] == "[[")
                self._lines.setdefault(table, number)
            elif assignment := self.ASSIGNMENT.match(line):
                self._lines.setdefault(table + self._parts(assignment[1]), number)
                for quote in ('"""', "'''"):
                    if assignment[2].count(quote) == 1:
                        fence = quote

    @staticmethod
    def _parts(dotted: str) -> Key:
        return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.\s]+', dotted))

    @staticmethod
    def _resolve(parts: Key, counts: dict[Key, int], *, is_item: bool) -> Key:
        """`[[fault]]` for the third time is ("fault", 2); `[fault.x]` below it is ("fault", 2, "x")."""
        key: Key = ()
        for position, part in enumerate(parts):
            key += (part,)
            if is_item and position == len(parts) - 1:
                counts[key] = counts.get(key, -1) + 1
            if key in counts:
                key += (counts[key],)
        return key

    def __getitem__(self, key: Key) -> int:
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 1)


class Reader:
    """Turns parsed TOML tables into dataclasses and collects what is wrong on the way."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._lines = Lines(text)

    def refuse(self, key: Key, wrong: str, mend: str) -> None:
        """Note a problem at `key`."""
        shown = ".".join(f"[{part}]" if isinstance(part, int) else part for part in key).replace(".[", "[")
        self.problems.append(Problem(self.file, self._lines[key], shown or "(file)", wrong, mend))

    def finish(self) -> None:
        """Raise `BadFile` if anything was refused."""
        if self.problems:
            raise BadFile(sorted(self.problems, key=lambda problem: problem.line))

    def read(self, cls: type[T], table: object, key: Key, **given: Any) -> T | None:
        """Build `cls` (a dataclass) from `table`; fields in `given` are not the file's to set."""
        if not isinstance(table, Mapping):
            self.refuse(key, "is not a table", f"write it as a table with the keys of {cls.__name__}")
            return None
        before = len(self.problems)
        hints = _hints(cls)  # type: ignore[arg-type]
        fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in given}  # type: ignore[arg-type]
        for name in table.keys() - fields.keys():
            self.refuse((*key, name), "is an unknown key", did_you_mean(name, fields))
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in table:
                if table[name] == "" and "may_be_empty" in field.metadata:
                    values[name] = ""
                else:
                    values[name] = self.value(hints[name], table[name], (*key, name))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self.refuse((*key, name), "is missing", f"add `{name} = ...`")
        if len(self.problems) > before:
            return None
        try:
            return cls(**values, **given)
        except Invalid as invalid:
            for flaw in invalid.flaws:
                self.refuse((*key, flaw.key) if flaw.key else key, flaw.wrong, flaw.mend)
            return None

    def value(self, hint: Any, raw: Any, key: Key) -> Any:
        """`raw` as the type `hint`; a refusal and None where it is not."""
        origin = get_origin(hint)
        if origin in (types.UnionType, typing.Union):
            return self.value(next(kind for kind in get_args(hint) if kind is not types.NoneType), raw, key)
        if origin is Literal:
            if raw not in get_args(hint):
                self.refuse(key, f"is {raw!r}", did_you_mean(str(raw), map(str, get_args(hint))))
            return raw
        if origin is tuple:
            if not isinstance(raw, list):
                self.refuse(key, "is not a list", "write it in square brackets")
                return ()
            return tuple(self.value(get_args(hint)[0], item, key) for item in raw)
        if dataclasses.is_dataclass(hint):
            return self.read(hint, raw, key)  # type: ignore[arg-type]
        if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
            return float(raw)
        kind = dict if origin is not None or hint is Mapping else hint
        if hint is not Any and (not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool)):
            self.refuse(key, f"is {raw!r}", f"it must be of type {getattr(kind, '__name__', kind)}")
        elif isinstance(raw, str) and not raw.strip():
            self.refuse(key, "is empty", "write it, or remove the key")
        return raw


def did_you_mean(word: str, choices: typing.Iterable[str]) -> str:
    """The mend for a misspelt word: the nearest choice, or all of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(known)}"


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields; evaluating them takes longer than reading a claim."""
    return typing.get_type_hints(cls)
