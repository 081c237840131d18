"""Lines and tables on standard output: in colour on a terminal, plain in a pipe. Obeys NO_COLOR and COLUMNS.

No library's tables: what most draw is one table with a row for each of hundreds of claims, and that takes this module
a few milliseconds.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

PIPE_WIDTH = 160
"""Columns where there is no terminal: enough for whole tables."""
GAP = "  "
STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}


class Styled(NamedTuple):
    """A text in one of STYLES."""

    text: str
    style: str


Part = str | Styled


def bold(text: str) -> Styled:
    return Styled(text, "bold")


def say(*parts: Part, indent: int = 0) -> None:
    """Print one line. A terminal gets it in several, broken between words; all but the first may be indented."""
    text = "".join(part if isinstance(part, str) else part.text for part in parts)
    colours = _has_colours()
    if not sys.stdout.isatty() or _columns(text) <= (page := _page()) or "\n" in text:
        print("".join(_shown(part, colours) for part in parts))
        return
    lines = _wrapped(text, page, " " * indent)
    if colours and isinstance(parts[0], Styled) and lines[0].startswith(parts[0].text):
        lines[0] = _shown(parts[0], colours) + lines[0].removeprefix(parts[0].text)
    print("\n".join(lines))


def table(rows: Iterable[Sequence[Part]], header: Sequence[str] = (), spare: Sequence[str] = ()) -> None:
    """Print columns side by side. Where the page is too narrow the `spare` ones are left out, the first of them first;
    then the widest are wrapped between words. No word or number is ever cut.

    Args:
        spare: names of the header that a reader can do without.
    """
    cells = [[part if isinstance(part, Styled) else Styled(part, "") for part in row] for row in rows]
    if header:
        cells.insert(0, [bold(name) for name in header])
    for name in spare:
        widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        if sum(widths) + len(GAP) * (len(widths) - 1) <= _page():
            break
        out = [cell.text for cell in cells[0]].index(name)
        cells = [[cell for index, cell in enumerate(row) if index != out] for row in cells]
    columns = list(zip(*cells, strict=True))
    widths = _fitting([max(map(_width, column)) for column in columns], [_least(column) for column in columns])
    colours = _has_colours()
    lines = (line for row in cells for line in _lines(row, widths, colours))
    print("\n".join(lines))


def _lines(row: Sequence[Styled], widths: Sequence[int], colours: bool) -> Iterable[str]:
    """A row of a table: several lines where a cell has them or has to be wrapped."""
    columns = [_wrapped(cell.text, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, columns))):
        parts = []
        for cell, column, width in zip(row, columns, widths, strict=True):
            text = column[number] if number < len(column) else ""
            parts.append(_shown(cell._replace(text=text), colours) + " " * (width - _columns(text)))
        yield GAP.join(parts).rstrip()


def _page() -> int:
    return shutil.get_terminal_size((PIPE_WIDTH, 0)).columns


def _fitting(widths: list[int], least: Sequence[int]) -> list[int]:
    """The widths of columns that stand side by side on the page, as far as their longest words let them."""
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - _page()
    while excess > 0 and (open_ := [index for index, width in enumerate(widths) if width > least[index]]):
        widest = max(open_, key=lambda index: widths[index])
        others = [widths[index] for index in open_ if widths[index] < widths[widest]]
        cut = min(excess, max(1, widths[widest] - max(others, default=1)), widths[widest] - least[widest])
        widths[widest] -= cut
        excess -= cut
    return widths


def _least(column: Sequence[Styled]) -> int:
    """The width of a column's longest word."""
    return max((_columns(word) for cell in column for word in cell.text.split()), default=1)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    lines = text.split("\n")
    if len(text) <= width and len(lines) == 1:
        return lines
    whole = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": indent}
    return [part for line in lines for part in textwrap.wrap(line, width, **whole) or [""]]  # type: ignore[arg-type]


def _width(cell: Styled) -> int:
    return max(map(_columns, cell.text.split("\n")))


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _shown(part: Part, colours: bool) -> str:
    if isinstance(part, str):
        return part
    return f"\x1b[{STYLES[part.style]}m{part.text}\x1b[0m" if colours and part.style and part.text else part.text


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
