"""The loss by hand, what it refuses, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from suites.harmonic_loss import experiments, method, on_arithmetic, on_images, on_wikitext
from suites.harmonic_loss.contenders import SETTINGS, losses, top2
from suites.harmonic_loss.method import METRICS, HarmonicHead, harmonic_logits, harmonic_loss
from tests.conftest import needed
from tests.suites import data_folders

FEATURES = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
CENTRES = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-1.0, 3.0]], dtype=torch.float64)  # at 2, 4 and 5
TARGET = torch.tensor([1])


def test_by_hand() -> None:
    powers = torch.tensor([2.0, 4.0, 5.0], dtype=torch.float64) ** -3
    found = harmonic_loss(FEATURES, CENTRES, TARGET, metric="euclidean", exponent=3.0, floor=0.0)
    assert float(found) == pytest.approx(-math.log(powers[1] / powers.sum()))
    assert METRICS["manhattan"](FEATURES, CENTRES).tolist() == [[2.0, 4.0, 7.0]]
    assert METRICS["cosine"](FEATURES, CENTRES)[0, :2].tolist() == pytest.approx([0.0, 0.4])


def test_gradients_of_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(rows, 4, generator=generator, dtype=torch.float64).requires_grad_() for rows in (5, 3))
    for metric in ("euclidean", "cosine"):

        def loss(x: torch.Tensor, w: torch.Tensor, metric: str = metric) -> torch.Tensor:
            return harmonic_loss(x, w, torch.tensor([0, 1, 2, 0, 1]), metric=metric, exponent=3.0)

        assert torch.autograd.gradcheck(loss, (x, w))
        assert torch.autograd.gradgradcheck(loss, (x, w))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "bray_curtis", "canberra"])
def test_layout_autocast_and_compilation_change_nothing(metric: str) -> None:
    wide, centres, y = torch.randn(4, 5).T, torch.randn(3, 4), torch.tensor([0, 1, 2, 0, 1])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return harmonic_loss(x, centres, y, metric=metric)

    expected = loss(wide.contiguous())
    torch.testing.assert_close(loss(wide), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(wide)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(wide), expected)


def test_ignored_targets_and_nothing_at_all() -> None:
    ignored = torch.full((1,), -100)
    assert math.isnan(harmonic_loss(FEATURES, CENTRES, ignored))
    assert float(harmonic_loss(FEATURES, CENTRES, ignored, reduction="sum")) == 0
    assert harmonic_logits(FEATURES[:0], CENTRES).shape == (0, 3)
    assert float(harmonic_loss(FEATURES, CENTRES[:1], torch.tensor([0]))) == 0


def test_no_features_are_infinitely_far() -> None:
    found = harmonic_loss(torch.tensor([[math.inf, 0.0]]), CENTRES.float(), TARGET, metric="manhattan")
    assert math.isnan(found)


def test_head_replaces_linear() -> None:
    torch.manual_seed(0)
    head = HarmonicHead(6, 3, metric="mahalanobis", exponent=4.0)
    assert {name for name, _ in head.named_parameters()} == {"weight", "root"}
    F.cross_entropy(head(torch.randn(2, 5, 6)).flatten(0, 1), torch.arange(10) % 3).backward()
    assert all(one.grad is not None and bool(one.grad.isfinite().all()) for one in head.parameters())


@pytest.mark.parametrize(
    "call",
    [
        lambda: harmonic_loss(FEATURES, CENTRES, TARGET, exponent=0.0),
        lambda: harmonic_loss(FEATURES, CENTRES, TARGET, metric="hyperbolic"),
        lambda: harmonic_loss(FEATURES, CENTRES, TARGET + 2),
        lambda: harmonic_loss(FEATURES, CENTRES[:, :1], TARGET),
        lambda: method.minkowski(FEATURES, CENTRES, p=0.5),
    ],
)
def test_refuses_what_is_no_problem(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


# The comparisons.


def test_label_smoothing_is_pytorchs() -> None:
    found, y = torch.randn(2, 4, 3), torch.tensor([0, 1, 2, 0])
    expected = [F.cross_entropy(found[0], y, label_smoothing=0.1), F.cross_entropy(found[1], y)]
    torch.testing.assert_close(losses(["ce", "cosine"], [0.1, 3.0], found, y), torch.stack(expected))


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_heads(data: str, tmp_path: Path) -> None:
    needed(data)
    sizes = {"data": data, "rows": 130, "epochs": 1}
    save_file(experiments.heads(seed=1000, **sizes), tmp_path / "heads.safetensors")
    for arm in SETTINGS:
        found = experiments.classified(arm=arm, heads=tmp_path / "heads.safetensors", **sizes)
        assert 0 <= found["accuracy"] <= 1
        assert 0 < found["feature_top2"] <= 1


def test_shares_of_variance() -> None:
    points = torch.tensor([[[4.0, 0, 0, 7], [-4, 0, 0, 7], [0, 2, 0, 7], [0, -2, 0, 7], [0, 0, 1, 7], [0, 0, -1, 7]]])
    assert float(top2(points)) == pytest.approx(20 / 21)
    assert float(top2(points, standardised=True)) == pytest.approx(2 / 3)


def test_grokking(tmp_path: Path) -> None:
    save_file(experiments.adders(seed=1000, prime=7, epochs=5), tmp_path / "adders.safetensors")
    for arm in on_arithmetic.SETTINGS:
        found = experiments.grokking(arm=arm, prime=7, epochs=5, adders=tmp_path / "adders.safetensors")
        assert found["epochs_to_test"] in (5, 10)


@pytest.mark.parametrize("arm", ["ce", "normface", "cosine"])
def test_language_model(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("wikitext-2-heldout")
    monkeypatch.setattr(on_wikitext, "SCORED", 500)
    found = experiments.language_model(arm=arm, seed=1000, steps=20)
    assert 0 < found["bits_per_byte"] < 9
    assert found["gradient_variation"] > 0


@pytest.mark.parametrize(("backbone", "arm"), [("mlp", "ce"), ("cnn", "bray_curtis")])
def test_vision_from_disk(backbone: str, arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 20)))
    found = experiments.vision(
        arm=arm, seed=1000, device=torch.device("cpu"), data="cifar10", backbone=backbone, rows=40, epochs=1
    )
    assert 0 <= found["accuracy"] <= 1
    assert 0 < found["feature_top2"] <= 1


def test_deep_vision_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 20)))
    monkeypatch.setitem(on_images.BODIES, "resnet50", on_images.BODIES["cnn"])
    found = experiments.deep_vision(
        arm="cosine", seed=1000, device=torch.device("cpu"), backbone="resnet50", rows=40, epochs=2
    )
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize(("backbone", "width"), [("resnet50", 2048), ("pvt", 256)])
def test_deep_bodies(backbone: str, width: int) -> None:
    if backbone == "pvt":
        pytest.importorskip("timm")
    body, features = on_images.BODIES[backbone](3, 32)
    assert features == width
    assert body.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, width)
