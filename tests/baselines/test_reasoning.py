"""Chains, the styles of a response, what a taught policy makes of them, and the measures."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.reinforcement.problems import CHAIN, Problems
from baselines.reinforcement.reasoning import (
    LONGEST,
    STYLES,
    TAG,
    WIDTH,
    chain_policy,
    continued,
    entropies,
    gsm8k_chains,
    measure,
    modular_chains,
    phases,
    refilled_chains,
    total_variation,
    warm_start,
    worth_of_steps,
)
from baselines.reinforcement.rollouts import collect
from tests.conftest import needed


def right(problems: Problems, responses: list[str]) -> list[bool]:
    actions = CHAIN.encode(responses, width=LONGEST)
    return problems.verify(actions, actions != 0, problems.answers).tolist()


def test_styles() -> None:
    assert {name: style(("3", "4", "15")) for name, style in STYLES.items()} == {
        "skipped": "#15$",
        "half": "3;#15$",
        "once": "3;4;#15$",
        "twice": "3;3;4;4;#15$",
    }


def test_modular_chains_have_their_values() -> None:
    problems, values = modular_chains((2, 5), 40, seed=0, modulus=7)
    assert {len(one) for one in values} == {2, 5}
    assert problems.prompts.shape == (40, WIDTH)
    for prompt, found in zip(problems.prompts, values, strict=True):
        text = CHAIN.decode(prompt).rstrip("=")
        value, expected = int(text[0]), []
        for sign, operand in zip(text[1::2], text[2::2], strict=True):
            value = {"+": value + int(operand), "-": value - int(operand), "*": value * int(operand)}[sign] % 7
            expected.append(str(value))
        assert tuple(expected) == found
    assert all(right(problems, [STYLES["twice"](one) for one in values]))
    with pytest.raises(ValueError, match="modulus"):
        modular_chains((2,), 3, seed=0, modulus=11)
    with pytest.raises(ValueError, match="depths"):
        modular_chains((1, 2), 3, seed=0)


@pytest.mark.parametrize("split", ["train", "test", "refilled"])
def test_chains_of_gsm8k_have_their_values(split: str) -> None:
    needed("gsm8k")
    problems, values = refilled_chains(per_shape=1, tries=5) if split == "refilled" else gsm8k_chains(split)
    assert problems.prompts.shape == (len(values), WIDTH)
    for prompt, found in list(zip(problems.prompts, values, strict=True))[:300]:
        known: dict[str, float] = {}
        for letter, step, value in zip("abcd", CHAIN.decode(prompt).rstrip("=").split(";"), found, strict=False):
            assert math.isclose(eval(step, {"__builtins__": {}}, known), float(value)), (split, step)
            known[letter] = float(value)
            assert 1 <= int(value) <= 99
    assert all(right(problems, [STYLES["once"](one) for one in values]))


def test_a_policy_learns_that_its_steps_pay() -> None:
    torch.manual_seed(0)
    problems, values = modular_chains((2,), 60, seed=0, modulus=3)
    policy = chain_policy()
    losses = warm_start(policy, problems, values, steps=60, seed=0, batch=32)
    assert losses[-1] < 0.6 * losses[0]
    think, answer = worth_of_steps(policy, problems)
    assert think.shape == answer.shape == (60,)
    found = measure(policy, problems, samples=2, seed=0, start=policy)
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert found.length == pytest.approx(float(found.lengths.mean()))
    assert found.accuracy == pytest.approx(float(found.solved.mean()))
    assert found.thinking < found.length
    assert set(found.numbers()) >= {"accuracy", "thinking_entropy", "answer_entropy"}
    written = collect(policy, problems, 20, 2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(entropies(policy, written)[written.mask], written.old_entropy[written.mask])
    whole = written.mask.sum(1) - 1
    rows = torch.arange(40)
    # From all but its end on, a response hardly has another way to go; from nothing on, it is any response.
    near = continued(policy, problems, written, rows, whole, torch.Generator().manual_seed(1), samples=4)
    assert float((near.round() == written.correct).float().mean()) > 0.8
    assert policy.max_tokens == LONGEST


def test_phases() -> None:
    actions = CHAIN.encode(["3;#4#5$", "3;4$", "#4$"], width=8)
    thinking, answer = phases(actions, actions != 0)
    assert thinking.sum(1).tolist() == [2, 4, 0]
    assert answer.sum(1).tolist() == [4, 0, 2]
    assert not bool((thinking & answer).any())
    assert bool((actions[answer] != 0).all())
    assert CHAIN["#"] == TAG


def test_total_variation() -> None:
    assert total_variation([1.0, 3.0, 2.0]) == 3.0
    assert total_variation([1.0]) == 0.0
