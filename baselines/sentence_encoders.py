"""Pretrained encoders of sentences: embeddings and token states of texts, in batches.

encoder = SentenceEncoder.pretrained("all-minilm-l6-v2")
first, second = encoder.embed(["A man plays the guitar.", "Somebody makes music."])  # (384,) of length 1 each
states, mask = encoder.token_states(["A man plays the guitar."])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.text_reading import batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class SentenceEncoder:
    """An encoder of transformers whose sentence embedding is the mean of its token states, scaled to length 1.

    Texts are cut at `longest` tokens, begin and end tokens included, as all-MiniLM-L6-v2 was trained.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, longest: int = 256) -> None:
        self.model, self.tokenizer, self.longest = model.eval(), tokenizer, longest

    @classmethod
    def pretrained(cls, name: str = "all-minilm-l6-v2") -> SentenceEncoder:
        """From the files of the data set `name`. Raises DataError where they are absent or hold no encoder."""
        from transformers import AutoModel, AutoTokenizer

        folder = reference.load(name)
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
            return cls(model, AutoTokenizer.from_pretrained(folder, local_files_only=True))
        except (OSError, ValueError) as error:
            raise reference.DataError(f"{folder} holds no encoder that transformers reads: {error}") from error

    def embed(self, texts: Sequence[str], *, batch_size: int = 32) -> torch.Tensor:
        """(N,) texts -> (N, width), float32 on the CPU, each of length 1. Raises ValueError for none."""
        found: dict[int, torch.Tensor] = {}
        for places, states, mask in self._states(texts, batch_size):
            kept = mask[..., None].to(states)
            found |= dict(zip(places, F.normalize((states * kept).sum(1) / kept.sum(1), dim=1), strict=True))
        return torch.stack([found[place] for place in range(len(texts))])

    def token_states(self, texts: Sequence[str], *, batch_size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
        """States of the last layer (N, T, width), 0 behind the end of a text, and where there is a token, (N, T)."""
        found: dict[int, torch.Tensor] = {}
        for places, states, mask in self._states(texts, batch_size):
            found |= {place: row[kept] for place, row, kept in zip(places, states, mask, strict=True)}
        padded = nn.utils.rnn.pad_sequence([found[place] for place in range(len(texts))], batch_first=True)
        lengths = torch.tensor([len(found[place]) for place in range(len(texts))])
        return padded, torch.arange(padded.shape[1]) < lengths[:, None]

    @torch.no_grad()
    def _states(self, texts: Sequence[str], batch_size: int) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        if not texts:
            raise ValueError("there are no texts to encode")
        rows = [self.tokenizer(text, truncation=True, max_length=self.longest).input_ids for text in texts]
        device = next(self.model.parameters()).device
        for places, tokens, mask in batches(rows, batch_size):
            out = self.model(input_ids=tokens.to(device), attention_mask=mask.long().to(device))
            yield places, out.last_hidden_state.float().cpu(), mask
