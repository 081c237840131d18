"""Values by hand, the budgets of searches, the cache of a language model against reading anew, protocols on little."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from baselines.language_models import pretrained
from baselines.transformer_models import small_decoder
from suites.riemann_ce import contenders, method, on_language, on_zeta, zeta
from tests.conftest import needed


def test_zeta_by_hand() -> None:
    assert float(zeta.zeta(torch.tensor(2.0)).real) == pytest.approx(math.pi**2 / 6, abs=1e-14)
    assert zeta.zeta(torch.tensor([[0.5 + 1j], [1.0]])).shape == (2, 1)
    assert zeta.zeta(torch.tensor(1.0)) == math.inf
    assert float(zeta.hurwitz(torch.tensor(2.0), 0.5).real) == pytest.approx(math.pi**2 / 2, abs=1e-12)


def test_derivatives_of_zeta() -> None:
    s = torch.tensor([0.5 + 14.134725141734693j], dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(zeta.zeta, s)
    assert torch.autograd.gradgradcheck(zeta.zeta, s)


def test_count_of_a_polynomial() -> None:
    def f(s: torch.Tensor) -> torch.Tensor:
        return (s - 0.5) ** 2 * (s - 0.5j) / (s + 0.5)

    assert zeta.count_zeros(f, (-1, -1), (1, 1)) == 2
    assert zeta.count_zeros(f, (0.1, -1), (1, 1)) == 2
    assert zeta.count_zeros(f, (-0.2, 0.2), (0.2, 1)) == 1
    with pytest.raises(ValueError, match="right angle"):
        zeta.count_zeros(f, (0.5, -1), (1, 1))


def test_search_of_a_line() -> None:
    start = method.BoxNormal.uniform((-1.0,), (3.0,))
    found = method.minimise(lambda x: (x[:, 0] - 2).abs(), start, generator=torch.Generator().manual_seed(0))
    assert found.converged and float(found.point) == pytest.approx(2, abs=1e-9)
    assert found.evaluations == 500 * found.rounds


def test_search_returns_the_best_that_it_drew() -> None:
    seen: list[float] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.extend((values := x[:, 0].sin()).tolist())
        return values

    start = method.BoxNormal.uniform((0.0,), (20.0,))
    found = method.minimise(f, start, samples=20, rounds=5, generator=torch.Generator().manual_seed(0))
    assert found.value == min(seen)


def test_rare_event_of_one_level() -> None:
    nominal = method.Exponential(torch.ones(1, dtype=torch.float64))
    found = method.rare_event(
        lambda x: x[:, 0], 0.5, nominal, nominal, generator=torch.Generator().manual_seed(0), final=50_000
    )
    assert found.levels == [0.5]
    assert found.probability == pytest.approx(math.exp(-0.5), abs=4 * found.standard_error)


def test_beam_by_hand() -> None:
    """Greedy takes 0 (0.6) and then a half; the other way, 0.4 times 0.9, is likelier."""
    first, after = torch.tensor([0.6, 0.4]).log(), torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()

    def model(tokens: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return first[None, None] if not tokens.shape[2] else after[tokens[:, :, -1]]

    best = method.top_p_beam(model, 1, 2, width=2, top_p=1.0)
    assert best.tokens[0, 0].tolist() == [1, 0]
    assert float(best.log_probs[0, 0].exp()) == pytest.approx(0.36)
    greedy = method.top_p_beam(model, 1, 2, width=1, top_p=1.0)
    assert greedy.tokens[0, 0, 0] == 0
    assert float(greedy.log_probs[0, 0].exp()) == pytest.approx(0.3)
    narrow = method.top_p_beam(model, 1, 2, width=2, top_p=0.6)  # the nucleus of the first step is token 0 alone
    assert narrow.tokens[0, 0, 0] == 0


@pytest.mark.parametrize("name", contenders.SEARCHES)
def test_searches_keep_their_budget(name: str) -> None:
    values, point = contenders.SEARCHES[name](zeta.zeta, (0.02, 10.0), (0.98, 30.0), 500, 0)
    assert 498 <= len(values) <= 500
    size = float(zeta.zeta(torch.tensor(point, dtype=torch.complex128)).abs())
    assert size == pytest.approx(values.min(), abs=1e-12)


def test_newton_counts_the_derivative() -> None:
    calls = 0

    def f(s: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return s**2 + 1

    values, point = contenders.newton(f, (-2.0, 0.1), (2.0, 3.0), 100, 0)
    assert len(values) == 2 * calls
    assert point == pytest.approx(1j)


def test_small_experiments() -> None:
    found = on_zeta.contest(arm="random_search", seed=0, budget=500)
    assert found["evaluations"] == 500 and not found["came_close"]
    ends = on_zeta.box_sizes(arm="cross_entropy", seed=0, top=30, runs=2)
    assert ends["found"] == ends["on_line"] == 1


def test_cached_chains_are_those_of_reading_anew() -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = small_decoder(20, width=16, depth=2, heads=2, length=32)
    prompts = [[5, 6, 7], [8, 9], [3, 4, 5, 6]]
    reader = on_language.Reader(model, prompts, banned=[1])
    found = on_language.decoded(reader, 4, seed=0)
    for name, chains in found.items():
        for place, prompt in enumerate(prompts):
            for chain, total in zip(chains.tokens[place].tolist(), chains.log_probs[place].tolist(), strict=True):
                with torch.no_grad():
                    logits = model(torch.tensor([prompt + chain])).logits[0]
                logits[:, 1] = -torch.inf
                logs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
                expected = float(logs.gather(1, torch.tensor(chain)[:, None]).sum())
                assert total == pytest.approx(expected, abs=1e-4), name
                assert 1 not in chain


def test_groups_of_prompts_are_disjoint() -> None:
    groups = [on_language.share(100, 10, place) for place in range(10)]
    assert sorted(itertools.chain(*groups)) == list(range(100))
    with pytest.raises(ValueError, match="fewer seeds"):
        on_language.share(100, 10, 10)


@pytest.mark.parametrize(("text", "value"), [("24\n5*5=25", 24), (" 7", 7), ("x", -1), ("", -1), ("1 2\n", -1)])
def test_number(text: str, value: int) -> None:
    assert on_language.number(text) == value


def test_accuracy_by_hand(tmp_path: Path) -> None:
    answers = {"nucleus": [[4, 4, 5, 4], [1, 2, 2, 3]], "greedy": [[4], [9]]}
    save_file(
        {f"sums.{name}.number": torch.tensor(one) for name, one in answers.items()}
        | {"sums.value": torch.tensor([4, 1])},
        tmp_path / "chains.safetensors",
    )
    found = {
        arm: on_language.sums(arm=arm, chains=tmp_path / "chains.safetensors")["accuracy"]
        for arm in ("nucleus", "majority_of_four", "greedy")
    }
    assert found == {"nucleus": 50, "majority_of_four": 50, "greedy": 50}


@pytest.mark.slow
def test_protocol_on_few_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wikitext-2-heldout", "gsm8k", on_language.MODEL):
        needed(name, "transformers", "gguf")
    monkeypatch.setattr(on_language, "CONTINUED", 1)
    monkeypatch.setattr(on_language, "CONTINUED_TOKENS", 2)
    monkeypatch.setattr(on_language, "ASKED", 2)
    _, tokenizer = pretrained(on_language.MODEL)
    assert all(len(row) == on_language.WIKI_TOKENS for row in on_language.wikipedia(tokenizer))
    save_file(on_language.chains(seed=0), tmp_path / "chains.safetensors")
    found = on_language.decoding(arm="top_p_beam", dataset="gsm8k", chains=tmp_path / "chains.safetensors")
    assert found["log_prob"] < 0
    assert 0 <= on_language.sums(arm="greedy", chains=tmp_path / "chains.safetensors")["accuracy"] <= 100
