"""The losses by hand, what they refuse, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.small_data import Split, split
from baselines.training import cosine, fit
from suites.comp_sum import experiments, method, on_cifar, on_small_data
from suites.comp_sum.contenders import HARDENED, NOISES, RATES, TAUS
from suites.comp_sum.method import comp_sum
from tests.conftest import needed
from tests.suites import data_folders

CPU = torch.device("cpu")
SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.5, -0.5, 3.0]], dtype=torch.float64)
TARGETS = torch.tensor([0, 1])


def test_members_by_hand() -> None:
    scores = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)  # s = (3/4, 1/4)
    for tau, expected in ((0.0, 1 / 3), (1.0, math.log(4 / 3)), (2.0, 0.25), (3.0, (1 - 9 / 16) / 2)):
        assert float(comp_sum(scores, torch.tensor([0]), tau=tau)) == pytest.approx(expected)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_gradients(tau: float) -> None:
    free = SCORES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: comp_sum(f, TARGETS, tau=tau), free)
    assert torch.autograd.gradgradcheck(lambda f: comp_sum(f, TARGETS, tau=tau), free)
    moved = (SCORES + torch.tensor([0.3, -0.2, 0.9])).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, g: method.smooth_adversarial(f, g, TARGETS, nu=2.0, tau=tau), (free, moved)
    )


def test_layout_autocast_and_compilation_change_nothing() -> None:
    wide = torch.randn(3, 5).T  # (5, 3), not contiguous
    targets = torch.tensor([0, 1, 2, 0, 1])
    expected = comp_sum(wide.contiguous(), targets, tau=1.5)
    torch.testing.assert_close(comp_sum(wide, targets, tau=1.5), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = comp_sum(wide, targets, tau=1.5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    compiled = torch.compile(lambda f: comp_sum(f, targets, tau=1.5), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(wide), expected)


def test_no_change_has_no_gradient() -> None:
    free = SCORES.clone().requires_grad_()
    method.change(SCORES, free, TARGETS).sum().backward()
    assert torch.equal(free.grad, torch.zeros_like(SCORES))


@pytest.mark.parametrize(
    "call",
    [
        lambda: comp_sum(SCORES[0], TARGETS),
        lambda: comp_sum(SCORES[:, :1], TARGETS * 0),
        lambda: comp_sum(SCORES.long(), TARGETS),
        lambda: comp_sum(SCORES, TARGETS + 2),
        lambda: comp_sum(SCORES, TARGETS, tau=-0.1),
        lambda: comp_sum(SCORES, TARGETS, tau=math.nan),
        lambda: comp_sum(SCORES, TARGETS, tau=math.inf),
        lambda: comp_sum(SCORES, TARGETS, reduction="median"),
        lambda: method.transform(torch.tensor([-1.0]), 1.0),
        lambda: method.regret_floor(torch.tensor([0.5]), tau=1.5, classes=1),
        lambda: method.simple_bound(torch.tensor([0.5]), tau=1.5, classes=1),
        lambda: method.best_bounded_loss(torch.tensor([1.0]), tau=1.0, classes=1),
        lambda: method.conditional_risk(SCORES.softmax(1), SCORES.softmax(1), tau=-1.0),
        lambda: method.best_risk(SCORES.softmax(1), tau=-1.0),
        lambda: method.best_probabilities(SCORES.softmax(1), tau=-1.0),
        lambda: method.ramp(SCORES, 0.0),
        lambda: method.smooth_adversarial(SCORES, SCORES, TARGETS, nu=-1.0),
        lambda: method.smooth_adversarial(SCORES, SCORES, TARGETS, nu=1.0, rho=0.0),
        lambda: method.smooth_adversarial(SCORES, SCORES[:, :2], TARGETS, nu=1.0),
        lambda: method.least_nu(1, 1.0),
        lambda: split("mnist", 0, 100),
    ],
)
def test_refuses_what_is_no_problem(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


# The comparison.


def synthetic(rows: int = 340) -> Split:
    generator = torch.Generator().manual_seed(1000)
    inputs, labels = torch.rand(rows, 9, generator=generator), torch.randint(4, (rows,), generator=generator)
    parts = (slice(192), slice(192, 240), slice(240, None))
    return Split(*((inputs[part], labels[part]) for part in parts), classes=4)


def test_a_network_of_the_sweep_trains_as_it_would_alone() -> None:
    data, taus = synthetic(), [0.0, 1.5]
    together = on_small_data.sweep(data, taus, [0.0], epochs=2, seed=1000)
    with torch.random.fork_rng():
        torch.manual_seed(1000)
        alone = mlp([9, on_small_data.WIDTH, 4])
    fit(
        alone, *data.train, lambda m, b: comp_sum(m(b.inputs), b.targets, tau=1.5),
        epochs=2, batch_size=64, drop_last=True, seed=1000, clip_norm=5.0,
        schedule=cosine(6),
        optimizer=lambda p: torch.optim.SGD(p, lr=RATES[3], momentum=0.9, nesterov=True, weight_decay=1e-4),
    )  # fmt: skip
    with torch.no_grad():
        expected = (alone(data.test[0]).argmax(1) == data.test[1]).double().mean()
    assert float(together["test"][1, 3, 0]) == pytest.approx(float(expected), abs=0.021)
    assert together["validation"].shape == (2, len(RATES), 1)


def test_rates_are_chosen_on_validation_data() -> None:
    validation = torch.zeros(2, len(RATES), 1)
    validation[0, 2], validation[1, 5] = 1, 1
    test = torch.arange(2.0 * len(RATES)).view(2, -1, 1)
    found = on_small_data.outcome({"validation": validation, "test": test}, ["tau_1", "tau_2"], "tau_2", 0)
    assert found == {
        "accuracy_shared": 9.0, "rate_shared": RATES[2], "accuracy_tuned": 12.0, "rate_tuned": RATES[5],
    }  # fmt: skip


@pytest.mark.parametrize("data", ["digits", "fashion-mnist", "letter"])
def test_sweep(data: str, tmp_path: Path) -> None:
    needed(data)
    sizes = {"data": data, "rows": 500, "epochs": 1}
    save_file(experiments.swept(seed=1000, **sizes), tmp_path / "swept.safetensors")
    for noise in NOISES:
        for arm in TAUS:
            found = experiments.tau_sweep(arm=arm, noise=noise, swept=tmp_path / "swept.safetensors", **sizes)
            assert 0 <= found["accuracy_tuned"] <= 1
            assert arm != "tau_1" or found["accuracy_tuned"] == found["accuracy_shared"]


def test_letter_classes() -> None:
    needed("letter")
    assert split("letter", 0, 200, 5).test[1].max() == 4
    found = experiments.letter_classes(seed=1000, classes=5, rows=500, epochs=1)
    assert all(math.isfinite(value) and value >= 0 for value in found.values())


def test_adversarial_training(tmp_path: Path) -> None:
    sizes = {"data": "digits", "eps": 0.1, "rows": 500, "epochs": 1}
    save_file(experiments.hardened(seed=1000, **sizes), tmp_path / "hardened.safetensors")
    for arm, settings in HARDENED.items():
        found = experiments.robust(arm=arm, hardened=tmp_path / "hardened.safetensors", **sizes)
        assert 0 <= found["robust"] <= found["clean"] <= 1
        assert found["setting"] in settings


@pytest.fixture
def _cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_folders.cifar10(tmp_path, 60)
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar100(tmp_path, 60)))
    for name in ("resnet18_cifar", "resnet34_cifar"):
        monkeypatch.setattr(on_cifar, name, lambda classes: mlp([3 * 32 * 32, classes], nn.ReLU))


@pytest.mark.usefixtures("_cifar")
@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_images_from_disk(data: str) -> None:
    found = experiments.images(arm="tau_2", seed=1000, device=CPU, data=data, epochs=1, rows=60)
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.usefixtures("_cifar")
@pytest.mark.parametrize("arm", ["pgd", "trades", "adv_comp_sum"])
def test_adversarial_training_on_cifar10_from_disk(arm: str) -> None:
    found = experiments.hardened_cifar10(arm=arm, seed=1000, device=CPU, epochs=1, rows=60)
    assert 0 <= found["robust"] <= found["clean"] <= 1
    assert found["setting"] in HARDENED[arm]


def test_jpeg_copy_of_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    needed("cifar10-jpeg")
    monkeypatch.setattr(on_cifar, "resnet18_cifar", lambda classes: mlp([3 * 32 * 32, classes], nn.ReLU))
    found = experiments.jpeg(arm="tau_1", seed=1000, device=CPU, epochs=1, rows=100)
    assert found["accuracy_shared"] == found["accuracy_tuned"]


def test_resnet_trains_on_a_loss_of_the_family() -> None:
    inputs, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    network = on_cifar.trained(on_cifar.resnet34_cifar, (inputs, labels), 4, 1.5, 0.01, None, epochs=1, batch=8, seed=0)
    assert F.softmax(network(inputs), dim=1).isfinite().all()
