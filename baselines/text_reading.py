"""What a pretrained model makes of whole texts, in batches: log-probabilities, entropies, hidden states.

    model, tokenizer = pretrained("smollm2-135m-instruct-q4_1")
    read = read_texts(model, tokenizer, ["All work and no play", "makes"], prompts=["Proverb: ", "It "])
    read.log_probs.sum(1), read.entropies  # of the tokens of each text, given its prompt

Padding stands on the right and is masked: a text has the same numbers in any batch, up to the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Read:
    """What a model says of N texts, padded on the right to T tokens. All (N, T), on the CPU.

    `targets` holds the tokens that are scored and -100 elsewhere: outside a text, in its prompt, and at a first token
    that has nothing before it. There the others are 0.
    """

    targets: torch.Tensor  # int64
    log_probs: torch.Tensor  # of each target given all tokens before it, nats, float32
    entropies: torch.Tensor  # of the distribution that the target was drawn from, nats, float32

    @property
    def mask(self) -> torch.Tensor:
        """Where a token is scored: bool."""
        return self.targets != IGNORED


IGNORED = -100
"""What torch's cross-entropy leaves out."""


@torch.no_grad()
def read_texts(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    batch_size: int = 8,
) -> Read:
    """Log-probability and entropy of every token of every text, given its own beginning and its prompt.

    A prompt and its text are cut into tokens apart, as when a model has answered. Batches are filled with texts of like
    length; the order is that of `texts`. Raises ValueError where prompts do not match the texts.
    """
    prompts = [""] * len(texts) if prompts is None else prompts
    if len(prompts) != len(texts) or not texts:
        raise ValueError(f"{len(texts)} texts cannot be read after {len(prompts)} prompts")
    pairs = [
        (encoded(tokenizer, prompt, True), encoded(tokenizer, text, not prompt))
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    width = max(len(before) + len(after) for before, after in pairs)
    targets = torch.full((len(texts), width), IGNORED)
    log_probs, entropies = torch.zeros(2, len(texts), width)
    for places, tokens, mask in batches([before + after for before, after in pairs], batch_size):
        logits = _masked(model, tokens, mask).logits
        for place, row, scores in zip(
            places, tokens.cpu(), logits, strict=True
        ):  # one text's table of logits at a time
            before, after = pairs[place]
            first, last = max(1, len(before)), len(before) + len(after)
            logs = scores[first - 1 : last - 1].float().log_softmax(-1).cpu()
            chosen = row[first:last]
            targets[place, first:last] = chosen
            log_probs[place, first:last] = logs.gather(1, chosen[:, None]).squeeze(1)
            entropies[place, first:last] = -(logs.exp() * logs).nan_to_num(0.0).sum(1)
    return Read(targets, log_probs, entropies)


@torch.no_grad()
def hidden_states(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, layer: int = -1, batch_size: int = 8
) -> tuple[torch.Tensor, torch.Tensor]:
    """States of every token (N, T, width), float32, and where there is one, bool (N, T), on the CPU; 0 elsewhere.

    layer: 0 is the embedding, -1 what the output layer reads (behind the last norm).
    """
    rows = [encoded(tokenizer, text, True) for text in texts]
    states: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for places, tokens, mask in batches(rows, batch_size):
        found = _masked(model, tokens, mask, output_hidden_states=True).hidden_states[layer]
        for place, row in zip(places, found.float().cpu(), strict=True):
            states[place] = row[: len(rows[place])]
    lengths = torch.tensor([len(row) for row in rows])
    padded = nn.utils.rnn.pad_sequence(states, batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def encoded(tokenizer: PreTrainedTokenizerBase, text: str, begins: bool) -> list[int]:
    """Token numbers; with the tokenizer's own begin token, if it has the custom, where the text `begins`."""
    if not text:
        return []
    return list(tokenizer(text, add_special_tokens=begins).input_ids)


def batches(rows: Sequence[Sequence[int]], batch_size: int) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Rows of like length together, the longest first: their places, token numbers and mask, padded on the right.

    Raises ValueError for a row without tokens.
    """
    if empty := [place for place, row in enumerate(rows) if not row]:
        raise ValueError(f"text {empty[0]} has no tokens")
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        parts = [torch.tensor(rows[place]) for place in places]
        lengths = torch.tensor([len(part) for part in parts])
        tokens = nn.utils.rnn.pad_sequence(parts, batch_first=True)
        yield places, tokens, torch.arange(tokens.shape[1]) < lengths[:, None]


def _masked(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor, **options: Any) -> Any:
    device = next(model.parameters()).device
    return model(input_ids=tokens.to(device), attention_mask=mask.long().to(device), use_cache=False, **options)
