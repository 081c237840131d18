"""The rate by hand, learners, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from suites.cot_information import contenders, method, on_classes, on_strings

ANSWERS = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
TRACES = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [5, 5, 0, 0], [0, 0, 0, 0]])


def test_the_rate_by_hand() -> None:
    family = method.tabulated(TRACES, ANSWERS)
    risk = method.risks(family, 0)
    assert risk.answer.tolist() == [0, 1, 2, 4]
    assert risk.whole.tolist() == [0, 1, 4, 4]
    assert method.information(risk, [0.0, 0.25]).tolist() == pytest.approx([-math.log(0.75), math.inf])
    assert method.answer_information(risk, [0.0, 0.25, 0.5]).tolist() == pytest.approx(
        [-math.log(0.75), math.log(2), math.inf]
    )
    assert method.sample_size(family.size, 0.1, float(method.information(risk, 0.0))) == 13


def test_classes_have_the_sizes_that_are_told() -> None:
    assert [contenders.family(name).size for name in contenders.FAMILIES] == [457, 3202, 81]
    assert method.automata(3, 2, 6, distinct=False).size == 5832


def test_no_accepting_state_means_one_answer() -> None:
    assert not method.automata(2, 2, 3, []).answers.any()


def test_an_accepting_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="among 0 to 1"):
        method.automata(2, 2, 3, [2])


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match="one of automata"):
        contenders.family("circuits")


def test_targets_are_of_all_kinds_of_base_rate() -> None:
    family = contenders.family("automata")
    chosen = contenders.targets(family, 20, np.random.default_rng(1000))
    assert len(set(chosen)) == 20
    rates = [family.answers[star].mean() for star in chosen]
    assert sum(rate in (0, 1) for rate in rates) >= 2
    assert sum(0.4 < rate < 0.6 for rate in rates) >= 4


def test_enough_examples() -> None:
    times = np.array([[9] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 8, 8], [1] * 10])
    error = np.array([0.0, 0.5, 0.25])
    assert contenders.enough_for_worst(times, error, 0.1, 0.3) == 7
    assert contenders.enough_for_worst(times, error, 0.3, 0.5) == 5
    assert contenders.enough_for_worst(times, error, 0.5, 0.1) == 0
    learners = method.consistent_learners(times, error, 0.1, 8)
    assert contenders.enough_for_random(learners.failing, 0.3) == 4


def test_what_fits_best_without_anything_that_fits() -> None:
    answers, numbers = np.array([[0, 0], [0, 1], [1, 1]]), np.array([[0, 1], [0, 1], [2, 3]])
    draws, shown = np.array([[0, 1, 1]]), np.array([[1, 0, 1]])
    assert on_classes.best_fits(answers, numbers, 0, draws, draws)[:, 0].tolist() == [True, False, False]
    # Traces are those of another input: only the last example can be fitted, and by the target alone.
    assert on_classes.best_fits(answers, numbers, 0, draws, shown)[:, 0].tolist() == [True, False, False]


def test_rank_correlations_without_variation_are_zero() -> None:
    assert on_classes.rank_correlation(np.ones(5), np.arange(5.0)) == 0
    assert on_classes.rank_correlation(np.arange(3.0), np.array([1.0, math.inf, np.nan])) == pytest.approx(1)


def test_gains_on_a_few_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_classes, "TARGETS", 6)
    monkeypatch.setattr(on_classes, "REPETITIONS", 20)
    found = on_classes.gains(family_name="thresholds", seed=1000)
    assert found["ever_worse"] <= 0
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("arm", ["traces", "every_third", "answers", "shuffled"])
def test_curves_on_a_few_targets(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_classes, "FEWER", 8)
    found = on_classes.curves(arm=arm, family_name="thresholds", seed=1000)
    assert 0 <= found["average_5"] <= found["worst_5"] <= 1


def test_automata_of_strings_run_as_their_tables_say() -> None:
    generator = np.random.default_rng(1000)
    table, accepting = on_strings.automaton(generator)
    symbols, states, answers = on_strings.strings(50, table, accepting, generator)
    for row, run, answer in zip(symbols.tolist(), states.tolist(), answers.tolist(), strict=True):
        state = 0
        for symbol, after in zip(row, run, strict=True):
            state = int(table[state, symbol])
            assert state == after
        assert accepting[state] == answer


def test_a_copy_is_a_gru() -> None:
    width = on_strings.WIDTH
    model = on_strings.StackedGRU(2, torch.Generator().manual_seed(1000))
    oracle = torch.nn.GRU(2, width, batch_first=True)
    bias = torch.cat([torch.zeros(2 * width), model.bias[0, 0]])
    oracle.load_state_dict({
        "weight_ih_l0": model.embed[0].T, "weight_hh_l0": model.recur[0].T,
        "bias_ih_l0": torch.zeros(3 * width), "bias_hh_l0": bias,
    })  # fmt: skip
    symbols = torch.randint(0, 2, (2, 3, 7), generator=torch.Generator().manual_seed(1000))
    states, answer = model(symbols)
    hidden = oracle(torch.nn.functional.one_hot(symbols[1], 2).float())[0]
    torch.testing.assert_close(states[1], hidden @ model.state[1])
    torch.testing.assert_close(answer[1], hidden[:, -1] @ model.answer[1])


def test_networks_on_a_few_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_strings, "EPOCHS", 1)
    monkeypatch.setattr(on_strings, "STEPS", 2)
    monkeypatch.setattr(on_strings, "SIZES", (5, 20))
    found = on_strings.networks(seed=1000)
    assert found["accuracy"].shape == (4, 2)
    save_file(found, tmp_path / "networks.safetensors")
    measured = on_strings.strings_learned(arm="shuffled", size=20, networks=tmp_path / "networks.safetensors")
    assert measured["accuracy"] == pytest.approx(100 * float(found["accuracy"][2, 1]))
