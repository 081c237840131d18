"""Small transformers from timm and transformers, randomly initialised: for images, text to text, and text.

They need the extra `crossexam[models]`. Only sizes are chosen here; the architectures are the libraries' own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from transformers import LlamaForCausalLM, MarianMTModel


def small_vit(
    num_classes: int = 10, *, image_size: int = 32, patch: int = 4, width: int = 192, depth: int = 6, heads: int = 3
) -> VisionTransformer:
    """A ViT for small colour images: (N, 3, image_size, image_size) -> (N, num_classes). Classifier: `.head`."""

    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=image_size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=num_classes
    )


def small_encoder_decoder(
    vocabulary: int, *, width: int = 256, depth: int = 3, heads: int = 4, length: int = 256, pad: int = 0
) -> MarianMTModel:
    """The original encoder-decoder transformer (post-norm, sinusoidal positions, tied embeddings), as Marian has it.

    Call it with input_ids, attention_mask and labels (N, tokens); `pad` also starts the decoder. FFN: 4 widths.
    """

    from transformers import MarianConfig, MarianMTModel

    return MarianMTModel(
        MarianConfig(
            vocab_size=vocabulary,
            d_model=width,
            encoder_layers=depth,
            decoder_layers=depth,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            decoder_ffn_dim=4 * width,
            max_position_embeddings=length,
            pad_token_id=pad,
            decoder_start_token_id=pad,
            eos_token_id=1,
            forced_eos_token_id=1,
        )
    )


def small_decoder(
    vocabulary: int, *, width: int = 256, depth: int = 4, heads: int = 4, length: int = 256
) -> LlamaForCausalLM:
    """A decoder in Llama's style: pre-norm RMSNorm, rotary positions, SwiGLU, tied embeddings."""

    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=8 * width // 3,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            max_position_embeddings=length,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
