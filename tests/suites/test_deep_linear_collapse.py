"""The closed forms by hand, what they refuse, and the full protocols on a few images in the real on-disk formats."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from suites.deep_linear_collapse import experiments, method
from suites.deep_linear_collapse.method import Setting

CPU = torch.device("cpu")


def test_one_layer_by_hand() -> None:
    """M = 1: xh_k = 1 - N sqrt(lam_W lam_H / n_k), and zero below n_k = N^2 lam_W lam_H."""
    best = method.optimum(Setting((200, 100, 50, 50), (5e-4,), 5e-4, (12,)))
    expected = [1 - 400 * 5e-4 / math.sqrt(n) for n in (200, 100, 50, 50)]
    torch.testing.assert_close(best.logits.diagonal(), torch.tensor(expected, dtype=torch.float64))
    small = method.optimum(Setting((90, 10), (0.05,), 0.05, (4,)))  # N^2 lam^2 = 25 > 10
    assert float(small.logits[1, 1]) == 0.0
    assert float(small.logits[0, 0]) > 0


def test_threshold_by_hand() -> None:
    assert method.threshold(2) == pytest.approx(1 / 2)  # (M-1)^{(M-1)/M} / M
    assert method.threshold(3) == pytest.approx(2 ** (2 / 3) / 3)


def test_training_reaches_the_closed_form() -> None:
    setting = Setting((8, 4), (1e-3, 2e-3), 1e-3, (4, 3))
    solution = method.minimise(setting, generator=torch.Generator().manual_seed(1000))
    assert float(method.objective(solution.best, setting)) == pytest.approx(method.optimum(setting).value, rel=1e-8)


def test_metrics_by_hand() -> None:
    features, labels = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]), torch.tensor([0, 0, 1, 1])
    assert method.nc1(features, labels, 2) == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(method.class_means(features, labels, 2), torch.eye(2))
    assert method.misalignment(3 * torch.eye(3), torch.eye(3)) == pytest.approx(0.0, abs=1e-6)
    assert method.misalignment(-torch.eye(3), torch.eye(3)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": (3,)},
        {"counts": (3, 0)},
        {"weight_decays": (1e-3, 1e-3)},
        {"feature_decay": 0.0},
        {"loss": "hinge"},
    ],
)
def test_refuses_what_is_no_problem(wrong: dict) -> None:
    good = {"counts": (3, 3), "weight_decays": (1e-3,), "feature_decay": 1e-3, "widths": (4,)}
    with pytest.raises(ValueError, match=r"."):
        Setting(**{**good, **wrong})


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 and EMNIST letters in their formats: a few records of noise, the rest of CIFAR's size in zeros."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    cifar = root / "cifar10" / "cifar-10-batches-bin"
    cifar.mkdir(parents=True)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        with (cifar / name).open("wb") as file:
            file.write(records.tobytes())
            file.truncate(10_000 * 3073)
    emnist = root / "emnist-letters"
    emnist.mkdir()
    images, labels = rng.integers(0, 256, (104, 28, 28), dtype=np.uint8), np.arange(104, dtype=np.uint8) % 26 + 1
    for part in ("train", "test"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            path = emnist / f"emnist-letters-{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(header + values.tobytes()))
    return root


@pytest.fixture(autouse=True)
def _data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folder))


def finite(metrics: dict) -> None:
    assert metrics
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_mlp_on_cifar_from_disk() -> None:
    finite(experiments.cifar10_mlp(arm="no_bias", seed=1000, device=CPU, depth=3, width=32, epochs=12, per_class=12))


def test_mlp_on_emnist_from_disk() -> None:
    finite(experiments.emnist_mlp(arm="bias", seed=1000, device=CPU, depth=1, epochs=12, per_class=3))


def test_imbalanced_cifar_from_disk() -> None:
    finite(
        experiments.cifar10_imbalanced(arm="no_bias", seed=1000, device=CPU, depth=1, width=32, epochs=12, scale=0.03)
    )
