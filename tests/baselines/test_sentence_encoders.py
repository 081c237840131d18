"""Embeddings and token states, against each text by itself; the pretrained encoder where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import reference
from baselines.sentence_encoders import SentenceEncoder
from tests.baselines.tiny_models import tiny_tokenizer
from tests.conftest import needed

TEXTS = ["to be", "to be or not to be, that is the question", "x"]


def tiny() -> SentenceEncoder:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return SentenceEncoder(transformers.BertModel(config), tiny_tokenizer("encoder"), longest=12)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_texts_in_batches_are_encoded_as_alone(batch_size: int) -> None:
    encoder = tiny()
    embedded = encoder.embed(TEXTS, batch_size=batch_size)
    states, mask = encoder.token_states(TEXTS, batch_size=batch_size)
    assert embedded.shape == (3, 16) and not states[~mask].any()
    for row, text in enumerate(TEXTS):
        tokens = torch.tensor([encoder.tokenizer(text, truncation=True, max_length=12).input_ids])
        alone = encoder.model(tokens).last_hidden_state[0].detach()
        assert int(mask[row].sum()) == len(alone) <= 12
        torch.testing.assert_close(states[row][mask[row]], alone, atol=1e-5, rtol=1e-4)
        mean = alone.mean(0)
        torch.testing.assert_close(embedded[row], mean / mean.norm(), atol=1e-5, rtol=1e-4)


def test_no_texts_are_refused_and_an_empty_one_is_not() -> None:
    with pytest.raises(ValueError, match="no texts to encode"):
        tiny().embed([])
    assert tiny().embed([""]).isfinite().all()  # begin and end are tokens too


def test_a_broken_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pytest.importorskip("transformers")
    with pytest.raises(reference.DataError, match="run `crossexam data fetch all-minilm-l6-v2`"):
        SentenceEncoder.pretrained()


def test_the_pretrained_encoder_knows_what_sentences_mean() -> None:
    needed("all-minilm-l6-v2", "transformers")
    encoder = SentenceEncoder.pretrained()
    music, guitar, tax = encoder.embed(["Somebody makes music.", "A man plays the guitar.", "Taxes rise in spring."])
    assert music.shape == (384,) and float(music.norm()) == pytest.approx(1, abs=1e-5)
    assert float(music @ guitar) - float(music @ tax) > 0.4
    alone = encoder.tokenizer("Somebody makes music.", return_tensors="pt")
    states = encoder.model(**alone).last_hidden_state[0]  # without the padding that a batch brings
    torch.testing.assert_close(music, F.normalize(states.mean(0), dim=0), atol=1e-5, rtol=0)
