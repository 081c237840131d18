"""Causal language models: one objective, one way to score a text, and pretrained ones by the name of their weights.

A model is anything that takes token numbers (B, T) and gives logits (B, T, vocabulary), as a tensor or as the
`logits` of what transformers returns: `transformer_models.small_decoder`, a suite's own, or a pretrained one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.training import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def next_token_logits(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """(B, T) -> (B, T, vocabulary): row t scores token t + 1."""
    found = model(tokens)
    return found if isinstance(found, torch.Tensor) else found.logits


def next_token(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The objective for `training.fit`: mean nats per target that is not -100."""
    logits = next_token_logits(model, batch.inputs)
    return F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten())


@torch.no_grad()
def row_nats(model: nn.Module, rows: torch.Tensor, *, batch_size: int = 16) -> torch.Tensor:
    """Nats of each token given those before it in its row: (rows, T) -> float32 (rows, T - 1), on the CPU.

    By custom of the papers on quantisation, perplexity is exp of its mean over a text cut into whole rows of 2,048.
    """
    found = []
    for part in rows.split(batch_size):
        logits = next_token_logits(model, part)[:, :-1]
        nats = F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(), reduction="none")
        found.append(nats.view(len(part), -1).cpu())
    return torch.cat(found)


def token_nats(
    model: nn.Module, tokens: torch.Tensor, *, length: int, stride: int | None = None, batch_size: int = 16
) -> torch.Tensor:
    """Nats of every token of a text but its first, each scored once: int64 (T,) -> float32 (T - 1,), on the CPU.

    The model sees `length` tokens at a time and moves on by `stride` (default: `length`). From the second window on
    only the last `stride` targets count, so that each has a context of more than length - stride tokens.
    """
    stride = stride or length
    if not 1 <= stride <= length or len(tokens) < 2:
        raise ValueError(f"length {length}, stride {stride} and {len(tokens)} tokens do not go together")
    pieces = []
    for rows, keep in _windows(tokens, length, stride, batch_size):
        pieces.append(row_nats(model, rows, batch_size=batch_size)[:, -keep:].flatten())
    return torch.cat(pieces)


def _windows(tokens: torch.Tensor, length: int, stride: int, batch_size: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Windows (B, at most length + 1), and how many of their last tokens have not been scored before."""
    first = tokens[: length + 1]
    yield first[None], len(first) - 1
    done = len(first)
    whole = tokens[stride:].unfold(0, length + 1, stride) if len(tokens) > length + stride else tokens.new_empty(0, 1)
    for rows in whole.split(batch_size):
        if len(rows):
            yield rows, stride
            done += stride * len(rows)
    if rest := len(tokens) - done:
        yield tokens[-(length + 1) :][None], rest


def perplexity(nats: torch.Tensor) -> float:
    """exp of the mean, which is taken in float64."""
    return math.exp(float(nats.double().mean()))


def non_embedding(model: nn.Module) -> int:
    """How many parameters are in no embedding, nor in an output layer that is tied to one."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in embeddings)


def pretrained(name: str, *, precision: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM with its tokenizer, in evaluation mode on the CPU, from the files of the data set `name`.

    `needs.models` of an experiment names the set, such as "opt-125m"; nothing is fetched here, and no code of the
    checkpoint is run. Needs `crossexam[models]`. Raises DataError where the files are absent or hold no causal LM.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = reference.load(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=precision)
    except (OSError, ValueError) as error:
        raise reference.DataError(
            f"{folder} holds no causal language model that transformers reads: {error}"
        ) from error
    return model.eval(), tokenizer
