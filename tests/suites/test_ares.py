"""Windows, thresholds and rewards by hand, edges, and the protocols on a few examples; claims: `crossexam run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baselines.reinforcement import reasoning_runs
from baselines.reinforcement.policy_gradient import token_log_probs
from baselines.reinforcement.problems import Problems
from suites.ares import contenders, experiments, on_chains, on_language
from suites.ares.method import (
    AdaptiveKL,
    Shaping,
    Threshold,
    ares_loss,
    difficulty,
    high_windows,
    listed_entropy,
    mean_counts,
    own_percentile,
    window_entropy,
)
from tests.conftest import needed

CPU = torch.device("cpu")
H = torch.tensor([[0.0, 1.0, 3.0, 2.0, 9.0], [1.0, 5.0, 9.0, 9.0, 9.0]])
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])


def test_windows_by_hand() -> None:
    found = window_entropy(H, MASK, window=2)
    assert found.tolist() == [[2.0, 2.5, *[-math.inf] * 3], [-math.inf] * 5]
    own = own_percentile(found, MASK, percentile=50.0)
    assert own[0] == 2.25  # of 2, 2.5, and twice their mean
    assert own[1].isnan()
    counts, soft = high_windows(found, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]), 2.25)
    assert counts.tolist() == [1, 0]
    assert soft.tolist() == [0.25, 0.0]
    tau = Threshold()
    tau.update(own)
    assert tau.value == 2.25


def test_rewards_by_hand() -> None:
    # An easy question whose target is 4: 8 windows are 3 beyond the margin of 1, 3 - kappa / 2 = 2 of 1 + 2.
    counts = torch.tensor([8, 3, 1])
    found = Shaping(adapt=False).rewards(counts, torch.tensor([1.0, 1.0, 0.0]), 3)
    assert found.tolist() == pytest.approx([1 - 0.5 * 2 / 3, 1.0, 0.15])
    # All wrong: a hard question, one window beyond the margin of 1.4.
    found = Shaping(adapt=False, floor=False).rewards(torch.tensor([2, 6, 4]), torch.zeros(3), 3)
    assert found.tolist() == pytest.approx([0.0, 0.6 * math.tanh(0.6 / 6), 0.0])
    assert difficulty(torch.tensor([1, 1, 0, 1, 0, 0, 0, 0, 0]), 3).tolist() == [0, 1, 2]


def test_buckets_without_questions() -> None:
    means = mean_counts(torch.tensor([1, 3]), torch.tensor([2]), 2)
    assert means[2] == 2
    assert means[:2].isnan().all()
    shaping = Shaping()
    assert shaping.rewards(torch.empty(0), torch.empty(0), 4).shape == (0,)
    assert shaping.alpha.tolist() == [0.5] * 3
    assert Shaping().rewards(torch.tensor([2, 2]), torch.tensor([0, 0]), 2).dtype == torch.float32


def test_nothing() -> None:
    none = torch.zeros(0, 4)
    assert window_entropy(none, none).shape == (0, 4)
    assert own_percentile(none, none).shape == (0,)
    assert window_entropy(torch.zeros(2, 0), torch.zeros(2, 0)).shape == (2, 0)
    assert own_percentile(torch.zeros(2, 0), torch.zeros(2, 0)).isnan().all()
    assert float(ares_loss(none, none, torch.zeros(0, 1), none)) == 0
    assert listed_entropy(torch.tensor([0.0, -math.inf])) == 0
    AdaptiveKL().observe(torch.empty(0), torch.empty(0))


def test_layout_compilation_and_autocast_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(9, 3, 7, generator=generator).transpose(0, 1)
    actions, mask = torch.randint(7, (3, 9), generator=generator), torch.ones(3, 9, dtype=torch.bool)
    advantages = torch.tensor([[1.0], [-1.0], [0.5]])
    old = token_log_probs(z, actions) - 0.1

    def loss(logits: torch.Tensor) -> torch.Tensor:
        counts, _ = high_windows(window_entropy(listed_entropy(logits.log_softmax(-1)), mask), mask, 1.0)
        logp = token_log_probs(logits, actions)
        return ares_loss(logp, old, advantages, mask, reference=old, weights=1.0 + counts[:, None])

    expected = loss(z.contiguous())
    torch.testing.assert_close(loss(z), expected)
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(z), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(z), expected)
    few = z[:1, :5].double().contiguous().requires_grad_()
    first = (old[:1, :5], advantages[:1], mask[:1, :5])
    assert torch.autograd.gradgradcheck(
        lambda logits: ares_loss(token_log_probs(logits, actions[:1, :5]), *first, reference=first[0]), few
    )


def test_an_arm_is_known() -> None:
    with pytest.raises(ValueError, match="an arm is one of"):
        contenders.Arm("dapo", 1, limit=1, window=1, percentile=50.0)


@pytest.fixture
def start(few_chains: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reasoning_runs, "VALIDATION", 20)
    return few_chains(on_chains, train=60)


@pytest.mark.parametrize("arm", ["length_penalty", "ares", "token_count"])
def test_protocol_on_few_chains(start: Path, arm: str) -> None:
    found = experiments.chains(arm=arm, seed=0, steps=1, rate=1e-3, window=4, percentile=95.0, chain_start=start)
    assert found["hard_questions"] == 12
    assert math.isfinite(found["hard_length_change"])
    assert (found["hard_beta"] != 1.0) == (arm != "length_penalty")


def test_forks_on_few_chains(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An untaught policy is never right: here all is right whose first symbol is below 13.
    whole = on_chains.gsm8k_chains("test")
    problems = Problems(whole[0].prompts, whole[0].answers, lambda actions, mask, answers: actions[:, 0] < 13)
    monkeypatch.setattr(on_chains, "gsm8k_chains", lambda split: (problems, whole[1]))
    found = experiments.forks(seed=0, places=48, samples=4, chain_start=start)
    assert 0 < found["resampled_forks"] < 1
    # Only what stands at the first place decides.
    assert found["resampled_place"] > 0.8


def test_language_model() -> None:
    for name in ("gsm8k", on_language.MODEL):
        needed(name, "gguf", "accelerate")
    assert on_language.last_number("so 1,200.5 and 3.") == "3"
    assert on_language.last_number("none") == ""
    found = experiments.resampling(seed=0, texts=2, places=6, draws=6, tokens=14)
    assert 0 <= found["forks"] <= 1
    assert 0 < found["same_share"] < 1


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["ares", "token_count"])
def test_mathematics_from_disk(arm: str) -> None:
    metrics = experiments.mathematics(
        arm=arm, seed=0, device=CPU, model="qwen2.5-0.5b", steps=2, questions=4, samples=2, minibatch=2, rate=1e-3,
        prompt=300, response=8, window=4, percentile=95.0,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in metrics.values())
