"""Distillation: teachers as artifacts of the shared ground, and students that learn from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from baselines.digits import stratified
from baselines.distillation import (
    DIGITS_DEPTH,
    cifar_teacher,
    digits_teacher,
    distilled,
    load_teacher,
    normalised,
    teacher_logits,
)
from baselines.losses import knowledge_distillation
from baselines.models import mlp, resnet_cifar
from baselines.training import Batch, fit
from tests.reference.test_text import root  # noqa: F401  (a fixture)

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As trials have it: several threads on so small images wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    path = tmp_path_factory.mktemp("artifacts") / "teacher.safetensors"
    save_file(digits_teacher(seed=0, device=CPU), path)
    return load_teacher(resnet_cifar(DIGITS_DEPTH, in_channels=1), path)


def test_the_teacher_is_good_and_frozen(teacher: torch.nn.Module) -> None:
    images, labels = stratified(0)[1]
    logits = teacher_logits(teacher, images)
    assert float((logits.argmax(1) == labels).double().mean()) > 0.96
    assert not logits.requires_grad and not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.training


def test_a_student_without_labels_learns_from_logits(teacher: torch.nn.Module) -> None:
    """With all weight on the teacher the labels do not matter: a student of wrong labels is right."""
    (images, labels), (test_images, test_labels) = stratified(0)
    torch.manual_seed(0)
    student = torch.nn.Sequential(torch.nn.Flatten(), mlp([64, 64, 10]))
    known = distilled(teacher_logits(teacher, images), temperature=4.0, weight=1.0)
    wrong = (labels + 1) % 10
    options = {"epochs": 20, "batch_size": 64, "drop_last": False, "seed": 0}
    fit(student, images, wrong, known, optimizer=lambda p: torch.optim.Adam(p, lr=3e-3), **options)
    accuracy = float((student(test_images).argmax(1) == test_labels).double().mean())
    assert accuracy > 0.93


def test_the_objective_takes_logits_of_the_batch_or_the_network(teacher: torch.nn.Module) -> None:
    images, labels = (part[:20] for part in stratified(0)[0])
    student = torch.nn.Sequential(torch.nn.Flatten(), mlp([64, 10]))
    ids = torch.tensor([7, 3, 11])
    batch = Batch(images[ids], labels[ids], ids)
    options = {"temperature": 2.0, "weight": 0.5}
    by_logits = distilled(teacher_logits(teacher, images), **options)(student, batch)
    torch.testing.assert_close(by_logits, distilled(teacher, **options)(student, batch))
    expected = knowledge_distillation(student(images[ids]), labels[ids], teacher_logits=teacher(images[ids]), **options)
    torch.testing.assert_close(by_logits, expected)


def test_images_are_normalised_by_the_training_part() -> None:
    images = torch.randint(256, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = normalised(images, images)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3)), torch.ones(3))
    assert torch.equal(normalised(images[:2], images), found[:2])


def test_a_teacher_of_cifar_from_its_files(root: Path) -> None:  # noqa: F811
    """CIFAR-100's binary records: coarse label, fine label, 3,072 bytes."""
    base = root / "cifar100" / "cifar-100-binary"
    base.mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (20, 3074), dtype=np.uint8)
    records[:, 1] = np.arange(20)
    for part in ("train", "test"):
        records.tofile(base / f"{part}.bin")
    (base / "fine_label_names.txt").write_text("".join(f"class{number}\n" for number in range(100)))
    (base / "coarse_label_names.txt").write_text("")
    options = {"seed": 0, "device": CPU, "data": "cifar100", "depth": 8, "epochs": 1}
    first, again = cifar_teacher(**options), cifar_teacher(**options)
    assert first.keys() == resnet_cifar(8, 100).state_dict().keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["fc.weight"].shape == (100, 64) and F.softmax(first["fc.bias"], 0).isfinite().all()
