r"""Joint distributions of X and Y in R^d whose mutual information I is known, in nats, to learn an estimator from.

    normal     I = 1/2 log(det S_X det S_Y / det S),  S the correlations of (X, Y), S_X and S_Y their blocks
    Student    that of its dispersion S, + c(v) = f(v) + f(v + 2d) - 2 f(v + d),  f(x) = log Gamma(x/2) - x/2 psi(x/2)
    additive   Y = X + N, X ~ U(0, 1), N ~ U(-e, e):  e - log(2e) if e <= 1/2, else 1 / (4e); a sum over dimensions

S comes from latent variables. With unit noise, dense: all correlations equal; sparse: K pairs (X_i, Y_i) share a latent
of weight l, other coordinates have one of their own; 2pair: K = 2; lvm: besides, one latent of weight a common to all
and one of weight b within X and within Y. A strictly increasing map of each coordinate leaves I as it is: "base" none,
"halfcube" x sqrt|x|, "asinh", "wigglify" a sum of sines that differs for X and Y.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, psi

Array = np.ndarray
LARGEST = 1e15
"""Samples are cut off here, which Student's with one degree of freedom meet once in 1e10 draws: squares of more are
infinite in float32."""

TRAIN = (
    "normal-dense-base", "normal-dense-halfcube", "normal-dense-asinh", "normal-sparse-wigglify", "normal-sparse-base",
    "normal-lvm-wigglify", "normal-lvm-base", "normal-2pair-base", "student-dense-base", "student-dense-wigglify",
    "student-sparse-halfcube", "student-sparse-base", "student-sparse-asinh", "student-2pair-asinh",
    "student-2pair-halfcube", "additive-noise-wigglify",
)  # fmt: skip
IN_FAMILY = (
    "normal-dense-base", "normal-dense-halfcube", "normal-lvm-wigglify", "student-dense-base", "student-sparse-base",
    "student-sparse-asinh",
)  # fmt: skip
OUT_OF_FAMILY = (
    "normal-dense-wigglify", "normal-sparse-halfcube", "normal-sparse-asinh", "student-sparse-wigglify",
    "student-dense-halfcube", "additive-noise-base", "additive-noise-halfcube",
)  # fmt: skip
"""The paper's families, as <normal|student|additive>-<shape>-<transform>: to train on, and to test in and out of."""

SHAPES = {"normal": ("dense", "sparse", "2pair", "lvm"), "student": ("dense", "sparse", "2pair", "identity"),
          "additive": ("noise",)}  # fmt: skip


class Sets(NamedTuple):
    """B sets of n rows: `rows` float64 (B, n, 2d), X in the first d columns; `information` float64 (B,) in nats."""

    rows: Array
    information: Array


# What is known.


def gaussian_information(correlations: Array) -> Array:
    """I of normal X and Y, nats (...,), of correlations or covariances (..., 2d, 2d): X in the first half.

    Raises ValueError where they are not positive definite.
    """
    size = correlations.shape[-1]
    if correlations.shape[-2] != size or size % 2:
        raise ValueError(f"correlations must be (..., 2d, 2d), got {correlations.shape}")
    d = size // 2
    parts = correlations[..., :d, :d], correlations[..., d:, d:], correlations
    signs, logs = zip(*map(np.linalg.slogdet, parts), strict=True)
    if not np.all(np.stack(signs) > 0):
        raise ValueError(
            "correlations must be positive definite: a variable that is a function of others has no finite I"
        )
    return 0.5 * (logs[0] + logs[1] - logs[2])


def student_correction(freedom: Array | float, d: int, d_y: int | None = None) -> Array:
    """c(v) >= 0, what Student's X in R^d and Y in R^d_y share beyond their dispersion: nats, in the shape of v > 0."""
    v, m, n = np.asarray(freedom, dtype=float), d, d if d_y is None else d_y
    if not np.all(v > 0):
        raise ValueError(f"degrees of freedom must be positive, got {freedom}")

    def f(x: Array) -> Array:
        return gammaln(x / 2) - x / 2 * psi(x / 2)

    return f(v) + f(v + m + n) - f(v + m) - f(v + n)


def additive_information(e: Array | float) -> Array:
    """I(X; X + N) in nats of one dimension, X ~ U(0, 1) and N ~ U(-e, e), e > 0."""
    e = np.asarray(e, dtype=float)
    if not np.all(e > 0):
        raise ValueError(f"the noise's half width must be positive, got {e}")
    return np.where(e <= 0.5, e - np.log(2 * e), 1 / (4 * e))


# Transforms.


def halfcube(x: Array) -> Array:
    return x * np.sqrt(np.abs(x))


def wiggly_x(x: Array) -> Array:
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)


def wiggly_y(y: Array) -> Array:
    return y - 0.4 * np.sin(0.4 * y) + 0.17 * np.sin(1.3 * y + 3.5) + 0.02 * np.sin(4.3 * y - 2.5)


Map = Callable[[Array], Array]
TRANSFORMS: dict[str, tuple[Map, Map]] = {
    "base": (np.asarray, np.asarray),
    "halfcube": (halfcube, halfcube),
    "asinh": (np.arcsinh, np.arcsinh),
    "wigglify": (wiggly_x, wiggly_y),
}
"""Of the coordinates of X and of those of Y."""


# Drawing.


def dispersion(shape: str, d: int, count: int, rng: np.random.Generator) -> Array:
    """Random correlations (count, 2d, 2d) of a shape, with parameters from the paper's ranges: those of dense ones from
    U(0, 0.5), l from U(0.1, 5) or for lvm U(0.1, 3), a from U(0, 1), b from U(0, 1.5), K from 1..d."""
    size = 2 * d
    eye = np.eye(size)
    if shape == "identity":
        return np.tile(eye, (count, 1, 1))
    if shape == "dense":
        off = rng.uniform(0, 0.5, (count, 1, 1))
        return off + (1 - off) * eye
    lvm = shape == "lvm"
    strength = rng.uniform(0.1, 3.0 if lvm else 5.0, (count, 1)) ** 2
    alone = rng.uniform(0.1, 5.0, (count, 1)) ** 2 if lvm else strength
    pairs = np.full((count, 1), min(2, d)) if shape == "2pair" else rng.integers(1, d + 1, (count, 1))
    paired = np.arange(d) < pairs
    same, cross = np.where(paired, strength, alone), np.where(paired, strength, 0.0)
    i = np.arange(d)
    covariance = np.tile(eye, (count, 1, 1))
    covariance[:, i, i] += same
    covariance[:, i + d, i + d] += same
    covariance[:, i, i + d] = covariance[:, i + d, i] = cross
    if lvm:
        covariance += rng.uniform(0, 1, (count, 1, 1)) ** 2
        inside = rng.uniform(0, 1.5, (count, 1, 1)) ** 2
        covariance[:, :d, :d] += inside
        covariance[:, d:, d:] += inside
    scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return covariance / scale[:, :, None] / scale[:, None, :]


def draw(name: str, d: int, n: int, count: int, rng: np.random.Generator) -> Sets:
    """`count` sets of n rows of a family, each with parameters of its own; Student's degrees of freedom from U(1, 10),
    the half width of additive noise from U(0.1, 2)."""
    kind, shape, transform = _parts(name)
    if min(d, n) < 1 or count < 0:
        raise ValueError(f"d and n must be at least 1 and count at least 0, got {d}, {n} and {count}")
    if kind == "additive":
        e = rng.uniform(0.1, 2.0, count)
        x = rng.random((count, n, d))
        y = x + e[:, None, None] * rng.uniform(-1, 1, (count, n, d))
        information = d * additive_information(e)
    else:
        s = dispersion(shape, d, count, rng)
        rows = rng.standard_normal((count, n, 2 * d)) @ np.linalg.cholesky(s).swapaxes(1, 2)
        information = gaussian_information(s)
        if kind == "student":
            v = rng.uniform(1, 10, (count, 1))
            rows *= np.sqrt(v / rng.chisquare(v, (count, n)))[:, :, None]
            information = information + student_correction(v[:, 0], d)
        x, y = rows[..., :d], rows[..., d:]
    of_x, of_y = TRANSFORMS[transform]
    return Sets(np.concatenate([of_x(x), of_y(y)], 2).clip(-LARGEST, LARGEST), information)


def mixed(names: Sequence[str], d: int, n: int, count: int, rng: np.random.Generator) -> Sets:
    """`count` sets of n rows, the family of each drawn uniformly from `names`, in random order."""
    if not names:
        raise ValueError("there must be a family to draw from")
    shares = rng.multinomial(count, np.full(len(names), 1 / len(names)))
    parts = [draw(name, d, n, int(share), rng) for name, share in zip(names, shares, strict=True) if share]
    if not parts:
        return draw(names[0], d, n, 0, rng)
    order = rng.permutation(count)
    return Sets(*(np.concatenate(one)[order] for one in zip(*parts, strict=True)))


def _parts(name: str) -> tuple[str, str, str]:
    kind, _, rest = name.partition("-")
    shape, _, transform = rest.rpartition("-")
    if shape not in SHAPES.get(kind, ()) or transform not in TRANSFORMS:
        raise ValueError(f"no family is called {name!r}: say kind-shape-transform of {SHAPES} and {list(TRANSFORMS)}")
    return kind, shape, transform
