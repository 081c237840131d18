"""Rewards, objectives and choices by hand, edges, and the protocols on a few examples; claims: `crossexam run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from baselines.reinforcement import reasoning, reasoning_runs
from baselines.reinforcement.policy_gradient import token_log_probs
from baselines.reinforcement.problems import Problems
from suites.implicit_prm import contenders, experiments, on_chains
from suites.implicit_prm.method import (
    all_pairs,
    balanced_weights,
    best_of_n,
    ce_loss,
    dpo_loss,
    kto_loss,
    nca_loss,
    response_scores,
    split_steps,
    step_rewards,
    token_rewards,
    weighted_vote,
)

LOGP = torch.tensor([[-1.0, -2.0, -1.0, math.nan], [-3.0, -1.0, -1.0, -2.0]])
REFERENCE = torch.tensor([[-2.0, -1.0, -4.0, 5.0], [-1.0, -1.0, -3.0, -1.0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
ACTIONS = torch.tensor([[7, 9, 7, 9], [9, 7, 9, 7]])


def test_rewards_by_hand() -> None:
    rewards = token_rewards(LOGP, REFERENCE, MASK, beta=0.5)
    assert rewards.tolist() == [[0.5, -0.5, 1.5, 0.0], [-1.0, 0.0, 1.0, -0.5]]
    numbers = split_steps(ACTIONS, MASK, {9})
    assert numbers.tolist() == [[0, 0, 1, -1], [0, 1, 1, 2]]
    steps, present = step_rewards(rewards, numbers)
    assert steps.tolist() == [[0.0, 1.5, 0.0], [-1.0, 1.0, -0.5]]
    assert present.tolist() == [[True, True, False], [True] * 3]
    assert response_scores(steps, present).tolist() == [0.0, -1.0]
    assert response_scores(steps, present, over="sum", accumulated=True).tolist() == [1.5, -1.5]


def test_objectives_by_hand() -> None:
    even, labels = torch.zeros(2), torch.tensor([1, 0])
    assert float(ce_loss(even, labels)) == pytest.approx(math.log(2))
    assert float(nca_loss(even, even)) == pytest.approx(2 * math.log(2))
    assert float(dpo_loss(torch.tensor([1.0]), torch.tensor([-1.0]))) == pytest.approx(math.log1p(math.exp(-2)))
    # The reward of the right response is at the baseline, that of the wrong one log 3 below.
    loss = kto_loss(torch.tensor([1.0, 1 - math.log(3)]), labels, torch.tensor(1.0))
    assert float(loss) == pytest.approx((0.5 + 0.25) / 2)


def test_data_by_hand() -> None:
    labels, questions = torch.tensor([1, 0, 0, 1, 1]), torch.tensor([4, 4, 4, 2, 2])
    assert balanced_weights(labels, questions).tolist() == [1.5, 0.75, 0.75, 0.0, 0.0]
    assert all_pairs(labels, questions).tolist() == [[0, 1], [0, 2]]


def test_choices_by_hand() -> None:
    scores, correct = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    assert float(best_of_n(scores, correct, 2)) == pytest.approx(1 / 3)
    answers = torch.tensor([[5, 6, 5, -1, -1, -1]])
    confident = torch.tensor([[-9.0, 9.0, -9.0, 0.0, 0.0, 0.0]])
    assert weighted_vote(confident, answers, coefficient=0.0).tolist() == [0]
    assert weighted_vote(confident, answers, coefficient=1.0).tolist() == [1]
    assert weighted_vote(torch.full((1, 6), -math.inf), answers, coefficient=0.0).tolist() == [0]


def test_layout_compilation_and_autocast_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(9, 3, 7, generator=generator).transpose(0, 1)
    actions, mask = torch.randint(7, (3, 9), generator=generator), torch.ones(3, 9, dtype=torch.bool)
    reference = token_log_probs(torch.randn(3, 9, 7, generator=generator), actions)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        rewards = token_rewards(token_log_probs(logits, actions), reference.to(logits), mask).sum(1)
        return ce_loss(rewards, torch.tensor([1, 0, 1])) + nca_loss(rewards[:1], rewards[1:2])

    expected = loss(z.contiguous())
    torch.testing.assert_close(loss(z), expected)
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(z), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(z), expected)
    free = z.double().contiguous().requires_grad_()
    assert torch.autograd.gradgradcheck(loss, free)


def test_steps_end_where_they_say() -> None:
    steps = contenders.steps_of(ACTIONS, MASK.bool(), 9)
    assert steps.ends.tolist() == [[1, 2, 0], [0, 2, 3]]
    assert steps.last.tolist() == [[False, True, False], [False, False, True]]


def test_a_spoilt_value_has_as_many_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        values, at = on_chains.spoil(("24", "7", "72"), generator)
        assert values[2] == "72"
        assert (values[0] != "24") == (at == 0)
        assert [len(one) for one in values] == [2, 1, 2]


def lucky(problems: Problems) -> Problems:
    """Right is what begins with a symbol below 13: an untaught policy is never right otherwise."""
    return Problems(problems.prompts, problems.answers, lambda actions, mask, answers: actions[:, 0] < 13)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An untaught policy, few modular sums that may be right by luck, one rate."""
    torch.manual_seed(0)
    save_file(reasoning.chain_policy().state_dict(), tmp_path / "start.safetensors")

    def sums(*args: object, **options: object) -> tuple[Problems, list[reasoning.Values]]:
        problems, values = reasoning.modular_chains(*args, **options)  # type: ignore[arg-type]
        return lucky(problems), values

    monkeypatch.setattr(on_chains, "modular_chains", sums)
    for name, value in {"RATES": (1e-3,), "CHOOSING": 8, "TESTED": 12}.items():
        monkeypatch.setattr(on_chains, name, value)
    monkeypatch.setattr(contenders, "LABEL_PASSES", (1,))
    return tmp_path / "start.safetensors"


@pytest.mark.parametrize("arm", contenders.ARMS)
def test_protocol_on_few_sums(start: Path, arm: str) -> None:
    found = experiments.modular(arm=arm, seed=0, questions=16, passes=1, beta=0.05, budget=1.0, modular_start=start)
    assert all(math.isfinite(value) for value in found.values())
    assert 0 <= found["any"] <= found["right_somewhere"] <= 1
    assert (found["responses"] < 128) == (arm in contenders.LABELLED)
    assert ("over_bare" in found) == (arm not in ("orm", "shepherd"))


def test_luck_is_learnt(start: Path) -> None:
    found = experiments.modular(arm="ce", seed=0, questions=50, passes=2, beta=0.05, budget=1.0, modular_start=start)
    assert found["gain"] > 0.2


def test_questions_differ(start: Path) -> None:
    ground = on_chains.modular_ground(start, 30, 0)
    assert [len(part) for part in (ground.train, ground.choose, ground.test, ground.values)] == [30, 8, 12, 12]
    prompts = torch.cat([ground.train.prompts, ground.choose.prompts, ground.test.prompts])
    assert len({tuple(prompt) for prompt in prompts.tolist()}) == 50


def test_amounts_on_few_sums(start: Path) -> None:
    found = experiments.amount(seed=0, questions=8, passes=1, beta=0.05, modular_start=start)
    assert found["more_responses"] == pytest.approx(found["responses_8"] - found["responses_1"])


def test_protocol_on_few_chains(start: Path, few_chains: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    few_chains(on_chains, train=24)
    few = on_chains.gsm8k_chains
    monkeypatch.setattr(reasoning_runs, "VALIDATION", 8)
    for module in (on_chains, reasoning_runs):
        monkeypatch.setattr(module, "gsm8k_chains", lambda split: (lucky(few(split)[0]), few(split)[1]))
    found = experiments.chains(arm="ce", seed=0, questions=16, passes=1, beta=0.05, budget=1.0, chain_start=start)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["ce", "dpo"])
def test_mathematics_from_disk(arm: str) -> None:
    metrics = experiments.mathematics(
        arm=arm, seed=0, device=torch.device("cpu"), model="qwen2.5-0.5b", questions=3, samples=2, candidates=4,
        batch=2, rate=1e-3, beta=0.05, prompt=300, response=6,
    )  # fmt: skip
    assert set(metrics) == {"any", "outcome_4", "outcome_gain", "minimum_4", "minimum_gain"}
    assert all(math.isfinite(value) for value in metrics.values())
