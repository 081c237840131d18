"""The text of a module as plain data: a digest of each definition, and what it mentions and imports.

Nothing is looked up in other modules, so that the data depends on the text alone; `source` puts it together.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeGuard

PACKAGES = ("suites", "baselines", "reference")
"""Where the project's own modules are."""

Path = Sequence[str]
"""A module and what follows it, as (baselines, losses, focal). Which of its parts are modules is not known here."""


class Definition(NamedTuple):
    """A name of a module, with every statement that binds it."""

    digest: str
    """Of the statements without docstrings, comments and layout, and of what their names mean outside the project."""
    names: Sequence[str]
    """Definitions of the same module that it mentions."""
    paths: Sequence[Path]
    """What it mentions of other modules of the project."""
    imports: Sequence[str]
    """Modules that are imported when it is executed. Of the project's, some may be names in a module instead."""


class Module(NamedTuple):
    """A module's definitions, and what happens when it is imported."""

    definitions: Mapping[str, Definition]
    importing: Definition
    """Its statements with effects of their own; the digest is empty where there are none."""
    bound: Mapping[str, Path]
    """Names that come from elsewhere in the project."""
    stars: Sequence[str]
    """Modules of the project of which all names are imported."""


class _Scope(NamedTuple):
    """What the names of a module stand for."""

    package: str
    """Where relative imports begin."""
    defined: frozenset[str]
    bound: Mapping[str, Path]
    stars: Sequence[str]


def read_module(text: bytes, package: str) -> Module:
    """The data of a module whose relative imports begin at `package`. Raises SyntaxError."""
    groups: dict[str, list[ast.stmt]] = {}
    effects: list[ast.stmt] = []
    imports: list[ast.stmt] = []
    statements = [statement for statement in ast.parse(text).body if not _does_nothing(statement)]
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports.append(statement)
        elif names := _names(statement):
            for name in names:
                groups.setdefault(name, []).append(statement)
        else:
            effects.append(statement)
    scope = _Scope(package, frozenset(groups), _bound(imports, package), _stars(imports, package))
    importing = _definition(effects, scope)
    return Module(
        {name: _definition(group, scope) for name, group in groups.items()},
        importing._replace(
            digest=importing.digest if effects else "",
            imports=_imported(_walk(statements, into_functions=False), package),
        ),
        {name: path for name, path in scope.bound.items() if _is_ours(path)},
        [base for base in scope.stars if _is_ours([base])],
    )


def changed_definitions(before: str, after: str) -> set[str]:
    """Names whose definitions differ between two texts of a module; "<import>" where what runs on import does."""
    old, new = (read_module(text.encode(), "") for text in (before, after))
    names = old.definitions.keys() | new.definitions.keys()
    changed = {name for name in names if old.definitions.get(name) != new.definitions.get(name)}
    return changed if old.importing == new.importing else {*changed, "<import>"}


def _definition(statements: Sequence[ast.stmt], scope: _Scope) -> Definition:
    inside = list(_walk(statements))
    known = {**scope.bound, **_bound(inside, scope.package)}
    names: set[str] = set()
    paths: set[tuple[str, ...]] = {(base,) for base in scope.stars}
    # What comes from outside is not followed, so that its name must count: `from math import log2 as log`.
    outside = {f"* is {base}" for base in scope.stars if not _is_ours([base])}
    for head, *rest in _mentioned(statements):
        if head in scope.defined:
            names.add(head)
        if head in known:
            paths.add((*known[head], *rest))
            if not _is_ours(known[head]):
                outside.add(f"{head} is {'.'.join(known[head])}")
    text = "\n".join([*map(dump, statements), *sorted(outside)])
    return Definition(
        hashlib.sha256(text.encode()).hexdigest()[:16],
        sorted(names),
        sorted(path for path in paths if _is_ours(path)),
        _imported(inside, scope.package),
    )


def _walk(nodes: Iterable[ast.AST], *, into_functions: bool = True) -> Iterator[ast.AST]:
    """Nodes and all below them, except what is only there for type checkers."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if into_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            waiting += node.orelse if _is_for_types(node) else ast.iter_child_nodes(node)


def _mentioned(nodes: Iterable[ast.AST]) -> Iterator[list[str]]:
    """The names that are mentioned, each with the attributes that are taken of it: `a.b.c` is [a, b, c]."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        dotted = _dotted(node)
        if dotted:
            yield dotted
        else:
            waiting += ast.iter_child_nodes(node)


def _dotted(node: ast.AST) -> list[str]:
    """`a.b.c` as its parts; empty for what is no name with attributes."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []


def _names(statement: ast.stmt) -> list[str]:
    """The names that a definition or an assignment binds; empty for what does, or may do, something else."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return []
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def _bound(nodes: Iterable[ast.AST], package: str) -> dict[str, Path]:
    """{local name: what it stands for} of the imports among some nodes."""
    found: dict[str, Path] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = (alias.name if alias.asname else top,)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            found |= {alias.asname or alias.name: (base, alias.name) for alias in node.names if alias.name != "*"}
    return found


def _stars(nodes: Iterable[ast.AST], package: str) -> list[str]:
    """The modules of which all names are imported."""
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return [_base(node, package) for node in imports if node.names[0].name == "*"]


def _imported(nodes: Iterable[ast.AST], package: str) -> list[str]:
    """The modules that the imports among some nodes import."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            found.add(base)
            if _is_ours([base]):
                found |= {f"{base}.{alias.name}" for alias in node.names if alias.name != "*"}
    return sorted(found)


def _base(node: ast.ImportFrom, package: str) -> str:
    """The module of `from module import`, in full."""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def _is_ours(path: Path) -> bool:
    return path[0].partition(".")[0] in PACKAGES


def _does_nothing(statement: ast.stmt) -> bool:
    return _is_prose(statement) or (_is_for_types(statement) and not statement.orelse)


def _is_prose(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_for_types(node: ast.AST) -> TypeGuard[ast.If]:
    """Whether it is `if TYPE_CHECKING:`, which runs nowhere."""
    return isinstance(node, ast.If) and (_dotted(node.test) or [""])[-1] == "TYPE_CHECKING"


def dump(statement: ast.stmt) -> str:
    """A statement without docstrings, comments and layout."""
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_prose(part)]  # type: ignore[attr-defined]
    return _text(statement)


def _text(node: object) -> str:
    """What `ast.dump` gives in Python 3.11, in ASCII. It differs between versions of Python; a fingerprint must not."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)  # `repr` knows more characters in every version
    kind, parts = type(node), []
    for name in node._fields:
        value = getattr(node, name, None)
        absent = value is None and getattr(kind, name, ...) is None
        if not absent and not (name == "type_params" and not value):  # of Python 3.12
            parts.append(f"{name}={_text(value)}")
    return f"{kind.__name__}({', '.join(parts)})"
