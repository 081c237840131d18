"""Real text as numbers: bytes, characters or byte-pair tokens, in splits, cut into stretches or packed into rows.

Losses of language models are nats per token, and tokens differ between units: `Corpus.bits_per_byte` makes them
comparable. Byte-pair encoding needs `tokenizers`, which comes with the extra `crossexam[models]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

import reference

PARTS = ("train", "validation", "test")
UNITS = ("byte", "character", "bpe")


class Tokenizer(Protocol):
    """Text to numbers and back. `vocabulary` is how many numbers there are."""

    @property
    def vocabulary(self) -> int: ...
    def encode(self, text: str) -> torch.Tensor: ...  # int64 (tokens,)
    def decode(self, tokens: torch.Tensor) -> str: ...


class Bytes:
    """UTF-8: 256 tokens, no text that it cannot write."""

    vocabulary = 256

    def encode(self, text: str) -> torch.Tensor:
        return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int64))

    def decode(self, tokens: torch.Tensor) -> str:
        """What a model wrote need not be UTF-8: bytes that are none become U+FFFD."""
        return bytes(tokens.tolist()).decode(errors="replace")


class Characters:
    """The characters of a text, sorted, from 1 on. 0 is any other one, and is written U+FFFD."""

    def __init__(self, text: str) -> None:
        self.alphabet = "".join(sorted(set(text)))
        self.vocabulary = len(self.alphabet) + 1
        self._points = np.array([ord(character) for character in self.alphabet])

    def encode(self, text: str) -> torch.Tensor:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        places = np.minimum(np.searchsorted(self._points, points), len(self._points) - 1)
        return torch.from_numpy(np.where(self._points[places] == points, places + 1, 0).astype(np.int64))

    def decode(self, tokens: torch.Tensor) -> str:
        return "".join(("\ufffd" + self.alphabet)[number] for number in tokens.tolist())


class BytePairs:
    """GPT-2's byte-level byte-pair encoding, its merges learned on `text`. Every text can be written.

    Raises ValueError for a vocabulary below 257: all bytes and one merge.
    """

    def __init__(self, text: str, vocabulary: int) -> None:
        from tokenizers import ByteLevelBPETokenizer

        if vocabulary <= Bytes.vocabulary:
            raise ValueError(f"byte pairs need a vocabulary above {Bytes.vocabulary}, got {vocabulary}")
        self._model = ByteLevelBPETokenizer()
        self._model.train_from_iterator([text], vocab_size=vocabulary, show_progress=False)
        self.vocabulary = self._model.get_vocab_size()

    def encode(self, text: str) -> torch.Tensor:
        return torch.tensor(self._model.encode(text).ids)

    def decode(self, tokens: torch.Tensor) -> str:
        return str(self._model.decode(tokens.tolist()))


@dataclass(frozen=True)
class Corpus:
    """A text in three parts: int64 (tokens,) each, and how many UTF-8 bytes each of them stands for."""

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    tokenizer: Tokenizer
    utf8: Mapping[str, int]

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.vocabulary

    def bits_per_byte(self, nats_per_token: float, part: str = "test") -> float:
        """A mean loss over all tokens of a part in the unit that does not depend on how the text was cut.

        Of a loss over some of the tokens it is an estimate: they may be longer or shorter than the others.
        """
        return nats_per_token * len(getattr(self, part)) / (self.utf8[part] * math.log(2))


def corpus(name: str, unit: str = "byte", vocabulary: int | None = None) -> Corpus:
    """The text `name` of reference data (see `TEXTS`). Alphabet and merges are learned on its train part alone.

    `vocabulary` is for `unit="bpe"` alone. Raises ValueError for an unknown text or unit, DataError for absent data.
    """
    if name not in TEXTS:
        raise ValueError(f"no text '{name}': there are {', '.join(TEXTS)}")
    if unit not in UNITS:
        raise ValueError(f"no unit '{unit}': there are {', '.join(UNITS)}")
    if (unit == "bpe") != (vocabulary is not None):
        raise ValueError("a size of the vocabulary goes with unit='bpe', and with no other")
    texts = dict(zip(PARTS, TEXTS[name](), strict=True))
    tokenizer: Tokenizer
    if vocabulary is not None:
        tokenizer = BytePairs(texts["train"], vocabulary)
    else:
        tokenizer = Bytes() if unit == "byte" else Characters(texts["train"])
    tokens = {part: tokenizer.encode(text) for part, text in texts.items()}
    return Corpus(**tokens, tokenizer=tokenizer, utf8={part: len(text.encode()) for part, text in texts.items()})


Texts = tuple[str, str, str]


def _by_fractions(text: str) -> Texts:
    """90 % to train on, by custom, 5 % each to validate and to test; cut at the end of a line."""
    ends = [text.index("\n", int(len(text) * share)) + 1 for share in (0.9, 0.95)]
    return text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :]


def _wikitext(name: str) -> Callable[[], Texts]:
    def parts() -> Texts:
        train, validation, test = (reference.load(name, part).text for part in ("train", "val", "test"))
        return train, validation, test

    return parts


def _heldout() -> Texts:
    """The valid part is trained on, for the train part is missing; the test part is halved at an article."""
    test = reference.load("wikitext-2-heldout", "test").text
    middle = test.index("\n = ", len(test) // 2) + 1
    return reference.load("wikitext-2-heldout", "val").text, test[:middle], test[middle:]


def _brown() -> Texts:
    sentences = reference.load("brown").sentences
    return _by_fractions("".join(" ".join(sentence.words) + "\n" for sentence in sentences))


def _multi30k() -> Texts:
    train, validation, test = ("\n".join(reference.load("multi30k", part).english) for part in ("train", "val", "test"))
    return train, validation, test


def _gsm8k() -> Texts:
    """Question and worked solution of each problem; the last tenth of the train part validates."""
    train, test = ("".join(f"{p.question}\n{p.solution}\n{p.answer}\n\n" for p in reference.load("gsm8k", part))
                   for part in ("train", "test"))  # fmt: skip
    cut = train.index("\n\n", int(len(train) * 0.9)) + 2
    return train[:cut], train[cut:], test


TEXTS: dict[str, Callable[[], Texts]] = {
    "tiny-shakespeare": lambda: _by_fractions(reference.load("tiny-shakespeare").text),
    "wikitext-2-heldout": _heldout,
    "wikitext-2": _wikitext("wikitext-2"),
    "wikitext-103": _wikitext("wikitext-103"),
    "brown": _brown,
    "multi30k": _multi30k,
    "gsm8k": _gsm8k,
}
"""The texts that `corpus` knows, by the name of their data set, which `needs.data` of an experiment declares."""


def windows(tokens: torch.Tensor, count: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """`count` stretches of length + 1 tokens from random places, (count, length + 1): inputs and, shifted, targets."""
    _check(tokens, length)
    starts = torch.randint(len(tokens) - length, (count,), generator=generator)
    return tokens[starts[:, None] + torch.arange(length + 1)]


def examples(tokens: torch.Tensor, length: int, step: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, both (stretches, length), as views of the tokens: what `training.fit` takes.

    A stretch begins every `step` tokens. By default each token is the target of exactly one, but for the first token
    and an incomplete last stretch.
    """
    _check(tokens, length)
    stretches = tokens.unfold(0, length + 1, step or length)
    return stretches[:, :-1], stretches[:, 1:]


def _check(tokens: torch.Tensor, length: int) -> None:
    if tokens.ndim != 1 or not 1 <= length < len(tokens):
        raise ValueError(f"no stretch of {length} tokens and the next one in a text of shape {tuple(tokens.shape)}")


@dataclass(frozen=True)
class Packed:
    """Documents end to end in rows: `tokens` and `document` int64, both (rows, length).

    `document` numbers the document that a token is from, or -1 behind the last one.
    """

    tokens: torch.Tensor
    document: torch.Tensor

    @property
    def targets(self) -> torch.Tensor:
        """The next token of the same row and document, else -100, which torch's cross-entropy leaves out."""
        following = torch.full_like(self.tokens, -100)
        within = (self.document[:, :-1] == self.document[:, 1:]) & (self.document[:, :-1] >= 0)
        following[:, :-1] = torch.where(within, self.tokens[:, 1:], -100)
        return following

    @property
    def attention(self) -> torch.Tensor:
        """bool (rows, 1, length, length): true where a token may look, back into its own document."""
        same = self.document[:, :, None] == self.document[:, None, :]
        return same.tril()[:, None]


def pack(sequences: Sequence[torch.Tensor], length: int, end: int) -> Packed:
    """All sequences in order, `end` behind each, cut into rows of `length`; the last row is filled up with `end`."""
    if not sequences or length < 2:
        raise ValueError(f"nothing to pack: {len(sequences)} sequences into rows of {length}")
    sizes = torch.tensor([len(sequence) + 1 for sequence in sequences])
    joined = torch.cat([torch.cat([sequence, sequence.new_tensor([end])]) for sequence in sequences])
    document = torch.repeat_interleave(torch.arange(len(sequences)), sizes)
    missing = -len(joined) % length
    return Packed(
        torch.nn.functional.pad(joined, (0, missing), value=end).view(-1, length),
        torch.nn.functional.pad(document, (0, missing), value=-1).view(-1, length),
    )
