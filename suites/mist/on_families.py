"""A small network trained on the paper's families with d = 1 and 2, against estimators and intervals of other kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.special import ndtr

from baselines.timing import interleaved
from baselines.training import cosine
from baselines.tuning import choose
from suites.mist import contenders, critics, families
from suites.mist.contenders import CLASSICAL, Estimate, calibrated, clipped, normal_scores, resampled, tuned
from suites.mist.families import IN_FAMILY, OUT_OF_FAMILY, TRAIN, Array, Sets
from suites.mist.method import Mist, Sizes, train

SIZES = Sizes(4, 64, 32, 2, 1, 1, 8, 64, 4, row_dropout=0.0, block_dropout=0.0)
STEPS, WARM_UP, BATCH, RATE = 1500, 150, 64, 3e-3
LEAST, MOST = 10, 100
"""Rows of a set to learn from, log-uniform."""
DIMENSIONS, ROWS = (1, 2), (20, 50, 100)
TESTED, VALIDATED = 150, 150
"""Sets for each dimension and number of rows."""
LEVEL, RESAMPLES, COVERED = 0.9, 50, 75
CRITICS, RATES, LOOKS = 12, (0.01, 0.03, 0.1), (10, 30, 100)
"""Sets to test critics on, and as many to choose their rate and number of steps on."""


# Training.


def batches(seed: int, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Fresh sets for each step; those of a batch have one dimension and number of rows."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        n = round(float(np.exp(rng.uniform(np.log(LEAST), np.log(MOST)))))
        rows, information = families.mixed(TRAIN, int(rng.choice(DIMENSIONS)), n, BATCH, rng)
        yield torch.from_numpy(rows).float(), torch.from_numpy(information).float()


def networks(*, seed: int) -> dict[str, torch.Tensor]:
    """Weights of two networks that learned from the same sets: mist.* by squared error, mist_qr.* quantiles."""
    found: dict[str, torch.Tensor] = {}
    for name in ("mist", "mist_qr"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = Mist(SIZES, quantiles=name == "mist_qr")
        train(model, batches(seed, STEPS), rate=RATE, schedule=cosine(STEPS, WARM_UP), seed=seed)
        found |= {f"{name}.{key}": value for key, value in model.state_dict().items()}
    return found


def loaded(artifact: Path, name: str) -> Mist:
    model = Mist(SIZES, quantiles=name == "mist_qr")
    weights = {key.partition(".")[2]: one for key, one in load_file(artifact).items() if key.startswith(f"{name}.")}
    model.load_state_dict(weights)
    return model.eval()


def quantiles(model: Mist, rows: Array, *levels: float) -> list[Array]:
    """Quantiles at each level, or the one estimate where none is named: (B,) each."""
    with torch.no_grad():
        code = torch.cat([model.encode(part) for part in torch.from_numpy(rows).float().split(1024)])
        return [model.read(code, level).double().numpy() for level in levels or (None,)]


# Sets to test on.


@cache
def marginals(count: int) -> Array:
    """Sorted principal components of scikit-learn's digits, (1797, count), the leading ones, of unit variance."""
    import reference

    images = reference.load("digits", "all").images.flatten(1).double().numpy()
    u, *_ = np.linalg.svd(images - images.mean(0), full_matrices=False)
    return np.sort(u[:, :count] * np.sqrt(len(u)), axis=0)


def with_real_marginals(sets: Sets) -> Sets:
    """Normal rows whose columns get the distributions of digits' components, by quantiles that increase strictly from
    the least to the largest value: information stays."""
    values = marginals(sets.rows.shape[2])
    levels = np.linspace(0, 1, len(values))
    moved = [np.interp(ndtr(sets.rows[..., i]), levels, values[:, i]) for i in range(values.shape[1])]
    return Sets(np.stack(moved, 2), sets.information)


def sets_of(kind: str, d: int, n: int, count: int, seed: int) -> Sets:
    """Sets in family ("in"), out of it ("out"), normal ones with digits' marginals ("digits"), or to choose settings on
    ("validation", of the families that are trained on). Alike for all arms."""
    kinds = {"in": IN_FAMILY, "out": OUT_OF_FAMILY, "validation": TRAIN,
             "digits": ("normal-dense-base", "normal-sparse-base", "normal-lvm-base")}  # fmt: skip
    if kind not in kinds:
        raise ValueError(f"sets must be one of {', '.join(kinds)}, got {kind!r}")
    rng = np.random.default_rng([seed, d, n, [*kinds].index(kind)])
    found = families.mixed(kinds[kind], d, n, count, rng)
    return with_real_marginals(found) if kind == "digits" else found


# Errors.


def estimator(arm: str, networks: Path, d: int, n: int, seed: int) -> Estimate:
    """An arm's estimate for sets of n rows and dimension d, its settings chosen on validation sets of these."""
    if arm in ("mist", "mist_qr"):
        model, level = loaded(networks, arm), (0.5,) if arm == "mist_qr" else ()
        return lambda rows: clipped(quantiles(model, rows, *level)[0])
    validation = sets_of("validation", d, n, VALIDATED, seed)
    if arm == "constant":
        return lambda rows: np.full(len(rows), validation.information.mean())
    if arm == "calibrated":
        return calibrated(("ksg",), validation)
    if arm == "regressed":
        return calibrated(CLASSICAL, validation)
    return tuned(arm, validation)


def errors(*, arm: str, seed: int, sets: str, networks: Path) -> dict[str, float]:
    """Mean squared errors in nats^2 of estimates clipped at 0 for each number of rows, over up to 50 rows and over all;
    the median absolute error and the mean error over up to 50; and the mean information."""
    off: dict[int, list[Array]] = {n: [] for n in ROWS}
    known = []
    for n in ROWS:
        for d in DIMENSIONS:
            test = sets_of(sets, d, n, TESTED, seed)
            off[n].append(estimator(arm, networks, d, n, seed)(test.rows) - test.information)
            known.append(test.information)
    each = {n: np.concatenate(one) for n, one in off.items()}
    small = np.concatenate([each[n] for n in ROWS if n <= 50])
    return {f"error_{n}": float(np.mean(one**2)) for n, one in each.items()} | {
        "small_error": float(np.mean(small**2)),
        "error": float(np.mean(np.concatenate([*each.values()]) ** 2)),
        "small_median": float(np.median(np.abs(small))),
        "small_bias": float(small.mean()),
        "information": float(np.concatenate(known).mean()),
    }


def neural(*, arm: str, seed: int, networks: Path) -> dict[str, float]:
    """The mean squared error of sets in family with 20 and 50 rows, for neural bounds whose rate and number of steps
    were chosen on as many validation sets, and for the network on the same."""
    off = []
    for n in (20, 50):
        for d in DIMENSIONS:
            test, validation = (sets_of(kind, d, n, CRITICS, seed) for kind in ("in", "validation"))
            if arm == "mist":
                found = estimator(arm, networks, d, n, seed)(test.rows)
            else:
                both = normal_scores(np.concatenate([test.rows, validation.rows]))
                each = critics.estimates(torch.from_numpy(both), arm, RATES, LOOKS, seed)
                values = {setting: clipped(one.double().numpy()) for setting, one in each.items()}
                scores = {
                    setting: float(((one[CRITICS:] - validation.information) ** 2).mean())
                    for setting, one in values.items()
                }
                found = values[choose(scores, smallest=True)][:CRITICS]
            off.append(found - test.information)
    return {"small_error": float(np.mean(np.concatenate(off) ** 2))}


# Intervals.


def bootstrap(estimate: Estimate, rows: Array, seed: int) -> Array:
    """Estimates of bootstrap samples of each set, (resamples, B)."""
    again = resampled(rows, RESAMPLES, np.random.default_rng(seed))
    return np.stack([estimate(one) for one in again])


def intervals(*, arm: str, seed: int, sets: str, networks: Path) -> dict[str, float]:
    """Central 90 % intervals of sets with 20 and 50 rows: how many hold the information, how far that is from 90 %,
    their width, and their interval score (width, and 20 times what the information lies outside). For quantiles, how
    many have the upper quartile below the lower; for the network's bootstrap, how far levels are from the shares of
    bootstrap medians below the quantiles of these levels, which is the authors' measure of calibration."""
    ends: list[Array] = []
    known, crossing, own = [], [], []
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    for n in (20, 50):
        for d in DIMENSIONS:
            test = sets_of(sets, d, n, COVERED, seed)
            known.append(test.information)
            if arm in ("quantiles", "bootstrap_network"):
                model = loaded(networks, "mist_qr")
                levels = np.linspace(0.05, 0.95, 19)
                each = np.stack(quantiles(model, test.rows, *levels))
                lower, upper = quantiles(model, test.rows, 0.25, 0.75)
                crossing.append(upper < lower)
            if arm == "quantiles":
                ends.append(np.maximum(np.sort(np.stack(quantiles(model, test.rows, *tails)), 0), 0))
            elif arm == "conformal_ksg":
                validation = sets_of("validation", d, n, VALIDATED, seed)
                estimate = tuned("ksg", validation)
                rest = np.quantile(validation.information - estimate(validation.rows), tails)
                ends.append(np.maximum(estimate(test.rows) + rest[:, None], 0))
            else:
                which = {"bootstrap_network": "mist_qr"}.get(arm, arm.removeprefix("bootstrap_"))
                again = bootstrap(estimator(which, networks, d, n, seed), test.rows, seed)
                ends.append(np.quantile(again, tails, axis=0))
                if arm == "bootstrap_network":
                    own.append((again[None] <= each[:, None]).mean(1))
    low, high = np.concatenate(ends, 1)
    truth = np.concatenate(known)
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    coverage = float(((low <= truth) & (truth <= high)).mean())
    found = {
        "coverage": coverage,
        "coverage_error": abs(coverage - LEVEL),
        "width": float((high - low).mean()),
        "score": float((high - low + 2 / (1 - LEVEL) * outside).mean()),
    }
    if crossing:
        found["crossing"] = float(np.concatenate(crossing).mean())
    if own:
        found["self_calibration"] = float(np.abs(np.concatenate(own, 1).mean(1) - levels).mean())
    return found


# Cost.


def cost(*, seed: int) -> dict[str, float | list[float]]:
    """Seconds in turn of an estimate from 500 rows with d = 5: one pass of the network at the released sizes and of a
    small one, MINE trained for 500 steps of 256 rows, KSG."""
    from baselines.models import mlp

    found = families.draw("normal-sparse-base", 5, 500, 1, np.random.default_rng(seed))
    rows, generator = torch.from_numpy(found.rows).float(), torch.Generator().manual_seed(seed)
    released, small = Mist().eval(), Mist(replace(SIZES, columns=10)).eval()

    def mine() -> None:
        critic = mlp([10, *critics.HIDDEN, 1])
        stepper = torch.optim.Adam(critic.parameters(), lr=0.01)
        for _ in range(500):
            joint = rows[0, torch.randperm(500, generator=generator)[:256]]
            apart = torch.cat([joint[:, :5], joint[torch.randperm(256, generator=generator), 5:]], 1)
            stepper.zero_grad()
            (critics.log_mean(critic(apart).T) - critic(joint).mean()).sum().backward()
            stepper.step()

    spent = interleaved({
        "released": lambda: quantiles(released, found.rows), "small": lambda: quantiles(small, found.rows),
        "mine": mine, "ksg": lambda: contenders.ksg(found.rows, 5),
    }, rounds=3, warm_up=1)  # fmt: skip
    return {f"seconds_of_{name}": one for name, one in spent.items()}
