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


def say(*parts: Part) -> None:
    """Print one line; a terminal wraps it."""
    colours = _has_colours()
    print("".join(_shown(part, colours) for part in parts))


def table(rows: Iterable[Sequence[Part]], header: Sequence[str] = ()) -> None:
    """Print columns side by side. Where they are too wide together, the widest are wrapped."""
    cells = [[part if isinstance(part, Styled) else Styled(part, "") for part in row] for row in rows]
    if header:
        cells.insert(0, [bold(name) for name in header])
    widths = _fitting([max(map(_width, column)) for column in zip(*cells, strict=True)])
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


def _fitting(widths: list[int]) -> list[int]:
    """The widths of columns that stand side by side on the page."""
    page = shutil.get_terminal_size((PIPE_WIDTH, 0)).columns
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - page
    while excess > 0 and (widest := max(widths)) > 1:
        second = max((width for width in widths if width < widest), default=1)
        cut = min(excess, max(1, widest - max(1, second)))
        widths[widths.index(widest)] -= cut
        excess -= cut
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    lines = text.split("\n")
    if len(text) <= width and len(lines) == 1:
        return lines
    return [part for line in lines for part in textwrap.wrap(line, width) or [""]]


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
