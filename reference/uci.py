"""More tables: LIBSVM's multi-class sets, Adult, INDSTAT, ratings of CrossEval. Others are in `tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reference.catalog import DataError, get
from reference.images import check_split
from reference.tables import Table

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
    "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country",
)  # fmt: skip


@dataclass(frozen=True)
class SparseTable:
    """`features` float64 (N, D), sparse by rows; `target` int64 (N,), counted from 0."""

    features: csr_matrix
    target: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.target)


def vowel(split: str) -> SparseTable:
    """Vowel: 528 train, 462 test, 10 features scaled to [-1, 1], 11 classes."""
    check_split("vowel", split, ("train", "test"))
    return _libsvm("vowel", "vowel.scale" if split == "train" else "vowel.scale.t", 10, first=0)


def news20(split: str) -> SparseTable:
    """News20: 15,935 train, 3,993 test, 62,061 features, 20 classes (the files count from 1)."""
    check_split("news20", split, ("train", "test"))
    return _libsvm("news20", "news20.scale.bz2" if split == "train" else "news20.t.scale.bz2", 62_061, first=1)


def aloi(split: str) -> SparseTable:
    """Aloi: 108,000 rows, 128 features, 1,000 classes. It has no split of its own."""
    check_split("aloi", split, ("all",))
    return _libsvm("aloi", "aloi.scale.bz2", 128, first=0)


def _libsvm(name: str, file: str, features: int, *, first: int) -> SparseTable:
    from sklearn.datasets import load_svmlight_file

    path = get(name).require() / file
    try:
        found, target = load_svmlight_file(str(path), n_features=features)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not LIBSVM text of {features} features ({error})") from error
    return SparseTable(found, target.astype(np.int64) - first)


def adult(split: str) -> Table:
    """Adult: 32,561 train, 16,281 test; target 1 is an income above 50,000. Missing categories are "?"."""

    import pandas as pd

    check_split("adult", split, ("train", "test"))
    path = get("adult").require() / ("adult.data" if split == "train" else "adult.test")
    frame = pd.read_csv(
        path, header=None, names=[*ADULT_COLUMNS, "income"], skipinitialspace=True, comment="|", na_filter=False
    )  # the first line of adult.test is a remark
    income = frame.pop("income").str.rstrip(".")
    if set(income) - {"<=50K", ">50K"}:
        raise DataError(f"{path}: incomes other than <=50K and >50K")
    return Table(frame, (income == ">50K").to_numpy(np.int64))


CROSSMAPS = {
    "values": "indstat_rev3_masked_subset.csv",
    "countries": "indstat-country-lookup.csv",
    "links": "simple_links.csv",
    "occupations": "timor_occupn_codes.csv",
}


def crossmaps(split: str) -> pd.DataFrame:
    """The files of the paper on crossmaps, every column as text: country codes have leading zeros.

    The split is "values" (INDSTAT revision 3, masked: 17,365 rows of country, year, isic, isiccomb, value, ...; a value
    is "1000" or ""), "countries", "isic" (528 codes of the hierarchy: code, description), "links" (a crossmap of ten)
    or "occupations" (160 codes with their number of records).
    """

    import pandas as pd

    check_split("crossmaps", split, (*CROSSMAPS, "isic"))
    folder = get("crossmaps").require()
    if split == "isic":  # the code is in the first 14 characters, below a line that names the columns
        lines = (folder / "isic_rev3_structure.txt").read_text("ascii").splitlines()[1:]
        rows = [(line[:14].strip(), line[14:].strip()) for line in lines if line.strip()]
        return pd.DataFrame(rows, columns=["code", "description"])
    return pd.read_csv(folder / CROSSMAPS[split], dtype=str, keep_default_na=False).replace("NA", "")


def crosseval(split: str) -> pd.DataFrame:
    """Ratings of responses to CrossEval's 1,400 prompts.

    "judge": the reference responses as rated by GPT-4o and by two people each (`response_i_llm_rating`,
    `response_i_human_j_rating`, `capability`). Any other split is part of the name of one file of scores, such as
    "gpt-4o-mini": GPT-4o's ratings of the responses of a model (`capability`, `..._response_rating`).
    """

    import pandas as pd

    folder = get("crosseval").require()
    if split == "judge":
        return pd.read_csv(folder / "correlations" / "gpt_judge_with_2ref.csv")
    found = [path for path in sorted((folder / "scores").glob("*.csv")) if split.lower() in path.name.lower()]
    if len(found) != 1:
        raise DataError(f"crosseval: '{split}' must be part of one name of a file in scores, not of {len(found)}")
    return pd.read_csv(found[0])
