"""Cut Cross-Entropy (Wijmans et al., 2024): the loss of a linear classifier without its logits.

    A    = E C^T + b,    with a softcap A <- s tanh(A / s)                      the logits, (N, V), never stored
    LSE  = log sum_v exp(A_v),   folded over blocks of columns: LSE <- log(exp(LSE) + exp(LSE_block)), from -inf
    loss = LSE - A[x] + z LSE^2
    dA   = ((g + h) S - g onehot(x)) (1 - (A / s)^2),    S = exp(A - LSE),    h = 2 z LSE g
    dE   = dA C,    dC = dA^T E,    db = column sums of dA

E (N, D) are the embeddings of N tokens, C (V, D) is the classifier, b (V,) its bias, x (N,) the target classes, s the
softcap, z the weight of the z-loss and g (N,) the upstream gradient of each token (1 / number of valid tokens for a
mean). LSE and A[x] are all that the loss needs, so a block of logits lives only until the next one is made.

The backward pass makes the blocks again. *Gradient filtering* skips those in which max |S - onehot(x)| < eps, for they
are below what the dtype resolves; *vocabulary sorting* visits the columns by their mean logit, so that what survives
lies in few blocks. Where the upstream gradient is one number, `gradients="forward"` saves making the blocks again: rows
are taken a panel at a time, and their gradients computed while the panel is at hand.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable

from baselines.losses import Reduction, visible
from suites.cut_cross_entropy.blocks import (
    BLOCK,
    PANEL_BLOCK,
    Accumulation,
    Accumulator,
    Gradients,
    Problem,
    soft_cap_slope,
    soft_capped,
    streaming_log_sum_exp,
)

__all__ = [
    "PRESETS", "Accumulation", "Accumulator", "Gradients", "Problem", "default_eps", "linear_cross_entropy",
    "soft_cap_slope", "soft_capped", "streaming_log_sum_exp",
]  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "cce": {},
    "cce_kahan_full_c": {"filter_c": False, "accumulate": "float32"},
    "cce_kahan_full_e": {"filter_e": False, "accumulate": "float32"},
    "cce_exact": {"filter_eps": None, "accumulate": "float32"},
}
"""The authors' presets, as keyword arguments of `linear_cross_entropy`."""


def linear_cross_entropy(
    e: torch.Tensor,
    c: torch.Tensor,
    targets: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    ignore_index: int = -100,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    shift: int = 0,
    reduction: Reduction = "mean",
    filter_eps: float | Literal["auto"] | None = "auto",
    filter_e: bool = True,
    filter_c: bool = True,
    sort: bool = True,
    accumulate: Accumulation = "input",
    gradients: Literal["auto", "forward", "backward"] = "auto",
    block: tuple[int, int] | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """`F.cross_entropy(e @ c.T + bias, targets)` in memory O(N + V + one block) beyond the gradients (the paper's CCE).

    On CUDA it runs as Triton kernels (`kernels.py`), elsewhere in PyTorch (`blocks.py`). Differentiable once, in e, c
    and bias; torch.compile breaks its graph here, and vmap is refused. Under autocast e, c and bias are taken in its
    dtype, as those of F.linear are; all that follows is in at least float32. Classes may be masked by a bias of -inf.

    Args:
        e: embeddings, shape (..., D), floating point.
        c: classifier, shape (V, D), floating point, on the same device.
        targets: classes in [0, V) or `ignore_index`, int64 of shape (...).
        bias: shape (V,), floating point.
        softcap: logits become softcap * tanh(logits / softcap); > 0.
        z_loss: weight of the square of the log-sum-exp, added to the loss of each token.
        return_lse: also return the log-sum-exp of each token, differentiable; 0 where ignored.
        shift: k pairs e[..., :-k, :] with targets[..., k:], as a language model needs; the results have their shape.
        reduction: "mean" over the valid tokens (NaN, with zero gradient, where there is none, as in PyTorch), "sum", or
            "none": the loss of each token, 0 where ignored.
        filter_eps: a block of the backward pass with max |S - onehot| below it is skipped; None skips nothing; "auto"
            is the authors' finfo(dtype).eps / 32, with the finer of the dtypes of e and c.
        filter_e, filter_c: whether filtering applies to the gradient of e, and to those of c and bias.
        sort: visit columns in the order of their mean logit (only where blocks are filtered in the backward pass).
        accumulate: sums over blocks in the input's dtype, that with Kahan's compensation, or at least float32.
        gradients: "backward" makes the blocks again, as the paper does; "forward" computes the gradients beside the
            loss and needs a mean or a sum, no `return_lse`, and a panel of logits; "auto" takes it where it can (not on
            CUDA).
        block: rows and columns of a block; None: `PANEL_BLOCK` where the gradients are made in the forward pass, else
            `BLOCK` (CPU; the kernels have their own).

    Returns:
        The loss in the widest of the dtypes of e, c and float32, or with `return_lse` (loss, lse).

    Raises:
        ValueError: shapes, dtypes or devices do not fit, a target is out of range, or an option is out of its range.
        RuntimeError: under vmap.
    """
    if torch.compiler.is_compiling():
        torch._dynamo.graph_break("linear_cross_entropy looks at values to skip blocks: compile without fullgraph")
    _check(e, c, targets, bias, softcap, shift, reduction, accumulate, block, ignore_index)
    if shift:
        e, targets = e[..., :-shift, :], targets[..., shift:]
    shape, flat = targets.shape, targets.reshape(-1)
    valid = (flat != ignore_index).nonzero().squeeze(1)
    tokens, classes = e.reshape(-1, e.shape[-1]), flat
    if len(valid) < len(flat):
        tokens, classes = tokens[valid], flat[valid]
    if torch.is_autocast_enabled(e.device.type):
        tokens, c, bias = (_as_autocast(t, e.device.type) for t in (tokens, c, bias))
    eps = default_eps(torch.promote_types(tokens.dtype, c.dtype)) if filter_eps == "auto" else filter_eps or 0.0
    if not 0 <= eps < 1:
        raise ValueError(f"filter_eps must lie in [0, 1), got {filter_eps}")
    needs = tuple(t is not None and t.requires_grad for t in (tokens, c, bias))
    possible = reduction != "none" and not return_lse and e.device.type != "cuda"
    if gradients == "forward" and not possible:
        raise ValueError("gradients must not be 'forward' with reduction 'none', return_lse or CUDA")
    beside = torch.is_grad_enabled() and any(needs) and possible and gradients != "backward"
    rows, columns = block or (PANEL_BLOCK if beside else BLOCK)
    problem = partial(
        Problem, targets=classes, softcap=softcap, eps=eps, filter_e=filter_e, filter_c=filter_c, sort=sort and eps > 0,
        accumulate=accumulate, rows=rows, columns=columns,
    )  # fmt: skip
    scale = 1.0 / len(valid) if reduction == "mean" and len(valid) else 1.0
    # Added and not multiplied, NaN leaves the gradient at zero.
    nothing = math.nan if reduction == "mean" and not len(valid) else 0.0
    if beside:
        return _ForwardGradients.apply(tokens, c, bias, problem, scale, z_loss, needs, SimpleNamespace()) + nothing
    losses, lse, _ = _BackwardGradients.apply(tokens, c, bias, problem)
    if z_loss:
        losses = losses + z_loss * lse.square()
    if reduction == "none":
        loss = losses.new_zeros(len(flat)).index_put((valid,), losses).view(shape)
    else:
        loss = losses.sum() * scale + nothing
    if return_lse:
        return loss, lse.new_zeros(len(flat)).index_put((valid,), lse).view(shape)
    return loss


def default_eps(dtype: torch.dtype) -> float:
    """The authors' threshold: finfo.eps / 32, which is 2^-12 for bfloat16, 2^-15 for float16 and 2^-28 for float32."""
    return torch.finfo(dtype).eps / 32


class _ForwardGradients(torch.autograd.Function):
    """The scaled sum of the losses, whose gradients are ready when it is: as `ready.gradients`."""

    @staticmethod
    def forward(e, c, bias, problem: partial[Problem], scale: float, z_loss: float, needs, ready) -> torch.Tensor:
        with _no_autocast(e):
            total, grads = problem(e, c, bias).forward_and_backward(z_loss, scale, needs)
        ready.gradients = (grads.e, grads.c, grads.bias)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, _output: torch.Tensor) -> None:
        ctx.ready = inputs[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor):
        if ctx.ready.gradients is None:
            raise RuntimeError("the gradients were used: call with gradients='backward' to go backward twice")
        # Handed over, not kept: a buffer that is held elsewhere would be copied into .grad.
        ready, ctx.ready.gradients = ctx.ready.gradients, None
        scaled = [one if one is None or upstream == 1 else one.mul_(upstream) for one in ready]
        return *scaled, None, None, None, None, None


class _BackwardGradients(torch.autograd.Function):
    """The loss and the LSE of each token, and the order of the columns; the backward pass makes the logits again."""

    @staticmethod
    def forward(e, c, bias, problem: partial[Problem]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        with _no_autocast(e):
            lse, means, chosen = _engine(e.device).forward(problem(e, c, bias))
        return lse - chosen, lse, None if means is None else means.argsort()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        e, c, bias, ctx.problem = inputs
        _, lse, order = output
        if order is not None:
            ctx.mark_non_differentiable(order)
        ctx.save_for_backward(e, c, bias, lse, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: torch.Tensor, h: torch.Tensor, _order: None):
        e, c, bias, lse, order = ctx.saved_tensors
        with _no_autocast(e):
            problem = ctx.problem(e, c, bias)
            grads = _engine(e.device).backward(problem, lse, g, h, order, ctx.needs_input_grad[:3])
        return grads.e, grads.c, grads.bias, None


class _Blockwise:
    """The passes in plain PyTorch."""

    @staticmethod
    def forward(problem: Problem) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        return *problem.log_sum_exp(), problem.target_logits()

    backward = Problem.backward


def _engine(device: torch.device) -> Any:
    if device.type == "cuda":
        from suites.cut_cross_entropy import kernels  # Triton is there with PyTorch for CUDA only

        return kernels
    return _Blockwise


def _no_autocast(like: torch.Tensor) -> AbstractContextManager:
    """The passes choose their dtypes themselves: autocast would round some of the products and not the others."""
    return torch.autocast(like.device.type, enabled=False)


def _as_autocast(tensor: torch.Tensor | None, device: str) -> torch.Tensor | None:
    """In the dtype of autocast, which leaves float64 alone."""
    exempt = tensor is None or tensor.dtype == torch.float64
    return tensor if exempt else tensor.to(torch.get_autocast_dtype(device))


def _check(e, c, targets, bias, softcap, shift, reduction, accumulate, block, ignore_index) -> None:
    if not (e.is_floating_point() and c.is_floating_point()) or e.device != c.device:
        raise ValueError(f"e and c must be floats on one device, got {e.dtype} {e.device}, {c.dtype} {c.device}")
    if c.dim() != 2 or not len(c) or e.dim() < 2 or e.shape[-1] != c.shape[1]:
        raise ValueError(f"e and c must have shapes (..., D) and (V, D), got {tuple(e.shape)} and {tuple(c.shape)}")
    if targets.dtype != torch.int64 or targets.shape != e.shape[:-1]:
        raise ValueError(
            f"targets must be int64 of shape {tuple(e.shape[:-1])}, got {targets.dtype} {tuple(targets.shape)}"
        )
    if bias is not None and (bias.shape != c.shape[:1] or not bias.is_floating_point()):
        raise ValueError(f"bias must be floats of shape ({len(c)},), got {bias.dtype} {tuple(bias.shape)}")
    if softcap is not None and not 0 < softcap < math.inf:
        raise ValueError(f"softcap must be positive, got {softcap}")
    if not 0 <= shift < max(1, e.shape[-2]):
        raise ValueError(f"shift must lie in [0, {e.shape[-2]}), got {shift}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, got {reduction!r}")
    if accumulate not in ("input", "kahan", "float32"):
        raise ValueError(f"accumulate must be input, kahan or float32, got {accumulate!r}")
    if block is not None and (len(block) != 2 or min(block) < 1):
        raise ValueError(f"block must be two positive numbers, got {block}")
    if e.device.type == "cpu" and not torch.compiler.is_compiling():
        if not all(map(visible, (targets, e[:1], c[:1]))):
            raise RuntimeError("vmap: whether a block is skipped depends on values; put what it maps over in rows of e")
        used = targets[targets != ignore_index]
        if len(used) and not 0 <= int(used.min()) <= int(used.max()) < len(c):
            raise ValueError(f"targets must be classes below {len(c)} or {ignore_index}")
