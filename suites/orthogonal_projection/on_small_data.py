"""Digits, Fashion-MNIST and Letter: all losses, settings and rates side by side, and what becomes of the features.

One small network is copied for each setting and rate (`baselines.stacked`): the same start and the same batches in the
same order, so that arms of a seed are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from baselines.adversarial import withstands
from baselines.label_noise import with_label_noise
from baselines.models import mlp
from baselines.small_data import Part, drawn, letters, split
from baselines.stacked import Stacked, accuracy, train
from baselines.stacked_features import classify, hidden
from baselines.training import Batch
from suites.orthogonal_projection.contenders import (
    CLEAN,
    NOISY,
    RATES,
    RESTRICTED,
    SETTINGS,
    SIGNED,
    factor,
    loss,
    signed_loss,
)
from suites.orthogonal_projection.method import cosines

HIDDEN, FEATURES = 64, 32
"""Units of the two hidden layers; the second are the features."""
BATCH = 64
CLIP, DECAY = 5.0, 1e-4
"""Bound of the gradient's norm, and weight decay."""
SIZES = (32, 128, 512)
"""Of batches."""
LOOKED_AT = 1000
"""Test examples whose cosines are taken."""
ATTACKED, BALL = 300, 0.05
"""Test examples that are attacked, and the radius of the l_inf ball."""
BASE, HELD = 16, 5
"""Letters that are trained on, and letters to validate and to test few-shot learning on, each."""
EPISODES = 600
Losses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits, features, targets) of all copies -> the loss of each, (copies,)."""


def trained(
    part: Part, classes: int, losses_of: Losses, rates: torch.Tensor, *, rectified: bool = True, epochs: int, seed: int,
    batch: int = BATCH,
) -> Stacked:  # fmt: skip
    """Copies of one network d-64-32-K; `rectified` features are those after the last ReLU, others have none there."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = Stacked(mlp([part[0].shape[1], HIDDEN, FEATURES, classes]), len(rates))

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        assert isinstance(models, Stacked)
        features = features_of(models, batch.inputs, rectified)
        return losses_of(classify(models, features), features, batch.targets)

    train(
        models, *part, objective, rates=rates, epochs=epochs, batch_size=batch, seed=seed, weight_decay=DECAY,
        clip_norm=CLIP,
    )  # fmt: skip
    return models


def features_of(models: Stacked, inputs: torch.Tensor, rectified: bool = True) -> torch.Tensor:
    found = hidden(models, inputs)
    return found.relu() if rectified else found


class Linear(nn.Module):
    """Copies whose last hidden layer has no ReLU."""

    def __init__(self, models: Stacked) -> None:
        super().__init__()
        self.models = models

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return classify(self.models, hidden(self.models, inputs))


def all_settings(arms: Sequence[str]) -> tuple[Losses, torch.Tensor]:
    """The losses of copies in the order of arms, settings and rates, and their rates."""
    pairs = [(arm, setting) for arm in arms for setting in SETTINGS[arm]]
    rates = torch.tensor([rate * factor(*pair) for pair in pairs for rate in RATES])

    def losses_of(logits: torch.Tensor, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        parts = zip(pairs, logits.split(len(RATES)), features.split(len(RATES)), strict=True)
        return torch.cat([loss(*pair, z, f, targets) for pair, z, f in parts])

    return losses_of, rates


@torch.no_grad()
def geometry(models: Stacked, part: Part, rectified: bool = True) -> dict[str, torch.Tensor]:
    """Mean cosines of features, (copies,): of pairs of one class, of two, and the gap; of two also without sign."""
    inputs, labels = (one[:LOOKED_AT] for one in part)
    features = features_of(models, inputs, rectified)
    within, between = cosines(features, labels.expand(len(features), -1))
    found = {"within": within, "between": between, "gap": within - between}
    if not rectified:
        found["between_by_size"] = cosines(features, labels.expand(len(features), -1), absolute=True)[1]
    return found


def chosen(found: dict[str, torch.Tensor], arms: Sequence[str], arm: str) -> dict[str, float]:
    """Each metric at the arm's setting and rate of best validation accuracy, of equal ones the first.

    Tensors are (arms, settings, rates). An arm of `RESTRICTED` chooses among the rates of its setting.
    """
    name, only = RESTRICTED.get(arm, (arm, None))
    place = arms.index(name)
    of_arm = {key: values[place] if only is None else values[place, only : only + 1] for key, values in found.items()}
    setting, rate = divmod(int(of_arm["validation"].flatten().argmax()), len(RATES))
    metrics = {key: float(values[setting, rate]) for key, values in of_arm.items() if key != "validation"}
    return metrics | {"setting": float(setting if only is None else only), "rate": RATES[rate]}


# Clean and noisy labels.


def studied(*, seed: int, data: str, noise: float, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Accuracy, cosines and robust accuracy of all copies, (arms, settings, rates)."""
    parts, arms = split(data, seed, rows), NOISY if noise else CLEAN
    (inputs, labels), (checked, true) = parts.train, parts.validation
    noisy, noisy_checked = (
        with_label_noise(y, "symmetric", noise, classes=parts.classes, seed=2 * seed + place)
        for place, y in enumerate((labels, true))
    )
    losses_of, rates = all_settings(arms)
    models = trained((inputs, noisy), parts.classes, losses_of, rates, epochs=epochs, seed=seed)
    attacked, answers = (one[:ATTACKED].expand(len(rates), *one[:ATTACKED].shape) for one in parts.test)
    draws = torch.Generator().manual_seed(seed)
    found = geometry(models, parts.test) | {
        "validation": accuracy(models, checked, noisy_checked),
        "accuracy": accuracy(models, *parts.test),
        "robust": withstands(models, attacked, answers, eps=BALL, steps=10, generator=draws).double().mean(1),
    }
    return {key: values.view(len(arms), -1, len(RATES)) for key, values in found.items()}


def on_clean_labels(*, arm: str, data: str, noise: float, rows: int, epochs: int, studied: Path) -> dict[str, float]:
    """One loss at the setting and rate that are best on validation data."""
    del data, noise, rows, epochs  # of the artifact
    return chosen(load_file(studied), CLEAN, arm)


def on_noisy_labels(*, arm: str, data: str, noise: float, rows: int, epochs: int, studied: Path) -> dict[str, float]:
    """One loss at the setting and rate that are best on validation labels, as noisy as those to train on."""
    del data, noise, rows, epochs  # of the artifact
    return chosen(load_file(studied), NOISY, arm)


# The three variants, on features of both signs.


def variants(*, seed: int, data: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Accuracy and cosines of all copies, (arms, 1, rates), the second hidden layer being linear."""
    parts = split(data, seed, rows)

    def losses_of(logits: torch.Tensor, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        both = zip(SIGNED, logits.split(len(RATES)), features.split(len(RATES)), strict=True)
        return torch.cat([signed_loss(arm, z, f, targets) for arm, z, f in both])

    rates = torch.tensor(RATES).repeat(len(SIGNED))
    models = trained(parts.train, parts.classes, losses_of, rates, rectified=False, epochs=epochs, seed=seed)

    found = geometry(models, parts.test, rectified=False) | {
        "validation": accuracy(Linear(models), *parts.validation), "accuracy": accuracy(Linear(models), *parts.test),
    }  # fmt: skip
    return {key: values.view(len(SIGNED), 1, len(RATES)) for key, values in found.items()}


def on_signed(*, arm: str, data: str, rows: int, epochs: int, variants: Path) -> dict[str, float]:
    """One variant at the rate of best validation accuracy."""
    del data, rows, epochs  # of the artifact
    return chosen(load_file(variants), [*SIGNED], arm)


# The size of batches.


def sized(*, seed: int, steps: int) -> dict[str, torch.Tensor]:
    """Accuracy and cosines of cross-entropy without and with OPL (weight 1, gamma 0.5), (sizes, arms, 1, rates)."""
    parts, rates = split("digits", seed, 0), torch.tensor(RATES).repeat(2)
    found: dict[str, list[torch.Tensor]] = {}

    def losses_of(logits: torch.Tensor, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        (plain, z), (g, f) = logits.chunk(2), features.chunk(2)
        with_opl = loss("opl", SETTINGS["opl"][0], z, f, targets)
        return torch.cat([loss("ce", SETTINGS["ce"][0], plain, g, targets), with_opl])

    for size in SIZES:
        models = trained(
            parts.train, parts.classes, losses_of, rates, epochs=max(1, round(steps / (len(parts.train[1]) // size))),
            seed=seed, batch=size,
        )  # fmt: skip
        metrics = geometry(models, parts.test) | {
            "validation": accuracy(models, *parts.validation), "accuracy": accuracy(models, *parts.test),
        }  # fmt: skip
        for key, values in metrics.items():
            found.setdefault(key, []).append(values.view(2, 1, len(RATES)))
    return {key: torch.stack(values) for key, values in found.items()}


def batch_sizes(*, arm: str, batch: int, steps: int, sized: Path) -> dict[str, float]:
    """One of the two at the rate of best validation accuracy, on digits, as many steps for any size of batches."""
    del steps  # of the artifact
    of_size = {key: values[SIZES.index(batch)] for key, values in load_file(sized).items()}
    return chosen(of_size, ("ce", "opl"), arm)


# Few-shot learning.


def transferred(*, seed: int, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Few-shot accuracy on letters that were not trained on, (arms, settings, rates); the letters are drawn by seed."""
    first, last = letters()
    inputs, labels = torch.cat([first[0], last[0]]), torch.cat([first[1], last[1]])
    order = np.random.default_rng(seed).permutation(26)
    named = torch.from_numpy(np.argsort(order))[labels]  # 0..15 to train, 16..20 to validate, 21..25 to test on
    base = named < BASE
    losses_of, rates = all_settings(CLEAN)
    models = trained(drawn((inputs[base], named[base]), rows, seed), BASE, losses_of, rates, epochs=epochs, seed=seed)
    held = []
    for start in (BASE, BASE + HELD):
        of_part = (named >= start) & (named < start + HELD)
        held.append((inputs[of_part], named[of_part] - start))
    found = {
        "validation": few_shot(models, held[0], 1, seed),
        "one_shot": few_shot(models, held[1], 1, seed),
        "five_shot": few_shot(models, held[1], 5, seed),
    }
    return {key: values.view(len(CLEAN), -1, len(RATES)) for key, values in found.items()}


def on_few(*, arm: str, rows: int, epochs: int, transferred: Path) -> dict[str, float]:
    """One loss at the setting and rate that are best on the letters to validate on."""
    del rows, epochs  # of the artifact
    return chosen(load_file(transferred), CLEAN, arm)


@torch.no_grad()
def few_shot(models: Stacked, part: Part, shots: int, seed: int, queries: int = 15) -> torch.Tensor:
    """Accuracy of the nearest class mean by cosine, (copies,), over 600 episodes of all classes of the part."""
    generator, labels = torch.Generator().manual_seed(seed), part[1]
    ids = torch.stack(
        [
            torch.stack(
                [
                    of[torch.randperm(len(of), generator=generator)[: shots + queries]]
                    for of in ((labels == label).nonzero()[:, 0] for label in range(HELD))
                ]
            )
            for _ in range(EPISODES)
        ]
    )  # (episodes, classes, shots + queries)
    found = []
    for features in F.normalize(features_of(models, part[0]), dim=-1):
        episode = features[ids]
        centres = F.normalize(episode[:, :, :shots].mean(2), dim=-1)
        near = torch.einsum("eqd,ekd->eqk", episode[:, :, shots:].flatten(1, 2), centres).argmax(-1)
        found.append((near == torch.arange(HELD).repeat_interleave(queries)).double().mean())
    return torch.stack(found)
