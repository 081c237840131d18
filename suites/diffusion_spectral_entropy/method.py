r"""Diffusion spectral entropy and mutual information (Liao, Liu et al., CISS 2024, arXiv:2312.04823).

    G_ij = exp(-||x_i - x_j||^2 / (2 sigma^2)),  q = G 1              samples x_1..x_N in R^d, bandwidth sigma
    K_ij = G_ij / (q_i q_j)^a,  P = D^-1 K,  D = diag(K 1)            a random walk on the samples
    S(X, t) = -sum_i p_i log2 p_i,  p_i = |l_i|^t / sum_j |l_j|^t     DSE in [0, log2 N], l the eigenvalues of P
    I(Z; Y, t) = sum_y p(y) [S(Z*_y, t) - S(Z | Y = y, t)]            DSMI, Z*_y as many random samples of all

The paper has a = 1/2, "anisotropic" here. The authors' code has the eigenvalues of Q^-1/2 G Q^-1/2, which is similar to
the plain walk Q^-1 G, a = 0: "released". Both walks are similar to symmetric matrices, so that l is real; G is positive
definite, so that 0 <= l <= 1 and the largest is 1.

A power t >= 2 leaves few eigenvalues that count. `entropy_within` finds these, bounds what the others can add from the
trace and the norm of the walk, and says how far it may be off; where the bound is too wide it takes all eigenvalues.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch

Kernel = Literal["released", "anisotropic"]
POWERS = {"released": 0.0, "anisotropic": 0.5}
"""The exponent a of each kernel."""
FIRST_RANK, SWEEPS = 32, 3
"""Of the search for leading eigenvalues: vectors to start with, multiplications by the walk before each look."""


# The walk and its spectrum.


def squared_distances(x: torch.Tensor) -> torch.Tensor:
    """||x_i - x_j||^2 of samples (N, d), float64 (N, N), whatever the dtype of x.

    Raises ValueError for other shapes, no samples, and values that are not finite reals.
    """
    if x.dim() != 2 or not len(x):
        raise ValueError(f"samples must be (N, d) with N >= 1, got {tuple(x.shape)}: flatten each sample")
    if x.is_complex() or not bool(x.isfinite().all()):
        raise ValueError("samples must be finite reals: remove or replace what is NaN, infinite or complex")
    # About the mean, for the norms are subtracted from one another.
    wide = x.detach().double()
    centred = wide - wide.mean(0)
    norms = centred.square().sum(1)
    found = torch.addmm(norms[:, None] + norms, centred, centred.T, alpha=-2).clamp_(min=0)
    return found.fill_diagonal_(0)


def median_distance(x: torch.Tensor) -> float:
    """The median distance between two of the samples (N, d), the scale that a bandwidth is to be held against.

    0 for one sample.
    """
    rows, columns = torch.triu_indices(len(x), len(x), 1).unbind()
    apart = squared_distances(x)[rows, columns]
    return float(apart.median().sqrt()) if len(apart) else 0.0


def diffusion_operator(x: torch.Tensor, sigma: float = 10.0, kernel: Kernel = "released") -> torch.Tensor:
    """D^-1/2 K D^-1/2 of samples (N, d): symmetric, float64 (N, N), with the eigenvalues of the walk P = D^-1 K.

    Raises ValueError for a bandwidth that is not positive and for other kernels.
    """
    if kernel not in POWERS:
        raise ValueError(f"kernel must be 'released' or 'anisotropic', got {kernel!r}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma}")
    # Divided twice, as the square of a tiny sigma would be 0.
    affinity = squared_distances(x).div_(-2 * sigma).div_(sigma).exp_()
    for power in (POWERS[kernel], 0.5):
        if power:
            scale = affinity.sum(1) ** -power
            affinity.mul_(scale).mul_(scale[:, None])
    return affinity


def spectrum(x: torch.Tensor, sigma: float = 10.0, kernel: Kernel = "released") -> torch.Tensor:
    """All eigenvalues of the walk on samples (N, d), float64 (N,), the largest first."""
    return torch.linalg.eigvalsh(diffusion_operator(x, sigma, kernel)).flip(0)


def spectral_entropy(eigenvalues: torch.Tensor, t: float = 1.0) -> float:
    """S in bits of eigenvalues (N,) after t >= 0 steps; 0 log 0 = 0, and log2 N at t = 0.

    Raises ValueError for a negative t and where no eigenvalue is left to normalise by.
    """
    powered = eigenvalues.double().abs() ** _time(t)
    total = float(powered.sum())
    if not 0 < total < math.inf:
        raise ValueError("the eigenvalues must be finite and not all be 0")
    shares = powered / total
    return float(-torch.xlogy(shares, shares).sum()) / math.log(2) + 0.0  # never -0


def diffusion_time(eigenvalues: torch.Tensor, share: float = 0.01, level: float = 0.01) -> int:
    """The least whole t at which at most `share` of the powered eigenvalues (N,) exceed `level`: the authors' advice.

    Raises ValueError where no t does: as many eigenvalues as that are 1, the samples fall into separate groups.
    """
    ordered = eigenvalues.abs().sort(descending=True).values
    first_below = float(ordered[min(math.floor(share * len(ordered)), len(ordered) - 1)])
    if first_below >= 1 - 1e-12:
        raise ValueError("too many eigenvalues are 1 for any t: choose a larger sigma")
    return 1 if first_below <= level else math.ceil(math.log(level) / math.log(first_below) - 1e-12)


# Without all eigenvalues.


class Within(NamedTuple):
    """An entropy in bits that is off by at most `error`, and how many eigenvalues it took."""

    entropy: float
    error: float
    rank: int


def entropy_within(operator: torch.Tensor, t: float, tolerance: float) -> Within:
    """S of a walk's symmetric form (N, N), off by at most `tolerance` bits, from as few eigenvalues as that takes.

    Ritz values m_1 >= m_2 >= ... of a subspace lie below the eigenvalues, m_i <= l_i, and sums of l and of l^2 are the
    trace and the squared norm. What they leave, r_1 = sum l - m and r_2 = sum l^2 - m^2, is used where it changes most,
    which is next to l_1 = 1 (a convex function of non-negative parts of a known sum is largest at a corner):

        R = sum l^t - m^t <= 1 - m_1^t + min{ (m_2 + r_1)^t - m_2^t,  (m_2^2 + r_2)^(t/2) - m_2^t for t >= 2 }

    and |h(x) - h(y)| <= h(|x - y|) for h(x) = -x log2 x and |x - y| <= 1/2 bounds the entropy's error by R log2(N / R),
    over the sum of l^t, and by what the sum itself is off where t is neither 1 nor 2. From N / 16 vectors on all
    eigenvalues are taken instead, and the error is 0: that is so at once for t < 1, where no bound holds.
    Random vectors come from a generator of their own, so that the same operator gives the same entropy.
    """
    if operator.dim() != 2 or operator.shape[0] != operator.shape[1]:
        raise ValueError(f"the operator must be (N, N), got {tuple(operator.shape)}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    count, rank = len(operator), FIRST_RANK
    sums = float(operator.trace()), float(operator.square().sum())
    generator = torch.Generator().manual_seed(0)
    basis = operator.new_empty(count, 0)
    while _time(t) >= 1 and tolerance > 0 and 16 * rank <= count:
        fresh = torch.randn(count, rank - basis.shape[1], generator=generator, dtype=operator.dtype)
        basis = torch.cat([basis, fresh.to(operator.device)], 1)
        for _ in range(SWEEPS):
            basis = torch.linalg.qr(operator @ basis).Q
        ritz = torch.linalg.eigvalsh(basis.T @ operator @ basis).flip(0).clamp(0, 1)
        found = _bounded(ritz, sums, t, count)
        if found.error <= tolerance:
            return found
        rank *= 2
    return Within(spectral_entropy(torch.linalg.eigvalsh(operator), t), 0.0, count)


def _bounded(ritz: torch.Tensor, sums: tuple[float, float], t: float, count: int) -> Within:
    """The entropy by Ritz values, the largest first, and how far it may be off."""
    second, powered = float(ritz[1]), ritz**t
    # Rounding leaves a negative rest where there is none.
    rests = [max(whole - float((ritz**k).sum()), 1e-13) for k, whole in enumerate(sums, 1)]
    missing = (second + rests[0]) ** t - second**t
    if t >= 2:
        missing = min(missing, (second**2 + rests[1]) ** (t / 2) - second**t)
    missing += 1 - float(powered[0])
    known, kept = t in (1, 2), float(powered.sum())
    total = sums[int(t) - 1] if known else kept
    inside = float(-torch.xlogy(powered, powered).sum()) / math.log(2)
    if missing > 0.5:
        return Within(math.nan, math.inf, len(ritz))
    error = missing * math.log2(count / missing) / total
    if not known:
        error += max(math.log2(1 + missing / kept), inside * missing / kept**2)
    return Within(math.log2(total) + inside / total, error, len(ritz))


# What users call.


def dse(
    x: torch.Tensor,
    *,
    sigma: float = 10.0,
    t: float = 1.0,
    kernel: Kernel = "released",
    max_n: int = 10_000,
    tolerance: float = 0.0,
    seed: int = 0,
) -> float:
    """Diffusion spectral entropy of samples (N, d) in bits: 0 for one sample or equal ones, log2 N for far-apart ones.

    More than `max_n` samples are replaced by as many random ones. With a `tolerance` in bits the entropy may be off by
    as much, which saves time for t >= 2 (see `entropy_within`). sigma is in units of the features: log it beside
    `median_distance`, as features that grow are farther apart at any fixed sigma.
    """
    operator = diffusion_operator(x[_subset(len(x), max_n, seed)], sigma, kernel)
    return entropy_within(operator, t, tolerance).entropy


def dsmi(
    z: torch.Tensor,
    y: torch.Tensor,
    *,
    sigma: float = 10.0,
    t: float = 1.0,
    kernel: Kernel = "released",
    repetitions: int = 5,
    clusters: int = 10,
    max_n: int = 10_000,
    tolerance: float = 0.0,
    seed: int = 0,
) -> float:
    """Diffusion spectral mutual information, in bits, of features (N, d) with a label, a scalar or an input.

    y is what `groups` takes. Random subsets of the size of each group are means over `repetitions`, and those of groups
    of one size are the same ones, as in the authors' code. Not clipped: it may be slightly negative where there is no
    information. Raises ValueError where z and y are not alike in length.
    """
    if len(z) != len(y):
        raise ValueError(f"there must be one y for each of {len(z)} samples, got {len(y)}")
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}")
    chosen = _subset(len(z), max_n, seed)
    z, labels = z[chosen], groups(y[chosen], clusters, seed=seed).to(z.device)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(z), generator=generator) for _ in range(repetitions)]

    def entropy(rows: torch.Tensor) -> float:
        return entropy_within(diffusion_operator(z[rows], sigma, kernel), t, tolerance).entropy

    of_size: dict[int, float] = {}
    gained = 0.0
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        size = len(members)
        if size not in of_size:
            of_size[size] = sum(entropy(order[:size]) for order in orders) / repetitions
        gained += size / len(z) * (of_size[size] - entropy(members))
    return gained


def groups(y: torch.Tensor, clusters: int = 10, *, seed: int = 0) -> torch.Tensor:
    """What a variable is conditioned on, int64 (N,): labels (N,) of an integer dtype as they are, real scalars (N,) by
    `clusters` bins of equal width, vectors (N, d) by spectral clusters of their nearest neighbours.

    Raises ValueError for other shapes, values that are not finite, and fewer vectors than clusters.
    """
    if y.dim() not in (1, 2) or not len(y):
        raise ValueError(f"y must be (N,) or (N, d) with N >= 1, got {tuple(y.shape)}")
    if not y.is_floating_point() and y.dim() == 1:
        return y.long()
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, got {clusters}")
    if not bool(y.isfinite().all()):
        raise ValueError("y must be finite")
    if y.dim() == 1:
        low, high = y.double().aminmax()
        width = (high - low) / clusters
        return ((y.double() - low) / width).long().clamp(max=clusters - 1) if width > 0 else torch.zeros_like(y).long()
    if len(y) <= clusters:
        raise ValueError(f"{clusters} clusters need more than as many vectors, got {len(y)}")
    from sklearn.cluster import SpectralClustering

    model = SpectralClustering(
        clusters, affinity="nearest_neighbors", n_neighbors=min(10, len(y)), assign_labels="cluster_qr",
        random_state=seed,
    )  # fmt: skip
    return torch.from_numpy(model.fit_predict(y.detach().double().cpu().numpy())).long()


def _subset(count: int, most: int, seed: int) -> torch.Tensor:
    """All rows, or `most` random ones."""
    if most < 1:
        raise ValueError(f"max_n must be at least 1, got {most}")
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most]


def _time(t: float) -> float:
    if not 0 <= t < math.inf:
        raise ValueError(f"t must be at least 0 and finite, got {t}")
    return t
