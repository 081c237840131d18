"""Two-class problems on scikit-learn's digits: one against the rest, odd against even, and a separable one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from baselines import digits
from baselines.digits import Data
from baselines.models import mlp
from baselines.training import fit, supervised
from baselines.tuning import choose
from suites.dice_loss import method
from suites.dice_loss.contenders import Loss, by_arm

Score = Callable[[torch.Tensor, torch.Tensor], float]

RATES = (1e-3, 3e-4, 3e-3)
"""The learning rates that every arm tries; the first of equally good ones is taken."""


class Parts(NamedTuple):
    """Inputs (N, 1, 8, 8) and labels 0 or 1."""

    train: Data
    val: Data
    test: Data


def imbalanced_digits(*, arm: str, seed: int, ratio: int, epochs: int = 60) -> dict[str, float]:
    """Eight or not. Training and validation positives are thinned to 1 : ratio; the test part is left whole."""
    from sklearn.metrics import precision_score, recall_score

    whole = split(seed, lambda labels: labels == 8)
    parts = Parts(thinned(whole.train, ratio, seed), thinned(whole.val, ratio, seed), whole.test)
    network, rate, val = tuned(arm, parts, f1, seed, epochs)
    logits, gold = outputs(network, parts.test[0]), parts.test[1]
    cut = best_cut(outputs(network, parts.val[0]), parts.val[1])
    return {
        "f1": f1(logits, gold),
        "f1_tuned": f1(logits - cut, gold),
        "precision": float(precision_score(gold, logits > 0, zero_division=0.0)),
        "recall": float(recall_score(gold, logits > 0)),
        "val_f1": val,
        "learning_rate": rate,
        "negatives_per_positive": float((parts.train[1] == 0).sum() / parts.train[1].sum()),
    }


def per_example_digits(*, seed: int, epochs: int = 60) -> dict[str, float]:
    """The per-example squared loss beside cross-entropy, at 1 : 9."""
    found: dict[str, float] = {}
    for arm in ("dice_example", "ce"):
        metrics = imbalanced_digits(arm=arm, seed=seed, ratio=9, epochs=epochs)
        found |= {f"f1_{arm}": metrics["f1"], f"learning_rate_{arm}": metrics["learning_rate"]}
    return {**found, "f1_difference": found["f1_dice_example"] - found["f1_ce"]}


def parity_digits(*, seed: int, epochs: int = 60) -> dict[str, float]:
    """Odd or even, balanced: accuracy of set-level Dice and of cross-entropy, each with its own learning rate."""
    parts = split(seed, lambda labels: labels % 2 == 1)
    found: dict[str, float] = {}
    for arm in ("ce", "dice_set"):
        network, rate, _ = tuned(arm, parts, accuracy, seed, epochs)
        test = accuracy(outputs(network, parts.test[0]), parts.test[1])
        found |= {f"accuracy_{arm}": test, f"learning_rate_{arm}": rate}
    return {**found, "accuracy_gain": found["accuracy_dice_set"] - found["accuracy_ce"]}


def alpha_sweep(*, seed: int, alpha: float) -> dict[str, float]:
    """Zero against one by logistic regression, per-example DSC and cross-entropy: p of the positives that are right."""
    parts = split(seed, lambda labels: labels == 1, among=(0, 1))
    found: dict[str, float] = {}
    for name, loss in {
        "method": lambda z, y: method.dice(z, y, level="example", square=False, alpha=alpha, smooth=1.0),
        "ce": by_arm("ce", torch.ones(2)),
    }.items():
        model = trained((64, 1), loss, parts.train, 0.05, seed, epochs=1000, batch_size=len(parts.train[1]))
        logits, gold = outputs(model, parts.train[0]), parts.train[1]
        right = (gold == 1) & (logits > 0)
        found[f"probability_{name}"] = float(logits[right].sigmoid().mean()) if right.any() else 0.0
        found[f"accuracy_{name}"] = accuracy(logits, gold)
    return found


def split(
    seed: int, positive: Callable[[torch.Tensor], torch.Tensor], among: Collection[int] = tuple(range(10))
) -> Parts:
    """64 % training, 16 % validation and 20 % test, stratified by digit."""
    from sklearn.model_selection import train_test_split

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
    positives, negatives = ((labels == label).nonzero().flatten() for label in (1, 0))
    generator = torch.Generator().manual_seed(seed)
    kept = torch.randperm(len(positives), generator=generator)[: max(1, round(len(negatives) / ratio))]
    rows = torch.cat([negatives, positives[kept]]).sort().values
    return images[rows], labels[rows]


def tuned(arm: str, parts: Parts, score: Score, seed: int, epochs: int) -> tuple[nn.Module, float, float]:
    """Train with every learning rate from one initialisation, in one order: (network, rate, score) of the best.

    The score is that of the validation data.
    """
    loss = by_arm(arm, torch.bincount(parts.train[1], minlength=2).float())
    runs = {r: trained((64, 64, 1), loss, parts.train, r, seed, epochs=epochs, batch_size=32) for r in RATES}
    scores = {rate: score(outputs(network, parts.val[0]), parts.val[1]) for rate, network in runs.items()}
    rate = choose(scores)
    return runs[rate], rate, scores[rate]


def trained(
    sizes: tuple[int, ...], loss: Loss, train: Data, rate: float, seed: int, *, epochs: int, batch_size: int
) -> nn.Module:
    """A multilayer perceptron of one output, as (N,)."""
    torch.manual_seed(seed)
    network = nn.Sequential(mlp(sizes), nn.Flatten(0))
    fit(
        network, *train, supervised(loss), epochs=epochs, batch_size=batch_size, drop_last=False, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate, fused=True),
    )  # fmt: skip
    return network


def best_cut(logits: torch.Tensor, gold: torch.Tensor) -> float:
    """The logit above which to say yes for the highest F1 on these data."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(gold, logits)
    scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    ordered = np.sort(logits.numpy())
    least = cuts[int(np.argmax(scores[:-1]))]
    below = ordered[ordered < least]
    return float((least + below[-1]) / 2) if len(below) else float(least) - 1.0


@torch.no_grad()
def outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (N,)."""
    return network.eval()(images)


def f1(logits: torch.Tensor, gold: torch.Tensor) -> float:
    """F1 of the positive class at p = 1/2; 0 where nothing is found."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, logits > 0, zero_division=0.0))


def accuracy(logits: torch.Tensor, gold: torch.Tensor) -> float:
    """At p = 1/2."""
    return float((gold == (logits > 0)).double().mean())
