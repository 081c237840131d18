"""The paper's protocol: the released network on up to 64 columns and 500 rows, tested in and out of its families."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from suites.mist import contenders, families
from suites.mist.families import IN_FAMILY, OUT_OF_FAMILY, TRAIN, Array, Sets
from suites.mist.method import Mist, train

BATCH, PARTS = 256, 8
"""Sets of a batch, and how many dimensions they have: a batch has one number of rows."""
BINS = {"10_100": (10, 100), "100_300": (100, 300), "300_500": (300, 500)}
LEVELS = (0.05, 0.95)


class Scale(NamedTuple):
    sets: int  # to learn from
    epochs: int
    rows: int  # most of a set
    sizes: int  # numbers of rows, evenly spaced, of test sets
    repeats: int  # test sets of a family for each of them


SCALES = {8: Scale(60_000, 4, 500, 20, 9), 32: Scale(625_000, 30, 500, 20, 9)}
"""By the largest dimension."""


def batch(largest: int, rows: int, seed: int) -> Sets:
    """256 sets of one number of rows, 32 for each of eight dimensions; columns are padded to 2 * largest."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, rows + 1))
    parts = [families.mixed(TRAIN, int(rng.integers(2, largest + 1)), n, BATCH // PARTS, rng) for _ in range(PARTS)]
    padded = [np.pad(one.rows, ((0, 0), (0, 0), (0, 2 * largest - one.rows.shape[2]))) for one in parts]
    return Sets(np.concatenate(padded), np.concatenate([one.information for one in parts]))


def batches(scale: Scale, largest: int, seed: int, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The sets once in every epoch, drawn again from their seeds, batches in an order of their own."""
    order = np.random.default_rng(seed)
    for _ in range(scale.epochs):
        for one in order.permutation(scale.sets // BATCH):
            rows, information = batch(largest, scale.rows, int(seed * scale.sets + one))
            yield torch.from_numpy(rows).float().to(device), torch.from_numpy(information).float().to(device)


def tests(names: tuple[str, ...], scale: Scale, largest: int, seed: int) -> Iterator[tuple[int, Sets]]:
    """Numbers of rows and test sets: for each of a family, one dimension that its repeats share."""
    rng = np.random.default_rng([seed, 1])
    for n in np.linspace(10, scale.rows, scale.sizes).round().astype(int):
        for name in names:
            yield int(n), families.draw(name, int(rng.integers(2, largest + 1)), int(n), scale.repeats, rng)


def released(*, arm: str, seed: int, device: torch.device, largest: int) -> dict[str, float]:
    """The mean squared error in nats^2 in and out of family by number of rows, and how many 90 % intervals hold the
    information; KSG takes the fifth neighbour of standardised rows as in the paper, CCA is not corrected."""
    scale = SCALES[largest]
    if arm in ("mist", "mist_qr"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = Mist(quantiles=arm == "mist_qr").to(device)
        train(model, batches(scale, largest, seed, device), seed=seed)

        def read(rows: Array, level: float | None) -> Array:
            with torch.no_grad():
                return model(torch.from_numpy(rows).float().to(device), level).double().cpu().numpy()

        estimate: contenders.Estimate = partial(read, level=0.5 if arm == "mist_qr" else None)
    elif arm in ("ksg", "cca"):
        estimate = _ksg if arm == "ksg" else _cca
    else:
        raise ValueError(f"arm must be mist, mist_qr, ksg or cca, got {arm!r}")
    found: dict[str, float] = {}
    for kind, names in (("in", IN_FAMILY), ("out", OUT_OF_FAMILY)):
        errors: dict[int, list[Array]] = {}
        held: list[Array] = []
        for n, (rows, information) in tests(names, scale, largest, seed):
            errors.setdefault(n, []).append((estimate(rows) - information) ** 2)
            if arm == "mist_qr":
                low, high = (read(rows, level) for level in LEVELS)
                held.append((np.minimum(low, high) <= information) & (information <= np.maximum(low, high)))
        for name, (least, most) in BINS.items():
            inside = [one for n, each in errors.items() if least <= n <= most for one in each]
            if inside:
                found[f"{kind}_{name}"] = float(np.concatenate(inside).mean())
        if held:
            found[f"{kind}_coverage"] = float(np.concatenate(held).mean())
    return found


def _ksg(rows: Array) -> Array:
    return contenders.ksg(contenders.standardised(rows), 5)


def _cca(rows: Array) -> Array:
    if rows.shape[1] <= rows.shape[2]:  # too few rows to tell any correlation from a perfect one
        return np.zeros(len(rows))
    return contenders.cca(rows, False)
