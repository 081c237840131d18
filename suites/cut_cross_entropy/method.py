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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable

Reduction = Literal["mean", "sum", "none"]
Accumulation = Literal["input", "kahan", "float32"]

PRESETS: dict[str, dict[str, Any]] = {
    "cce": {},
    "cce_kahan_full_c": {"filter_c": False, "accumulate": "float32"},
    "cce_kahan_full_e": {"filter_e": False, "accumulate": "float32"},
    "cce_exact": {"filter_eps": None, "accumulate": "float32"},
}
"""The authors' presets, as keyword arguments of `linear_cross_entropy`."""

BLOCK = (256, 2048)
"""Rows and columns of a block of logits on the CPU: 2 MiB of float32, what a second-level cache holds."""
PANEL_BLOCK = (256, 8192)
"""The same for `gradients="forward"`, which keeps its blocks: the matrix products are faster with more columns."""
PANEL = 3 * 2**21
"""Most logits that `gradients="forward"` keeps at a time, 24 MiB of float32, or an eighth of dC where that is more."""


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

    On CUDA it runs as Triton kernels (`kernels.py`), elsewhere in PyTorch. Differentiable once, in e, c and bias.

    Args:
        e: embeddings, shape (..., D), floating point.
        c: classifier, shape (V, D), of the same dtype and device.
        targets: classes in [0, V) or `ignore_index`, int64 of shape (...).
        bias: shape (V,), of the same dtype.
        softcap: logits become softcap * tanh(logits / softcap); > 0.
        z_loss: weight of the square of the log-sum-exp, added to the loss of each token.
        return_lse: also return the log-sum-exp of each token, differentiable; 0 where ignored.
        shift: k pairs e[..., :-k, :] with targets[..., k:], as a language model needs; the results have their shape.
        reduction: "mean" over the valid tokens (NaN, with zero gradient, where there is none, as in PyTorch), "sum", or
            "none": the loss of each token, 0 where ignored.
        filter_eps: a block of the backward pass with max |S - onehot| below it is skipped; None skips nothing; "auto"
            is the authors' finfo(dtype).eps / 32.
        filter_e, filter_c: whether filtering applies to the gradient of e, and to those of c and bias.
        sort: visit columns in the order of their mean logit (only where blocks are filtered in the backward pass).
        accumulate: sums over blocks in the input's dtype, that with Kahan's compensation, or at least float32.
        gradients: "backward" makes the blocks again, as the paper does; "forward" computes the gradients beside the
            loss and needs a mean or a sum, no `return_lse`, and a panel of logits; "auto" takes it where it can (not on
            CUDA).
        block: rows and columns of a block; None: `PANEL_BLOCK` where the gradients are made in the forward pass, else
            `BLOCK` (CPU; the kernels have their own).

    Returns:
        The loss in the dtype of the logits (float32 for half precision), or with `return_lse` (loss, lse).

    Raises:
        ValueError: shapes, dtypes or devices do not fit, a target is out of range, or an option is out of its range.
    """
    _check(e, c, targets, bias, softcap, shift, reduction, accumulate, block, ignore_index)
    if shift:
        e, targets = e[..., :-shift, :], targets[..., shift:]
    shape, flat = targets.shape, targets.reshape(-1)
    valid = (flat != ignore_index).nonzero().squeeze(1)
    tokens, classes = e.reshape(-1, e.shape[-1]), flat
    if len(valid) < len(flat):
        tokens, classes = tokens[valid], flat[valid]
    eps = default_eps(e.dtype) if filter_eps == "auto" else filter_eps or 0.0
    if not 0 <= eps < 1:
        raise ValueError(f"filter_eps must lie in [0, 1), got {filter_eps}")
    wants = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (e, c, bias))
    possible = reduction != "none" and not return_lse and e.device.type != "cuda"
    if gradients == "forward" and not possible:
        raise ValueError("gradients must not be 'forward' with reduction 'none', return_lse or CUDA")
    beside = wants and possible and gradients != "backward"
    rows, columns = block or (PANEL_BLOCK if beside else BLOCK)
    problem = Problem(
        tokens.detach(), c.detach(), None if bias is None else bias.detach(), classes, softcap, eps, filter_e, filter_c,
        sort and eps > 0, accumulate, rows, columns,
    )  # fmt: skip
    scale = 1.0 / len(valid) if reduction == "mean" and len(valid) else 1.0
    if beside:
        total = _ForwardGradients.apply(tokens, c, bias, problem, scale, z_loss)
        return total if len(valid) or reduction == "sum" else total * math.nan
    losses, lse = _BackwardGradients.apply(tokens, c, bias, problem)
    if z_loss:
        losses = losses + z_loss * lse.square()
    if reduction == "none":
        loss = losses.new_zeros(len(flat)).index_put((valid,), losses).view(shape)
    else:
        loss = losses.sum() * (scale if len(valid) or reduction == "sum" else math.nan)
    if return_lse:
        return loss, lse.new_zeros(len(flat)).index_put((valid,), lse).view(shape)
    return loss


def default_eps(dtype: torch.dtype) -> float:
    """The authors' threshold: finfo.eps / 32, which is 2^-12 for bfloat16, 2^-15 for float16 and 2^-28 for float32."""
    return torch.finfo(dtype).eps / 32


def streaming_log_sum_exp(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """log sum exp over the rows of matrices (N, V_1), (N, V_2), ... that are seen one after the other; shape (N,).

    Equal to `torch.cat(blocks, 1).logsumexp(1)` for any partition and order of the columns.
    """
    total = None
    for block in blocks:
        largest = block.amax(1)
        finite = largest.clamp_min(torch.finfo(block.dtype).min)  # a row of -inf has no largest entry to subtract
        of_block = finite + (block - finite[:, None]).exp_().sum(1).log()
        total = torch.full_like(of_block, -math.inf) if total is None else total
        total = torch.logaddexp(total, of_block)
    if total is None:
        raise ValueError("blocks must hold at least one matrix")
    return total


def soft_capped(logits: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """s tanh(A / s), in place; the logits themselves without a softcap."""
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def soft_cap_slope(capped: torch.Tensor, softcap: float) -> torch.Tensor:
    """Derivative of s tanh(A / s) with respect to A, from its value: 1 - (value / s)^2."""
    return 1 - (capped / softcap).square()


class Accumulator:
    """A sum that grows by parts: in its own dtype, with Kahan's compensation, or in at least float32.

    `compensated` keeps what each addition has lost to rounding and gives it to the next one.
    """

    def __init__(self, like: torch.Tensor, accumulate: Accumulation) -> None:
        wide = accumulate == "float32"
        self.total = torch.zeros_like(like, dtype=_logit_dtype(like.dtype) if wide else like.dtype)
        self.lost = torch.zeros_like(like) if accumulate == "kahan" else None

    def of(self, where: slice | torch.Tensor) -> Accumulator:
        """The sum of some rows: of a slice in place, else a copy."""
        part = copy(self)
        part.total, part.lost = self.total[where], None if self.lost is None else self.lost[where]
        return part

    def add(self, where: slice | torch.Tensor, part: torch.Tensor) -> None:
        """total[where] += part; `where` names rows, none twice."""
        part = part.to(self.total.dtype)
        if self.lost is not None:
            part = part - self.lost[where]
            before = self.total[where]
            after = before + part
            self.lost[where] = (after - before) - part
            self.total[where] = after
        else:
            self.total[where] += part

    def add_product(self, where: slice | torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        """total[where] += left @ right, without a temporary where the dtypes allow it."""
        if isinstance(where, slice) and self.lost is None and self.total.dtype == left.dtype:
            self.total[where].addmm_(left, right)
        else:
            self.add(where, left @ right)


@dataclass(frozen=True)
class Gradients:
    """Gradients of e (n, D), c (V, D) and bias (V,), and which blocks (rows, columns) were above the threshold."""

    e: torch.Tensor | None
    c: torch.Tensor | None
    bias: torch.Tensor | None
    kept: torch.Tensor


@dataclass(frozen=True)
class Problem:
    """The valid tokens, the classifier, and how their logits are cut into blocks."""

    e: torch.Tensor
    c: torch.Tensor
    bias: torch.Tensor | None
    targets: torch.Tensor
    softcap: float | None = None
    eps: float = 0.0
    filter_e: bool = True
    filter_c: bool = True
    sort: bool = False
    accumulate: Accumulation = "input"
    rows: int = BLOCK[0]
    columns: int = BLOCK[1]

    def row_blocks(self) -> Iterator[slice]:
        yield from _slices(len(self.e), self.rows)

    def column_blocks(self) -> Iterator[slice]:
        yield from _slices(len(self.c), self.columns)

    def classifier(self, columns: slice | torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weights and bias of some columns."""
        return self.c[columns].to(dtype), None if self.bias is None else self.bias[columns].to(dtype)

    def logits(
        self, e: torch.Tensor, c: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A block of capped logits: rows e, columns (c, bias)."""
        a = torch.mm(e, c.T, out=out)
        if bias is not None:
            a += bias
        return soft_capped(a, self.softcap)

    def target_logits(self) -> torch.Tensor:
        """A[i, x_i], shape (n,)."""
        dtype = _logit_dtype(self.e.dtype)
        parts = []
        for rows in self.row_blocks():
            x = self.targets[rows]
            dot = (self.e[rows].to(dtype) * self.c[x].to(dtype)).sum(1)
            parts.append(dot if self.bias is None else dot + self.bias[x].to(dtype))
        return soft_capped(torch.cat(parts), self.softcap) if parts else self.e.new_empty(0, dtype=dtype)

    def log_sum_exp(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """LSE of each token, (n,), and with `sort` the mean logit of each class, (V,)."""
        dtype = _logit_dtype(self.e.dtype)
        lse = torch.empty(len(self.e), dtype=dtype, device=self.e.device)
        means = torch.zeros(len(self.c), dtype=dtype, device=self.e.device) if self.sort else None
        for rows in self.row_blocks():
            e = self.e[rows].to(dtype)

            def blocks(e: torch.Tensor = e) -> Iterator[torch.Tensor]:
                for columns in self.column_blocks():
                    a = self.logits(e, *self.classifier(columns, dtype))
                    if means is not None:
                        means[columns] += a.sum(0) / len(self.e)
                    yield a

            lse[rows] = streaming_log_sum_exp(blocks())
        return lse, means

    def backward(
        self,
        lse: torch.Tensor,
        g: torch.Tensor,
        h: torch.Tensor,
        order: torch.Tensor | None = None,
        needs: tuple[bool, bool, bool] = (True, True, True),
    ) -> Gradients:
        """The backward pass: blocks made again, filtered, and multiplied back. g, h (n,): upstream of loss and LSE.

        Columns outside, rows inside: columns that `order` scatters are gathered once, and their sums written once.
        """
        sums, kept = _Sums(self, needs), []
        targets = self.targets if order is None else order.argsort()[self.targets]  # their places in that order
        for columns in self.column_blocks():
            where = columns if order is None else order[columns]
            c, bias = self.classifier(where, lse.dtype)
            with sums.of_columns(where) as part:
                for rows in self.row_blocks():
                    e = self.e[rows].to(lse.dtype)
                    a = self.logits(e, c, bias)
                    hit, position = _targets_in(targets[rows], columns)
                    above = self._above(a, lse[rows], hit, position)
                    kept.append(above)
                    if above or not (self.filter_e and self.filter_c):
                        slope = None if self.softcap is None else soft_cap_slope(a, self.softcap)
                        d = a.sub_(lse[rows, None]).exp_().mul_((g + h)[rows, None])
                        d[hit, position] -= g[rows][hit]
                        part.add(rows, e, c, d if slope is None else d.mul_(slope), above)
        return sums.result(torch.tensor(kept, dtype=torch.bool).view(-(-len(self.c) // self.columns), -1).T)

    def forward_and_backward(
        self, z_loss: float, scale: float, needs: tuple[bool, bool, bool]
    ) -> tuple[torch.Tensor, Gradients]:
        """Sum of the losses times scale, and its gradients, a panel of whole rows at a time.

        A block keeps P = exp(A - m) with m its row maxima. S is P exp(m - LSE), a factor for each row that goes to the
        thin operand of a product instead of the block; so do the one-hot entries, as rows of C and E.
        """
        sums, total, kept = _Sums(self, needs), self.e.new_zeros((), dtype=_logit_dtype(self.e.dtype)), []
        height = max(1, min(max(PANEL // len(self.c), self.e.shape[1] // 8), 2 * self.rows))
        chosen = self.target_logits()
        space = self.e.new_empty(min(height, len(self.e)) * len(self.c), dtype=total.dtype)
        for rows in _slices(len(self.e), height):
            e, x, o = self.e[rows].to(total.dtype), self.targets[rows], chosen[rows]
            panel, lse = [], torch.full_like(o, -math.inf)
            for columns in self.column_blocks():
                place = space[len(e) * columns.start : len(e) * columns.stop].view(len(e), -1)
                a = self.logits(e, *self.classifier(columns, e.dtype), place)
                top = a.amax(1)
                slope = None if self.softcap is None else soft_cap_slope(a, self.softcap)
                p = a.sub_(top[:, None]).exp_()
                lse = torch.logaddexp(lse, top + p.sum(1).log())
                hit, position = _targets_in(x, columns)
                own = torch.zeros_like(top).index_put_((hit,), p[hit, position])
                panel.append((columns, p if slope is None else p.mul_(slope), top, hit, own))
            total += (lse - o).sum() + z_loss * lse.square().sum()
            weight, held = scale * (1 + 2 * z_loss * lse), torch.ones_like(o)
            for columns, p, top, hit, own in panel:
                share = (top - lse).exp_()
                above = self._largest(share, own * share, hit) >= self.eps
                kept.append(above)
                held[hit] = float(above)  # a target goes with its block
                sums.add_scaled(rows, columns, e, p, weight * share, above)
            slope = o.new_full((), scale) if self.softcap is None else scale * soft_cap_slope(o, self.softcap)
            sums.subtract_targets(rows, e, x, slope.expand_as(o), held)
        return total * scale, sums.result(torch.tensor(kept).view(-1, -(-len(self.c) // self.columns)))

    def _above(self, a: torch.Tensor, lse: torch.Tensor, hit: torch.Tensor, position: torch.Tensor) -> bool:
        """Whether max |S - onehot| of a block reaches eps, for the price of its row maxima."""
        if not self.eps:
            return True
        own = torch.zeros_like(lse)
        own[hit] = (a[hit, position] - lse[hit]).exp()
        return self._largest((a.amax(1) - lse).exp(), own, hit) >= self.eps

    def _largest(self, largest: torch.Tensor, own: torch.Tensor, hit: torch.Tensor) -> float:
        """max |S - onehot| from the row maxima of S, the S of the targets, and the rows whose target is in the block.

        Where the target has the largest S of its row, the others have at most 1 - S together, so |S - 1| is it.
        """
        of_row = largest.clone()
        of_row[hit] = torch.where(own[hit] >= largest[hit], 0, largest[hit]).maximum(1 - own[hit])
        return float(of_row.max())


class _Sums:
    """The three gradients of a problem, as they grow block by block."""

    def __init__(self, problem: Problem, needs: tuple[bool, bool, bool]) -> None:
        self.problem = problem
        like = (problem.e, problem.c, problem.bias)
        of = [Accumulator(t, problem.accumulate) if need and t is not None else None for t, need in zip(like, needs)]  # noqa: B905
        self.e, self.c, self.bias = of

    @contextmanager
    def of_columns(self, where: slice | torch.Tensor) -> Iterator[_Sums]:
        """These sums with only some columns of dC and of the bias; `where` may come once."""
        part = copy(self)
        part.c, part.bias = (None if one is None else one.of(where) for one in (self.c, self.bias))
        yield part
        if isinstance(where, torch.Tensor):  # a slice was summed in place
            for whole, one in ((self.c, part.c), (self.bias, part.bias)):
                if whole is not None:
                    whole.total[where] = one.total

    def add(self, rows: slice, e: torch.Tensor, c: torch.Tensor, d: torch.Tensor, above: bool) -> None:
        """A block of dA, of which filtering keeps what it may not drop; e, c and the sums are those of the block."""
        if self.e is not None and (above or not self.problem.filter_e):
            self.e.add_product(rows, d, c)
        if above or not self.problem.filter_c:
            if self.c is not None:
                self.c.add_product(slice(None), d.T, e)
            if self.bias is not None:
                self.bias.add(slice(None), d.sum(0))

    def add_scaled(
        self, rows: slice, where: slice, e: torch.Tensor, p: torch.Tensor, weight: torch.Tensor, above: bool
    ) -> None:
        """The block diag(weight) P, its factor applied to the thin operand."""
        if self.e is not None and (above or not self.problem.filter_e):
            self.e.add(rows, (p @ self.problem.c[where].to(p.dtype)).mul_(weight[:, None]))
        if above or not self.problem.filter_c:
            if self.c is not None:
                self.c.add_product(where, p.T, e * weight[:, None])
            if self.bias is not None:
                self.bias.add(where, weight @ p)

    def subtract_targets(
        self, rows: slice, e: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, held: torch.Tensor
    ) -> None:
        """The one-hot part of dA; `held` is 0 for tokens whose target lies in a dropped block."""
        of_e = weight * held if self.problem.filter_e else weight
        of_c = weight * held if self.problem.filter_c else weight
        if self.e is not None:
            self.e.add(rows, self.problem.c[x].to(e.dtype) * -of_e[:, None])
        classes, place = x.unique(return_inverse=True)  # an accumulator takes a row once
        if self.c is not None:
            self.c.add(classes, e.new_zeros(len(classes), e.shape[1]).index_add_(0, place, e * -of_c[:, None]))
        if self.bias is not None:
            self.bias.add(classes, e.new_zeros(len(classes)).index_add_(0, place, -of_c))

    def result(self, kept: torch.Tensor) -> Gradients:
        problem = self.problem
        like = (problem.e, problem.c, problem.bias)
        totals = [
            None if one is None or t is None else one.total.to(t.dtype)
            for one, t in zip((self.e, self.c, self.bias), like, strict=True)
        ]
        return Gradients(*totals, kept)


class _ForwardGradients(torch.autograd.Function):
    """The scaled sum of the losses, whose gradients are ready when it is."""

    @staticmethod
    def forward(ctx: Any, _e, _c, _bias, problem: Problem, scale: float, z_loss: float) -> torch.Tensor:
        total, grads = problem.forward_and_backward(z_loss, scale, ctx.needs_input_grad[:3])
        ctx.ready = (grads.e, grads.c, grads.bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor):
        if ctx.ready is None:
            raise RuntimeError("the gradients were used: call with gradients='backward' to go backward twice")
        # Handed over, not kept: a buffer that is held elsewhere would be copied into .grad.
        ready, ctx.ready = ctx.ready, None
        scaled = [one if one is None or upstream == 1 else one.mul_(upstream) for one in ready]
        return *scaled, None, None, None


class _BackwardGradients(torch.autograd.Function):
    """The loss and the LSE of each token; the backward pass makes the logits again."""

    @staticmethod
    def forward(ctx: Any, e, c, bias, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
        engine = _engine(e.device)
        lse, means, chosen = engine.forward(problem)
        order = None if means is None else means.argsort()
        ctx.save_for_backward(e, c, bias, lse, order)
        ctx.problem, ctx.engine = problem, engine
        return lse - chosen, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: torch.Tensor, h: torch.Tensor):
        *_, lse, order = ctx.saved_tensors  # saving e, c and bias lets autograd see an edit in place
        grads = ctx.engine.backward(ctx.problem, lse, g, h, order, ctx.needs_input_grad[:3])
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


def _logit_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _targets_in(targets: torch.Tensor, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a block whose target is one of its columns, and the positions of these."""
    hit = ((targets >= columns.start) & (targets < columns.stop)).nonzero().squeeze(1)
    return hit, targets[hit] - columns.start


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _check(e, c, targets, bias, softcap, shift, reduction, accumulate, block, ignore_index) -> None:
    if not e.is_floating_point() or e.dtype != c.dtype or e.device != c.device:
        raise ValueError(
            f"e and c must share a floating dtype and a device, got {e.dtype} {e.device}, {c.dtype} {c.device}"
        )
    if c.dim() != 2 or not len(c) or e.dim() < 2 or e.shape[-1] != c.shape[1]:
        raise ValueError(f"e and c must have shapes (..., D) and (V, D), got {tuple(e.shape)} and {tuple(c.shape)}")
    if targets.dtype != torch.int64 or targets.shape != e.shape[:-1]:
        raise ValueError(
            f"targets must be int64 of shape {tuple(e.shape[:-1])}, got {targets.dtype} {tuple(targets.shape)}"
        )
    if bias is not None and (bias.shape != c.shape[:1] or bias.dtype != c.dtype):
        raise ValueError(f"bias must be {c.dtype} of shape ({len(c)},), got {bias.dtype} {tuple(bias.shape)}")
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
    if e.device.type == "cpu":  # on a GPU it would wait for the device
        used = targets[targets != ignore_index]
        if len(used) and not 0 <= int(used.min()) <= int(used.max()) < len(c):
            raise ValueError(f"targets must be classes below {len(c)} or {ignore_index}")
