"""Recursive training on real text: a bigram model learns from its own sentences, generation after generation.

What looks human (sentence lengths) is told from what works (the likelihood of real text that was held out).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

import reference
from suites.cognitive_imperfection import method

Words = npt.NDArray[np.int64]

VOCABULARY = 1000
"""Most frequent words; 0 ends a sentence, 1 is any other word."""
SENTENCES, GENERATIONS, LONGEST = 2000, 8, 80
COLD = 0.8
"""The temperature of smooth text."""
NOISE = 0.05
"""Share of words that a perturbation makes rare ones."""
FREQUENT = 200
"""Words above this rank are rare."""
KEPT = 0.2
"""Share of real sentences in every generation of `real_text_kept`."""
ARMS = ("smooth", "plain", "perturbed", "lengths_only", "real_text_kept")
BINS = (1, 3, 5, 8, 11, 14, 17, 20, 24, 28, 33, 40)
"""Of sentence lengths, in words."""


class Bigrams:
    """P(w | v) = (c(v w) + u(v) P(w)) / (c(v) + u(v)) as a matrix, and P(w) likewise over a uniform distribution."""

    def __init__(self, sentences: list[Words], words: int) -> None:
        stream = np.concatenate([np.append(one, 0) for one in sentences])
        before = np.concatenate([[0], stream[:-1]])
        counts = np.bincount(before * words + stream, minlength=words * words).reshape(words, words).astype(float)
        single = counts.sum(0)
        kinds = (single > 0).sum()
        self.single = (single + kinds / words) / (single.sum() + kinds)
        different = (counts > 0).sum(1, keepdims=True)
        total = counts.sum(1, keepdims=True)
        mixed = (counts + different * self.single) / np.maximum(total + different, 1)
        self.matrix = np.where(total > 0, mixed, self.single)

    def nats(self, sentences: list[Words]) -> float:
        """The mean of -ln p over words and ends of sentences."""
        stream = np.concatenate([np.append(one, 0) for one in sentences])
        return float(-np.log(self.matrix[np.concatenate([[0], stream[:-1]]), stream]).mean())

    def sample(self, count: int, temperature: float, generator: np.random.Generator) -> list[Words]:
        """`count` sentences of 1 to LONGEST words, probabilities to the power of 1 / temperature."""
        powers = self.matrix ** (1 / temperature)
        starts = powers.copy()
        starts[:, 0] = 0  # no empty sentence
        tables = [np.cumsum(one / one.sum(1, keepdims=True), axis=1) for one in (starts, powers)]
        rows = np.zeros((count, LONGEST), dtype=np.int64)
        going, last = np.arange(count), np.zeros(count, dtype=np.int64)
        for place in range(LONGEST):
            table = tables[place > 0]
            drawn = np.empty(len(going), dtype=np.int64)
            dice = generator.random(len(going))
            for word in np.unique(last):  # a table of its own for each
                chosen = last == word
                drawn[chosen] = np.searchsorted(table[word], dice[chosen], side="right")
            drawn = np.minimum(drawn, self.matrix.shape[1] - 1)
            rows[going, place] = drawn
            going, last = going[drawn > 0], drawn[drawn > 0]
            if not len(going):
                break
        return [row[: int((row > 0).sum())] for row in rows]


def corpus(seed: int) -> tuple[list[Words], list[Words], int]:
    """Sentences to learn from, drawn by seed, and held-out ones, as numbers of words; the size of the vocabulary."""
    parts = [
        [[word.lower() for word in one.words][:LONGEST] for one in reference.load("ud-english-ewt", part).sentences]
        for part in ("train", "test")
    ]
    order = np.random.default_rng(seed).permutation(len(parts[0]))[:SENTENCES]
    drawn = [parts[0][place] for place in order]
    words, counts = np.unique(np.concatenate([np.array(one) for one in drawn]), return_counts=True)
    known: dict[str, int] = {
        word: rank + 2 for rank, word in enumerate(words[np.argsort(-counts, kind="stable")][: VOCABULARY - 2])
    }
    numbered = [[np.array([known.get(word, 1) for word in one]) for one in part] for part in (drawn, parts[1])]
    return numbered[0], numbered[1], VOCABULARY


def next_text(arm: str, model: Bigrams, real: list[Words], generator: np.random.Generator) -> list[Words]:
    """What the next generation learns from."""
    text = model.sample(len(real), 1.0 if arm == "plain" else COLD, generator)
    if arm in ("perturbed", "lengths_only"):
        lengths = np.array([len(one) for one in real])
        stream = np.concatenate(text)
        wanted = method.oscillating(
            len(stream), mean=float(lengths.mean()), variation=method.coefficient_of_variation(lengths),
            generator=generator,
        )  # fmt: skip
        if arm == "perturbed":
            stream = method.with_rare_words(stream, np.arange(FREQUENT, VOCABULARY), NOISE, generator)
        text = method.recut(stream, wanted)
    if arm == "real_text_kept":
        kept = generator.permutation(len(real))[: int(KEPT * len(real))]
        text = [real[place] for place in kept] + text[len(kept) :]
    return text


def generations(*, seed: int) -> dict[str, torch.Tensor]:
    """Of each arm (A,) in the order of ARMS: nats of held-out text, JSD and CV of lengths, distinct bigrams, tail."""
    real, held_out, words = corpus(seed)
    first = Bigrams(real, words)
    human = method.histogram([len(one) for one in real], BINS)
    rows = []
    for arm in ARMS:
        generator, model, text = np.random.default_rng(seed), first, real
        for _ in range(GENERATIONS):
            text = next_text(arm, model, real, generator)
            model = Bigrams(text, words)
        lengths = [len(one) for one in text]
        stream = np.concatenate(text)
        pairs = np.unique(stream[:-1] * words + stream[1:])
        rows.append((
            model.nats(held_out), method.jensen_shannon(method.histogram(lengths, BINS), human),
            method.coefficient_of_variation(lengths), len(pairs) / (len(stream) - 1), model.single[FREQUENT:].sum(),
        ))  # fmt: skip
    columns = [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]
    names = ("nats", "length_jsd", "variation", "distinct", "tail")
    return dict(zip(names, columns, strict=True)) | {"start": torch.tensor([first.nats(held_out)], dtype=torch.float64)}


def recursion(*, arm: str, generations: Path) -> dict[str, float]:
    """One arm after the last generation."""
    found = load_file(generations)
    of_arm = {name: float(values[ARMS.index(arm)]) for name, values in found.items() if name != "start"}
    return of_arm | {"rise": of_arm["nats"] - float(found["start"])}


def style(*, seed: int) -> dict[str, float]:
    """Words in random order, cut to lengths that are drawn from real ones: JSD of lengths against that of real text.

    `floor` is the 95 % quantile over a hundred halvings of the real sentences, of as many against as many.
    """
    real, held_out, words = corpus(seed)
    generator, lengths = np.random.default_rng(seed), np.array([len(one) for one in real])
    half = len(real) // 2
    floors = []
    for _ in range(100):
        order = generator.permutation(lengths)
        floors.append(method.jensen_shannon(*(method.histogram(one, BINS) for one in (order[:half], order[half:]))))
    stream = generator.permutation(np.concatenate(real))
    drawn = generator.choice(lengths, 4 * len(real))
    empty = method.recut(stream, drawn)[:half]
    other = generator.permutation(lengths)[:half]
    return {
        "empty_jsd": method.jensen_shannon(
            method.histogram([len(one) for one in empty], BINS), method.histogram(other, BINS)
        ),
        "floor": float(np.quantile(floors, 0.95)),
        "nats_lost": Bigrams(empty, words).nats(held_out) - Bigrams(real[:half], words).nats(held_out),
    }  # fmt: skip
