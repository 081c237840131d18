"""Causal language models: one objective, one way to score a text, and pretrained ones by the name of their weights.

A model is anything that takes token numbers (B, T) and gives logits (B, T, vocabulary), as a tensor or as the
`logits` of what transformers returns: `transformer_models.small_decoder`, a suite's own, or a pretrained one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from torch import nn
from torch.nn import functional as F

import reference
from baselines.training import Batch
from reference import cache
from reference.catalog import content_digest, get

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
    checkpoint is run. Needs `crossexam[models]`, and `crossexam[language]` for weights in GGUF, which are dequantised
    once (see `dequantised`). Raises DataError where the files are absent or hold no causal LM.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = reference.load(name)
    packed = [file for file in get(name).files if file.name.endswith(".gguf")]
    if packed:
        folder = dequantised(folder / packed[0].name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=precision)
    except (OSError, ValueError) as error:
        raise reference.DataError(
            f"{folder} holds no causal language model that transformers reads: {error}"
        ) from error
    return model.eval(), tokenizer


def dequantised(file: Path) -> Path:
    """A folder of the user's cache with the model and tokenizer of a GGUF file, as transformers lays them out.

    The weights are float32: what 4 bits and a scale in half precision stand for is exact there, not in bfloat16. Made
    once for each content of the file, by one process at a time; it appears whole. Raises DataError where transformers
    cannot read the file, where the packages that it needs are absent, and where the cache cannot be written.
    """
    folder = cache.root() / "models" / content_digest(file)[0]
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")), TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            if not folder.is_dir():  # another process may have made it meanwhile
                _unpack_gguf(file, Path(scratch) / "model")
                (Path(scratch) / "model").rename(folder)
    except ImportError as error:
        hint = "python -m pip install 'crossexam[language]'"
        raise reference.DataError(f"{file.name} cannot be read: {error}: {hint}") from error
    except (OSError, ValueError, LookupError, NotImplementedError, struct.error) as error:  # of a file cut off, too
        raise reference.DataError(f"{file} could not be made a model in {folder.parent}: {error}") from error
    return folder


def _unpack_gguf(file: Path, folder: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True, dtype=torch.float32
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # it says how the file was packed, and would be believed of the new one
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tied = set(model.all_tied_weights_keys)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
