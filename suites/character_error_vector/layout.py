"""COTe of a predicted layout, and the paper's rule that tells from it and two errors which stage did more damage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from suites.character_error_vector.method import as_boxes


@dataclass(frozen=True)
class Layout:
    """Areas as shares of the true one (excess: of the background): `score` = coverage - overlap - trespass."""

    coverage: float
    overlap: float
    trespass: float
    excess: float

    @property
    def score(self) -> float:
        return self.coverage - self.overlap - self.trespass


def cote(regions: npt.ArrayLike, boxes: npt.ArrayLike, size: tuple[float, float], canvas: int = 500) -> Layout:
    """COTe of predicted boxes (M, 4) against true ones (n, 4) on a page of size width, height, painted in pixels.

    The longer side gets at most `canvas` pixels. Of overlapping true regions the first is painted. A prediction's owner
    is the region that it covers most, the first of equals; what it covers of others is trespass. Raises ValueError.
    """
    if not (min(size) > 0 and canvas > 0):
        raise ValueError(f"a page and its canvas are larger than 0, got {size} and {canvas}")
    scale = min(1.0, canvas / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    owner, cover = np.full((height, width), -1), np.zeros((height, width), np.int64)
    true, predicted = (_windows(one, scale) for one in (regions, boxes))
    for number, window in enumerate(true):
        owner[window] = np.where(owner[window] < 0, number, owner[window])
    text = owner >= 0
    area, trespass = int(text.sum()), 0
    for window in predicted:
        cover[window] += 1
        share = np.bincount(owner[window].ravel() + 1, minlength=len(true) + 1)[1:]
        trespass += int(share.sum() - share.max(initial=0))
    excess = int((cover[~text] > 0).sum()) / max(1, text.size - area)
    if not area:
        return Layout(float(not predicted), 0.0, 0.0, excess)
    overlap = int(np.maximum(0, cover[text] - 1).sum())
    return Layout(int((cover[text] > 0).sum()) / area, overlap / area, trespass / area, excess)


def ocr_dominates(
    ocr: npt.ArrayLike, total: npt.ArrayLike, score: npt.ArrayLike, *, share: float = 0.5, least_score: float
) -> npt.NDArray[np.bool_]:
    """The paper's triage: OCR, not parsing, is the larger error where ocr / total >= share and COTe >= least_score.

    Without any error (total 0) no ratio is formed: it says OCR where the layout is good.
    """
    small = np.asarray(ocr) >= share * np.asarray(total)
    return np.asarray(small & (np.asarray(score) >= least_score))


def _windows(boxes: npt.ArrayLike, scale: float) -> list[tuple[slice, slice]]:
    """Rows and columns of each box on the canvas, edges rounded."""
    corners = as_boxes(boxes)
    ends = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    edges = np.maximum(0, np.rint(ends * scale)).astype(np.int64)
    return [(slice(top, bottom), slice(left, right)) for left, top, right, bottom in edges]
