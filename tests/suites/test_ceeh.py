"""The memory and both losses by hand, what they refuse, and the protocols on a few examples; claims: `crossexam run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baselines.reinforcement import calculator_bench, reasoning_runs
from baselines.reinforcement.policy_gradient import token_entropy, token_log_probs
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.rollouts import collect
from suites.ceeh import experiments, on_mathematics, on_problems
from suites.ceeh.contenders import ARMS, Learner
from suites.ceeh.method import Memory, ceeh_ea, ceeh_me, entropy_advantages, length_reward, nag, weighted_entropy

CPU = torch.device("cpu")
IDS = torch.tensor([0, 0, 1, 1])
LENGTHS = torch.tensor([10, 20, 10, 30])
H = torch.tensor([[0.5, 1.0], [2.0, 9.0]])
MASK = torch.tensor([[1, 1], [1, 0]])
HARD = torch.tensor([True, False])


def test_two_batches_by_hand() -> None:
    memory = Memory(3, scale=0.5)
    first = memory.visit(IDS, torch.tensor([1.0, 1.0, 1.0, 0.0]), LENGTHS)
    assert first.bonus.tolist() == [0.0] * 4  # no anchor yet
    assert first.hard.tolist() == [False, False, True, True]  # 1 and 0.5 against 0.75
    second = memory.visit(IDS, torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([5, 5, 15, 40]))
    # Question 0 is answered worse than before, so gets none; the anchor of question 1 is 10.
    assert second.bonus.tolist() == [0.0, 0.0, -0.25, -0.9]
    assert memory.accuracy.tolist()[:2] == pytest.approx([0.975, 0.6])
    assert memory.anchors.tolist()[:2] == [5.0, 10.0]
    assert bool(memory.anchors[2].isnan())


def test_the_code_averages_anchors() -> None:
    memory = Memory(1, anchor="ema")
    for length in (100, 50, 190):
        memory.visit(IDS[:1], torch.ones(1), torch.tensor([length]))
    assert float(memory.anchors) == pytest.approx(0.95 * (0.8 * 100 + 0.2 * 50) + 0.05 * 190)


def test_a_checkpoint_keeps_the_memory() -> None:
    memory, other = Memory(3), Memory(3)
    memory.visit(IDS, torch.ones(4), LENGTHS)
    other.load_state_dict(memory.state_dict())
    torch.testing.assert_close(other.anchors, memory.anchors, equal_nan=True)


def test_wrong_answers_only_and_nothing_at_all() -> None:
    memory = Memory(2)
    assert memory.visit(IDS, torch.zeros(4), LENGTHS).bonus.tolist() == [0.0] * 4
    assert bool(memory.anchors.isnan().all())
    empty = memory.visit(IDS[:0], torch.zeros(0), LENGTHS[:0])
    assert empty.hard.shape == (0,)


def test_losses_by_hand() -> None:
    advantages = torch.tensor([[1.0], [-2.0]])
    shaped = entropy_advantages(advantages, H, MASK, HARD)
    torch.testing.assert_close(shaped, torch.tensor([[1.2, 1.4], [-2.0, -2.0]]))
    torch.testing.assert_close(
        entropy_advantages(advantages, H, MASK, HARD, kappa=4.0), torch.tensor([[1.2, 1.25], [-2, -2]])
    )
    assert float(weighted_entropy(H, MASK, HARD)) == pytest.approx((5 * 0.5 + 5 * 1.0 + 2.0) / 11)
    same = torch.zeros(2, 2)
    assert float(ceeh_ea(same, same, advantages, H, MASK, HARD)) == pytest.approx(-(1.2 + 1.4 - 2.0) / 3)
    assert float(ceeh_me(same, same, advantages, H, MASK, HARD, coefficient=0.1)) == pytest.approx(-0.95 / 11)
    assert nag(0.5, 0.0, base_accuracy=1.0, base_length=8.0) == 50
    assert length_reward(torch.tensor([8.0]), torch.tensor([10.0]), scale=0.5).tolist() == pytest.approx([0.1])


@pytest.mark.parametrize("loss", [ceeh_ea, ceeh_me])
def test_layout_compilation_and_autocast_change_nothing(loss: Callable[..., torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, 3, 7, generator=generator).transpose(0, 1)
    actions, mask = torch.randint(7, (3, 5), generator=generator), torch.ones(3, 5, dtype=torch.bool)
    advantages, hard = torch.tensor([[1.0], [-1.0], [0.5]]), torch.tensor([True, False, True])
    old = token_log_probs(z, actions) - 0.1

    def value(logits: torch.Tensor) -> torch.Tensor:
        return loss(token_log_probs(logits, actions), old, advantages, token_entropy(logits), mask, hard)

    expected = value(z.contiguous())
    torch.testing.assert_close(value(z), expected)
    torch.testing.assert_close(torch.compile(value, backend="aot_eager")(z), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(value(z), expected)
    if loss is ceeh_me:  # in the other the entropy is a constant, which finite differences do not know
        assert torch.autograd.gradgradcheck(value, z.double().contiguous().requires_grad_())


@pytest.mark.parametrize("logits", [[0.0, -math.inf], [1e4, -1e4], [88.0, 88.0]])
@pytest.mark.parametrize("loss", [ceeh_ea, ceeh_me])
def test_logits_at_the_edge(logits: list[float], loss: Callable[..., torch.Tensor]) -> None:
    z = torch.tensor([[logits]], requires_grad=True)
    logp = token_log_probs(z, torch.zeros(1, 1, dtype=torch.int64))
    ones = torch.ones(1, 1)
    value = loss(logp, logp.detach() - 90, -ones, token_entropy(z), ones, torch.ones(1))
    assert bool(value.isfinite())
    assert bool(torch.autograd.grad(value, z)[0].isfinite().all())


@pytest.fixture
def start(few_chains: Callable[..., Path]) -> Path:
    return few_chains()


def test_arms_do_what_they_say(start: Path) -> None:
    policy, (train, _, _) = reasoning_runs.started(start), reasoning_runs.split_chains(0)
    train = Problems(train.prompts, train.answers, train.verify)  # each at most once in a batch
    rollouts = collect(policy, train, 16, 2, torch.Generator().manual_seed(0))
    right = torch.arange(32) % 2 * (torch.arange(32) < 16)
    rollouts = type(rollouts)(**{**vars(rollouts), "correct": right.float()})
    heavy, rewards = {}, {}
    for arm in ARMS:
        learner = Learner(arm, len(train), steps=4, seed=0, length_scale=0.5, coefficient=0.1, device=CPU)
        learner.reward(rollouts)
        learner.memory.anchors += 1
        rewards[arm], heavy[arm] = learner.reward(rollouts), learner.heavy[rollouts.ids]
    assert torch.equal(rewards["grpo"], rollouts.correct)
    assert bool((rewards["length_only"] > rollouts.correct).any())
    assert bool((heavy["me_easy"] == ~heavy["ceeh_me"]).all())
    assert not bool(heavy["me_uniform"].any())
    assert int(heavy["me_shuffled"].sum()) == int(heavy["ceeh_me"].sum())
    assert not torch.equal(heavy["me_shuffled"], heavy["ceeh_me"])


@pytest.mark.parametrize("arm", ["grpo", "ceeh_me", "ceeh_ea"])
def test_protocol_on_few_chains(start: Path, arm: str) -> None:
    found = experiments.chains(
        arm=arm, seed=0, steps=3, questions=10, rate=1e-3, length_scale=0.5, coefficient=0.1, chain_start=start
    )
    assert found["length_ratio"] > 0


def test_protocol_on_few_sums(few_sums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_problems, "calculator_problems", calculator_bench.calculator_problems)
    found = experiments.sums(
        arm="me_ema_anchor", seed=0, steps=10, questions=4, rate=1e-3, length_scale=0.5, coefficient=0.1,
        calculator_start=few_sums,
    )  # fmt: skip
    assert found["length"] > 0


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["ceeh_ea", "ceeh_me"])
def test_mathematics_from_disk(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_mathematics, "EVALUATED", {"math500": (2, 0.6)})
    metrics = experiments.mathematics(
        arm=arm, seed=0, device=CPU, model="qwen2.5-0.5b", train="dapo-math-17k", subset=3, steps=2, questions=2,
        samples=2, minibatch=2, rate=1e-3, prompt=300, response=5, length_scale=0.1, coefficient=0.001,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in metrics.values())
