"""Losses by hand, the transforms, and the protocols on a few images; claims are tested by `crossexam run`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from baselines.models import mlp
from suites.correctness_calibration import experiments, method, on_cifar, on_digits
from tests.suites import data_folders

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
ONES, LABELS = torch.ones(2), torch.tensor([0, 0])


def test_losses_by_hand() -> None:
    first, second = 1 / (1 + torch.e**-2), 1 / (1 + torch.e**-1)
    plain = ((1 - first) ** 2 + second**2) / 2
    assert float(method.correctness_aware(LOGITS, ONES, LABELS)) == pytest.approx(plain)
    three = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    balanced = method.correctness_aware(three, torch.ones(3), torch.tensor([0, 0, 0]), balance="batch")
    assert float(balanced) == pytest.approx(plain)


def test_compiled_and_under_autocast() -> None:
    compiled = torch.compile(method.correctness_aware, backend="eager")
    torch.testing.assert_close(compiled(LOGITS, ONES, LABELS), method.correctness_aware(LOGITS, ONES, LABELS))
    with torch.autocast("cpu", torch.bfloat16):
        assert method.correctness_aware(LOGITS.bfloat16(), ONES, LABELS).dtype == torch.float32


def test_the_loss_has_a_second_derivative() -> None:
    t = torch.ones(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: method.correctness_aware(LOGITS, t, LABELS), t)


def test_turned_images() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 8, 8, generator=generator)
    torch.testing.assert_close(on_digits.turned(images, 0.0, generator), images)
    assert not torch.allclose(on_digits.turned(images, 30.0, generator), images, atol=0.05)


def test_copies_are_three_and_drawn_by_seed() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first, again, other = (on_digits.copies(images, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert len(first) == 3 and all(one.shape == images.shape and one.min() >= 0 and one.max() <= 1 for one in first)


def test_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_digits, "STEPS", 3)
    save_file(experiments.calibrated(seed=1000), tmp_path / "calibrated.safetensors")
    found = {
        arm: experiments.digits(arm=arm, test="rotated", calibrated=tmp_path / "calibrated.safetensors")
        for arm in on_digits.ARMS
    }
    assert len({one["accuracy"] for one in found.values()}) == 1
    assert all(0 <= one["ece"] <= 1 and 0.3 < one["auroc"] < 1 for one in found.values())
    assert found["uncalibrated"]["temperature"] == 1


def test_cifar_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 120)))
    monkeypatch.setattr(on_cifar, "resnet18_cifar", lambda classes: mlp([3 * 32 * 32, 16, classes]))
    found = experiments.images(
        arm="ca_balanced", seed=1000, device=torch.device("cpu"), data="cifar10", rows=450, epochs=1
    )
    assert 0 <= found["ece_rotated"] <= 1
    assert set(found) == {"accuracy", *(f"{m}_{p}" for m in ("ece", "auroc") for p in on_cifar.PLACES)}
