"""OPT on WikiText-2: perplexity and kernels with every linear layer of the decoder quantised (full tier)."""

from __future__ import annotations

import math

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import reference
from baselines.language_models import perplexity, pretrained, row_nats
from suites.crossquant import method
from suites.crossquant.contenders import Setting, quantised
from suites.crossquant.measured import Metrics, kernel_statistics, mean

SETTINGS = {"w8a8": Setting(8, 8), "w4a8g128": Setting(8, 4, 128), "w4a4": Setting(4, 4)}
PARTS = 5
"""Seeds: each scores every fifth row, so that differences are paired over disjoint parts of the text."""
CALIBRATION = 128
"""At most so many rows of the valid part."""
SKIP = ("lm_head",)


def load(name: str, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """In half precision on a GPU, as the weights were published; in single precision elsewhere."""
    model, tokenizer = pretrained(name, precision=torch.float16 if device.type == "cuda" else torch.float32)
    return model.to(device), tokenizer


def rows_of(part: str, tokenizer: PreTrainedTokenizerBase, length: int, device: torch.device) -> torch.Tensor:
    """The text of a part in whole rows of `length` tokens, int64 (rows, length)."""
    tokens = tokenizer(reference.load("wikitext-2-heldout", part).text, return_tensors="pt").input_ids[0]
    count = len(tokens) // length
    return tokens[: count * length].view(count, length).to(device)


def wikitext(
    name: str, arm: str, seed: int, device: torch.device, *, setting: str, length: int, group_size: int, limit: int
) -> Metrics:
    """Nats and perplexity of one part. limit: at most so many rows of each kind (0: all)."""
    model, tokenizer = load(name, device)
    most = limit or None
    rows = rows_of("test", tokenizer, length, device)[seed % PARTS :: PARTS][:most]
    chosen = SETTINGS[setting]
    if chosen.group_size is not None:
        chosen = Setting(chosen.activation_bits, chosen.weight_bits, group_size)
    metrics: Metrics = {}
    columns: dict[str, torch.Tensor] = {}
    if arm in ("crossquant_calibrated", "crossquant_folded", "smoothquant"):
        calibration = rows_of("val", tokenizer, length, device)[:CALIBRATION][:most]
        columns = method.calibrate(model, calibration.split(1), skip=SKIP)
    if arm in ("per_token", "crossquant"):
        alpha = 1.0 if arm == "per_token" else method.DEFAULT_ALPHA
        metrics |= kernels(model, rows[:4], chosen.activation_bits, alpha)
    plain = float(row_nats(model, rows, batch_size=1).double().mean())
    quantised(arm, model, chosen, columns, skip=SKIP)
    nats = row_nats(model, rows, batch_size=1)
    mean_nats = float(nats.double().mean())
    return metrics | {"nats": mean_nats, "rise": mean_nats - plain, "perplexity": perplexity(nats)}


def kernels(model: PreTrainedModel, rows: torch.Tensor, bits: int, alpha: float) -> Metrics:
    """The mean kernel over all layers, each counted once, and what of it stands behind the ReLU."""
    found = method.diagnose_layers(model, rows.split(1), bits=bits, alpha=alpha, skip=SKIP)
    relu = [row for name, row in found.items() if name.endswith("fc2")]
    statistics = kernel_statistics(list(found.values()), list(found.values()))
    return {
        "kernel": statistics["cross_kernel"],
        "nonzero_kernel": statistics["cross_nonzero_kernel"],
        "zeros_in_kernel": statistics["cross_zeros_in_kernel"],
        "case_one": statistics["case_one"],
        "relu_exact_zeros": mean(relu, "exact_zeros"),
    }


def removed(model: PreTrainedModel, rows: torch.Tensor, threshold: float) -> float:
    """The share of entries, a mean over layers, that are within a multiple of the per-token INT8 zero bound."""
    found: list[float] = []

    def observe(_: str, layer: torch.nn.Linear, x: torch.Tensor) -> None:
        found.append(method.kernel_proportion(x, threshold * method.step_sizes(x, bits=8, alpha=1.0)))

    method.watch(model, rows.split(1), observe, skip=SKIP)
    return float(np.mean(found))


def removal(name: str, seed: int, device: torch.device, *, length: int, limit: int) -> Metrics:
    """The kernel removed in floating point, over multiples of the per-token INT8 zero bound: kernel, rise of loss."""
    model, tokenizer = load(name, device)
    rows = rows_of("test", tokenizer, length, device)[seed % PARTS :: PARTS][: limit or None]
    plain = float(row_nats(model, rows, batch_size=1).double().mean())
    shares, rises = [], []
    for threshold in np.geomspace(0.003, 3, 13):
        shares.append(removed(model, rows[:4], threshold))
        without = method.without_kernel(model, bits=8, threshold=threshold, skip=SKIP)
        rises.append(float(row_nats(without, rows, batch_size=1).double().mean()) - plain)
        del without  # before the next copy
    small = [rise for share, rise in zip(shares, rises, strict=True) if share <= 0.19]
    return {
        "kernels": shares,
        "rises": rises,
        "rise_below_19": max(small, default=math.nan),
        "rise_largest": rises[-1],
        "perplexity": math.exp(plain),
    }
