"""Statistics by hand, the toy model against brute force, and the protocol on few sentences."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines.ngrams import ngram_nats
from suites.cognitive_imperfection import experiments, method, on_text, printed
from tests.conftest import needed

SENTENCES = [np.array([2, 3]), np.array([2, 2, 4])]


def test_statistics_by_hand() -> None:
    assert method.jensen_shannon([1, 1], [1, 0], base=2) == pytest.approx(1.5 - 0.75 * np.log2(3), abs=1e-9)
    assert method.histogram([1, 2, 5, 9], [1, 4]).tolist() == [2, 2]
    assert method.Garch(0.1, 0.1, 0.2, 0.3).variance == pytest.approx(0.2)
    assert method.spread(lambda x: float(x[0] - x[1]), [3.0, 1.0], [0.5, 0.1]) == pytest.approx((1.4, 2.6))
    assert method.differs(2.0, 0.1, (2.06, 3.0)) and not method.differs(2.0, 0.1, (2.04, 3.0))


def test_printed_columns_are_of_one_length() -> None:
    assert len(printed.EVENT_CHANGES) == len(printed.EVENT_INDEX) == printed.EVENT_CORRELATION[2]
    assert {len(days) for days in printed.DAYS.values()} == {len(printed.MARKET)} == {23}


def test_bigrams_by_hand() -> None:
    model = on_text.Bigrams(SENTENCES, 6)
    assert model.matrix.sum(1) == pytest.approx(1)
    assert model.single.sum() == pytest.approx(1)
    # Four kinds in seven tokens; after 2 come 2, 3 and 4 once each.
    single = (3 + 4 / 6) / 11
    assert model.single[2] == pytest.approx(single)
    assert model.matrix[2, 3] == pytest.approx((1 + 3 * model.single[3]) / 6)
    assert model.matrix[5].tolist() == model.single.tolist()
    expected = -np.log([model.matrix[0, 2], model.matrix[2, 5], model.matrix[5, 0]]).mean()
    assert model.nats([np.array([2, 5])]) == pytest.approx(expected)


def test_bigrams_are_those_of_the_shared_ground() -> None:
    generator = np.random.default_rng(0)
    text, other = ([generator.integers(1, 20, size) for size in generator.integers(1, 9, 60)] for _ in range(2))

    def row(sentences: list[np.ndarray]) -> torch.Tensor:  # behind an end of a sentence, as the model begins
        return torch.from_numpy(np.concatenate([[0], *(np.append(one, 0) for one in sentences)]))[None]

    expected = ngram_nats(row(text), row(other), 20, 1)[0, 1:]
    # The shared one has a token of its own before the first, so that the row's start counts once more among unigrams.
    assert on_text.Bigrams(text, 20).nats(other) == pytest.approx(float(expected.mean()), rel=0.01)


def test_samples_have_the_probabilities_of_the_model() -> None:
    model = on_text.Bigrams(SENTENCES, 6)
    text = model.sample(20_000, 1.0, np.random.default_rng(0))
    assert min(map(len, text)) >= 1
    first = np.bincount([one[0] for one in text], minlength=6) / len(text)
    start = model.matrix[0].copy()
    start[0] = 0
    assert first == pytest.approx(start / start.sum(), abs=0.015)
    after = [pair[1] for one in text for pair in itertools.pairwise(one) if pair[0] == 2]
    share = np.bincount(after, minlength=6)[1:] / len(after)
    assert share == pytest.approx(model.matrix[2, 1:] / model.matrix[2, 1:].sum(), abs=0.015)


def test_cold_samples_are_nearer_to_the_likeliest() -> None:
    model = on_text.Bigrams(SENTENCES, 6)
    cold = model.sample(500, 0.01, np.random.default_rng(0))
    assert all(one[0] == 2 for one in cold)


@pytest.mark.parametrize("arm", on_text.ARMS)
def test_next_text(arm: str) -> None:
    generator = np.random.default_rng(0)
    real = [generator.integers(1, 900, size) for size in generator.integers(1, 20, 50)]
    model = on_text.Bigrams(real, on_text.VOCABULARY)
    text = on_text.next_text(arm, model, real, np.random.default_rng(1))
    assert all(len(one) and one.min() > 0 for one in text)
    kept = sum(any(np.array_equal(one, other) for other in real) for one in text)
    assert kept >= 10 if arm == "real_text_kept" else kept < 10


def test_recursion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("ud-english-ewt")
    monkeypatch.setattr(on_text, "SENTENCES", 200)
    monkeypatch.setattr(on_text, "GENERATIONS", 1)
    save_file(experiments.generations(seed=1000), tmp_path / "generations.safetensors")
    for arm in on_text.ARMS:
        found = experiments.recursion(arm=arm, generations=tmp_path / "generations.safetensors")
        assert 0 <= found["length_jsd"] <= np.log(2)
        assert 0 < found["distinct"] <= 1
        assert found["nats"] > 3
    assert experiments.style(seed=1000)["nats_lost"] > 0
