"""A small recurrent language model that trains on a CPU in seconds: logits of the next token, and sampled text.

model = RecurrentLanguageModel(vocabulary=1024, width=64)
model(tokens)                                                     # (B, T) -> (B, T, vocabulary)
sampled(model, prefixes, 64, temperature=1.0, generator=generator)  # (B, 64)
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class RecurrentLanguageModel(nn.Module):
    """Embedding, GRU, a linear layer, and the embedding again for output: `weight` (vocabulary, width)."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocabulary, width) / math.sqrt(width))
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Row t scores token t + 1: (B, T) -> (B, T, vocabulary)."""
        return self.continued(tokens)[0]

    def continued(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, T, vocabulary), and the state (1, B, width) behind the last token."""
        hidden, state = self.recurrent(F.embedding(tokens, self.weight), state)
        return self.out(hidden) @ self.weight.T, state


@torch.no_grad()
def sampled(
    model: RecurrentLanguageModel,
    prefixes: torch.Tensor,
    count: int,
    *,
    temperature: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """`count` tokens drawn behind each prefix (B, T) from softmax(logits / temperature): int64 (B, count).

    One uniform number a token, by the inverse of the cumulative distribution: models that are alike and share the
    generator's seed write alike texts. Raises ValueError unless the temperature is positive.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be positive and finite, got {temperature}")
    logits, state = model.continued(prefixes)
    written = []
    for _ in range(count):
        cumulative = (logits[:, -1] / temperature).softmax(-1).cumsum(-1)
        drawn = torch.rand(len(prefixes), 1, generator=generator) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, drawn, right=True).clamp_max(cumulative.shape[1] - 1)
        written.append(tokens)
        logits, state = model.continued(tokens, state)
    return torch.cat(written, dim=1)
