"""Mathematical problems with short answers that can be checked, as their pages on the Hugging Face hub have them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from reference.catalog import DataError, get
from reference.images import check_split
from reference.text import Problem, boxed


@dataclass(frozen=True)
class Question(Problem):
    """A problem with where it stands among others."""

    subject: str = ""
    level: str = ""


def math(split: str) -> tuple[Question, ...]:
    """MATH: 7,500 train and 5,000 test problems; the answer is what the last `\\boxed` of the solution holds."""
    check_split("math", split, ("train", "test"))
    rows = _parquet("math", f"{split}.parquet", ("problem", "solution", "type", "level"))
    answers = [boxed(row["solution"]) or "" for row in rows]
    return tuple(
        Question(row["problem"], row["solution"], answer, row["type"], row["level"])
        for row, answer in zip(rows, answers, strict=True)
    )


def deepmath_103k(split: str) -> tuple[Question, ...]:
    """DeepMath-103K: problems with final answers, topic and difficulty; the published solutions are left out."""
    check_split("deepmath-103k", split, ("train",))
    rows = _parquet("deepmath-103k", "train.parquet", ("question", "final_answer", "topic", "difficulty"))
    return tuple(
        Question(row["question"], "", str(row["final_answer"]), row["topic"], str(row["difficulty"])) for row in rows
    )


def olympiadbench(split: str) -> tuple[Question, ...]:
    """OlympiadBench, what has one final answer: problems with several or none are left out."""
    check_split("olympiadbench", split, ("test",))
    rows = _parquet("olympiadbench", "test.parquet", ("question", "solution", "final_answer", "subfield"))
    single = [row for row in rows if row["final_answer"] is not None and len(row["final_answer"]) == 1]
    return tuple(
        Question(row["question"], "\n".join(row["solution"]), str(row["final_answer"][0]), row["subfield"])
        for row in single
    )


def dapo_math_17k(split: str) -> tuple[Problem, ...]:
    """DAPO-Math-17k: integer answers. The file holds every problem many times; each is given once, in its order.

    The question is the whole prompt of the user, with the instruction to end with a line `Answer: ...`.
    """
    check_split("dapo-math-17k", split, ("train",))
    rows = _parquet("dapo-math-17k", "train.parquet", ("prompt", "reward_model", "extra_info"))
    found: dict[str, Problem] = {}
    for row in rows:
        question = "\n".join(message["content"] for message in row["prompt"] if message["role"] == "user")
        found.setdefault(row["extra_info"]["index"], Problem(question, "", str(row["reward_model"]["ground_truth"])))
    return tuple(found.values())


def aime24(split: str) -> tuple[Problem, ...]:
    """AIME 2024: 30 problems, integer answers."""
    check_split("aime24", split, ("test",))
    return _problems(_parquet("aime24", "test.parquet", ("problem", "solution", "answer")), "problem")


def aime25(split: str) -> tuple[Problem, ...]:
    """AIME 2025: 30 problems, integer answers."""
    check_split("aime25", split, ("test",))
    return _problems(_parquet("aime25", "test.parquet", ("problem", "answer")), "problem")


def amc23(split: str) -> tuple[Problem, ...]:
    """AMC 2023: 40 problems, integer answers."""
    check_split("amc23", split, ("test",))
    return _problems(_parquet("amc23", "test.parquet", ("question", "answer")), "question")


def math500(split: str) -> tuple[Problem, ...]:
    """MATH-500; answers are LaTeX."""
    check_split("math500", split, ("test",))
    lines = (get("math500").require() / "test.jsonl").read_text("utf-8").split("\n")
    return _problems([json.loads(line) for line in lines if line], "problem")


def _problems(rows: list[dict[str, Any]], question: str) -> tuple[Problem, ...]:
    return tuple(Problem(row[question], row.get("solution", ""), _number(row["answer"])) for row in rows)


def _number(answer: Any) -> str:
    """An answer as text: some files hold integers as floats."""
    whole = isinstance(answer, float) and answer.is_integer()
    return str(int(answer) if whole else answer)


def _parquet(name: str, file: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    path = get(name).require() / file
    missing = set(columns) - set(pq.read_schema(path).names)
    if missing:
        raise DataError(f"{path} lacks the columns {sorted(missing)}: it is not what the catalogue names")
    rows: list[dict[str, Any]] = pq.read_table(path, columns=list(columns)).to_pylist()
    return rows
