"""Tasks of GLUE, in the Parquet files of the Hugging Face hub. Reading them needs pyarrow (`crossexam[data]`)."""

from __future__ import annotations

import numpy as np

from reference.catalog import DataError, get
from reference.images import check_split
from reference.text import TextPairs

PARTS = {"train": "train", "val": "validation", "test": "test"}


def glue_mrpc(split: str) -> TextPairs:
    """Microsoft Research Paraphrase Corpus: 3,668 train, 408 val and 1,725 test pairs of sentences, all with labels."""

    import pandas as pd

    check_split("glue-mrpc", split, tuple(PARTS))
    path = get("glue-mrpc").require() / f"{PARTS[split]}.parquet"
    table = pd.read_parquet(path, columns=["sentence1", "sentence2", "label"])
    labels = table["label"].to_numpy(np.int64)
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"{path}: labels other than 0 and 1: this copy keeps the labels of the test pairs back")
    return TextPairs(tuple(table["sentence1"]), tuple(table["sentence2"]), labels, ("no paraphrase", "paraphrase"))
