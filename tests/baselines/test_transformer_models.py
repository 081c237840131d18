"""The transformers from timm and transformers: sizes and shapes."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("transformers")

from baselines.transformer_models import small_decoder, small_encoder_decoder, small_vit


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_vit() -> None:
    model = small_vit(10).eval()
    block = 4 * 192 + (3 * 192**2 + 3 * 192) + (192**2 + 192) + (8 * 192**2 + 5 * 192)  # norms, qkv, out, FFN
    assert parameters(model) == (48 * 192 + 192) + 65 * 192 + 192 + 6 * block + 2 * 192 + 193 * 10
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_encoder_decoder() -> None:
    model = small_encoder_decoder(50, width=32, depth=2, length=16).eval()
    attention, ffn, norm = 4 * (32 * 32 + 32), 8 * 32 * 32 + 5 * 32, 64
    layers = 2 * (attention + ffn + 2 * norm) + 2 * (2 * attention + ffn + 3 * norm)
    positions = 2 * 16 * 32  # sinusoidal, not trained
    assert parameters(model) == 50 * 32 + layers + positions
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 50 * 32 + layers
    words = torch.randint(2, 50, (3, 7))
    out = model(input_ids=words, labels=words)
    assert out.logits.shape == (3, 7, 50)
    assert out.loss.isfinite()


def test_decoder_is_causal() -> None:
    model = small_decoder(50, width=32, depth=2, length=16).eval()
    assert parameters(model) == 50 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * (8 * 32 // 3) + 2 * 32) + 32
    words = torch.randint(50, (2, 6))
    changed = words.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    torch.testing.assert_close(model(words).logits[:, :-1], model(changed).logits[:, :-1])
