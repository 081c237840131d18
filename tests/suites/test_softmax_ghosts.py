"""softmax-ghosts: the method on cases worked out by hand, and every experiment's code path on a few examples."""

from __future__ import annotations

import math
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
from suites.softmax_ghosts import experiments, method, training

CPU = torch.device("cpu")
INPUTS = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
PARTS = {name: list(values) for name, values in training.TRANSFORMER_PARTS.items()}


def linear(weight: list[list[float]]) -> nn.Linear:
    """A linear model whose logits move by (v x) along v."""
    model = nn.Linear(len(weight[0]), len(weight), bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weight))
    return model


def direction_of(model: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    return random_direction(model, torch.Generator().manual_seed(seed))


def backward(model: nn.Module, inputs: torch.Tensor) -> None:
    model.zero_grad()
    logits = model(inputs)
    cross_entropy(logits, torch.arange(len(inputs)) % logits.shape[1]).backward()


class TestRadius:
    def test_of_a_linear_model_by_hand(self) -> None:
        model = linear([[0.0, 0.0], [0.0, 0.0]])
        inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
        v = {"weight": torch.tensor([[3.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)}
        slopes = method.logit_slopes(model, inputs, v)
        assert slopes.tolist() == [[3.0, -1.0], [2.0, 0.0]]
        assert method.spread(slopes).tolist() == [4.0, 2.0]
        assert float(method.slope_radius(slopes)) == pytest.approx(math.pi / 4)
        assert float(method.directional_radius(model, inputs, v, temperature=3.0)) == pytest.approx(3 * math.pi / 4)

    def test_is_infinite_where_logits_only_shift_together(self) -> None:
        assert float(method.slope_radius(torch.ones(3, 5))) == math.inf

    def test_parameters_that_are_not_named_stand_still(self) -> None:
        model = mlp([64, 8, 10]).double()
        whole = direction_of(model)
        part = {"1.weight": whole["1.weight"]}
        padded = {name: value if name in part else torch.zeros_like(value) for name, value in whole.items()}
        expected = method.logit_slopes(model, INPUTS, padded)
        torch.testing.assert_close(method.logit_slopes(model, INPUTS, part), expected)

    @pytest.mark.parametrize("central", [False, True])
    def test_finite_differences_agree_with_forward_mode(self, central: bool) -> None:
        model = mlp([64, 16, 10], nn.GELU, norm=True).double()
        v = direction_of(model)
        slopes = method.finite_difference_slopes(model, INPUTS, v, central=central)
        torch.testing.assert_close(slopes, method.logit_slopes(model, INPUTS, v), atol=1e-4, rtol=0)

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

    @pytest.mark.parametrize("wrong", [{"no.such": torch.ones(1)}, {"weight": torch.ones(3)}])
    def test_refuses_a_direction_that_does_not_fit(self, wrong: dict[str, torch.Tensor]) -> None:
        with pytest.raises(ValueError, match="no parameter of the model"):
            method.logit_slopes(linear([[1.0, 0.0]]), torch.ones(1, 2), wrong)

    def test_refuses_impossible_settings(self) -> None:
        with pytest.raises(ValueError, match="temperature"):
            method.slope_radius(torch.ones(2, 2), temperature=0.0)
        with pytest.raises(ValueError, match="eps"):
            method.finite_difference_slopes(linear([[1.0]]), torch.ones(1, 1), {}, eps=0.0)


class TestClip:
    def test_by_hand(self) -> None:
        update = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
        assert float(method.length(update)) == 5.0
        held = method.clipped(update, radius=2.0, target=0.5)
        torch.testing.assert_close(held, {"a": torch.tensor([0.6]), "b": torch.tensor([0.8])})
        assert method.clipped(update, radius=5.0)["a"] is update["a"]
        assert method.rho_set_rate(update, radius=2.0, target=0.5) == pytest.approx(0.2)

    @pytest.mark.parametrize(("radius", "target"), [(-1.0, 1.0), (math.nan, 1.0), (1.0, 0.0)])
    def test_refuses_what_is_no_radius(self, radius: float, target: float) -> None:
        with pytest.raises(ValueError, match=r"radius|target"):
            method.clipped({"a": torch.ones(1)}, radius, target)


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

    def test_leaves_a_short_step_as_the_optimiser_made_it(self) -> None:
        torch.manual_seed(0)
        models = [mlp([64, 16, 10]) for _ in range(2)]
        models[1].load_state_dict(models[0].state_dict())
        optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4) for model in models]
        controller = method.RadiusController(models[0], optimizers[0])
        for _ in range(4):
            for model in models:
                backward(model, INPUTS.float())
            step = controller.step(INPUTS.float())
            optimizers[1].step()
        assert step.factor == 1.0
        assert step.r < 1
        torch.testing.assert_close(snapshot(models[0]), snapshot(models[1]), rtol=0, atol=1e-7)

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

    def test_a_step_of_nothing_is_allowed(self) -> None:
        model = linear([[1.0, 2.0]])
        backward(model, torch.zeros(2, 2, dtype=torch.float64))
        step = method.RadiusController(model, torch.optim.SGD(model.parameters(), lr=1.0)).step(torch.zeros(2, 2))
        assert step.r == 0.0

    def test_numbers_that_have_run_out_are_refused_and_the_parameters_kept(self) -> None:
        model = linear([[1.0, 2.0], [0.0, 1.0]])
        model.weight.grad = torch.full_like(model.weight, math.nan)
        controller = method.RadiusController(model, torch.optim.SGD(model.parameters(), lr=1.0))
        with pytest.raises(ValueError, match="cannot hold"):
            controller.step(torch.ones(1, 2, dtype=torch.float64))
        assert model.weight.tolist() == [[1.0, 2.0], [0.0, 1.0]]

    @pytest.mark.parametrize("wrong", [{"target": 0.0}, {"rule": "stretch"}])
    def test_refuses_impossible_settings(self, wrong: dict) -> None:
        model = linear([[1.0]])
        with pytest.raises(ValueError, match="must be"):
            method.RadiusController(model, torch.optim.SGD(model.parameters()), **wrong)


class TestSingularities:
    def test_binary_by_hand(self) -> None:
        assert method.binary_radius(0.0, 2.0) == pytest.approx(math.pi / 2)
        assert method.binary_zeros(3.0, 2.0, [0, -1]).tolist() == pytest.approx(
            [1.5 + 0.5j * math.pi, 1.5 - 0.5j * math.pi]
        )

    def test_a_third_class_between_two_moves_the_zero_away(self) -> None:
        # 1 + x + x^2 with x = exp(t): its roots are the third roots of unity, so t = 2 pi i / 3; the bound is pi / 2.
        assert method.nearest_zero(np.zeros(3), np.arange(3.0)) == pytest.approx(2j * math.pi / 3)
        assert method.zeros_within(2.2, np.zeros(3), np.arange(3.0)) == 2

    def test_large_logits_do_not_overflow(self) -> None:
        zero = method.nearest_zero(np.array([800.0, 0.0]), np.array([0.0, 1.0]))
        assert abs(zero) == pytest.approx(method.binary_radius(800.0, 1.0))

    def test_no_zero_without_a_spread(self) -> None:
        assert abs(method.nearest_zero(np.zeros(2), np.ones(2))) == math.inf
        assert method.exact_radius(np.zeros((2, 2)), np.ones((2, 2))) == math.inf

    def test_exact_radius_is_the_smallest_over_samples(self) -> None:
        logits, slopes = np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 1.2]])
        assert method.exact_radius(logits, slopes) == pytest.approx(min(math.pi, math.hypot(4, math.pi) / 1.2))

    @pytest.mark.parametrize("wrong", [(np.zeros(2), np.zeros(3)), (np.zeros(2), np.array([0.0, math.nan]))])
    def test_refuses_bad_arrays(self, wrong) -> None:
        with pytest.raises(ValueError, match="one shape"):
            method.nearest_zero(*wrong)
        with pytest.raises(ValueError, match="spread"):
            method.binary_radius(1.0, 0.0)

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

    def test_gelu_has_no_singularity_and_unknown_names_are_refused(self) -> None:
        assert method.activation_radius(torch.ones(2), torch.ones(2), "gelu").tolist() == [math.inf] * 2
        with pytest.raises(ValueError, match="unknown activation"):
            method.activation_radius(torch.ones(1), torch.ones(1), "softsign")

    def test_kl_bounds_by_hand(self) -> None:
        assert method.kl_cubic_bound(-2.0, 3.0) == pytest.approx(216 / (36 * math.sqrt(3)))
        assert method.kl_cubic_bound(2.0, 3.0, reverse=True) == pytest.approx(216 / (18 * math.sqrt(3)))


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

    def test_parts_without_names_are_infinite_and_unknown_ones_refused(self) -> None:
        model = DigitTransformer().double()
        radii = method.network_radii(model, INPUTS, direction_of(model))
        assert float(radii.attention) == float(radii.ffn) == math.inf
        with pytest.raises(ValueError, match="no submodule 'nowhere'"):
            method.network_radii(model, INPUTS, direction_of(model), ffn=["nowhere"])


class TestExperiments:
    """Seeds from 1000 on: those of the verdicts are not looked at here."""

    ARMS = ("method", "adam", "sgd", "clip", "cap", "armijo", "curvature", "logit_spread")

    @pytest.mark.parametrize("arm", ARMS)
    def test_spike_records_every_arm(self, arm: str) -> None:
        metrics = experiments.spike(arm=arm, seed=1000, device=CPU, lr=1e-3, steps=8, onset=5)
        assert 0 <= metrics["accuracy"] <= 1
        assert 0 < metrics["max_r_before"] <= metrics["max_r"]
        assert (metrics["max_r"] <= 1.000001) == (arm in ("method", "sgd"))

    def test_arms_share_their_start(self) -> None:
        runs = [
            experiments.spike(arm=arm, seed=1000, device=CPU, lr=1e-4, steps=4, onset=3) for arm in ("method", "adam")
        ]
        assert runs[0]["max_r_before"] == runs[1]["max_r_before"] < 1

    @pytest.mark.parametrize("architecture", ["transformer", "mlp_ln", "cnn_bn"])
    def test_one_spiked_step(self, architecture: str) -> None:
        few = {"arm": "method", "seed": 1000, "device": CPU, "architecture": architecture}
        assert 0 <= experiments.severity(**few, factor=10.0, examples=50, steps=2)["accuracy"] <= 1
        assert 0 <= experiments.table1(**few, steps=1)["accuracy"] <= 100

    def test_below_one_from_a_stored_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(experiments, "STAGES", {"early": 1, "late": 2})
        states = experiments.trained(seed=1000, device=CPU, architecture="cnn_bn")
        assert {name.split("/")[0] for name in states} == {"early", "late"}
        save_file(states, tmp_path / "states.safetensors")
        metrics = experiments.below_one(
            arm="method", seed=1000, device=CPU, architecture="cnn_bn", trained=tmp_path / "states.safetensors"
        )
        assert metrics["random_below_half"] <= metrics["random_below_1"] <= 2 * 20 * 24
        assert metrics["descent_smallest_onset"] <= metrics["descent_onset"]

    def test_temperature_finds_every_onset(self) -> None:
        metrics = experiments.temperature(arm="method", seed=1000, device=CPU)
        assert metrics["log_std_ratio"] > 0
        assert metrics["median_onset"] > 0

    def test_binding_shares_add_up(self) -> None:
        metrics = experiments.binding(arm="method", seed=1000, device=CPU, steps=20)
        assert sum(metrics[f"{part}_late"] for part in ("ffn", "out", "attention")) == pytest.approx(1)

    @pytest.mark.parametrize("arm", ["gradient", "random"])
    def test_phase_transition_stops_at_its_stage(self, arm: str) -> None:
        metrics = experiments.phase_transition(arm=arm, seed=1000, device=CPU, stage="early")
        assert 0.84 <= metrics["test_accuracy"] < 0.95
        assert metrics["loss_ratio"] > 1

    def test_step_time_times_all_three(self) -> None:
        metrics = experiments.step_time(arm="method", seed=1000, device=CPU, rounds=1, batch=2)
        assert all(len(metrics[kind]) == 1 for kind in ("plain_ms", "finite_difference_ms", "jvp_ms"))


@pytest.fixture(scope="module")
def cifar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 in its binary format and size: 40 records of noise in the files that are read first, zeros elsewhere."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        with (folder / name).open("wb") as file:
            file.write(records.tobytes())
            file.truncate(10_000 * 3073)
    return root


@pytest.mark.parametrize("arm", ["r_2", "lr_0.1"])
def test_resnet_on_cifar_from_disk(arm: str, cifar_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(cifar_folder))
    metrics = experiments.resnet_cifar10(arm=arm, seed=1000, device=CPU, epochs=1, limit=24)
    assert 0 <= metrics["accuracy"] <= 100
    if arm == "r_2":
        assert metrics["max_r"] == pytest.approx(2.0)
    else:
        assert metrics["max_r"] > 0
