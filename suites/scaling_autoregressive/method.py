r"""Scaling laws of autoregressive generative models (arXiv:2010.14701): a power law plus a constant, and what follows.

One decoder-only transformer is trained in many sizes. Its test loss in nats per token is

    L(x) = L_inf + (x0 / x)^a,        x = N (size), C (compute) or D (data),

where cross-entropy = entropy + divergence, E_P[-log Q] = S(P) + KL(P || Q), reads L_inf as the entropy of the data and
the power law as the divergence that is left. Symbols:

    N   parameters without embeddings: (4 a + 2 f) n d^2 for n layers of width d, attention a d, feed-forward f d
    E   tokens processed; C = 6 N E in FLOP, quoted in PF-days (8.64e19 FLOP)
    L(C), N_opt(C) = (C / c0)^b   loss and size along the lower convex hull of all learning curves; D = C / (6 N_opt)

The fits themselves, with bounds, many starts and profile intervals, are `baselines.power_laws`.

    runs = [Run(size, tokens, losses), ...]                          # one learning curve each
    loss_of_size = power_law(fit(POWER_PLUS_CONSTANT, *lowest_losses(runs)))
    hull = lower_hull(pareto_frontier(runs))
    loss_of_compute, best_size = loss_law(hull), size_law(hull)
    entropy_of_an_image = per_sequence(loss_of_compute, tokens=192).offset
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from baselines.power_laws import POWER_PLUS_CONSTANT, PowerLaw, fit, power_law

Array = NDArray[np.float64]

PF_DAY = 1e15 * 86_400
"""FLOP of one petaflop/s for a day: the unit of compute."""

# Loss = entropy + divergence, in nats, over the last axis of tables of probabilities.


def entropy(p: ArrayLike) -> Array:
    """S(P), the irreducible part. p: (..., K), summing to one."""
    return cross_entropy(p, p)


def cross_entropy(p: ArrayLike, q: ArrayLike) -> Array:
    """E_P[-log Q] of truth p and model q: (..., K) -> (...); infinite where q misses what p has."""
    return _expected_surprise(p, q, of_truth=False)


def divergence(p: ArrayLike, q: ArrayLike) -> Array:
    """KL(P || Q), the reducible part: (..., K) -> (...)."""
    return _expected_surprise(p, q, of_truth=True)


def _expected_surprise(p: ArrayLike, q: ArrayLike, *, of_truth: bool) -> Array:
    p, q = (_probabilities(table) for table in (p, q))
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.log(p / q) if of_truth else -np.log(q)
        return np.where(p > 0, p * surprise, 0.0).sum(-1)


def _probabilities(table: ArrayLike) -> Array:
    table = np.asarray(table, dtype=float)
    if (table < 0).any() or (np.abs(table.sum(-1) - 1) > 1e-9).any():
        raise ValueError("probabilities must be non-negative and sum to one over the last axis")
    return table


# The architecture, its size, and how it is trained.


@dataclass(frozen=True)
class Architecture:
    """n layers of width d. The defaults are those for images, video and maths; language has attention 1 and
    feed_forward 4. Raises ValueError where the width does not divide into heads."""

    width: int  # d
    depth: int  # n
    attention: float = 0.25  # width of queries, keys and values together over all heads, as a multiple of d
    feed_forward: float = 1.0  # width of the feed-forward part, as a multiple of d

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width < 1:
            raise ValueError(f"no network has {self.depth} layers of width {self.width}")
        if self.attention * self.width % self.heads or self.feed_forward * self.width % 1:
            raise ValueError(f"a width of {self.width} does not divide into {self.heads} heads")

    @property
    def heads(self) -> int:
        """One for each 64 of d, and at least two."""
        return max(2, self.width // 64)

    @property
    def attention_width(self) -> int:
        return round(self.attention * self.width)

    @property
    def feed_forward_width(self) -> int:
        return round(self.feed_forward * self.width)

    @property
    def size(self) -> int:
        """N: four attention and two feed-forward matrices a layer; no embedding, bias or norm."""
        return self.depth * self.width * (4 * self.attention_width + 2 * self.feed_forward_width)


def learning_rate(size: float) -> float:
    """The maximal Adam rate of Table 5: 2.00e-4 at N = 402,653,184, falling as N^(-1/4)."""
    return 2.00e-4 * (402_653_184 / size) ** 0.25


def language_learning_rate(size: float) -> float:
    """The rate of language and multimodal models (Table 4): 0.003239 - 0.0001395 ln N."""
    return 0.003239 - 0.0001395 * math.log(size)


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """The share of the maximal rate in step 0, 1, ...: up linearly over `warmup` steps, then down linearly to 1/10."""
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must be shorter than the {steps} steps, got {warmup}")
    if step < warmup:
        return (step + 1) / warmup
    return 1 - 0.9 * (step - warmup) / (steps - warmup)


def training_compute(size: float, tokens: float) -> float:
    """C = 6 N E in FLOP: two for each weight and token forward, four backward; attention scores are not counted."""
    return 6 * size * tokens


# Learning curves -> L(N), L(C), N_opt(C).


@dataclass(frozen=True)
class Run:
    """One learning curve: test losses (points,) of a model of N = size after so many tokens (points,).

    Raises ValueError for other shapes and for what is not positive and finite: a single NaN loss, as of a run that
    diverged, would hide every point of more compute from the frontier.
    """

    size: float
    tokens: Array
    losses: Array

    def __post_init__(self) -> None:
        if np.shape(self.tokens) != np.shape(self.losses) or np.ndim(self.tokens) != 1:
            raise ValueError(f"{np.shape(self.losses)} losses for {np.shape(self.tokens)} points")
        for name, values in (("size", self.size), ("tokens", self.tokens), ("losses", self.losses)):
            values = np.asarray(values, dtype=float)
            fit = np.isfinite(values) & (values > 0)
            if not fit.all():
                found = f"{values.flat[int(fit.argmin())]} at point {int(fit.argmin())} of N = {self.size}"
                raise ValueError(f"{name} must be positive and finite, got {found}: leave out points that diverged")


@dataclass(frozen=True)
class Frontier:
    """Points of learning curves in the order of their compute: C in PF-days, loss, and N. All (points,)."""

    compute: Array
    loss: Array
    size: Array

    def __len__(self) -> int:
        return len(self.compute)

    def __getitem__(self, kept: NDArray[np.int_]) -> Frontier:
        return Frontier(self.compute[kept], self.loss[kept], self.size[kept])


def lowest_losses(runs: Sequence[Run]) -> tuple[Array, Array]:
    """(N, L) of each run at its step of lowest test loss: what L(N) is fitted to."""
    return np.array([float(run.size) for run in runs]), np.array([float(np.min(run.losses)) for run in runs])


def pareto_frontier(runs: Sequence[Run]) -> Frontier:
    """The points of all curves that no other point beats in loss at no more compute."""
    compute = np.concatenate([training_compute(run.size, np.asarray(run.tokens)) for run in runs]) / PF_DAY
    loss = np.concatenate([np.asarray(run.losses, dtype=float) for run in runs])
    size = np.concatenate([np.full(len(run.losses), float(run.size)) for run in runs])
    ordered = Frontier(compute, loss, size)[np.lexsort((loss, compute))]
    before = np.minimum.accumulate(np.concatenate([[math.inf], ordered.loss[:-1]]))
    return ordered[np.flatnonzero(ordered.loss < before)]


def lower_hull(frontier: Frontier) -> Frontier:
    """The lower convex hull of a frontier in log C and log L, in which a power law plus a constant is convex too."""
    points = np.log(np.stack([frontier.compute, frontier.loss], 1))
    kept: list[int] = []
    for index, point in enumerate(points):
        while len(kept) > 1:
            first, second = points[kept[-1]] - points[kept[-2]], point - points[kept[-2]]
            if first[0] * second[1] - first[1] * second[0] > 0:  # a left turn: the last point stays
                break
            kept.pop()
        kept.append(index)
    return frontier[np.array(kept)]


def loss_law(frontier: Frontier) -> PowerLaw:
    """L(C), C in PF-days: the least-squares fit among the laws that lie below every point of the frontier."""
    return power_law(fit(POWER_PLUS_CONSTANT, frontier.compute, frontier.loss, below=True))


def size_law(hull: Frontier) -> PowerLaw:
    """N_opt(C) = (C / c0)^b through the sizes that touch the hull: a line in logarithms.

    As a `PowerLaw` it has scale c0 and exponent -b. Raises ValueError where fewer than three sizes touch the hull: the
    line through two says where one curve crosses another, and is no law.
    """
    sizes = len(np.unique(hull.size))
    if sizes < 3:
        raise ValueError(f"{sizes} of the sizes touch the hull, and a law takes 3: train more sizes, or for longer")
    slope, intercept, _ = _line(np.log(hull.compute), np.log(hull.size))
    return PowerLaw(0.0, math.exp(-intercept / slope), -slope)


def _line(x: Array, y: Array) -> tuple[float, float, float]:
    """(slope, intercept, correlation) of the least-squares line."""
    xx, xy, _, yy = np.cov(x, y, bias=True).flat
    return float(xy / xx), float(y.mean() - xy / xx * x.mean()), float(np.clip(xy / math.sqrt(xx * yy), -1, 1))


def bootstrap_size_exponents(
    sizes: Sequence[float], tokens: ArrayLike, losses: ArrayLike, *, draws: int, seed: int
) -> Array:
    """b of `size_law` for `draws` resamplings of the test sequences, the same for all sizes and points.

    Shapes: tokens (sizes, points), losses (sizes, points, sequences). Draws in which fewer than three sizes touch
    the hull say nothing about b and are left out.
    """
    tokens, losses = np.asarray(tokens, dtype=float), np.asarray(losses, dtype=float)
    if losses.shape[:2] != tokens.shape or len(sizes) != len(tokens) or losses.ndim != 3:
        raise ValueError(f"losses {losses.shape} and tokens {tokens.shape} for {len(sizes)} sizes")
    generator, found = np.random.default_rng(seed), []
    for _ in range(draws):
        mean = losses[..., generator.integers(losses.shape[-1], size=losses.shape[-1])].mean(-1)
        hull = lower_hull(pareto_frontier([Run(*run) for run in zip(sizes, tokens, mean, strict=True)]))
        if len(np.unique(hull.size)) > 2:
            found.append(-size_law(hull).exponent)
    return np.array(found)


# What the laws say of each other.


def per_sequence(law: PowerLaw, tokens: int) -> PowerLaw:
    """The law in nats per sequence of so many tokens, such as an image: T L(x) = T L_inf + (x0 T^(1/a) / x)^a."""
    return PowerLaw(law.offset * tokens, law.scale * tokens ** (1 / law.exponent), law.exponent)


def data_exponent(b: ArrayLike) -> Array:
    """The g of D ~ N^g along N_opt ~ C^b: D = C / (6 N_opt) ~ N^(1/b - 1)."""
    b = np.asarray(b, dtype=float)
    if (b <= 0).any():
        raise ValueError("b must be positive")
    return (1 - b) / b


def compute_for_data(coefficient: float, b: float) -> tuple[float, float]:
    """(k', g) of C = k' D^g in PF-days, from N_opt = coefficient C^b put into C = 6 N D / PF_DAY.

    Raises ValueError for b = 1, where data would not grow with compute.
    """
    if b == 1:
        raise ValueError("b = 1: all compute goes into size, and none into data")
    return (6 * coefficient / PF_DAY) ** (1 / (1 - b)), 1 / (1 - b)


# Multimodal models: the information that one part has about the other.


def mutual_information(truth: ArrayLike, model: ArrayLike) -> float:
    """I = E_truth[log p(x, y) / (p(x) p(y))] of a joint model p. Both (X, Y), each summing to one in all."""
    truth, model = (_probabilities(np.ravel(table)).reshape(np.shape(table)) for table in (truth, model))
    x, y = model.sum(1, keepdims=True), model.sum(0, keepdims=True)
    return float(np.where(truth > 0, truth * np.log(model / (x * y)), 0.0).sum())


def marginal_losses(truth: ArrayLike, model: ArrayLike) -> tuple[float, float]:
    """(L(X), L(Y)): the losses of the two parts alone under the marginals of a joint model (X, Y)."""
    truth, model = np.asarray(truth, dtype=float), np.asarray(model, dtype=float)
    return float(cross_entropy(truth.sum(1), model.sum(1))), float(cross_entropy(truth.sum(0), model.sum(0)))


def infogain(information: float, text_loss: float) -> float:
    """I / L(text), the share of the text that the image tells."""
    if text_loss <= 0:
        raise ValueError(f"the loss of the text must be positive, got {text_loss}")
    return information / text_loss


def log_law(sizes: ArrayLike, values: ArrayLike) -> tuple[float, float, float]:
    """(slope, N_c, R^2) of values = slope log(N / N_c), fitted by least squares: how infogain grows."""
    slope, intercept, correlation = _line(np.log(np.asarray(sizes, dtype=float)), np.asarray(values, dtype=float))
    return slope, math.exp(-intercept / slope), correlation**2


# Language (App. E): the information between the first and the second T tokens, from the loss of each position.


def loss_at(position: ArrayLike, asymptote: float, unigram: float, p: float) -> Array:
    """L(t) = L(N) + (L_U - L(N)) / t^p at token t = 1, 2, ...: the loss falls from L_U to L(N) with context."""
    return asymptote + (unigram - asymptote) * np.asarray(position, dtype=float) ** -p


@functools.cache  # each information and gain of a length asks for the same two sums
def harmonic(count: int, p: float) -> float:
    """H_T = sum of t^-p over t = 1 ... T."""
    return float((np.arange(1, count + 1, dtype=float) ** -p).sum())


def shared_information(length: int, asymptote: float, unigram: float, p: float) -> float:
    """I between tokens 1 ... T and T+1 ... 2T: what the second half costs less than it would alone,

    (L_U - L(N)) (2 H_T - H_2T), T = length.
    """
    return (unigram - asymptote) * (2 * harmonic(length, p) - harmonic(2 * length, p))


def conditional_infogain(length: int, asymptote: float, unigram: float, p: float) -> float:
    """The paper's E.5: `shared_information` over the loss of the second half *given* the first,

    T L(N) + (H_2T - H_T)(L_U - L(N)). It may exceed one.
    """
    extra = (harmonic(2 * length, p) - harmonic(length, p)) * (unigram - asymptote)
    return shared_information(length, asymptote, unigram, p) / (length * asymptote + extra)


def unconditional_infogain(length: int, asymptote: float, unigram: float, p: float) -> float:
    """`shared_information` over the loss of the second half by itself, T L(N) + H_T (L_U - L(N)): at most one."""
    alone = length * asymptote + harmonic(length, p) * (unigram - asymptote)
    return shared_information(length, asymptote, unigram, p) / alone
