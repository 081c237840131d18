"""What quantisers of activations are compared with: per-token and per-tensor steps, SmoothQuant, LLM.int8()'s split of
outlier channels, and a Hadamard rotation (as in QuaRot).

Quantisation is simulated, symmetric and by absolute maxima, for N bits with codes up to 2^(N-1) - 1. A layer takes two
quantisers, of its input (..., I) and of its weight (O, I), so that all arms of a comparison can share that of weights:

    quantise = partial(per_token, bits=8)  # of a weight (O, I), this is one step for each output channel
    layer = QuantisedLinear(linear, activation=quantise, weight=quantise, smoothing=smoothing(maxima, linear.weight))
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

Quantiser = Callable[[torch.Tensor], torch.Tensor]


def per_token(x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """x (..., I) with one step for each row, max|row| / (2^(bits-1) - 1), rounded and back."""
    return _rounded(x, x.abs().amax(-1, keepdim=True), bits)


def per_tensor(x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """x with one step for all of it, rounded and back."""
    return _rounded(x, x.abs().amax(), bits)


def _rounded(x: torch.Tensor, maxima: torch.Tensor, bits: int) -> torch.Tensor:
    if bits < 2:
        raise ValueError(f"signed codes need at least 2 bits, got {bits}")
    steps = maxima.to(torch.promote_types(x.dtype, torch.float32)) / (2 ** (bits - 1) - 1)
    steps = torch.where(steps > 0, steps, 1.0)
    return ((x / steps).round() * steps).to(x.dtype)


def smoothing(maxima: torch.Tensor, weight: torch.Tensor, alpha: float = 0.5) -> torch.Tensor:
    """SmoothQuant's s_j = max|X_j|^alpha / max|W_j|^(1-alpha), (I,), from calibrated maxima (I,) and a weight (O, I).

    1 where a channel or its weights are all zero, and nothing can be moved between them.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    if maxima.shape != weight.shape[-1:]:
        raise ValueError(f"{tuple(maxima.shape)} maxima for a weight {tuple(weight.shape)}")
    weights = weight.abs().amax(0)
    scale = maxima.to(weight) ** alpha / weights ** (1 - alpha)
    return torch.where((maxima.to(weight) > 0) & (weights > 0), scale, 1.0)


@cache
def rotation(size: int) -> torch.Tensor:
    """An orthogonal matrix (size, size), float64, that spreads every channel over all.

    A Hadamard matrix of the largest power of two in `size`, and for the odd factor that is left a cosine transform
    (Kronecker product); signs are drawn once for each size. Its entries are at most sqrt(2 / size).
    """

    from scipy.fft import dct
    from scipy.linalg import hadamard

    if size < 1:
        raise ValueError(f"no rotation of {size} channels")
    power = size & -size
    odd = dct(np.eye(size // power), norm="ortho")
    signs = np.random.default_rng(size).choice([-1.0, 1.0], size)
    return torch.from_numpy(signs[:, None] * np.kron(odd, hadamard(power) / np.sqrt(power)))


class QuantisedLinear(nn.Module):
    """In place of an nn.Linear: activation((x / s) R) times weight((W s) R), with s (I,) and R (I, I) where given.

    Without rounding this is the layer itself, for R R^T = I.
    """

    def __init__(
        self,
        linear: nn.Linear,
        *,
        activation: Quantiser,
        weight: Quantiser,
        smoothing: torch.Tensor | None = None,
        rotation: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        prepared = linear.weight.detach()
        if smoothing is not None:
            smoothing = smoothing.to(prepared)
            prepared = prepared * smoothing
        if rotation is not None:
            rotation = rotation.to(prepared)
            prepared = prepared @ rotation
        self.activation, self.bias = activation, linear.bias
        self.weight: torch.Tensor
        self.register_buffer("weight", weight(prepared))
        self.smoothing, self.rotation = smoothing, rotation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.smoothing is not None:
            x = x / self.smoothing
        if self.rotation is not None:
            x = x @ self.rotation
        return F.linear(self.activation(x), self.weight, self.bias)


class SplitLinear(nn.Module):
    """LLM.int8(): channels of the batch whose largest |x| exceeds `threshold` are multiplied in floating point.

    The others are quantised, as are their weights; the published threshold is 6.
    """

    def __init__(self, linear: nn.Linear, *, activation: Quantiser, weight: Quantiser, threshold: float = 6.0) -> None:
        super().__init__()
        if threshold < 0:
            raise ValueError(f"a threshold of magnitudes is not negative, got {threshold}")
        self.linear, self.activation, self.threshold = linear, activation, threshold
        self.weight: torch.Tensor
        self.register_buffer("weight", weight(linear.weight.detach()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outliers = x.abs().flatten(0, -2).amax(0) > self.threshold
        ordinary = F.linear(self.activation(x.masked_fill(outliers, 0.0)), self.weight, self.linear.bias)
        return ordinary + F.linear(x[..., outliers], self.linear.weight[:, outliers])
