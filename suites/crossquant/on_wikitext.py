"""WikiText-2: a small decoder on its bytes, with planted outliers, and OPT from its checkpoints (full tier)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.corpora import examples
from baselines.language_models import perplexity, pretrained, row_nats
from suites.crossquant import method, networks
from suites.crossquant.contenders import Setting, chosen, quantised
from suites.crossquant.on_images import Metrics, kernel_statistics, mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The decoder.

ROWS = 16
"""Stretches of 64 bytes that are quantised together: 1,024 tokens."""
HEAD = ("head",)


def stretches(part: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` stretches of 64 tokens."""
    return examples(part, 64)[0][:count]


def mean_nats(model: nn.Module, rows: torch.Tensor, batch_size: int = ROWS) -> float:
    """Nats per token, in batches of so many rows."""
    return float(row_nats(model, rows, batch_size=batch_size).double().mean())


def quantised_decoder(*, arm: str, seed: int, steps: int, trained_decoder: Path) -> Metrics:
    """Nats per byte of the test part, W8A8 and W8A4, without outliers and with outliers of 100."""
    del steps  # what the artifact was trained for
    text, tensors = networks.text(), load_file(trained_decoder)
    test, val = stretches(text.test, 160), stretches(text.validation, 80)
    plain = mean_nats(networks.load_decoder(tensors, 1, seed), test)
    metrics: Metrics = {}
    for scale in (1, 100):
        load = partial(networks.load_decoder, tensors, scale, seed)
        columns = method.calibrate(load(), stretches(text.train, 64).split(ROWS))
        for bits in (8, 4):
            model, choice = chosen(arm, load, bits, columns, partial(mean_nats, rows=val), HEAD)
            nats = mean_nats(model, test)
            found = {"nats": nats, "rise": nats - plain} | choice
            metrics |= {f"{name}_w8a{bits}_x{scale}": value for name, value in found.items()}
    return metrics


def decoder_statistics(*, seed: int, steps: int, scale: int, trained_decoder: Path) -> Metrics:
    """Kernels at 8 bits over the six linear layers of each block, one of which reads a ReLU."""
    del steps  # what the artifact was trained for
    batches = stretches(networks.text().test, 4 * ROWS).split(ROWS)
    model = networks.load_decoder(load_file(trained_decoder), scale, seed)
    token, cross = (
        method.diagnose_layers(model, batches, bits=8, alpha=alpha, skip=HEAD) for alpha in (1.0, method.DEFAULT_ALPHA)
    )
    relu = behind_relu(cross)
    return kernel_statistics(list(token.values()), list(cross.values())) | {
        "relu_exact_zeros": mean(relu, "exact_zeros"),
        "relu_kernel": mean(relu, "kernel"),
    }


def behind_relu(rows: Mapping[str, method.Diagnosis]) -> list[method.Diagnosis]:
    """Those of the layers that read a ReLU, in OPT as in the small decoder."""
    return [row for name, row in rows.items() if name.endswith("fc2")]


def decoding(*, seed: int, steps: int, bits: int, trained_decoder: Path) -> Metrics:
    """The same stretches quantised as one batch, and every token by itself; outliers of 100, weights as are."""
    del steps  # what the artifact was trained for
    load = partial(networks.load_decoder, load_file(trained_decoder), seed=seed)
    rows, model = stretches(networks.text().test, ROWS), load(100)

    def together(x: torch.Tensor) -> torch.Tensor:
        return method.crossquant(x, bits=bits)

    def one_by_one(x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda token: together(token[None])[0])(x.flatten(0, -2)).view_as(x)

    errors: list[list[float]] = []  # for each layer: together, one by one

    def observe(_: str, layer: nn.Linear, x: torch.Tensor) -> None:
        exact = F.linear(x, layer.weight)
        found = [F.linear(quantise(x), layer.weight) - exact for quantise in (together, one_by_one)]
        errors.append([float(error.norm() / exact.norm()) for error in found])

    def read(function: Callable[[torch.Tensor], torch.Tensor]) -> float:
        """Nats of a decoder whose layers read function(x)."""
        mapped = method.replace_linears_(load(100), lambda _, layer: method.MappedLinear(layer, function), skip=HEAD)
        return mean_nats(mapped, rows)

    method.watch(model, [rows], observe, skip=HEAD)
    batch, alone = (float(np.mean(column)) for column in zip(*errors, strict=True))
    return {
        "error_together": batch,
        "error_one_by_one": alone,
        "error_log_ratio": float(np.log(alone / batch)),
        "nats_float": mean_nats(model, rows),
        "nats_together": read(together),
        "nats_one_by_one": read(one_by_one),
        "logits_gap": networks.logits_gap(load(1), model, rows),
    }


# OPT, every linear layer of its decoder quantised.

SETTINGS = {"w8a8": Setting(8, 8), "w4a8g128": Setting(8, 4, 128), "w4a4": Setting(4, 4)}
PARTS = 5
"""Seeds: each scores every fifth row, so that differences are paired over disjoint parts of the text."""
CALIBRATION = 128
"""At most so many rows of the valid part."""
SKIP = ("lm_head",)


def load_opt(name: str, device: torch.device) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """In half precision on a GPU, as the weights were published; in single precision elsewhere."""
    model, tokenizer = pretrained(name, precision=torch.float16 if device.type == "cuda" else torch.float32)
    return model.to(device), tokenizer


def rows_of(part: str, tokenizer: PreTrainedTokenizerBase, length: int, device: torch.device) -> torch.Tensor:
    """The text of a part in whole rows of `length` tokens, int64 (rows, length)."""
    tokens = tokenizer(reference.load("wikitext-2-heldout", part).text, return_tensors="pt").input_ids[0]
    count = len(tokens) // length
    return tokens[: count * length].view(count, length).to(device)


def opt_125m(*, arm: str, seed: int, device: torch.device, **protocol: object) -> Metrics:
    return quantised_opt("opt-125m", arm, seed, device, **protocol)


def opt_1_3b(*, arm: str, seed: int, device: torch.device, **protocol: object) -> Metrics:
    return quantised_opt("opt-1.3b", arm, seed, device, **protocol)


def opt_6_7b(*, arm: str, seed: int, device: torch.device, **protocol: object) -> Metrics:
    return quantised_opt("opt-6.7b", arm, seed, device, **protocol)


def quantised_opt(
    name: str,
    arm: str,
    seed: int,
    device: torch.device,
    *,
    setting: str,
    length: int,
    group_size: int = 128,
    limit: int | None = None,
) -> Metrics:
    """Nats and perplexity of one part, in rows of `length` tokens; at most `limit` rows of each kind."""
    model, tokenizer = load_opt(name, device)
    rows = rows_of("test", tokenizer, length, device)[seed % PARTS :: PARTS][:limit]
    quantisers = SETTINGS[setting]
    if quantisers.group_size is not None:
        quantisers = replace(quantisers, group_size=group_size)
    metrics: Metrics = {}
    columns: dict[str, torch.Tensor] = {}
    if arm in ("crossquant_calibrated", "crossquant_folded", "smoothquant"):
        calibration = rows_of("val", tokenizer, length, device)[:CALIBRATION][:limit]
        columns = method.calibrate(model, calibration.split(1), skip=SKIP)
    if arm in ("per_token", "crossquant"):
        alpha = 1.0 if arm == "per_token" else method.DEFAULT_ALPHA
        metrics |= kernels(model, rows[:4], quantisers.activation_bits, alpha)
    plain = mean_nats(model, rows, 1)
    nats = row_nats(quantised(arm, model, quantisers, columns, skip=SKIP), rows, batch_size=1)
    mean_of_all = float(nats.double().mean())
    return metrics | {"nats": mean_of_all, "rise": mean_of_all - plain, "perplexity": perplexity(nats)}


def kernels(model: nn.Module, rows: torch.Tensor, bits: int, alpha: float) -> Metrics:
    """The mean kernel over all layers, each counted once, and what of it stands behind the ReLU."""
    found = method.diagnose_layers(model, rows.split(1), bits=bits, alpha=alpha, skip=SKIP)
    statistics = kernel_statistics(list(found.values()), list(found.values()))
    names = ("kernel", "nonzero_kernel", "zeros_in_kernel")
    return {name: statistics[f"cross_{name}"] for name in names} | {
        "case_one": statistics["case_one"],
        "relu_exact_zeros": mean(behind_relu(found), "exact_zeros"),
    }


def opt_6_7b_kernel(*, seed: int, device: torch.device, length: int, limit: int | None = None) -> Metrics:
    """The kernel removed in floating point, over multiples of the per-token INT8 zero bound: kernel, rise of loss."""
    model, tokenizer = load_opt("opt-6.7b", device)
    rows = rows_of("test", tokenizer, length, device)[seed % PARTS :: PARTS][:limit]
    plain = mean_nats(model, rows, 1)
    shares, rises = [], []
    for threshold in np.geomspace(0.003, 3, 13):
        shares.append(removed(model, rows[:4], threshold))
        without = method.without_kernel(model, bits=8, threshold=threshold, skip=SKIP)
        rises.append(mean_nats(without, rows, 1) - plain)
        del without  # before the next copy
    small = [rise for share, rise in zip(shares, rises, strict=True) if share <= 0.19]
    return {
        "kernels": shares,
        "rises": rises,
        "rise_below_19": max(small, default=math.nan),
        "rise_largest": rises[-1],
        "perplexity": math.exp(plain),
    }


def removed(model: nn.Module, rows: torch.Tensor, threshold: float) -> float:
    """The share of entries, a mean over layers, that are within a multiple of the per-token INT8 zero bound."""
    found: list[float] = []

    def observe(_: str, __: nn.Linear, x: torch.Tensor) -> None:
        found.append(method.kernel_proportion(x, threshold * method.step_sizes(x, bits=8, alpha=1.0)))

    method.watch(model, rows.split(1), observe, skip=SKIP)
    return float(np.mean(found))
