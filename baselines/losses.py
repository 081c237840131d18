r"""Classification losses that papers are compared with, as functions of logits.

All have one contract: `loss(logits, targets, *, ..., reduction="mean")` with logits float (N, K), K >= 2, and targets
int64 (N,) in 0..K-1. `reduction` is "mean" or "sum" (a scalar) or "none" (shape (N,)). p = softmax(logits), p_y is the
probability of the target, e_y the one-hot target. Half-precision logits are computed in float32, and the result is
float32; otherwise it has the dtype of the logits. Without examples (N = 0) "mean" is NaN, "sum" 0 and "none" empty, as
PyTorch has it.

All start from the log-softmax, so that finite logits of any size give finite values and gradients. A logit of -inf is a
class that cannot be: it has probability 0, and 0 log 0 = 0. Where its loss is infinite (cross-entropy of a target that
cannot be, or with smoothing), the value is inf; the gradient is finite even there.

Each raises ValueError for wrong shapes or dtypes, for parameters out of range, and on the CPU for targets out of range
(on CUDA the look would stall the device, and its kernels assert the range themselves).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional as F

Reduction = Literal["mean", "sum", "none"]


def reduce(values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """The mean, the sum, or the values themselves."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def checked(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The logits, in float32 at least. Raises ValueError unless both are as all losses here take them."""
    if logits.dim() != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(f"logits must be floats of shape (N, K), K >= 2, got {logits.dtype} {tuple(logits.shape)}")
    check_targets(targets, *logits.shape)
    return widened(logits)


def widened(values: torch.Tensor) -> torch.Tensor:
    """In float32 at least: half precision has no digits for 1 - p near 1, and three for a loss."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_targets(targets: torch.Tensor, count: int, classes: int) -> None:
    """Raise ValueError unless targets are int64 (count,) in 0..classes-1."""
    if targets.shape != (count,) or targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64 of shape ({count},), got {targets.dtype} {tuple(targets.shape)}")
    if count and visible(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(f"targets must lie in 0..{classes - 1}, got {int(targets.min())}..{int(targets.max())}")


def visible(values: torch.Tensor) -> bool:
    """Whether values may be looked at for a check: on a CPU, and not under a compiler or vmap, where there are none.

    Elsewhere a look would stall the device, break the graph or fail; the kernels behind assert the range themselves.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        values.reshape(-1)[:1].tolist()
    except RuntimeError:  # what vmap says of any look; torch has no public way to ask
        return False
    return True


def require(holds: bool, demand: str, value: object) -> None:
    """Raise ValueError(demand) where a parameter is out of range."""
    if not holds:
        raise ValueError(f"{demand}, got {value}")


def target_log_probability(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p_y, shape (N,)."""
    return F.log_softmax(checked(logits, targets), dim=1).gather(1, targets[:, None]).squeeze(1)


def expectation(p: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """sum_k p_k v_k over the last dimension; what has probability 0 adds nothing, even if its value is infinite."""
    return (p * torch.where(p > 0, values, 0)).sum(-1)


def kl_divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """KL(p || q) = sum_k p_k (log p_k - log q_k) over the last dimension; inf where q excludes what p has."""
    return expectation(log_p.exp(), log_p - log_q)


def weighted(weight: float, values: torch.Tensor) -> torch.Tensor:
    """weight * values, and 0 for a weight of 0 even where a value is infinite."""
    return weight * values if weight else torch.zeros_like(values)


def finite(log_p: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (..., K) with a huge negative number for -inf: its exponential is 0 and its gradient 0, too.

    K of them have a finite sum.
    """
    return log_p.clamp_min(torch.finfo(log_p.dtype).min / (4 * log_p.shape[-1]))


# Cross-entropy and what is close to it.


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """-log p_y; with smoothing s the target is (1 - s) e_y + s/K (Szegedy et al. 2016). PyTorch's own."""
    logits = checked(logits, targets)
    require(0 <= label_smoothing <= 1, "label_smoothing must lie in [0, 1]", label_smoothing)
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction)


def logit_adjusted(
    logits: torch.Tensor, targets: torch.Tensor, *, prior: torch.Tensor, tau: float = 1.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """Cross-entropy of logits + tau log(prior); prior (K,), positive, is that of the classes (Menon et al. 2021)."""
    logits = checked(logits, targets)
    require(prior.shape == logits.shape[1:], "prior must have one entry a class", tuple(prior.shape))
    require(not visible(prior) or bool((prior > 0).all()), "prior must be positive", "a zero or less")
    return F.cross_entropy(logits + tau * prior.to(logits).log(), targets, reduction=reduction)


def focal(
    logits: torch.Tensor, targets: torch.Tensor, *, gamma: float = 2.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """-(1 - p_y)^gamma log p_y, gamma >= 0 (Lin et al. 2017, on a softmax and without class weights)."""
    require(gamma >= 0, "gamma must be at least 0", gamma)
    log_p = target_log_probability(logits, targets)
    # The floor is the smallest normal number: it only keeps 0^(gamma - 1) out of the gradient.
    complement = (-torch.expm1(finite(log_p[:, None]).squeeze(1))).clamp_min(torch.finfo(log_p.dtype).tiny)
    return reduce(-(complement**gamma) * log_p, reduction)


def poly1(
    logits: torch.Tensor, targets: torch.Tensor, *, epsilon: float = 1.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """-log p_y + epsilon (1 - p_y): cross-entropy with another first coefficient (Leng et al. 2022)."""
    log_p = target_log_probability(logits, targets)
    return reduce(-log_p - epsilon * torch.expm1(log_p), reduction)


def knowledge_distillation(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    teacher_logits: torch.Tensor,
    temperature: float,
    weight: float,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """(1 - weight) CE + weight T^2 KL(softmax(teacher/T) || softmax(logits/T)) (Hinton et al. 2015).

    T^2 keeps the gradient's scale. `teacher_logits` (N, K) get no gradient. weight lies in [0, 1], T > 0.
    """
    logits = checked(logits, targets)
    require(teacher_logits.shape == logits.shape, "teacher_logits must have the shape of logits", teacher_logits.shape)
    require(temperature > 0, "temperature must be positive", temperature)
    require(0 <= weight <= 1, "weight must lie in [0, 1]", weight)
    student, teacher = (F.log_softmax(z / temperature, dim=1) for z in (logits, widened(teacher_logits.detach())))
    divergence = kl_divergence(teacher, student)
    hard = F.cross_entropy(logits, targets, reduction="none")
    return reduce(weighted(1 - weight, hard) + weighted(weight * temperature**2, divergence), reduction)


# Losses for noisy labels.


def mae(logits: torch.Tensor, targets: torch.Tensor, *, reduction: Reduction = "mean") -> torch.Tensor:
    """sum_k |e_yk - p_k| = 2 (1 - p_y): symmetric, its sum over all K targets is 2 (K - 1) (Ghosh et al. 2017)."""
    return reduce(-2 * torch.expm1(target_log_probability(logits, targets)), reduction)


def mse(logits: torch.Tensor, targets: torch.Tensor, *, reduction: Reduction = "mean") -> torch.Tensor:
    """sum_k (e_yk - p_k)^2 = 1 - 2 p_y + ||p||^2, the Brier score (Ghosh et al. 2017)."""
    logits = checked(logits, targets)
    p = F.softmax(logits, dim=1)
    return reduce((p - F.one_hot(targets, logits.shape[1]).to(p.dtype)).square().sum(1), reduction)


def gce(logits: torch.Tensor, targets: torch.Tensor, *, q: float = 0.7, reduction: Reduction = "mean") -> torch.Tensor:
    """(1 - p_y^q) / q, 0 < q <= 1: cross-entropy for q -> 0, 1 - p_y for q = 1 (Zhang & Sabuncu 2018)."""
    require(0 < q <= 1, "q must lie in (0, 1]", q)
    return reduce(-torch.expm1(q * target_log_probability(logits, targets)) / q, reduction)


def truncated_gce(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    q: float = 0.7,
    k: float = 0.5,
    kept: torch.Tensor | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """GCE where p_y > k, and the constant (1 - k^q) / q elsewhere (Zhang & Sabuncu 2018).

    `kept` (N,), bool, decides instead of p_y > k where given: the paper learns which examples to keep from the p_y of
    an earlier epoch and starts with all of them, for a fresh network has p_y < k everywhere and would get no gradient.
    """
    require(0 < k < 1, "k must lie in (0, 1)", k)
    losses = gce(logits, targets, q=q, reduction="none")
    constant = -math.expm1(q * math.log(k)) / q
    if kept is None:
        return reduce(losses.clamp_max(constant), reduction)
    require(kept.shape == targets.shape and kept.dtype == torch.bool, "kept must be bool (N,)", tuple(kept.shape))
    return reduce(torch.where(kept, losses, torch.full_like(losses, constant)), reduction)


def reverse_ce(
    logits: torch.Tensor, targets: torch.Tensor, *, A: float = -4.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """-sum_k p_k log(e_yk) with log 0 := A < 0, that is -A (1 - p_y) (Wang et al. 2019)."""
    require(A < 0, "A, the value of log 0, must be negative", A)
    return reduce(A * torch.expm1(target_log_probability(logits, targets)), reduction)


def symmetric_ce(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    alpha: float,
    beta: float,
    A: float = -4.0,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """alpha CE + beta RCE (Wang et al. 2019). A balance b is alpha = 1 - b, beta = b."""
    require(alpha >= 0 and beta >= 0, "alpha and beta must be at least 0", (alpha, beta))
    require(A < 0, "A, the value of log 0, must be negative", A)
    log_p = target_log_probability(logits, targets)
    return reduce(weighted(alpha, -log_p) + beta * A * torch.expm1(log_p), reduction)


def rll(
    logits: torch.Tensor, targets: torch.Tensor, *, alpha: float = 0.01, reduction: Reduction = "mean"
) -> torch.Tensor:
    """Robust log loss, alpha > 0: log((1 + alpha)/alpha) - log(alpha + p_y) + mean_{k != y} log(alpha + p_k).

    Symmetric: its sum over all K targets is K log((1 + alpha)/alpha) (Patel & Sastry 2021).
    """
    logits = checked(logits, targets)
    require(alpha > 0, "alpha must be positive", alpha)
    logs = torch.log(alpha + F.softmax(logits, dim=1))
    target, others = logs.gather(1, targets[:, None]).squeeze(1), logits.shape[1] - 1
    return reduce(math.log1p(1 / alpha) - target + (logs.sum(1) - target) / others, reduction)


def jensen_shannon(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    weights: Sequence[float] = (0.5, 0.5),
    others: Sequence[torch.Tensor] = (),
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The generalised Jensen-Shannon loss D_w(e_y, p, ...) / Z (Englesson & Azizpour 2021).

    D_w(q_1, ..., q_M) = sum_i w_i KL(q_i || m), m = sum_i w_i q_i, of the target and of M - 1 predictions; Z = -(1 -
    w_1) log(1 - w_1). With M = 2 it is cross-entropy for w_1 -> 0 and 1 - p_y for w_1 -> 1.

    Args:
        weights: w_1 (of the target), ..., w_M, positive, of sum 1.
        others: logits (N, K) of M - 2 more predictions for the same examples, such as other augmentations.
    """
    logits = checked(logits, targets)
    require(len(weights) == 2 + len(others), "weights must be one for the target and one a prediction", len(weights))
    require(min(weights) > 0 and abs(sum(weights) - 1) < 1e-6, "weights must be positive and of sum 1", weights)
    require(all(z.shape == logits.shape for z in others), "others must have the shape of logits", "another")
    predictions = torch.stack([finite(F.log_softmax(widened(z), dim=1)) for z in (logits, *others)])
    logs = [math.log(weight) for weight in weights]
    mixture = torch.stack([log_w + log_p for log_w, log_p in zip(logs[1:], predictions, strict=True)]).logsumexp(0)
    at_target = torch.logaddexp(mixture.gather(1, targets[:, None]), mixture.new_full((), logs[0]))
    mixture = mixture.scatter(1, targets[:, None], at_target)
    divergence = -weights[0] * at_target.squeeze(1)
    for weight, log_p in zip(weights[1:], predictions, strict=True):
        divergence = divergence + weight * kl_divergence(log_p, mixture)
    scale = -(1 - weights[0]) * math.log1p(-weights[0])
    return reduce(divergence / scale, reduction)


def normalised_ce(logits: torch.Tensor, targets: torch.Tensor, *, reduction: Reduction = "mean") -> torch.Tensor:
    """log p_y / sum_k log p_k, in [0, 1] and symmetric: its sum over all K targets is 1 (Ma et al. 2020).

    Of classes that cannot be, each as the target has the limit 1 / (their number), and any other target 0.
    """
    logs = finite(F.log_softmax(checked(logits, targets), dim=1))
    return reduce(logs.gather(1, targets[:, None]).squeeze(1) / logs.sum(1), reduction)


def agce(
    logits: torch.Tensor, targets: torch.Tensor, *, a: float, q: float, reduction: Reduction = "mean"
) -> torch.Tensor:
    """Asymmetric generalised cross-entropy ((a + 1)^q - (a + p_y)^q) / q, a > 0, q > 0 (Zhou et al. 2021)."""
    require(a > 0 and q > 0, "a and q must be positive", (a, q))
    p = target_log_probability(logits, targets).exp()
    return reduce(((a + 1) ** q - (a + p) ** q) / q, reduction)


def aul(
    logits: torch.Tensor, targets: torch.Tensor, *, a: float, p: float, reduction: Reduction = "mean"
) -> torch.Tensor:
    """Asymmetric unhinged loss ((a - p_y)^p - (a - 1)^p) / p, a > 1, p > 0 (Zhou et al. 2021)."""
    require(a > 1 and p > 0, "a must be above 1 and p positive", (a, p))
    probability = target_log_probability(logits, targets).exp()
    return reduce(((a - probability) ** p - (a - 1) ** p) / p, reduction)


def nce_rce(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    A: float = -4.0,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """alpha NCE + beta RCE, an active and a passive loss (Ma et al. 2020)."""
    active = normalised_ce(logits, targets, reduction="none")
    return reduce(alpha * active + beta * reverse_ce(logits, targets, A=A, reduction="none"), reduction)


def nce_agce(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    a: float,
    q: float,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """alpha NCE + beta AGCE (Zhou et al. 2021)."""
    active = normalised_ce(logits, targets, reduction="none")
    return reduce(alpha * active + beta * agce(logits, targets, a=a, q=q, reduction="none"), reduction)


def nce_aul(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    a: float,
    p: float,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """alpha NCE + beta AUL (Zhou et al. 2021)."""
    active = normalised_ce(logits, targets, reduction="none")
    return reduce(alpha * active + beta * aul(logits, targets, a=a, p=p, reduction="none"), reduction)


# Margins.


def crammer_singer(
    logits: torch.Tensor, targets: torch.Tensor, *, margin: float = 1.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """max(0, margin + max_{k != y} f_k - f_y) (Crammer & Singer 2001)."""
    logits = checked(logits, targets)
    target = logits.gather(1, targets[:, None])
    rival = logits.scatter(1, targets[:, None], -math.inf).amax(1)
    return reduce(F.relu(margin + rival - target.squeeze(1)), reduction)


def weston_watkins(
    logits: torch.Tensor, targets: torch.Tensor, *, margin: float = 1.0, reduction: Reduction = "mean"
) -> torch.Tensor:
    """sum_{k != y} max(0, margin + f_k - f_y) (Weston & Watkins 1999): K times PyTorch's multi_margin_loss.

    Not by that: without examples its mean is whatever lay in memory.
    """
    logits = checked(logits, targets)
    target = logits.gather(1, targets[:, None])
    gaps = torch.where(logits > -math.inf, margin + logits - target, 0)  # both can be -inf
    return reduce(F.relu(gaps).scatter(1, targets[:, None], 0).sum(1), reduction)
