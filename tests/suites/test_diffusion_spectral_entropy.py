"""DSE and DSMI by hand, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import reference
from reference.images import CIFAR10_CLASSES, Images
from suites.diffusion_spectral_entropy import contenders, experiments, method, on_cifar, on_fashion, on_small_data
from suites.diffusion_spectral_entropy.on_noise import ENTROPIES, cloud, informations, known_information
from tests.conftest import needed
from tests.suites import data_folders

CPU = torch.device("cpu")


def kept(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    """An artifact's file."""
    path = folder / "artifact.safetensors"
    save_file(tensors, path)
    return path


def test_two_points_by_hand() -> None:
    g = math.exp(-0.5)
    second = (1 - g) / (1 + g)
    p = second / (1 + second)
    expected = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert method.dse(torch.tensor([[0.0], [2.0]]), sigma=2.0) == pytest.approx(expected, abs=1e-12)


def test_entropy_within_says_how_far_off_it_may_be() -> None:
    x = torch.linspace(0, 1, 600)[:, None]
    operator = method.diffusion_operator(x, 0.5)
    few, whole = (method.entropy_within(operator, 2.0, tolerance) for tolerance in (1e-3, 0.0))
    assert few.rank == 32
    assert whole == (whole.entropy, 0.0, 600)
    assert abs(few.entropy - whole.entropy) <= few.error <= 1e-3


def test_features_that_ask_for_gradients_are_measured() -> None:
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert method.dse(x.clone().requires_grad_(), sigma=1.0) == method.dse(x, sigma=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert method.dse(x, sigma=1.0) == method.dse(x.double(), sigma=1.0)


def test_pixels_of_integers_are_vectors_not_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(50, (40, 6), generator=generator, dtype=torch.uint8)
    pixels[20:] += 200
    with pytest.warns(UserWarning, match="not fully connected"):
        found = method.groups(pixels, 2)
    assert found.tolist() in ([0] * 20 + [1] * 20, [1] * 20 + [0] * 20)


def test_information_that_labels_keep() -> None:
    assert known_information(0.0) == pytest.approx(math.log2(10))
    assert known_information(1.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("source", ["uniform", "digits"])
def test_clouds_have_unit_variance(source: str) -> None:
    import numpy as np

    x = cloud(source, 3, np.random.default_rng(0))
    assert x.shape == (500, 100)
    assert float(x.var(0).sum()) == pytest.approx(3.0, rel=0.1)
    assert all(math.isfinite(entropy(x)) for entropy in ENTROPIES.values())


def test_unknown_names() -> None:
    import numpy as np

    with pytest.raises(ValueError, match="must be 'uniform' or 'digits'"):
        cloud("blobs", 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="arm must be one of true"):
        on_small_data.objective_of("wrong", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name must be one of resnet50"):
        on_cifar.backbone("resnet18", 0, 32)


def test_every_estimate_of_information_is_larger_for_true_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    z = 4 * torch.eye(10)[labels] + torch.randn(400, 10, generator=generator)
    random = labels[torch.randperm(400, generator=generator)]
    for name, estimate in informations(0).items():
        assert estimate(z.double(), labels) > estimate(z.double(), random), name


@pytest.mark.parametrize("arm", ["true", "shuffled", "self_supervised"])
def test_training(arm: on_small_data.Arm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_small_data, "CHECKPOINTS", (0, 1, 2))
    artifact = kept(experiments.trained(arm=arm, seed=1000, data="digits"), tmp_path)
    fixed, free = (experiments.training(data="digits", sigma=sigma, trained=artifact) for sigma in (10.0, 0.0))
    assert fixed["norm_growth"] == free["norm_growth"] > 0
    assert fixed["dse_start"] < 1 < free["dse_start"]  # small features look alike at sigma = 10


def test_shuffled_labels_are_a_permutation() -> None:
    labels = torch.arange(100) % 10
    found = on_small_data.shuffled(labels, 3)
    assert found.bincount().tolist() == labels.bincount().tolist()
    assert 0 < int((found == labels).sum()) < 40


def test_foretelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("fashion-mnist")
    monkeypatch.setattr(on_fashion, "EPOCHS", (1,) * 4)
    monkeypatch.setattr(on_fashion, "TRAINED", 128)
    monkeypatch.setattr(on_fashion, "NETWORKS", 4)
    monkeypatch.setattr(on_fashion, "RESAMPLES", 20)
    assert len(set(on_fashion.settings(0))) <= 4
    artifact = kept(experiments.networks(seed=1000), tmp_path)
    for arm in (*on_fashion.MEASURES, "train_accuracy"):
        found = experiments.foretelling(arm=arm, seed=1000, networks=artifact)
        assert -1 <= found["correlation"] <= 1


@pytest.fixture
def coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str) -> Images:
        count = {"train": 300, "test": 60}[split]
        generator = torch.Generator().manual_seed(count)
        pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return Images(pixels, torch.arange(count) % 10, CIFAR10_CLASSES)

    monkeypatch.setattr(reference, "load", load)


@pytest.mark.usefixtures("coloured")
def test_first_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cifar, "ROWS", 40)
    monkeypatch.setattr(on_cifar, "TESTED", 20)
    monkeypatch.setattr(on_cifar, "BATCH", 20)
    artifact = kept(experiments.pictures(), tmp_path)
    small, large = (
        experiments.initialisation(arm=arm, seed=1000, rate=3e-3, pictures=artifact) for arm in ("small", "large")
    )
    assert small["dse_start"] < large["dse_start"]
    found = experiments.twins(seed=1000, pictures=artifact)
    assert found["accuracy"] == small["accuracy"]
    assert found["dse_start"] == small["dse_start"] < found["dse_start_of_twin"]


@pytest.mark.parametrize("name", ["resnet50", "vit_tiny_patch16_224"])
def test_backbones_from_disk(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 20)))
    monkeypatch.setattr(on_cifar, "groups", lambda vectors, clusters, seed: torch.arange(len(vectors)) % 2)
    found = experiments.backbones(
        arm="shuffled", seed=1000, device=CPU, data="cifar10", name=name, size=32, epochs=2, rows=20
    )
    assert 0 <= found["accuracy"] <= 1
    assert all(found[f"{metric}_{end}"] >= -1 for metric in ("dse", "labels", "inputs") for end in ("start", "end"))


def test_untrained_backbones_start_as_the_authors_have_it() -> None:
    pytest.importorskip("timm")
    network = on_cifar.backbone("vit_tiny_patch16_224", 0, 32)
    deviations = [float(one.weight.detach().std()) for one in network.modules() if isinstance(one, torch.nn.Linear)]
    assert max(deviations) < 1.5e-3
    assert contenders.participation_ratio(torch.eye(4)) == pytest.approx(3.0)
