"""What the network is compared with: estimates of mutual information of many sets, rows (B, n, 2d) to nats (B,).

Each has settings, of which validation sets with known information choose (`tuned`). A set's rows are put to a common
scale first, "standardised", or replaced by "scores", the normal quantiles of their ranks, which leave I as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.special import ndtri, psi
from scipy.stats import rankdata

from suites.mist.families import Array, Sets

NEIGHBOURS, BINS = (1, 3, 5, 10), (2, 3, 4, 6, 8)
"""Settings tried: of KSG, and bins per dimension of the histogram."""
PREPARED = ("standardised", "scores")


def standardised(rows: Array) -> Array:
    """Mean 0 and deviation 1 of each column of each set; a constant column becomes 0."""
    deviation = rows.std(1, keepdims=True)
    return (rows - rows.mean(1, keepdims=True)) / np.where(deviation > 0, deviation, 1.0)


def normal_scores(rows: Array) -> Array:
    """Normal quantiles of rank / (n + 1) in each column of each set; equal values share their mean rank."""
    return ndtri(rankdata(rows, axis=1) / (rows.shape[1] + 1))


PREPARE: dict[str, Callable[[Array], Array]] = {"standardised": standardised, "scores": normal_scores}


def ksg(rows: Array, k: int) -> Array:
    """Kraskov, Stoegbauer & Grassberger's first estimate psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>, maximum norm:
    n_x the other points nearer in x than the k-th neighbour is in (x, y)."""
    _, n, columns = rows.shape
    if not 1 <= k < n:
        raise ValueError(f"k must be from 1 to n - 1 = {n - 1}, got {k}")
    x, y = torch.from_numpy(np.ascontiguousarray(rows)).split(columns // 2, dim=2)
    apart = [torch.cdist(one, one, p=torch.inf) for one in (x, y)]
    radius = torch.maximum(*apart).kthvalue(k + 1, dim=2).values
    below = torch.nextafter(radius, torch.zeros_like(radius))[..., None]  # so that equal distances do not count
    of_x, of_y = (psi((one <= below).sum(2).numpy()).mean(1) for one in apart)
    return psi(k) + psi(n) - of_x - of_y


def cca(rows: Array, corrected: bool) -> Array:
    """I of normal variables with the sample's covariance, -1/2 sum log(1 - r^2) of canonical correlations r, each term
    at most log n, as ranks of few rows may agree; with `corrected` less its bias of d^2 / (2n) at independence."""
    _, n, columns = rows.shape
    if n <= columns:
        raise ValueError(f"more than 2d = {columns} rows are needed, got {n}")
    x, y = np.split(rows - rows.mean(1, keepdims=True), 2, axis=2)
    canonical = np.linalg.svd(np.linalg.qr(x)[0].swapaxes(1, 2) @ np.linalg.qr(y)[0], compute_uv=False)
    found = -0.5 * np.log(np.maximum(1 - canonical**2, n**-2.0)).sum(1)
    return found - (columns // 2) ** 2 / (2 * n) if corrected else found


def histogram(rows: Array, bins: int, corrected: bool) -> Array:
    """I of cells with as many rows in each bin of a column; with `corrected` by Miller and Madow's term for entropies,
    (occupied cells - 1) / (2n)."""
    count, n, columns = rows.shape
    place = np.minimum((rankdata(rows, axis=1, method="ordinal") - 1) * bins // n, bins - 1).astype(np.int64)
    digits = bins ** np.arange(columns // 2)
    x, y = (place[..., part] @ digits for part in (slice(None, columns // 2), slice(columns // 2, None)))

    def entropy(cells: Array, most: int) -> Array:
        filled = torch.zeros(count, most, dtype=torch.float64)
        filled.scatter_add_(1, torch.from_numpy(cells), torch.ones(count, n, dtype=torch.float64))
        shares = filled.numpy() / n
        plug_in = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
        return plug_in + corrected * ((shares > 0).sum(1) - 1) / (2 * n)

    cells = bins ** (columns // 2)
    return entropy(x, cells) + entropy(y, cells) - entropy(x * cells + y, cells**2)


Estimate = Callable[[Array], Array]


def settings(arm: str) -> Iterator[tuple[str, Estimate]]:
    """The settings of an estimate, each with its name."""
    if arm == "ksg":
        for k, how in itertools.product(NEIGHBOURS, PREPARED):
            yield f"{k} {how}", partial(_prepared, partial(ksg, k=k), how)
    elif arm == "cca":
        for corrected in (False, True):
            yield f"{corrected}", partial(cca, corrected=corrected)
    elif arm == "copula":
        for corrected in (False, True):
            yield f"{corrected}", partial(_prepared, partial(cca, corrected=corrected), "scores")
    elif arm == "histogram":
        for bins, corrected in itertools.product(BINS, (False, True)):
            yield f"{bins} {corrected}", partial(histogram, bins=bins, corrected=corrected)
    else:
        raise ValueError(f"arm must be one of {', '.join(CLASSICAL)}, got {arm!r}")


def _prepared(estimate: Estimate, how: str, rows: Array) -> Array:
    return estimate(PREPARE[how](rows))


CLASSICAL = ("ksg", "cca", "copula", "histogram")


def clipped(estimates: Array) -> Array:
    """No information is negative; what is not a number counts as none."""
    return np.maximum(np.nan_to_num(estimates, nan=0.0), 0.0)


def tuned(arm: str, validation: Sets) -> Estimate:
    """The estimate with the setting of the least squared error on validation sets, clipped at 0."""
    from baselines.tuning import choose

    each = dict(settings(arm))
    errors = {
        name: float(((clipped(one(validation.rows)) - validation.information) ** 2).mean())
        for name, one in each.items()
    }
    best = each[choose(errors, smallest=True)]
    return lambda rows: clipped(best(rows))


def calibrated(arms: tuple[str, ...], validation: Sets) -> Estimate:
    """Least squares of the information on tuned estimates, their squares and products, on validation sets: what knowing
    the families adds to classical estimates. One estimate alone has no squares: an affine map."""
    each = [tuned(arm, validation) for arm in arms]

    def features(rows: Array) -> Array:
        plain = [one(rows) for one in each]
        products = [a * b for a, b in itertools.combinations_with_replacement(plain, 2)] if len(each) > 1 else []
        return np.stack([np.ones(len(rows)), *plain, *products], 1)

    weights = np.linalg.lstsq(features(validation.rows), validation.information, rcond=None)[0]
    return lambda rows: clipped(features(rows) @ weights)


def resampled(rows: Array, draws: int, rng: np.random.Generator) -> Array:
    """Bootstrap samples of each set, (draws, B, n, 2d): n of its rows with replacement."""
    count, n, _ = rows.shape
    chosen = rng.integers(0, n, (draws, count, n))
    return rows[np.arange(count)[:, None], chosen]
