"""The closed forms by hand, what they refuse, and the full protocols on a few images in the real on-disk formats."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from suites.deep_linear_collapse import exact, experiments, method, networks
from suites.deep_linear_collapse.lbfgs import descend
from suites.deep_linear_collapse.method import Setting
from tests.suites import data_folders

CPU = torch.device("cpu")


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
    """CIFAR-10 and EMNIST letters in their formats, with a few pictures of noise."""
    root = data_folders.cifar10(tmp_path_factory.mktemp("data"), 40)
    emnist = root / "emnist-letters"
    emnist.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (104, 28, 28), dtype=np.uint8)
    labels = np.arange(104, dtype=np.uint8) % 26 + 1
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
    finite(experiments.cifar10_imbalanced(seed=1000, device=CPU, depth=1, width=32, epochs=12, scale=0.03))


def test_subset_of_cifar_from_disk() -> None:
    finite(experiments.cifar10_subset(arm="bias", seed=1000, device=CPU, depth=1, width=16, epochs=2, per_class=4))


@pytest.mark.parametrize(
    ("architecture", "arm"), [("resnet18", "weight_decay"), ("vgg16", "weight_decay"), ("vgg16", "separate_decay")]
)
def test_convnets_on_cifar_from_disk(architecture: str, arm: str) -> None:
    finite(
        experiments.cifar10_convnet(
            arm=arm, seed=1000, device=CPU, architecture=architecture, depth=3, epochs=1, per_class=2
        )
    )


@pytest.mark.parametrize("arm", ["no_bias", "bias", "weight_decay", "cross_entropy"])
def test_digits(arm: str) -> None:
    metrics = experiments.digits_balanced(arm=arm, seed=1000, depth=3, epochs=12)
    finite(metrics)
    assert ("value_excess" in metrics) == (arm in ("no_bias", "bias"))


def test_arms_of_a_seed_start_alike() -> None:
    networks_of_a_seed = [networks.digits_network(3, depth, bias=bias) for depth, bias in ((1, False), (3, True))]
    first, second = (network.backbone.state_dict() for network in networks_of_a_seed)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_imbalanced_digits() -> None:
    finite(experiments.digits_imbalanced(seed=1000, depth=1, epochs=3))


@pytest.mark.parametrize("case", ["balanced", "imbalanced", "bias"])
def test_official_sgd(case: str) -> None:
    finite(experiments.sgd_optimum(seed=1000, device=CPU, case=case, depth=3, width=8, iterations=20))
    finite(experiments.sgd_optimum_wide(seed=1000, device=CPU, case=case, depth=1, width=16, iterations=3))


def test_class_sizes_are_taken_and_refused() -> None:
    images, labels = torch.arange(8.0), torch.tensor([0, 1] * 4)
    assert networks.take(images, labels, [3, 1], seed=0)[1].tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="class 1 has 4 images, not 5"):
        networks.take(images, labels, [1, 5], seed=0)


def test_problems_of_a_batch_are_solved_as_if_alone() -> None:
    """Rosenbrock's valley, from five starts at once and from each by itself."""

    def evaluate(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = points.T
        slopes = torch.stack([2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)], 1)
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2, slopes

    starts = 2 * torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together = descend(evaluate, starts, tolerance=1e-10)
    torch.testing.assert_close(together, torch.ones_like(together))
    for start, reached in zip(starts, together, strict=True):
        torch.testing.assert_close(descend(evaluate, start[None], tolerance=1e-10)[0], reached, rtol=0, atol=1e-10)


def test_roots_by_hand() -> None:
    """M = 2, x = 2: 2 x / (x^2 + 1)^2 = 4/25. M = 1, x = 1: 1 / (x + 1)^2 = 1/4. Above the top there is none."""

    def root(pressure: float, depth: int) -> float:
        return float(method.largest_root(torch.tensor(pressure, dtype=torch.float64), depth))

    assert root(4 / 25, 2) == pytest.approx(2)
    assert root(1 / 4, 1) == pytest.approx(1)
    assert root(0.7, 2) == 0  # the top is 2 / sqrt(3) * 9 / 16 = 0.6495
    assert root(0.6, 2) > 0
    assert float(method.root(torch.tensor(0.6, dtype=torch.float64), 2)) == 0  # above the threshold, 0.5


def test_balanced_factors_rebuild_their_logits() -> None:
    setting = Setting((3, 3, 3, 3), (1e-3, 2e-3, 5e-4), 3e-3, (5, 7, 4), loss="ce")
    logits = 2.5 * method.simplex_etf(4)
    factors = method.balanced_factors(logits, setting)
    torch.testing.assert_close(factors.products[-1] @ factors.features, logits[:, setting.labels])
    assert exact.balance_gap(factors, setting) < 1e-12
    with pytest.raises(ValueError, match="rank 3"):
        method.balanced_factors(logits, Setting((3,) * 4, (1e-3,), 1e-3, (2,)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting((3, 2), (1e-3,), 1e-3, (4,), bias=True), "equal size"),
        (Setting((3, 2), (1e-3,), 1e-3, (4,), loss="ce"), "equal size"),
        (Setting((3, 3), (1e-3, 1e-3), 1e-3, (4, 4), loss="ce"), "M = 1"),
    ],
)
def test_says_where_no_closed_form_is_known(setting: Setting, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method.optimum(setting)


def test_cross_polytope() -> None:
    expected = [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0], [-1.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]]
    assert method.cross_polytope(4).tolist() == expected
    with pytest.raises(ValueError, match="even"):
        method.cross_polytope_value(torch.tensor(1.0), Setting((2,) * 3, (1e-3,), 1e-3, (4,), loss="ce"))


def test_refuses_a_direction_of_nothing_and_a_head_of_no_layers() -> None:
    with pytest.raises(ValueError, match="collapsed"):
        method.misalignment(torch.zeros(2, 2), torch.eye(2))
    with pytest.raises(ValueError, match="at least 1"):
        method.DeepLinearHead(4, 3, 0)
    with pytest.raises(ValueError, match="positive"):
        method.largest_root(torch.tensor([0.0]), 2)


def test_collapse_of_an_empty_class_and_of_means_that_coincide() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 3
    with pytest.raises(ValueError, match=r"without samples: \[3\]"):
        method.nc1(features, labels, 4)
    coinciding = 1e3 + features - method.class_means(features, labels, 3)[:, labels]
    assert method.nc1(coinciding, labels, 3) == float("inf")  # all variation is within: no collapse at all
    assert np.isnan(method.nc1(torch.ones(5, 12, dtype=torch.float64), labels, 3))  # nothing varies
    assert method.nc1(coinciding + 1e-3 * labels, labels, 3) > 1e3  # a little between is not nothing
