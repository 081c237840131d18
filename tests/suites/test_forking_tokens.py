"""The selection by hand, what it refuses, and the protocols on a few examples; claims: `crossexam run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baselines.reinforcement.policy_gradient import token_entropy, token_log_probs
from suites.forking_tokens import experiments, method, on_calculator, on_chains, on_language
from suites.forking_tokens.method import fork_mask, forking_loss, profile, selection_size
from tests.conftest import needed

CPU = torch.device("cpu")
H = torch.tensor([[0.1, 2.0, 0.3, 9.0], [0.7, 0.2, 9.0, 9.0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


def test_by_hand() -> None:
    assert fork_mask(H, MASK).nonzero().tolist() == [[0, 1]]
    assert fork_mask(H, MASK, share=0.4).nonzero().tolist() == [[0, 1], [1, 0]]
    assert fork_mask(H, MASK, scope="response").nonzero().tolist() == [[0, 1], [1, 0]]
    assert selection_size(0, 0.2) == 0
    assert selection_size(15, 0.2) == 3
    logp = torch.full((2, 4), math.log(1.1))
    found = forking_loss(logp, torch.zeros(2, 4), torch.tensor([[2.0], [-1.0]]), H, MASK, share=0.4)
    assert float(found) == pytest.approx((-2.2 + 1.1) / 2)


def test_layout_compilation_and_autocast_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, 3, 7, generator=generator).transpose(0, 1)
    actions, mask = torch.randint(7, (3, 5), generator=generator), torch.ones(3, 5, dtype=torch.bool)
    advantages = torch.tensor([[1.0], [-1.0], [0.5]])
    old = token_log_probs(z, actions) - 0.1

    def loss(logits: torch.Tensor) -> torch.Tensor:
        logp = token_log_probs(logits, actions)
        return forking_loss(logp, old, advantages, token_entropy(logits), mask)

    expected = loss(z.contiguous())
    torch.testing.assert_close(loss(z), expected)
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(z), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(z), expected)
    free = z.double().contiguous().requires_grad_()
    assert torch.autograd.gradgradcheck(loss, free)


@pytest.mark.parametrize("logits", [[0.0, -math.inf], [1e4, -1e4], [88.0, 88.0]])
def test_logits_at_the_edge(logits: list[float]) -> None:
    z = torch.tensor([[logits]], requires_grad=True)
    logp = token_log_probs(z, torch.zeros(1, 1, dtype=torch.int64))
    value = forking_loss(logp, logp.detach(), torch.ones(1, 1), token_entropy(z), torch.ones(1, 1))
    assert float(value.detach()) == -1
    assert bool(torch.autograd.grad(value, z)[0].isfinite().all())


def test_empty() -> None:
    none = torch.zeros(0, 4)
    assert fork_mask(none, none).shape == (0, 4)
    assert fork_mask(none, none, scope="response").shape == (0, 4)
    assert float(forking_loss(none, none, torch.zeros(0, 1), none, none)) == 0
    with pytest.raises(ValueError, match="at least one"):
        profile(none.flatten())


def test_arms_choose_what_they_say() -> None:
    entropy, mask = torch.rand(6, 10), torch.ones(6, 10, dtype=torch.bool)
    chosen = {name: choose(entropy, mask, torch.Generator().manual_seed(0)) for name, choose in on_chains.ARMS.items()}
    assert {name: int(one.sum()) for name, one in chosen.items()} == {
        "all": 60, "top_20": 12, "random_20": 12, "bottom_80": 48, "top_10": 6, "top_50": 30,
    }  # fmt: skip
    assert not bool((chosen["top_20"] & chosen["bottom_80"]).any())
    assert bool((chosen["top_20"] != chosen["random_20"]).any())


@pytest.fixture
def start(few_chains: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(on_chains, "RATES", (1e-3,))
    return few_chains(on_chains)


def test_protocols_on_few_chains(start: Path) -> None:
    found = experiments.chains(arm="top_20", seed=0, steps=1, chain_start=start)
    assert found["rate"] == 1e-3
    assert 0 <= found["overlap"] <= 1
    for arm in ("entropy", "random"):
        metrics = experiments.decoding(arm=arm, seed=0, hot=2.0, cold=0.3, chain_start=start)
        assert all(math.isfinite(value) for value in metrics.values())
    found = experiments.steps_pay(seed=0, chain_start=start)
    assert {"gain_low", "thinking", "start_accuracy", "top_share"} <= set(found)


def test_protocol_on_few_sums(few_sums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_calculator, "RATES", (1e-3,))
    found = experiments.calculator(arm="bottom_80", seed=0, steps=1, calculator_start=few_sums)
    assert found["rate"] == 1e-3
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("text", ["solutions", "articles"])
def test_language_model(text: str) -> None:
    for name in ("gsm8k", "wikitext-2-heldout", on_language.MODEL):
        needed(name, "gguf", "accelerate")
    found = experiments.skew(text=text, seed=0, texts=2, tokens=6)
    assert 0 < found["top_share"] <= 1


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize("arm", ["top_20", "bottom_80"])
def test_mathematics_from_disk(arm: str) -> None:
    metrics = experiments.mathematics(
        arm=arm, seed=0, device=CPU, model="qwen2.5-0.5b", steps=2, questions=4, samples=2, minibatch=2, rate=1e-3,
        prompt=300, response=5, buffer=2,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in metrics.values())
    assert method.overlong_penalty(torch.tensor([5.0]), 5, 2).tolist() == [-1.0]
