"""The small recurrent language model: causal, continued from its state, and what it writes."""

from __future__ import annotations

import pytest
import torch

from baselines.recurrent_language_models import RecurrentLanguageModel, sampled


@pytest.fixture
def model() -> RecurrentLanguageModel:
    torch.manual_seed(0)
    return RecurrentLanguageModel(11, 8)


def test_state_goes_on(model: RecurrentLanguageModel) -> None:
    tokens = torch.randint(11, (3, 9))
    whole = model(tokens)
    assert whole.shape == (3, 9, 11)
    _, state = model.continued(tokens[:, :5])
    torch.testing.assert_close(model.continued(tokens[:, 5:], state)[0], whole[:, 5:])
    torch.testing.assert_close(model(tokens[:, :5]), whole[:, :5])


def test_texts_have_the_frequencies_of_the_model(model: RecurrentLanguageModel) -> None:
    prefix = torch.tensor([[3, 1]])
    drawn = sampled(model, prefix.expand(20_000, 2), 1, temperature=0.5, generator=torch.Generator().manual_seed(0))
    expected = (model(prefix)[0, -1] / 0.5).softmax(0).detach()
    found = torch.bincount(drawn[:, 0], minlength=11) / 20_000
    torch.testing.assert_close(found, expected, atol=0.015, rtol=0)


def test_the_seed_decides(model: RecurrentLanguageModel) -> None:
    texts = [
        sampled(
            model, torch.zeros(4, 2, dtype=torch.int64), 12, temperature=1.0, generator=torch.Generator().manual_seed(1)
        )
        for _ in range(2)
    ]
    assert torch.equal(*texts)
    assert texts[0].shape == (4, 12)
    with pytest.raises(ValueError, match="temperature"):
        sampled(model, texts[0], 1, temperature=0.0, generator=torch.Generator())
