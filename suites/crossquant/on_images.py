"""Networks with outliers on digits and Fashion-MNIST: accuracies and losses of all arms, kernels, errors, diagnostics.

Dynamic column maxima are over 200 images at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from baselines import digits
from baselines.digits import Data
from suites.crossquant import method, networks
from suites.crossquant.contenders import chosen

Metrics = dict[str, float | list[float]]

SCALES = (1, 10, 100)
IMAGES = 200
SWEEP = (0.0, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0)
"""The alphas along which kernels and errors are followed."""


@torch.no_grad()
def scores(model: nn.Module, data: Data) -> tuple[float, float]:
    """(accuracy, mean cross-entropy)."""
    logits = torch.cat([model(images) for images in data[0].split(IMAGES)])
    return float((logits.argmax(1) == data[1]).double().mean()), float(F.cross_entropy(logits, data[1]))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def preserved(*, seed: int, dataset: str, trained: Path) -> Metrics:
    """The largest change of a logit by outliers, in float64."""
    data, tensors = networks.parts(dataset, seed), load_file(trained)
    plain = networks.load_mlp(dataset, tensors, 1)
    inputs = data.test[0][:1000].double()
    gaps = [networks.logits_gap(plain, networks.load_mlp(dataset, tensors, scale), inputs) for scale in SCALES]
    return {"logits_gap": max(gaps), "accuracy": scores(plain, data.test)[0]}


def quantised_mlp(*, arm: str, seed: int, dataset: str, trained: Path) -> Metrics:
    """Test accuracy and loss with 8-bit weights, 4- or 8-bit activations, and outliers of 1, 10 and 100."""
    data, tensors = networks.parts(dataset, seed), load_file(trained)
    plain = scores(networks.load_mlp(dataset, tensors, 1), data.test)[0]
    metrics: Metrics = {}
    for scale in SCALES:
        load = partial(networks.load_mlp, dataset, tensors, scale)
        columns = method.calibrate(load(), data.train[0][:1000].split(IMAGES))
        for bits in (4, 8):
            model, choice = chosen(arm, load, bits, columns, lambda model: scores(model, data.val)[1])
            accuracy, loss = scores(model, data.test)
            found = {"accuracy": accuracy, "drop": plain - accuracy, "loss": loss} | choice
            metrics |= {f"{name}_a{bits}_x{scale}": value for name, value in found.items()}
    return metrics


def kernel_is_causal(*, seed: int, dataset: str, bits: int, scale: int, trained: Path) -> Metrics:
    """Weights in floating point; the per-token kernel alone removed, or everything but it quantised.

    Surpluses are what a diagnostic explains beyond half of the drop that per-token quantisation makes.
    """
    tensors, test = load_file(trained), digits.first(networks.parts(dataset, seed).test, 2000)
    load = partial(networks.load_mlp, dataset, tensors, scale)

    def restore(x: torch.Tensor) -> torch.Tensor:
        return method.restore_kernel(x, method.step_sizes(x, bits=bits, alpha=1.0), bits=bits)

    accuracies = {
        "float": scores(load(), test)[0],
        "quantised": scores(method.quantise_(load(), activation_bits=bits, weight_bits=None, alpha=1.0), test)[0],
        "removed": scores(method.without_kernel(load(), bits=bits), test)[0],
        "restored": scores(method.replace_linears_(load(), lambda _, one: method.MappedLinear(one, restore)), test)[0],
    }
    drop = accuracies["float"] - accuracies["quantised"]
    metrics: Metrics = {f"accuracy_{name}": value for name, value in accuracies.items()}
    metrics |= {
        "drop": drop,
        "removed_surplus": accuracies["float"] - accuracies["removed"] - drop / 2,
        "restored_surplus": accuracies["restored"] - accuracies["quantised"] - drop / 2,
    }
    return metrics | (removal_sweep(load(), test, bits) if scale == 100 else {})


def removal_sweep(model: nn.Module, data: Data, bits: int) -> Metrics:
    """Accuracy without all that is within a multiple of the per-token zero bound, and the shares of hidden entries."""
    thresholds = [float(threshold) for threshold in np.geomspace(0.01, 10, 13)]
    shares: list[list[tuple[float, float]]] = []  # for each layer and batch, for each threshold: of all, of non-zeros

    def observe(_: str, __: nn.Linear, x: torch.Tensor) -> None:
        steps = method.step_sizes(x, bits=bits, alpha=1.0)
        counted = (partial(method.kernel_proportion, x, threshold * steps) for threshold in thresholds)
        shares.append([(share(), share(exact_zeros=False)) for share in counted])

    method.watch(model, data[0].split(IMAGES), observe, skip=networks.HIDDEN[:1])
    kernels, nonzeros = np.array(shares).mean(0).T.tolist()
    cut = (method.without_kernel(model, bits=bits, threshold=threshold) for threshold in thresholds)
    found = [scores(network, data)[0] for network in cut]
    plain = scores(model, data)[0]
    harmless = [share for share, accuracy in zip(nonzeros, found, strict=True) if plain - accuracy <= 0.01]
    return {
        "sweep": rank_correlation(kernels, found),
        "harmless_share": max(harmless, default=0.0),
        "sweep_kernel": kernels,
        "sweep_nonzero_kernel": nonzeros,
        "sweep_accuracy": found,
    }


def mean(rows: Sequence[method.Diagnosis], name: str) -> float:
    """The mean of one field."""
    return float(np.mean([getattr(row, name) for row in rows]))


def hidden_rows(model: nn.Module, images: torch.Tensor, bits: int, alpha: float) -> list[method.Diagnosis]:
    """The diagnoses of the three layers that read a ReLU."""
    batches = images.split(IMAGES)
    return list(method.diagnose_layers(model, batches, bits=bits, alpha=alpha, skip=networks.HIDDEN[:1]).values())


def kernel_statistics(token: Sequence[method.Diagnosis], cross: Sequence[method.Diagnosis]) -> Metrics:
    """Means over layers, of per-token quantisation and of CrossQuant; with and without the entries that were 0."""
    zeros = mean(token, "exact_zeros")
    metrics: Metrics = {"exact_zeros": zeros, "case_one": mean(cross, "case_one")}
    for name, rows in (("token", token), ("cross", cross)):
        metrics |= {
            f"{name}_kernel": mean(rows, "kernel"),
            f"{name}_nonzero_kernel": mean(rows, "kernel_of_nonzeros"),
            f"{name}_zeros_in_kernel": zeros / mean(rows, "kernel"),
        }
    return metrics


def activation_statistics(*, seed: int, dataset: str, scale: int, trained: Path) -> Metrics:
    """What quantisers do to the inputs of the layers behind a ReLU, along alpha, and the zeros of the ReLU."""
    images, tensors = networks.parts(dataset, seed).test[0][:1000], load_file(trained)
    model = networks.load_mlp(dataset, tensors, scale)
    default = SWEEP.index(method.DEFAULT_ALPHA)
    metrics: Metrics = {}
    for bits in (4, 8):  # the last ones are used below
        swept = [hidden_rows(model, images, bits, alpha) for alpha in SWEEP]
        kernels, errors = (np.array([mean(rows, name) for rows in swept]) for name in ("kernel", "output_error"))
        metrics |= {
            f"kernels_a{bits}": kernels.tolist(),
            f"errors_a{bits}": errors.tolist(),
            f"kernel_step_a{bits}": float(np.diff(kernels).min()),
            f"kernel_lead_a{bits}": float(kernels[-1] - kernels[default]),
            f"error_lead_a{bits}": float(np.log(errors[-1] / errors[default])),
            f"zero_excess_a{bits}": float(np.log(errors[0] / errors[1:].min())),
            f"kernel_error_correlation_a{bits}": rank_correlation(kernels, errors),
        }
    return metrics | kernel_statistics(token=swept[-1], cross=swept[default])


def case_one_and_advantage(*, seed: int, dataset: str, trained: Path) -> Metrics:
    """The share of Case I against log(error per token / error CrossQuant), 3 layers and 5 sizes of outliers."""
    images, tensors = networks.parts(dataset, seed).test[0][:1000], load_file(trained)
    shares, advantages = [], []
    for scale in (1, 3, 10, 30, 100):
        model = networks.load_mlp(dataset, tensors, scale)
        rows = (hidden_rows(model, images, 8, alpha) for alpha in (1.0, method.DEFAULT_ALPHA))
        for token, cross in zip(*rows, strict=True):
            shares.append(cross.case_one)
            advantages.append(float(np.log(token.output_error / cross.output_error)))
    return {
        "correlation": rank_correlation(shares, advantages),
        "case_one_shares": shares,
        "advantages": advantages,
    }
