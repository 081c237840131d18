"""WikiText-2: one checkpoint of a small language model, trained on with each loss, and the text that it then writes.

One artifact holds what all losses, rates and temperatures came to; the trials look up what validation data chose.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy.optimize import bisect
from torch import nn

from baselines.corpora import corpus, windows
from baselines.ngram_distances import ngram_divergence
from baselines.recurrent_language_models import RecurrentLanguageModel, sampled
from baselines.training import cosine
from suites.emo.contenders import LOSSES, SCORES, sums_of_scores
from suites.emo.method import transport_costs

WIDTH, BATCH, LENGTH = 64, 8, 32
"""Numbers of a state; stretches of a step, and their tokens."""
RATES = (1e-3, 3e-3, 1e-2)
TEMPERATURES = (1.0, 0.7, 0.8, 0.9, 1.1)
"""The first is the one that text is drawn at unless it is tuned."""
SCORED, TEXTS, PREFIX, WRITTEN = 256, 256, 16, 64
"""Stretches that are scored, texts that are written, and their tokens: given and drawn. On the test part twice that."""


def checkpoint(*, seed: int, vocabulary: int, before: int) -> dict[str, torch.Tensor]:
    """The weights after `before` steps of cross-entropy, and the tokens of the three parts of the text."""
    text = corpus("wikitext-2-heldout", "bpe", vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = RecurrentLanguageModel(text.vocabulary, WIDTH)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    train(model, "mle", model.weight, text.train, optimizer, cosine(before, before // 20)(optimizer), before, seed)
    parts = {f"tokens.{part}": getattr(text, part) for part in ("train", "validation", "test")}
    return {**{name: value.clone() for name, value in model.state_dict().items()}, **parts}


def train(
    model: RecurrentLanguageModel,
    arm: str,
    embedding: torch.Tensor,
    tokens: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    steps: int,
    seed: int,
) -> float:
    """Train in place on random stretches, alike for all arms, gradients cut to norm 1: their mean norm before that."""
    generator, norms = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        rows = windows(tokens, BATCH, LENGTH, generator)
        optimizer.zero_grad()
        LOSSES[arm](model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten(), embedding).backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        schedule.step()
    return float(torch.stack(norms).mean())


def restored(found: dict[str, torch.Tensor]) -> RecurrentLanguageModel:
    """The model of a checkpoint."""
    model = RecurrentLanguageModel(*found["weight"].shape)
    model.load_state_dict({name: value for name, value in found.items() if not name.startswith("tokens.")})
    return model


def continued(*, seed: int, vocabulary: int, before: int, steps: int) -> dict[str, torch.Tensor]:
    """Every loss at every rate from the checkpoint on, `steps` of AdamW, the rate falling to 0 in a line.

    "scores" (arms, rates, 2, SCORES) on the validation and the test part, "written" (arms, rates, temperatures, 2) the
    divergence of bigrams of written text, NaN where it was not asked for, and what belongs to matched temperatures.
    """
    found = checkpoint(seed=seed, vocabulary=vocabulary, before=before)
    start = restored(found)
    costs = start.weight.detach().clone()
    parts = [found[f"tokens.{part}"] for part in ("validation", "test")]
    scores = torch.full((len(LOSSES), len(RATES), 2, len(SCORES)), torch.nan, dtype=torch.float64)
    written = torch.full((len(LOSSES), len(RATES), len(TEMPERATURES), 2), torch.nan, dtype=torch.float64)
    norms = torch.zeros(len(LOSSES), len(RATES), dtype=torch.float64)
    models: dict[tuple[int, int], RecurrentLanguageModel] = {}
    for place, arm in enumerate(LOSSES):
        for column, rate in enumerate(RATES):
            model = copy.deepcopy(start)
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
            line = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
            norms[place, column] = train(model, arm, costs, found["tokens.train"], optimizer, line, steps, seed)
            scores[place, column, 0] = score(model, costs, parts[0], seed, SCORED)
            written[place, column, 0, 0] = divergence(model, parts[0], seed, TEXTS, TEMPERATURES[0])
            models[place, column] = model
        best, likely = int(written[place, :, 0, 0].argmin()), int(scores[place, :, 0, 0].argmin())
        for row, temperature in enumerate(TEMPERATURES):
            written[place, best, row, 0] = divergence(models[place, best], parts[0], seed, TEXTS, temperature)
        for row in {0, int(written[place, best, :, 0].argmin())}:
            written[place, best, row, 1] = divergence(models[place, best], parts[1], seed, 2 * TEXTS, TEMPERATURES[row])
        scores[place, likely, 1] = score(models[place, likely], costs, parts[1], seed, 2 * SCORED)
    return {
        "scores": scores, "written": written, "norms": norms,
        **matched(models, written, costs, parts, seed),
        "real": torch.tensor([real_text(parts, seed)], dtype=torch.float64),
        "mean_cost": mean_cost(costs),
    }  # fmt: skip


def matched(
    models: dict[tuple[int, int], RecurrentLanguageModel],
    written: torch.Tensor,
    costs: torch.Tensor,
    parts: list[torch.Tensor],
    seed: int,
) -> dict[str, torch.Tensor]:
    """MLE at the temperature where its entropy on validation data is EMO's: that temperature, and the divergence."""
    places = {arm: [*LOSSES].index(arm) for arm in ("mle", "emo")}
    mle, emo = (models[place, int(written[place, :, 0, 0].argmin())] for place in places.values())
    place = SCORES.index("entropy")
    temperature = temperature_of(
        lambda at: float(score(mle, costs, parts[0], seed, SCORED, temperature=at)[place]),
        float(score(emo, costs, parts[0], seed, SCORED)[place]),
    )
    reached = divergence(mle, parts[1], seed, 2 * TEXTS, temperature)
    return {"matched": torch.tensor([temperature, reached], dtype=torch.float64)}


def temperature_of(entropy: Callable[[float], float], wanted: float) -> float:
    """Where the entropy, which rises with the temperature, is the wanted one: to 0.0003, between 0.3 and 1.5."""
    low, high = 0.3, 1.5
    if not entropy(low) < wanted < entropy(high):
        return low if wanted <= entropy(low) else high
    return float(bisect(lambda at: entropy(at) - wanted, low, high, xtol=3e-4))


@torch.no_grad()
def score(
    model: RecurrentLanguageModel,
    costs: torch.Tensor,
    tokens: torch.Tensor,
    seed: int,
    count: int,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Means over the tokens of random stretches, in the order of SCORES: nats, DEMD, entropy in nats, share of hits."""
    rows = windows(tokens, count, LENGTH, torch.Generator().manual_seed(seed))
    sums = torch.zeros(len(SCORES), dtype=torch.float64)
    for part in rows.split(32):
        log_q = (model(part[:, :-1]).flatten(0, 1) / temperature).log_softmax(1)
        sums += sums_of_scores(log_q, part[:, 1:].flatten(), costs)
    return sums / (count * LENGTH)


def divergence(model: RecurrentLanguageModel, tokens: torch.Tensor, seed: int, count: int, temperature: float) -> float:
    """Of bigrams: texts written behind random prefixes of a part, against the whole of that part."""
    generator = torch.Generator().manual_seed(seed)
    prefixes = windows(tokens, count, PREFIX - 1, generator)
    texts = sampled(model, prefixes, WRITTEN, temperature=temperature, generator=generator)
    return ngram_divergence(texts, tokens[None], len(model.weight), 2)


def real_text(parts: list[torch.Tensor], seed: int) -> float:
    """The divergence of as much text of the validation part from the test part: what models can hope for."""
    texts = windows(parts[0], 2 * TEXTS, WRITTEN - 1, torch.Generator().manual_seed(seed))
    return ngram_divergence(texts, parts[1][None], int(max(part.max() for part in parts)) + 1, 2)


def mean_cost(costs: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of the costs of two different tokens, of 256 tokens with all."""
    table = transport_costs(costs, torch.arange(min(256, len(costs))))
    others = table[torch.arange(table.shape[1]) != torch.arange(len(table))[:, None]]
    return torch.stack([others.mean(), others.std()]).double()


def trained_on(*, arm: str, vocabulary: int, before: int, steps: int, continued: Path) -> dict[str, float]:
    """One loss at the rate that validation chose, by nats for the scores and by divergence for what is written.

    divergence: at temperature 1, of `mle_matched` at EMO's entropy; divergence_tuned: at the best of the temperatures.
    """
    del vocabulary, before, steps  # of the artifacts
    found = load_file(continued)
    place = [*LOSSES].index("mle" if arm == "mle_matched" else arm)
    scores, written = found["scores"][place], found["written"][place]
    likely, best = int(scores[:, 0, 0].argmin()), int(written[:, 0, 0].argmin())
    row = int(written[best, :, 0].argmin())
    outcome = dict(zip(SCORES, scores[likely, 1].tolist(), strict=True)) | {
        "divergence": float(written[best, 0, 1]), "divergence_tuned": float(written[best, row, 1]),
        "temperature": TEMPERATURES[row], "rate": RATES[best], "rate_of_scores": RATES[likely],
        "gradient_norm": float(found["norms"][place, likely]), "divergence_of_text": float(found["real"]),
        "mean_cost": float(found["mean_cost"][0]), "spread_of_costs": float(found["mean_cost"][1]),
    }  # fmt: skip
    if arm == "mle_matched":
        outcome |= {"temperature": float(found["matched"][0]), "divergence": float(found["matched"][1])}
    return outcome
