"""CIFAR-100 on a GPU: ResNet-56 teaches ResNet-20, as the paper has it but for the teacher's recipe and the epochs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.distillation import load_teacher, normalised
from baselines.losses import kl_divergence
from baselines.models import resnet_cifar
from baselines.training import Batch, cosine, crop_and_flip, fit, step_count
from suites.pld.contenders import RESTRICTED, SETTINGS, loss
from suites.pld.method import teacher_ranking

STUDENT, BATCH = 20, 128
"""Layers of the student; examples of a batch."""
PRINTED = {"ce": 0, "kd": 0, "dist": 1, "dkd": 1, "list_mle": 1}
"""Which of its settings each loss gets: those that the paper prints, where it does."""


def cifar_students(
    *, arm: str, seed: int, device: torch.device, data: str, depth: int, epochs: int, teacher: Path, rows: int = 50_000
) -> dict[str, float]:
    """One loss at its printed setting: AdamW at 0.001, weight decay 0.5, cosine; teacher and student see one crop.

    `rows` takes so many images of each part at most.
    """
    train, test = (reference.load(data, part) for part in ("train", "test"))
    known_images = train.images[:rows]
    images, labels = normalised(known_images, known_images).to(device), train.labels[:rows].to(device)
    tested, answers = normalised(test.images[:rows], known_images).to(device), test.labels[:rows].to(device)
    known = load_teacher(resnet_cifar(depth, len(train.classes)), teacher).to(device)
    name, place = RESTRICTED.get(arm, (arm, PRINTED.get(arm, 0)))
    batch_size = min(BATCH, len(labels))

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            teaching = known(batch.inputs).float()
        ranking = teacher_ranking(teaching, batch.targets)
        return loss(name, SETTINGS[name][place], model(batch.inputs).float(), batch.targets, teaching, ranking)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = resnet_cifar(STUDENT, len(train.classes)).to(device)
    fit(
        student, images, labels, objective, epochs=epochs, batch_size=batch_size, drop_last=True, seed=seed,
        augment=crop_and_flip(), channels_last=True, precision=torch.bfloat16,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.5),
        schedule=cosine(step_count(len(labels), batch_size, epochs, drop_last=True)),
    )  # fmt: skip
    student.eval()
    with torch.no_grad():
        pairs = [(student(part).float(), known(part).float()) for part in tested.split(500)]
    found, right = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    return {
        "accuracy": float((found.argmax(1) == answers).double().mean()),
        "teacher_accuracy": float((right.argmax(1) == answers).double().mean()),
        "kl": float(kl_divergence(F.log_softmax(right, dim=1), F.log_softmax(found, dim=1)).mean()),
    }
