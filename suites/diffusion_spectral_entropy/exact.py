"""The exact tier in float64: random samples, closed forms by other means, and the worst gap over all of them.

A `gap` is a distance between two computations of one thing, an `excess` how far a bound is passed.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from scipy.special import comb

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.diffusion_spectral_entropy import contenders, method

KERNELS: tuple[method.Kernel, method.Kernel] = ("released", "anisotropic")
TIMES = (0.5, 1.0, 1.7, 2.0, 3.0, 5.0)


def normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape))


def samples(seed: int, count: int) -> Iterator[tuple[torch.Tensor, float]]:
    """Random samples (N, d) of unequal density and a bandwidth near their distances; N from 3 to 60, d from 1 to 10."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size, d = int(rng.integers(3, 61)), int(rng.integers(1, 11))
        x = normal(rng, size, d) * torch.from_numpy(rng.uniform(0.3, 3, (size, 1))) + 5
        yield x, float(rng.uniform(0.3, 2)) * math.sqrt(d)


def walk(x: torch.Tensor, sigma: float, power: float) -> np.ndarray:
    """P itself, which is not symmetric, entry by entry from the definition."""
    points, count = x.numpy(), len(x)
    g = np.array([[math.exp(-(math.dist(a, b) ** 2) / (2 * sigma**2)) for b in points] for a in points])
    q = [sum(g[i]) for i in range(count)]
    k = np.array([[g[i, j] / (q[i] * q[j]) ** power for j in range(count)] for i in range(count)])
    return k / k.sum(1, keepdims=True)


def by_hand(eigenvalues: object, t: float) -> float:
    """Entropy in bits, term by term."""
    powered = [abs(float(one)) ** t for one in np.asarray(eigenvalues)]
    shares = [one / math.fsum(powered) for one in powered]
    return -math.fsum(one * math.log2(one) for one in shares if one > 0)


def spectra(*, seed: int) -> dict[str, float]:
    """Both kernels on 12 random sets of samples, against all eigenvalues of the walk that is not symmetric."""
    worst = Worst()
    for x, sigma in samples(seed, 12):
        for kernel, power in zip(KERNELS, (0.0, 0.5), strict=True):
            found = method.spectrum(x, sigma, kernel)
            expected = np.sort(np.linalg.eigvals(walk(x, sigma, power)).real)[::-1].copy()
            worst.note(
                **{f"{kernel}_gap": gap(found, expected)},
                basics_gap=max(gap(found[0], 1.0), -float(found.min()), float(found.diff().max())),
                entropy_gap=max(
                    gap(method.dse(x, sigma=sigma, t=t, kernel=kernel), by_hand(expected, t)) for t in TIMES[1:]
                ),
            )
        apart = np.array([[math.dist(a, b) for b in x.numpy()] for a in x.numpy()])
        pairs = sorted(apart[np.triu_indices(len(x), 1)])
        worst.note(
            basics_gap=max(
                gap(method.squared_distances(x).sqrt(), apart),
                gap(method.median_distance(x), pairs[(len(pairs) - 1) // 2]),
            )
        )
    return worst


def disagreement(*, seed: int) -> dict[str, float]:
    """How far both kernels are apart on 200 normal samples in 20 dimensions, sigma = 3."""
    rng, worst = np.random.default_rng(seed), Worst()
    for _ in range(5):
        x = normal(rng, 200, 20)
        released, anisotropic = (method.spectrum(x, 3.0, kernel) for kernel in KERNELS)
        worst.note(
            eigenvalue_gap=gap(released, anisotropic),
            entropy_gap=gap(method.spectral_entropy(released), method.spectral_entropy(anisotropic)),
        )
    return worst


def closed_forms(*, seed: int) -> dict[str, float]:
    """Two points, regular simplices, equal and far-apart samples, components; both kernels."""
    rng, worst = np.random.default_rng(seed), Worst()
    for kernel, t in itertools.product(KERNELS, TIMES):
        for r, sigma in rng.uniform(0.2, 3, (4, 2)):
            g = math.exp(-(r**2) / (2 * sigma**2))
            two = torch.tensor([[0.0, 0.0], [0.6 * r, 0.8 * r]])
            found = method.dse(two, sigma=sigma, t=t, kernel=kernel)
            worst.note(spectrum_gap=gap(found, by_hand([1, (1 - g) / (1 + g)], t)))
            m = int(rng.integers(3, 12))
            simplex = torch.eye(m, dtype=torch.float64) * r / math.sqrt(2)
            expected = by_hand([1] + [(1 - g) / (1 + (m - 1) * g)] * (m - 1), t)
            worst.note(spectrum_gap=gap(method.dse(simplex, sigma=sigma, t=t, kernel=kernel), expected))
        grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3) * 100
        blobs = torch.eye(4).repeat_interleave(50, 0) * 100 + 0.001 * normal(rng, 200, 4)
        ends = [method.dse(one, sigma=1.0, t=t, kernel=kernel) for one in (grid, grid[:1])]
        late = method.dse(normal(rng, 40, 3), sigma=1.0, t=5000.0, kernel=kernel)
        worst.note(ends_gap=gap([*ends, late], [6.0, 0.0, 0.0]))
        if t >= 1:  # rounding leaves eigenvalues of 1e-16, which smaller powers do not remove
            same = method.dse(torch.full((30, 5), 3.7), sigma=1.0, t=t, kernel=kernel)
            four = method.dse(blobs, sigma=1.0, t=t, kernel=kernel)
            worst.note(ends_gap=gap(same), components_gap=gap(four, 2.0))
    return worst


def invariances(*, seed: int) -> dict[str, float]:
    """What leaves DSE alone, on 12 random sets of samples, t = 1 and 2, both kernels."""
    rng, worst = np.random.default_rng(seed), Worst()
    for (x, sigma), t, kernel in itertools.product(samples(seed, 6), (1.0, 2.0), KERNELS):

        def entropy(x: torch.Tensor, sigma: float = sigma, t: float = t, kernel: method.Kernel = kernel) -> float:
            return method.dse(x, sigma=sigma, t=t, kernel=kernel)

        d, factor, here = x.shape[1], float(rng.uniform(0.1, 10)), entropy(x)
        turn = torch.linalg.qr(normal(rng, d, d)).Q
        same = [
            x[torch.from_numpy(rng.permutation(len(x)))], x @ turn + normal(rng, d), torch.cat([x, x[:, :1] * 0], 1),
            x.repeat(3, 1),
        ]  # fmt: skip
        worst.note(
            gap=gap([entropy(one) for one in same], here),
            scale_gap=gap(entropy(factor * x, factor * sigma), here),
            range_excess=max(-here, here - math.log2(len(x))),
        )
    return worst


def monotone(*, seed: int) -> dict[str, float]:
    """S along a ladder of t on 12 random sets of samples, and along sigma for two points."""
    worst, ladder = Worst(), [0.0, *np.geomspace(0.01, 1000, 40).tolist()]
    for x, sigma in samples(seed, 12):
        for kernel in KERNELS:
            eigenvalues = method.spectrum(x, sigma, kernel)
            values = torch.tensor([method.spectral_entropy(eigenvalues, t) for t in ladder], dtype=torch.float64)
            worst.note(increase=max(float(values.diff().max()), gap(values[0], math.log2(len(x)))))
    pair, tenths = torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, 0.1, 0.005], dtype=torch.float64)
    along = [method.dse(pair, sigma=sigma) for sigma in np.geomspace(0.01, 100, 60)]
    wanted = torch.tensor([1.0] + [0.95] * 5 + [0.5] * 394, dtype=torch.float64)
    worst.note(increase=np.diff(along).max())
    return worst | {
        # 0.95^t falls to 0.01 between 89 and 90, 0.5^t between 6 and 7; four of 400 may stay above, three of 395.
        "advised_gap": gap([method.diffusion_time(one) for one in (wanted, wanted[[0, *range(6, 400)]])], [90, 7])
        + gap([method.diffusion_time(tenths, share=one) for one in (0.4, 0.7, 1.0)], [2, 1, 1]),
    }


def bounds(*, seed: int) -> dict[str, float]:
    """`entropy_within` against all eigenvalues on 512 samples of three kinds, at times from 1 to 5, both kernels."""
    rng, worst = np.random.default_rng(seed), Worst()
    curve = torch.linspace(0, 10, 512, dtype=torch.float64)[:, None] * torch.ones(1, 3)
    clusters = torch.eye(8).repeat_interleave(64, 0) * 8 + normal(rng, 512, 8)
    kinds = [(normal(rng, 512, 8), 1.0), (clusters, 1.0), (clusters, 2.0), (curve, 0.5)]
    for (x, factor), kernel in itertools.product(kinds, KERNELS):
        operator = method.diffusion_operator(x, factor * method.median_distance(x), kernel)
        eigenvalues = torch.linalg.eigvalsh(operator)
        for t in (1.0, 1.7, 2.0, 3.0, 5.0):
            found = method.entropy_within(operator, t, 1e-2)
            off = abs(found.entropy - method.spectral_entropy(eigenvalues, t))
            worst.note(
                bound_excess=max(off - found.error - 1e-9, found.error - 1e-2),
                tolerance_gap=off if found.rank == 512 else found.error == 0,
                wide_rank=found.rank if t >= 2 else 0,
            )
        for at, tolerance in ((0.5, 1.0), (2.0, 0.0)):
            whole = method.entropy_within(operator, at, tolerance)
            worst.note(tolerance_gap=gap([whole.error, whole.rank], [0.0, 512]))
    sigma = 2 * method.median_distance(clusters)
    operator, labels = method.diffusion_operator(clusters, sigma), torch.zeros(512, dtype=torch.long)
    through = method.dse(clusters, sigma=sigma, t=2.0, tolerance=1e-2)
    nothing = method.dsmi(clusters, labels, sigma=sigma, t=2.0, tolerance=1e-2)
    worst.note(tolerance_gap=gap([through, nothing], [method.entropy_within(operator, 2.0, 1e-2).entropy, 0.0]) - 1e-6)
    return worst


def information(*, seed: int) -> dict[str, float]:
    """DSMI where it is known: constant and unrelated labels, separate classes, groups whose entropy is a logarithm."""
    rng, worst = np.random.default_rng(seed), Worst()
    z = normal(rng, 400, 5)
    y = torch.from_numpy(rng.integers(0, 4, 400))
    blobs = torch.eye(4).repeat_interleave(100, 0) * 50 + 0.05 * normal(rng, 400, 4)
    truth = torch.arange(4).repeat_interleave(100)
    for kernel in KERNELS:
        information_with = partial(method.dsmi, sigma=2.0, kernel=kernel)
        told = [information_with(blobs, one, clusters=4) for one in (truth, 7 - 3 * truth, truth.double())]
        told.append(information_with(blobs, truth, max_n=200))  # a random half of the labels, too
        worst.note(
            constant_gap=gap(information_with(z, torch.full((400,), 3))),
            unrelated=abs(information_with(z, y)),
            classes_gap=gap(told, 2.0),
        )
    with warnings.catch_warnings():  # that the neighbours form four graphs is meant
        warnings.simplefilter("ignore", UserWarning)
        worst.note(classes_gap=gap(method.dsmi(blobs, blobs, sigma=2.0, clusters=4), 2.0))
    # Five samples at one place, seven far from all: with j of m from the first, S = log2(m - j + [j > 0]).
    split = torch.cat([torch.zeros(5, 1), 100 * torch.arange(1.0, 8)[:, None]])
    label = torch.tensor([0] * 5 + [1] * 7)

    def mean_entropy(m: int) -> float:
        places = [(j, comb(5, j) * comb(7, m - j) / comb(12, m)) for j in range(max(0, m - 7), min(5, m) + 1)]
        return sum(weight * math.log2(m - j + (j > 0)) for j, weight in places)

    expected = 5 / 12 * mean_entropy(5) + 7 / 12 * (mean_entropy(7) - math.log2(7))
    found = method.dsmi(split, label, sigma=1.0, repetitions=800, seed=seed)
    # Bins from -1 to 1 are half as wide as 1: a border belongs to the upper one, the largest value to the last.
    bins = method.groups(torch.tensor([0.0, 0.4, 0.5, 0.99, 1.0, -1.0]), 4)
    alike = method.dsmi(split, label, sigma=1.0, seed=1) == method.dsmi(split, label, sigma=1.0, seed=2)
    return worst | {
        "subsets_gap": gap(found, expected) + alike,
        "bins_gap": gap(bins, [2, 2, 3, 3, 3, 0]) + gap(method.groups(torch.full((3,), 2.5)), 0.0),
    }  # fmt: skip


def dimensions(*, seed: int) -> dict[str, float]:
    """Samples of a cube of 1, 2, 3, 5 and 12 dimensions in R^20: what DSE and cells see of it. N = 300, sigma = 0.3."""
    rng = np.random.default_rng(seed)
    steps, cells = [], []
    for _ in range(3):
        frame = torch.linalg.qr(normal(rng, 20, 20)).Q
        cubes = [torch.from_numpy(rng.uniform(-1, 1, (300, m))) for m in (1, 2, 3, 5, 12)]
        found = [method.dse(cube @ frame[: cube.shape[1]], sigma=0.3) for cube in cubes[:4]]
        steps.append(min(np.diff(found)))
        cells.append([contenders.cell_entropy(cube) - m for cube, m in zip(cubes, (1, 2, 3, 5, 12), strict=True)])
    off = np.array(cells)
    # Cells of five dimensions are filled unevenly; of twelve there are more than samples.
    return {
        "least_step": float(min(steps)),
        "cells_excess": max(gap(off[:, :4]) - 0.2, float((off[:, 4] + 12).max()) - math.log2(300)),
    }


def comparators(*, seed: int) -> dict[str, float]:
    """Entropies and informations of other kinds, where they are known."""
    rng, worst = np.random.default_rng(seed), Worst()
    for d in (1, 3):
        x = normal(rng, 2000, d)
        worst.note(neighbour_gap=gap(contenders.neighbour_entropy(x), d / 2 * math.log2(2 * math.pi * math.e)))
    shifted = torch.tensor([0, 0, 1, 1]).repeat(500)
    normals = normal(rng, 2000, 1) + 100 * shifted[:, None]
    g, m = math.exp(-1.0), 7
    simplex = torch.eye(m, dtype=torch.float64) * math.sqrt(2)
    cross = torch.cat([torch.eye(3), -torch.eye(3)]) * torch.tensor([1.0, 1.0, 0.0])
    square = torch.tensor([[0.0, 0.0], [0.2, 1.0], [1.0, 0.1], [1.0, 1.0]]).repeat(5, 1)
    far = torch.cat([torch.arange(20.0)[:, None], 1000 + torch.arange(20.0)[:, None]])
    # The ten nearest of the farther ones lie below them, and not the other way round.
    growing, nearest = 1.2 ** torch.arange(40.0, dtype=torch.float64)[:, None], np.zeros((40, 40))
    for i in range(40):
        nearest[i, sorted(range(40), key=lambda j: abs(1.2**i - 1.2**j))[1:11]] = 1
    adjacent = np.maximum(nearest, nearest.T)
    found = [
        (contenders.adjacency_entropy(simplex, math.sqrt(2.0)), by_hand([1 + (m - 1) * g] + [1 - g] * (m - 1), 1.0)),
        (contenders.adjacency_entropy(simplex, None), by_hand([m - 1] + [-1] * (m - 1), 1.0)),
        (contenders.adjacency_entropy(growing, None), by_hand(np.linalg.eigvalsh(adjacent), 1.0)),
        (contenders.participation_ratio(cross), 2.0),
        (contenders.cell_entropy(square), 2.0),
        (contenders.cell_information(square, torch.tensor([0, 1, 1, 1]).repeat(5)), 2 - 0.75 * math.log2(3)),
        (contenders.linear_probe(normals, shifted, 2), 1.0),
        (contenders.bandwidth(far), method.median_distance(far) / 2),
        (contenders.bandwidth(far[:1]), 1.0),
    ]  # fmt: skip
    # Three samples of a third label are too few to count.
    more = torch.cat([normals, torch.tensor([[500.0], [501.0], [502.0]])]), torch.cat([shifted, torch.full((3,), 2)])
    worst.note(
        neighbour_gap=max(gap(contenders.neighbour_information(*one), 1.0) for one in ((normals, shifted), more))
    )
    return worst | {"gap": gap(*zip(*found, strict=True))}


def usage(*, seed: int) -> dict[str, float]:
    """Dtypes, layouts, subsamples, defaults, and calls that make no sense."""
    x, y = normal(np.random.default_rng(seed), 50, 4), torch.arange(50) % 5
    wide, worst = method.dse(x, sigma=2.0), Worst()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        narrow = x.to(dtype)
        worst.note(dtype_gap=gap(method.dse(narrow, sigma=2.0), method.dse(narrow.double(), sigma=2.0)))
    apart = x.T.contiguous().T
    few = {method.dse(x, sigma=2.0, max_n=20, seed=one) for one in (0, 0, 1)}
    nan, grid = x.clone().index_fill_(0, torch.tensor([3]), math.nan), torch.ones(3, 3)
    common = {"sigma": 10.0, "t": 1.0, "kernel": "released", "max_n": 10_000, "tolerance": 0.0, "seed": 0}
    return {
        "gap": max(
            worst["dtype_gap"],
            gap(method.dse(apart, sigma=2.0), wide),
            gap(method.dse(x, sigma=1e-200), math.log2(50)),  # whose square is 0
            gap(method.dse(x, sigma=1e-3, max_n=16), 4.0),
            gap(method.dsmi(x, torch.zeros(50, dtype=torch.long), sigma=1.0, max_n=16)),
            abs(len(few) - 2.0),
        ),
        "accepted": accepted(
            lambda: method.dse(x, sigma=0.0),
            lambda: method.dse(x, sigma=math.inf),
            lambda: method.dse(x, t=-1.0),
            lambda: method.dse(x, t=math.inf),
            lambda: method.dse(x, kernel="plain"),  # type: ignore[arg-type]
            lambda: method.dse(x, max_n=0),
            lambda: method.dse(x, tolerance=-1.0),
            lambda: method.dse(x, tolerance=math.nan),
            lambda: method.dse(x[:0]),
            lambda: method.dse(x[0]),
            lambda: method.dse(nan),
            lambda: method.dse(x.to(torch.complex128)),
            lambda: method.dsmi(x, y[:-1]),
            lambda: method.dsmi(x, y, repetitions=0),
            lambda: method.dsmi(x, x[:, 0], clusters=0),
            lambda: method.groups(nan),
            lambda: method.groups(x[:5], 5),
            lambda: method.groups(y[:0]),
            lambda: method.groups(x[None]),
            lambda: method.spectral_entropy(torch.zeros(3)),
            lambda: method.spectral_entropy(torch.tensor([1.0, math.nan])),
            lambda: method.diffusion_time(torch.ones(4)),
            lambda: method.entropy_within(grid[:2], 2.0, 0.1),
        ),
        "other": other_defaults(method.dse, **common)
        + other_defaults(method.dsmi, repetitions=5, clusters=10, **common)
        + other_defaults(method.groups, clusters=10, seed=0)
        + other_defaults(method.diffusion_operator, sigma=10.0, kernel="released")
        + other_defaults(method.spectrum, sigma=10.0, kernel="released")
        + other_defaults(method.spectral_entropy, t=1.0)
        + other_defaults(method.diffusion_time, share=0.01, level=0.01),
    }  # fmt: skip
