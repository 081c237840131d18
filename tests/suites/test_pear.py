"""The reward by hand, its conventions, and the protocols on a few examples; claims: `crossexam run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from baselines.reinforcement import reasoning
from baselines.reinforcement.calculator_bench import calculator_policy
from suites.pear import experiments, on_calculator, on_chains, on_filler, on_mathematics
from suites.pear.method import penalty, phase_means, phase_reward, phases, score_text
from tests.conftest import needed

CPU = torch.device("cpu")
ACTIONS = torch.tensor([[1, 2, 9, 3, 9], [1, 2, 3, 0, 0], [9, 1, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
H = torch.tensor([[0.5, 0.7, 3.0, 0.1, 0.3], [0.2, 0.4, 0.9, 5.0, 5.0], [2.0, 0.8, 5.0, 5.0, 5.0]])


def test_by_hand() -> None:
    thinking, answer = phases(ACTIONS, MASK, 9)
    assert thinking.int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert answer.int().tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    means = phase_means(H, thinking, answer)
    torch.testing.assert_close(means[0], torch.tensor([0.6, 0.3, 0.0]))
    torch.testing.assert_close(means[1], torch.tensor([0.2, 0.0, 0.8]))
    torch.testing.assert_close(penalty(*means), torch.tensor([0.4, 0.3, 0.0]))
    rewards = phase_reward(torch.tensor([True, True, False]), H, thinking, answer, score=0.9, format_score=0.1)
    torch.testing.assert_close(rewards, torch.tensor([0.5, 0.6, 0.1]))


def test_untagged_may_be_answer() -> None:
    thinking, answer = phases(ACTIONS, MASK, 9, untagged="answer")
    assert thinking[1].sum() == 0
    assert answer[1].int().tolist() == [1, 1, 1, 0, 0]
    assert answer[0].int().tolist() == [0, 0, 0, 1, 1]


def test_layout_and_compilation_change_nothing() -> None:
    def reward(entropy: torch.Tensor) -> torch.Tensor:
        return phase_reward(torch.ones(3), entropy, *phases(ACTIONS, MASK, 9))

    expected = reward(H)
    torch.testing.assert_close(reward(H.T.contiguous().T), expected)
    torch.testing.assert_close(torch.compile(reward, backend="aot_eager")(H), expected)


def test_a_text() -> None:
    entropies = H[0].double()
    assert score_text("#### 7", "7", entropies=entropies, tokens=ACTIONS[0], tag=9) == pytest.approx(0.6)
    assert score_text("no number", "7", entropies=entropies, tokens=ACTIONS[0], tag=9, format_score=0.5) == 0


@pytest.fixture
def start(few_chains: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(on_chains, "RATES", (1e-3,))
    return few_chains(on_chains, train=320)


@pytest.mark.parametrize("arm", ["pear", "length_0.3"])
def test_protocol_on_few_chains(start: Path, arm: str) -> None:
    found = experiments.chains(arm=arm, seed=0, steps=1, chain_start=start)
    assert all(math.isfinite(value) for value in found.values())
    assert found["rate"] == 1e-3


def test_sums(few_sums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_calculator, "RATES", (1e-3,))
    found = experiments.sums(arm="pear", seed=0, steps=1, calculator_start=few_sums)
    assert all(math.isfinite(value) for value in found.values())
    assert on_chains.CALCULATOR["#"] == on_chains.TAG  # the arms look for one tag on both benches


def test_split_keeps_long_chains_apart() -> None:
    needed("gsm8k")
    train, validation, test, four = on_chains.split(0)
    steps = [(part.prompts == reasoning.CHAIN[";"]).sum(1) + 1 for part in (train, validation, test, four)]
    assert [int(one.max()) for one in steps] == [3, 3, 3, 4]
    assert int(steps[3].min()) == 4
    assert not {tuple(p) for p in train.prompts.tolist()} & {tuple(p) for p in validation.prompts.tolist()}


def test_before_training(start: Path, tmp_path: Path) -> None:
    save_file(calculator_policy(0).state_dict(), tmp_path / "recurrent.safetensors")
    for problems in ("chains", "calculator"):
        found = experiments.before(
            problems=problems, seed=0, questions=6, chain_start=start, calculator_start=tmp_path / "recurrent.safetensors"
        )  # fmt: skip
        assert -1 <= found["spearman"] <= 1


def test_filler(tmp_path: Path) -> None:
    assert on_filler.response(("3", "4"), filled=True) == "b;;;;;;3;#4$"
    save_file(experiments.filler_start(device=CPU, steps=2), tmp_path / "start.safetensors")
    found = experiments.filler(arm="pear", seed=0, steps=1, filler_start=tmp_path / "start.safetensors")
    assert 0 <= found["filled"] <= 1


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["grpo", "pear"])
def test_mathematics_from_disk(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_mathematics, "EVALUATED", {"math500": (1, 1.0)})
    monkeypatch.setattr(on_mathematics, "closing_tag", lambda _: 20)  # the tiny tokeniser knows single characters only
    metrics = experiments.mathematics(
        arm=arm, seed=0, device=CPU, model="qwen2.5-0.5b", train="dapo-math-17k", steps=1, questions=4, samples=2,
        minibatch=4, rate=1e-3, prompt=300, response=5,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.usefixtures("mathematics")
def test_a_tag_of_many_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no single token"):
        on_mathematics.closing_tag("qwen2.5-0.5b")
