"""Two-class problems on scikit-learn's digits: one against the rest, odd against even, and a separable one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_recall_curve, precision_score, recall_score
from sklearn.model_selection import train_test_split
from torch import nn

from baselines import digits
from baselines.digits import Data
from baselines.models import mlp
from baselines.training import fit, supervised
from suites.dice_loss import method
from suites.dice_loss.objectives import Loss, by_arm

Metrics = dict[str, float | list[float]]
Score = Callable[[torch.Tensor, torch.Tensor], float]

RATES = (1e-3, 3e-4, 3e-3)
"""The learning rates that every arm tries; the first of equally good ones is taken."""


@dataclass(frozen=True)
class Parts:
    """Inputs (N, 1, 8, 8) and labels 0 or 1."""

    train: Data
    val: Data
    test: Data


@dataclass(frozen=True)
class Tuned:
    """The network of the best learning rate on validation data."""

    network: nn.Module
    rate: float
    val: float


def imbalanced(arm: str, seed: int, ratio: int, epochs: int) -> dict[str, float]:
    """Eight or not. Training and validation positives are thinned to 1 : ratio; the test part is left whole."""
    whole = split(seed, lambda labels: labels == 8)
    parts = Parts(thinned(whole.train, ratio, seed), thinned(whole.val, ratio, seed), whole.test)
    best = tuned(arm, parts, f1, seed, epochs)
    logits, gold = outputs(best.network, parts.test[0]), parts.test[1]
    cut = best_cut(outputs(best.network, parts.val[0]), parts.val[1])
    return {
        "f1": f1(logits, gold),
        "f1_tuned": f1(logits - cut, gold),
        "precision": float(precision_score(gold, logits > 0, zero_division=0.0)),
        "recall": float(recall_score(gold, logits > 0)),
        "val_f1": best.val,
        "learning_rate": best.rate,
        "negatives_per_positive": float((parts.train[1] == 0).sum() / parts.train[1].sum()),
    }


def parity(seed: int, epochs: int) -> Metrics:
    """Accuracy of set-level Dice and of cross-entropy, each with its own learning rate."""
    parts = split(seed, lambda labels: labels % 2 == 1)
    found: Metrics = {}
    for arm in ("ce", "dice_set"):
        best = tuned(arm, parts, accuracy, seed, epochs)
        found[f"accuracy_{arm}"] = accuracy(outputs(best.network, parts.test[0]), parts.test[1])
        found[f"learning_rate_{arm}"] = best.rate
    return {**found, "accuracy_gain": found["accuracy_dice_set"] - found["accuracy_ce"]}  # type: ignore[operator]


def pulled(seed: int, alpha: float) -> Metrics:
    """Zero against one by logistic regression, per-example DSC and cross-entropy: p of the positives that are right."""
    parts = split(seed, lambda labels: labels == 1, among=(0, 1))
    found: Metrics = {}
    for name, loss in {
        "method": lambda z, y: method.dice(z, y, level="example", square=False, alpha=alpha, smooth=1.0),
        "ce": by_arm("ce", torch.ones(2)),
    }.items():
        torch.manual_seed(seed)
        model, size = OneLogit(mlp((64, 1))), len(parts.train[1])
        fit(
            model, *parts.train, supervised(loss), epochs=1000, batch_size=size, drop_last=False, seed=seed,
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05, fused=True),
        )  # fmt: skip
        logits, gold = outputs(model, parts.train[0]), parts.train[1]
        right = (gold == 1) & (logits > 0)
        found[f"probability_{name}"] = float(logits[right].sigmoid().mean()) if right.any() else 0.0
        found[f"accuracy_{name}"] = accuracy(logits, gold)
    return found


class OneLogit(nn.Module):
    """A network of one output, as (N,)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).squeeze(1)


def split(
    seed: int, positive: Callable[[torch.Tensor], torch.Tensor], among: tuple[int, ...] = tuple(range(10))
) -> Parts:
    """64 % training, 16 % validation and 20 % test, stratified by digit."""
    rest, test = digits.stratified(seed)
    rows = np.arange(len(rest[1]))
    train, val = train_test_split(rows, test_size=0.2, random_state=seed, stratify=rest[1].numpy())

    def labelled(images: torch.Tensor, labels: torch.Tensor) -> Data:
        wanted = torch.isin(labels, torch.tensor(among))
        return images[wanted], positive(labels[wanted]).long()

    return Parts(labelled(rest[0][train], rest[1][train]), labelled(rest[0][val], rest[1][val]), labelled(*test))


def thinned(data: Data, ratio: int, seed: int) -> Data:
    """All negatives, and at most one positive to every `ratio` of them, but not less than one."""
    images, labels = data
    positives = (labels == 1).nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    count = max(1, round(int((labels == 0).sum()) / ratio))
    kept = positives[torch.randperm(len(positives), generator=generator)[:count]]
    rows = torch.cat([(labels == 0).nonzero().flatten(), kept]).sort().values
    return images[rows], labels[rows]


def tuned(arm: str, parts: Parts, score: Score, seed: int, epochs: int) -> Tuned:
    """Train with every learning rate from one initialisation, in one order, and keep the best on validation data."""
    loss = by_arm(arm, torch.bincount(parts.train[1], minlength=2).float())
    runs = [_trained(loss, parts.train, rate, seed, epochs) for rate in RATES]
    scores = [score(outputs(network, parts.val[0]), parts.val[1]) for network in runs]
    best = int(np.argmax(scores))  # the first of equals
    return Tuned(runs[best], RATES[best], scores[best])


def _trained(loss: Loss, train: Data, rate: float, seed: int, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    network = OneLogit(mlp((64, 64, 1)))
    fit(
        network, *train, supervised(loss), epochs=epochs, batch_size=32, drop_last=False, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate, fused=True),
    )  # fmt: skip
    return network


def best_cut(logits: torch.Tensor, gold: torch.Tensor) -> float:
    """The logit above which to say yes for the highest F1 on these data."""
    precision, recall, cuts = precision_recall_curve(gold, logits)
    scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    ordered = np.sort(logits.numpy())
    least = cuts[int(np.argmax(scores[:-1]))]
    below = ordered[ordered < least]
    return float((least + below[-1]) / 2) if len(below) else float(least) - 1.0


def outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (N,)."""
    network.eval()
    with torch.no_grad():
        return network(images)


def f1(logits: torch.Tensor, gold: torch.Tensor) -> float:
    """F1 of the positive class at p = 1/2; 0 where nothing is found."""
    return float(f1_score(gold, logits > 0, zero_division=0.0))


def accuracy(logits: torch.Tensor, gold: torch.Tensor) -> float:
    """At p = 1/2."""
    return float(accuracy_score(gold, logits > 0))
