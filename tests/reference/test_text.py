"""Text sets: their published sizes, and the corner cases of their formats."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import reference
from reference import DataError
from tests.conftest import needed


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that is searched; nothing in it is verified."""
    monkeypatch.setattr("reference.catalog.verify", lambda path, file: None)
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("gsm8k", "train", 7_473),
        ("gsm8k", "test", 1_319),
        ("multi30k", "train", 29_000),
        ("multi30k", "val", 1_014),
        ("multi30k", "test", 1_000),
        ("movie-reviews", "all", 2_000),
        ("sentence-polarity", "all", 10_662),
        ("subjectivity", "all", 10_000),
        ("qc", "train", 5_452),
        ("qc", "test", 500),
        ("rte-123", "rte1-dev", 567),
        ("rte-123", "rte2-dev", 400),
        ("rte-123", "rte3-dev", 800),
        ("rte-123", "rte1-test", 800),
        ("rte-123", "rte2-test", 800),
        ("rte-123", "rte3-test", 800),
        ("inaugural", "all", 59),
        ("state-union", "all", 65),
    ],
)
def test_published_sizes(name: str, split: str, count: int) -> None:
    needed(name)
    assert len(reference.load(name, split)) == count
    with pytest.raises(DataError, match="no split 'nonsense'"):
        reference.load(name, "nonsense")


def test_answers_of_gsm8k_are_numbers() -> None:
    needed("gsm8k")
    problems = [*reference.load("gsm8k", "train"), *reference.load("gsm8k", "test")]
    assert all(float(problem.answer) == float(problem.answer) for problem in problems)
    first = reference.load("gsm8k", "test")[0]
    assert first.answer == "18" and first.solution.endswith("every day at the farmer’s market.")


def test_classes_are_balanced_where_they_should_be() -> None:
    for name in ("movie-reviews", "sentence-polarity", "subjectivity"):
        needed(name)
        found = reference.load(name)
        assert np.bincount(found.labels).tolist() == [len(found) // 2] * 2 and len(found.classes) == 2
    needed("qc")
    counts = Counter(reference.load("qc", "test").labels.tolist())
    assert [counts[label] for label in range(6)] == [9, 138, 94, 65, 81, 113]  # ABBR DESC ENTY HUM LOC NUM
    needed("rte-123")
    assert np.bincount(reference.load("rte-123", "rte1-test").labels).tolist() == [400, 400]


def test_running_text() -> None:
    needed("wikitext-2-heldout")
    assert len(reference.load("wikitext-2-heldout", "val").words) == 213_886
    assert len(reference.load("wikitext-2-heldout", "test").words) == 241_211
    needed("tiny-shakespeare")
    assert len(reference.load("tiny-shakespeare").text) == 1_115_394


def test_translations_are_aligned() -> None:
    needed("multi30k")
    pairs = reference.load("multi30k", "test")
    assert pairs.english[0].startswith("A man in an orange hat") and pairs.german[0].startswith(
        "Ein Mann mit einem orangefarbenen"
    )


def test_speeches_have_names() -> None:
    needed("inaugural")
    speeches = reference.load("inaugural")
    assert speeches.names[0] == "1789-Washington" and "2005-Bush" in speeches.names
    assert speeches.texts[0].startswith("Fellow-Citizens of the Senate")


def test_wikitext_in_its_own_format(root: Path) -> None:
    (root / "wikitext-2-v1").mkdir()
    for part in ("train", "valid", "test"):
        (root / "wikitext-2-v1" / f"wiki.{part}.tokens").write_text(f" \n = {part} = \n A <unk> @-@ word \n", "utf-8")
    assert reference.load("wikitext-2", "val").words == ["=", "valid", "=", "A", "<unk>", "@-@", "word"]


def test_answers_and_sentences_in_small(root: Path) -> None:
    (root / "gsm8k").mkdir()
    rows = [{"question": "How many?\u2028Say.", "answer": "Count.\n#### 1 wrong\n#### -1,234"}]
    for part in ("train", "test"):
        (root / "gsm8k" / f"{part}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    assert reference.load("gsm8k", "test")[0].answer == "-1234"
    (root / "multi30k").mkdir()
    for part in ("train", "val", "test_2016_flickr"):
        (root / "multi30k" / f"{part}.en.gz").write_bytes(gzip.compress("one\x85more\ntwo\n".encode()))
        (root / "multi30k" / f"{part}.de.gz").write_bytes(
            gzip.compress(b"eins\nzwei\n" if part != "val" else b"eins\n")
        )
    assert reference.load("multi30k", "train").english == ("one\x85more", "two")
    with pytest.raises(DataError, match="2 English and 1 German"):
        reference.load("multi30k", "val")


def test_mrpc_in_the_format_of_the_hub(root: Path) -> None:
    pytest.importorskip("pyarrow")
    (root / "glue-mrpc").mkdir()
    rows = {"sentence1": ["One .", "Two ."], "sentence2": ["1 .", "3 ."], "label": [1, 0], "idx": [7, 9]}
    for part in ("train", "validation"):
        pd.DataFrame(rows).to_parquet(root / "glue-mrpc" / f"{part}.parquet")
    pd.DataFrame({**rows, "label": [-1, -1]}).to_parquet(root / "glue-mrpc" / "test.parquet")
    pairs = reference.load("glue-mrpc", "val")
    assert (pairs.first, pairs.second, pairs.labels.tolist()) == (("One .", "Two ."), ("1 .", "3 ."), [1, 0])
    with pytest.raises(DataError, match="keeps the labels of the test pairs back"):
        reference.load("glue-mrpc", "test")
