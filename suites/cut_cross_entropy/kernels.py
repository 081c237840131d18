"""The passes of `method.Problem` as Triton kernels, for CUDA (and, in tests, Triton's interpreter on the CPU).

One program makes one block of logits, in float32, from tiles of E and C, and keeps nothing of it. Forward: its
log-sum-exp over the block goes to a small (blocks of columns, N) table that is folded at the end, so that the order of
programs changes no digit. Backward: the block is made again, tested against eps, and multiplied back tile by tile with
atomic additions, whose order is not fixed: compare gradients with tolerances.

Columns beyond V are masked after the softcap: before it, tanh would make them classes of logit -s.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from suites.cut_cross_entropy.blocks import Gradients, Problem

Tile = tuple[int, int, int]
"""Tokens, classes and embedding entries of a tile. The first two are what filtering looks at."""
WIDE: tuple[Tile, Tile] = (128, 256, 64), (128, 128, 64)
"""Forward and backward, of 16-bit inputs where a block has `WIDE_BYTES` of shared memory: A100 and H100, not all."""
WIDE_BYTES = 160 * 1024
HALF: tuple[Tile, Tile] = (128, 128, 32), (128, 128, 32)
SINGLE: tuple[Tile, Tile] = (64, 64, 32), (64, 64, 32)
"""Of float32: products without tensor cores, whose larger tiles do not fit the registers."""


@triton.jit
def _logits(
    E, C, Bias, row, column, N, V, D, softcap,
    HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, R: tl.constexpr, K: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """A tile (R, K) of capped logits in float32. Rows and columns out of range hold anything."""
    a = tl.zeros((R, K), dtype=tl.float32)
    for start in range(0, D, T):
        d = start + tl.arange(0, T)
        e = tl.load(E + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0)
        c = tl.load(C + column[None, :] * D + d[:, None], mask=(column < V)[None, :] & (d < D)[:, None], other=0.0)
        a = tl.dot(e, c, a, input_precision="ieee")
    if HAS_BIAS:
        a += tl.load(Bias + column, mask=column < V, other=0.0).to(tl.float32)[None, :]
    if HAS_CAP:
        a = softcap * (2 * tl.sigmoid(2 * a / softcap) - 1)
    return a


@triton.jit
def _forward(
    E, C, Bias, X, Lse, Chosen, Means, N, V, D, softcap,
    HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, SORT: tl.constexpr,
    R: tl.constexpr, K: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * R + tl.arange(0, R)).to(tl.int64)
    column = (tl.program_id(1) * K + tl.arange(0, K)).to(tl.int64)
    a = _logits(E, C, Bias, row, column, N, V, D, softcap, HAS_BIAS, HAS_CAP, R, K, T)
    inside = (row < N)[:, None] & (column < V)[None, :]
    x = tl.load(X + row, mask=row < N, other=-1)
    hit = column[None, :] == x[:, None]
    found = tl.sum(tl.where(hit, a, 0.0), 1)
    tl.store(Chosen + row, found, mask=(row < N) & (x >= tl.program_id(1) * K) & (x < tl.program_id(1) * K + K))
    if SORT:
        tl.atomic_add(Means + column, tl.sum(tl.where(inside, a, 0.0), 0) / N, mask=column < V, sem="relaxed")
    a = tl.where((column < V)[None, :], a, -float("inf"))
    top = tl.maximum(tl.max(a, 1), -3.4e38)  # where all is -inf, there is no largest entry to subtract
    tl.store(
        Lse + tl.program_id(1).to(tl.int64) * N + row, top + tl.log(tl.sum(tl.exp(a - top[:, None]), 1)), mask=row < N
    )


@triton.jit
def _backward(
    E, C, Bias, X, Lse, G, H, Order, dE, dC, dBias, Kept, N, V, D, softcap, eps,
    HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, SORT: tl.constexpr, FILTER_E: tl.constexpr, FILTER_C: tl.constexpr,
    NEED_E: tl.constexpr, NEED_C: tl.constexpr, NEED_BIAS: tl.constexpr,
    R: tl.constexpr, K: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * R + tl.arange(0, R)).to(tl.int64)
    place = tl.program_id(1) * K + tl.arange(0, K)
    if SORT:  # noqa: SIM108
        column = tl.load(Order + place, mask=place < V, other=V).to(tl.int64)
    else:
        column = place.to(tl.int64)
    a = _logits(E, C, Bias, row, column, N, V, D, softcap, HAS_BIAS, HAS_CAP, R, K, T)
    inside = (row < N)[:, None] & (column < V)[None, :]
    lse = tl.load(Lse + row, mask=row < N, other=0.0)
    g = tl.load(G + row, mask=row < N, other=0.0)
    h = tl.load(H + row, mask=row < N, other=0.0)
    x = tl.load(X + row, mask=row < N, other=-1)
    softmax = tl.where(inside, tl.exp(a - lse[:, None]), 0.0)
    onehot = tl.where(inside & (column[None, :] == x[:, None]), 1.0, 0.0)
    above = tl.max(tl.max(tl.abs(softmax - onehot), 1), 0) >= eps
    tl.store(Kept + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), above.to(tl.int8))
    da = softmax * (g + h)[:, None] - onehot * g[:, None]
    if HAS_CAP:
        da *= 1 - (a / softcap) * (a / softcap)
    if NEED_BIAS:  # noqa: SIM102 (known when compiled, unlike `above`)
        if above or not FILTER_C:
            part = tl.sum(da, 0).to(dBias.dtype.element_ty)
            tl.atomic_add(dBias + column, part, mask=column < V, sem="relaxed")
    da = da.to(E.dtype.element_ty)
    if NEED_E:  # noqa: SIM102 (known when compiled, unlike `above`)
        if above or not FILTER_E:
            for start in range(0, D, T):
                d = start + tl.arange(0, T)
                c = tl.load(
                    C + column[:, None] * D + d[None, :], mask=(column < V)[:, None] & (d < D)[None, :], other=0.0
                )
                of_e = tl.dot(da, c, input_precision="ieee").to(dE.dtype.element_ty)
                real = (row < N)[:, None] & (d < D)[None, :]
                tl.atomic_add(dE + row[:, None] * D + d[None, :], of_e, mask=real, sem="relaxed")
    if NEED_C:  # noqa: SIM102 (known when compiled, unlike `above`)
        if above or not FILTER_C:
            for start in range(0, D, T):
                d = start + tl.arange(0, T)
                e = tl.load(E + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0)
                of_c = tl.dot(tl.trans(da), e, input_precision="ieee").to(dC.dtype.element_ty)
                real = (column < V)[:, None] & (d < D)[None, :]
                tl.atomic_add(dC + column[:, None] * D + d[None, :], of_c, mask=real, sem="relaxed")


def forward(problem: Problem) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """LSE and target logit of each token, (n,), float32, and with `sort` the mean logit of each class, (V,)."""
    e, c, bias, x = _inputs(problem)
    n, v = len(e), len(c)
    grid, options = _launch(e, v, 0)
    table = e.new_empty(grid[1], n, dtype=torch.float32)
    chosen = e.new_zeros(n, dtype=torch.float32)
    means = c.new_zeros(v, dtype=torch.float32) if problem.sort else None
    with torch.cuda.device_of(e):
        if n:
            _forward[grid](
                e, c, _or(bias, c), x, table, chosen, _or(means, table), n, v, c.shape[1],
                problem.softcap or 1.0, HAS_BIAS=bias is not None, HAS_CAP=problem.softcap is not None,
                SORT=problem.sort, **options,
            )  # fmt: skip
    return table.logsumexp(0), means, chosen


def backward(
    problem: Problem,
    lse: torch.Tensor,
    g: torch.Tensor,
    h: torch.Tensor,
    order: torch.Tensor | None = None,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Gradients:
    """As `Problem.backward`. Sums are in the input's dtype, or in float32 where float32 or Kahan's is asked for."""
    e, c, bias, x = _inputs(problem)
    n, v, inputs = len(e), len(c), (problem.e, problem.c, problem.bias)
    grid, options = _launch(e, v, 1)
    dtype = e.dtype if problem.accumulate == "input" else torch.float32
    sums = [
        one.new_zeros(one.shape, dtype=dtype) if need and one is not None else None  # contiguous, whatever `one` is
        for one, need in zip(inputs, needs, strict=True)
    ]
    kept = torch.zeros(grid, dtype=torch.int8, device=e.device)
    with torch.cuda.device_of(e):
        if n:
            _backward[grid](
                e, c, _or(bias, c), x, lse.contiguous(), g.contiguous(), h.contiguous(), _or(order, x),
                *(_or(one, lse) for one in sums), kept, n, v, c.shape[1], problem.softcap or 1.0, problem.eps,
                HAS_BIAS=bias is not None, HAS_CAP=problem.softcap is not None, SORT=order is not None,
                FILTER_E=problem.filter_e, FILTER_C=problem.filter_c, NEED_E=sums[0] is not None,
                NEED_C=sums[1] is not None, NEED_BIAS=sums[2] is not None, **options,
            )  # fmt: skip
    like = zip(sums, inputs, strict=True)
    return Gradients(*(None if one is None or t is None else one.to(t.dtype) for one, t in like), kept.bool())


def _inputs(problem: Problem) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """e and c in one dtype, bias and targets, all contiguous, for the kernels know no strides.

    Raises ValueError for float64, which the kernels would round.
    """
    if problem.dtype == torch.float64:
        raise ValueError("e and c must not be float64: the kernels compute in float32")
    dtype = torch.promote_types(problem.e.dtype, problem.c.dtype)
    e, c = problem.e.to(dtype).contiguous(), problem.c.to(dtype).contiguous()
    return e, c, None if problem.bias is None else problem.bias.contiguous(), problem.targets.contiguous()


def _launch(e: torch.Tensor, classes: int, which: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid of the forward (0) or backward (1) kernel, and its tile, warps and stages."""
    tile = SINGLE[which] if e.element_size() > 2 else HALF[which]
    if e.is_cuda and e.element_size() == 2:
        memory = torch.cuda.get_device_properties(e.device).shared_memory_per_block_optin
        tile = WIDE[which] if memory >= WIDE_BYTES else tile
    rows, columns, depth = tile
    grid = (triton.cdiv(len(e), rows), triton.cdiv(classes, columns))
    return grid, {"R": rows, "K": columns, "T": depth, "num_warps": 8 if rows > 64 else 4, "num_stages": 3}


def _or(tensor: torch.Tensor | None, filler: Any) -> Any:
    """A pointer for an argument that a kernel does not read."""
    return filler if tensor is None else tensor
