"""The curves, the runs at tiny sizes, and the 7B protocol on a tiny Qwen2 from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines.reinforcement import calculator_bench
from suites.entropy_mechanism import experiments, laws, method, on_problems
from suites.entropy_mechanism.contenders import ARMS
from tests.conftest import needed

CPU = torch.device("cpu")


def finite(metrics: dict) -> None:
    assert metrics
    assert all(np.isfinite(value).all() for value in metrics.values())


@pytest.mark.parametrize(("tokens", "percent"), [(10, 100.5), (10, 0.0), (10, float("nan")), (0, 2.0)])
def test_selection_of_what_is_no_share_is_refused(tokens: int, percent: float) -> None:
    with pytest.raises(ValueError, match=r"percent is|at least one token"):
        method.selection_size(tokens, percent)


def test_clipped_terms_have_no_gradient_and_clip_cov_that_of_its_values() -> None:
    generator = torch.Generator().manual_seed(0)
    logp, old, advantages = (torch.randn(3, 5, dtype=torch.float64, generator=generator) for _ in range(3))
    mask = torch.ones(3, 5, dtype=torch.bool)

    def loss(logp: torch.Tensor) -> torch.Tensor:
        drawn = torch.Generator().manual_seed(1)
        return method.clip_cov(logp, old, advantages, mask, lower=-9, upper=9, low=0.2, high=0.3, generator=drawn)

    assert torch.autograd.gradcheck(loss, logp.requires_grad_())


@pytest.mark.parametrize("name", laws.CURVES)
def test_curves_find_themselves(name: str) -> None:
    """Each curve fits points of its own kind, also those that it has not seen, and says the last one beforehand."""
    entropy = np.linspace(1.5, 0.05, 200)
    shapes = {
        "exponential": 1 - 0.2 * np.exp(entropy),
        "linear": 1 - 0.4 * entropy,
        "quadratic": 1 - 0.1 * entropy - 0.2 * entropy**2,
        "power": 1 - 0.3 * entropy**1.7,
    }
    fit, reward = laws.CURVES[name], shapes[name]
    assert laws.r_squared(fit(entropy, reward), entropy, reward) == pytest.approx(1, abs=1e-6)
    assert laws.held_out_error(fit, entropy, reward, 10) < 1e-4
    assert laws.extrapolation_error(fit, entropy, reward, 0.5) < 1e-3


def test_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(0)
    entropy = np.linspace(1.5, 0.05, 400)
    reward = 1.1 - 0.2 * np.exp(entropy) + 0.02 * rng.standard_normal(400)
    found = laws.interval(entropy, reward, block=20, draws=300, seed=0)
    assert found["a_low"] < 0.2 < found["a_high"] and found["ceiling_low"] < 0.9 < found["ceiling_high"]
    assert found["a_high"] - found["a_low"] < 0.02


def test_entropy_at_a_reward() -> None:
    rewards, entropies = torch.tensor([[0.1, 0.3, 0.5, 0.4], [2.0, 1.0, 0.0, 0.0]])
    assert on_problems.entropy_at(0.4, rewards, entropies) == pytest.approx(0.5)
    assert on_problems.entropy_at(0.6, rewards, entropies) is None


@pytest.mark.parametrize("arm", ARMS)
def test_bandit(arm: str) -> None:
    finite(experiments.bandit(arm=arm, seed=1000, steps=2))


def test_law_and_covariance_of_a_run(tmp_path: Path) -> None:
    course = on_problems.bandit_course(ARMS["grpo"](torch.Generator()), 1000, steps=79)
    assert len(course.rewards) == len(course.entropies) == len(course.covariances) + 1 == 80
    save_file(course._asdict(), tmp_path / "run.safetensors")
    for arm in laws.CURVES:
        finite(experiments.entropy_law(arm=arm, seed=0, grpo_bandit=tmp_path / "run.safetensors"))
    finite(experiments.covariance_sign(grpo_bandit=tmp_path / "run.safetensors"))


def test_calculator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("gsm8k")
    start = calculator_bench.taught_policy(1000, CPU, steps=20)
    save_file(start.state_dict(), tmp_path / "start.safetensors")
    path = tmp_path / "start.safetensors"
    for arm in ("grpo", "clip_cov", "kl_cov_2_1"):
        finite(experiments.calculator(arm=arm, seed=1000, device=CPU, steps=1, rate=1e-3, calculator_start=path))
    for module in (calculator_bench, on_problems):
        monkeypatch.setattr(module, "HELD_OUT", 8)
    finite(experiments.calculator_benefit(arm="clip_higher", seed=1000, device=CPU, steps=1, rate=1e-3, lessons=2))


def test_held_out_questions_are_not_trained_on() -> None:
    needed("gsm8k")
    train, values, held_out = calculator_bench.calculator_problems(3)
    assert len(train) == len(values) == 5_940 and len(held_out) == 660
    rows = {tuple(row) for row in train.prompts.tolist()}
    assert len(rows) == 5_940 and not rows & {tuple(row) for row in held_out.prompts.tolist()}


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["grpo", "clip_higher", "clip_cov", "kl_cov"])
def test_qwen_from_disk(arm: str) -> None:
    metrics = experiments.qwen_mathematics(
        arm=arm, seed=1000, device=CPU, model="qwen2.5-0.5b", steps=2, questions=4, samples=2, minibatch=2, rate=1e-3,
        percent=0.2, prompt=300, response=5,
    )  # fmt: skip
    finite(metrics)
    assert {"aime24", "aime25", "amc23", "math500", "mean", "entropy"} <= set(metrics)
