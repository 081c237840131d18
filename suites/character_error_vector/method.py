r"""The Character Error Vector: page-level OCR errors without a reading order (Bourne et al., arXiv:2604.06160).

A text is its counts of characters, a vector x in N^V with |x| = sum of x. Of one page there are four:

    Q    the true characters                     R   the true characters counted through the predicted regions:
    S*   what OCR reads in the true regions          one whose mid-point lies in k of them counts k times
    S    what OCR reads in the predicted regions

and with any distance d(reference, found) of count vectors four errors, which do not add up:

    parsing d(Q, R)     ocr d(Q, S*)     interaction d(R, S)     total d(Q, S)

    SpACER(g, p) = (D + |g - p|_1) / (2 |g|),   D = [|g| - |p|]+            0 where g is empty
    CDD(g, p)    = sqrt(JSD(g / |g|, p / |p|)), in bits, from 0 to 1        sqrt(1/2) where one is empty, 0 where both

Macro SpACER has D of the page; micro SpACER has sum_j [|g_j| - |p_j|]+ over paired regions j, and all else of the page.

    characters, midpoints = spread(["tea", "hat"], [[0, 0, 30, 10], [0, 10, 30, 10]])
    page = vectors(characters, inside_boxes(midpoints, [[0, 0, 30, 20]]), read_true=["teahot"], read=["teahot"])
    decompose(page)                                  # parsing 0, ocr 1/6, interaction 1/6, total 1/6

Boxes are x, y, width, height. Case, Unicode forms and spaces change every number: `normalise` does what the paper does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Distance = Callable[[npt.ArrayLike, npt.ArrayLike], Array]

UNITS = ("character", "word")
QUOTES = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2039\u203a`"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb"), '"'),
    **dict.fromkeys(range(0x2012, 0x2016), "-"),
}
"""One form of quotation marks and dashes each."""


def normalise(text: str) -> str:
    """Lower case, NFKC, one form of quotes and dashes, no white space: what the paper compares."""
    return "".join(unicodedata.normalize("NFKC", text.lower()).translate(QUOTES).split())


def spread(words: Sequence[str], boxes: npt.ArrayLike) -> tuple[str, Array]:
    """The normalised characters of words and their mid-points (N, 2): a word's box (words, 4) cut into equal widths.

    Where NFKC makes several characters of one, each gets its width, as OCR texts are counted. Raises ValueError.
    """
    normal, corners = [normalise(word) for word in words], as_boxes(boxes)
    if len(normal) != len(corners):
        raise ValueError(f"{len(normal)} words and {len(corners)} boxes: give one box for each word")
    size = np.array([len(word) for word in normal], dtype=np.int64)
    x, y, width, height = np.repeat(corners, size, axis=0).T
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    middle = x + (place + 0.5) * width / np.repeat(size, size)
    return "".join(normal), np.stack([middle, y + height / 2], axis=1)


def inside_boxes(midpoints: npt.ArrayLike, boxes: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether mid-point n, of (N, 2), lies in box m, of (M, 4): (M, N). Only left and upper edges belong to a box."""
    x, y = np.ascontiguousarray(_points(midpoints).T)
    corners = as_boxes(boxes)
    left, top, right, bottom = (*corners[:, :2].T, *(corners[:, :2] + corners[:, 2:]).T)
    order = np.argsort(y)
    # Down the page the characters of a box are one stretch; across it they are looked at one by one.
    first, last = (np.searchsorted(y[order], edge) for edge in (top, bottom))
    found = np.zeros((len(corners), len(x)), dtype=bool)
    for box, (start, end) in enumerate(zip(first, last, strict=True)):
        part = order[start:end]
        found[box, part] = (left[box] <= x[part]) & (x[part] < right[box])
    return found


def inside_masks(midpoints: npt.ArrayLike, masks: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether mid-point n, cut to whole pixels, lies in mask m, of bool (M, H, W): (M, N). Outside the page: no."""
    pixels, grid = np.floor(_points(midpoints)), np.asarray(masks)
    if grid.ndim != 3 or grid.dtype != bool:
        raise ValueError(f"masks are bool of shape (regions, height, width), got {grid.dtype} of {grid.shape}")
    on_page = np.logical_and.reduce((pixels >= 0) & (pixels < grid.shape[:0:-1]), axis=1)
    x, y = np.where(on_page[:, None], pixels, 0).astype(np.int64).T
    found: npt.NDArray[np.bool_] = grid[:, y, x] & on_page if on_page.any() else np.zeros((len(grid), len(x)), bool)
    return found


def count(*groups: Sequence[str], unit: str = "character") -> list[Counts]:
    """Groups of texts, a text a region, as counts int64 (regions, V) each, over one sorted alphabet of them all.

    A `word` is what white space separates. Raises ValueError for a bare string, whose regions nobody has said.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is one of {', '.join(UNITS)}, got {unit!r}")
    if any(isinstance(group, str) for group in groups):
        raise ValueError("a group is a list of texts, one for each region: put a single text into a list")
    texts = [text for group in groups for text in group]
    row, code, V = _coded(texts, unit)
    return np.split(_tally(row, code, len(texts), V), np.cumsum([len(group) for group in groups])[:-1])


@dataclass(frozen=True)
class Page:
    """Counts int64 (regions, V) of one page on one alphabet; None where nothing is known."""

    truth: Counts
    """Q, by true region."""
    parsed: Counts | None
    """R, by predicted region."""
    read_true: Counts | None
    """S*, by true region."""
    read: Counts | None
    """S, by predicted region."""


def vectors(
    characters: str,
    inside: npt.NDArray[np.bool_] | None = None,
    *,
    owners: npt.ArrayLike | None = None,
    read_true: Sequence[str] | None = None,
    read: Sequence[str] | None = None,
) -> Page:
    """The vectors of a page with N true characters.

    `inside` bool (M, N): which predicted regions a character lies in. `owners` int (N,): its true region, by default 0.
    `read_true` and `read` are what OCR read in the true and in the M predicted regions. Raises ValueError where these
    numbers differ: regions are paired, and a pair that is lost would lose its errors.
    """
    owner = np.zeros(len(characters), np.int64) if owners is None else np.asarray(owners)
    if owner.shape != (len(characters),) or (owner.size and not (owner.dtype.kind in "iu" and owner.min() >= 0)):
        raise ValueError(f"owners are numbers of true regions from 0 on, one for each of {len(characters)} characters")
    regions = int(owner.max(initial=-1)) + 1 if read_true is None else len(read_true)
    if owner.max(initial=-1) >= regions:
        raise ValueError(
            f"{regions} texts for {owner.max() + 1} true regions: give one for each, '' where nothing is read"
        )
    if inside is not None and (inside.ndim != 2 or inside.dtype != bool or inside.shape[1] != len(characters)):
        raise ValueError(f"inside is bool (regions, {len(characters)}), got {inside.dtype} of {inside.shape}")
    if inside is not None and read is not None and len(read) != len(inside):
        raise ValueError(
            f"{len(read)} texts for {len(inside)} predicted regions: give one for each, '' where nothing is read"
        )
    texts = [characters, *(read_true or ()), *(read or ())]
    row, code, V = _coded(texts, "character")
    truth, after = code[: len(characters)], 1 + len(read_true or ())
    table = _tally(row, code, len(texts), V)
    region, character = np.divmod(np.flatnonzero(inside) if inside is not None else owner[:0], max(1, len(characters)))
    return Page(
        truth=_tally(owner.astype(np.int64), truth, regions, V),
        parsed=None if inside is None else _tally(region, truth[character], len(inside), V),
        read_true=None if read_true is None else table[1:after],
        read=None if read is None else table[after:],
    )


def spacer(reference: npt.ArrayLike, found: npt.ArrayLike) -> Array:
    """SpACER of counts (..., V): 1 where nothing is found, without upper bound; not symmetric. Raises ValueError."""
    g, p = _pair(reference, found)
    total = g.sum(-1)
    return _errors(np.maximum(0.0, total - p.sum(-1)), g, p)


def spacer_micro(reference: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """SpACER of paired regions (regions, V), the missing characters counted region by region. Raises ValueError."""
    g, p = _pair(reference, found)
    if g.ndim != 2:
        raise ValueError(f"counts by region have the shape (regions, V), got {g.shape}")
    return float(_errors(_missing(g, p), g.sum(0), p.sum(0)))


def cdd(reference: npt.ArrayLike, found: npt.ArrayLike) -> Array:
    """Jensen-Shannon distance of the distributions of counts (..., V), in [0, 1]. Raises ValueError.

    Summed in a form whose terms do not cancel, so that it is exact to rounding also where the two are nearly alike.
    """
    g, p = _pair(reference, found)
    G, P = (np.where(one.sum(-1, keepdims=True) > 0, one.sum(-1, keepdims=True), 1) for one in (g, p))
    # Shares times G P, which are whole numbers: their difference has no rounding of its own below 2^53.
    u, v = g * P, p * G
    middle = (u + v) / (2 * G * P)
    lean = np.divide(u - v, u + v, out=np.zeros_like(middle), where=middle > 0)
    # With u = m (1 + t) and v = m (1 - t) u ln(u / m) + v ln(v / m) is m (ln(1 - t^2) + 2 t artanh t).
    t = np.where(np.abs(lean) < 1, lean, 0.0)
    nats = middle * np.where(np.abs(lean) < 1, np.log1p(-t * t) + 2 * t * np.arctanh(t), 2 * np.log(2)) / 2
    return np.asarray(np.sqrt(nats.sum(-1) / np.log(2)))


@dataclass(frozen=True)
class Errors:
    """The four errors of a page; None where a vector that one needs is not known."""

    parsing: float | None
    ocr: float | None
    interaction: float | None
    total: float | None


def decompose(page: Page, distance: Distance = spacer) -> Errors:
    """The errors of a page as a whole, by any distance of (reference, found) count vectors."""
    Q, R, T, S = (
        None if part is None else part.sum(0) for part in (page.truth, page.parsed, page.read_true, page.read)
    )

    def between(reference: Counts | None, found: Counts | None) -> float | None:
        return None if reference is None or found is None else float(distance(reference, found))

    return Errors(between(Q, R), between(Q, T), between(R, S), between(Q, S))


def decompose_micro(page: Page) -> Errors:
    """Micro SpACER: OCR by true region, interaction by predicted region; the total has the interaction's missing ones.

    There is no parsing error: true and predicted regions are not paired.
    """
    R, S = page.parsed, page.read
    ocr = None if page.read_true is None else spacer_micro(page.truth, page.read_true)
    if R is None or S is None:
        return Errors(None, ocr, None, None)
    total = _errors(_missing(*_pair(R, S)), *_pair(page.truth.sum(0), S.sum(0)))
    return Errors(None, ocr, spacer_micro(R, S), float(total))


def _coded(texts: Sequence[str], unit: str) -> tuple[Counts, Counts, int]:
    """Of each unit of the texts in turn its text's number and its place in the alphabet; and the alphabet's size."""
    parts = [text.split() for text in texts] if unit == "word" else texts
    if unit == "word":
        flat: npt.NDArray[Any] = np.array([word for part in parts for word in part], dtype=object)
    else:
        flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    alphabet, code = np.unique(flat, return_inverse=True)
    return np.repeat(np.arange(len(texts)), [len(part) for part in parts]), code, len(alphabet)


def _tally(row: npt.NDArray[np.int64], code: npt.NDArray[np.int64], rows: int, V: int) -> Counts:
    return np.bincount(row * V + code, minlength=rows * V).reshape(rows, V).astype(np.int64)


def _pair(reference: npt.ArrayLike, found: npt.ArrayLike) -> tuple[Array, Array]:
    g, p = (np.asarray(one, dtype=np.float64) for one in (reference, found))
    if g.ndim < 1 or g.shape != p.shape:
        raise ValueError(f"counts have one shape (..., V) over one alphabet, got {g.shape} and {p.shape}: use count")
    if not all(np.isfinite(one).all() and (one >= 0).all() for one in (g, p)):
        raise ValueError("counts are finite and not negative")
    return g, p


def _errors(missing: npt.ArrayLike, g: Array, p: Array) -> Array:
    """(D + E) / (2 C), 0 where C = 0."""
    twice = 2 * g.sum(-1)
    return np.asarray(np.divide(missing + np.abs(g - p).sum(-1), twice, out=np.zeros_like(twice), where=twice > 0))


def _missing(g: Array, p: Array) -> float:
    return float(np.maximum(0.0, g.sum(-1) - p.sum(-1)).sum())


def _points(midpoints: npt.ArrayLike) -> Array:
    found = np.asarray(midpoints, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise ValueError(f"mid-points are finite x, y of shape (N, 2), got {found.shape}")
    return found


def as_boxes(boxes: npt.ArrayLike) -> Array:
    """Boxes as float64 (M, 4), M = 0 too. Raises ValueError where they are none."""
    found = np.asarray(boxes, dtype=np.float64)
    found = found.reshape(0, 4) if found.size == 0 else found
    if found.ndim != 2 or found.shape[1] != 4 or not np.isfinite(found).all() or (found[:, 2:] < 0).any():
        raise ValueError(
            f"boxes are finite x, y, width, height of shape (M, 4), none below zero wide, got {found.shape}"
        )
    return found
