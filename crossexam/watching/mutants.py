"""Small generated faults of a source text: one edit each, named after the function that it damages.

Kept mutation testers drive a test suite and rewrite the tree; an audit needs texts that it can hand to trials. So the
edits are made here, on the syntax tree, and written back into the text around them: a diff shows what was done.
"""

from __future__ import annotations

import ast
import difflib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
TIES: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
SIGNS: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
REDUCTIONS = {
    "mean": "sum", "sum": "mean", "max": "min", "min": "max", "amax": "amin", "amin": "amax", "argmax": "argmin",
    "argmin": "argmax", "exp": "expm1", "expm1": "exp", "log": "log1p", "log1p": "log", "sqrt": "square",
    "maximum": "minimum", "minimum": "maximum",
}  # fmt: skip
GUARDS = ("clamp", "clamp_min", "clamp_max", "clamp_", "clip", "nan_to_num", "maximum", "minimum")
"""Calls that keep values in a range, or finite."""
CASTS = ("double", "float", "to", "type_as")
ALONG = ("sum", "mean", "amax", "amin", "max", "min", "logsumexp", "softmax", "log_softmax", "cumsum", "argmax", "norm")
"""Calls whose `dim`, or first or second argument, names an axis."""


@dataclass(frozen=True)
class Mutant:
    """One edit. `name` is function:kind:number, counted within the function, so that a file can speak of it."""

    name: str
    line: int
    source: str
    """The whole text with the edit."""
    diff: str
    about: str = ""
    """The option or default that it changes."""

    @property
    def function(self) -> str:
        return self.name.split(":")[0]

    @property
    def kind(self) -> str:
        return self.name.split(":")[1]


def mutants(source: str, functions: Iterable[str]) -> list[Mutant]:
    """Every edit inside the top-level definitions named, in the order of the text."""
    wanted = set(functions)
    found: list[Mutant] = []
    seen = {source}
    for statement in ast.parse(source).body:
        name = getattr(statement, "name", "")
        if name in wanted:
            counts: Counter[str] = Counter()
            for kind, node, text in _edits(statement):
                counts[kind] += 1
                mutated = _spliced(source, node, text)
                if mutated not in seen and _parses(mutated):
                    seen.add(mutated)
                    label, about = f"{name}:{kind}:{counts[kind]}", ""
                    if kind in ("option", "default"):
                        about = f"{name} {kind} {ast.unparse(node) if kind == 'option' else counts[kind]}"
                    found.append(Mutant(label, node.lineno, mutated, _diff(source, mutated), about))
    return found


def sample(found: Sequence[Mutant], count: int, seed: int = 0) -> list[Mutant]:
    """At least `count` of them where there are as many, in the order of the text.

    Every option and default is changed once and every function damaged once; then kinds take turns, so that what a text
    has little of is not crowded out by its arithmetic.
    """
    order = list(range(len(found)))
    random.Random(seed).shuffle(order)
    drawn = {next(i for i in order if found[i].about == one) for one in {m.about for m in found} if one}
    kinds = Counter(found[index].kind for index in drawn)

    def draw(places: list[int]) -> None:
        """The one of the kind that has been drawn least."""
        index = min(places, key=lambda place: kinds[found[place].kind])
        drawn.add(index)
        kinds[found[index].kind] += 1

    for name in sorted({one.function for one in found} - {found[index].function for index in drawn}):
        draw([index for index in order if found[index].function == name])
    while len(drawn) < min(count, len(found)):
        draw([index for index in order if index not in drawn])
    return [found[index] for index in sorted(drawn)]


def _edits(root: ast.AST) -> Iterator[tuple[str, ast.expr, str]]:
    """(kind, node, its new text). What only words an error, documents, or annotates is left alone."""
    for node in _code(root):
        if isinstance(node, ast.FunctionDef):
            yield from _defaults(node)
            parameters = {one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
            yield from _branches(node, parameters)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            for kind, other in (("comparison", COMPARISONS), ("tie", TIES)):
                if type(node.ops[0]) in other:
                    yield kind, node, _rendered(node, ops=[other[type(node.ops[0])]()])
        elif isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
            yield "sign", node, _rendered(node, op=SIGNS[type(node.op)]())
            yield "term", node, ast.unparse(node.left)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if not isinstance(node.operand, ast.Constant):
                yield "sign", node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, ast.Constant) and _is_number(node):
            yield "constant", node, _changed(node)
        elif isinstance(node, ast.Subscript) and (text := _other_end(node)):
            yield "end", node, text
        elif isinstance(node, ast.Call):
            yield from _calls(node)


def _defaults(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr, str]]:
    """Other defaults: flipped, or another number. What else a default may be has no natural neighbour."""
    for default in (*function.args.defaults, *function.args.kw_defaults):
        if isinstance(default, ast.Constant) and isinstance(default.value, bool):
            yield "default", default, repr(not default.value)
        elif isinstance(default, ast.Constant) and _is_number(default):
            yield "default", default, _changed(default)


def _branches(function: ast.FunctionDef, parameters: set[str]) -> Iterator[tuple[str, ast.expr, str]]:
    """Conditions on a parameter turned round (an option), and early returns that never happen."""
    for node in _code(function):
        if isinstance(node, ast.If | ast.IfExp):
            names = {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
            if names & parameters:
                yield "option", node.test, f"(not ({ast.unparse(node.test)}))"
            if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return) and not node.orelse:
                yield "return", node.test, "False"


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr, str]]:
    plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
    if len(node.args) >= 2 and plain:
        yield "arguments", node, _rendered(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        other = ast.Name("max" if node.func.id == "min" else "min", ast.Load())
        yield "reduction", node, _rendered(node, func=other)
    if not isinstance(node.func, ast.Attribute):
        return
    name, owner = node.func.attr, node.func.value
    library = isinstance(owner, ast.Name) and owner.id in ("torch", "np", "F", "math")
    if name in REDUCTIONS:
        yield "reduction", node, _rendered(node, func=ast.Attribute(owner, REDUCTIONS[name], ast.Load()))
    inner = node.args[0] if library and node.args else owner
    if name in GUARDS:
        yield "guard", node, f"({ast.unparse(inner)})"
    if name == "detach":
        yield "detach", node, ast.unparse(owner)
    if name in CASTS and not library:
        yield "dtype", node, ast.unparse(owner)
    if name in ALONG:
        yield from _axes(node, 1 if library else 0)
    for keyword in node.keywords:
        if keyword.arg == "dtype":
            yield "dtype", keyword.value, "None"
        if keyword.arg == "stable" and isinstance(keyword.value, ast.Constant):
            yield "tie", keyword.value, repr(not keyword.value.value)


def _axes(node: ast.Call, place: int) -> Iterator[tuple[str, ast.expr, str]]:
    """Along another axis: the last becomes the first, any other the last."""
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("dim", "axis")]
    for axis in [*named, *node.args[place : place + 1]]:
        try:
            value = ast.literal_eval(axis)
        except ValueError:
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            yield "axis", axis, "0" if value == -1 else "-1"


def _other_end(node: ast.Subscript) -> str:
    """`x[0]` for `x[-1]` and the other way round; empty for any other place."""
    try:
        place = ast.literal_eval(node.slice)
    except ValueError:
        return ""
    other = {0: "-1", -1: "0"}.get(place) if isinstance(place, int) and not isinstance(place, bool) else None
    return f"{ast.unparse(node.value)}[{other}]" if other else ""


def _is_number(node: ast.Constant) -> bool:
    return isinstance(node.value, int | float) and not isinstance(node.value, bool)


def _changed(node: ast.Constant) -> str:
    value = node.value
    return repr(value + 1 if isinstance(value, int) else 2 * value or 1.0)  # type: ignore[operator]


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that compute something: no annotations, no docstrings, no checks that raise, no error texts."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "args") and isinstance(node, ast.FunctionDef | ast.arg):
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
