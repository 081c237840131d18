"""Estimates and weights by hand, the contenders, and the protocols on a few examples; claims: `crossexam run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baselines.reinforcement.rollouts import Update
from suites.steer import experiments, on_chains
from suites.steer.method import diagonal_change, entropy_change, estimate, steer_loss, token_weights

CPU = torch.device("cpu")


def test_by_hand() -> None:
    half, h = torch.tensor([[math.log(0.5)]], dtype=torch.float64), torch.tensor([[0.9]], dtype=torch.float64)
    advantage = torch.tensor([[2.0]], dtype=torch.float64)
    omega = 2.0 / 0.25 * 0.5 * 0.5 * (math.log(0.5) + 0.9)
    assert float(estimate(half, half - math.log(2), advantage, h)) == pytest.approx(omega)
    assert float(diagonal_change(half, half, advantage, h)) == pytest.approx(-2 * 0.25 * (math.log(0.5) + 0.9))
    two = torch.tensor([[[math.log(3.0), 0.0]]], dtype=torch.float64)
    p, q = 0.75, 0.25
    entropy = -(p * math.log(p) + q * math.log(q))
    change = p * (math.log(p) + entropy) - p**2 * (math.log(p) + entropy) - q**2 * (math.log(q) + entropy)
    found = entropy_change(
        two, torch.tensor([[0]]), torch.ones(1, 1), torch.tensor([[math.log(p)]], dtype=torch.float64)
    )
    assert float(found) == pytest.approx(-change)
    weights = token_weights(torch.tensor([[0.5, -1.0, 9.0]]), torch.tensor([[1, 1, 0]]), least=0.25)
    assert weights.tolist() == [[pytest.approx(0.5), pytest.approx(0.25), 0.0]]


def test_layout_compilation_and_autocast_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    logp = -torch.rand(4, 3, generator=generator).T
    old, h = logp - 0.1, torch.rand(3, 4, generator=generator)
    advantages, mask = torch.tensor([[1.0], [-1.0], [0.5]]), torch.ones(3, 4)

    def loss(one: torch.Tensor) -> torch.Tensor:
        return steer_loss(one, old, advantages, h, mask)

    expected = loss(logp.contiguous())
    torch.testing.assert_close(loss(logp), expected)
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(logp), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(logp), expected)


def test_empty() -> None:
    none = torch.zeros(0, 4)
    assert token_weights(none, none).shape == (0, 4)
    assert token_weights(none, none, weighting="linear").shape == (0, 4)
    assert float(steer_loss(none, none, torch.zeros(0, 1), none, none)) == 0


def test_barred_actions_have_no_part_in_a_change() -> None:
    z = torch.tensor([[[1.0, 0.0, -math.inf]]])
    logp = z.log_softmax(-1)[..., 0]
    whole = entropy_change(z, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1), logp)
    torch.testing.assert_close(
        whole, entropy_change(z[..., :2], torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1), logp)
    )


def update() -> Update:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 5, 7, generator=generator)
    logp = logits.log_softmax(-1)[..., 0]
    mask = torch.arange(5) < torch.randint(1, 6, (16, 1), generator=generator)
    return Update(
        ids=torch.zeros(16, dtype=torch.int64), prompts=logits, actions=torch.zeros(16, 5, dtype=torch.int64), mask=mask,
        correct=torch.ones(16), old=logp - 0.1, old_entropy=torch.rand(16, 5, generator=generator), group=8,
        advantages=torch.randn(16, 1, generator=generator).expand(16, 5), logp=logp, logits=logits,
    )  # fmt: skip


def test_contenders_share_the_mean_weight() -> None:
    one = update()
    weights = on_chains.weights_of(one, "exponential", 0.2)
    halves = [
        token_weights(estimate(*part), mask, least=0.2)
        for part, mask in (
            ((one.logp[rows], one.old[rows], one.advantages[rows], one.old_entropy[rows]), one.mask[rows])
            for rows in (slice(0, 8), slice(8, 16))
        )
    ]
    torch.testing.assert_close(weights, torch.cat(halves))
    generator = torch.Generator().manual_seed(0)
    losses = {name: float(make(on_chains.NORMAL, generator)(one)) for name, make in on_chains.ARMS.items()}
    assert len({round(value, 6) for name, value in losses.items() if name != "grpo_normal"}) == len(losses) - 1
    assert losses["grpo"] == losses["grpo_normal"]


@pytest.fixture
def start(few_chains: Callable[..., Path]) -> Path:
    return few_chains()


def test_protocols_on_few_chains(start: Path) -> None:
    found = experiments.chains(arm="permuted_0.2", seed=0, steps=2, clip="extreme", chain_start=start)
    assert found["variation"] == pytest.approx(found["drift"])  # of two steps
    found = experiments.normal_chains(arm="steer", seed=0, steps=1, clip="normal", chain_start=start)
    assert found["rate"] in (1e-4, 3e-4)
    found = experiments.foretold(seed=0, batches=4, rate=0.1, chain_start=start)
    assert -1 <= found["exact"] <= 1 or math.isnan(found["exact"])


def test_sums(few_sums: Path) -> None:
    found = experiments.sums(arm="steer", seed=0, steps=12, rate=1e-3, calculator_start=few_sums)
    assert found["variation"] == pytest.approx(found["drift"])  # of two means


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["grpo", "steer", "steer_linear"])
def test_mathematics_from_disk(arm: str) -> None:
    metrics = experiments.mathematics(
        arm=arm, seed=0, device=CPU, clip="normal", model="qwen2.5-0.5b", steps=2, questions=4, samples=2, minibatch=2,
        rate=1e-3, prompt=300, response=5,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in metrics.values())
