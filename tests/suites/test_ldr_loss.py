"""The losses by hand, what they refuse, and the protocols on a few rows of Letter and of CIFAR-100's format."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.training import fit, step_decay
from suites.ldr_loss import contenders, experiments, method, on_cifar, on_letter
from suites.ldr_loss.contenders import LOSSES, RATES, with_noise
from tests.conftest import needed
from tests.suites import data_folders

CPU = torch.device("cpu")
SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.5, -0.5, 3.0]], dtype=torch.float64)
TARGETS = torch.tensor([0, 1])


def test_gradients_of_ldr_kl() -> None:
    free = SCORES.clone().requires_grad_()
    for lam in (0.3, 7.0, torch.tensor([0.4, 3.0], dtype=torch.float64)):
        assert torch.autograd.gradcheck(lambda f, lam=lam: method.ldr_kl(f, TARGETS, lam=lam, margin=0.1), free)
    assert torch.autograd.gradgradcheck(lambda f: method.ldr_kl(f, TARGETS, lam=2.0), free)


@pytest.mark.parametrize("lam", [1e-6, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_size_of_scores_and_lam_is_finite(lam: float, dtype: torch.dtype) -> None:
    scores = (1e4 * SCORES).to(dtype).requires_grad_()
    loss = method.ldr_kl(scores, TARGETS, lam=lam, margin=0.1)
    loss.backward()
    assert loss.dtype == dtype
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


def test_adaptive_loss_learns_through_the_scores_only() -> None:
    free = SCORES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: method.aldr_kl(f, TARGETS, lam0=2.0), free)


def test_table_is_saved_and_moves_with_the_module() -> None:
    loss = method.ALDRKL(5, lam0=1.0)
    loss(SCORES.float(), TARGETS, torch.tensor([3, 0]))
    assert (loss.lam != 1).tolist() == [True, False, False, True, False]
    again = method.ALDRKL(5, lam0=1.0)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.lam, loss.lam)
    assert loss.double().lam.dtype == torch.float64


@pytest.mark.parametrize(
    "call",
    [
        lambda: method.ldr_kl(SCORES[0], TARGETS, lam=1.0),
        lambda: method.ldr_kl(SCORES[:, :1], TARGETS * 0, lam=1.0),
        lambda: method.ldr_kl(SCORES.long(), TARGETS, lam=1.0),
        lambda: method.ldr_kl(SCORES, TARGETS.float(), lam=1.0),
        lambda: method.ldr_kl(SCORES, TARGETS + 2, lam=1.0),
        lambda: method.ldr_kl(SCORES, TARGETS, lam=-1.0),
        lambda: method.ldr_kl(SCORES, TARGETS, lam=math.nan),
        lambda: method.ldr_kl(SCORES, TARGETS, lam=torch.ones(3)),
        lambda: method.ldr_kl(SCORES, TARGETS, lam=1.0, margin=-0.1),
        lambda: method.ldr_kl(SCORES, TARGETS, lam=1.0, reduction="median"),
        lambda: method.ldr(SCORES, TARGETS, method.divergence, domain="cube"),
        lambda: method.aldr_kl(SCORES, TARGETS, alpha=1.0),
        lambda: method.aldr_kl(SCORES, TARGETS, lam0=0.0),
        lambda: method.ALDRKL(3, labels="code"),
        lambda: method.ALDRKL(3, alpha=0.5),
        lambda: with_noise(TARGETS, "symmetric-0.1", torch.arange(3), seed=0),
    ],
)
def test_refuses_what_is_no_problem(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


# The comparison.


def test_class_noise_swaps_the_pairs() -> None:
    partner = on_letter.partners()
    assert torch.equal(partner[partner], torch.arange(26))
    assert int((partner != torch.arange(26)).sum()) == 20
    assert partner[ord("O") - ord("A")] == ord("Q") - ord("A")
    labels = torch.arange(26).repeat(100)
    noisy = with_noise(labels, "class-1.0", partner, seed=0)
    assert torch.equal(noisy, partner[labels])


def synthetic(rows: int = 300) -> on_letter.Split:
    generator = torch.Generator().manual_seed(1000)
    inputs = torch.rand(rows, 16, generator=generator) * 2 - 1
    labels = torch.randint(26, (rows,), generator=generator)
    return on_letter.Split(*((inputs[part], labels[part]) for part in (slice(200), slice(200, 250), slice(250, None))))


def test_stacked_networks_train_as_each_would_alone() -> None:
    data, noise = synthetic(), "uniform-0.3"
    together = on_letter.train_all(data, ["clean", noise], epochs=3, seed=1000)
    labels = with_noise(data.train[1], noise, on_letter.partners(), seed=2000)
    for name, rate in (("cross_entropy", 0), ("ldr_10", 1)):
        loss, alone = contenders.all_losses(200, 12)[name], on_letter.network(1000)
        fit(
            alone, data.train[0], labels, lambda m, b, loss=loss: loss(m(b.inputs), b.targets, b.ids).mean(),
            epochs=3, batch_size=64, drop_last=False, seed=1000, schedule=step_decay([6, 9]),
            optimizer=lambda p, rate=rate: torch.optim.SGD(p, lr=RATES[rate], momentum=0.9, weight_decay=5e-3),
        )  # fmt: skip
        with torch.no_grad():
            best = alone(data.test[0]).topk(5, dim=1).indices
        hits = (best == data.test[1][:, None]).cumsum(1).double().mean(0)
        torch.testing.assert_close(together["test"][rate, LOSSES.index(name), 1], hits, atol=0.021, rtol=0)


def test_a_network_that_diverges_does_not_stop_the_others() -> None:
    copies = on_letter.Copies(on_letter.network(0), 2)
    with torch.no_grad():
        copies.weights[0][0] = math.inf
    scores = copies(synthetic().train[0])
    losses = F.cross_entropy(scores.flatten(0, 1), synthetic().train[1].repeat(2), reduction="none").view(2, -1).mean(1)
    torch.nan_to_num(losses, nan=0.0, posinf=0.0).sum().backward()
    assert torch.isfinite(copies.weights[0].grad[1]).all()
    assert float(copies.weights[0].grad[1].abs().max()) > 0


def test_the_table_of_a_stacked_loss_is_that_of_its_own_network() -> None:
    together = on_letter.train_all(synthetic(), ["clean", "uniform-0.6"], epochs=1, seed=1000)
    assert together["lam"].shape == (3, len(RATES), 2, 200)
    assert (together["lam"] < 10).all()
    assert (together["lam"] >= 5).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needed("letter")
    path = tmp_path_factory.mktemp("artifact") / "trained.safetensors"
    save_file(experiments.trained(seed=1000, rows=500, epochs=1), path)
    return path


def test_letter(trained: Path) -> None:
    sizes = {"rows": 500, "epochs": 1, "trained": trained}
    for loss in ("cross_entropy", "aldr_softplus"):
        metrics = experiments.letter(arm=loss, noise="uniform-0.6", **sizes)
        assert metrics["learning_rate"] in RATES
        assert [metrics[f"top{k}"] for k in range(1, 6)] == sorted(metrics[f"top{k}"] for k in range(1, 6))
    contrasts = experiments.letter_contrasts(**sizes)
    assert np.isfinite(list(contrasts.values())).all()


def test_weight_decay_is_chosen_on_validation_data(tmp_path: Path) -> None:
    # Results of 3 decays x 3 rates: the best of validation is the second decay's third rate.
    validation = torch.arange(9.0).roll(-3)[:, None, None].expand(9, len(LOSSES), 1).contiguous()
    validation[5] = 10
    test = torch.arange(9.0)[:, None, None, None].expand(9, len(LOSSES), 1, 5).contiguous()
    save_file({"validation": validation, "test": test}, tmp_path / "decays.safetensors")
    found = experiments.letter_tuned(arm="gce", rows=0, epochs=0, trained_decays=tmp_path / "decays.safetensors")
    assert found == {
        "top1": 5.0, "weight_decay": 5e-4, "learning_rate": 1e-3,
        "top1_fixed_0.005": 2.0, "top1_fixed_0.0005": 5.0, "top1_fixed_0": 8.0,
    }  # fmt: skip


def test_letter_folds(tmp_path: Path) -> None:
    needed("letter")
    sizes = {"noise": "class-0.5", "rows": 500, "epochs": 1}
    save_file(experiments.trained_folds(seed=4, **sizes), tmp_path / "fold.safetensors")
    metrics = experiments.letter_folds(arm="gce", trained_folds=tmp_path / "fold.safetensors", **sizes)
    assert 0 <= metrics["top1"] <= metrics["top5"] <= 1


@pytest.mark.parametrize("arm", ["ldr_0_5", "crammer_singer"])
def test_linear_scores(arm: str) -> None:
    assert 0.8 < experiments.linear_scores(arm=arm, seed=1000)["rank_correlation"] <= 1


@pytest.fixture
def _cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar100(tmp_path, 60)))


@pytest.mark.usefixtures("_cifar100")
@pytest.mark.parametrize("arm", ["cross_entropy", "aldr_softplus"])
def test_cifar100_from_disk(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cifar, "resnet18_cifar", lambda classes: mlp([3 * 32 * 32, classes], nn.ReLU))
    metrics = experiments.cifar100(arm=arm, seed=1000, device=CPU, noise="class-0.5", epochs=3, rows=60)
    assert metrics["learning_rate"] in RATES
    assert 0 <= metrics["top1"] <= metrics["top5"] <= 1


@pytest.mark.usefixtures("_cifar100")
def test_resnet_on_cifar100_from_disk() -> None:
    data = on_cifar.noisy_fold(0, "uniform-0.6", CPU, rows=20)
    metrics = on_cifar.train(data, "ldr_10", 0.1, classes=100, epochs=1, seed=1000)
    assert json.dumps(metrics)
    assert len(data.train[1]) == 16


def test_crops_are_parts_of_the_image() -> None:
    ramp = torch.arange(32.0).expand(4, 3, 32, 32)
    crops = on_cifar.augment(ramp, torch.Generator().manual_seed(0))
    assert crops.shape == ramp.shape
    assert crops.min() >= 0 and crops.max() <= 31
    steps = crops.diff(dim=-1)[..., 1:-1].abs()
    torch.testing.assert_close(steps, torch.full_like(steps, 30 / 32))
