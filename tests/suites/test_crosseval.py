"""The statistics by hand, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reference.catalog import DataError
from suites.crosseval import experiments, method, on_scores, printed
from suites.crosseval.on_digits import skills

TABLE = pd.DataFrame({"A": [50.0, 70.0], "B": [60.0, 71.0], "C": [np.nan, 40.0]}, index=["one", "two"])
PAIRS = pd.DataFrame([[49.0, 55.0], [70.5, 41.0]], index=["one", "two"])
PAIRS.columns = pd.Index([("A", "B"), ("A", "C")], tupleize_cols=False)


def test_the_law_by_hand() -> None:
    cells = method.cells(TABLE, PAIRS)
    assert cells[["model", "pair"]].to_numpy().tolist() == [
        ["one", ("A", "B")],
        ["two", ("A", "B")],
        ["two", ("A", "C")],
    ]
    assert method.counts(cells) == {"below": 1, "nearer weaker": 1, "nearer stronger": 0, "above": 0}
    assert method.counts(cells, delta=0.5)["nearer stronger"] == 1
    assert method.position(cells.x, cells.a, cells.b).tolist() == pytest.approx([-1.2, 0.0, -14 / 15])
    assert method.predictions(cells).loc["weaker", ["error", "bias"]].tolist() == pytest.approx([2.5 / 3, 0.5 / 3])


def test_scores_by_hand() -> None:
    frame = pd.DataFrame({"capability": ["A", "A", "B & C"], "r": ["5", "nan", "3"]})
    assert method.capability_scores(frame, "r").to_dict() == {"A": 100.0, "B & C": 50.5}


def test_printed_tables_are_whole() -> None:
    assert printed.skills().shape == printed.pairs().shape == (17, 7)
    assert int(printed.skills().notna().sum().sum() + printed.pairs().notna().sum().sum()) == 183
    assert printed.prompted().shape == (8, 6)
    base = printed.prompted().xs("as it is", level=1)
    for column in printed.TABLE_4_SKILLS:  # both tables print them
        assert base[column].tolist() == printed.skills().loc[base.index, column].tolist()


@pytest.mark.parametrize("setting", ["one-image", "two-images"])
def test_both_skills_are_tested_on_one_example(setting: str) -> None:
    both = skills(setting, 1000)
    assert len(both.test[0][1]) == len(both.test[1][1]) == 360
    assert len(both.train[0][1]) == len(both.train[1][1]) == 1437
    if setting == "one-image":
        assert bool((both.test[0][0] == both.test[1][0]).all())


def test_unknown_setting() -> None:
    with pytest.raises(ValueError, match="must be 'one-image' or 'two-images'"):
        skills("three-images", 0)


def release(folder: Path) -> None:
    """Files in the layout of the release: ratings in half points whose means are what is printed for GPT-4o, nearly."""
    (folder / "crosseval" / "scores").mkdir(parents=True)
    (folder / "crosseval" / "correlations").mkdir()
    rows = []
    for table in (printed.skills(), printed.pairs()):
        for key, value in table.loc["GPT-4o"].dropna().items():
            halves = round((value - 1) / 24.75 * 200)  # over a hundred ratings from 1 on
            ratings = 1 + np.full(100, halves // 100 / 2) + np.repeat([0.5, 0], [halves % 100, 100 - halves % 100])
            rows += [(on_scores.called(key), rating) for rating in ratings] + [(on_scores.called(key), "")]
    frame = pd.DataFrame(rows, columns=["capability", "gpt-4o-2024-05-13_response_rating"])
    frame.to_csv(folder / "crosseval" / "scores" / "gpt-4o-2024-05-13_response_gpt_score.csv", index=False)
    generator = np.random.default_rng(0)
    judged = pd.DataFrame({
        f"response_{i}_{who}_rating": generator.choice(np.arange(1, 5.5, 0.5), 40)
        for i in (1, 2, 3) for who in ("human_1", "human_2", "llm")
    })  # fmt: skip
    judged.assign(capability="Coding").to_csv(folder / "crosseval" / "correlations" / "gpt_judge_with_2ref.csv")


def test_release_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    release(tmp_path)
    found = experiments.scores(model="GPT-4o")
    assert found["cells"] == 13
    assert found["gap"] < 0.07  # half of a step of the mean of half points
    judged = experiments.judge()
    assert -1 <= judged["kendall"] <= judged["pearson"] + 1 <= 2
    assert 0 < judged["alike"] < 0.5
    with pytest.raises(DataError, match="'o1-mini' must be part of one name"):
        experiments.scores(model="o1-mini")
