"""Problems with verifiable answers, for policies of `.policies`: prompts, and whether an answer is right.

`calculator` is the GSM8K calculator bench: the calculator marks `<<48/2=24>>` of GSM8K's solutions, each expression a
prompt, its value the answer. `chains` keeps the marks of a solution together, each with the values before it.
`arithmetic` makes sums without files, and `digits_bandit` reads one digit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import reference
from baselines.digits import Data


@dataclass(frozen=True)
class Problems:
    """N prompts with their answers. `verify(actions, mask, answers)` says for each response whether it is right."""

    prompts: torch.Tensor  # (N, ...)
    answers: torch.Tensor  # (N, ...)
    verify: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # bool (B,)
    weights: torch.Tensor | None = None  # how often each comes, (N,); None: equally

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: torch.Tensor) -> Problems:
        """Some of them."""
        weights = None if self.weights is None else self.weights[rows]
        return Problems(self.prompts[rows], self.answers[rows], self.verify, weights)

    def to(self, device: torch.device) -> Problems:
        """The same on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Problems(self.prompts.to(device), self.answers.to(device), self.verify, weights)

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Numbers of `count` problems, int64 (count,), with replacement where there are weights."""
        if self.weights is None:
            return torch.randperm(len(self), generator=generator, device=generator.device)[:count]
        return torch.multinomial(self.weights, count, replacement=True, generator=generator)


class Characters:
    """A tokeniser of one token a character. Token 0 is padding."""

    PAD = 0

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet
        self._number = {character: number for number, character in enumerate(alphabet, 1)}

    def __len__(self) -> int:
        return len(self.alphabet) + 1

    def __getitem__(self, character: str) -> int:
        """The token of a character."""
        return self._number[character]

    def encode(self, texts: Sequence[str], *, left: bool = False, width: int | None = None) -> torch.Tensor:
        """int64 (N, width), padded on the right or the left. Raises ValueError for what does not fit."""
        unknown = set("".join(texts)) - set(self.alphabet)
        longest = max(map(len, texts))
        if unknown or (width is not None and longest > width):
            raise ValueError(f"cannot be encoded: characters {sorted(unknown)}, length {longest} in a width of {width}")
        width = longest if width is None else width
        rows = [[self._number[character] for character in text] for text in texts]
        padded = [[0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows]
        return torch.tensor(padded)

    def decode(self, tokens: torch.Tensor) -> str:
        """The text of one row, padding left out."""
        return "".join(self.alphabet[token - 1] for token in tokens.tolist() if token)


CALCULATOR = Characters("0123456789+-*/=;#$")
"""The 18 symbols of the calculator bench: `#` stands before the answer, `$` ends, `;` ends a copy of the value."""


LETTERS = "abcdefgh"
CHAIN = Characters("0123456789+-*/=;#$" + LETTERS)
"""The symbols of `chains`: those of the calculator bench, and a letter for the value of each step."""
MARK = re.compile(r"<<([^<>=]*)=([^<>]*)>>")


def ends_with(actions: torch.Tensor, mask: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Whether responses (B, T) end with the answers (B, A), which are padded with 0 on the left, bool (B,)."""
    width = answers.shape[1]
    lengths = mask.sum(1)
    places = lengths[:, None] - width + torch.arange(width, device=actions.device)
    found = actions.gather(1, places.clamp(min=0)).where(places >= 0, -1)
    return ((found == answers) | (answers == 0)).all(1)


def calculator(*, digits: int = 4, expression: int = 7) -> tuple[Problems, list[str]]:
    """The calculator marks of GSM8K's train part as problems `expression=`, and their values in the same order.

    Expressions of at most `expression` characters from digits and + - * /, values of at most `digits` digits: 6,600
    distinct ones by default, weighted by how often they come. Right is a response that ends `#value$`.
    """
    found = Counter(mark for problem in reference.load("gsm8k", "train") for mark in MARK.findall(problem.solution))
    pattern, value = re.compile(rf"[0-9+\-*/]{{1,{expression}}}"), re.compile(rf"[0-9]{{1,{digits}}}")
    kept = {mark: n for mark, n in found.items() if pattern.fullmatch(mark[0]) and value.fullmatch(mark[1])}
    return _sums([e for e, _ in kept], [v for _, v in kept], list(kept.values()))


def chains(
    split: str = "train", *, steps: tuple[int, int] = (2, 4), digits: int = 4, expression: int = 7
) -> tuple[Problems, list[tuple[str, ...]]]:
    """The calculator marks of whole solutions of GSM8K as problems of several steps, and the values of each step.

    `<<48/2=24>> ... <<48+24=72>>` becomes the prompt `48/2;48+a=` with the values 24, 72: earlier values stand as the
    letter of their step, the newest where several are equal. Kept are solutions of steps[0] to steps[1] marks, each
    within the calculator bench's limits, whose every step but the first takes an earlier value and whose every value
    but the last is taken. Right is a response that ends `#72$`; `worked` writes the values on the way.
    """
    if not 2 <= steps[0] <= steps[1] <= len(LETTERS):
        raise ValueError(f"steps must lie between 2 and {len(LETTERS)}, got {steps}")
    pattern, value = re.compile(rf"[0-9+\-*/]{{1,{expression}}}"), re.compile(rf"[0-9]{{1,{digits}}}")
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for problem in reference.load("gsm8k", split):
        marks = MARK.findall(problem.solution)
        fit = all(pattern.fullmatch(one) and value.fullmatch(result) for one, result in marks)
        if steps[0] <= len(marks) <= steps[1] and fit:
            linked = _linked(marks)
            if linked is not None:
                found[linked, tuple(result for _, result in marks)] += 1
    prompts = CHAIN.encode([f"{prompt}=" for prompt, _ in found], left=True)
    answers = CHAIN.encode([f"#{values[-1]}$" for _, values in found], left=True)
    weights = torch.tensor(list(found.values()), dtype=torch.float64)
    return Problems(prompts, answers, ends_with, weights), [values for _, values in found]


def _linked(marks: Sequence[tuple[str, str]]) -> str | None:
    """Expressions with letters for earlier values; None where they do not all hang together."""
    letter: dict[str, str] = {}
    taken: set[str] = set()
    parts = []
    for place, (expression, result) in enumerate(marks):
        words = [letter.get(word, word) for word in re.split(r"([+\-*/])", expression)]
        used = set(words) & set(letter.values())
        if place and not used:
            return None
        taken |= used
        parts.append("".join(words))
        letter[result] = LETTERS[place]
    return ";".join(parts) if len(taken) == len(marks) - 1 else None


def worked(values: Sequence[str], shown: int | None = None) -> str:
    """A response to a chain: its first `shown` values (None: all but the last), `;` after each, then the answer."""
    thinking = values[: len(values) - 1 if shown is None else shown]
    return "".join(f"{value};" for value in thinking) + f"#{values[-1]}$"


def arithmetic(limit: int = 30) -> tuple[Problems, list[str]]:
    """All a + b, a - b >= 0 and a * b with 0 <= a, b < `limit`, equally often: the calculator bench without a file."""
    pairs = [(a, b) for a in range(limit) for b in range(limit)]
    tasks = [(f"{a}{sign}{b}", str(value)) for a, b in pairs for sign, value in _results(a, b) if value >= 0]
    return _sums([e for e, _ in tasks], [v for _, v in tasks], [1] * len(tasks))


def _results(a: int, b: int) -> list[tuple[str, int]]:
    return [("+", a + b), ("-", a - b), ("*", a * b)]


def _sums(expressions: Sequence[str], values: Sequence[str], counts: Sequence[int]) -> tuple[Problems, list[str]]:
    prompts = CALCULATOR.encode([f"{one}=" for one in expressions], left=True)
    answers = CALCULATOR.encode([f"#{one}$" for one in values], left=True)
    return Problems(prompts, answers, ends_with, torch.tensor(counts, dtype=torch.float64)), list(values)


def redundant_response(value: str, copies: int) -> str:
    """What the bench's policies are first taught: the value `copies` times over, then the answer."""
    return f"{value};" * copies + f"#{value}$"


def digits_bandit(data: Data) -> Problems:
    """Contexts are images, actions the ten classes, right is the label."""
    return Problems(data[0], data[1], lambda actions, mask, labels: actions[:, 0] == labels)
