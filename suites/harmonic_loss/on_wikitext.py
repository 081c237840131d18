"""A small language model on WikiText-2 (bytes, a GRU, tied embeddings) with each head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from baselines.corpora import Corpus, corpus
from baselines.training import cosine
from baselines.tuning import choose
from suites.harmonic_loss.method import distance_of, harmonic_loss

WIDTH, BATCH, LENGTH = 64, 8, 32
UNIFORM = 0.01
"""What the official language models mix with the uniform distribution."""
SETTLED, SCORED = 0.2, 20_000
"""The share of steps before gradients are looked at, and the tokens of a part that are scored."""
RATES = (3e-2, 6e-2)
SETTINGS: dict[str, tuple[tuple[float, float], ...]] = {
    "ce": tuple((0.0, rate) for rate in (3e-3, 1e-2, 2e-2, 3e-2, 6e-2, 1e-1)),
    "normface": tuple((scale, rate) for scale in (8.0, 16.0, 32.0) for rate in RATES),
    "euclidean": tuple((exponent, rate) for exponent in (4.0, 8.0, 64.0) for rate in RATES),
    "cosine": tuple((exponent, rate) for exponent in (4.0, 8.0, 64.0) for rate in RATES),
}
"""Scale of NormFace or exponent, and rate of Adam. The official exponent is the width."""


class LanguageModel(nn.Module):
    """Tokens (B, T) -> features (B, T, WIDTH) of a GRU; what it reads is also the head's `weight` (V, WIDTH)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocabulary, WIDTH) / math.sqrt(WIDTH))
        self.recurrent = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.recurrent(F.embedding(tokens, self.weight))[0])


def next_token_loss(model: LanguageModel, arm: str, setting: float, tokens: torch.Tensor) -> torch.Tensor:
    """-log p of each next token of tokens (B, T + 1), (B T,): a likelihood for all heads."""
    x, y = model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
    if arm == "ce":
        return F.cross_entropy(x @ model.weight.T, y, reduction="none")
    if arm == "normface":
        return F.cross_entropy(setting * (1 - distance_of("cosine")(x, model.weight)), y, reduction="none")
    return harmonic_loss(x, model.weight, y, metric=arm, exponent=setting, uniform=UNIFORM, reduction="none")


@dataclass(frozen=True)
class Run:
    """Bits per byte of two parts, and the norm of the gradient at every step once it has settled."""

    validation: float
    test: float
    norms: torch.Tensor


def run(data: Corpus, arm: str, setting: float, rate: float, *, steps: int, seed: int) -> Run:
    """Adam, gradients clipped to norm 1, cosine after a warm-up of a twentieth; start and batches by seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LanguageModel(data.vocabulary)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = cosine(steps, steps // 20)(optimizer)
    generator, norms = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        starts = torch.randint(len(data.train) - LENGTH, (BATCH, 1), generator=generator)
        optimizer.zero_grad()
        next_token_loss(model, arm, setting, data.train[starts + torch.arange(LENGTH + 1)]).mean().backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        schedule.step()
    scores = {part: data.bits_per_byte(scored(model, arm, setting, getattr(data, part)), part)
              for part in ("validation", "test")}  # fmt: skip
    return Run(scores["validation"], scores["test"], torch.stack(norms)[int(SETTLED * steps) :].double())


@torch.no_grad()
def scored(model: LanguageModel, arm: str, setting: float, tokens: torch.Tensor) -> float:
    """Mean nats per token over stretches of LENGTH of the first SCORED tokens."""
    whole = min(len(tokens), SCORED) // (LENGTH + 1) * (LENGTH + 1)
    losses = [next_token_loss(model, arm, setting, part) for part in tokens[:whole].view(-1, LENGTH + 1).split(64)]
    return float(torch.cat(losses).mean())


def language_model(*, arm: str, seed: int, steps: int) -> dict[str, float]:
    """One head at the setting and rate of its lowest loss on the validation part.

    gradient_variation is the standard deviation of the gradient's norm over its mean, after a fifth of the steps.
    """
    data = corpus("wikitext-2-heldout")
    runs = {one: run(data, arm, *one, steps=steps, seed=seed) for one in SETTINGS[arm]}
    best = choose({one: found.validation for one, found in runs.items()}, smallest=True)
    norms = runs[best].norms
    return {
        "bits_per_byte": runs[best].test, "gradient_variation": float(norms.std() / norms.mean()),
        "gradient_norm": float(norms.mean()), "setting": best[0], "rate": best[1],
    }  # fmt: skip
