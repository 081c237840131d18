"""Tables of mixed columns, as pandas frames with integer targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reference.catalog import DataError, get

if TYPE_CHECKING:
    import pandas as pd

GERMAN_COLUMNS = (
    "status", "duration", "credit_history", "purpose", "credit_amount", "savings", "employment", "installment_rate",
    "personal_status", "other_debtors", "residence_since", "property", "age", "other_installment_plans", "housing",
    "existing_credits", "job", "people_liable", "telephone", "foreign_worker",
)  # fmt: skip


LETTER_COLUMNS = (
    "x_box", "y_box", "width", "height", "on_pixels", "x_bar", "y_bar", "x2_bar", "y2_bar", "xy_bar", "x2y_bar",
    "xy2_bar", "x_edge", "x_edge_y", "y_edge", "y_edge_x",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """`features`, one row an example; `target` int64 (N,), counted from 0."""

    features: pd.DataFrame
    target: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.target)


def breast_cancer(split: str) -> Table:
    """569 tumours, 30 real features; target 1 is benign (scikit-learn's coding)."""

    from sklearn import datasets

    _whole("breast-cancer", split)
    bunch = datasets.load_breast_cancer(as_frame=True)
    return Table(bunch.data, bunch.target.to_numpy(np.int64))


def german_credit(split: str) -> Table:
    """1,000 applicants, 20 attributes in UCI's order, categorical ones as UCI's codes; target 1 is a bad risk."""

    import pandas as pd

    _whole("german-credit", split)
    path = get("german-credit").require() / "german.data"
    frame = pd.read_csv(path, sep=r"\s+", header=None, names=[*GERMAN_COLUMNS, "class"])
    return Table(frame.drop(columns="class"), (frame["class"] == 2).to_numpy(np.int64))


def letter(split: str) -> Table:
    """20,000 distorted capitals, 16 integer features of 0..15 in UCI's order; target 0..25 for A..Z.

    In the order of the file: the first 16,000 (or 15,000) rows are by custom the train part.
    """

    import pandas as pd

    _whole("letter", split)
    path = get("letter").require() / "letter-recognition.data"
    with path.open(encoding="ascii") as lines:
        layout = next(lines)
    frame = pd.read_csv(path, sep="," if "," in layout else r"\s+", header=None)
    letters = frame.pop(0 if layout[0].isalpha() else frame.columns[-1])
    return Table(frame.set_axis(LETTER_COLUMNS, axis=1), letters.map(ord).to_numpy(np.int64) - ord("A"))


def taiwan_default(split: str) -> Table:
    """30,000 card holders, the 23 attributes X1..X23 of UCI 350 (X2 sex, X5 age); target 1 is a default."""

    import pandas as pd

    _whole("taiwan-default", split)
    path = get("taiwan-default").require() / "data.csv"
    frame = pd.read_csv(path)
    columns = [f"X{number}" for number in range(1, 24)]
    if missing := {*columns, "Y"} - set(frame.columns):
        raise DataError(f"{path} lacks the columns {', '.join(sorted(missing))}: take UCI's own data.csv")
    return Table(frame[columns], frame["Y"].to_numpy(np.int64))


def _whole(name: str, split: str) -> None:
    if split != "all":
        raise DataError(f"data set '{name}' has no split '{split}': it is one table, split it yourself")
