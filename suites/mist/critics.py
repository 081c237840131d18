"""Neural bounds of mutual information (MINE, NWJ, InfoNCE, SMILE), one critic T(x, y) for each of many sets at once.

    MINE     E_p T - log E_q e^T           Belghazi et al. 2018       p: rows; q: x of one row, y of another
    NWJ      E_p T - E_q e^(T - 1)         Nguyen, Wainwright & Jordan 2010
    InfoNCE  E_p [T - log mean_j e^T(x, y_j)]                         van den Oord et al. 2018: at most log n
    SMILE    E_p T - log E_q e^clip(T)     Song & Ermon 2020, trained by telling p from q, clipped to [-5, 5]

Critics learn from one half of the rows and are evaluated on the other, so that a bound is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from baselines.models import mlp
from baselines.stacked import Stacked
from baselines.stacked_adam import StackedAdam

HIDDEN, CLIP = (16, 8), 5.0


def log_mean(values: torch.Tensor) -> torch.Tensor:
    """log mean exp over the last dimension."""
    return values.logsumexp(-1) - math.log(values.shape[-1])


def mine(scores: torch.Tensor) -> torch.Tensor:
    """Of scores T(x_i, y_j), (C, n, n): (C,). The diagonal is p, the rest q."""
    return _paired(scores).mean(-1) - log_mean(_others(scores))


def nwj(scores: torch.Tensor) -> torch.Tensor:
    return _paired(scores).mean(-1) - (_others(scores) - 1).exp().mean(-1)


def infonce(scores: torch.Tensor) -> torch.Tensor:
    return (_paired(scores) - log_mean(scores)).mean(-1)


def smile(scores: torch.Tensor) -> torch.Tensor:
    return _paired(scores).mean(-1) - log_mean(_others(scores).clamp(-CLIP, CLIP))


def telling_apart(scores: torch.Tensor) -> torch.Tensor:
    """Minus the cross-entropy of telling p from q, whose best T is the log of their ratio: SMILE is trained by it."""
    return -F.softplus(-_paired(scores)).mean(-1) - F.softplus(_others(scores)).mean(-1)


Bound = Callable[[torch.Tensor], torch.Tensor]
BOUNDS: dict[str, tuple[Bound, Bound]] = {
    "mine": (mine, mine), "nwj": (nwj, nwj), "infonce": (infonce, infonce), "smile": (telling_apart, smile),
}  # fmt: skip
"""What is maximised, and what is reported."""


def _paired(scores: torch.Tensor) -> torch.Tensor:
    return scores.diagonal(dim1=-2, dim2=-1)


def _others(scores: torch.Tensor) -> torch.Tensor:
    """All but the diagonal, (C, n (n - 1)): dropping the first entry leaves it at the end of rows of n + 1."""
    n = scores.shape[-1]
    return scores.flatten(-2)[..., 1:].unflatten(-1, (n - 1, n + 1))[..., :-1].flatten(-2)


def pairs(rows: torch.Tensor) -> torch.Tensor:
    """x of each row with y of each: (C, n, 2d) -> (C, n * n, 2d)."""
    n, d = rows.shape[1], rows.shape[2] // 2
    x, y = rows[:, :, None, :d].expand(-1, -1, n, -1), rows[:, None, :, d:].expand(-1, n, -1, -1)
    return torch.cat([x, y], -1).flatten(1, 2)


def estimates(
    rows: torch.Tensor, bound: str, rates: Sequence[float], looks: Sequence[int], seed: int
) -> dict[tuple[float, int], torch.Tensor]:
    """Bounds (B,) in nats of sets (B, n, 2d) by rate and number of steps, on the half that critics did not learn from.

    All pairs of the half that they learn from make one batch. Raises ValueError for fewer than 4 rows and other names.
    """
    if bound not in BOUNDS:
        raise ValueError(f"bound must be one of {', '.join(BOUNDS)}, got {bound!r}")
    if rows.dim() != 3 or rows.shape[1] < 4:
        raise ValueError(f"rows must be (B, n, 2d) with n >= 4, got {tuple(rows.shape)}")
    objective, report = BOUNDS[bound]
    half, sets = rows.shape[1] // 2, len(rows)
    stacked = rows.float().repeat(len(rates), 1, 1)
    seen, held = pairs(stacked[:, :half]), pairs(stacked[:, half:])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic = Stacked(mlp([rows.shape[2], *HIDDEN, 1]), len(stacked))
    stepper = StackedAdam(critic, torch.tensor(rates).repeat_interleave(sets))
    found: dict[tuple[float, int], torch.Tensor] = {}
    for step in range(1, max(looks) + 1):
        stepper.zero_grad()
        (-objective(critic(seen).unflatten(1, (half, half)).squeeze(-1)).sum()).backward()
        stepper.step()
        if step in looks:
            with torch.no_grad():
                values = report(critic(held).unflatten(1, (rows.shape[1] - half,) * 2).squeeze(-1))
            found |= {(rate, step): one for rate, one in zip(rates, values.split(sets), strict=True)}
    return found
