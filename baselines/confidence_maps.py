"""More calibration after training: mixtures of temperatures, and maps of the confidence of the prediction alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from baselines.calibration import temperature_scaling
from baselines.losses import checked


@dataclass(frozen=True)
class Ensemble:
    """w_1 softmax(z / T) + w_2 softmax(z) + w_3 / K, the weights not negative and of sum 1 (Zhang et al. 2020)."""

    weights: tuple[float, float, float]
    scale: float  # 1 / T

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        parts = torch.stack([(self.scale * logits.double()).softmax(1), logits.double().softmax(1)])
        mixed = self.weights[0] * parts[0] + self.weights[1] * parts[1]
        return mixed + self.weights[2] / logits.shape[1]


def ensemble_temperature_scaling(logits: torch.Tensor, labels: torch.Tensor) -> Ensemble:
    """The temperature of least negative log-likelihood, then the weights of least negative log-likelihood."""
    scale = float(temperature_scaling(logits, labels).weight)
    z = checked(logits, labels).double()
    columns = torch.stack([(scale * z).softmax(1), z.softmax(1), torch.full_like(z, 1 / z.shape[1])])
    own = columns.gather(2, labels[None, :, None].expand(3, -1, 1)).squeeze(2).numpy()

    def nats(weights: np.ndarray) -> tuple[float, np.ndarray]:
        p = np.maximum(weights @ own, 1e-300)
        return float(-np.log(p).mean()), -(own / p).mean(1)

    found = minimize(
        nats, np.full(3, 1 / 3), jac=True, method="SLSQP", bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}, options={"ftol": 1e-12},
    )  # fmt: skip
    weights = np.clip(found.x, 0, 1)
    first, second, third = (weights / weights.sum()).tolist()
    return Ensemble((first, second, third), scale)


def isotonic_confidence(confidence: torch.Tensor, right: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Confidences `new` (M,) by the best non-decreasing map of `confidence` (N,) to correctness (N,), float64."""

    from sklearn.isotonic import IsotonicRegression

    if not len(confidence) or confidence.shape != right.shape:
        raise ValueError(f"there must be confidences, as many as outcomes, got {len(confidence)} and {len(right)}")
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(confidence.double(), right.double())
    return torch.from_numpy(fitted.predict(new.double().numpy()))
