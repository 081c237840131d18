r"""Label-distributionally robust losses: LDR, LDR-KL and its adaptive form ALDR-KL (arXiv:2112.14869).

The label of an example is taken as uncertain: a distribution p over the K classes is drawn against the learner, held
near the uniform one by a penalty R,

    psi(f, y) = max_{p in Omega} sum_k p_k delta_k - R(p),      delta_k = f_k - f_y + c 1[k != y],

with scores f, target y and margin c >= 0. With R(p) = lam KL(p || 1/K) on the simplex this is LDR-KL,

    psi_lam(f, y) = lam log( (1/K) sum_k exp(delta_k / lam) ),      p*_k = softmax(delta / lam)_k,

the Crammer-Singer loss max_k delta_k for lam -> 0, cross-entropy minus log K for lam = 1 and c = 0, and the linear and
symmetric loss mean_k delta_k for lam -> inf. ALDR-KL lets every example choose its lam near lam0,

    psi_{alpha,lam0}(f, y) = max_{lam >= 0} psi_lam(f, y) - (alpha log K / (2 lam0)) (lam - lam0)^2,

whose stationary points are lam = lam0 - lam0 KL(p* || 1/K) / (alpha log K): confident examples get a smaller lam, and
alpha > 1 keeps it at or above lam0 (1 - 1/alpha). Algorithm 1 takes one step of this map at each visit of an example
and keeps lam in a table (`ALDRKL`).

Shapes: scores (N, K) float, K >= 2; targets (N,) int64; delta and p (N, K); lam, psi and KL (N,). Scores of half
precision are computed with, and their losses returned, in float32.

    loss = ALDRKL(examples=len(train))
    for inputs, targets, ids in batches:               # ids: rows of the training set
        loss(normalised(model(inputs), softplus=True), targets, ids).backward()
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

MODERATE = 10.0
"""Up to this lam, what log K loses to rounding is not felt: in float32 2e-6 of a loss for 26 classes."""
Penalty = Callable[[torch.Tensor], torch.Tensor]
"""R: p (N, K) -> (N,), convex and differentiable inside the simplex."""


def margins(logits: torch.Tensor, targets: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
    """delta_k = f_k - f_y + c 1[k != y], (N, K); exactly 0 at the target. Raises ValueError for what is no problem."""
    logits, target = _checked(logits, targets, margin)
    return (logits - target).scatter(1, targets[:, None], 0.0)


def divergence(p: torch.Tensor) -> torch.Tensor:
    """KL(p || 1/K) = sum_k p_k log(K p_k), between 0 and log K: (N, K) -> (N,)."""
    return torch.xlogy(p, p).sum(1) + math.log(p.shape[1])


# General LDR.


def ldr(
    logits: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty,
    *,
    domain: Literal["simplex", "subsimplex"] = "simplex",
    margin: float = 0.0,
    iterations: int = 500,
) -> torch.Tensor:
    """psi(f, y) for any penalty R, (N,), solved by `worst_case`; Omega is {p >= 0} with sum p = 1, or sum p <= 1.

    The gradient with respect to f is that of Danskin's theorem, p* - e_y where p* sums to one.
    """
    delta = margins(logits, targets, margin)
    p = worst_case(delta.detach(), penalty, domain=domain, iterations=iterations)
    return variational_value(p, delta, penalty)


def variational_value(p: torch.Tensor, delta: torch.Tensor, penalty: Penalty) -> torch.Tensor:
    """sum_k p_k delta_k - R(p), (N,): what the worst case maximises."""
    return (p * delta).sum(1) - penalty(p)


def worst_case(
    delta: torch.Tensor,
    penalty: Penalty,
    *,
    domain: Literal["simplex", "subsimplex"] = "simplex",
    iterations: int = 500,
) -> torch.Tensor:
    """p* (N, K) for any penalty R, by mirror ascent from the uniform distribution.

    Each row has its own step size: doubled after a step that gained what its linearisation and KL distance promise,
    halved where it did not, and then not taken. Raises ValueError for an unknown domain.
    """
    if domain not in ("simplex", "subsimplex"):
        raise ValueError(f"domain must be 'simplex' or 'subsimplex', got {domain!r}")
    classes = delta.shape[1]
    # What a sub-distribution lacks to one is the mass of a last coordinate, which neither pays nor earns.
    gains = F.pad(delta, (0, 1)) if domain == "subsimplex" else delta

    def value(p: torch.Tensor) -> torch.Tensor:
        return (p * gains).sum(1) - penalty(p[:, :classes])

    # exp(floor) is still a normal number: p stays inside the simplex, where the penalty has a gradient.
    floor = math.log(torch.finfo(gains.dtype).tiny)
    log_p = torch.full_like(gains, -math.log(gains.shape[1]))
    step = torch.ones_like(gains[:, :1])
    for _ in range(iterations):
        p = log_p.exp().requires_grad_()
        with torch.enable_grad():
            here = value(p)
            slope = torch.autograd.grad(here.sum(), p)[0]
        with torch.no_grad():
            trial = F.log_softmax(log_p + step * slope, dim=1).clamp_min(floor)
            moved = trial.exp()
            promised = (slope * (moved - p)).sum(1) - (moved * (trial - log_p)).sum(1) / step.squeeze(1)
            gained = (value(moved) - here >= promised)[:, None]
        log_p = torch.where(gained, trial, log_p)
        step = torch.where(gained, 2 * step, step / 2).clamp(2.0**-40, 2.0**40)
    return log_p.exp()[:, :classes]


# LDR-KL.


def ldr_kl(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    lam: float | torch.Tensor,
    margin: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> torch.Tensor:
    """psi_lam(f, y) in closed form. The gradient is p* - e_y.

    Args:
        lam: the strength of the penalty: a number >= 0 (0 is max_k delta_k, math.inf is mean_k delta_k, both exact), or
            a positive tensor (N,), one for each example.
        reduction: "mean" or "sum" (a scalar), or "none" (N,).

    Raises ValueError for wrong shapes or dtypes, a negative or NaN lam, a negative margin, targets out of range (CPU).
    """
    if isinstance(lam, torch.Tensor):
        if lam.shape != targets.shape:
            raise ValueError(f"lam must be a number or of shape (N,), got {tuple(lam.shape)}")
    elif not lam >= 0:
        raise ValueError(f"lam must be at least 0, got {lam}")
    return _reduce(_smooth_max(margins(logits, targets, margin), lam), reduction)


def _smooth_max(delta: torch.Tensor, lam: float | torch.Tensor, at_most: float | None = None) -> torch.Tensor:
    """lam log mean_k exp(delta_k / lam), (N,); `at_most` is a number that no lam of a tensor is above, if one is known.

    Up to MODERATE it is log-sum-exp less log K, which loses lam eps log K. Beyond that this would be felt, and it is
    s + lam log1p(mean expm1((delta - s) / lam)), the same for every s. From the mean of delta the mean of expm1 is at
    least 0 (Jensen), so that nothing cancels in log1p, as it would from the largest of many, with a mean next to -1.
    Where one delta stands out so far that exp would overflow, s is 30 lam below it: exp(30) is more than classes.
    """
    if isinstance(lam, float | int):
        if lam == 0:
            return delta.amax(1)
        if math.isinf(lam):
            return delta.mean(1)
        at_most = lam
    column = lam[:, None] if isinstance(lam, torch.Tensor) else lam
    if at_most is not None and at_most <= MODERATE:
        return lam * ((delta / column).logsumexp(1) - math.log(delta.shape[1]))
    with torch.no_grad():
        start = torch.maximum(delta.mean(1, keepdim=True), delta.amax(1, keepdim=True) - 30 * column)
    return start.squeeze(1) + lam * torch.expm1((delta - start) / column).mean(1).log1p()


def worst_label(delta: torch.Tensor, lam: float | torch.Tensor) -> torch.Tensor:
    """p* = softmax(delta / lam), (N, K), for lam > 0, a number or (N,)."""
    return F.softmax(delta / (lam[:, None] if isinstance(lam, torch.Tensor) else lam), dim=1)


# ALDR-KL.


def adapted(delta: torch.Tensor, lam: torch.Tensor, *, lam0: float, alpha: float) -> torch.Tensor:
    """One step of the fixed-point map: lam0 - lam0 KL(p || 1/K) / (alpha log K) with p = softmax(delta / lam), (N,)."""
    return _from_divergence(divergence(worst_label(delta, lam)), delta.shape[1], lam0, alpha)


def _from_divergence(kl: torch.Tensor, classes: int, lam0: float, alpha: float) -> torch.Tensor:
    return lam0 - kl * (lam0 / (alpha * math.log(classes)))


def adaptive_value(
    delta: torch.Tensor, lam: torch.Tensor, *, lam0: float, alpha: float, at_most: float | None = None
) -> torch.Tensor:
    """phi(lam) = lam log mean_k exp(delta_k / lam) - (alpha log K / (2 lam0)) (lam - lam0)^2, (N,).

    A number that no lam is above, if one is known, makes it cheaper.
    """
    penalty = alpha * math.log(delta.shape[1]) / (2 * lam0) * (lam - lam0).square()
    return _smooth_max(delta, lam, at_most) - penalty


def adaptive_lambda(delta: torch.Tensor, *, lam0: float, alpha: float, iterations: int = 1000) -> torch.Tensor:
    """lam* (N,), the maximiser of phi, by the fixed-point map run to convergence from both ends of its range.

    The map is increasing, so that from lam0 it falls to the largest stationary point and from lam0 (1 - 1/alpha) it
    rises to the smallest; the better of the two is returned. They are one where Var_p(delta) / lam^3 < alpha log K /
    lam0 over the whole range. Stops when no lam moves by more than rounding. Raises ValueError unless lam0 > 0 and
    alpha > 1.
    """
    _check_adaptive(lam0, alpha)
    ends = torch.tensor([lam0, lam0 * (1 - 1 / alpha)], dtype=delta.dtype, device=delta.device)
    lam, twice = ends.repeat_interleave(len(delta)), delta.repeat(2, 1)
    for _ in range(iterations):
        before, lam = lam, adapted(twice, lam, lam0=lam0, alpha=alpha)
        if torch.allclose(lam, before, rtol=32 * torch.finfo(lam.dtype).eps, atol=0.0):
            break
    upper, lower = lam.chunk(2)
    better = adaptive_value(twice, lam, lam0=lam0, alpha=alpha).chunk(2)
    return torch.where(better[0] >= better[1], upper, lower)


def aldr_kl(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    lam: torch.Tensor | None = None,
    lam0: float = 10.0,
    alpha: float = 2.0,
    margin: float = 0.1,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> torch.Tensor:
    """psi_{alpha,lam0}(f, y) with lam (N,) given, or maximised over lam where it is None.

    lam gets no gradient: at the maximum it has none (envelope theorem), and Algorithm 1 detaches it.
    """
    delta = margins(logits, targets, margin)
    _check_adaptive(lam0, alpha)
    if lam is None:
        lam = adaptive_lambda(delta.detach(), lam0=lam0, alpha=alpha)
    return _reduce(adaptive_value(delta, lam.detach(), lam0=lam0, alpha=alpha), reduction)


class ALDRKL(nn.Module):
    """Algorithm 1: ALDR-KL with a table of lam, one for each training example, updated at each visit.

    Args:
        examples: rows of the whole training set; `ids` index them.
        labels: "paper" updates lam by p = softmax(delta / lam). "official" does as the authors' code: p =
            softmax(f / lam) without the margin, plus 1e-5 and normalised again.

    `lam` (examples,) is a buffer: it moves with `.to()` and is saved with the state. Raises ValueError as `aldr_kl`.
    """

    lam: torch.Tensor

    def __init__(
        self,
        examples: int,
        *,
        lam0: float = 10.0,
        alpha: float = 2.0,
        margin: float = 0.1,
        labels: Literal["paper", "official"] = "paper",
    ) -> None:
        super().__init__()
        _check_adaptive(lam0, alpha)
        if labels not in ("paper", "official"):
            raise ValueError(f"labels must be 'paper' or 'official', got {labels!r}")
        self.lam0, self.alpha, self.margin, self.labels = lam0, alpha, margin, labels
        self.register_buffer("lam", torch.full((examples,), lam0))

    def forward(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        ids: torch.Tensor,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> torch.Tensor:
        """The loss of a batch after one update of its lam: logits (N, K), targets (N,), ids (N,) int64."""
        delta = margins(logits, targets, self.margin)
        with torch.no_grad():
            lam = self._updated(logits.to(delta.dtype), delta, self.lam[ids].to(delta.dtype))
            self.lam[ids] = lam.to(self.lam.dtype)
        value = adaptive_value(delta, lam, lam0=self.lam0, alpha=self.alpha, at_most=self.lam0)
        return _reduce(value, reduction)

    def _updated(self, logits: torch.Tensor, delta: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        if self.labels == "paper":
            return adapted(delta, lam, lam0=self.lam0, alpha=self.alpha)
        p = worst_label(logits, lam) + 1e-5
        return _from_divergence(divergence(p / p.sum(1, keepdim=True)), logits.shape[1], self.lam0, self.alpha)


# The scores that the authors' code trains on. No statement of the theory is about them.


def normalised(logits: torch.Tensor, *, softplus: bool) -> torch.Tensor:
    """K g / ||g||_1 with g = softplus(f), positive and of sum K (LDR), or g = f (ALDR on tables): (N, K) -> (N, K).

    The order of the scores is kept. A row of zeros stays zero.
    """
    logits = _wide(logits)
    g = F.softplus(logits) if softplus else logits
    size = (g if softplus else g.abs()).mean(1, keepdim=True)
    return g / size.clamp_min(torch.finfo(g.dtype).tiny)


def _reduce(values: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return values if reduction == "none" else values.mean() if reduction == "mean" else values.sum()


def _checked(logits: torch.Tensor, targets: torch.Tensor, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores, wide enough to compute with, and f_y - c, (N, 1)."""
    if logits.dim() != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(f"logits must be floats of shape (N, K), K >= 2, got {logits.dtype} {tuple(logits.shape)}")
    if targets.shape != logits.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64 of shape (N,), got {targets.dtype} {tuple(targets.shape)}")
    if not margin >= 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    wide = _wide(logits)
    try:
        target = wide.gather(1, targets[:, None])
    except RuntimeError as error:  # the kernel looks at the range anyway; a look of our own would be a second one
        if "out of bounds" not in str(error):
            raise
        raise ValueError(f"targets must lie in 0..{logits.shape[1] - 1}: {error}") from error
    return wide, target - margin if margin else target


def _wide(logits: torch.Tensor) -> torch.Tensor:
    """Half precision as float32: it has no digits for lam log K + a rest."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _check_adaptive(lam0: float, alpha: float) -> None:
    if not lam0 > 0:
        raise ValueError(f"lam0 must be positive, got {lam0}")
    if not alpha > 1:
        raise ValueError(f"alpha must be above 1, which keeps lam positive, got {alpha}")
