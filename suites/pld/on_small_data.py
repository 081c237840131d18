"""Digits and Letter: a small network taught by a larger one, all losses, settings and rates side by side.

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
from baselines.digits import stratified
from baselines.distillation import teacher_logits
from baselines.losses import kl_divergence
from baselines.models import mlp
from baselines.stacked import Stacked, StackedSGD
from baselines.training import Batch, cosine, fit, step_count, supervised
from suites.pld.contenders import RATES, RESTRICTED, SETTINGS, loss
from suites.pld.method import teacher_ranking

BATCH = 64
TEACHER, STUDENT = 256, 8
"""Units of the one hidden layer."""
CLIP, DECAY = 5.0, 1e-4
"""Bound of the gradient's norm, and weight decay, of all students."""
Part = tuple[torch.Tensor, torch.Tensor]


class Split(NamedTuple):
    """Float32 inputs (n, d) and int64 labels (n,): the teacher's part, of which students get `rows`, and two."""

    teacher: Part
    validation: Part
    test: Part
    rows: int
    classes: int


def split(data: str, seed: int, rows: int) -> Split:
    """Drawn by seed. Digits: 1,150 for the teacher, 287 to validate, 360 to test; Letter: 12,000, 3,000 and 5,000."""
    if data == "digits":
        (images, labels), (tested, test_labels) = stratified(seed)
        whole, test, classes = (images.flatten(1), labels), (tested.flatten(1), test_labels), 10
    elif data == "letter":
        table = reference.load("letter")
        features = torch.from_numpy(table.features.to_numpy(np.float32)) / 7.5 - 1  # from 0..15
        labels, drawn = (
            torch.from_numpy(table.target),
            torch.from_numpy(np.random.default_rng(seed).permutation(15_000)),
        )
        whole, test, classes = (features[drawn], labels[drawn]), (features[15_000:], labels[15_000:]), 26
    else:
        raise ValueError(f"data must be 'digits' or 'letter', got {data!r}")
    held = len(whole[1]) // 5
    return Split((whole[0][held:], whole[1][held:]), (whole[0][:held], whole[1][:held]), test, rows, classes)


def students(*, seed: int, data: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Accuracy on both other parts, and KL(teacher || student) on the test part, (arms, settings, rates)."""
    parts = split(data, seed, rows)
    teacher = taught(parts, seed)
    models = study(parts, teacher_logits(teacher, parts.teacher[0][:rows]), epochs=epochs, seed=seed)
    shape = (len(SETTINGS), 3, len(RATES))
    known = teacher_logits(teacher, parts.test[0])
    with torch.no_grad():
        checked, tested = (F.log_softmax(models(inputs), dim=-1) for inputs, _ in (parts.validation, parts.test))
    hits = {
        name: (found.argmax(-1) == part[1]).double().mean(1).view(shape)
        for name, found, part in (("validation", checked, parts.validation), ("test", tested, parts.test))
    }
    return hits | {
        "kl": kl_divergence(F.log_softmax(known, dim=1), tested).double().mean(1).view(shape),
        "teacher": (known.argmax(1) == parts.test[1]).double().mean()[None],
    }


def distilled(*, arm: str, data: str, rows: int, epochs: int, students: Path) -> dict[str, float]:
    """One loss at the setting and rate that are best on the validation part."""
    del data, rows, epochs  # of the artifact
    return outcome(load_file(students), arm)


def outcome(found: dict[str, torch.Tensor], arm: str) -> dict[str, float]:
    """Test accuracy and divergence at the best validation accuracy, of equal ones the first."""
    name, only = RESTRICTED.get(arm, (arm, None))
    of_arm = {key: found[key][[*SETTINGS].index(name)] for key in ("validation", "test", "kl")}
    if only is not None:
        of_arm = {key: values[only : only + 1] for key, values in of_arm.items()}
    setting, rate = divmod(int(of_arm["validation"].flatten().argmax()), len(RATES))
    return {
        "accuracy": float(of_arm["test"][setting, rate]), "kl": float(of_arm["kl"][setting, rate]),
        "setting": float(setting if only is None else only), "rate": RATES[rate],
        "teacher_accuracy": float(found["teacher"]),
    }  # fmt: skip


def taught(parts: Split, seed: int) -> nn.Module:
    """The teacher d-256-K: 20 epochs of Adam at 0.002, cosine, on its part."""
    inputs, labels = parts.teacher
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = mlp([inputs.shape[1], TEACHER, parts.classes])
    fit(
        network, inputs, labels, supervised(F.cross_entropy), epochs=20, batch_size=BATCH, drop_last=True, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
        schedule=cosine(step_count(len(labels), BATCH, 20, drop_last=True)),
    )  # fmt: skip
    return network.eval()


def study(parts: Split, known: torch.Tensor, *, epochs: int, seed: int) -> Stacked:
    """All students, d-8-K, in the order of arms, settings and rates, on the first rows of the teacher's part."""
    inputs, labels = (part[: parts.rows] for part in parts.teacher)
    ranking = teacher_ranking(known, labels)
    rates = torch.tensor(
        [
            rate * (setting[0] if "list_mle" in arm else 1)
            for arm, settings in SETTINGS.items() for setting in settings for rate in RATES
        ]
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = Stacked(mlp([inputs.shape[1], STUDENT, parts.classes]), len(rates))

    def objective(models: nn.Module, batch: Batch) -> torch.Tensor:
        logits = models(batch.inputs).unflatten(0, (-1, len(RATES)))
        teacher, order, y = known[batch.ids], ranking[batch.ids], batch.targets
        values, count = [], len(RATES)
        for one, (arm, setting) in zip(logits, [(arm, s) for arm, of in SETTINGS.items() for s in of], strict=True):
            if arm == "dist":  # correlations over the batch of one model
                values += [loss(arm, setting, of_model, y, teacher, order) for of_model in one]
            else:
                many = one.flatten(0, 1), y.repeat(count), teacher.repeat(count, 1), order.repeat(count, 1)
                values.append(count * loss(arm, setting, *many))
        # A model that has diverged is of no use but must not stop the others.
        return torch.nan_to_num(torch.stack(values), nan=0.0, posinf=0.0).double().sum()

    fit(
        models, inputs, labels, objective, epochs=epochs, batch_size=BATCH, drop_last=True, seed=seed,
        optimizer=lambda _: StackedSGD(models, rates, weight_decay=DECAY, clip_norm=CLIP),
        schedule=cosine(step_count(len(labels), BATCH, epochs, drop_last=True)),
    )  # fmt: skip
    return models
