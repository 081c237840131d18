"""Problems, their answers, and what counts as right."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
import torch

import reference
from baselines.reinforcement.problems import (
    CALCULATOR,
    CHAIN,
    Characters,
    _linked,
    arithmetic,
    calculator,
    chains,
    digits_bandit,
    ends_with,
    redundant_response,
    worked,
)
from tests.conftest import needed


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
    needed("gsm8k")
    problems, values = calculator()
    assert len(problems) == len(values) == 6_600
    assert problems.prompts.shape == (6_600, 8) and problems.answers.shape == (6_600, 6)
    assert problems.weights is not None and float(problems.weights.sum()) == 18_643
    first = [CALCULATOR.decode(row) for row in problems.prompts[:2]]
    assert first == ["48/2=", "48+24="] and values[:2] == ["24", "72"]
    drawn = problems.draw(50_000, torch.Generator().manual_seed(0))
    commonest = int(problems.weights.argmax())
    assert float((drawn == commonest).float().mean()) == pytest.approx(120 / 18_643, rel=0.2)


@pytest.mark.parametrize(
    ("marks", "prompt"),
    [
        ([("48/2", "24"), ("48+24", "72")], "48/2;48+a"),
        ([("2*2", "4"), ("4+4", "8"), ("8*4", "32")], "2*2;a+a;b*a"),
        ([("2*2", "4"), ("4*3", "12"), ("4+1", "5")], None),  # 12 is never taken
        ([("2*2", "4"), ("3+3", "6")], None),
        ([("2*2", "4"), ("14-4", "10")], "2*2;14-a"),  # 14 is no 4
    ],
)
def test_steps_that_hang_together(marks: list[tuple[str, str]], prompt: str | None) -> None:
    assert _linked(marks) == prompt


def test_chains_can_be_followed() -> None:
    needed("gsm8k")
    problems, values = chains("test")
    assert len(problems) == len(values) == 441 and len(chains()[1]) == 2_550
    wrong = 0
    for row, steps in zip(problems.prompts, values, strict=True):
        names: dict[str, str] = {}
        for letter, expression, value in zip("abcd", CHAIN.decode(row).rstrip("=").split(";"), steps, strict=False):
            text = "".join(names.get(symbol, symbol) for symbol in expression)
            wrong += not _equal(text, value)
            names[letter] = value
        assert len(names) == len(steps)
    assert wrong <= 0.01 * sum(map(len, values))  # GSM8K's own marks round and err now and then
    texts = [worked(steps) for steps in values]
    actions = CHAIN.encode(texts)
    assert problems.verify(actions, actions != 0, problems.answers).all()
    assert not problems.verify(actions.roll(1, 0), (actions != 0).roll(1, 0), problems.answers).all()
    assert worked(("1", "2", "3")) == "1;2;#3$" and worked(("1", "2", "3"), 0) == "#3$"
    with pytest.raises(ValueError, match="steps must lie between"):
        chains(steps=(1, 4))


def _equal(expression: str, value: str) -> bool:
    tokens = re.findall(r"\d+|[+\-*/]", expression)
    terms, sign = [Fraction(tokens[0])], 1
    for operator, number in zip(tokens[1::2], map(Fraction, tokens[2::2]), strict=True):
        if operator in "+-":
            sign = 1 if operator == "+" else -1
            terms.append(sign * number)
        else:
            terms[-1] = terms[-1] * number if operator == "*" else terms[-1] / number
    return sum(terms) == int(value)


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
