"""Digits, Fashion-MNIST and Letter: all taus, rates and noises, or all kinds of adversarial training, side by side.

One small network is copied for each setting (`baselines.stacked`): the same start and the same batches in the same
order, so that arms of a seed are paired.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from baselines.adversarial import near_start, pgd, uniform_start, withstands
from baselines.label_noise import with_label_noise
from baselines.models import mlp
from baselines.small_data import Split, split
from baselines.stacked import Stacked, accuracy, train
from baselines.training import Batch
from suites.comp_sum.contenders import CLIP, DECAY, HARDENED, NOISES, RATES, TAUS, to_ascend, to_descend
from suites.comp_sum.method import comp_sum

WIDTH = 64
"""Of the hidden layer."""
BATCH = 64
SHARED_RATE = 0.1
"""Of all adversarial training."""
TESTED = 1000
"""Images of Fashion-MNIST's test part that are attacked."""


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

    def losses_of(models: nn.Module, batch: Batch) -> torch.Tensor:
        scores = models(batch.inputs).unflatten(0, (shape[0], -1))
        targets = noisy[:, batch.ids].repeat(len(RATES), 1)
        of_model = [
            comp_sum(of.flatten(0, 1), targets.flatten(), tau=tau, reduction="none").view_as(targets).mean(1)
            for of, tau in zip(scores, taus, strict=True)
        ]
        return torch.cat(of_model)

    train(
        models, inputs, labels, losses_of, rates=rates, epochs=epochs, batch_size=BATCH, seed=seed,
        weight_decay=DECAY, clip_norm=CLIP,
    )  # fmt: skip
    return {
        "test": accuracy(models, *data.test).view(*shape[:2], len(noises)),
        "validation": torch.stack(
            [accuracy(models, checked, y).view(shape)[..., place] for place, y in enumerate(noisy_checked)], dim=-1
        ),
    }


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
        found |= {f"{name}_robust": survived.double().mean(1), f"{name}_clean": accuracy(models, inputs, targets)}
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

    def losses_of(models: nn.Module, batch: Batch) -> torch.Tensor:
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
        return torch.stack(of_model)

    train(
        models, *data.train, losses_of, rates=torch.full((len(arms),), SHARED_RATE), epochs=epochs, batch_size=BATCH,
        seed=seed, weight_decay=DECAY, clip_norm=CLIP,
    )  # fmt: skip
    return models
