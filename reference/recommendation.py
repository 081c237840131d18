"""Ratings and clicks of users."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reference.catalog import DataError, get
from reference.images import check_split

if TYPE_CHECKING:
    import pandas as pd

FRAPPE_FEATURES = 5382
AMAZON = ("Electronics", "Sports_and_Outdoors", "Tools_and_Home_Improvement", "Toys_and_Games")


@dataclass(frozen=True)
class Ratings:
    """`user` and `item` int64 (N,) count from 0 and are the rows of `users` and `items`; `rating` int64 (N,), 1..5.

    `timestamp` int64 (N,), in seconds since 1970. In the order of the file, which is not that of time.
    """

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    rating: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    users: pd.DataFrame
    items: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rating)


@dataclass(frozen=True)
class Clicks:
    """`features` int64 (N, fields): the active feature of each field, below `count`; `target` int64 (N,), 0 or 1."""

    features: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    count: int

    def __len__(self) -> int:
        return len(self.target)


def ml_100k(split: str) -> Ratings:
    """MovieLens 100K: 100,000 ratings of 1,682 films by 943 users.

    `users`: age, gender, occupation, zip. `items`: title, released, and one column of 0 and 1 for each of 19 genres.
    """

    import pandas as pd

    check_split("ml-100k", split, ("all",))
    folder = get("ml-100k").require()
    genres = pd.read_csv(folder / "u.genre", sep="|", header=None, names=["genre", "index"])["genre"].tolist()
    users = pd.read_csv(
        folder / "u.user", sep="|", header=None, names=["id", "age", "gender", "occupation", "zip"], dtype={"zip": str}
    )
    names = ["id", "title", "released", "video", "url", *genres]
    items = pd.read_csv(folder / "u.item", sep="|", header=None, names=names, encoding="latin-1")
    table = pd.read_csv(folder / "u.data", sep="\t", header=None).to_numpy(np.int64)
    return _ratings(table, users.set_index("id"), items.drop(columns=["video", "url"]).set_index("id"))


def ml_1m(split: str) -> Ratings:
    """MovieLens 1M: 1,000,209 ratings of 3,883 films by 6,040 users. Film numbers have gaps; rows of `items` do not.

    `users`: gender, age (the lower end of a range), occupation (0..20), zip. `items`: title, genres joined by `|`.
    """
    check_split("ml-1m", split, ("all",))
    folder = get("ml-1m").require()
    users = _double_colons(folder / "users.dat", ["id", "gender", "age", "occupation", "zip"])
    users = users.astype({"id": int, "age": int, "occupation": int}).set_index("id")
    items = _double_colons(folder / "movies.dat", ["id", "title", "genres"]).astype({"id": int}).set_index("id")
    table = _double_colons(folder / "ratings.dat", ["user", "item", "rating", "timestamp"]).to_numpy(np.int64)
    return _ratings(table, users, items)


def amazon_reviews_2023(split: str) -> Ratings:
    """Amazon Reviews 2023; the split is a category: Electronics, Sports_and_Outdoors, ... (`AMAZON`).

    `timestamp` is rounded down to seconds. `items` have title, main_category and store, by parent_asin: variants of a
    product are one item. `users` have no columns. A category is read in parts, but its ratings are held in memory: up
    to 43.9 million. Needs pyarrow (`crossexam[data]`).
    """

    import pandas as pd

    check_split("amazon-reviews-2023", split, AMAZON)
    folder = get("amazon-reviews-2023").require()
    items = _json_columns(folder / f"meta_{split}.jsonl", ("parent_asin", "title", "main_category", "store"))
    reviews = _json_columns(folder / f"{split}.jsonl", ("user_id", "parent_asin", "rating", "timestamp"))
    items = items.drop_duplicates("parent_asin").set_index("parent_asin")
    user, users = pd.factorize(reviews["user_id"], sort=True)
    item = items.index.get_indexer(reviews["parent_asin"])
    if (item < 0).any():
        raise DataError(f"{folder}: a review of {split} names a product that meta_{split}.jsonl does not list")
    rating, seconds = reviews["rating"].to_numpy(np.int64), reviews["timestamp"].to_numpy(np.int64) // 1000
    index = pd.DataFrame(index=pd.Index(users, name="user_id"))
    return Ratings(user.astype(np.int64), item.astype(np.int64), rating, seconds, index, items)


def _json_columns(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """These columns of JSON lines; the others, which are most of the file, are never held."""
    from pyarrow import ArrowInvalid, dataset

    source = dataset.dataset(path, format="json")
    if missing := sorted(set(columns) - set(source.schema.names)):
        raise DataError(f"{path} lacks {', '.join(missing)}: this is not the layout that its page describes")
    try:
        return source.to_table(columns=list(columns)).to_pandas()
    except ArrowInvalid as error:
        raise DataError(f"{path} is damaged: {error}") from error


def frappe_heldout(split: str) -> Clicks:
    """Frappe without its train part: 57,722 validation and 28,860 test rows of 10 one-hot fields, 5,382 features.

    Splits: "validation", "test". A split made anew from these is not comparable with published numbers.
    """
    check_split("frappe-heldout", split, ("validation", "test"))
    return read_libfm(get("frappe-heldout").require() / f"frappe.{split}.libfm.gz", FRAPPE_FEATURES)


def read_libfm(path: Path, count: int) -> Clicks:
    """libFM text, gzipped: `label index:1 index:1 ...` with a label of 1 or -1 and as many fields in every row."""
    with gzip.open(path, "rt", encoding="ascii") as lines:
        rows = [re.sub(r":1(?=\s)", "", line).split() for line in lines]
    try:
        table = np.array(rows, dtype=np.int64)
    except ValueError as error:
        raise DataError(f"{path} is not libFM text of one-hot fields ({error})") from error
    features, labels = table[:, 1:], table[:, 0]
    if features.size and (features.min() < 0 or features.max() >= count or set(np.unique(labels)) - {-1, 1}):
        raise DataError(f"{path} holds labels other than 1 and -1, or features outside 0..{count - 1}")
    return Clicks(features, (labels == 1).astype(np.int64), count)


def _ratings(table: npt.NDArray[np.int64], users: pd.DataFrame, items: pd.DataFrame) -> Ratings:
    user, item = users.index.get_indexer(table[:, 0]), items.index.get_indexer(table[:, 1])
    if (user < 0).any() or (item < 0).any():
        raise DataError("a rating names a user or an item that the other files do not list")
    rating, timestamp = table[:, 2], table[:, 3]
    return Ratings(user.astype(np.int64), item.astype(np.int64), rating, timestamp, users, items)


def _double_colons(path: Path, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    rows = [line.split("::") for line in path.read_text("latin-1").splitlines() if line]
    return pd.DataFrame(rows, columns=names)
