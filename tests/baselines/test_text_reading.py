"""Log-probabilities, entropies and states of texts, against reading each text by itself."""

from __future__ import annotations

import pytest
import torch

from baselines.text_reading import IGNORED, batches, hidden_states, read_texts
from tests.baselines.tiny_models import tiny_llama, tiny_tokenizer
from tests.conftest import needed

TEXTS = ["to be", "to be or not to be, that is the question", "the question", "x"]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_texts_in_batches_are_read_as_alone(batch_size: int) -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    read = read_texts(model, tokenizer, TEXTS, batch_size=batch_size)
    assert read.targets.dtype == torch.int64 and read.log_probs.dtype == torch.float32
    for row, text in enumerate(TEXTS):
        tokens = torch.tensor(tokenizer(text).input_ids)
        logs = model(tokens[None]).logits[0, :-1].detach().log_softmax(-1)
        own = slice(1, len(tokens))
        assert read.mask[row].nonzero().flatten().tolist() == list(range(1, len(tokens)))
        assert torch.equal(read.targets[row, own], tokens[1:]) and (read.targets[row, len(tokens) :] == IGNORED).all()
        torch.testing.assert_close(
            read.log_probs[row, own], logs.gather(1, tokens[1:, None]).squeeze(1), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(read.entropies[row, own], -(logs.exp() * logs).sum(1), atol=1e-5, rtol=1e-4)
    assert not read.log_probs[~read.mask].any() and not read.entropies[~read.mask].any()


def test_what_stands_in_a_prompt_is_not_scored() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    read = read_texts(model, tokenizer, [" be", "to be"], prompts=["to", ""])
    prompt, text = tokenizer("to").input_ids, tokenizer(" be").input_ids
    tokens = torch.tensor(prompt + text)
    assert read.targets[0].tolist()[: len(tokens)] == [IGNORED] * len(prompt) + text
    logs = model(tokens[None]).logits[0].detach().log_softmax(-1)
    expected = sum(float(logs[len(prompt) + k - 1, token]) for k, token in enumerate(text))
    assert float(read.log_probs[0].sum()) == pytest.approx(expected, abs=1e-4)


def test_a_begin_token_of_the_tokenizer_is_kept_and_lets_the_first_token_be_scored() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer("encoder")  # puts a token before a text, and one behind
    read = read_texts(model, tokenizer, ["to be"])
    assert read.targets[0].tolist() == [IGNORED, *tokenizer("to be").input_ids[1:]]


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_states_are_those_of_the_text_alone(layer: int) -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    states, mask = hidden_states(model, tokenizer, TEXTS, layer=layer, batch_size=2)
    assert states.shape == (*mask.shape, 16) and not states[~mask].any()
    for row, text in enumerate(TEXTS):
        tokens = torch.tensor(tokenizer(text).input_ids)
        alone = model(tokens[None], output_hidden_states=True).hidden_states[layer][0].detach()
        assert int(mask[row].sum()) == len(tokens)
        torch.testing.assert_close(states[row, : len(tokens)], alone, atol=1e-5, rtol=1e-4)


def test_nothing_to_read_is_refused() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    with pytest.raises(ValueError, match="2 texts cannot be read after 1 prompts"):
        read_texts(model, tokenizer, ["a", "b"], prompts=["c"])
    with pytest.raises(ValueError, match="0 texts"):
        read_texts(model, tokenizer, [])
    with pytest.raises(ValueError, match="text 1 has no tokens"):
        hidden_states(model, tokenizer, ["a", ""])
    assert [places for places, _, _ in batches([[1], [1, 2, 3], [1, 2]], 2)] == [[1, 2], [0]]


def test_the_pretrained_model_knows_english() -> None:
    needed("smollm2-135m-instruct-q4_1", "transformers", "gguf", "accelerate")
    from baselines.language_models import pretrained

    model, tokenizer = pretrained("smollm2-135m-instruct-q4_1")
    read = read_texts(model, tokenizer, [" Paris.", " banana."], prompts=["The capital of France is"] * 2)
    assert float(read.log_probs[0].sum()) > -2 > -9 > float(read.log_probs[1].sum())
    assert ((read.entropies >= 0) & (read.entropies < 10.81)).all()  # log 49,152
