"""L-BFGS for many independent smooth problems at once, each with its own memory and step length.

torch.optim.LBFGS joins problems into one, whose memory and line search they share, spends most of its time on vectors
shorter than a call into torch is long, and imports torch's compiler, which takes longer than all problems of the suite.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def descend(
    evaluate: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    start: torch.Tensor,
    *,
    tolerance: float,
    memory: int = 6,
    iterations: int = 5_000,
) -> torch.Tensor:
    """Points (B, n) where every entry of the gradient is at most `tolerance`, or after that many iterations.

    `evaluate` maps points (B, n) to values (B,) and gradients (B, n); start: float64 (B, n). A step is taken where the
    value falls enough (Armijo) or where rounding hides whether it does; else a fourth of it is tried next.
    """
    point, (value, slope) = start, evaluate(start)
    count, size = start.shape
    pairs = start.new_zeros(count, 2 * memory, size)  # the last steps s between points, then the bends y of slopes
    products, squares = start.new_zeros(2, count, memory, memory)  # s_i . y_j and y_i . y_j
    scale, length = 1 / slope.norm(dim=1, keepdim=True).clamp(min=1e-300), start.new_ones(count, 1)
    place, slots = torch.zeros(count, dtype=torch.int64), torch.arange(memory)  # the pair that is overwritten next
    for _ in range(iterations):
        if slope.abs().max() <= tolerance:
            break
        age = (slots - place[:, None]) % memory
        step = -length * _times_inverse(slope, pairs, products, squares, scale, age)
        trial = point + step
        trial_value, trial_slope = evaluate(trial)
        bend = trial_slope - slope
        taken = trial_value <= value + 1e-4 * (step * slope).sum(1) + 4e-15 * value.abs()
        rows = (taken & ((step * bend).sum(1) > 0)).nonzero().squeeze(1)
        columns = place[rows]
        pairs[rows, columns], pairs[rows, memory + columns] = step[rows], bend[rows]
        crossed = (pairs @ bend[:, :, None]).squeeze(2)[rows]
        products[rows, :, columns] = crossed[:, :memory]
        squares[rows, :, columns] = squares[rows, columns] = crossed[:, memory:]
        scale[rows] = (products[rows, columns, columns] / squares[rows, columns, columns])[:, None]
        place[rows] = (columns + 1) % memory
        point, slope = torch.where(taken[:, None], trial, point), torch.where(taken[:, None], trial_slope, slope)
        value, length = torch.where(taken, trial_value, value), torch.where(taken[:, None], 1.0, length / 4)
    return point


def _times_inverse(
    slope: torch.Tensor,
    pairs: torch.Tensor,
    products: torch.Tensor,
    squares: torch.Tensor,
    scale: torch.Tensor,
    age: torch.Tensor,
) -> torch.Tensor:
    """The approximate inverse Hessian times the gradient, in the compact form of Byrd, Nocedal & Schnabel (1994).

    S and Y are the rows of `pairs`, R the s_i . y_j whose s_i is not newer than y_j, D its diagonal, and c the scale:
    H g = c g + S^T b - c Y^T a,    a = R^-1 S g,    b = R^-T ((D + c Y Y^T) a - c Y g).
    `age` (B, memory) ranks the slots, 0 for the oldest; empty slots hold zeros.
    """
    diagonal = products.diagonal(dim1=1, dim2=2)
    ordered = torch.where(age[:, :, None] <= age[:, None, :], products, 0) + torch.diag_embed((diagonal == 0).double())
    factors = torch.linalg.lu_factor(ordered)
    along, across = (pairs @ slope[:, :, None]).chunk(2, 1)  # S g, Y g
    a = torch.linalg.lu_solve(*factors, along)
    right = diagonal[:, :, None] * a + scale[:, :, None] * (squares @ a - across)
    b = torch.linalg.lu_solve(*factors, right, adjoint=True)
    return scale * slope + (torch.cat([b, -scale[:, :, None] * a], 1).mT @ pairs).squeeze(1)
