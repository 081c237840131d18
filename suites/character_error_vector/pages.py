"""Composed pages of real text: columns of paragraphs, every character in its place, and layouts that miss them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import reference
from suites.character_error_vector.contenders import Reader
from suites.character_error_vector.layout import cote
from suites.character_error_vector.method import Page, inside_boxes, normalise, vectors

Array = npt.NDArray[np.float64]
Ruler = Callable[[str], Sequence[float]]

TEXTS = ("ud-english-ewt", "wikitext-2-heldout", "gsm8k", "tiny-shakespeare")
CELL = 6.0, 10.0
"""Width and height of a character on pages that are never drawn."""
WIDTH, GUTTER, GAP = 28, 2, 1
"""A column in characters; what lies between columns in characters, and between paragraphs in lines."""


def words(text: str) -> list[str]:
    """The words of the test part of a text (of the whole, where it has none)."""
    match text:
        case "ud-english-ewt":
            return [word for one in reference.load(text, "test").sentences for word in one.words]
        case "gsm8k":
            return " ".join(problem.question for problem in reference.load(text, "test")).split()
        case "wikitext-2-heldout":
            return list(reference.load(text, "test").words)
        case _:
            return list(reference.load(text).words)


@dataclass(frozen=True)
class Composed:
    """A page: its lines as (x, y, text), N characters with mid-points (N, 2) and owners (N,), regions (n, 4), size."""

    lines: tuple[tuple[float, float, str], ...]
    characters: str
    midpoints: Array
    owners: npt.NDArray[np.int64]
    regions: Array
    size: tuple[float, float]


def on_grid(line: str) -> list[float]:
    """The edges of characters of one width."""
    return [CELL[0] * place for place in range(len(line) + 1)]


def compose(
    stock: Sequence[str], rng: np.random.Generator, ruler: Ruler = on_grid, height: float = CELL[1]
) -> Composed:
    """Two to four columns of two to four paragraphs of three to eight lines, from a place in the stock drawn at random.

    `ruler` gives the edges of the characters of a line and `height` that of a line. Every character is normalised by
    itself where it stands; spaces are left out.
    """
    columns = [[int(rng.integers(3, 9)) for _ in range(rng.integers(2, 5))] for _ in range(rng.integers(2, 5))]
    supply = wrapped(stock, int(rng.integers(len(stock))))
    left, deepest = GUTTER * CELL[0], 0.0
    lines, characters, spots, owners = [], [], [], []
    regions: list[tuple[float, float, float, float]] = []
    for column in columns:
        top, right = GAP * height, left
        for count in column:
            texts = [next(supply) for _ in range(count)]
            edges = [[left + edge for edge in ruler(text)] for text in texts]
            for number, (text, edge) in enumerate(zip(texts, edges, strict=True)):
                y = top + number * height
                lines.append((left, y, text))
                for place, character in enumerate(text):
                    for one in normalise(character):
                        characters.append(one)
                        spots.append(((edge[place] + edge[place + 1]) / 2, y + height / 2))
                        owners.append(len(regions))
            regions.append((left, top, max(edge[-1] for edge in edges) - left, count * height))
            right = max(right, *(edge[-1] for edge in edges))
            top += (count + GAP) * height
        left, deepest = right + GUTTER * CELL[0], max(deepest, top)
    return Composed(
        tuple(lines), "".join(characters), np.array(spots), np.array(owners), np.array(regions), (left, deepest)
    )  # fmt: skip


def wrapped(stock: Sequence[str], start: int) -> Iterator[str]:
    """Lines of at most WIDTH characters, round and round; longer words are cut."""
    line, place = "", start
    while True:
        word = stock[place % len(stock)][:WIDTH]
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = ""
        line, place = f"{line} {word}".strip(), place + 1


def misparse(page: Composed, severity: float, rng: np.random.Generator) -> Array:
    """The regions as a layout model would find them: moved, resized, dropped, doubled, cut in two, joined; (M, 4).

    `severity` from 0 (as they are) to 1 scales sizes and probabilities of what is done: the draws do not depend on it.
    """
    found, line = [], page.size[1] / 30
    draws = [(rng.normal(0, 1, 4), rng.random(4)) for _ in page.regions]
    joined = False
    for number, ((x, y, w, h), (move, chance)) in enumerate(zip(page.regions, draws, strict=True)):
        if joined:
            joined = False
            continue
        if number + 1 < len(page.regions) and chance[0] < 0.2 * severity:
            a, b, c, d = page.regions[number + 1]
            x, y, w, h = min(x, a), min(y, b), max(x + w, a + c) - min(x, a), max(y + h, b + d) - min(y, b)
            joined = True
        x, y = x + line * severity * move[0], y + line * severity * move[1]
        w, h = w * np.exp(0.15 * severity * move[2]), h * np.exp(0.15 * severity * move[3])
        if chance[1] < 0.15 * severity:
            continue
        halves = [(x, y, w, h / 2), (x, y + h / 2, w, h / 2)] if chance[2] < 0.2 * severity else [(x, y, w, h)]
        found += halves + (halves if chance[3] < 0.1 * severity else [])
    return np.array(found).reshape(-1, 4)


def read_by(page: Composed, inside: npt.NDArray[np.bool_], reader: Reader, rate: float) -> list[str]:
    """What a noisy reader makes of each region (rows of `inside`), line by line across its whole width."""
    order = np.lexsort((page.midpoints[:, 0], page.midpoints[:, 1]))
    texts = ["".join(page.characters[n] for n in order[row[order]]) for row in inside]
    return [reader.read(text, rate) for text in texts]


def measured(page: Composed, boxes: Array, rate: float, rngs: Sequence[np.random.Generator]) -> tuple[Page, float]:
    """The vectors of a page under predicted boxes and a noisy reader, and COTe; a generator for each reading."""
    inside = inside_boxes(page.midpoints, boxes)
    own = page.owners == np.arange(len(page.regions))[:, None]
    first, second = (
        read_by(page, rows, Reader(page.characters, rng), rate) for rows, rng in zip((own, inside), rngs, strict=True)
    )
    counted = vectors(page.characters, inside, owners=page.owners, read_true=first, read=second)
    return counted, cote(page.regions, boxes, page.size).score
