"""A word language model on WikiText-2 (full tier: WikiText-103), trained with the plain loss and with CCE."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

import reference
from suites.cut_cross_entropy import method
from suites.cut_cross_entropy.exact import EPS, gap_of, gradients_of
from suites.cut_cross_entropy.method import Problem, linear_cross_entropy

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
        total += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return total / (len(stretches) * LENGTH)


def cce_loss(**options) -> Loss:
    """The next word's loss by CCE, shifted by one."""
    return lambda features, weight, words, bias: linear_cross_entropy(
        features, weight, words, bias=bias, shift=1, gradients="backward", block=(128, 128), **options
    )


def plain_loss(features, weight, words, bias) -> torch.Tensor:
    logits = F.linear(features[:, :-1], weight, bias)
    return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())


LOSSES: dict[str, Loss] = {
    "plain": plain_loss,
    "exact": cce_loss(**method.PRESETS["cce_exact"]),
    "filtered": cce_loss(filter_eps=EPS),
    "full_c": cce_loss(filter_eps=EPS, filter_c=False),
}


def language_model(*, seed: int, vocabulary: int, steps: int) -> dict[str, float | list[float]]:
    """A word model trained with each loss from one start on the same data, and what its gradient blocks look like."""
    data = corpus(vocabulary)
    trained = {
        name: train(loss, data.train, vocabulary=vocabulary, steps=steps, seed=seed) for name, loss in LOSSES.items()
    }
    final = {name: validation_loss(model, data.validation) for name, (model, _) in trained.items()}
    curves = {name: torch.tensor(curve) for name, (_, curve) in trained.items()}
    return {
        **{f"loss_{name}": value for name, value in final.items()},
        **{f"{name}_minus_plain": final[name] - final["plain"] for name in ("exact", "filtered", "full_c")},
        "curve_gap": gap_of(curves["exact"], curves["plain"]),
        "learned": float(curves["plain"][0] - curves["plain"][-10:].mean()),
        **sparsity(trained["plain"][0], data.train, seed),
    }


@torch.no_grad()
def sparsity(model: LanguageModel, words: torch.Tensor, seed: int) -> dict[str, float]:
    """Means over 5 batches: blocks kept in two orders of the columns, rows of dC at 0."""
    rng, found = torch.Generator().manual_seed(seed), []
    for _ in range(5):
        batch = windows(words, BATCH, rng)
        e, x = model.features(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()
        weight, bias = model.classifier.weight, model.classifier.bias
        base = {"bias": bias, "eps": EPS, "rows": 128, "columns": 128}
        problem = Problem(e, weight, targets=x, sort=True, **base)
        _, means = problem.log_sum_exp()
        natural = gradients_of(problem)
        ordered = gradients_of(problem, means.argsort())
        full_c = gradients_of(Problem(e, weight, targets=x, filter_c=False, **base), means.argsort())
        found.append(
            {
                "natural": float(natural.kept.double().mean()),
                "sorted": float(ordered.kept.double().mean()),
                "zero_rows": float((ordered.c == 0).all(1).double().mean()),
                "zero_rows_full_c": float((full_c.c == 0).all(1).double().mean()),
            }
        )
    means_of = {name: statistics.fmean(one[name] for one in found) for name in found[0]}
    return {
        **means_of,
        "natural_minus_sorted": means_of["natural"] - means_of["sorted"],
    }


def convergence(*, seed: int, device: torch.device, vocabulary: int, steps: int) -> dict[str, float]:
    """The training protocol on WikiText-103: the validation loss with the authors' preset for pretraining and plain."""
    return converged(corpus(vocabulary, "wikitext-103", "train", "val"), seed, device, vocabulary, steps)


def convergence_heldout(*, seed: int, device: torch.device, vocabulary: int, steps: int) -> dict[str, float]:
    """The same on the parts of WikiText-2 that the small comparison uses, with more of its words."""
    return converged(corpus(vocabulary), seed, device, vocabulary, steps)


def converged(data: Corpus, seed: int, device: torch.device, vocabulary: int, steps: int) -> dict[str, float]:
    """How far filtered losses end from the plain one."""
    data = Corpus(data.train.to(device), data.validation.to(device))
    presets = {name: loss for name, loss in LOSSES.items() if name != "exact"}
    final = {
        name: validation_loss(
            train(loss, data.train, vocabulary=vocabulary, steps=steps, seed=seed)[0], data.validation
        )
        for name, loss in presets.items()
    }
    return {f"{name}_minus_plain": final[name] - final["plain"] for name in ("filtered", "full_c")} | {
        "plain": final["plain"]
    }
