"""Digits and Fashion-MNIST: one small network with every head, setting and rate, trained side by side.

The copies have the same start and the same batches in the same order (`baselines.stacked`), so that arms of a seed are
paired.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from baselines import stacked
from baselines.models import mlp
from baselines.small_data import split
from baselines.stacked import Stacked
from baselines.stacked_adam import StackedAdam, train
from baselines.training import Batch, Fit
from suites.harmonic_loss.contenders import SETTINGS, Heads, losses, top2

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
HIDDEN, FEATURES, BATCH = 64, 32, 50
LEVELS = {"digits": 0.95, "fashion-mnist": 0.8}
"""The validation accuracy whose first epoch is noted."""


class Classifiers(nn.Module):
    """d-64-32 with ReLU after both, and a head: (B, d) -> (copies, B, K)."""

    def __init__(self, inputs: int, classes: int, arms: list[str], settings: list[float]) -> None:
        super().__init__()
        self.body = Stacked(mlp([inputs, HIDDEN, FEATURES]), len(arms))
        self.heads = Heads(FEATURES, classes, arms, settings)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.heads(self.features(inputs))

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.body(inputs).relu()


def copies() -> tuple[list[str], list[float], list[float]]:
    """Arm, setting and rate of each copy."""
    every = [(arm, one, rate) for arm, of in SETTINGS.items() for one in of for rate in RATES]
    arms, settings, rates = zip(*every, strict=True)
    return [*arms], [*settings], [*rates]


def heads(*, seed: int, data: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """What is measured of every copy, (arms, settings, rates).

    validation and test: accuracy; level: the first epoch with the validation accuracy of `LEVELS`; growth: the norm of
    the centres over that at the start; and the shares of variance of principal components: feature_top2 of
    standardised test features, centre_top2 of the centres.
    """
    parts = split(data, seed, rows)
    arms, settings, rates = copies()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = Classifiers(parts.test[0].shape[1], parts.classes, arms, settings)
    start = models.heads.centres.detach().clone()
    level = torch.full((len(arms),), epochs + 1.0)

    def look(done: Fit) -> None:
        reached = stacked.accuracy(models, *parts.validation) >= LEVELS[data]
        level.copy_(torch.where(reached, level.clamp_max(len(done.losses)), level))

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        return losses(arms, settings, models(batch.inputs), batch.targets)

    train(
        models, *parts.train, objective, epochs=epochs, batch_size=BATCH, seed=seed, on_epoch=look,
        optimizer=StackedAdam(models, torch.tensor(rates)),
    )  # fmt: skip
    centres = models.heads.centres.detach()
    with torch.no_grad():
        features = models.features(parts.test[0][:2000])
    shape = (len(SETTINGS), -1, len(RATES))
    return {
        name: values.double().reshape(shape).contiguous()
        for name, values in {
            "validation": stacked.accuracy(models, *parts.validation),
            "test": stacked.accuracy(models, *parts.test),
            "level": level,
            "growth": centres.flatten(1).norm(dim=1) / start.flatten(1).norm(dim=1),
            "feature_top2": top2(features, standardised=True),
            "centre_top2": top2(centres),
        }.items()
    }


def classified(*, arm: str, data: str, rows: int, epochs: int, heads: Path) -> dict[str, float]:
    """One head at the setting and rate that are best on the validation part, of equal ones the first."""
    del data, rows, epochs  # of the artifact
    found = {name: values[[*SETTINGS].index(arm)] for name, values in load_file(heads).items()}
    setting, rate = divmod(int(found["validation"].flatten().argmax()), len(RATES))
    names = {"accuracy": "test", **{name: name for name in ("level", "growth", "feature_top2", "centre_top2")}}
    chosen = {name: float(found[of][setting, rate]) for name, of in names.items()}
    return {**chosen, "setting": SETTINGS[arm][setting], "rate": RATES[rate]}
