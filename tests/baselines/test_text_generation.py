"""Sampling with a cache against reading, nuclei by hand, stops, chat, LoRA; the pretrained model where it is."""

from __future__ import annotations

import pytest
import torch

from baselines.language_models import pretrained
from baselines.text_generation import chat, end_tokens, lora, nucleus, sample
from tests.baselines.tiny_models import CHAT, tiny_llama, tiny_tokenizer
from tests.conftest import needed

PROMPTS = ["to be", "the question whether tis nobler", "x"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_likeliest_tokens_in_batches_are_those_that_are_read(batch_size: int) -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    found = sample(model, tokenizer, PROMPTS, max_tokens=6, generator=seeded(), temperature=0, batch_size=batch_size)
    for prompt, one in zip(PROMPTS, found, strict=True):
        before = tokenizer(prompt).input_ids
        tokens = torch.tensor(before + one.tokens.tolist())
        logs = model(tokens[None]).logits[0, len(before) - 1 : -1].detach().log_softmax(-1)
        assert torch.equal(logs.argmax(1), one.tokens)
        torch.testing.assert_close(one.log_probs, logs.amax(1), atol=1e-5, rtol=1e-4)
        assert one.ended == (one.tokens[-1] == 2) and one.text == tokenizer.decode(one.tokens, skip_special_tokens=True)


def test_a_seed_gives_the_same_texts() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    first, again, other = (
        [
            one.tokens.tolist()
            for one in sample(model, tokenizer, PROMPTS, max_tokens=8, generator=seeded(seed), top_p=0.9)
        ]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_samples_follow_the_distribution() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    drawn = sample(model, tokenizer, ["to"] * 4000, max_tokens=1, generator=seeded(), temperature=1.5, batch_size=4000)
    counts = torch.bincount(torch.cat([one.tokens for one in drawn]), minlength=300) / 4000
    logits = model(torch.tensor([tokenizer("to").input_ids])).logits[0, -1].detach()
    expected = (logits / 1.5).softmax(-1)
    assert float((counts - expected).abs().max()) < 0.03 and float(expected.max()) > 0.05


def test_a_nucleus_is_the_smallest_set_that_suffices() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4], [0.2, 0.2, 0.6]]).log()
    assert (nucleus(logits, 1.0, 0.45) > -torch.inf).tolist() == [[False, True, False], [False, False, True]]
    assert (nucleus(logits, 1.0, 0.6) > -torch.inf).tolist() == [[False, True, True], [False, False, True]]
    # at temperature 1/2 probabilities are squared: 25 of 42, and 36 of 44
    assert (nucleus(logits, 0.5, 0.55) > -torch.inf).tolist() == [[False, True, False], [False, False, True]]
    assert torch.equal(nucleus(logits, 1.0, 1.0), logits)


def test_stops_and_end_tokens_end_a_text_and_are_not_in_it() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    free = sample(model, tokenizer, PROMPTS, max_tokens=12, generator=seeded(), temperature=0)
    stop = free[1].text[3:5]
    cut = sample(model, tokenizer, PROMPTS, max_tokens=12, generator=seeded(), temperature=0, stops=[stop])
    assert cut[1].ended and cut[1].text == free[1].text[: free[1].text.index(stop)]
    assert len(cut[1].tokens) < len(free[1].tokens) and torch.equal(cut[1].tokens, free[1].tokens[: len(cut[1].tokens)])
    assert end_tokens(model) == [2]
    model.config.eos_token_id = [2, int(free[0].tokens[2])]
    ended = sample(model, tokenizer, PROMPTS[:1], max_tokens=12, generator=seeded(), temperature=0)[0]
    first = free[0].tokens.tolist().index(int(free[0].tokens[2]))
    assert ended.ended and len(ended.tokens) == first + 1


@pytest.mark.parametrize(
    "wrong", [{"top_p": 0.0}, {"top_p": 1.1}, {"max_tokens": 0}, {"temperature": -1.0}, {"stops": [""]}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="top_p is in"):
        sample(tiny_llama(), tiny_tokenizer(), ["a"], **{"max_tokens": 2, "generator": seeded(), **wrong})


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt 1 has no tokens"):
        sample(tiny_llama(), tiny_tokenizer(), ["a", ""], max_tokens=2, generator=seeded())


def test_the_chat_format_is_the_tokenizers_own() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(ValueError, match="no chat template"):
        chat(tokenizer, "hi")
    tokenizer.chat_template = CHAT
    assert chat(tokenizer, "hi") == "<s>user: hi</s><s>assistant: "
    assert chat(tokenizer, "hi", system="be brief") == "<s>system: be brief</s><s>user: hi</s><s>assistant: "


def test_lora_begins_as_the_model_and_trains_its_updates_alone() -> None:
    pytest.importorskip("peft")
    model, tokens = tiny_llama(), torch.arange(3, 19)[None]
    before, frozen = model(tokens).logits.detach(), {name: p.clone() for name, p in model.named_parameters()}
    adapted = lora(model, rank=2, seed=3)
    torch.testing.assert_close(adapted(tokens).logits.detach(), before)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained) and not any("lm_head" in name for name in trained)
    adapted(tokens, labels=tokens).loss.backward()
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    optimizer.step()
    after = adapted(tokens).logits.detach()
    assert float((after - before).abs().max()) > 1e-4
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged(tokens).logits.detach(), after, atol=1e-5, rtol=1e-4)
    changed = {name for name, p in merged.named_parameters() if not torch.equal(p, frozen[name])}
    assert changed and all("_proj" in name for name in changed)
    again = lora(tiny_llama(), rank=2, seed=3, layers=["q_proj"])
    narrow = [name for name, p in again.named_parameters() if p.requires_grad]
    assert narrow and all(".q_proj." in name for name in narrow)


def test_the_pretrained_model_answers() -> None:
    needed("smollm2-135m-instruct-q4_1", "transformers", "gguf", "accelerate")
    model, tokenizer = pretrained("smollm2-135m-instruct-q4_1")
    prompts = [chat(tokenizer, "What is the capital of France?"), chat(tokenizer, "Say hello.")]
    assert prompts[0].endswith("<|im_start|>assistant\n")
    first, second = sample(model, tokenizer, prompts, max_tokens=24, generator=seeded(), temperature=0)
    assert "Paris" in first.text and "<|im_end|>" not in first.text + second.text
