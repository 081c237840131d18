"""A pretrained language model with the outliers that it has: SmolLM2-135M-Instruct, LLaMA's architecture, WikiText-2.

Its weights were rounded to 4 bits before (GGUF Q4_1); dequantised, they are what "floating point" means here. Every
linear layer but the output layer is quantised. Text is taken in rows of `length` tokens, two at a time, from five
places of the test part: seed k has the k-th, so that arms are paired over disjoint texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import reference
from baselines import quantisation
from baselines.language_models import pretrained
from baselines.tuning import choose
from suites.crossquant import method
from suites.crossquant.contenders import ALPHAS, TUNED, Setting, quantised
from suites.crossquant.on_images import Metrics, rank_correlation
from suites.crossquant.on_wikitext import PARTS, SKIP, mean_nats

MODEL = "smollm2-135m-instruct-q4_1"
ROWS = 2
SETTINGS = {"w8a8": Setting(8, 8), "w8a4": Setting(4, 8)}
THRESHOLDS = (1 / 16, 1 / 4, 1.0)
"""Multiples of the per-token INT8 zero bound at which kernels are removed, its own and smaller ones."""
SMALL_KERNEL = 0.01
"""The share of entries that the paper calls harmless in LLaMA."""


def load() -> nn.Module:
    return pretrained(MODEL)[0]


def rows_of(part: str, place: int, length: int) -> torch.Tensor:
    """int64 (ROWS, length): the text of a part from the `place`-th of its five fifths on, at the start of a line."""
    text, tokenizer = reference.load("wikitext-2-heldout", part).text, pretrained(MODEL)[1]
    start = text.index("\n", len(text) * place // PARTS) + 1
    tokens = tokenizer(text[start : start + 12 * ROWS * length]).input_ids
    return torch.tensor(tokens[: ROWS * length]).view(ROWS, length)


# What takes time is measured once for all parts, in artifacts: a process loads the model for them all.


def smollm2_plain(*, length: int) -> dict[str, torch.Tensor]:
    """Nats of every part in floating point, (PARTS,)."""
    model = load()
    return {"nats": torch.tensor([mean_nats(model, rows_of("test", place, length)) for place in range(PARTS)])}


def smollm2_arm(*, arm: str, length: int) -> dict[str, torch.Tensor]:
    """Nats of every part by one arm at W8A8 and W8A4, {setting: (PARTS,)}; of a tuned one at W8A4 alone.

    SmoothQuant's maxima are those of the first place of the valid part. A tuned arm takes the alpha of least loss at
    W8A4 on the third place of it, and leaves these losses, (ALPHAS,).
    """
    columns, found = {}, {}
    if arm.startswith("smoothquant"):
        columns = method.calibrate(load(), [rows_of("val", 0, length)], skip=SKIP)
    alpha = None
    if arm in TUNED:
        losses = [mean_nats(network(arm, "w8a4", columns, one), rows_of("val", 2, length)) for one in ALPHAS]
        alpha = choose(dict(zip(ALPHAS, losses, strict=True)), smallest=True)
        found = {"alpha": torch.tensor(alpha), "losses": torch.tensor(losses)}
    for setting in SETTINGS if alpha is None else ("w8a4",):
        model = network(arm, setting, columns, alpha)
        found[setting] = torch.tensor([mean_nats(model, rows_of("test", place, length)) for place in range(PARTS)])
    return found


def network(arm: str, setting: str, columns: Mapping[str, torch.Tensor], alpha: float | None) -> nn.Module:
    """The pretrained model as an arm quantises it."""
    return quantised(arm, load(), SETTINGS[setting], columns, alpha=alpha, skip=SKIP)


def smollm2_removal(*, bits: int, length: int) -> dict[str, torch.Tensor]:
    """Nats of every part with the per-token kernel removed, or everything but it quantised, and kernels, (PARTS,) each.

    Weights are in floating point. "removed/T" is of the zero bound times T, and "kernel/T" the share of such entries.
    """

    def steps(x: torch.Tensor) -> torch.Tensor:
        return method.step_sizes(x, bits=bits, alpha=1.0)

    parts = [rows_of("test", place, length) for place in range(PARTS)]
    readings: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "quantised": partial(quantisation.per_token, bits=bits),
        "restored": lambda x: method.restore_kernel(x, steps(x), bits=bits),
    }
    thresholds = THRESHOLDS if bits == 8 else (1.0,)
    for times in thresholds:
        readings[f"removed/{times}"] = lambda x, times=times: method.remove_kernel(x, steps(x), threshold=times)

    def nats(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        mapped = method.replace_linears_(load(), lambda _, layer: method.MappedLinear(layer, function), skip=SKIP)
        return torch.tensor([mean_nats(mapped, rows) for rows in parts])

    found, model = {name: nats(function) for name, function in readings.items()}, load()
    columns = [mean_kernels(model, rows, bits, thresholds) for rows in parts]
    names = [*(f"kernel/{times}" for times in thresholds), "kernel/crossquant"]
    return found | {name: torch.tensor(column) for name, column in zip(names, zip(*columns, strict=True), strict=True)}


def smollm2_kernels(*, length: int) -> dict[str, torch.Tensor]:
    """CrossQuant's 4-bit kernel over ALPHAS on the text that alpha is tuned on."""
    rows, model = rows_of("val", 2, length), load()
    return {
        "kernels": torch.tensor(
            over_layers(model, rows, [partial(crossquant_kernel, bits=4, alpha=one) for one in ALPHAS])
        )
    }


# The experiments read them.


def smollm2(*, arm: str, seed: int, length: int, smollm2_plain: Path, smollm2_arm: Path) -> Metrics:
    """Nats per token of one part at W8A8 and W8A4, and the rise above floating point; tuned arms at W8A4 only."""
    del arm, length  # what the artifact was made for
    found, place = load_file(smollm2_arm), seed % PARTS
    plain = float(load_file(smollm2_plain)["nats"][place])
    metrics: Metrics = {"nats_float": plain} | ({"alpha": float(found["alpha"])} if "alpha" in found else {})
    for name in SETTINGS.keys() & found.keys():
        nats = float(found[name][place])
        metrics |= {f"nats_{name}": nats, f"rise_{name}": nats - plain}
    return metrics


def smollm2_alphas(*, arm: str, length: int, smollm2_arm: Path, smollm2_kernels: Path) -> Metrics:
    """CrossQuant's 4-bit kernel and its loss at W8A4 over alpha."""
    del arm, length  # what the artifacts were made for
    kernels, losses = load_file(smollm2_kernels)["kernels"].tolist(), load_file(smollm2_arm)["losses"].tolist()
    return {"correlation": rank_correlation(kernels, losses), "kernels": kernels, "losses": losses}


def smollm2_kernel(*, seed: int, bits: int, length: int, smollm2_plain: Path, smollm2_removal: Path) -> Metrics:
    """What removing, and what restoring the per-token kernel does to the loss of one part.

    Surpluses are what a diagnostic explains beyond half of the rise of the loss by per-token quantisation.
    """
    del length  # what the artifacts were made for
    place = seed % PARTS
    plain = float(load_file(smollm2_plain)["nats"][place])
    found = {name: float(one[place]) for name, one in load_file(smollm2_removal).items()}
    drop, restored, removed = (found[name] - plain for name in ("quantised", "restored", "removed/1.0"))
    token, cross = found["kernel/1.0"], found["kernel/crossquant"]
    metrics: Metrics = {
        "token_kernel": token, "cross_kernel": cross, "kernel_log_ratio": math.log(token / cross),
        "drop": drop, "removed": removed, "restored": restored,
        "removed_surplus": removed - drop / 2, "restored_surplus": drop / 2 - restored,
    }  # fmt: skip
    if bits == 8:
        shares = [found[f"kernel/{times}"] for times in THRESHOLDS]
        rises = [found[f"removed/{times}"] - plain for times in THRESHOLDS]
        small = [rise for share, rise in zip(shares, rises, strict=True) if share <= SMALL_KERNEL]
        metrics |= {"shares": shares, "rises": rises, "rise_small": max(small, default=math.nan)}
    return metrics


def mean_kernels(model: nn.Module, rows: torch.Tensor, bits: int, thresholds: tuple[float, ...]) -> list[float]:
    """Shares within each multiple of the per-token zero bound, then within CrossQuant's; means over the layers."""
    counts = [partial(crossquant_kernel, bits=bits, alpha=1.0, times=times) for times in thresholds]
    return over_layers(model, rows, [*counts, partial(crossquant_kernel, bits=bits, alpha=method.DEFAULT_ALPHA)])


def crossquant_kernel(x: torch.Tensor, *, bits: int, alpha: float, times: float = 1.0) -> float:
    return method.kernel_proportion(x, times * method.step_sizes(x, bits=bits, alpha=alpha))


def over_layers(
    model: nn.Module, rows: torch.Tensor, measures: Sequence[Callable[[torch.Tensor], float]]
) -> list[float]:
    """The mean of each measure of a layer's input over the quantised layers."""
    found: list[list[float]] = []
    method.watch(model, [rows], lambda _, __, x: found.append([one(x) for one in measures]), skip=SKIP)
    return np.mean(found, axis=0).tolist()
