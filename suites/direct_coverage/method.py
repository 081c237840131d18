r"""Direct coverage optimisation (Chen et al., NeurIPS 2025, arXiv:2502.07154): train for N tries instead of one.

A model that gives a right answer y with probability p succeeds within N independent tries with the coverage

    C_N = 1 - (1 - p)^N                                   (pass@N)

    loss      l = -log C_N,    its gradient    F(N, p) grad(-log p),    F(N, p) = N p (1 - p)^(N-1) / C_N

F is 1 where p is far below 1/N and vanishes above: an example that N tries already solve stops training. At N = 1 it is
cross-entropy. Of an answer of several tokens log p is the sum over its tokens, its end included.

    loss = direct_coverage(logits, targets, n=16)              # (B, T, V), int64 (B, T) with -100 where no answer is
    at_test = coverage(log_probability(logits, targets), 256)  # pass@256, exactly, of each example

Everything starts from log p, in float64: p may be below the least float, or so near 1 that only log p tells 1 - p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import torch
from torch.nn import functional as F

from baselines.losses import Reduction, reduce, visible, widened

Form = Literal["loss", "surrogate", "official"]


def direct_coverage(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    n: float,
    form: Form = "loss",
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """The loss of examples (B, V) or of sequences (B, T, V) for `n` tries.

    Args:
        logits: floats, V >= 1.
        targets: int64 (B,) or (B, T); those equal to `ignore_index` belong to no answer. An answer without any token
            has p = 1 and the loss 0.
        form: "loss", -log C_N. "surrogate", as the paper trains: F, held fixed, times cross-entropy summed over
            tokens; its gradient is that of the loss, its value is not. "official", as the released code trains unless
            told otherwise: cross-entropy of the token mean, F still of the whole answer.

    Returns float32, or float64 where the logits are. Raises ValueError for wrong shapes, dtypes, targets, n or form.
    """
    log_p = log_probability(logits, targets, ignore_index=ignore_index)
    if form == "loss":
        values = coverage_loss(log_p, n)
    elif form in ("surrogate", "official"):
        # Where p is 0 for good (a logit of -inf) F is 1 and the loss infinite, as that of cross-entropy.
        values = -factor(log_p.detach(), n) * log_p
        if form == "official":
            values = values / _of_answers(targets != ignore_index).clamp_min(1)
    else:
        raise ValueError(f"form must be 'loss', 'surrogate' or 'official', got {form!r}")
    return reduce(values, reduction)


def log_probability(logits: torch.Tensor, targets: torch.Tensor, *, ignore_index: int = -100) -> torch.Tensor:
    """log p (B,) of the targets, summed over tokens, in float32 at least. Arguments as in `direct_coverage`."""
    shape, classes = tuple(logits.shape), logits.shape[-1] if logits.dim() else 0
    if not logits.is_floating_point() or logits.dim() not in (2, 3) or not classes:
        raise ValueError(f"logits must be floats (B, V) or (B, T, V), V >= 1, got {logits.dtype} {shape}")
    if targets.shape != logits.shape[:-1] or targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64 {shape[:-1]}, got {targets.dtype} {tuple(targets.shape)}")
    kept = targets != ignore_index
    if visible(targets) and bool((kept & ((targets < 0) | (targets >= classes))).any()):
        raise ValueError(f"targets must lie in 0..{classes - 1}, or be {ignore_index}")
    flat = F.cross_entropy(
        widened(logits).flatten(0, -2), targets.flatten(), ignore_index=ignore_index, reduction="none"
    )
    return -_of_answers(flat.view_as(targets))


# Functions of log p, of any shape, each in its dtype but computed in float64; N >= 1 need not be whole.


def coverage(log_p: torch.Tensor, n: float) -> torch.Tensor:
    """C_N = 1 - (1 - p)^N, to all its digits."""
    return _log_coverage(_checked(log_p, n), n).exp().to(log_p.dtype)


def coverage_loss(log_p: torch.Tensor, n: float) -> torch.Tensor:
    """-log C_N, whose gradient in log p is -F(N, p) also where p underflows or is 1; twice differentiable."""
    return _Loss.apply(_checked(log_p, n), float(n)).to(log_p.dtype)


def factor(log_p: torch.Tensor, n: float) -> torch.Tensor:
    """F(N, p) = N p (1 - p)^(N-1) / C_N, the elasticity of coverage d log C_N / d log p; 1 at N = 1."""
    return _Factor.apply(_checked(log_p, n), float(n)).to(log_p.dtype)


def stepwise(log_p: torch.Tensor, n: float, *, whole: bool = False, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The loss (B,) of proofs of up to k steps of log-probabilities (B, k): sum of -log C_N of the steps.

    A proof of k steps, each to be found within `n` tries, is one of n^k. `whole` is what the paper calls naive:
    -log C_N of the product of all steps. `mask`, bool (B, k), is False beyond the end of a proof.
    """
    if log_p.dim() != 2 or (mask is not None and (mask.shape != log_p.shape or mask.dtype != torch.bool)):
        raise ValueError(f"log_p must be (B, k) and mask bool alike, got {tuple(log_p.shape)}, {mask}")
    steps = log_p if mask is None else log_p.masked_fill(~mask, 0.0)  # certain steps: no loss
    return coverage_loss(steps.sum(1), n) if whole else coverage_loss(steps, n).sum(1)


def from_samples(cross_entropy: torch.Tensor, right: torch.Tensor, n: float) -> torch.Tensor:
    """DCO_a, for chains of thought, where p has no closed form: F of the share of right samples times cross-entropy.

    cross_entropy: (B,), of the written solutions. right: bool (B, S), which of S samples of the model were right.
    """
    if right.dtype != torch.bool or right.dim() != 2 or not right.shape[1] or cross_entropy.shape != right.shape[:1]:
        raise ValueError(f"right must be bool (B, S), S >= 1, for (B,) losses, got {right.dtype} {tuple(right.shape)}")
    share = right.double().mean(1)
    return factor(share.log(), n).to(cross_entropy.dtype) * cross_entropy


# Batches in which every example contributes.


def contributing(
    candidates: Iterable[int],
    log_p: Callable[[list[int]], torch.Tensor],
    *,
    n: float,
    size: int,
    looked_at: int = 128,
    threshold: float = 0.1,
) -> Iterator[list[int]]:
    """Batches of `size` examples with F above `threshold`, drawn from candidates in their order.

    `log_p` gives the present log-probabilities of up to `looked_at` examples at a time; what waits for its batch is not
    looked at again. What is left when the candidates end is no batch. Raises ValueError for sizes below 1.
    """
    if size < 1 or looked_at < 1:
        raise ValueError(f"size and looked_at must be at least 1, got {size} and {looked_at}")
    waiting: list[int] = []
    stream = iter(candidates)
    while looked := list(islice(stream, looked_at)):
        kept = factor(log_p(looked).double(), n) > threshold
        waiting += [one for one, keep in zip(looked, kept.tolist(), strict=True) if keep]
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]


# What is best for N tries where the chances of the answers are known.


def best_policy(q: torch.Tensor, n: float) -> torch.Tensor:
    """The policy p (..., K) that maximises sum_i q_i (1 - (1 - p_i)^N) for chances q (..., K) of being right.

    By the conditions of Karush, Kuhn and Tucker p_i = max(0, 1 - m q_i^(-1/(N-1))), m such that p sums to 1; at N = 1
    all is on the likeliest, the first of equals. Raises ValueError unless q >= 0 and some q > 0 in each row.
    """
    q = _chances(q, n)
    if n == 1:
        return F.one_hot(q.argmax(-1), q.shape[-1]).to(q.dtype)
    scarce, order = _scarcity(q, n).sort(-1)  # 1 for the likeliest
    sums, k = scarce.cumsum(-1), torch.arange(1, q.shape[-1] + 1, device=q.device)
    level = (k - 1) / sums  # m, if the k likeliest are tried; infinite scarcity leaves 0
    tried = (level * scarce < 1) & scarce.isfinite()
    count = tried.sum(-1, keepdim=True)  # the first so many, as k grows m s_k rises to 1 at the last that is tried
    m = level.gather(-1, count - 1)
    # inf * 0 of answers that cannot be right, where one alone can
    p = torch.where(k <= count, 1 - m * torch.where(k <= count, scarce, 0.0), 0.0)
    return torch.zeros_like(q).scatter(-1, order, p)


def confidence_bound(q: torch.Tensor, n: float) -> torch.Tensor:
    """For each k = 1..K an upper bound (..., K) of the best policy's largest probability, the k likeliest tried.

    1 - (k - 1) / sum_{i <= k} (q_1 / q_i)^(1/(N-1)); every one holds, and the least is met. At N = 1 it is 1.
    """
    q = _chances(q, n)
    if n == 1:
        return torch.ones_like(q)
    scarce = _scarcity(q, n).sort(-1).values
    return 1 - torch.arange(q.shape[-1], device=q.device) / scarce.cumsum(-1)


def _scarcity(q: torch.Tensor, n: float) -> torch.Tensor:
    """(q_1 / q_i)^(1/(N-1)), at least 1, and infinite where q_i = 0."""
    return ((q.amax(-1, keepdim=True).log() - q.log()) / (n - 1)).exp()


def _chances(q: torch.Tensor, n: float) -> torch.Tensor:
    _require_n(n)
    if not q.is_floating_point() or not q.dim() or not q.shape[-1] or not bool(((q >= 0) & q.isfinite()).all()):
        raise ValueError(f"q must be finite floats of at least 0, (..., K), K >= 1, got {q.dtype} {tuple(q.shape)}")
    if not bool((q.amax(-1) > 0).all()):
        raise ValueError("some answer must have a chance, got only zeros")
    return q.double()


# What the released code does.


def official_factor(log_p: torch.Tensor, n: float) -> torch.Tensor:
    """F as the released code has it: below N p = 0.1 a quotient of two quadratics, up to 1.3e-4 off."""
    x, p = _checked(log_p, n), _checked(log_p, n).exp()
    above = 1 - (n - 1) * p + (n - 1) * (n - 2) * p**2 / 2
    below = 1 - (n - 1) * p / 2 + (n - 1) * (n - 2) * p**2 / 6
    return torch.where(n * p < 0.1, above / below, _factor(x, n)).to(log_p.dtype)


# Log-space.


def _checked(log_p: torch.Tensor, n: float) -> torch.Tensor:
    """log p in float64; a rounding error above 0 is 0."""
    _require_n(n)
    if not log_p.is_floating_point():
        raise ValueError(f"log_p must be floats, got {log_p.dtype}")
    return log_p.double().clamp_max(0.0)


def _require_n(n: float) -> None:
    if not (isinstance(n, int | float) and 1 <= n < math.inf):
        raise ValueError(f"n must be a finite number of at least 1, got {n}")


def _exponent(x: torch.Tensor, n: float) -> torch.Tensor:
    """-log (1 - p), of log p = x, n-fold: infinite at p = 1."""
    near_one = x > -math.log(2)
    high = -torch.log(-torch.expm1(torch.where(near_one, x, -1.0)))
    low = -torch.log1p(-torch.where(near_one, -1.0, x).exp())
    # Below e^-40, -log(1 - p) is p to the last digit, and N p may be large where p alone underflows.
    return torch.where(x < -40, (x + math.log(n)).exp(), n * torch.where(near_one, high, low))


def _log_coverage(x: torch.Tensor, n: float) -> torch.Tensor:
    if n == 1:
        return x
    e = _exponent(x, n)
    ordinary = e > 1e-280
    # C_N = 1 - e^-e; log1p where that is near 1, expm1 where it is near 0, N p where even e underflows.
    large = torch.log1p(-torch.exp(-e.clamp_min(0.5)))
    small = torch.log(-torch.expm1(-torch.where(ordinary, e, 1.0).clamp_max(0.7)))
    return torch.where(ordinary, torch.where(e > 0.6, large, small), x + math.log(n))


def _factor(x: torch.Tensor, n: float) -> torch.Tensor:
    if n == 1:
        return torch.ones_like(x)
    # The exponent of N - 1 tries, not N less one: at p = 1 both are infinite, and F is 0 as it must be.
    log_f = math.log(n) + x - _exponent(x, n) * ((n - 1) / n) - _log_coverage(x, n)
    return torch.where(x == -math.inf, 1.0, log_f.exp()).clamp_max(1.0)


class _Loss(torch.autograd.Function):
    """-log C_N of x = log p, with -F for its derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, n: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.n = n
        return -_log_coverage(x, n)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        return -gradient * _Factor.apply(x, ctx.n), None


class _Factor(torch.autograd.Function):
    """F of x = log p, with dF/dx = F (1 - F) - N (N - 1) p^2 (1 - p)^(N-2) / C_N for its derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, n: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.n = n
        return _factor(x, n)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,), n = ctx.saved_tensors, ctx.n
        if n == 1:
            return torch.zeros_like(gradient), None
        f = _factor(x, n)
        rest = torch.zeros_like(x) if n == 2 else _exponent(x, n) * ((n - 2) / n)
        second = (math.log(n) + math.log(n - 1) + 2 * x - rest - _log_coverage(x, n)).exp()
        return gradient * (f * (1 - f) - torch.where(x == -math.inf, 0.0, second)), None


def _of_answers(values: torch.Tensor) -> torch.Tensor:
    """The sums (B,) of (B,) or (B, T)."""
    return values.sum(1) if values.dim() == 2 else values
