"""What the functions of a suite take, read from their source: nothing is imported for it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signature:
    """The parameters of a function."""

    takes: frozenset[str]
    required: frozenset[str]
    """Those without a default."""
    open: bool
    """Whether it takes any others too (`**params`)."""

    def accepts(self, name: str) -> bool:
        return self.open or name in self.takes


class Functions:
    """The functions of a project's modules, each module parsed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees: dict[str, ast.Module | None] = {}

    def find(self, module: str, name: str) -> Signature | None:
        """A function that a module defines, names anew, or imports by name from another. Raises SyntaxError."""
        tree = self._tree(module)
        for node in tree.body if tree else ():
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return _signature(node.args)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and _binds(node, name):
                return self.find(module, node.value.id)
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for one in node.names:
                    if (one.asname or one.name) == name:
                        return self.find(node.module, one.name)
        return None

    def names(self, module: str) -> list[str]:
        """What may be meant by a misspelt name: functions, and what is imported by name."""
        tree = self._tree(module)
        body = tree.body if tree else []
        defined = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        return defined + [
            one.asname or one.name for node in body if isinstance(node, ast.ImportFrom) for one in node.names
        ]

    def has(self, module: str) -> bool:
        """Whether the project has the module."""
        return self._tree(module) is not None

    @property
    def files(self) -> list[Path]:
        """The files that answers depended on, whether they are there or not."""
        return [self._file(module) for module in self._trees]

    def _file(self, module: str) -> Path:
        return self._root.joinpath(*module.split(".")).with_suffix(".py")

    def _tree(self, module: str) -> ast.Module | None:
        if module not in self._trees:
            file = self._file(module)
            text = file.read_bytes() if file.is_file() else None
            self._trees[module] = None if text is None else ast.parse(text, filename=str(file))
        return self._trees[module]


def _binds(node: ast.Assign, name: str) -> bool:
    """Whether `name = ...`: one function under two names."""
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _signature(arguments: ast.arguments) -> Signature:
    positional = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    named = [one.arg for one in arguments.kwonlyargs]
    needed = positional[: len(positional) - len(arguments.defaults)]
    needed += [name for name, default in zip(named, arguments.kw_defaults, strict=True) if default is None]
    return Signature(frozenset(positional + named), frozenset(needed), arguments.kwarg is not None)
