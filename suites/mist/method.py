r"""MIST, mutual information by supervised training (Gritsai, Richards, Meloux et al., TMLR 2025, arXiv:2511.18945).

    I(X; Y) ~ g({(x_i, y_i)}) = rho(phi({[x_i | y_i]}))      rows of X and Y in R^d side by side, zeros up to 64 columns
    min E (g - I)^2,  or for quantiles  E max((t - 1) r, t r),  r = I - g(., t),  t ~ U(0, 1) over sets of known I

phi: a small network of each row; self-attention among rows; induced attention (rows to a few learned points and back);
pooling by attention of ten learned seeds, self-attention among them, pooling by one. rho: a network of that one vector,
and of the level t where quantiles are learned. Blocks are post-norm: h = LN(x + MHA(x, y, y)), LN(h + FF(h)). `SIZES`
are those of the released weights, phi of 5,390,080 parameters. The paper speaks of attention in two dimensions; what is
released and here attends over rows only, so that g depends on the order of columns, on which of X and Y comes first,
and on scale, and does not know where X ends: X and Y need one dimension. Quantiles may cross. Families to learn from
are in `families`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from suites.mist.families import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baselines.training import Schedule

RATE, DECAY, EPSILON, CLIP = 1.127e-4, 8.65e-6, 8e-9, 1.0
"""Of AdamW, and the largest norm of a gradient: the settings of the released weights."""


@dataclass(frozen=True)
class Sizes:
    """Of the network. `hidden` is the width of FF in induced blocks; elsewhere it is `width`."""

    columns: int = 64
    first: int = 512
    width: int = 256
    heads: int = 16
    blocks: int = 2  # of self-attention among rows
    layers: int = 2  # of induced attention
    inducing: int = 32
    hidden: int = 1024
    seeds: int = 10
    row_dropout: float = 0.1
    block_dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.columns < 2 or self.columns % 2:
            raise ValueError(f"columns must be even and at least 2, got {self.columns}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")


SIZES = Sizes()


# The network.


class Attention(nn.Module):
    """h = LN(x + MHA(x, y, y)), LN(h + FF(h)): x (B, Q, width), y (B, K, width), keys in `padding` (B, K) ignored."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.inner, self.outer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor, y: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        h = self.inner(x + self.attend(x, y, y, key_padding_mask=padding, need_weights=False)[0])
        return self.outer(h + self.feed(h))


class Pooling(nn.Module):
    """Attention of `count` learned vectors over rows (B, N, width) -> (B, count, width)."""

    def __init__(self, width: int, heads: int, hidden: int, count: int) -> None:
        super().__init__()
        self.seeds = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, count, width)))
        self.attention = Attention(width, heads, hidden)

    def forward(self, rows: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        return self.attention(self.seeds.expand(len(rows), -1, -1), rows, padding)


class Induced(nn.Module):
    """Rows to learned points and back, at a cost linear in the rows: (B, N, width) -> (B, N, width)."""

    def __init__(self, width: int, heads: int, hidden: int, count: int) -> None:
        super().__init__()
        self.gather, self.spread = Pooling(width, heads, hidden, count), Attention(width, heads, hidden)

    def forward(self, rows: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        return self.spread(rows, self.gather(rows, padding))


class Encoder(nn.Module):
    """phi: rows (B, N, columns) -> (B, width), whatever their order."""

    def __init__(self, sizes: Sizes = SIZES) -> None:
        super().__init__()
        width, heads = sizes.width, sizes.heads
        layers: list[nn.Module] = []
        for wide, narrow in ((sizes.columns, sizes.first), (sizes.first, width)):
            layers += [nn.Linear(wide, narrow), nn.GELU(), nn.LayerNorm(narrow), nn.Dropout(sizes.row_dropout)]
        self.of_row = nn.Sequential(*layers)
        self.blocks = nn.ModuleList(Attention(width, heads, width) for _ in range(sizes.blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(sizes.blocks))
        self.drop = nn.Dropout(sizes.block_dropout)
        self.induced = nn.ModuleList(Induced(width, heads, sizes.hidden, sizes.inducing) for _ in range(sizes.layers))
        self.pool = Pooling(width, heads, width, sizes.seeds)
        self.among = Attention(width, heads, width)
        self.last = Pooling(width, heads, width, 1)
        self.out = nn.Linear(width, width)

    def forward(self, rows: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        rows = self.of_row(rows)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            rows = self.drop(norm(block(rows, rows, padding)))
        for layer in self.induced:
            rows = layer(rows, padding)
        seeds = self.pool(rows, padding)
        return self.out(self.last(self.among(seeds, seeds))).squeeze(1)


class Mist(nn.Module):
    """g: sets of rows [x | y] to estimates of I in nats, or with `quantiles` to its quantile at level tau."""

    def __init__(self, sizes: Sizes = SIZES, *, quantiles: bool = False) -> None:
        super().__init__()
        self.sizes, self.quantiles = sizes, quantiles
        self.encoder = Encoder(sizes)
        self.head = nn.Sequential(
            nn.Linear(sizes.width + quantiles, sizes.width), nn.ReLU(), nn.Linear(sizes.width, sizes.width), nn.ReLU(),
            nn.Linear(sizes.width, 1),
        )  # fmt: skip

    def forward(
        self, rows: torch.Tensor, tau: torch.Tensor | float | None = None, *, counts: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Rows (B, N, 2d), 2d <= columns, of which the first `counts` (B,) of each set count, to estimates (B,).

        Inputs of another dtype are computed in that of the weights. tau: one level in [0, 1] for all sets or one each
        (B,), needed with `quantiles` and refused without. Raises ValueError for shapes that do not fit.
        """
        return self.read(self.encode(rows, counts=counts), tau)

    def encode(self, rows: torch.Tensor, *, counts: torch.Tensor | None = None) -> torch.Tensor:
        """phi of rows (B, N, 2d), (B, width): what `read` gives as many quantiles of as one asks for."""
        if rows.dim() != 3 or not rows.shape[1] or rows.shape[2] % 2 or not 0 < rows.shape[2] <= self.sizes.columns:
            raise ValueError(
                f"rows must be (B, N, 2d) with N >= 1 and 2d <= {self.sizes.columns}, got {tuple(rows.shape)}"
            )
        padding = None
        if counts is not None:
            if counts.shape != rows.shape[:1] or bool((counts < 1).any() or (counts > rows.shape[1]).any()):
                raise ValueError(f"counts must be from 1 to {rows.shape[1]}, one for each of {len(rows)} sets")
            padding = torch.arange(rows.shape[1], device=rows.device) >= counts[:, None]
        rows = rows.to(self.encoder.out.weight.dtype)
        return self.encoder(nn.functional.pad(rows, (0, self.sizes.columns - rows.shape[2])), padding)

    def read(self, code: torch.Tensor, tau: torch.Tensor | float | None = None) -> torch.Tensor:
        """rho of codes (B, width) and a level or levels (B,): estimates (B,)."""
        if self.quantiles != (tau is not None):
            raise ValueError("a level tau is needed where quantiles are learned, and only there")
        if tau is not None:
            levels = torch.as_tensor(tau, dtype=code.dtype, device=code.device)
            if levels.dim() > 1 or not bool(((levels >= 0) & (levels <= 1)).all()):
                raise ValueError("tau must be one level in [0, 1], or one for each set")
            code = torch.cat([code, levels.expand(len(code))[:, None]], 1)
        return self.head(code).squeeze(1)


# Losses and training.


def pinball(estimates: torch.Tensor, targets: torch.Tensor, tau: torch.Tensor | float) -> torch.Tensor:
    """Mean of max((tau - 1) r, tau r), r = target - estimate: least, over constants, at the tau-quantile of targets."""
    if estimates.shape != targets.shape:
        raise ValueError(
            f"estimates and targets must be alike, got {tuple(estimates.shape)} and {tuple(targets.shape)}"
        )
    r = targets - estimates
    return torch.maximum((tau - 1) * r, tau * r).mean()


def objective(model: Mist, rows: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What is minimised on a batch of sets: the squared error, or the pinball loss at a random level for each."""
    if not model.quantiles:
        return (model(rows) - targets).square().mean()
    tau = torch.rand(len(targets), generator=generator).to(targets)
    return pinball(model(rows, tau), targets, tau)


def optimiser(model: nn.Module, *, rate: float = RATE, decay: float = DECAY) -> torch.optim.AdamW:
    """AdamW without decay on biases, gains and other parameters of one dimension."""
    decayed = [one for one in model.parameters() if one.dim() > 1]
    free = [one for one in model.parameters() if one.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, eps=EPSILON)


def train(
    model: Mist,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    rate: float = RATE,
    decay: float = DECAY,
    clip: float = CLIP,
    schedule: Schedule | None = None,
    seed: int = 0,
) -> list[float]:
    """Train on batches of (rows (B, N, 2d), targets (B,)) on the model's device, one step each, and return the losses.

    Sets whose target or rows are not finite are left out, as the authors do. The model is in evaluation mode
    afterwards, and the global generator as before.
    """
    stepper = optimiser(model, rate=rate, decay=decay)
    scheduler = schedule(stepper) if schedule else None
    generator, losses = torch.Generator().manual_seed(seed), []
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for rows, targets in batches:
            usable = targets.isfinite() & rows.flatten(1).isfinite().all(1)
            if not bool(usable.all()):
                rows, targets = rows[usable], targets[usable]
            if not len(targets):
                continue
            stepper.zero_grad()
            loss = objective(model, rows, targets, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            stepper.step()
            if scheduler:
                scheduler.step()
            losses.append(loss.detach())
    model.eval()
    return torch.stack(losses).tolist() if losses else []


# What users call.


def estimate(model: Mist, x: torch.Tensor, y: torch.Tensor) -> float:
    """I of samples x and y, (N, d) or (N,), in nats; the median where the model has learned quantiles.

    Not clipped: slightly negative estimates occur. Raises ValueError for samples that do not fit together, are not
    finite, or are larger than 1e15 (squares overflow in float32).
    """
    with _evaluating(model):
        return float(model(rows_of(x, y), 0.5 if model.quantiles else None))


def interval(model: Mist, x: torch.Tensor, y: torch.Tensor, level: float = 0.9) -> tuple[float, float]:
    """The central interval that is to hold I with probability `level`: two quantiles, the lower one first even where
    the network has them cross."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    with _evaluating(model):
        code = model.encode(rows_of(x, y))
        low, high = sorted(float(model.read(code, tau)) for tau in ((1 - level) / 2, (1 + level) / 2))
    return low, high


def rows_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Samples x and y, (N, d) or (N,), as one set of rows (1, N, 2d)."""
    x, y = (one[:, None] if one.dim() == 1 else one for one in (x, y))
    if x.dim() != 2 or x.shape != y.shape or not x.numel():
        raise ValueError(
            f"x and y must be (N, d) with one N >= 1 and one d >= 1, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    rows = torch.cat([x, y], 1)[None]
    if rows.is_complex() or not bool((rows.abs() <= LARGEST).all()):
        raise ValueError(f"samples must be real numbers of at most {LARGEST:g}: remove NaN and infinity, or rescale")
    return rows


@contextmanager
def _evaluating(model: Mist) -> Iterator[None]:
    """Without dropout or gradients; the mode is as before afterwards."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)
