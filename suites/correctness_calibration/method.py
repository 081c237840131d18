r"""Correctness-aware calibration (Liu et al., arXiv:2404.13016): confidence up where a prediction is right, else down.

Logits z (N, K) of an image, z^(m) (M, N, K) of M transformed copies, labels y (N,); yhat = argmax z, c = 1[yhat = y].

    cues         x = the softmax probabilities of the copies at the 4 largest logits of the image itself, (N, 4 M)
    temperature  T = clip(w_2 . relu(W_1 x + b_1) + b_2, 0.1, 10) for each image, 5 hidden units
    confidence   chat = max_k softmax(z / T)_k
    loss         mean of (chat - c)^2, as the paper has it; "batch", as the released code has it, weighs c = 1 by 1 - a
                 and c = 0 by a, a the share of right predictions, over the sum of weights: half the mean over the right
                 predictions and half that over the wrong ones

    calibrator = SampleTemperature(copies=3)
    fit(calibrator, cues(z, copies), z, y, correctness_aware, steps=400, rate=0.01)
    probabilities = softmax(z / calibrator(x)[:, None])            # the prediction is what it was

Half precision is computed in float32. A logit of -inf is a class that cannot be; logits of NaN or inf are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from baselines.losses import require, visible, widened

Balance = Literal["none", "batch"]
LEAST, MOST = 0.1, 10.0
"""Bounds of the temperature."""


def cues(logits: torch.Tensor, copies: torch.Tensor, k: int = 4) -> torch.Tensor:
    """Probabilities (N, M k) of the copies (M, N, K) at the k largest logits of the image, copy by copy, largest first.

    Raises ValueError for shapes that do not fit and k outside 1..K.
    """
    fit = logits.dim() == 2 and copies.dim() == 3 and copies.shape[1:] == logits.shape
    require(fit, "logits must be (N, K) and copies (M, N, K)", f"{tuple(logits.shape)} and {tuple(copies.shape)}")
    require(1 <= k <= logits.shape[1], f"k must lie in 1..{logits.shape[1]}", k)
    _check_logits(logits)
    _check_logits(copies)
    top = widened(logits).topk(k, dim=1).indices
    probabilities = widened(copies).softmax(-1).gather(2, top.expand(len(copies), -1, -1))
    return probabilities.transpose(0, 1).flatten(1)


class SampleTemperature(nn.Module):
    """Cues (N, copies * k) -> temperatures (N,) in [0.1, 10].

    Where the temperature is clipped there is no gradient. With PyTorch's initialisation (`start` None, as in the
    released code) temperatures begin around 0 and many are clipped; `start` is the bias of the output instead.
    """

    def __init__(self, copies: int = 3, k: int = 4, hidden: int = 5, start: float | None = None) -> None:
        super().__init__()
        require(min(copies, k, hidden) >= 1, "copies, k and hidden must be at least 1", (copies, k, hidden))
        self.first, self.second = nn.Linear(copies * k, hidden), nn.Linear(hidden, 1)
        if start is not None:
            nn.init.constant_(self.second.bias, start)

    def forward(self, cues: torch.Tensor) -> torch.Tensor:
        hidden = self.first(cues.to(self.first.weight.dtype)).relu()
        return self.second(hidden).squeeze(-1).clamp(LEAST, MOST)


# Losses of logits (N, K), temperatures (N,) or () and labels int64 (N,).


def confidence(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """chat (N,): the largest probability at the temperature of each row; in float32 at least."""
    return scaled(logits, temperature).softmax(1).amax(1)


def scaled(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """z / T (N, K), in float32 at least; a class that cannot be adds nothing to the gradient of T."""
    _check(logits, temperature)
    z = widened(logits)
    impossible = z == -torch.inf
    column = widened(temperature)[:, None] if temperature.dim() else widened(temperature)
    return (z.masked_fill(impossible, 0) / column).masked_fill(impossible, -torch.inf)


def correctness(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """c (N,), 0 or 1: whether the largest logit, of equal ones the first, is that of the label."""
    _check_labels(logits, labels)
    return (logits.argmax(1) == labels).to(widened(logits).dtype)


def correctness_aware(
    logits: torch.Tensor, temperature: torch.Tensor, labels: torch.Tensor, *, balance: Balance = "none"
) -> torch.Tensor:
    """The loss, a scalar. No rows give 0; "batch" with right or with wrong rows alone is their mean."""
    require(balance in ("none", "batch"), "balance must be 'none' or 'batch'", repr(balance))
    right = correctness(logits, labels)
    return _mean((confidence(logits, temperature) - right).square(), right, balance)


def cross_entropy(
    logits: torch.Tensor, temperature: torch.Tensor, labels: torch.Tensor, *, balance: Balance = "none"
) -> torch.Tensor:
    """Mean cross-entropy of z / T, a scalar; inf for a label that cannot be."""
    require(balance in ("none", "batch"), "balance must be 'none' or 'batch'", repr(balance))
    right = correctness(logits, labels)
    return _mean(F.cross_entropy(scaled(logits, temperature), labels, reduction="none"), right, balance)


def squared_error(
    logits: torch.Tensor, temperature: torch.Tensor, labels: torch.Tensor, *, balance: Balance = "none"
) -> torch.Tensor:
    """The mean over rows of sum_k (p_k - 1[k = y])^2, a scalar."""
    require(balance in ("none", "batch"), "balance must be 'none' or 'batch'", repr(balance))
    right = correctness(logits, labels)
    p = scaled(logits, temperature).softmax(1)
    return _mean((p - F.one_hot(labels, p.shape[1])).square().sum(1), right, balance)


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _mean(values: torch.Tensor, right: torch.Tensor, balance: Balance) -> torch.Tensor:
    if not len(values):
        return values.sum()
    if balance == "none" or right.min() == right.max():
        return values.mean()
    share = right.mean()
    weights = torch.where(right == 1, 1 - share, share)
    return (weights * values).sum() / weights.sum()


def fit(
    calibrator: nn.Module, cues: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, loss: Loss, *, steps: int,
    rate: float, batch: int | None = None, seed: int = 0,
) -> list[float]:  # fmt: skip
    """Train in place by Adam for `steps` steps on all rows, or on batches in an order that depends on `seed`.

    Returns the losses. The released code takes batches of 1,000 and 10 epochs at a rate of 1e-4. Raises ValueError
    without rows, for shapes that do not fit, and at a loss that is not finite.
    """
    require(len(logits) > 0 and len(cues) == len(logits), "there must be rows, as many cues as logits", len(cues))
    optimizer, losses = torch.optim.Adam(calibrator.parameters(), lr=rate), list[float]()
    generator = torch.Generator().manual_seed(seed)
    order: list[torch.Tensor] = []
    for _ in range(steps):
        if batch is None:
            chosen = torch.arange(len(logits))
        else:
            order = order or list(torch.randperm(len(logits), generator=generator).split(batch))
            chosen = order.pop(0)
        value = loss(logits[chosen], calibrator(cues[chosen]), labels[chosen])
        require(bool(value.isfinite()), "the loss must stay finite", float(value.detach()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def best_temperature(logits: torch.Tensor, labels: torch.Tensor, halvings: int = 200) -> torch.Tensor:
    """The temperature (N,) of least cross-entropy of each row by itself: the root of z_y = sum_k p_k z_k.

    0 where no logit is larger than the label's; inf where z_y <= the mean of the logits (also if all are equal).
    """
    _check_labels(logits, labels)
    z = logits.double()
    own = z.gather(1, labels[:, None]).squeeze(1)
    low, high = torch.full_like(own, -30.0), torch.full_like(own, 30.0)  # of log T, over the spread of the logits
    scale = (z.amax(1) - z.amin(1)).clamp_min(torch.finfo(z.dtype).tiny)
    for _ in range(halvings):
        middle = (low + high) / 2
        p = (z / (middle.exp() * scale)[:, None]).softmax(1)
        hot = (p * z).sum(1) < own  # the mean falls as T grows: too hot
        low, high = torch.where(hot, low, middle), torch.where(hot, middle, high)
    found = torch.where(own == z.amax(1), 0.0, ((low + high) / 2).exp() * scale)
    return torch.where(own <= z.mean(1), torch.inf, found)


# Metrics of confidences and correctness (N,), as the released code has them: 25 bins.


def calibration_error(confidence: torch.Tensor, right: torch.Tensor) -> float:
    """mean |chat - c|."""
    return float((confidence.double() - right.double()).abs().mean())


def expected_calibration_error(confidence: torch.Tensor, right: torch.Tensor, bins: int = 25) -> float:
    """sum over bins ](b-1)/B, b/B] of |accuracy - mean confidence| times their share."""
    return float(_bin_gaps(confidence, right, bins).abs().sum())


def weighted_maximum_gap(confidence: torch.Tensor, right: torch.Tensor, bins: int = 25) -> float:
    """The largest gap of a bin times its share: what the released code calls MCE."""
    return float(_bin_gaps(confidence, right, bins).abs().max())


def _bin_gaps(confidence: torch.Tensor, right: torch.Tensor, bins: int) -> torch.Tensor:
    _check_scores(confidence, right)
    which = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64)
    return gaps.index_add_(0, which, right.double() - confidence.double()) / len(right)


def adaptive_calibration_error(confidence: torch.Tensor, right: torch.Tensor, bins: int = 25) -> float:
    """As the expected one, in bins of as many samples each (quantiles; equal edges make one bin)."""
    _check_scores(confidence, right)
    c = confidence.double()
    edges = torch.quantile(c, torch.linspace(0, 1, bins + 1, dtype=torch.float64)).unique()
    which = torch.searchsorted(edges, c).clamp(1, max(1, len(edges) - 1)) - 1
    gaps = torch.zeros(max(1, len(edges) - 1), dtype=torch.float64).index_add_(0, which, right.double() - c)
    return float(gaps.abs().sum() / len(c))


def kolmogorov_smirnov(confidence: torch.Tensor, right: torch.Tensor) -> float:
    """max over t of |mean of (c - chat) over samples of confidence at most t|, equal ones together."""
    _check_scores(confidence, right)
    c, order = confidence.double().sort()
    sums = (right.double()[order] - c).cumsum(0) / len(c)
    last = torch.ones_like(c, dtype=torch.bool)
    last[:-1] = c[1:] > c[:-1]
    return float(sums[last].abs().max())


def static_calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 25) -> float:
    """The mean over classes of the expected calibration error of their probabilities (N, K) (SCE)."""
    _check_labels(probabilities, labels)
    return float(sum(
        _bin_gaps(probabilities[:, k], (labels == k).double(), bins).abs().sum() for k in range(probabilities.shape[1])
    ) / probabilities.shape[1])  # fmt: skip


# Checks.


def _check_logits(logits: torch.Tensor) -> None:
    require(
        logits.is_floating_point() and logits.shape[-1] >= 1, "logits must be floats of a class or more", logits.dtype
    )
    if visible(logits):
        require(bool((logits < torch.inf).all()), "logits must be numbers or -inf", "NaN or inf")
        require(bool((logits.amax(-1) > -torch.inf).all()), "some class must be possible", "-inf alone")


def _check(logits: torch.Tensor, temperature: torch.Tensor) -> None:
    require(logits.dim() == 2, "logits must be (N, K)", tuple(logits.shape))
    fit = temperature.shape in ((), (len(logits),))
    require(fit, f"temperature must be () or ({len(logits)},)", tuple(temperature.shape))
    if logits.numel():
        _check_logits(logits)
        if visible(temperature):
            require(bool((temperature > 0).all()), "temperatures must be positive", "another")


def _check_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    fit = logits.dim() == 2 and labels.shape == logits.shape[:1] and labels.dtype == torch.int64
    require(fit, f"labels must be int64 ({len(logits)},)", f"{labels.dtype} {tuple(labels.shape)}")
    if len(labels) and visible(labels):
        inside = bool(((labels >= 0) & (labels < logits.shape[1])).all())
        require(inside, f"labels must lie in 0..{logits.shape[1] - 1}", "another")


def _check_scores(confidence: torch.Tensor, right: torch.Tensor) -> None:
    fit = confidence.dim() == 1 and confidence.shape == right.shape and len(right) > 0
    require(fit, "confidence and correctness must be (N,), N >= 1", f"{tuple(confidence.shape)}, {tuple(right.shape)}")
    require(bool(((confidence >= 0) & (confidence <= 1)).all()), "confidence must lie in [0, 1]", "another")
