"""Logs of clicks, too large to hold: read in parts, as tables of text and numbers with a target of 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from reference.catalog import DataError, get
from reference.images import check_split
from reference.recommendation import FRAPPE_FEATURES, Clicks, read_libfm
from reference.tables import Table

PARTS = {"train": "train", "val": "valid", "test": "test"}
TARGETS = ("label", "click", "clk")
"""What the click is called, by the publishers of the splits."""
CRITEO_NUMBERS = tuple(f"I{number}" for number in range(1, 14))


@dataclass(frozen=True)
class ClickLog:
    """`parts(rows)` gives the file as tables of at most so many rows, in its order. Categories are text as it stands.

    A missing category is empty text, a missing number NaN.
    """

    path: Path
    fields: tuple[str, ...]
    target: str
    numbers: tuple[str, ...] = ()

    def parts(self, rows: int = 1_000_000) -> Iterator[Table]:
        import pandas as pd

        kinds = {name: (float if name in self.numbers else str) for name in self.fields}
        read = pd.read_csv(
            self.path, dtype=kinds, chunksize=rows, na_values={name: [""] for name in self.numbers},
            keep_default_na=False,
        )  # fmt: skip
        for frame in read:
            target = frame[self.target].to_numpy(np.int64)
            if set(np.unique(target)) - {0, 1}:
                raise DataError(f"{self.path}: its {self.target} is not 0 or 1 everywhere")
            yield Table(frame[list(self.fields)], target)


def _log(name: str, numbers: tuple[str, ...], split: str) -> ClickLog:
    import pandas as pd

    check_split(name, split, tuple(PARTS))
    path = get(name).require() / f"{PARTS[split]}.csv"
    header = tuple(pd.read_csv(path, nrows=0).columns)
    target = next((column for column in TARGETS if column in header), None)
    if target is None or set(numbers) - set(header):
        raise DataError(f"{path}: expected the columns {', '.join((' or '.join(TARGETS), *numbers))} among others")
    return ClickLog(path, tuple(column for column in header if column != target), target, numbers)


criteo_x4 = partial(_log, "criteo-x4", CRITEO_NUMBERS)
avazu_x4 = partial(_log, "avazu-x4", ())
kdd12 = partial(_log, "kdd12", ())
ipinyou = partial(_log, "ipinyou", ())
kkbox = partial(_log, "kkbox", ())


def frappe(split: str) -> Clicks:
    """Frappe whole: 202,027 train, 57,722 validation and 28,860 test rows of 10 one-hot fields, 5,382 features."""
    check_split("frappe", split, ("train", "validation", "test"))
    return read_libfm(get("frappe").require() / f"frappe.{split}.libfm", FRAPPE_FEATURES)
