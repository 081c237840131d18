"""Which project code a function depends on, found without importing it, and a digest of just that code.

The closure is by top-level definition, not by file: from one function, through every name that it mentions, into the
project modules that it imports. Code is digested as a syntax tree without docstrings, so that prose, comments and
layout change nothing, and one changed constant changes exactly the digests of its users. Where a name cannot be
followed (`import *`, a module passed around as a value), the whole module counts: too much is safe, too little is not.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("suites", "baselines", "reference")
IDENTIFIED = ("reference.catalog", "reference.fetch", "reference.cache", "reference.decoded")
"""Project modules left out: they find, get, check and keep files, and what those are is in the fingerprint by its
checksum."""
WHOLE = "*"
"""Stands for every definition of a module."""


@dataclass
class Module:
    """One parsed project module."""

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Local name -> (module, attribute), attribute None for `import module`."""
    always: list[ast.stmt] = field(default_factory=list)
    """Statements with effects of their own: they run on import, whoever imports the module."""
    foreign: set[str] = field(default_factory=set)
    """Modules imported from outside the project."""


class Project:
    """The project's own modules below `root`, parsed on demand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}
        self._read: dict[str, tuple[Path, tuple[int, int]]] = {}
        self._closures: dict[tuple[tuple[str, str], ...], set[tuple[str, str]]] = {}
        self._mentions: dict[ast.stmt, list[tuple[str, str]]] = {}

    def digests(self, *roots: tuple[str, str]) -> dict[str, str]:
        """{"module:definition": digest} for all that these definitions depend on."""
        closure = self.closure(*roots)
        return {f"{where}:{what}": self._digest(where, what) for where, what in sorted(closure)}

    def closure(self, *roots: tuple[str, str]) -> set[tuple[str, str]]:
        """The (module, definition) pairs reached from some definitions, themselves included."""
        if roots not in self._closures:
            self._closures[roots] = self._reach(roots)
        return self._closures[roots]

    def _reach(self, roots: tuple[tuple[str, str], ...]) -> set[tuple[str, str]]:
        reached: set[tuple[str, str]] = set()
        frontier = list(roots)
        while frontier:
            here = frontier.pop()
            if here in reached or (found := self.module(here[0])) is None:
                continue
            target = self._follow(found, here[1])
            if target != here:
                frontier.append(target)
                continue
            reached.add(here)
            for package in _parents(here[0]):
                frontier.append((package, "<import>"))
            frontier.append((here[0], "<import>"))
            for statement in self._statements(found, here[1]):
                if statement not in self._mentions:  # many definitions are reached from many experiments
                    self._mentions[statement] = list(self._references(found, statement))
                frontier.extend(self._mentions[statement])
        return {pair for pair in reached if self._statements_of(pair)}

    def foreign(self, *roots: tuple[str, str]) -> set[str]:
        """Outside modules imported at the top of the modules in the closure."""
        modules = {where for where, _ in self.closure(*roots)} | {module for module, _ in roots}
        return set().union(*(found.foreign for where in modules if (found := self.module(where))))

    def imported(self, *modules: str) -> set[str]:
        """Outside modules that importing these imports, through project modules: what a server may import ahead."""
        foreign: set[str] = set()
        seen: set[str] = set()
        frontier = list(modules)
        while frontier:
            name = frontier.pop()
            if name in seen or (found := self.module(name)) is None:
                continue
            seen.add(name)
            foreign |= found.foreign
            for target, attribute in found.imports.values():
                frontier += [*_parents(name), target, f"{target}.{attribute}"]
        return foreign

    def edited(self, code: Iterable[str]) -> list[str]:
        """Files behind the keys of `digests` that have changed since they were read here."""
        read = (self._read[name] for name in sorted({key.partition(":")[0] for key in code}))
        return [str(file.relative_to(self.root)) for file, state in read if _state(file) != state]

    def module(self, name: str) -> Module | None:
        """The project module `name`, or None where the project has none of that name."""
        if name not in self._modules:
            self._modules[name] = self._parse(name)
        return self._modules[name]

    def _parse(self, name: str) -> Module | None:
        if name.split(".")[0] not in PACKAGES or name in IDENTIFIED:
            return None
        base = self.root.joinpath(*name.split("."))
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if not file.is_file():
            return None
        self._read[name] = file, _state(file)
        module = Module(name)
        package = name if base.is_dir() else name.rpartition(".")[0]
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            self._place(module, package, statement)
        return module

    def _place(self, module: Module, package: str, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for local, target in _imports(statement, package):
                module.imports[local] = target
                if target[0].split(".")[0] not in PACKAGES:
                    module.foreign.add(target[0])
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            module.definitions.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and (names := _targets(statement)):
            for name in names:
                module.definitions.setdefault(name, []).append(statement)
        elif not _is_prose(statement):
            module.always.append(statement)

    def _follow(self, module: Module, name: str) -> tuple[str, str]:
        """Where a name of a module is really defined, if the module only imports it."""
        if name in module.definitions or name not in module.imports:
            return module.name, name
        target, attribute = module.imports[name]
        if attribute is None:
            return target, WHOLE
        return (f"{target}.{attribute}", WHOLE) if self.module(f"{target}.{attribute}") else (target, attribute)

    def _statements_of(self, pair: tuple[str, str]) -> list[ast.stmt]:
        module = self.module(pair[0])
        return self._statements(module, pair[1]) if module else []

    def _statements(self, module: Module, name: str) -> list[ast.stmt]:
        if name == "<import>":
            return module.always
        if name == WHOLE:
            return [statement for group in module.definitions.values() for statement in group]
        # A name that is nowhere defined is made in some way that cannot be seen (`__getattr__`): take everything.
        return module.definitions[name] if name in module.definitions else self._statements(module, WHOLE)

    def _references(self, module: Module, statement: ast.stmt) -> Iterator[tuple[str, str]]:
        """The definitions that a statement mentions, through its own imports too."""
        package = (
            module.name if self.root.joinpath(*module.name.split(".")).is_dir() else module.name.rpartition(".")[0]
        )
        known = dict(module.imports)
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                known.update(_imports(node, package))
        followed: set[int] = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
                head, *rest = dotted
                if head in known and (target := self._attribute(known[head], rest)):
                    followed.update(id(part) for part in ast.walk(node))
                    yield target
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and id(node) not in followed:
                if node.id in module.definitions:
                    yield module.name, node.id
                elif node.id in known:
                    target_module, attribute = known[node.id]
                    if attribute is None:
                        yield target_module, WHOLE
                    elif self.module(f"{target_module}.{attribute}"):
                        yield f"{target_module}.{attribute}", WHOLE
                    else:
                        yield target_module, attribute

    def _attribute(self, target: tuple[str, str | None], rest: list[str]) -> tuple[str, str] | None:
        """`losses.focal` with `from baselines import losses` is (baselines.losses, focal)."""
        module, attribute = target
        path = [*([attribute] if attribute else []), *rest]
        while path and self.module(f"{module}.{path[0]}"):
            module = f"{module}.{path.pop(0)}"
        return (module, path[0]) if path and self.module(module) else None

    def _digest(self, module: str, name: str) -> str:
        return hashlib.sha256("\n".join(map(_dump, self._statements_of((module, name)))).encode()).hexdigest()[:16]


def changed_definitions(before: str, after: str) -> set[str]:
    """Names whose definitions differ between two texts of a module; "<import>" where what runs on import does."""
    old, new = _top_level(before), _top_level(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _top_level(text: str) -> dict[str, list[str]]:
    """{name: its statements} of a module; statements that bind no name are under "<import>"."""
    found: dict[str, list[str]] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [statement.name]
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            names = _targets(statement) or ["<import>"]
        else:
            names = ["<import>"]
        for name in names:
            found.setdefault(name, []).append(_dump(statement))
    return found


def _state(file: Path) -> tuple[int, int]:
    """Modification time and size of a file; zeros where it is gone."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.cache
def _dump(statement: ast.stmt) -> str:
    """A statement without docstrings, comments and layout."""
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_prose(part)]  # type: ignore[attr-defined]
    return _text(statement)


def _text(node: object) -> str:
    """What `ast.dump` gives in Python 3.11. It differs between versions of Python; a fingerprint must not."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    kind, parts = type(node), []
    for name in node._fields:
        value = getattr(node, name, None)
        absent = value is None and getattr(kind, name, ...) is None
        if not absent and not (name == "type_params" and not value):  # of Python 3.12
            parts.append(f"{name}={_text(value)}")
    return f"{kind.__name__}({', '.join(parts)})"


def _is_prose(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """(local name, (module, attribute)) for each name that an import binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                (alias.asname, (alias.name, None))
                if alias.asname
                else (alias.name.split(".")[0], (alias.name.split(".")[0], None))
            )
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, base] if base else parents)
    for alias in node.names:
        yield alias.asname or alias.name, (base, alias.name if alias.name != "*" else None)


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    """The plain names that an assignment binds; empty where it writes into something else."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return (
        [part.id for part in parts if isinstance(part, ast.Name)] if all(isinstance(p, ast.Name) for p in parts) else []
    )


def _dotted(node: ast.Attribute) -> list[str]:
    """`a.b.c` as its parts; empty where the head is not a name."""
    parts: list[str] = []
    here: ast.expr = node
    while isinstance(here, ast.Attribute):
        parts.insert(0, here.attr)
        here = here.value
    return [here.id, *parts] if isinstance(here, ast.Name) else []


def _parents(name: str) -> list[str]:
    """`a.b.c` -> [a, a.b]: the packages that importing it imports first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
