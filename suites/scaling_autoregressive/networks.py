"""The paper's decoder-only transformer in plain PyTorch: narrow attention and feed-forward parts, learned positions.

A block has (4 a + 2 f) d^2 weights, where a d is the width of its attention and f d that of its feed-forward part:
3 d^2 for images, video and maths (a = 1/4, f = 1), 12 d^2 for language and multimodal models (a = 1, f = 4).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from suites.scaling_autoregressive.method import Architecture


class Block(nn.Module):
    """Pre-norm causal attention and feed-forward network, each with a residual connection: (B, T, d) -> (B, T, d)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, inner = architecture.width, architecture.attention_width
        self.heads = architecture.heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.up = nn.Linear(width, architecture.feed_forward_width)
        self.down = nn.Linear(architecture.feed_forward_width, width)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        joined = self.query_key_value(self.attention_norm(stream))
        query, key, value = joined.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.out(attended.transpose(1, 2).flatten(-2))
        return stream + self.down(F.gelu(self.up(self.feed_forward_norm(stream))))


class Decoder(nn.Module):
    """Token numbers (B, T) -> logits (B, T, vocabulary); row t scores token t + 1. T is at most `length`.

    Raises ValueError for a longer input.
    """

    def __init__(self, architecture: Architecture, vocabulary: int, length: int) -> None:
        super().__init__()
        width = architecture.width
        self.length = length
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(architecture) for _ in range(architecture.depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=width**-0.5 if isinstance(module, nn.Linear) else 0.1)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():  # both branches of every block write to the stream: keep its variance from growing
            for block in self.blocks:
                for writer in (block.out, block.down):
                    writer.weight /= (2 * architecture.depth) ** 0.5
            self.head.weight.zero_()  # the first prediction is uniform, at every width

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the last layer reads, (B, T, width)."""
        if tokens.shape[1] > self.length:
            raise ValueError(f"{tokens.shape[1]} tokens where there are {self.length} positions")
        stream = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        return self.norm(self.blocks(stream))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.states(tokens))


class Classifier(nn.Module):
    """A decoder with a new linear head on the mean state of all positions: (B, T) -> (B, classes)."""

    def __init__(self, decoder: Decoder, classes: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = nn.Linear(decoder.embedding.embedding_dim, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder.states(tokens).mean(1))


def weights(decoder: Decoder) -> int:
    """N of a built network: the matrices of its blocks, without biases, norms, embeddings and head."""
    return sum(module.weight.numel() for module in decoder.blocks.modules() if isinstance(module, nn.Linear))
