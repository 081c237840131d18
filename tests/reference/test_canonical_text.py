"""Loaders of texts, problems, rankings and tables that are not at hand, each on a few examples in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import reference
from reference import DataError
from reference.catalog import get
from reference.recommendation import AMAZON
from reference.text import boxed
from tests.reference.test_canonical import write
from tests.reference.test_text import root  # noqa: F401  (a fixture)


def parquet(path: Path, **columns: object) -> None:
    pytest.importorskip("pyarrow")
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path)


def test_tasks_of_glue_and_superglue(root: Path) -> None:  # noqa: F811
    for file in get("glue").files:
        task = file.name.partition("-")[0]
        columns = {
            "cola": ["sentence"],
            "sst2": ["sentence"],
            "qqp": ["question1", "question2"],
            "qnli": ["question", "sentence"],
        }
        texts = {name: ["x", "y"] for name in columns.get(task, ["sentence1", "sentence2"])}
        parquet(root / "glue" / file.name, **texts, label=[4.5, 0.0] if task == "stsb" else [1, 0], idx=[0, 1])
    assert reference.load("glue", "sst2-val").labels.tolist() == [1, 0]
    pairs = reference.load("glue", "qnli-train")
    assert pairs.first == ("x", "y") and pairs.classes[pairs.labels[1]] == "entailment"
    assert reference.load("glue", "stsb-val").scores.tolist() == [4.5, 0]
    parquet(root / "glue" / "cola-train.parquet", sentence=["x"], label=[-1])
    with pytest.raises(DataError, match=r"labels outside 0\.\.1"):
        reference.load("glue", "cola-train")
    parquet(root / "glue" / "cola-train.parquet", text=["x"], label=[1])
    with pytest.raises(DataError, match="lacks sentence: this is not the layout"):
        reference.load("glue", "cola-train")
    for file in get("superglue").files:
        names = ["question", "passage"] if file.name.startswith("boolq") else ["premise", "hypothesis"]
        parquet(root / "superglue" / file.name, **{name: ["x"] for name in names}, label=[1])
    found = reference.load("superglue", "cb-val")
    assert found.classes[found.labels[0]] == "contradiction"


def test_labelled_texts_of_the_hub(root: Path) -> None:  # noqa: F811
    for part in ("train", "test"):
        parquet(root / "ag-news" / f"{part}.parquet", text=["a", "b"], label=[3, 0])
    assert reference.load("ag-news", "test").classes[3] == "Sci/Tech"
    for part in ("train", "validation", "test"):
        parquet(root / "pubmed-rct" / f"{part}.parquet", text=["a", "b"], label=["methods", "BACKGROUND"])
    assert reference.load("pubmed-rct", "val").labels.tolist() == [2, 0]
    for length in (32, 64, 128, 256):
        parquet(root / "wikimia" / f"length{length}.parquet", input=["a"], label=[1])
    assert reference.load("wikimia", "64").labels.tolist() == [1]
    parquet(root / "bookmia" / "train.parquet", snippet=["a"], label=[0], book=["b"])
    assert reference.load("bookmia").texts == ("a",)


def test_running_text_of_the_hub_can_be_read_again(root: Path) -> None:  # noqa: F811
    parquet(root / "c4-val" / "en-validation.parquet", text=["one", "two"], url=["u", "v"])
    found = reference.load("c4-val", "val")
    assert len(found) == 2 and list(found) == list(found) == ["one", "two"]
    parquet(root / "openwebtext" / "train.parquet", text=["one"])
    assert list(reference.load("openwebtext")) == ["one"]
    for part in ("train", "validation", "test"):
        parquet(root / "wmt14-en-de" / f"{part}.parquet", translation=[{"de": "Haus", "en": "house"}])
    assert reference.load("wmt14-en-de", "test").german == ("Haus",)


def test_squad(root: Path) -> None:  # noqa: F811
    asked = {"id": "1", "question": "Who?", "answers": [{"text": "he", "answer_start": 4}], "is_impossible": False}
    data = {"data": [{"title": "t", "paragraphs": [{"context": "was he", "qas": [asked, {**asked, "answers": []}]}]}]}
    for file in get("squad").files:
        write(root / "squad" / file.name, json.dumps(data))
    first, second = reference.load("squad", "dev-2.0")
    assert first.answers == (("he", 4),) and first.context[4:] == "he" and second.answers == ()


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"$\boxed{3}$, no, $\boxed{4}$", "4"),
        (r"$\boxed 7$", "7"),
        (r"$\boxed{\{1\}}$", r"\{1\}"),
        ("none", None),
        (r"$\boxed{never closed", None),
    ],
)
def test_the_answer_is_what_the_last_box_holds(solution: str, answer: str | None) -> None:
    assert boxed(solution) == answer


def test_problems_with_answers(root: Path) -> None:  # noqa: F811
    for part in ("train", "test"):
        parquet(
            root / "math" / f"{part}.parquet",
            problem=["p"],
            solution=[r"\boxed{5}"],
            type=["Algebra"],
            level=["Level 3"],
        )
    assert reference.load("math", "test")[0].answer == "5"
    parquet(
        root / "deepmath-103k" / "train.parquet", question=["q"], final_answer=["0"], topic=["t"], difficulty=[4.5],
        r1_solution_1=["long"],
    )  # fmt: skip
    assert reference.load("deepmath-103k", "train")[0].level == "4.5"
    parquet(
        root / "olympiadbench" / "test.parquet", question=["q", "r", "s"], solution=[["a", "b"], ["c"], ["d"]],
        final_answer=[["1"], ["1", "2"], None], subfield=["Algebra"] * 3,
    )  # fmt: skip
    (found,) = reference.load("olympiadbench", "test")
    assert found.solution == "a\nb" and found.answer == "1"


def test_choices_and_instructions(root: Path) -> None:  # noqa: F811
    for part in ("dev", "validation", "test"):
        parquet(
            root / "mmlu" / f"{part}.parquet",
            question=["q"],
            subject=["anatomy"],
            choices=[["a", "b", "c", "d"]],
            answer=[3],
        )
    (found,) = reference.load("mmlu", "val")
    assert found.choices[found.answer] == "d"
    parquet(root / "alpaca-cleaned" / "train.parquet", output=["o"], input=[""], instruction=["i"])
    (task,) = reference.load("alpaca-cleaned", "train")
    assert (task.instruction, task.context, task.response) == ("i", "", "o")


def test_beir_and_msmarco(root: Path) -> None:  # noqa: F811
    base = root / "beir"
    for name in ("scifact", "nfcorpus", "fiqa"):
        write(
            base / name / "corpus.jsonl",
            '{"_id": "d1", "title": "T", "text": "x"}\n{"_id": "d2", "title": "", "text": "y"}\n',
        )
        write(base / name / "queries.jsonl", '{"_id": "q1", "text": "why"}\n{"_id": "q2", "text": "train only"}\n')
        write(base / name / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td2\t2\n")
    found = reference.load("beir", "scifact")
    assert found.documents == {"d1": "T x", "d2": "y"}
    assert found.queries == {"q1": "why"} and found.judgments == {"q1": {"d2": 2}}
    with pytest.raises(DataError, match="unpack the archive of quora"):
        reference.load("beir", "quora")
    write(base / "fiqa" / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq9\td2\t2\n")
    with pytest.raises(DataError, match="names the query 'q9'"):
        reference.load("beir", "fiqa")

    base = root / "msmarco-passage"
    write(base / "collection.tsv", '0\tsaid "no\n1\tNA\n')
    for part in ("train", "dev.small"):
        write(base / f"queries.{part}.tsv", "5\twho said\n6\tnobody asked\n")
        write(base / f"qrels.{part}.tsv", "5\t0\t1\t1\n")
    found = reference.load("msmarco-passage", "dev-small")
    assert found.documents == {"0": 'said "no', "1": "NA"} and found.judgments == {"5": {"1": 1}}


def test_logs_of_clicks_are_read_in_parts(root: Path) -> None:  # noqa: F811
    numbers = ",".join(f"I{number}" for number in range(1, 14))
    for part in ("train", "valid", "test"):
        rows = "".join(f"{label},{'1' + ',' * 12},0001,\n" for label in (1, 0, 0))
        write(root / "criteo-x4" / f"{part}.csv", f"label,{numbers},C1,C2\n{rows}")
    log = reference.load("criteo-x4", "val")
    parts = list(log.parts(rows=2))
    assert [len(part) for part in parts] == [2, 1] and parts[0].target.tolist() == [1, 0]
    row = parts[0].features.iloc[0]
    assert row["I1"] == 1 and np.isnan(row["I2"]) and row["C1"] == "0001" and row["C2"] == ""
    for part in ("train", "valid", "test"):
        write(root / "avazu-x4" / f"{part}.csv", "click,hour,C1\n2,14102100,1005\n")
    with pytest.raises(DataError, match="its click is not 0 or 1"):
        list(reference.load("avazu-x4", "test").parts())
    write(root / "avazu-x4" / "test.csv", "hour,C1\n14102100,1005\n")
    with pytest.raises(DataError, match="expected the columns label or click or clk"):
        reference.load("avazu-x4", "test")


def test_sparse_and_mixed_tables(root: Path) -> None:  # noqa: F811
    import bz2

    for name in ("vowel.scale", "vowel.scale.t"):
        write(root / "vowel" / name, "0 1:-0.5 10:1\n10 2:0.25\n")
    found = reference.load("vowel", "test")
    assert found.target.tolist() == [0, 10] and found.features.toarray()[0, [0, 9]].tolist() == [-0.5, 1]
    (root / "news20").mkdir()
    for name in ("news20.scale.bz2", "news20.t.scale.bz2"):
        (root / "news20" / name).write_bytes(bz2.compress(b"20 62061:0.5\n"))
    found = reference.load("news20", "train")
    assert found.features.shape == (1, 62_061) and found.target.tolist() == [19]
    row = (
        "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, ?, "
    )
    write(root / "adult" / "adult.data", f"{row}<=50K\n{row}>50K\n")
    write(root / "adult" / "adult.test", f"|1x3 Cross validator\n{row}>50K.\n")
    found = reference.load("adult", "train")
    assert found.target.tolist() == [0, 1] and found.features["native_country"].tolist() == ["?", "?"]
    assert reference.load("adult", "test").target.tolist() == [1]


def test_trees_of_solutions(root: Path) -> None:  # noqa: F811
    parquet(
        root / "ultrainteract" / "train.parquet",
        task=["Math_CoT"] * 2,
        dataset=["gsm8k"] * 2,
        instruction=["2 + 2?", "Wrong."],
        response=["5", "4"],
        id=["a", "b"],
        parent_id=[None, "a"],
    )
    root_turn, answer = reference.load("ultrainteract", "train")
    assert root_turn.parent == "" and answer.parent == root_turn.id and answer.source == "gsm8k"


def test_reviews_name_products_by_their_parent(root: Path) -> None:  # noqa: F811
    pytest.importorskip("pyarrow")
    reviews = [
        {"rating": 5.0, "title": "t", "images": [], "parent_asin": "B2", "user_id": "U9", "timestamp": 1588687728923},
        {"rating": 1.0, "title": "t", "images": [], "parent_asin": "B1", "user_id": "U1", "timestamp": 1588687728000},
    ]
    goods = [
        {"main_category": "Toys", "title": name, "store": None, "parent_asin": asin, "price": None}
        for asin, name in (("B1", "top"), ("B2", "kite"))
    ]

    def lines(rows: list[dict]) -> str:
        return "".join(f"{json.dumps(row)}\n" for row in rows)

    for category in AMAZON:
        write(root / "amazon-reviews-2023" / f"{category}.jsonl", lines(reviews))
        write(root / "amazon-reviews-2023" / f"meta_{category}.jsonl", lines(goods))
    found = reference.load("amazon-reviews-2023", "Toys_and_Games")
    assert found.rating.tolist() == [5, 1] and found.timestamp.tolist() == [1588687728, 1588687728]
    assert found.items["title"].iloc[found.item].tolist() == ["kite", "top"]
    assert found.users.index[found.user].tolist() == ["U9", "U1"]
    write(root / "amazon-reviews-2023" / "meta_Electronics.jsonl", lines(goods[:1]))
    with pytest.raises(DataError, match="names a product that meta_Electronics"):
        reference.load("amazon-reviews-2023", "Electronics")
    write(root / "amazon-reviews-2023" / "Electronics.jsonl", '{"rating": 1}\n')
    with pytest.raises(DataError, match="lacks parent_asin, timestamp, user_id"):
        reference.load("amazon-reviews-2023", "Electronics")


def test_a_set_without_a_loader_says_so(root: Path) -> None:  # noqa: F811
    with pytest.raises(DataError, match="has no loader yet"):
        reference.load("hixray")
