"""Addition modulo a prime, by a network that learns one embedding for what it reads and what it answers.

It is fitted long before it generalises ("grokking"). All heads, settings and rates are trained side by side.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from baselines import stacked
from baselines.models import mlp
from baselines.small_data import Part
from baselines.stacked import Stacked
from baselines.stacked_adam import StackedAdam, train
from baselines.training import Fit
from suites.harmonic_loss.contenders import logits, losses, runs

SETTINGS: dict[str, tuple[float, ...]] = {
    "ce": (0.0, 0.1),
    "euclidean": (1.0, 2.0),
    "cosine": (1.0, 2.0),
}
SETTINGS |= {f"{arm}_decay": SETTINGS[arm] for arm in ("ce", "euclidean")}
"""Label smoothing of cross-entropy, the exponent of harmonic heads."""
RATES, DECAY = (3e-3, 1e-2, 3e-2), 0.5
"""Of AdamW; the decay is that of the arms that are named for it, and 0 for the others."""
EMBEDDING, HIDDEN, BATCH = 16, 100, 128
LOOK, GOAL = 5, 0.99
"""Every how many epochs it is looked, and for which accuracy."""


class Adders(nn.Module):
    """Pairs int64 (B, 2) -> (copies, B, p): embeddings side by side, 32-100-16 with ReLU, tied centres."""

    def __init__(self, prime: int, arms: list[str], settings: list[float]) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(prime, EMBEDDING).repeat(len(arms), 1, 1))
        self.body = Stacked(mlp([2 * EMBEDDING, HIDDEN, EMBEDDING]), len(arms))
        self.runs = runs(arms)
        self.settings = torch.tensor(settings).view(-1, 1, 1)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        found = self.body(self.embedding[:, pairs].flatten(-2))
        none = torch.zeros(1)  # neither a bias nor a metric
        return torch.cat(
            [
                logits(arm.removesuffix("_decay"), self.settings[of], found[of], self.embedding[of], none, none)
                for arm, of in self.runs
            ]
        )  # fmt: skip


def copies() -> tuple[list[str], list[float], list[float]]:
    """Arm, setting and rate of each copy."""
    every = [(arm, one, rate) for arm, of in SETTINGS.items() for one in of for rate in RATES]
    arms, settings, rates = zip(*every, strict=True)
    return [*arms], [*settings], [*rates]


def sums(prime: int, seed: int) -> tuple[Part, Part, Part]:
    """All pairs and their sums modulo `prime`, drawn by seed: 60 % to train, 10 % to validate, 30 % to test."""
    pairs = torch.cartesian_prod(torch.arange(prime), torch.arange(prime))
    pairs = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))]
    ends = [round(share * len(pairs)) for share in (0.6, 0.7)]
    train, validation, test = (
        (part, part.sum(1) % prime) for part in (pairs[: ends[0]], pairs[ends[0] : ends[1]], pairs[ends[1] :])
    )
    return train, validation, test


def adders(*, seed: int, prime: int, epochs: int) -> dict[str, torch.Tensor]:
    """The first epoch with 99 % accuracy of each part (`epochs` + LOOK: never) and the last accuracy, (arms, -1)."""
    learnt, *held_out = sums(prime, seed)
    parts = dict(zip(("validation", "test"), held_out, strict=True))
    arms, settings, rates = copies()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = Adders(prime, arms, settings)
    reached = {name: torch.full((len(arms),), float(epochs + LOOK)) for name in parts}
    last: dict[str, torch.Tensor] = {}

    def look(done: Fit) -> None:
        if len(done.losses) % LOOK == 0:
            for name, part in parts.items():
                last[name] = stacked.accuracy(models, *part)
                seen = torch.where(last[name] >= GOAL, float(len(done.losses)), torch.inf)
                reached[name] = torch.minimum(reached[name], seen)

    decay = torch.tensor([DECAY if arm.endswith("_decay") else 0.0 for arm in arms])
    plain = [arm.removesuffix("_decay") for arm in arms]
    train(
        models, *learnt, lambda models, batch: losses(plain, settings, models(batch.inputs), batch.targets),
        epochs=epochs, batch_size=min(BATCH, len(learnt[1])), seed=seed, on_epoch=look, decayed=False,
        optimizer=StackedAdam(models, torch.tensor(rates), weight_decay=decay, betas=(0.9, 0.98)),
    )  # fmt: skip
    found = {f"reached/{name}": reached[name] for name in parts} | {f"last/{name}": last[name] for name in parts}
    return {name: values.double().view(len(SETTINGS), -1) for name, values in found.items()}


def grokking(*, arm: str, prime: int, epochs: int, adders: Path) -> dict[str, float]:
    """One head at the setting and rate that reach 99 % of validation first; of equal ones the better at last."""
    del prime, epochs  # of the artifact
    found = {name: values[[*SETTINGS].index(arm)] for name, values in load_file(adders).items()}
    best = int((found["reached/validation"] - found["last/validation"]).argmin())
    setting, rate = divmod(best, len(RATES))
    return {
        "epochs_to_test": float(found["reached/test"][best]), "accuracy": float(found["last/test"][best]),
        "setting": SETTINGS[arm][setting], "rate": RATES[rate],
    }  # fmt: skip
