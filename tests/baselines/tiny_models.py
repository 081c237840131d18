"""Tiny random models of transformers with real tokenizers, and the pretrained ones where they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

TEXT = "to be or not to be that is the question whether tis nobler in the mind to suffer"
CHAT = (
    "{% for message in messages %}<s>{{ message.role }}: {{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def tiny_tokenizer(kind: str = "decoder") -> Any:
    """Byte pairs without a begin token, or (encoder) with begin and end around each text. <s>, <pad>, </s> are 0, 1, 2."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import BertProcessing

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([TEXT], 280, special_tokens=["<s>", "<pad>", "</s>"], show_progress=False)
    if kind == "encoder":
        trained._tokenizer.post_processor = BertProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>"
    )


def tiny_llama(vocabulary: int = 300) -> Any:
    pytest.importorskip("transformers")
    from baselines.transformer_models import small_decoder

    torch.manual_seed(0)
    model = small_decoder(vocabulary, width=16, depth=2, heads=2, length=64).eval()
    model.config.eos_token_id = 2
    return model
