"""Mathematical problems in the columns and types of their pages."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import reference
from reference import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    return tmp_path


def write(folder: Path, rows: list[dict], file: str = "test.parquet") -> None:
    folder.mkdir()
    pd.DataFrame(rows).to_parquet(folder / file)


def test_dapo_gives_every_problem_once(root: Path) -> None:
    rows = [
        {
            "data_source": "math_dapo",
            "prompt": [{"content": f"What is {n} + 1?", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(n + 1), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"id-{n}"},
        }
        for n in (3, 4, 3)
    ]
    write(root / "dapo-math-17k", rows, "train.parquet")
    found = reference.load("dapo-math-17k", "train")
    assert [(one.question, one.answer) for one in found] == [("What is 3 + 1?", "4"), ("What is 4 + 1?", "5")]
    with pytest.raises(DataError, match="split"):
        reference.load("dapo-math-17k", "test")


def test_competitions(root: Path) -> None:
    write(root / "aime24", [{"id": 60, "problem": "p", "solution": "s", "answer": "204", "url": "", "year": "2024"}])
    write(root / "aime25", [{"problem": "q", "answer": "70", "id": "0"}])
    write(root / "amc23", [{"id": 0, "question": "r", "answer": 27.0, "url": ""}])
    (root / "math500").mkdir()
    row = {
        "problem": "t",
        "solution": "u",
        "answer": r"\frac{1}{2}",
        "subject": "Algebra",
        "level": 1,
        "unique_id": "x",
    }
    (root / "math500" / "test.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    found = {name: reference.load(name, "test")[0] for name in ("aime24", "aime25", "amc23", "math500")}
    assert [one.question for one in found.values()] == ["p", "q", "r", "t"]
    assert [one.answer for one in found.values()] == ["204", "70", "27", r"\frac{1}{2}"]
    assert found["aime24"].solution == "s"


def test_says_what_a_wrong_file_lacks(root: Path) -> None:
    write(root / "amc23", [{"problem": "p", "answer": 1}])
    with pytest.raises(DataError, match="question"):
        reference.load("amc23", "test")
