"""Tagging sentences: spans of IOB2 tags and their F1, words as features, and a small BiLSTM.

vocabulary = Vocabulary.of(words of the training sentences)
inputs = vocabulary.encode(sentences)             # int64 (S, T, 4), 0 where a sentence has ended
logits = BiLstmTagger(vocabulary.sizes, tags)(inputs)   # (S, length of the longest, tags)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Span = tuple[str, int, int]
"""Type, first word, word after the last."""
UNKNOWN = 1
PADDING_TAG = -100


def spans(tags: Sequence[str]) -> set[Span]:
    """The spans of one sentence. An I that continues nothing of its type begins a span, as in conlleval."""
    found, kind, start = set(), "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if prefix not in ("B", "I", "O") or (prefix == "O") == bool(name):
            raise ValueError(f"'{tag}' is no IOB2 tag")
        if kind and not (prefix == "I" and name == kind):
            found.add((kind, start, place))
            kind = ""
        if prefix != "O" and not kind:
            kind, start = name, place
    return found


def span_f1(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> float:
    """Micro-averaged F1 of exact spans over all sentences; 0 where nothing is right."""
    right = wanted = given = 0
    for truth, guess in zip(gold, predicted, strict=True):
        if len(truth) != len(guess):
            raise ValueError(f"{len(guess)} tags for {len(truth)} words")
        ours, theirs = spans(guess), spans(truth)
        right, wanted, given = right + len(ours & theirs), wanted + len(theirs), given + len(ours)
    return 2 * right / (wanted + given) if right else 0.0


def shape(word: str) -> str:
    """Its letters as X, x and d, runs shortened: 'Mr.' is 'Xx.', '1999' is 'd'."""
    classes = (("[A-ZÀ-ÖØ-Þ]", "X"), ("[a-zà-öø-ÿ]", "x"), (r"\d", "d"))
    for pattern, letter in classes:
        word = re.sub(f"{pattern}+", letter, word)
    return word[:6]


def parts(word: str) -> tuple[str, str, str, str]:
    """What a word is known by: itself in lower case, its last three and two letters, and its shape."""
    return word.lower(), word[-3:], word[-2:], shape(word)


@dataclass(frozen=True)
class Vocabulary:
    """The index of each part of a word, from 2 on; 0 is padding, 1 is unknown."""

    indices: tuple[dict[str, int], ...]

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], at_least: int = 2) -> Vocabulary:
        """Every part that occurs `at_least` times in these sentences."""
        columns = zip(*(parts(word) for words in sentences for word in words), strict=True)
        counts = (Counter(column) for column in columns)
        kept = ([part for part, count in sorted(counter.items()) if count >= at_least] for counter in counts)
        return cls(tuple({part: index for index, part in enumerate(each, UNKNOWN + 1)} for each in kept))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many indices each part has."""
        return tuple(len(index) + UNKNOWN + 1 for index in self.indices)

    def encode(self, sentences: Sequence[Sequence[str]]) -> torch.Tensor:
        """int64 (S, T, 4), T the longest sentence."""
        encoded = torch.zeros(len(sentences), max(map(len, sentences)), len(self.indices), dtype=torch.int64)
        for row, words in enumerate(sentences):
            known = [
                [index.get(part, UNKNOWN) for index, part in zip(self.indices, parts(word), strict=True)]
                for word in words
            ]
            encoded[row, : len(words)] = torch.tensor(known)
        return encoded


def encode_tags(tags: Sequence[Sequence[str]], tagset: Sequence[str]) -> torch.Tensor:
    """int64 (S, T) of places in `tagset`, PADDING_TAG (the one that torch's cross-entropy ignores) after the end."""
    place = {tag: index for index, tag in enumerate(tagset)}
    encoded = torch.full((len(tags), max(map(len, tags))), PADDING_TAG, dtype=torch.int64)
    for row, sentence in enumerate(tags):
        encoded[row, : len(sentence)] = torch.tensor([place[tag] for tag in sentence])
    return encoded


class BiLstmTagger(nn.Module):
    """Embeddings of a word's parts, a bidirectional LSTM, and a linear layer to the tags.

    Takes int64 (S, T, parts) as `Vocabulary.encode` gives it and returns logits (S, length of the longest, tags).
    """

    def __init__(
        self, sizes: Sequence[int], tags: int, *, widths: Sequence[int] = (64, 32, 16, 16), hidden: int = 64
    ) -> None:
        super().__init__()
        pairs = zip(sizes, widths, strict=True)
        self.embeddings = nn.ModuleList(nn.Embedding(size, width, padding_idx=0) for size, width in pairs)
        self.lstm = nn.LSTM(sum(widths), hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, tags)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        lengths = (inputs[..., 0] > 0).sum(1)
        inputs = inputs[:, : int(lengths.max())]
        words = torch.cat([embed(inputs[..., part]) for part, embed in enumerate(self.embeddings)], dim=-1)
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.out(pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0])
