"""softmax-ghosts: the method on cases worked out by hand, and every experiment's code path on a few examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from baselines.loss_landscape import random_direction, snapshot
from baselines.models import DigitTransformer, mlp, small_cnn
from suites.softmax_ghosts import archgrid, contenders, experiments, method, on_digits
from tests.suites import data_folders

CPU = torch.device("cpu")
INPUTS = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
PARTS = {name: list(values) for name, values in contenders.TRANSFORMER_PARTS.items()}


def linear(weight: list[list[float]]) -> nn.Linear:
    """A linear model whose logits move by (v x) along v."""
    model = nn.Linear(len(weight[0]), len(weight), bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weight))
    return model


def direction_of(model: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    return random_direction(model, torch.Generator().manual_seed(seed))


def controlled(model: nn.Module, **options: object) -> method.RadiusController:
    return method.RadiusController(model, torch.optim.SGD(model.parameters(), lr=1.0), **options)


def backward(model: nn.Module, inputs: torch.Tensor) -> None:
    model.zero_grad()
    logits = model(inputs)
    cross_entropy(logits, torch.arange(len(inputs)) % logits.shape[1]).backward()


UNFIT = {"no.such": torch.ones(1)}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: method.slope_radius(torch.ones(2, 2), temperature=0.0), "temperature"),
        (lambda: method.finite_difference_slopes(linear([[1.0]]), torch.ones(1, 1), {}, eps=0.0), "eps"),
        (lambda: method.logit_slopes(linear([[1.0]]), torch.ones(1, 1), UNFIT), "no parameter of the model"),
        (lambda: method.logit_slopes(linear([[1.0]]), torch.ones(1, 1), {"weight": torch.ones(3)}), "no parameter"),
        (lambda: method.clipped({"a": torch.ones(1)}, -1.0), "radius"),
        (lambda: method.clipped({"a": torch.ones(1)}, math.nan), "radius"),
        (lambda: method.rho_set_rate({"a": torch.ones(1)}, 1.0, target=0.0), "target"),
        (lambda: controlled(linear([[1.0]]), target=0.0), "target must be"),
        (lambda: controlled(linear([[1.0]]), rule="stretch"), "rule must be"),
        (lambda: method.nearest_zero(np.zeros(2), np.zeros(3)), "one shape"),
        (lambda: method.nearest_zero(np.zeros(2), np.array([0.0, math.nan])), "finite"),
        (lambda: method.binary_radius(1.0, 0.0), "spread"),
        (lambda: method.binary_zeros(1.0, -1.0), "spread"),
        (lambda: method.activation_radius(torch.ones(1), torch.ones(1), "softsign"), "unknown activation"),
        (
            lambda: method.network_radii(linear([[1.0]]), torch.ones(1, 1), {}, ffn=["nowhere"]),
            "no submodule 'nowhere'",
        ),
    ],
)
def test_refusals_say_what_is_wrong(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


class TestRadius:
    def test_passes_through_fused_attention_and_restores_every_mode(self) -> None:
        encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
        model = nn.Sequential(encoder, nn.BatchNorm1d(8), nn.Linear(8, 3)).double().train()
        model[1].eval()  # a frozen BatchNorm must stay frozen
        v, inputs = direction_of(model), torch.randn(4, 8, 8, dtype=torch.float64)
        first, second = (method.logit_slopes(model, inputs, v) for _ in range(2))
        assert torch.equal(first, second)  # dropout is off
        assert model.training
        assert model[0].training
        assert not model[1].training


class TestController:
    def test_five_lines_in_ones_own_loop(self) -> None:
        model = mlp([64, 16, 10])
        controller = method.RadiusController(model, torch.optim.Adam(model.parameters(), lr=1.0))
        for _ in range(3):
            backward(model, INPUTS.float())
            step = controller.step(INPUTS.float())
        assert step is controller.last
        assert step.r <= 1 + 1e-6 < step.asked_r
        assert step.asked_r == pytest.approx(step.asked / step.radius)

    def test_buffers_frozen_parameters_and_optimiser_state_are_left_alone(self) -> None:
        model = small_cnn(batch_norm=True).double()
        model[0].weight.requires_grad_(False)
        frozen = model[0].weight.clone()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1.0)
        backward(model, INPUTS)
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        method.RadiusController(model, optimizer).step(INPUTS)
        assert torch.equal(model[0].weight, frozen)
        torch.testing.assert_close(dict(model.named_buffers()), buffers, rtol=0, atol=0)
        assert all(int(state["step"]) == 1 for state in optimizer.state.values())

    def test_the_multi_radius_controller_holds_the_smallest_radius(self) -> None:
        model = DigitTransformer().double()
        before = DigitTransformer().double()
        before.load_state_dict(model.state_dict())
        radius = partial(method.network_radius, **PARTS)
        controller = method.RadiusController(model, torch.optim.SGD(model.parameters(), lr=100.0), radius=radius)
        backward(model, INPUTS)
        assert controller.step(INPUTS).r == pytest.approx(1.0)
        made = {name: part - snapshot(before)[name] for name, part in snapshot(model).items()}
        assert float(radius(before, INPUTS, made)) == pytest.approx(1.0)

    def test_numbers_that_have_run_out_are_refused_and_the_parameters_kept(self) -> None:
        model = linear([[1.0, 2.0], [0.0, 1.0]])
        model.weight.grad = torch.full_like(model.weight, math.nan)
        controller = controlled(model)
        with pytest.raises(ValueError, match="cannot hold"):
            controller.step(torch.ones(1, 2, dtype=torch.float64))
        assert model.weight.tolist() == [[1.0, 2.0], [0.0, 1.0]]


class TestSingularities:
    def test_a_third_class_between_two_moves_the_zero_away(self) -> None:
        # 1 + x + x^2 with x = exp(t): its roots are the third roots of unity, so t = 2 pi i / 3; the bound is pi / 2.
        assert method.nearest_zero(np.zeros(3), np.arange(3.0)) == pytest.approx(2j * math.pi / 3)
        assert method.zeros_within(2.2, np.zeros(3), np.arange(3.0)) == 2

    def test_no_zero_without_a_spread(self) -> None:
        assert abs(method.nearest_zero(np.zeros(2), np.ones(2))) == math.inf
        assert method.exact_radius(np.zeros((2, 2)), np.ones((2, 2))) == math.inf

    @pytest.mark.parametrize(
        ("activation", "poles"),
        [
            ("relu", [0j]),
            ("tanh", [1j * (math.pi / 2 + math.pi * k) for k in range(-3, 3)]),
            *[(name, [1j * math.pi * (2 * k + 1) for k in range(-3, 3)]) for name in ("sigmoid", "softplus", "silu")],
        ],
    )
    def test_activation_radius_is_the_distance_to_the_nearest_pole(self, activation: str, poles: list) -> None:
        h, rate = torch.tensor([1.3, -0.4, 2.0]), torch.tensor([2.0, -0.5, 0.0])
        expected = [min(abs(s - x) for s in poles) / r for x, r in ((1.3, 2.0), (-0.4, 0.5))] + [math.inf]
        assert method.activation_radius(h, rate, activation).tolist() == pytest.approx(expected)

    def test_gelu_has_no_singularity(self) -> None:
        assert method.activation_radius(torch.ones(2), torch.ones(2), "gelu").tolist() == [math.inf] * 2


class TestNetworkRadii:
    def test_agree_with_differences_of_what_flows_into_the_parts(self) -> None:
        model = DigitTransformer().double().eval()
        v, here = direction_of(model), snapshot(model)

        def flowing(t: float) -> dict[str, torch.Tensor]:
            seen: dict[str, torch.Tensor] = {}
            hooks = [
                model.get_submodule(name).register_forward_pre_hook(lambda _, args, n=n: seen.update({n: args[0]}))
                for n, (name,) in PARTS.items()
            ]
            functional_call(model, {name: here[name] + t * v[name] for name in here}, (INPUTS,))
            [hook.remove() for hook in hooks]
            return {name: value.detach() for name, value in seen.items()}

        ahead, behind, at = flowing(1e-6), flowing(-1e-6), flowing(0.0)
        rates = {name: (ahead[name] - behind[name]) / 2e-6 for name in at}
        radii = method.network_radii(model, INPUTS, v, **PARTS)
        assert float(radii.attention) == pytest.approx(math.pi / float(method.spread(rates["attention"]).max()), 1e-6)
        kinks = (at["ffn"].abs() / rates["ffn"].abs()).flatten()
        assert float(radii.ffn) == pytest.approx(float(kinks.quantile(0.01)), rel=1e-5)
        assert float(radii.out) == pytest.approx(float(method.directional_radius(model, INPUTS, v)))

    def test_parts_without_names_are_infinite(self) -> None:
        model = DigitTransformer().double()
        radii = method.network_radii(model, INPUTS, direction_of(model))
        assert float(radii.attention) == float(radii.ffn) == math.inf


class TestExperiments:
    """Seeds from 1000 on: those of the verdicts are not looked at here."""

    ARMS = ("method", "adam", "sgd", "clip", "cap", "armijo", "curvature", "logit_spread")

    @pytest.mark.parametrize("arm", ARMS)
    def test_spike_records_every_arm(self, arm: str) -> None:
        metrics = experiments.spike(arm=arm, seed=1000, lr=1e-3, steps=8, onset=5)
        assert 0 <= metrics["accuracy"] <= 1
        assert 0 < metrics["max_r_before"] <= metrics["max_r"]
        assert (metrics["max_r"] <= 1.000001) == (arm in ("method", "sgd"))

    def test_arms_share_their_start(self) -> None:
        runs = [experiments.spike(arm=arm, seed=1000, lr=1e-4, steps=4, onset=3) for arm in ("method", "adam")]
        assert runs[0]["max_r_before"] == runs[1]["max_r_before"] < 1

    @pytest.mark.parametrize("architecture", ["transformer", "mlp_ln", "cnn_bn"])
    def test_one_spiked_step(self, architecture: str) -> None:
        few = {"arm": "method", "seed": 1000, "architecture": architecture}
        assert 0 <= experiments.severity(**few, factor=10.0, examples=50, steps=2)["accuracy"] <= 1
        assert 0 <= experiments.table1(**few, steps=1)["accuracy"] <= 100

    def test_below_one_from_a_stored_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(on_digits, "STAGES", {"early": 1, "late": 2})
        states = experiments.trained(seed=1000, architecture="cnn_bn")
        assert {name.split("/")[0] for name in states} == {"early", "late"}
        save_file(states, tmp_path / "states.safetensors")
        metrics = experiments.below_one(seed=1000, architecture="cnn_bn", trained=tmp_path / "states.safetensors")
        assert metrics["random_below_half"] <= metrics["random_below_1"] <= 2 * 20 * 24
        assert metrics["descent_smallest_onset"] <= metrics["descent_onset"]

    def test_temperature_finds_every_onset(self) -> None:
        metrics = experiments.temperature(seed=1000)
        assert metrics["log_std_ratio"] > 0
        assert metrics["median_onset"] > 0

    def test_binding_shares_add_up(self) -> None:
        metrics = experiments.binding(seed=1000, steps=20)
        assert sum(metrics[f"{part}_late"] for part in ("ffn", "out", "attention")) == pytest.approx(1)

    @pytest.mark.parametrize("arm", ["gradient", "random"])
    def test_phase_transition_stops_at_its_stage(self, arm: str) -> None:
        metrics = experiments.phase_transition(arm=arm, seed=1000, stage="early")
        assert 0.84 <= metrics["test_accuracy"] < 0.95
        assert metrics["loss_ratio"] > 1

    def test_step_time_times_all_three(self) -> None:
        metrics = experiments.step_time(device=CPU, rounds=1, batch=2)
        assert all(len(metrics[kind]) == 1 for kind in ("plain_ms", "finite_difference_ms", "jvp_ms"))


@pytest.mark.parametrize("arm", ["r_2", "lr_0.1"])
def test_resnet_on_cifar_from_disk(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar10(tmp_path, 40)))
    metrics = experiments.resnet_cifar10(arm=arm, seed=1000, device=CPU, epochs=1, limit=24)
    assert 0 <= metrics["accuracy"] <= 100
    if arm == "r_2":
        assert metrics["max_r"] == pytest.approx(2.0)
    else:
        assert metrics["max_r"] > 0


@pytest.mark.parametrize(
    ("architecture", "parameters"), [("transformer", 15_114), ("mlp_ln", 13_514), ("cnn_bn", 3_690)]
)
def test_networks_of_the_released_grid_have_its_sizes(architecture: str, parameters: int) -> None:
    """By hand: weights and biases of each layer, two vectors for each norm."""
    model = archgrid.network(architecture, 0)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.rand(3, 1, 8, 8)).shape == (3, 10)


def test_binding_of_the_released_transformer_looks_at_thirds() -> None:
    metrics = experiments.binding_released(seed=1000, steps=2, every=1)
    assert sum(metrics[f"{part}_late"] for part in ("ffn", "out", "attention")) == pytest.approx(1)
