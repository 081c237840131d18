"""The passes in plain PyTorch: blocks of logits that are made, folded, filtered and multiplied back (see method.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch

Accumulation = Literal["input", "kahan", "float32"]

BLOCK = (256, 2048)
"""Rows and columns of a block of logits on the CPU: 2 MiB of float32, what a second-level cache holds."""
PANEL_BLOCK = (512, 8192)
"""The same for `gradients="forward"`, which keeps its blocks: the matrix products are faster with larger ones."""
PANEL = 3 * 2**21
"""Most logits that `gradients="forward"` keeps at a time, 24 MiB of float32, or an eighth of dC where that is more."""


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
        self.total = torch.zeros_like(like, dtype=logit_dtype(like.dtype) if wide else like.dtype)
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
    """The valid tokens, the classifier, and how their logits are cut into blocks. The dtypes may differ."""

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

    @property
    def dtype(self) -> torch.dtype:
        """That of the logits: the widest of the inputs', at least float32."""
        return logit_dtype(self.e.dtype, self.c.dtype)

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
        dtype, parts = self.dtype, []
        for rows in self.row_blocks():
            x = self.targets[rows]
            dot = (self.e[rows].to(dtype) * self.c[x].to(dtype)).sum(1)
            parts.append(dot if self.bias is None else dot + self.bias[x].to(dtype))
        return soft_capped(torch.cat(parts), self.softcap) if parts else self.e.new_empty(0, dtype=dtype)

    def log_sum_exp(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """LSE of each token, (n,), and with `sort` the mean logit of each class, (V,)."""
        dtype = self.dtype
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
        thin operand of a product instead of the block. The one-hot is taken off P first, divided by that factor: were
        the products of S and of the one-hot rounded apart, little would be left of the difference of confident tokens.
        """
        sums, total, kept = _Sums(self, needs), self.e.new_zeros((), dtype=self.dtype), []
        height = max(1, min(max(PANEL // len(self.c), self.e.shape[1] // 8), self.rows))
        chosen = self.target_logits()
        space = self.e.new_empty(min(height, len(self.e)) * len(self.c), dtype=self.dtype)
        limits = torch.finfo(self.dtype)
        for rows in _slices(len(self.e), height):
            e, x, o = self.e[rows].to(self.dtype), self.targets[rows], chosen[rows]
            panel, lse = [], torch.full_like(o, -math.inf)
            for columns in self.column_blocks():
                place = space[len(e) * columns.start : len(e) * columns.stop].view(len(e), -1)
                a = self.logits(e, *self.classifier(columns, self.dtype), place)
                top = a.amax(1).clamp_min(limits.min)  # where all is -inf, there is no largest entry to subtract
                slope = None if self.softcap is None else soft_cap_slope(a, self.softcap)
                p = a.sub_(top[:, None]).exp_()
                lse = torch.logaddexp(lse, top + p.sum(1).log())
                hit, position = _targets_in(x, columns)
                own = torch.zeros_like(top).index_put_((hit,), p[hit, position])
                panel.append((columns, p if slope is None else p.mul_(slope), top, hit, position, own))
            total += (lse - o).sum() + z_loss * lse.square().sum()
            slope = torch.ones_like(o) if self.softcap is None else soft_cap_slope(o, self.softcap)
            for columns, p, top, hit, position, own in panel:
                share = (top - lse).exp_()
                above = self._largest(share, own * share, hit) >= self.eps
                kept.append(above)
                if z_loss:
                    p.mul_((1 + 2 * z_loss * lse)[:, None])
                share[hit] = share[hit].clamp_min(limits.tiny**0.5)  # below it S is 0 beside the one-hot's 1
                p[hit, position] -= slope[hit] / share[hit]
                sums.add_scaled(rows, columns, e, p, scale * share, above)
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

    def result(self, kept: torch.Tensor) -> Gradients:
        problem = self.problem
        like = (problem.e, problem.c, problem.bias)
        totals = [
            None if one is None or t is None else one.total.to(t.dtype)
            for one, t in zip((self.e, self.c, self.bias), like, strict=True)
        ]
        return Gradients(*totals, kept)


def logit_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """The widest of some dtypes and float32."""
    return reduce(torch.promote_types, dtypes, torch.float32)


def _targets_in(targets: torch.Tensor, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a block whose target is one of its columns, and the positions of these."""
    hit = ((targets >= columns.start) & (targets < columns.stop)).nonzero().squeeze(1)
    return hit, targets[hit] - columns.start


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
