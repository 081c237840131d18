"""The loss by hand, what it refuses, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from suites.orthogonal_projection import experiments, on_cifar, on_small_data
from suites.orthogonal_projection.contenders import CLEAN, NOISY, RATES, SETTINGS, SIGNED, loss
from suites.orthogonal_projection.exact import VARIANTS, by_gram
from suites.orthogonal_projection.method import ROWS, cosines, cross_entropy_with_projection, orthogonal_projection
from tests.conftest import needed
from tests.suites import data_folders

HALF = 1 / math.sqrt(2)
FEATURES = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0]], dtype=torch.float64)
LABELS = torch.tensor([5, 5, 0])


@pytest.mark.parametrize(
    ("variant", "between"), [("abs_of_mean", HALF / 2), ("mean_of_abs", HALF / 2), ("signed", -HALF / 2)]
)
def test_by_hand(variant, between: float) -> None:  # cosines: 1/sqrt(2) within, 0 and -1/sqrt(2) between
    found = orthogonal_projection(FEATURES, LABELS, gamma=2.0, variant=variant)
    assert float(found) == pytest.approx(1 - HALF + 2 * between)


def test_whole_loss_by_hand() -> None:
    logits = torch.zeros(3, 6, dtype=torch.float64)
    found = cross_entropy_with_projection(logits, FEATURES, LABELS, weight=0.5, gamma=2.0)
    assert float(found) == pytest.approx(math.log(6) + 0.5 * (1 - HALF + HALF))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [7, ROWS + 3])
def test_gradients_of_any_order(variant, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    way, free = torch.randn(2, rows, 3, generator=generator, dtype=torch.float64)
    labels, free = torch.arange(rows) % 3, free.requires_grad_()

    def slopes(loss_of) -> list[torch.Tensor]:
        (first,) = torch.autograd.grad(loss_of(free, labels, gamma=0.7, variant=variant), free, create_graph=True)
        return [first, *torch.autograd.grad((first * way).sum(), free)]

    for found, expected in zip(slopes(orthogonal_projection), slopes(by_gram), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [7, ROWS + 3])
def test_compilation_changes_nothing(variant, rows: int) -> None:
    labels = torch.arange(rows) % 3
    compiled = torch.compile(
        lambda x: orthogonal_projection(x, labels, variant=variant), backend="aot_eager", fullgraph=True
    )
    free = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found, expected = compiled(free), orthogonal_projection(free, labels, variant=variant)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(one, free)[0] for one in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_batches_of_batches() -> None:
    features = torch.randn(2, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(48).view(2, 3, 8) % 5
    found = orthogonal_projection(features, labels)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found[1, 2], orthogonal_projection(features[1, 2], labels[1, 2]))
    assert orthogonal_projection(features[:0], labels[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: orthogonal_projection(FEATURES, LABELS - 1), "leave out rows"),
        (lambda: orthogonal_projection(FEATURES, LABELS.double()), "int64"),
        (lambda: orthogonal_projection(FEATURES, LABELS, gamma=-1.0), "gamma"),
        (lambda: orthogonal_projection(FEATURES, LABELS, variant="mean"), "variant"),  # type: ignore[arg-type]
        (lambda: cosines(FEATURES[0], LABELS[0]), "features"),
        (lambda: cross_entropy_with_projection(FEATURES, FEATURES, LABELS), "targets"),
    ],
)
def test_refuses_what_is_no_problem(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


# The comparisons.


def test_losses_of_several_networks() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, features = torch.randn(2, 9, 4, generator=generator), torch.randn(2, 9, 3, generator=generator)
    targets = torch.arange(9) % 4
    plain = torch.stack([F.cross_entropy(one, targets) for one in logits])
    torch.testing.assert_close(loss("ce", (1.0,), logits, features, targets), plain)
    projected = torch.stack([orthogonal_projection(one, targets, gamma=2.0) for one in features])
    torch.testing.assert_close(loss("opl", (0.1, 2.0), logits, features, targets), plain + 0.1 * projected)
    for arm in {*CLEAN, *NOISY}:
        assert loss(arm, SETTINGS[arm][0], logits, features, targets).shape == (2,)


def test_settings_are_chosen_on_validation_data() -> None:
    shape = (len(CLEAN), 3, len(RATES))
    found = {name: torch.zeros(shape) for name in ("validation", "accuracy")}
    place = CLEAN.index("opl")
    found["validation"][place, 1, 2], found["validation"][place, 0, 3] = 0.9, 0.8
    found["accuracy"][place, 1, 2], found["accuracy"][place, 0, 3] = 0.5, 0.7
    assert on_small_data.chosen(found, CLEAN, "opl")["accuracy"] == pytest.approx(0.5)
    assert on_small_data.chosen(found, CLEAN, "opl_printed")["accuracy"] == pytest.approx(0.7)


def test_few_shot_of_classes_on_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.eye(5).repeat(20, 1)
    monkeypatch.setattr(on_small_data, "features_of", lambda _, x: torch.stack([x, torch.ones_like(x)]))
    found = on_small_data.few_shot(None, (inputs, torch.arange(5).repeat(20)), 1, seed=0)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx([1.0, 0.2])


@pytest.mark.parametrize(("noise", "arm"), [(0.0, "supcon"), (0.4, "gce_opl")])
def test_labels(noise: float, arm: str, tmp_path: Path) -> None:
    sizes = {"data": "digits", "noise": noise, "rows": 0, "epochs": 1}
    save_file(experiments.studied(seed=1000, **sizes), tmp_path / "studied.safetensors")
    judge = experiments.on_noisy_labels if noise else experiments.on_clean_labels
    found = judge(arm=arm, studied=tmp_path / "studied.safetensors", **sizes)
    assert 0 <= found["accuracy"] <= 1
    assert 0 <= found["between"] <= 1


def test_signed_features(tmp_path: Path) -> None:
    sizes = {"data": "digits", "rows": 0, "epochs": 1}
    save_file(experiments.variants(seed=1000, **sizes), tmp_path / "variants.safetensors")
    for arm in SIGNED:
        found = experiments.on_signed(arm=arm, variants=tmp_path / "variants.safetensors", **sizes)
        assert found["between_by_size"] >= abs(found["between"])


def test_transfer(tmp_path: Path) -> None:
    needed("letter")
    sizes = {"rows": 200, "epochs": 1}
    save_file(experiments.transferred(seed=1000, **sizes), tmp_path / "transferred.safetensors")
    found = experiments.on_few(arm="opl", transferred=tmp_path / "transferred.safetensors", **sizes)
    assert 0.2 < found["one_shot"] < found["five_shot"] <= 1


def test_sizes_of_batches(tmp_path: Path) -> None:
    save_file(experiments.sized(seed=1000, steps=2), tmp_path / "sized.safetensors")
    found = experiments.batch_sizes(arm="opl", batch=512, steps=2, sized=tmp_path / "sized.safetensors")
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize("arm", ["ce", "opl"])
def test_cifar_classes_from_disk(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar100(tmp_path, 20)))
    found = experiments.cifar_classes(
        arm=arm, seed=1000, device=torch.device("cpu"), data="cifar100", depth=8, epochs=1, rows=40
    )
    assert 0 <= found["accuracy"] <= 100


@pytest.mark.parametrize(("arm", "kind"), [("truncated", "symmetric"), ("truncated_opl", "partner")])
def test_cifar_noise_from_disk(arm: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 8)))
    monkeypatch.setattr(on_cifar, "TRUNCATED", {"cifar10": (2, (1,), 1)})
    monkeypatch.setattr(on_cifar, "DROP_EVERY", 1)
    found = experiments.cifar_noise(arm=arm, seed=1000, device=torch.device("cpu"), data="cifar10", kind=kind, rows=16)
    assert 0 <= found["accuracy"] <= 100


def test_stepped_rates() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = on_cifar.stepped(2, [1, 3], 0.1, warmed_up=True)(optimizer)
    seen = []
    for _ in range(7):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx([0.5, 1, 0.1, 0.1, 0.1, 0.1, 0.01])
