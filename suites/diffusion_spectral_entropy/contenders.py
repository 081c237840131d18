"""What DSE and DSMI are compared with: entropies and mutual informations of features (N, d) in bits, and the like."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import digamma, gammaln
from torch.nn import functional as F

from baselines.models import mlp
from baselines.training import Batch, fit
from suites.diffusion_spectral_entropy.method import median_distance, spectral_entropy, squared_distances

NEIGHBOURS = 3
"""k of the estimates by nearest neighbours, the usual choice."""
ADJACENT = 10
"""k of the paper's adjacency by nearest neighbours."""


def bandwidth(x: torch.Tensor) -> float:
    """Half of the median distance: a sigma that grows with the features, so that DSE does not depend on their scale."""
    return median_distance(x) / 2 or 1.0


def cell_entropy(x: torch.Tensor, whole: torch.Tensor | None = None) -> float:
    """CSE, the Shannon entropy of which cell a sample lies in: two bins in each dimension, between the least and the
    most of `whole` (x itself where it is not given). A constant feature is one bin."""
    low, high = (x if whole is None else whole).double().aminmax(dim=0)
    cells = 2 * (x.double() - low) >= high - low
    shares = cells.unique(dim=0, return_counts=True)[1].double() / len(x)
    return float(-torch.xlogy(shares, shares).sum()) / math.log(2)


def adjacency_entropy(x: torch.Tensor, sigma: float | None) -> float:
    """ASE, the same entropy of the spectrum of an adjacency matrix: Gaussian of width sigma (so it is the von Neumann
    entropy of the Gram matrix), or with None the ten nearest neighbours (symmetric, 0 or 1)."""
    apart = squared_distances(x)
    if sigma is None:
        nearest = apart.fill_diagonal_(math.inf).topk(min(ADJACENT, len(x) - 1), largest=False).indices
        one_way = torch.zeros_like(apart).scatter_(1, nearest, 1.0)
        return spectral_entropy(torch.linalg.eigvalsh(torch.maximum(one_way, one_way.T)))
    return spectral_entropy(torch.linalg.eigvalsh((-apart / (2 * sigma**2)).exp()))


def neighbour_entropy(x: torch.Tensor, k: int = NEIGHBOURS) -> float:
    """The differential entropy by distances to the k-th neighbour (Kozachenko & Leonenko 1987), -inf for duplicates."""
    count, dimension = x.shape
    radius = squared_distances(x).kthvalue(k + 1, dim=1).values.sqrt()
    ball = dimension / 2 * math.log(math.pi) - gammaln(dimension / 2 + 1)
    return float(digamma(count) - digamma(k) + ball + dimension * float(radius.log().mean())) / math.log(2)


def participation_ratio(x: torch.Tensor) -> float:
    """(sum l)^2 / sum l^2 of the covariance's eigenvalues: how many directions the variance is spread over."""
    centred = x.double() - x.double().mean(0)
    covariance = centred.T @ centred
    return float(covariance.trace() ** 2 / covariance.square().sum())


def cell_information(z: torch.Tensor, y: torch.Tensor) -> float:
    """CSMI with labels (N,): the entropy of the cells of z less its mean over labels."""
    labels, counts = y.unique(return_counts=True)
    inside = sum(float(n) * cell_entropy(z[y == one], z) for one, n in zip(labels, counts, strict=True))
    return cell_entropy(z) - inside / len(z)


def neighbour_information(z: torch.Tensor, y: torch.Tensor, k: int = NEIGHBOURS) -> float:
    """Mutual information with labels by nearest neighbours (Ross 2014), of the samples whose label more than k have."""
    labels, counts = y.unique(return_counts=True)
    kept = torch.isin(y, labels[counts > k])
    z, y = z[kept], y[kept]
    apart, terms = squared_distances(z).sqrt(), []
    for label in y.unique():
        members = (y == label).nonzero().squeeze(1)
        radius = apart[members][:, members].kthvalue(k + 1, dim=1).values
        within = (apart[members] <= radius[:, None]).sum(1) - 1  # not counting itself
        terms.append(digamma(k) - digamma(len(members)) - digamma(within.numpy()))
    return float(digamma(len(z)) + np.concatenate(terms).mean()) / math.log(2)


def neural_information(
    z: torch.Tensor, y: torch.Tensor, *, classes: int, seed: int, width: int = 64, epochs: int = 60
) -> float:
    """MINE (Belghazi et al. 2018): the Donsker-Varadhan bound of a network T(z, y), trained on one half of the samples
    and evaluated on the other, so that it is no estimate of what was learned by heart."""
    pairs = torch.cat([F.normalize(z.float() - z.float().mean(0), dim=1), F.one_hot(y, classes).float()], 1)
    half, d = len(z) // 2, z.shape[1]
    generator = torch.Generator().manual_seed(seed)

    def bound(network: torch.nn.Module, joint: torch.Tensor) -> torch.Tensor:
        shuffled = joint[torch.randperm(len(joint), generator=generator)]
        apart = torch.cat([joint[:, :d], shuffled[:, d:]], 1)
        return network(joint).mean() - network(apart).logsumexp(0).squeeze() + math.log(len(joint))

    def objective(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return -bound(network, batch.inputs)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = mlp([pairs.shape[1], width, width, 1])
    fit(
        network, pairs[:half], y[:half], objective, epochs=epochs, batch_size=min(100, half), drop_last=True, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )  # fmt: skip
    with torch.no_grad():
        return float(torch.stack([bound(network.eval(), pairs[half:]) for _ in range(5)]).mean()) / math.log(2)


def linear_probe(z: torch.Tensor, y: torch.Tensor, classes: int) -> float:
    """Accuracy on one half of the samples of least squares on the other half, with a hundredth of the mean variance as
    penalty."""
    half = len(z) // 2
    train, test = z[:half].double(), z[half:].double()
    mean = train.mean(0)
    train, test = train - mean, test - mean
    gram = train.T @ train
    penalty = 0.01 * gram.trace() / len(gram) + 1e-12
    targets = F.one_hot(y[:half], classes).double()
    weights = torch.linalg.solve(gram + penalty * torch.eye(len(gram)), train.T @ (targets - targets.mean(0)))
    return float(((test @ weights + targets.mean(0)).argmax(1) == y[half:]).double().mean())
