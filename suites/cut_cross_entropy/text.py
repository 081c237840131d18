"""A small word language model on WikiText-2, for the claims about training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import reference

BATCH, LENGTH = 8, 32
UNKNOWN = 0


@dataclass(frozen=True)
class Corpus:
    """Word numbers of the text to train on and of the one to validate on."""

    train: torch.Tensor
    validation: torch.Tensor


def corpus(
    vocabulary: int, name: str = "wikitext-2-heldout", train: str = "val", validation: str = "test", words: int = 10_000
) -> Corpus:
    """A part of a text to train on (the valid part of WikiText-2), the first `words` of another one to validate on.

    The vocabulary are the most frequent words of the former, numbered as they first appear; the rest is <unk>.
    """
    text = reference.load(name, train).words
    counts: dict[str, int] = {}
    for word in text:
        counts[word] = counts.get(word, 0) + 1
    frequent = set(sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - 1])
    number = {word: place for place, word in enumerate((word for word in counts if word in frequent), UNKNOWN + 1)}
    numbered = [
        torch.tensor([number.get(word, UNKNOWN) for word in part])
        for part in (text, reference.load(name, validation).words[:words])
    ]
    return Corpus(*numbered)


class LanguageModel(nn.Module):
    """Embedding, GRU, and a linear classifier of its own: what the loss reads are `features` and `classifier`."""

    def __init__(self, vocabulary: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.classifier = nn.Linear(width, vocabulary)

    def features(self, words: torch.Tensor) -> torch.Tensor:
        return self.recurrent(self.embed(words))[0]


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From (features, classifier, words, bias) to the mean loss of the next word."""


def windows(words: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` random stretches of LENGTH + 1 words, shape (count, LENGTH + 1)."""
    starts = torch.randint(len(words) - LENGTH, (count,), generator=generator)
    return words[(starts[:, None] + torch.arange(LENGTH + 1)).to(words.device)]


def train(
    loss: Loss, words: torch.Tensor, *, vocabulary: int, steps: int, seed: int
) -> tuple[LanguageModel, list[float]]:
    """The model after `steps` of Adam, and the loss of each step. Start and data depend on the seed alone."""
    torch.manual_seed(seed)
    model = LanguageModel(vocabulary).to(words.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    curve = []
    for _ in range(steps):
        batch = windows(words, BATCH, generator)
        value = loss(model.features(batch), model.classifier.weight, batch, model.classifier.bias)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        curve.append(float(value.detach()))
    return model, curve


@torch.no_grad()
def validation_loss(model: LanguageModel, words: torch.Tensor) -> float:
    """Mean cross-entropy of the next word over whole stretches of LENGTH, by PyTorch's loss."""
    stretches = words[: len(words) // (LENGTH + 1) * (LENGTH + 1)].view(-1, LENGTH + 1)
    total = 0.0
    for part in stretches.split(32):
        logits = model.classifier(model.features(part[:, :-1]))
        total += float(nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return total / (len(stretches) * LENGTH)
