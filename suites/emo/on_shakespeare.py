"""Tiny Shakespeare with planted synonyms: each character has two forms, of which a coin writes one at each place."""

from __future__ import annotations

import torch

from baselines.corpora import Corpus, corpus, windows
from baselines.recurrent_language_models import RecurrentLanguageModel
from baselines.training import cosine
from baselines.tuning import choose
from suites.emo.on_wikitext import LENGTH, train

WIDTH = 32
RATES = (3e-3, 1e-2, 3e-2)
SCORED = 256
"""Stretches that are scored."""


def two_forms(tokens: torch.Tensor, kinds: int, seed: int) -> torch.Tensor:
    """Each of the tokens, or, by a coin, its other form: the number plus `kinds`."""
    coins = torch.randint(2, tokens.shape, generator=torch.Generator().manual_seed(seed))
    return tokens + kinds * coins


def cost_embedding(arm: str, kinds: int, seed: int) -> torch.Tensor:
    """Random directions: of both forms the same if `tied`, else of each form its own. (2 kinds, WIDTH)"""
    rows = torch.randn(2 * kinds, WIDTH, generator=torch.Generator().manual_seed(seed))
    return rows[:kinds].repeat(2, 1) if arm == "emo_tied" else rows


@torch.no_grad()
def masses(model: RecurrentLanguageModel, tokens: torch.Tensor, kinds: int, seed: int) -> dict[str, float]:
    """Mean nats of the form that stands there, and the mean probabilities of it and of its other form."""
    rows = windows(tokens, SCORED, LENGTH, torch.Generator().manual_seed(seed))
    y = rows[:, 1:].flatten()
    log_q = model(rows[:, :-1]).flatten(0, 1).log_softmax(1).double()
    observed = log_q.gather(1, y[:, None])
    synonym = log_q.gather(1, ((y + kinds) % (2 * kinds))[:, None])
    return {"nll": -float(observed.mean()), "observed": float(observed.exp().mean()),
            "synonym": float(synonym.exp().mean())}  # fmt: skip


def planted_synonyms(*, arm: str, seed: int, steps: int) -> dict[str, float]:
    """Trained from scratch with one loss, at the rate of the lowest nats on validation data: masses on test data."""
    text: Corpus = corpus("tiny-shakespeare", "character")
    kinds = text.vocabulary
    parts = {
        name: two_forms(getattr(text, name), kinds, 3 * seed + place)
        for place, name in enumerate(("train", "validation", "test"))
    }
    embedding, models = cost_embedding(arm, kinds, seed), {}
    for rate in RATES:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = RecurrentLanguageModel(2 * kinds, WIDTH)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        schedule = cosine(steps, steps // 20)(optimizer)
        train(model, arm.partition("_")[0], embedding, parts["train"], optimizer, schedule, steps, seed)
        models[rate] = model
    best = choose(
        {rate: masses(one, parts["validation"], kinds, seed)["nll"] for rate, one in models.items()}, smallest=True
    )
    return masses(models[best], parts["test"], kinds, seed) | {"rate": best}
