"""Which project code a function depends on, found without importing it, and a digest of just that code.

The closure is by top-level definition, not by file: from one function, through every name that it mentions, into the
project modules that it imports. Code is digested as a syntax tree without docstrings, so that prose, comments and
layout change nothing, and one changed constant changes exactly the digests of its users. Where a name cannot be
followed (`import *`, a module passed around as a value), the whole module counts: too much is safe, too little is not.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from crossexam import index
from crossexam.facts.problems import BadFile, Problem
from crossexam.runs import syntax
from crossexam.runs.syntax import PACKAGES, Definition, Module

IDENTIFIED = ("reference.catalog", "reference.fetch", "reference.cache", "reference.decoded")
"""Project modules left out: they find, get, check and keep files, and what those are is in the fingerprint by its
checksum."""
WHOLE = "*"
"""Stands for every definition of a module."""
IMPORT = "<import>"
"""Stands for what happens when a module is imported, whoever imports it."""

Name = tuple[str, str]
"""A module and one of its definitions, or WHOLE, or IMPORT."""


class Node(NamedTuple):
    """A name with what it leads to at once."""

    key: str
    """module:definition"""
    digest: str
    """Empty for what only leads elsewhere."""
    installed: frozenset[str]
    """Modules from outside the project that it imports, other than Python's own."""
    following: frozenset[Name]


class Project:
    """The project's own modules below `root`, read on demand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}
        self._read: dict[str, tuple[Path, tuple[int, int]]] = {}
        self._packages: set[str] = set()
        self._nodes: dict[Name, Node] = {}
        self._closures: dict[tuple[Name, ...], list[Node]] = {}

    def digests(self, *roots: Name) -> dict[str, str]:
        """{"module:definition": digest} for all that these definitions depend on."""
        return {node.key: node.digest for node in self._closure(roots) if node.digest}

    def foreign(self, *roots: Name) -> frozenset[str]:
        """Installed modules that are imported with the modules of these definitions, or when they are called."""
        return frozenset().union(*(node.installed for node in self._closure(roots)))

    def edited(self, code: Iterable[str]) -> list[str]:
        """Files behind the keys of `digests` that have changed since they were read here."""
        read = (self._read[name] for name in sorted({key.partition(":")[0] for key in code}))
        return [str(file.relative_to(self.root)) for file, state in read if _state(file) != state]

    def _closure(self, roots: tuple[Name, ...]) -> list[Node]:
        """All that is reached from some definitions, themselves included, in the order of their names."""
        if roots not in self._closures:
            reached = set(roots)
            frontier = list(roots)
            while frontier:
                fresh = self._node(frontier.pop()).following - reached
                reached |= fresh
                frontier += fresh
            self._closures[roots] = [self._nodes[name] for name in sorted(reached)]
        return self._closures[roots]

    def _node(self, name: Name) -> Node:
        if name not in self._nodes:  # many definitions are reached from many experiments
            module, definition = self.module(name[0]), self._definition(name)
            installed = filter(_is_installed, definition.imports if definition else ())
            following = frozenset(self._lead(name, module, definition)) if module else frozenset()
            digest = definition.digest if definition else ""
            self._nodes[name] = Node(":".join(name), digest, frozenset(installed), following)
        return self._nodes[name]

    def _lead(self, name: Name, module: Module, definition: Definition | None) -> Iterator[Name]:
        where, what = name
        yield from ((package, IMPORT) for package in [*_parents(where), where])
        if definition:
            yield from ((where, name) for name in definition.names)
            yield from map(self._target, definition.paths)
            yield from ((imported, IMPORT) for imported in definition.imports if _is_ours(imported))
        elif what in module.bound:
            yield self._target(module.bound[what])
        else:  # WHOLE, or a name that is made in some way that cannot be seen (`__getattr__`): take everything
            yield from ((where, name) for name in module.definitions)
            yield from ((base, WHOLE) for base in module.stars)

    def _definition(self, name: Name) -> Definition | None:
        module = self.module(name[0])
        if module is None:
            return None
        return module.importing if name[1] == IMPORT else module.definitions.get(name[1])

    def _target(self, path: syntax.Path) -> Name:
        """`losses.focal` with `from baselines import losses` is (baselines.losses, focal)."""
        module, *rest = path
        while rest and self.module(module) and module in self._packages and self.module(f"{module}.{rest[0]}"):
            module = f"{module}.{rest.pop(0)}"
        return module, rest[0] if rest else WHOLE

    def module(self, name: str) -> Module | None:
        """The project module `name`, or None where the project has none of that name. Raises BadFile."""
        if name not in self._modules:
            self._modules[name] = self._load(name)
        return self._modules[name]

    def _load(self, name: str) -> Module | None:
        if not _is_ours(name) or name in IDENTIFIED:
            return None
        base = self.root.joinpath(*name.split("."))
        for file, package in ((base / "__init__.py", name), (base.with_suffix(".py"), name.rpartition(".")[0])):
            if (state := _state(file)) is not None:
                self._read[name] = file, state  # before it is read: what is written meanwhile shows as an edit
                if package == name:
                    self._packages.add(name)
                return _read(file, package)
        return None


def _read(file: Path, package: str) -> Module:
    text = file.read_bytes()
    try:
        found = index.remembered([text, package.encode()], [syntax.__file__], lambda: syntax.read_module(text, package))
    except SyntaxError as error:
        wrong = f"does not parse: {error.msg}"
        raise BadFile([Problem(file, error.lineno or 1, "(file)", wrong, "mend the syntax")]) from error
    definitions, importing, bound, stars = found
    named = {name: Definition(*definition) for name, definition in definitions.items()}
    return Module(named, Definition(*importing), bound, stars)


def _state(file: Path) -> tuple[int, int] | None:
    """Modification time and size of a file; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def _is_installed(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in PACKAGES and top not in sys.stdlib_module_names


def _parents(name: str) -> list[str]:
    """`a.b.c` -> [a, a.b]: the packages that importing it imports first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
