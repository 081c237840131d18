"""What is measured on networks with outliers: accuracies and losses of all arms, kernels, errors, diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from baselines import digits
from baselines.corpora import examples
from baselines.digits import Data
from baselines.language_models import row_nats
from suites.crossquant import method, networks
from suites.crossquant.contenders import ALPHAS, TUNED, Setting, quantised

Metrics = dict[str, float | list[float]]

SCALES = (1, 10, 100)
IMAGES = 200
"""Images that are quantised together: dynamic column maxima are over so many tokens."""
ROWS = 16
"""Stretches of 64 bytes that are quantised together: 1,024 tokens."""
SWEEP = (0.0, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0)
"""The alphas of S3."""


# Networks on images.


@torch.no_grad()
def scores(model: nn.Module, data: Data) -> tuple[float, float]:
    """(accuracy, mean cross-entropy), in batches of `IMAGES`."""
    logits = torch.cat([model(images) for images in data[0].split(IMAGES)])
    return float((logits.argmax(1) == data[1]).double().mean()), float(F.cross_entropy(logits, data[1]))


def chosen(
    arm: str, build: Callable[[float | None], nn.Module], loss: Callable[[nn.Module], float]
) -> tuple[nn.Module, float | None]:
    """(network, alpha): of a tuned arm the alpha of least validation loss, of any other the default, as None."""
    alpha = min(ALPHAS, key=lambda alpha: loss(build(alpha))) if arm in TUNED else None
    return build(alpha), alpha


def quantised_mlp(arm: str, seed: int, dataset: str, trained: Path) -> Metrics:
    """S1: test accuracy and loss with 8-bit weights, 4- or 8-bit activations, and outliers of 1, 10 and 100."""
    data, tensors = networks.parts(dataset, seed), load_file(trained)
    plain = scores(networks.load_mlp(dataset, tensors, 1), data.test)[0]
    metrics: Metrics = {}
    for scale in SCALES:
        load = partial(networks.load_mlp, dataset, tensors, scale)
        columns = method.calibrate(load(), data.train[0][:1000].split(IMAGES))
        for bits in (4, 8):
            build = partial(quantised_copy, arm, load, bits, columns, ())
            model, alpha = chosen(arm, build, lambda model: scores(model, data.val)[1])
            accuracy, loss = scores(model, data.test)
            metrics |= {
                f"accuracy_a{bits}_x{scale}": accuracy,
                f"drop_a{bits}_x{scale}": plain - accuracy,
                f"loss_a{bits}_x{scale}": loss,
            }
            if alpha is not None:
                metrics[f"alpha_a{bits}_x{scale}"] = alpha
    return metrics


def quantised_copy(
    arm: str,
    load: Callable[[], nn.Module],
    bits: int,
    columns: Mapping[str, torch.Tensor],
    skip: Sequence[str],
    alpha: float | None,
) -> nn.Module:
    """A fresh network with activations of `bits` and 8-bit weights."""
    return quantised(arm, load(), Setting(bits, 8), columns, alpha=alpha, skip=skip)


def preserved(seed: int, dataset: str, trained: Path) -> Metrics:
    """The largest change of a logit by outliers, in float64."""
    data, tensors = networks.parts(dataset, seed), load_file(trained)
    plain = networks.load_mlp(dataset, tensors, 1)
    inputs = data.test[0][:1000].double()
    gaps = [networks.logits_gap(plain, networks.load_mlp(dataset, tensors, scale), inputs) for scale in SCALES]
    return {"logits_gap": max(gaps), "accuracy": scores(plain, data.test)[0]}


def kernel_is_causal(seed: int, dataset: str, bits: int, scale: int, trained: Path) -> Metrics:
    """S2: weights in floating point; the per-token kernel alone removed, or everything but it quantised.

    Surpluses are what a diagnostic explains beyond half of the drop that per-token quantisation makes.
    """
    tensors, test = load_file(trained), digits.first(networks.parts(dataset, seed).test, 2000)
    model = networks.load_mlp(dataset, tensors, scale)

    def restore(x: torch.Tensor) -> torch.Tensor:
        return method.restore_kernel(x, method.step_sizes(x, bits=bits, alpha=1.0), bits=bits)

    restored = method.replace_linears_(
        networks.load_mlp(dataset, tensors, scale), lambda _, layer: method.MappedLinear(layer, restore)
    )
    token = method.quantise_(
        networks.load_mlp(dataset, tensors, scale), activation_bits=bits, weight_bits=None, alpha=1.0
    )
    accuracies = {
        "float": scores(model, test)[0],
        "quantised": scores(token, test)[0],
        "removed": scores(method.without_kernel(model, bits=bits), test)[0],
        "restored": scores(restored, test)[0],
    }
    drop = accuracies["float"] - accuracies["quantised"]
    metrics: Metrics = {f"accuracy_{name}": value for name, value in accuracies.items()}
    metrics |= {
        "drop": drop,
        "removed_surplus": accuracies["float"] - accuracies["removed"] - drop / 2,
        "restored_surplus": accuracies["restored"] - accuracies["quantised"] - drop / 2,
    }
    return metrics | (removal_sweep(model, test, bits) if scale == 100 else {})


def removal_sweep(model: nn.Module, data: Data, bits: int) -> Metrics:
    """Accuracy without all that is within a multiple of the per-token zero bound, and the shares of hidden entries."""
    thresholds = [float(threshold) for threshold in np.geomspace(0.01, 10, 13)]
    shares: list[list[tuple[float, float]]] = []  # for each layer and batch, for each threshold: of all, of non-zeros

    def observe(name: str, layer: nn.Linear, x: torch.Tensor) -> None:
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
        "sweep": float(spearmanr(kernels, found).statistic),
        "harmless_share": max(harmless, default=0.0),
        "sweep_kernel": kernels,
        "sweep_nonzero_kernel": nonzeros,
        "sweep_accuracy": found,
    }


def mean(rows: Sequence[method.Diagnosis], name: str) -> float:
    """The mean of one field."""
    return float(np.mean([getattr(row, name) for row in rows]))


def activation_statistics(seed: int, dataset: str, scale: int, trained: Path) -> Metrics:
    """S3 and the zeros of the ReLU: what quantisers do to the inputs of the three layers behind a ReLU."""
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
            f"kernel_error_correlation_a{bits}": float(spearmanr(kernels, errors).statistic),
        }
    return metrics | kernel_statistics(token=swept[-1], cross=swept[default])


def hidden_rows(model: nn.Module, images: torch.Tensor, bits: int, alpha: float) -> list[method.Diagnosis]:
    """The diagnoses of the layers that read a ReLU."""
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


def case_one_and_advantage(seed: int, dataset: str, trained: Path) -> Metrics:
    """S5: the share of Case I against log(error per token / error CrossQuant), 3 layers and 5 sizes of outliers."""
    images, tensors = networks.parts(dataset, seed).test[0][:1000], load_file(trained)
    shares, advantages = [], []
    for scale in (1, 3, 10, 30, 100):
        model = networks.load_mlp(dataset, tensors, scale)
        rows = (hidden_rows(model, images, 8, alpha) for alpha in (1.0, method.DEFAULT_ALPHA))
        for token, cross in zip(*rows, strict=True):
            shares.append(cross.case_one)
            advantages.append(float(np.log(token.output_error / cross.output_error)))
    return {
        "correlation": float(spearmanr(shares, advantages).statistic),
        "case_one_shares": shares,
        "advantages": advantages,
    }


# The decoder on text.


def _rows(part: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` stretches of 64 tokens."""
    return examples(part, 64)[0][:count]


def nats(model: nn.Module, rows: torch.Tensor) -> float:
    """Mean nats per byte, in batches of `ROWS` stretches."""
    return float(row_nats(model, rows, batch_size=ROWS).double().mean())


def quantised_decoder(arm: str, seed: int, trained_decoder: Path) -> Metrics:
    """S4 at small scale: nats per byte of the test part, W8A8 and W8A4, without outliers and with outliers of 100."""
    found, tensors = networks.text(), load_file(trained_decoder)
    test, val, calibration = _rows(found.test, 160), _rows(found.validation, 80), _rows(found.train, 64)
    plain = nats(networks.load_decoder(tensors, 1, seed), test)
    metrics: Metrics = {}
    for scale in (1, 100):
        load = partial(networks.load_decoder, tensors, scale, seed)
        columns = method.calibrate(load(), calibration.split(ROWS))
        for bits in (8, 4):
            build = partial(quantised_copy, arm, load, bits, columns, ("head",))
            model, alpha = chosen(arm, build, lambda model: nats(model, val))
            score = nats(model, test)
            metrics |= {f"nats_w8a{bits}_x{scale}": score, f"rise_w8a{bits}_x{scale}": score - plain}
            if alpha is not None:
                metrics[f"alpha_w8a{bits}_x{scale}"] = alpha
    return metrics


def decoding(seed: int, bits: int, trained_decoder: Path) -> Metrics:
    """S6: the same stretches quantised as one batch, and every token by itself; outliers of 100, weights as are."""
    found, tensors = networks.text(), load_file(trained_decoder)
    rows = _rows(found.test, ROWS)
    model = networks.load_decoder(tensors, 100, seed)

    def together(x: torch.Tensor) -> torch.Tensor:
        return method.crossquant(x, bits=bits)

    def one_by_one(x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda token: together(token[None])[0])(x.flatten(0, -2)).view_as(x)

    errors: dict[str, list[float]] = {"together": [], "one_by_one": []}

    def observe(name: str, layer: nn.Linear, x: torch.Tensor) -> None:
        exact = F.linear(x, layer.weight)
        for way, quantise in (("together", together), ("one_by_one", one_by_one)):
            errors[way].append(float((F.linear(quantise(x), layer.weight) - exact).norm() / exact.norm()))

    method.watch(model, [rows], observe, skip=("head",))
    batch, alone = (float(np.mean(errors[way])) for way in ("together", "one_by_one"))
    metrics: Metrics = {"error_together": batch, "error_one_by_one": alone}
    metrics["error_log_ratio"] = float(np.log(alone / batch))
    return metrics | {
        "nats_float": nats(model, rows),
        "nats_together": nats(_reading(networks.load_decoder(tensors, 100, seed), together), rows),
        "nats_one_by_one": nats(_reading(networks.load_decoder(tensors, 100, seed), one_by_one), rows),
        "logits_gap": decoder_gap(tensors, seed, rows),
    }


def _reading(model: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """The decoder, whose layers read function(x)."""
    return method.replace_linears_(model, lambda _, layer: method.MappedLinear(layer, function), skip=("head",))


def decoder_statistics(seed: int, scale: int, trained_decoder: Path) -> Metrics:
    """Kernels at 8 bits over the six linear layers of each block, one of which reads a ReLU."""
    rows = _rows(networks.text().test, 4 * ROWS)
    model = networks.load_decoder(load_file(trained_decoder), scale, seed)
    token, cross = (
        method.diagnose_layers(model, rows.split(ROWS), bits=8, alpha=alpha, skip=("head",))
        for alpha in (1.0, method.DEFAULT_ALPHA)
    )
    relu = [row for name, row in cross.items() if name.endswith("fc2")]
    return kernel_statistics(list(token.values()), list(cross.values())) | {
        "relu_exact_zeros": mean(relu, "exact_zeros"),
        "relu_kernel": mean(relu, "kernel"),
    }


def decoder_gap(tensors: dict[str, torch.Tensor], seed: int, rows: torch.Tensor) -> float:
    """The largest change of a logit of the decoder by outliers, in float64."""
    plain, scaled = (networks.load_decoder(tensors, scale, seed) for scale in (1, 100))
    return networks.logits_gap(plain, scaled, rows)
