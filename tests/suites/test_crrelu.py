"""The activation by hand, what it refuses, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines.models import mlp
from suites.crrelu import experiments, on_small_data
from suites.crrelu.contenders import ACTIVATIONS, SIZE, Mixed, corrected_sigmoid, normal
from suites.crrelu.method import CRReLU, crrelu, inverted, parameter_groups, stepped, unit_nodes
from tests.conftest import needed
from tests.suites import data_folders


def test_by_hand() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    value = crrelu(x, 0.5)
    assert value.tolist() == pytest.approx([-0.5 * math.exp(-0.5), 0.0, 2 + math.exp(-2)])
    value.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.0, 0.5, 1 - 1.5 * math.exp(-2)])


@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 1)])
def test_gradients(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    eps = torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(crrelu, (x, eps))
    assert torch.autograd.gradgradcheck(crrelu, (x, eps))


def test_layout_autocast_and_compilation_change_nothing() -> None:
    wide, eps = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.tensor(0.2)
    expected = crrelu(wide.contiguous(), eps)
    found = crrelu(wide, eps)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(crrelu(wide, eps), expected)
    compiled = torch.compile(crrelu, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(wide, eps), expected)


def test_function_transforms() -> None:
    x, eps = torch.randn(6, 3, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(crrelu)(x, eps), crrelu(x, eps[:, None]))
    slope = torch.func.vmap(torch.func.grad(lambda one: crrelu(one, 0.3).sum()))(x)
    free = x.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(crrelu(free, 0.3).sum(), free)[0])


def test_halves_of_a_module_keep_their_dtype() -> None:
    layer = CRReLU(0.2).to(torch.bfloat16)
    x = torch.tensor([0.5, -0.5], dtype=torch.bfloat16, requires_grad=True)
    layer(x).sum().backward()
    assert layer.eps.grad is not None
    assert layer.eps.grad.dtype == torch.bfloat16
    assert float(layer.eps.grad) == pytest.approx(0.0, abs=1e-6)


def test_every_parameter_is_in_one_group() -> None:
    network = nn.Sequential(nn.Linear(3, 4), CRReLU(), nn.Linear(4, 2), CRReLU())
    torch.optim.AdamW(parameter_groups(network, weight_decay=0.1), lr=0.1)
    assert [len(group["params"]) for group in parameter_groups(network, weight_decay=0.1)] == [4, 2]


@pytest.mark.parametrize(
    "call",
    [
        lambda: crrelu(torch.tensor([1, 2])),
        lambda: crrelu(torch.ones(3), torch.ones(2)),
        lambda: crrelu(torch.ones(()), torch.ones(1)),
        lambda: CRReLU(math.nan),
        lambda: stepped(torch.logit, normal, math.inf),
        lambda: inverted(torch.logit, low=1.0, high=0.0),
        lambda: inverted(stepped(torch.logit, normal), low=0.0, high=1.0),
    ],
)
def test_refuses_what_makes_no_sense(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


def test_improved_sigmoid_is_the_formula_to_first_order() -> None:
    u = torch.linspace(-1, 1, 21, dtype=torch.float64)
    small, whole = 1e-4, corrected_sigmoid(u) - u.sigmoid()
    exact = inverted(stepped(torch.logit, normal, small), low=0.0, high=1.0)(u) - u.sigmoid()
    torch.testing.assert_close(exact / small, whole / SIZE, rtol=1e-2, atol=1e-3)


def test_corrected_sigmoid_increases_and_is_finite() -> None:
    assert bool((corrected_sigmoid(torch.linspace(-9, 9, 4001, dtype=torch.float64)).diff() > 0).all())
    far = torch.tensor([-math.inf, -1e4, 1e4, math.inf], requires_grad=True)
    corrected_sigmoid(far).sum().backward()
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


def test_nodes_integrate_what_is_infinite_at_the_ends() -> None:
    x, weights = unit_nodes()
    assert float((weights * x.log()).sum()) == pytest.approx(-1.0, abs=1e-9)


# The comparisons.


def test_each_arm_has_its_copies_and_parameters() -> None:
    mixed = Mixed([*ACTIVATIONS], 2)
    x = torch.randn(2 * len(ACTIVATIONS), 5, 3)
    found = mixed(x)
    for place, (arm, (activation, start)) in enumerate(ACTIVATIONS.items()):
        part = slice(2 * place, 2 * place + 2)
        torch.testing.assert_close(found[part], activation(x[part], torch.tensor(start or 0.0)), msg=arm)
    found.sum().backward()
    assert mixed.parameter.grad is not None
    learning = mixed.parameter.grad.flatten().view(-1, 2).abs().sum(1) > 0
    assert learning.tolist() == [start is not None for _, start in ACTIVATIONS.values()]


def test_rates_are_chosen_on_validation_data() -> None:
    shape = (len(ACTIVATIONS), len(on_small_data.RATES))
    found = {name: torch.zeros(shape) for name in ("validation", "test")}
    found |= {name: torch.zeros(3, *shape) for name in ("parameter", "spread", "spread_before")}
    place = [*ACTIVATIONS].index("crrelu")
    found["validation"][place, 1], found["test"][place, 1], found["test"][place, 2] = 0.9, 0.5, 0.7
    found["parameter"][:, place, 1] = torch.tensor([-0.5, 0.02, 0.4])
    got = on_small_data.outcome(found, "crrelu")
    assert got["accuracy"] == pytest.approx(0.5)
    assert got["share_moved"] == pytest.approx(2 / 3)
    assert got["share_negative"] == pytest.approx(1 / 3)


def test_stacked_networks_have_activations_of_their_own() -> None:
    network = mlp([4, 6, 5, 3])
    models, inputs = on_small_data.Activated(network, ["relu", "gelu"], 2), torch.randn(7, 4)
    plain = nn.Sequential(*[nn.GELU() if isinstance(layer, nn.ReLU) else layer for layer in network])
    for copies, expected in ((slice(0, 2), network(inputs)), (slice(2, 4), plain(inputs))):
        torch.testing.assert_close(models(inputs)[copies], expected.expand(2, -1, -1))
    assert len([*models.parameters()]) == 8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_number_for_eps_is_not_rounded_to_half_precision(dtype: torch.dtype) -> None:
    x = torch.linspace(-3, 3, 101, dtype=dtype)
    torch.testing.assert_close(crrelu(x, 0.3), crrelu(x.double(), 0.3).to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_one_bad_number_spoils_no_other(bad: float) -> None:
    x = torch.randn(1000, requires_grad=True)
    expected = torch.autograd.grad(crrelu(x, 0.3).sum(), x)[0][1:], crrelu(x, 0.3)[1:]
    wrong = x.detach().clone()
    wrong[0] = bad
    wrong.requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(crrelu(wrong, 0.3).sum(), wrong)[0][1:], expected[0])
    torch.testing.assert_close(crrelu(wrong, 0.3)[1:], expected[1])


def test_a_dead_unit_is_seen() -> None:
    entering = torch.tensor([[[-1.0, -20.0], [2.0, -30.0]]])
    assert on_small_data.steepest(nn.ReLU(), entering).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("data", ["fashion-mnist", "letter"])
def test_small_protocols(data: str, tmp_path: Path) -> None:
    needed(data)
    sizes = {"data": data, "rows": 100, "epochs": 1}
    save_file(experiments.trained(seed=1000, **sizes), tmp_path / "trained.safetensors")
    for arm in ACTIVATIONS:
        assert 0 <= experiments.activations(arm=arm, trained=tmp_path / "trained.safetensors", **sizes)["accuracy"] <= 1
    save_file(experiments.dying(seed=1000, rate=0.5, **sizes), tmp_path / "dying.safetensors")
    found = experiments.dead_units(arm="relu", rate=0.5, dying=tmp_path / "dying.safetensors", **sizes)
    assert 0 <= found["diverged"] <= found["dead"] <= 1
    for arm in on_small_data.BOUNDED:
        assert experiments.hidden_entropy(arm=arm, seed=1000, data=data, rows=100)["entropy"] < 0


@pytest.mark.parametrize("arm", ["gelu", "crrelu"])
def test_vit_from_disk(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar100(tmp_path, 20)))
    found = experiments.vit(arm=arm, seed=1000, device=torch.device("cpu"), data="cifar100", epochs=2, rows=20)
    assert 0 <= found["accuracy"] <= 1
