"""Problems, their answers, and what counts as right."""

from __future__ import annotations

import pytest
import torch

import reference
from baselines.verifiable import (
    CALCULATOR,
    Characters,
    arithmetic,
    calculator,
    digits_bandit,
    ends_with,
    redundant_response,
)
from tests.reference.test_reference import available


def response(text: str, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    actions = CALCULATOR.encode([text], width=width)
    return actions, torch.arange(width) < len(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("#24$", True),
        ("24;24;#24$", True),
        ("#1#24$", True),
        ("#24", False),
        ("24$", False),
        ("#124$", False),
        ("#2$", False),
        ("#24;$", False),
        ("$", False),
    ],
)
def test_right_is_what_ends_with_the_answer(text: str, right: bool) -> None:
    actions, mask = response(text)
    answers = CALCULATOR.encode(["#24$"], left=True, width=6)
    assert ends_with(actions, mask[None], answers).tolist() == [right]


def test_characters() -> None:
    assert len(CALCULATOR) == 19
    letters = Characters("ab")
    assert letters.encode(["ab", "b"], left=True).tolist() == [[1, 2], [0, 2]]
    assert letters.encode(["ab", "b"], width=3).tolist() == [[1, 2, 0], [2, 0, 0]]
    assert letters.decode(torch.tensor([0, 2, 1])) == "ba"
    for wrong in (["c"], ["abab"]):
        with pytest.raises(ValueError, match="cannot be encoded"):
            letters.encode(wrong, width=3)


def test_arithmetic_is_right() -> None:
    problems, values = arithmetic(4)
    texts = [CALCULATOR.decode(row) for row in problems.prompts]
    assert len(texts) == 16 + 10 + 16 and "3*2=" in texts
    assert all(eval(text[:-1]) == int(value) for text, value in zip(texts, values, strict=True))
    answer = CALCULATOR.encode([redundant_response(value, 2) for value in values])
    assert problems.verify(answer, answer != 0, problems.answers).all()


def test_calculator_bench() -> None:
    available("gsm8k")
    problems, values = calculator()
    assert len(problems) == len(values) == 6_600
    assert problems.prompts.shape == (6_600, 8) and problems.answers.shape == (6_600, 6)
    assert problems.weights is not None and float(problems.weights.sum()) == 18_643
    first = [CALCULATOR.decode(row) for row in problems.prompts[:2]]
    assert first == ["48/2=", "48+24="] and values[:2] == ["24", "72"]
    drawn = problems.draw(50_000, torch.Generator().manual_seed(0))
    commonest = int(problems.weights.argmax())
    assert float((drawn == commonest).float().mean()) == pytest.approx(120 / 18_643, rel=0.2)


def test_parts_of_problems() -> None:
    problems, _ = arithmetic(3)
    part = problems[torch.tensor([2, 0])]
    assert len(part) == 2 and torch.equal(part.prompts[1], problems.prompts[0])
    assert part.weights is not None and len(part.weights) == 2


def test_digits_bandit() -> None:
    digits = reference.load("digits")
    problems = digits_bandit((digits.images, digits.labels))
    actions = (digits.labels[:, None] + torch.arange(len(digits.labels))[:, None] % 2) % 10
    right = problems.verify(actions, torch.ones_like(actions), problems.answers)
    assert right.tolist() == [number % 2 == 0 for number in range(len(problems))]
    assert sorted(problems.draw(len(problems), torch.Generator().manual_seed(0)).tolist()) == list(range(len(problems)))
