"""Calibration after training: maps from logits to probabilities that are fitted on validation data.

A calibrator is called with logits (N, K) and returns probabilities (N, K). Logits are taken in float64; -inf is a class
of probability 0. Fits raise ValueError for no examples, for logits that are NaN or inf, and for labels out of range or
of a class of probability 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from baselines.losses import checked, require, visible

Calibrator = Callable[[torch.Tensor], torch.Tensor]


def expected_calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """sum over bins of |accuracy - mean confidence|, weighted by their share of the samples (Guo et al. 2017).

    probabilities (N, K); labels int64 (N,). The bins of the confidence max_k p_k are ]0, 1/b], ..., ](b-1)/b, 1].
    """
    require(not visible(probabilities) or not bool(probabilities.isnan().any()), "probabilities must be numbers", "NaN")
    confidence, predicted = probabilities.double().max(1)
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64, device=labels.device)
    gaps.index_add_(0, which, (predicted == labels).double() - confidence)
    return float(gaps.abs().sum() / len(labels))


@dataclass(frozen=True)
class Scaling:
    """softmax(weight * z + bias): one scale 1 / T for temperature scaling, one scale and shift a class for vectors."""

    weight: torch.Tensor  # () or (K,)
    bias: torch.Tensor  # () or (K,)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return _scaled(logits, self.weight, self.bias).softmax(-1)


def _scaled(logits: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """weight * z + bias, with the gradient of a class that cannot be left out."""
    impossible = logits == -torch.inf
    return (logits.double().masked_fill(impossible, 0) * weight + bias).masked_fill(impossible, -torch.inf)


def _fittable(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logits in float64, if something can be fitted to them."""
    wide = checked(logits, labels).double()
    require(len(wide) > 0, "a fit must have examples", len(wide))
    require(bool((wide < torch.inf).all()), "logits must be numbers or -inf", "NaN or inf")
    at_label = wide.gather(1, labels[:, None])
    require(bool(at_label.isfinite().all()), "labels must be possible", "a label whose logit is -inf")
    return wide


def temperature_scaling(logits: torch.Tensor, labels: torch.Tensor) -> Scaling:
    """softmax(z / T) with the T > 0 of least negative log-likelihood; T is `1 / scaling.weight`."""
    logits, zero = _fittable(logits, labels), torch.zeros((), dtype=torch.float64, device=logits.device)
    log_scale = torch.zeros((), dtype=torch.float64, device=logits.device, requires_grad=True)
    _minimise(lambda: cross_entropy(_scaled(logits, log_scale.exp(), zero), labels), [log_scale])
    return Scaling(log_scale.detach().exp(), zero)


def vector_scaling(logits: torch.Tensor, labels: torch.Tensor) -> Scaling:
    """softmax(w * z + b) with a scale and a shift for each class, of least negative log-likelihood."""
    logits = _fittable(logits, labels)
    weight = torch.ones(logits.shape[1], dtype=torch.float64, device=logits.device, requires_grad=True)
    bias = torch.zeros_like(weight, requires_grad=True)
    _minimise(lambda: cross_entropy(_scaled(logits, weight, bias), labels), [weight, bias])
    return Scaling(weight.detach(), bias.detach())


def _minimise(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor]) -> None:
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


@dataclass(frozen=True)
class OneVersusRest:
    """A map of [0, 1] for the softmax probability of each class; the results are divided by their sum."""

    maps: tuple[Callable[[np.ndarray], np.ndarray], ...]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        columns = logits.double().softmax(-1).cpu().numpy().T
        mapped = np.stack([one(column) for one, column in zip(self.maps, columns, strict=True)], axis=1)
        total = mapped.sum(1, keepdims=True)
        # Where every class is mapped to zero, nothing is known: all are equally likely.
        mapped = np.where(total > 0, mapped / np.where(total > 0, total, 1), 1 / len(self.maps))
        return torch.from_numpy(mapped).to(logits.device)


def isotonic(logits: torch.Tensor, labels: torch.Tensor) -> OneVersusRest:
    """For each class, the best non-decreasing map of its probability (Zadrozny & Elkan 2002)."""

    from sklearn.isotonic import IsotonicRegression

    return _one_versus_rest(
        logits, labels, lambda p, hit: IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, hit).predict
    )


def histogram_binning(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> OneVersusRest:
    """For each class, the share of hits in each of `bins` equal bins of its probability; its middle if it is empty."""

    def fit(p: np.ndarray, hit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def which(values: np.ndarray) -> np.ndarray:
            return np.minimum((values * bins).astype(int), bins - 1)

        count, hits = np.bincount(which(p), minlength=bins), np.bincount(which(p), hit, minlength=bins)
        share = np.where(count > 0, hits / np.maximum(count, 1), (np.arange(bins) + 0.5) / bins)
        return lambda values: share[which(values)]

    return _one_versus_rest(logits, labels, fit)


def _one_versus_rest(
    logits: torch.Tensor,
    labels: torch.Tensor,
    fit: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]],
) -> OneVersusRest:
    probabilities, truth = _fittable(logits, labels).softmax(-1).cpu().numpy(), labels.cpu().numpy()
    classes = range(logits.shape[1])
    return OneVersusRest(tuple(fit(probabilities[:, k], (truth == k).astype(float)) for k in classes))
