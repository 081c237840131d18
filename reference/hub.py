"""Texts as the Hugging Face hub has them: Parquet or JSON lines with the columns that each set's page names.

Needs pyarrow (`crossexam[data]`). A file without an expected column is refused by name, not read by guess.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reference.catalog import DataError, get
from reference.images import check_split
from reference.text import LabelledTexts, TextPairs, Translations

if TYPE_CHECKING:
    import pandas as pd

GLUE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cola": (("sentence",), ("unacceptable", "acceptable")),
    "sst2": (("sentence",), ("negative", "positive")),
    "mrpc": (("sentence1", "sentence2"), ("no paraphrase", "paraphrase")),
    "qqp": (("question1", "question2"), ("different", "duplicate")),
    "qnli": (("question", "sentence"), ("entailment", "not entailed")),
    "rte": (("sentence1", "sentence2"), ("entailment", "not entailed")),
    "wnli": (("sentence1", "sentence2"), ("not entailed", "entailment")),
}
SUPERGLUE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "boolq": (("question", "passage"), ("no", "yes")),
    "cb": (("premise", "hypothesis"), ("entailment", "contradiction", "neutral")),
    "rte": (("premise", "hypothesis"), ("entailment", "not entailed")),
}
"""Columns of the text, and classes in the order of their numbers, by task."""
STSB_TOP = 5.0


@dataclass(frozen=True)
class Choice:
    """`answer` indexes `choices`."""

    question: str
    choices: tuple[str, ...]
    answer: int
    subject: str


@dataclass(frozen=True)
class Instruction:
    """`context` is empty where the instruction needs none."""

    instruction: str
    context: str
    response: str


@dataclass(frozen=True)
class Step:
    """A turn of a tree of solutions: `parent` is the id of the turn that it goes on from, empty at the root."""

    id: str
    parent: str
    task: str
    source: str
    instruction: str
    response: str


@dataclass(frozen=True)
class Scored:
    """Pairs of sentences with their similarity: float64 (N,), 0 to 5."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Reading:
    """A question about a passage. `answers` are (text, first character); none where it cannot be answered."""

    context: str
    question: str
    answers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Corpora:
    """Documents on disk, too many to hold: iterate, as often as wanted."""

    path: Path
    column: str

    def __iter__(self) -> Iterator[str]:
        import pyarrow.parquet as parquet

        for batch in parquet.ParquetFile(self.path).iter_batches(1000, columns=[self.column]):
            yield from batch[self.column].to_pylist()

    def __len__(self) -> int:
        import pyarrow.parquet as parquet

        return int(parquet.ParquetFile(self.path).metadata.num_rows)


def glue(split: str) -> TextPairs | LabelledTexts | Scored:
    """One of eight tasks; the split is `<task>-train` or `<task>-val`, such as "sst2-val".

    CoLA and SST-2 are labelled texts, STS-B is scored pairs, MRPC, QQP, QNLI, RTE and WNLI are labelled pairs.
    """
    task, path = _task("glue", split, (*GLUE, "stsb"))
    if task == "stsb":
        table = _table(path, ("sentence1", "sentence2", "label"))
        scores = table["label"].to_numpy(np.float64)
        if scores.size and not (scores.min() >= 0 and scores.max() <= STSB_TOP):
            raise DataError(f"{path}: similarities outside 0..5")
        return Scored(tuple(table["sentence1"]), tuple(table["sentence2"]), scores)
    return _labelled(path, *GLUE[task])


def superglue(split: str) -> TextPairs | LabelledTexts:
    """BoolQ, CB or RTE as labelled pairs; the split is `<task>-train` or `<task>-val`."""
    task, path = _task("superglue", split, tuple(SUPERGLUE))
    return _labelled(path, *SUPERGLUE[task])


def _task(name: str, split: str, tasks: tuple[str, ...]) -> tuple[str, Path]:
    check_split(name, split, tuple(f"{task}-{part}" for task in tasks for part in ("train", "val")))
    task, _, part = split.partition("-")
    return task, get(name).require() / f"{task}-{'validation' if part == 'val' else part}.parquet"


def ag_news(split: str) -> LabelledTexts:
    """AG News: 120,000 train, 7,600 test; four topics."""
    check_split("ag-news", split, ("train", "test"))
    path = get("ag-news").require() / f"{split}.parquet"
    found = _labelled(path, ("text",), ("World", "Sports", "Business", "Sci/Tech"))
    assert isinstance(found, LabelledTexts)
    return found


def pubmed_rct(split: str) -> LabelledTexts:
    """PubMed 20k RCT: sentences of abstracts by their role; the file has the roles in words."""
    check_split("pubmed-rct", split, ("train", "val", "test"))
    classes = ("background", "objective", "methods", "results", "conclusions")
    path = get("pubmed-rct").require() / f"{'validation' if split == 'val' else split}.parquet"
    table = _table(path, ("text", "label"))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = table["label"].str.lower().map(numbers)
    if labels.isna().any():
        raise DataError(f"{path}: roles other than {', '.join(classes)}")
    return LabelledTexts(tuple(table["text"]), labels.to_numpy(np.int64), classes)


def _labelled(path: Path, columns: tuple[str, ...], classes: tuple[str, ...]) -> TextPairs | LabelledTexts:
    table = _table(path, (*columns, "label"))
    labels = table["label"].to_numpy(np.int64)
    if not np.isin(labels, range(len(classes))).all():
        raise DataError(f"{path}: labels outside 0..{len(classes) - 1}: a part whose labels are kept back")
    first, *second = (tuple(table[column]) for column in columns)
    return TextPairs(first, second[0], labels, classes) if second else LabelledTexts(first, labels, classes)


def squad(split: str) -> tuple[Reading, ...]:
    """SQuAD; the split is "train-1.1", "dev-1.1", "train-2.0" or "dev-2.0"."""
    check_split("squad", split, ("train-1.1", "dev-1.1", "train-2.0", "dev-2.0"))
    part, _, version = split.partition("-")
    data = json.loads((get("squad").require() / f"{part}-v{version}.json").read_text("utf-8"))["data"]
    paragraphs = (paragraph for article in data for paragraph in article["paragraphs"])
    return tuple(
        Reading(
            paragraph["context"],
            entry["question"],
            tuple((answer["text"], int(answer["answer_start"])) for answer in entry["answers"]),
        )
        for paragraph in paragraphs
        for entry in paragraph["qas"]
    )


def mmlu(split: str) -> tuple[Choice, ...]:
    """MMLU: dev (5 of each of 57 subjects), val and 14,042 test questions with four choices."""
    check_split("mmlu", split, ("dev", "val", "test"))
    path = get("mmlu").require() / f"{'validation' if split == 'val' else split}.parquet"
    rows = _table(path, ("question", "choices", "answer", "subject")).itertuples(index=False)
    return tuple(Choice(row.question, tuple(row.choices), int(row.answer), row.subject) for row in rows)


def alpaca_cleaned(split: str) -> tuple[Instruction, ...]:
    """Alpaca, cleaned: about 52,000 instructions with responses."""
    check_split("alpaca-cleaned", split, ("train",))
    table = _table(get("alpaca-cleaned").require() / "train.parquet", ("instruction", "input", "output"))
    return tuple(Instruction(*row) for row in table.itertuples(index=False, name=None))


def ultrainteract(split: str) -> tuple[Step, ...]:
    """UltraInteract, its part for supervised fine-tuning: solutions of mathematics, code and logic, turn by turn."""
    check_split("ultrainteract", split, ("train",))
    names = ("id", "parent_id", "task", "dataset", "instruction", "response")
    table = _table(get("ultrainteract").require() / "train.parquet", names)
    return tuple(Step(*row) for row in table[list(names)].fillna("").itertuples(index=False, name=None))


def wikimia(split: str) -> LabelledTexts:
    """WikiMIA; the split is the length in words: "32", "64", "128" or "256". A member was in the training data."""
    check_split("wikimia", split, ("32", "64", "128", "256"))
    path = get("wikimia").require() / f"length{split}.parquet"
    return _members(path, "input")


def bookmia(split: str) -> LabelledTexts:
    """BookMIA: snippets of books; a member was in the training data."""
    check_split("bookmia", split, ("all",))
    return _members(get("bookmia").require() / "train.parquet", "snippet")


def _members(path: Path, column: str) -> LabelledTexts:
    found = _labelled(path, (column,), ("not a member", "member"))
    assert isinstance(found, LabelledTexts)
    return found


def wmt14_en_de(split: str) -> Translations:
    """WMT14: 4.5 M train, 3,000 val (newstest2013) and 3,003 test (newstest2014) pairs, not tokenised."""
    check_split("wmt14-en-de", split, ("train", "val", "test"))
    path = get("wmt14-en-de").require() / f"{'validation' if split == 'val' else split}.parquet"
    pairs = _table(path, ("translation",))["translation"]
    return Translations(tuple(pair["en"] for pair in pairs), tuple(pair["de"] for pair in pairs))


def c4_val(split: str) -> Corpora:
    """C4, the English validation part: 364,608 documents."""
    check_split("c4-val", split, ("val",))
    return Corpora(get("c4-val").require() / "en-validation.parquet", "text")


def openwebtext(split: str) -> Corpora:
    """OpenWebText: 8,013,769 documents, without a split of its own."""
    check_split("openwebtext", split, ("all",))
    return Corpora(get("openwebtext").require() / "train.parquet", "text")


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as parquet

    have = set(parquet.read_schema(path).names)
    _expect(path, columns, have)
    return pd.read_parquet(path, columns=list(columns))


def _expect(path: Path, columns: Sequence[str], have: Iterable[str]) -> None:
    if missing := sorted(set(columns) - set(have)):
        raise DataError(f"{path} lacks {', '.join(missing)}: this is not the layout that its page describes")
