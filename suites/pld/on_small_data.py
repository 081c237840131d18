"""Digits and Letter: a small network taught by a larger one, all losses, settings and rates side by side.

One small network is copied for each setting (`baselines.stacked`): the same start and the same batches in the same
order, so that arms of a seed are paired.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from baselines.distillation import teacher_logits
from baselines.losses import kl_divergence
from baselines.models import mlp
from baselines.small_data import LETTER_TRAINING, Split, split
from baselines.stacked import Stacked, train
from baselines.training import Batch, cosine, fit, step_count, supervised
from suites.pld.contenders import RATES, RESTRICTED, SETTINGS, loss
from suites.pld.method import teacher_ranking

BATCH = 64
TEACHER, STUDENT = 256, 8
"""Units of the one hidden layer."""
CLIP, DECAY = 5.0, 1e-4
"""Bound of the gradient's norm, and weight decay, of all students."""


def students(*, seed: int, data: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Accuracy on both other parts, and KL(teacher || student) on the test part, (arms, settings, rates)."""
    parts = split(data, seed, LETTER_TRAINING)
    teacher = taught(parts, seed)
    models = study(parts, teacher_logits(teacher, parts.train[0][:rows]), epochs=epochs, seed=seed)
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
    """The teacher d-256-K: 20 epochs of Adam at 0.002, cosine, on the whole training part."""
    inputs, labels = parts.train
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
    """All students, d-8-K, in the order of arms, settings and rates, on the first rows, as many as are `known`."""
    inputs, labels = (part[: len(known)] for part in parts.train)
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

    def losses_of(models: nn.Module, batch: Batch) -> torch.Tensor:
        logits = models(batch.inputs).unflatten(0, (-1, len(RATES)))
        teacher, order, y = known[batch.ids], ranking[batch.ids], batch.targets
        values, count = [], len(RATES)
        for one, (arm, setting) in zip(logits, [(arm, s) for arm, of in SETTINGS.items() for s in of], strict=True):
            if arm == "dist":  # correlations over the batch of one model
                values += [loss(arm, setting, of_model, y, teacher, order) for of_model in one]
            else:
                many = one.flatten(0, 1), y.repeat(count), teacher.repeat(count, 1), order.repeat(count, 1)
                values.append(count * loss(arm, setting, *many))
        return torch.stack(values)

    train(
        models, inputs, labels, losses_of, rates=rates, epochs=epochs, batch_size=BATCH, seed=seed,
        weight_decay=DECAY, clip_norm=CLIP,
    )  # fmt: skip
    return models
