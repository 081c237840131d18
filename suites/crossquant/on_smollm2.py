"""A pretrained language model with the outliers that it has: SmolLM2-135M-Instruct, LLaMA's architecture, WikiText-2.

Its weights were rounded to 4 bits before (GGUF Q4_1); dequantised, they are what "floating point" means here. Every
linear layer but the output layer is quantised. Text is taken in rows of `length` tokens, two at a time, from five
places of the test part: seed k has the k-th, so that arms are paired over disjoint texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import reference
from baselines import quantisation
from baselines.language_models import pretrained
from suites.crossquant import method
from suites.crossquant.contenders import ALPHAS, TUNED, Setting, quantised
from suites.crossquant.on_images import Metrics, rank_correlation
from suites.crossquant.on_wikitext import PARTS, SKIP, mean_nats

MODEL = "smollm2-135m-instruct-q4_1"
ROWS = 2
SETTINGS = {"w8a8": Setting(8, 8), "w8a4": Setting(4, 8)}
THRESHOLDS = (1 / 16, 1 / 4)
"""Multiples of the per-token INT8 zero bound at which kernels smaller than its own are removed."""
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


def smollm2_facts(*, length: int) -> dict[str, torch.Tensor]:
    """What all arms share: nats of every part in floating point, column maxima, and the alphas tuned at W8A4.

    Maxima are those of the first place of the valid part, alphas those of least loss on the third, for both methods.
    """
    model = load()
    columns = method.calibrate(model, [rows_of("val", 0, length)], skip=SKIP)
    val = rows_of("val", 2, length)
    kernels = mean_kernels(model, val, [(4, alpha) for alpha in ALPHAS])
    found = {f"columns/{name}": maxima for name, maxima in columns.items()}
    found["nats"] = torch.tensor([mean_nats(model, rows_of("test", place, length)) for place in range(PARTS)])
    for arm in TUNED:
        losses = [
            mean_nats(quantised(arm, load(), SETTINGS["w8a4"], columns, alpha=alpha, skip=SKIP), val)
            for alpha in ALPHAS
        ]
        found[f"losses/{arm}"] = torch.tensor(losses)
    return found | {"kernels": torch.tensor(kernels)}


def smollm2(*, arm: str, seed: int, length: int, smollm2_facts: Path) -> Metrics:
    """Nats per token of one part at W8A8 and W8A4, and the rise above floating point; tuned arms at W8A4 only."""
    facts = load_file(smollm2_facts)
    rows, plain = rows_of("test", seed % PARTS, length), float(facts["nats"][seed % PARTS])
    if arm == "float":
        return {f"nats_{name}": plain for name in SETTINGS}
    columns = {name.removeprefix("columns/"): one for name, one in facts.items() if name.startswith("columns/")}
    alpha = ALPHAS[int(facts[f"losses/{arm}"].argmin())] if arm in TUNED else None
    metrics: Metrics = {} if alpha is None else {"alpha": alpha}
    for name, setting in SETTINGS.items():
        if alpha is None or name == "w8a4":
            nats = mean_nats(quantised(arm, load(), setting, columns, alpha=alpha, skip=SKIP), rows)
            metrics |= {f"nats_{name}": nats, f"rise_{name}": nats - plain}
    return metrics


def smollm2_alphas(*, length: int, smollm2_facts: Path) -> Metrics:
    """CrossQuant's kernel and loss at W8A4 over alpha, on the text that alpha is tuned on."""
    del length  # what the artifact was made for
    facts = load_file(smollm2_facts)
    kernels, losses = facts["kernels"].tolist(), facts["losses/crossquant_tuned"].tolist()
    return {"correlation": rank_correlation(kernels, losses), "kernels": kernels, "losses": losses}


def smollm2_kernel(*, seed: int, bits: int, length: int, smollm2_facts: Path) -> Metrics:
    """Weights in floating point; the per-token kernel alone removed, or everything but it quantised.

    Surpluses are what a diagnostic explains beyond half of the rise of the loss by per-token quantisation.
    """
    rows = rows_of("test", seed % PARTS, length)
    plain = float(load_file(smollm2_facts)["nats"][seed % PARTS])

    def rise(function: Callable[[torch.Tensor], torch.Tensor]) -> float:
        mapped = method.replace_linears_(load(), lambda _, layer: method.MappedLinear(layer, function), skip=SKIP)
        return mean_nats(mapped, rows) - plain

    def steps(x: torch.Tensor) -> torch.Tensor:
        return method.step_sizes(x, bits=bits, alpha=1.0)

    token, cross = mean_kernels(load(), rows, [(bits, 1.0), (bits, method.DEFAULT_ALPHA)])
    drop = rise(partial(quantisation.per_token, bits=bits))
    removed = rise(lambda x: method.remove_kernel(x, steps(x)))
    restored = rise(lambda x: method.restore_kernel(x, steps(x), bits=bits))
    metrics: Metrics = {
        "token_kernel": token, "cross_kernel": cross, "kernel_log_ratio": math.log(token / cross),
        "drop": drop, "removed": removed, "restored": restored,
        "removed_surplus": removed - drop / 2, "restored_surplus": drop / 2 - restored,
    }  # fmt: skip
    if bits == 8:
        shares = mean_kernels(load(), rows, [(8, 1.0)] * len(THRESHOLDS), THRESHOLDS)
        rises = [rise(lambda x, t=t: method.remove_kernel(x, steps(x), threshold=t)) for t in THRESHOLDS]  # type: ignore[misc]
        small = [one for share, one in zip(shares, rises, strict=True) if share <= SMALL_KERNEL]
        metrics |= {"shares": shares, "rises": rises, "rise_small": max(small, default=math.nan)}
    return metrics


def mean_kernels(
    model: nn.Module,
    rows: torch.Tensor,
    quantisers: list[tuple[int, float]],
    thresholds: tuple[float, ...] = (),
) -> list[float]:
    """For each (bits, alpha) the share of entries within its zero bound, or a multiple; means over the layers."""
    found: list[list[float]] = []
    multiples = thresholds or (1.0,) * len(quantisers)

    def observe(_: str, __: nn.Linear, x: torch.Tensor) -> None:
        steps = (method.step_sizes(x, bits=bits, alpha=alpha) for bits, alpha in quantisers)
        found.append([method.kernel_proportion(x, times * one) for one, times in zip(steps, multiples, strict=True)])

    method.watch(model, [rows], observe, skip=SKIP)
    return np.mean(found, axis=0).tolist()
