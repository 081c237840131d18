"""MIST by hand, and the protocols on a few examples; claims are tested by `crossexam run mist`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from suites.mist import at_scale, contenders, experiments, families, method, on_families

CPU = torch.device("cpu")
SMALL = method.Sizes(4, 8, 8, 2, 1, 1, 3, 8, 2)


def model_of(*, quantiles: bool = False) -> method.Mist:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return method.Mist(SMALL, quantiles=quantiles).eval()


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(on_families, "STEPS", 4)
    monkeypatch.setattr(on_families, "WARM_UP", 1)
    monkeypatch.setattr(on_families, "ROWS", (20,))
    monkeypatch.setattr(on_families, "TESTED", 8)
    monkeypatch.setattr(on_families, "VALIDATED", 20)
    monkeypatch.setattr(on_families, "COVERED", 6)
    monkeypatch.setattr(on_families, "RESAMPLES", 5)
    monkeypatch.setattr(on_families, "CRITICS", 3)
    monkeypatch.setattr(on_families, "LOOKS", (1, 3))
    path = tmp_path / "artifact.safetensors"
    save_file(experiments.networks(seed=1000), path)
    return path


def test_information_by_hand() -> None:
    half = families.gaussian_information(np.array([[1, 0.6], [0.6, 1]]))
    assert half == pytest.approx(-0.5 * math.log(0.64), abs=1e-12)
    assert families.additive_information(0.25) == pytest.approx(0.25 + math.log(2), abs=1e-12)
    assert families.additive_information(2.0) == pytest.approx(0.125, abs=1e-12)
    assert families.student_correction(1.0, 1) == pytest.approx(0.2242, abs=1e-4)


def test_pinball_by_hand() -> None:
    found = method.pinball(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0]), 0.9)
    assert float(found) == pytest.approx((0.9 * 1 + 0.1 * 2) / 2)


def test_two_equal_columns_of_ranks_share_at_most_log_n() -> None:
    rows = np.arange(12.0).reshape(1, 6, 2)
    assert contenders.cca(contenders.normal_scores(rows), False)[0] == pytest.approx(math.log(6))


def test_estimates_are_differentiable_twice() -> None:
    model, rows = model_of().double(), torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(lambda x: model(x), rows, atol=1e-6)


def test_autocast_and_compile_give_the_estimate() -> None:
    model, rows = model_of(), torch.randn(2, 9, 4)
    with torch.no_grad():
        plain = model(rows)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(rows).float(), plain, atol=0.05, rtol=0.05)
        torch.testing.assert_close(torch.compile(model, backend="eager")(rows), plain)


def test_training_learns() -> None:
    rng = np.random.default_rng(0)
    batches = [families.mixed(["normal-dense-base", "additive-noise-base"], 1, 15, 32, rng) for _ in range(40)]
    tensors = [(torch.from_numpy(one.rows).float(), torch.from_numpy(one.information).float()) for one in batches]
    losses = method.train(model_of(), tensors, rate=3e-3)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_real_marginals_keep_ranks() -> None:
    sets = families.draw("normal-dense-base", 2, 30, 3, np.random.default_rng(0))
    moved = on_families.with_real_marginals(sets)
    np.testing.assert_array_equal(contenders.normal_scores(moved.rows), contenders.normal_scores(sets.rows))
    assert np.ptp(on_families.marginals(4), axis=0).min() > 1


def test_sets_are_alike_for_all_arms_and_differ_by_kind() -> None:
    kinds = ("in", "out", "digits", "validation")
    found = [on_families.sets_of(kind, 1, 10, 5, 3) for kind in kinds]
    np.testing.assert_array_equal(found[0].rows, on_families.sets_of("in", 1, 10, 5, 3).rows)
    assert len({float(one.rows.sum()) for one in found}) == 4
    with pytest.raises(ValueError, match="sets must be one of in"):
        on_families.sets_of("else", 1, 10, 5, 3)


def test_small_protocols(trained: Path) -> None:
    arms = ("mist", "mist_qr", *contenders.CLASSICAL, "calibrated", "regressed", "constant")
    for arm in arms:
        found = experiments.errors(arm=arm, seed=1000, sets="digits", networks=trained)
        assert found["error"] == found["small_error"] >= 0
        assert all(map(math.isfinite, found.values()))
    for arm in ("quantiles", "bootstrap_network", "bootstrap_ksg", "bootstrap_copula", "conformal_ksg"):
        found = experiments.intervals(arm=arm, seed=1000, sets="in", networks=trained)
        assert 0 <= found["coverage"] <= 1
        assert found["score"] >= found["width"] >= 0
        assert ("self_calibration" in found) == (arm == "bootstrap_network")
    for arm in ("mist", "mine", "smile"):
        assert experiments.neural(arm=arm, seed=1000, networks=trained)["small_error"] >= 0


@pytest.mark.parametrize("arm", ["mist", "mist_qr", "ksg", "cca"])
def test_the_papers_protocol(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_scale, "SCALES", {3: at_scale.Scale(32, 1, 40, 2, 2)})
    monkeypatch.setattr(at_scale, "BATCH", 16)
    monkeypatch.setattr(at_scale, "PARTS", 2)
    found = experiments.released(arm=arm, seed=0, device=CPU, largest=3)
    assert found["in_10_100"] >= 0
    assert found["out_10_100"] >= 0
    assert ("in_coverage" in found) == (arm == "mist_qr")


def test_batches_of_the_papers_size() -> None:
    rows, information = at_scale.batch(32, 12, 0)
    assert rows.shape == (256, rows.shape[1], 64)
    assert information.shape == (256,)
    assert {int((one != 0).any(0).sum()) for one in rows} <= {2 * d for d in range(2, 33)}
    with pytest.raises(ValueError, match="arm must be mist"):
        experiments.released(arm="mine", seed=0, device=CPU, largest=8)
