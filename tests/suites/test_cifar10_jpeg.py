"""The siblings of CIFAR-10 experiments, from the first line to the metrics, on a few made-up images."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import reference
import suites.deep_linear_collapse.experiments as collapse
import suites.ldr_loss.experiments as ldr
import suites.robust_mean_teacher.experiments as teacher
import suites.scaling_autoregressive.experiments as scaling
import suites.softmax_ghosts.experiments as ghosts
from baselines.models import mlp, wide_resnet
from reference.images import CIFAR10_CLASSES, Images

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str) -> Images:
        assert name == "cifar10-jpeg"
        count = {"train": 300, "test": 20}[split]
        rng = torch.Generator().manual_seed(count)
        pixels = torch.randint(256, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
        return Images(pixels, torch.arange(count) * 10 // count, CIFAR10_CLASSES)

    monkeypatch.setattr(reference, "load", load)
    for suite in ("softmax_ghosts", "ldr_loss"):  # the suites' own tests have the ResNet
        monkeypatch.setattr(f"suites.{suite}.on_cifar.resnet18_cifar", lambda classes: mlp([3 * 32 * 32, classes]))


def kept(tensors: dict[str, torch.Tensor], folder: Path, name: str) -> Path:
    """An artifact's file."""
    path = folder / f"{name}.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("arm", ["r_1", "lr_0.1"])
def test_softmax_ghosts(arm: str) -> None:
    found = ghosts.resnet_cifar10_jpeg(arm=arm, seed=1000, device=CPU, epochs=1, limit=8)
    assert 0 <= found["accuracy"] <= 100
    assert found["max_r"] > 0


def test_ldr_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suites.ldr_loss.on_cifar.QUICK_RATES", (1e-2,))
    monkeypatch.setattr("suites.ldr_loss.on_cifar.QUICK_DECAYS", (5e-3, 0.0))
    options = {"arm": "aldr_softplus", "device": CPU, "noise": "uniform-0.6", "epochs": 1, "rows": 20}
    setting = ldr.tuned_cifar10(**options)
    assert len(setting["validation"]) == 2
    found = ldr.cifar10_jpeg(seed=1000, tuned_cifar10=kept(setting, tmp_path, "setting"), **options)
    assert found["learning_rate"] == 1e-2
    assert found["top1"] <= found["top5"]


@pytest.mark.parametrize("arm", ["rmt_replay", "mt_sce", "source"])
def test_robust_mean_teacher(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suites.robust_mean_teacher.on_corruptions.wide_resnet", lambda *_: wide_resnet(10, 1))
    source = teacher.jpeg_source(seed=1000, device=CPU, epochs=2, train=256)
    stream = teacher.jpeg_stream(seed=1000, test=6)
    assert stream["images"].shape == (8, 6, 3, 32, 32)
    found = teacher.cifar10_jpeg_corrupted(
        arm=arm, seed=1000, device=CPU, epochs=2, train=250, test=6,
        jpeg_source=kept(source, tmp_path, "source"), jpeg_stream=kept(stream, tmp_path, "stream"),
    )  # fmt: skip
    assert 0 <= found["error"] <= 100


def test_deep_linear_collapse() -> None:
    found = collapse.cifar10_jpeg_subset(arm="bias", seed=1000, device=CPU, depth=3, width=16, epochs=2, per_class=3)
    assert math.isfinite(found["nc1_fall"])


def test_scaling_autoregressive() -> None:
    found = scaling.cifar10_jpeg(seed=1000, device=CPU, depths=2, epochs=1, limit=256)
    assert len(found["nats_per_image"]) == 2
