"""Digits, Fashion-MNIST and Letter: all taus, rates and noises, or all kinds of adversarial training, side by side.

One small network is copied for each setting (`baselines.stacked`): the same start and the same batches in the same
order, so that arms of a seed are paired.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.adversarial import near_start, pgd, uniform_start, withstands
from baselines.digits import stratified
from baselines.label_noise import with_label_noise
from baselines.models import mlp
from baselines.stacked import Stacked, StackedSGD
from baselines.training import Batch, cosine, fit, step_count
from suites.comp_sum.contenders import CLIP, DECAY, HARDENED, NOISES, RATES, TAUS, to_ascend, to_descend
from suites.comp_sum.method import comp_sum

WIDTH = 64
"""Of the hidden layer."""
BATCH = 64
SHARED_RATE = 0.1
"""Of all adversarial training."""
TESTED = 1000
"""Images of Fashion-MNIST's test part that are attacked."""
Part = tuple[torch.Tensor, torch.Tensor]


class Split(NamedTuple):
    """Float32 inputs (n, d) and clean int64 labels (n,) of the three parts, and the number of classes."""

    train: Part
    validation: Part
    test: Part
    classes: int


def split(data: str, seed: int, rows: int, classes: int = 26) -> Split:
    """`rows` (digits: all) of the training part drawn by seed, a fifth of them to validate, and the whole test part.

    Pixels lie in [0, 1]; Fashion-MNIST is averaged over 2 x 2 to 14 x 14. Letter's features lie in [-1, 1], and it can
    be had with its first `classes` letters alone. Raises ValueError for other data.
    """
    if data == "digits":
        (images, labels), (tested, test_labels) = stratified(seed)
        whole, test = (images.flatten(1), labels), (tested.flatten(1), test_labels)
        classes = 10
    elif data == "fashion-mnist":
        train, rest = (reference.load(data, part) for part in ("train", "test"))
        drawn = torch.from_numpy(np.random.default_rng(seed).permutation(len(train))[:rows])
        whole = averaged(train.images[drawn]), train.labels[drawn]
        test, classes = (averaged(rest.images), rest.labels), 10
    elif data == "letter":
        table = reference.load(data)
        features, labels = torch.from_numpy(table.features.to_numpy(np.float32)), torch.from_numpy(table.target)
        features = features / 7.5 - 1  # from 0..15
        kept = torch.arange(len(labels))[labels < classes]
        first, last = kept[kept < 15_000], kept[kept >= 15_000]
        drawn = first[torch.from_numpy(np.random.default_rng(seed).permutation(len(first))[:rows])]
        whole, test = (features[drawn], labels[drawn]), (features[last], labels[last])
    else:
        raise ValueError(f"data must be 'digits', 'fashion-mnist' or 'letter', got {data!r}")
    held = len(whole[1]) // 5
    return Split((whole[0][held:], whole[1][held:]), (whole[0][:held], whole[1][:held]), test, classes)


def averaged(images: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(images.float() / 255, 2).flatten(1)


def start(data: Split, copies: int, seed: int) -> Stacked:
    """Copies of one network d-64-K, by PyTorch's initialisation."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Stacked(mlp([data.train[0].shape[1], WIDTH, data.classes]), copies)


# The sweep over tau.


def swept(*, seed: int, data: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Every tau at every rate under every noise."""
    return sweep(split(data, seed, rows), [*TAUS.values()], [*NOISES.values()], epochs=epochs, seed=seed)


def tau_sweep(*, arm: str, data: str, noise: str, rows: int, epochs: int, swept: Path) -> dict[str, float]:
    """One tau at the rate that is best for cross-entropy, shared by all, and at its own."""
    del data, rows, epochs  # of the artifact
    return outcome(load_file(swept), [*TAUS], arm, [*NOISES].index(noise))


def letter_classes(*, seed: int, classes: int, rows: int, epochs: int) -> dict[str, float]:
    """Accuracy at tau = 2 over that at tau = 1 among the first letters of the alphabet, with as many steps for any."""
    found = sweep(split("letter", seed, rows, classes), [1.0, 2.0], [0.0], epochs=epochs, seed=seed)
    ce, mae = (outcome(found, ["tau_1", "tau_2"], arm, 0) for arm in ("tau_1", "tau_2"))
    return {f"ratio_{kind}": mae[f"accuracy_{kind}"] / ce[f"accuracy_{kind}"] for kind in ("shared", "tuned")}


def outcome(found: dict[str, torch.Tensor], arms: list[str], arm: str, noise: int) -> dict[str, float]:
    """Test accuracy of an arm, rates chosen by validation accuracy: that of tau = 1, and its own."""
    validation, test = found["validation"][..., noise], found["test"][..., noise]
    place = arms.index(arm)
    shared, tuned = int(validation[arms.index("tau_1")].argmax()), int(validation[place].argmax())
    return {
        "accuracy_shared": float(test[place, shared]), "rate_shared": RATES[shared],
        "accuracy_tuned": float(test[place, tuned]), "rate_tuned": RATES[tuned],
    }  # fmt: skip


def sweep(data: Split, taus: list[float], noises: list[float], *, epochs: int, seed: int) -> dict[str, torch.Tensor]:
    """Accuracy on the clean test part and on noisy validation labels, both (taus, rates, noises)."""
    (inputs, labels), (checked, true) = data.train, data.validation
    noisy, noisy_checked = (
        torch.stack(
            [with_label_noise(y, "uniform", rate, classes=data.classes, seed=2 * seed + part) for rate in noises]
        )
        for part, y in enumerate((labels, true))
    )
    shape = (len(taus), len(RATES), len(noises))
    rates = torch.tensor(RATES).repeat_interleave(len(noises)).repeat(len(taus))
    models = start(data, len(rates), seed)

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        scores = models(batch.inputs).unflatten(0, (shape[0], -1))
        targets = noisy[:, batch.ids].repeat(len(RATES), 1)
        of_model = [
            comp_sum(of.flatten(0, 1), targets.flatten(), tau=tau, reduction="none").view_as(targets).mean(1)
            for of, tau in zip(scores, taus, strict=True)
        ]
        # A model that has diverged is of no use but must not stop the others. Values can be near float32's largest.
        return torch.nan_to_num(torch.stack(of_model), nan=0.0, posinf=0.0).double().sum()

    fit(
        models, inputs, labels, objective, epochs=epochs, batch_size=BATCH, drop_last=True, seed=seed,
        optimizer=lambda _: StackedSGD(models, rates, weight_decay=DECAY, clip_norm=CLIP),
        schedule=cosine(step_count(len(inputs), BATCH, epochs, drop_last=True)),
    )  # fmt: skip
    return {
        "test": hits(models, *data.test).view(*shape[:2], len(noises)),
        "validation": torch.stack(
            [hits(models, checked, y).view(shape)[..., place] for place, y in enumerate(noisy_checked)], dim=-1
        ),
    }


@torch.no_grad()
def hits(models: Stacked, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The accuracy of every model, (copies,), in float64."""
    parts = zip(inputs.split(1000), targets.split(1000), strict=True)
    return sum((models(x).argmax(-1) == y).double().sum(1) for x, y in parts) / len(targets)


# Adversarial training.


def hardened(*, seed: int, data: str, eps: float, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Every kind of adversarial training at every setting; clean and robust accuracy of each, (16,)."""
    parts = split(data, seed, rows)
    models = harden(parts, eps=eps, epochs=epochs, seed=seed)
    found: dict[str, torch.Tensor] = {}
    for name, (inputs, targets) in (("validation", parts.validation), ("test", parts.test)):
        inputs, targets = inputs[:TESTED], targets[:TESTED]
        noise = torch.Generator().manual_seed(seed)
        many = [one.expand(len(models.biases[0]), *one.shape) for one in (inputs, targets)]
        survived = withstands(models, many[0], many[1], eps=eps, steps=20, generator=noise)
        found |= {f"{name}_robust": survived.double().mean(1), f"{name}_clean": hits(models, inputs, targets)}
    return found


def robust(*, arm: str, data: str, eps: float, rows: int, epochs: int, hardened: Path) -> dict[str, float]:
    """One kind of adversarial training at its setting of best robust validation accuracy."""
    del data, eps, rows, epochs  # of the artifact
    found, first = load_file(hardened), 0
    for name, settings in HARDENED.items():
        if name == arm:
            break
        first += len(settings)
    of_arm = {name: values[first : first + len(settings)] for name, values in found.items()}
    best = int(of_arm["validation_robust"].argmax())
    return {
        "robust": float(of_arm["test_robust"][best]), "clean": float(of_arm["test_clean"][best]),
        "setting": settings[best],
    }  # fmt: skip


def harden(data: Split, *, eps: float, epochs: int, seed: int) -> Stacked:
    """All kinds and settings trained side by side, in training with attacks of 7 steps."""
    arms = [(arm, setting) for arm, settings in HARDENED.items() for setting in settings]
    sizes = [len(settings) for settings in HARDENED.values()]
    models, noise, steps = start(data, len(arms), seed), torch.Generator().manual_seed(seed), 7

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        natural = models(batch.inputs)
        fixed = natural.detach()
        # The attack starts where each kind has it: anywhere in the ball, or next to x.
        anywhere, near = uniform_start(batch.inputs, eps, noise), near_start(batch.inputs, noise)
        starts = torch.stack([anywhere if arm == "pgd" else near for arm, _ in arms])

        def ascend(points: torch.Tensor) -> torch.Tensor:
            moved, targets = models(points).split(sizes), batch.targets
            values = [
                to_ascend(arm, at_x.flatten(0, 1), at_moved.flatten(0, 1), targets.repeat(len(at_x)))
                for arm, at_x, at_moved in zip(HARDENED, fixed.split(sizes), moved, strict=True)
            ]
            return torch.cat(values)

        worst = pgd(ascend, batch.inputs.expand_as(starts), starts, eps=eps, step=2.5 * eps / steps, steps=steps)
        moved = models(worst)
        of_model = [to_descend(*arm, natural[i], moved[i], batch.targets).mean() for i, arm in enumerate(arms)]
        return torch.nan_to_num(torch.stack(of_model), nan=0.0, posinf=0.0).sum()

    inputs, labels = data.train
    fit(
        models, inputs, labels, objective, epochs=epochs, batch_size=BATCH, drop_last=True, seed=seed,
        optimizer=lambda _: StackedSGD(
            models, torch.full((len(arms),), SHARED_RATE), weight_decay=DECAY, clip_norm=CLIP
        ),
        schedule=cosine(step_count(len(inputs), BATCH, epochs, drop_last=True)),
    )  # fmt: skip
    return models
