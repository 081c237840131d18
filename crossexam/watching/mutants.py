"""Small generated faults of a source text: one edit each, named after the function that it damages.

Kept mutation testers drive a test suite and rewrite the tree; an audit needs texts that it can hand to trials. So the
edits are made here, on the syntax tree, and written back into the text around them: a diff shows what was done.
"""

from __future__ import annotations

import ast
import difflib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
SIGNS: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
T = TypeVar("T")
REDUCTIONS = {
    "mean": "sum", "sum": "mean", "max": "min", "min": "max", "amax": "amin", "amin": "amax", "argmax": "argmin",
    "argmin": "argmax", "exp": "expm1", "expm1": "exp", "log": "log1p", "log1p": "log", "sqrt": "square",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One edit. `name` is function:edit:number, counted within the function, so that a file can speak of it."""

    name: str
    line: int
    source: str
    """The whole text with the edit."""
    diff: str


def mutants(source: str, functions: Iterable[str]) -> list[Mutant]:
    """Every edit inside the top-level definitions named, in the order of the text."""
    wanted = set(functions)
    found: list[Mutant] = []
    for statement in ast.parse(source).body:
        name = getattr(statement, "name", "")
        if name in wanted:
            counts: Counter[str] = Counter()
            for kind, node, text in _edits(statement):
                counts[kind] += 1
                mutated = _spliced(source, node, text)
                if mutated != source and _parses(mutated):
                    label = f"{name}:{kind}:{counts[kind]}"
                    found.append(Mutant(label, node.lineno, mutated, _diff(source, mutated)))
    return found


def sample(found: list[T], count: int, seed: int = 0) -> list[T]:
    """`count` of them, drawn without replacement, in the order of the text."""
    drawn = random.Random(seed).sample(range(len(found)), min(count, len(found)))
    return [found[index] for index in sorted(drawn)]


def _edits(root: ast.AST) -> Iterator[tuple[str, ast.expr, str]]:
    """(kind, node, its new text). What only words an error, documents, or annotates is left alone."""
    for node in _code(root):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS and len(node.ops) == 1:
            yield "comparison", node, _rendered(node, ops=[COMPARISONS[type(node.ops[0])]()])
        if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
            yield "sign", node, _rendered(node, op=SIGNS[type(node.op)]())
            yield "term", node, ast.unparse(node.left)
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            and not isinstance(node.operand, ast.Constant)
        ):
            yield "sign", node, f"({ast.unparse(node.operand)})"
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            yield "constant", node, repr(node.value + 1 if isinstance(node.value, int) else 2 * node.value or 1.0)
        if isinstance(node, ast.Call):
            if len(node.args) >= 2 and not any(isinstance(argument, ast.Starred) for argument in node.args[:2]):
                yield "arguments", node, _rendered(node, args=[node.args[1], node.args[0], *node.args[2:]])
            if isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS:
                other = ast.Attribute(node.func.value, REDUCTIONS[node.func.attr], ast.Load())
                yield "reduction", node, _rendered(node, func=other)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that compute something: no annotations, no docstrings, no checks that raise, no error texts."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            prose = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            check = isinstance(child, ast.If) and isinstance(child.body[0], ast.Raise)
            if isinstance(child, ast.AST) and not (prose or check or isinstance(child, ast.Raise | ast.JoinedStr)):
                yield from _code(child)


def _rendered(node: ast.expr, **fields: object) -> str:
    parts = {name: fields.get(name, value) for name, value in ast.iter_fields(node)}
    made: Callable[..., ast.expr] = type(node)
    return f"({ast.unparse(made(**parts))})"


def _spliced(source: str, node: ast.expr, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno  # every parsed expression has its end
    assert node.end_col_offset
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    whole = source.encode()
    return (whole[:start] + text.encode() + whole[end:]).decode()


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _diff(before: str, after: str) -> str:
    """The changed lines, without context."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
