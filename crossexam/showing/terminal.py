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

PIPE_WIDTH = 100_000
"""Columns where there is no terminal: a pipe's lines are as long as they are, and no word moves to the next."""
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


def table(
    rows: Iterable[Sequence[Part]], header: Sequence[str] = (), drop: Sequence[int] = (), *, whole: bool = False
) -> None:
    """Print columns side by side.

    Where they are too wide together, the widest are wrapped between words; where that is not enough, the columns of
    `drop` go, in that order. No word is ever cut: rather is a line too long.

    Args:
        whole: columns go before any is wrapped, for lines that one reads across.
    """
    cells = [[part if isinstance(part, Styled) else Styled(part, "") for part in row] for row in rows]
    if header:
        cells.insert(0, [bold(name) for name in header])
    columns = list(zip(*cells, strict=True))
    left = [number for number in range(len(columns)) if number not in drop]
    longest = [max(map(_width, column)) for column in columns]
    least = [max(map(_longest_word, column)) for column in columns]
    needed = longest if whole else least
    for number in reversed(drop):  # what goes last comes back first
        if _breadth([needed[one] for one in (*left, number)]) > _page():
            break
        left = sorted([*left, number])
    cells = [[row[number] for number in left] for row in cells]
    widths = _fitting([longest[number] for number in left], [least[number] for number in left])
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


def _fitting(widths: list[int], least: Sequence[int]) -> list[int]:
    """The widths of columns that stand side by side on the page, the widest made narrower, none below its `least`."""
    excess = _breadth(widths) - _page()
    while excess > 0 and (loose := [number for number, width in enumerate(widths) if width > least[number]]):
        widest = max(loose, key=lambda number: widths[number])
        second = max((widths[number] for number in loose if widths[number] < widths[widest]), default=1)
        cut = min(excess, widths[widest] - max(second, least[widest])) or 1
        widths[widest] -= cut
        excess -= cut
    return widths


def _page() -> int:
    return shutil.get_terminal_size((PIPE_WIDTH, 0)).columns


def _breadth(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _longest_word(cell: Styled) -> int:
    return max(map(_columns, cell.text.split()), default=0)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    lines = text.split("\n")
    if len(text) <= width and len(lines) == 1:
        return lines
    wrapper = textwrap.TextWrapper(
        max(width, 1), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [part for line in lines for part in wrapper.wrap(line) or [""]]


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
