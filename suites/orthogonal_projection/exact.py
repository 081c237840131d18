"""The exact tier in float64: the loss by pairs, where its variants differ, its minima, its bounds, its cost.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, get_args

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from baselines import oracles
from baselines.oracles import Worst, gap, other_defaults
from baselines.timing import interleaved
from suites.orthogonal_projection.method import Variant, cosines, cross_entropy_with_projection, orthogonal_projection

VARIANTS: tuple[Variant, ...] = get_args(Variant)
Problem = tuple[torch.Tensor, torch.Tensor]


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problems(seed: int, count: int, rows: int = 12) -> Iterator[Problem]:
    """Features (rows, D), D from 1 to 6, with a common direction in every second; labels of 1 to 5 classes."""
    generator = generator_of(seed)
    for place in range(count):
        width, classes = (int(torch.randint(1, most + 1, (), generator=generator)) for most in (6, 5))
        common = 2.0 * (place % 2) * torch.randn(width, generator=generator, dtype=torch.float64)
        features = torch.randn(rows, width, generator=generator, dtype=torch.float64) + common
        yield features, 7 * torch.randint(classes, (rows,), generator=generator)


def opl(features: torch.Tensor, labels: torch.Tensor, variant: Variant, gamma: float = 0.5) -> torch.Tensor:
    return orthogonal_projection(features, labels, gamma=gamma, variant=variant)


def by_hand(features: torch.Tensor, labels: torch.Tensor, variant: Variant, gamma: float) -> float:
    """The loss by a loop over the ordered pairs."""
    rows, y = features.tolist(), labels.tolist()
    within, between = [], []
    for i, j in itertools.permutations(range(len(y)), 2):
        dot = math.fsum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        cosine = dot / math.hypot(*rows[i]) / math.hypot(*rows[j])
        if y[i] == y[j]:
            within.append(cosine)
        else:
            between.append(abs(cosine) if variant == "mean_of_abs" else cosine)
    s, d = (math.fsum(found) / len(found) if found else 0.0 for found in (within, between))
    return 1 - s + gamma * (abs(d) if variant == "abs_of_mean" else d)


def by_gram(features: torch.Tensor, labels: torch.Tensor, *, gamma: float, variant: Variant) -> torch.Tensor:
    """The loss by the whole B x B matrix, as its definition has it."""
    units = F.normalize(features, dim=1)
    gram, same = units @ units.T, labels[:, None] == labels[None, :]
    positive = (same & ~torch.eye(len(labels), dtype=torch.bool)).to(gram)
    negative = (~same).to(gram)
    within = (gram * positive).sum() / (positive.sum() + 1e-6)
    between = gram.abs() if variant == "mean_of_abs" else gram
    d = (between * negative).sum() / (negative.sum() + 1e-6)
    return 1 - within + gamma * (d.abs() if variant == "abs_of_mean" else d)


def definition(*, seed: int) -> dict[str, float]:
    """Values against loops over pairs, slopes against differences, both ways of computing, float32, the whole loss."""
    worst, generator = Worst(), generator_of(seed)
    for (f, y), variant in itertools.product(problems(seed, 10), VARIANTS):
        value, expected = opl(f, y, variant, 0.7), by_hand(f, y, variant, 0.7)
        worst.note(
            **{"paper_gap" if variant == "abs_of_mean" else "others_gap": gap(value, expected)},
            float32_gap=gap(opl(f.float(), y, variant, 0.7), expected),
        )
        free = f.clone().requires_grad_()
        (slope,) = torch.autograd.grad(opl(free, y, variant, 0.7), free)
        way = torch.randn(f.shape, generator=generator, dtype=torch.float64)
        way *= 1e-6 * f.norm(dim=1, keepdim=True) / way.norm(dim=1, keepdim=True)
        difference = (opl(f + way, y, variant, 0.7) - opl(f - way, y, variant, 0.7)) / 2
        worst.note(slope_gap=1e6 * gap((slope * way).sum(), difference))
        logits = torch.randn(len(f), 40, generator=generator, dtype=torch.float64)
        whole = cross_entropy_with_projection(logits, f, y, weight=0.3, gamma=0.7, variant=variant)
        worst.note(whole_gap=gap(whole, F.cross_entropy(logits, y) + 0.3 * expected))
    for variant in VARIANTS:
        f = torch.randn(3, 200, 9, generator=generator, dtype=torch.float64) + 0.3
        y = torch.randint(6, (3, 200), generator=generator)
        free = f.clone().requires_grad_()
        value = opl(free, y, variant)
        (slope,) = torch.autograd.grad(value.sum(), free)
        grams = [by_gram(free[i], y[i], gamma=0.5, variant=variant) for i in range(3)]
        (expected_slope,) = torch.autograd.grad(torch.stack(grams).sum(), free)
        few = [opl(f[i, :90], y[i, :90], variant) for i in range(3)]
        worst.note(
            many_gap=max(gap(value, torch.stack(grams)), gap(opl(f[:, :90], y[:, :90], variant), torch.stack(few))),
            many_slope_gap=gap(slope, expected_slope),
        )
    return worst


def invariance(*, seed: int) -> dict[str, float]:
    """Lengths, rotations, the order of rows, names of classes; features without negative entries."""
    worst, generator = Worst(), generator_of(seed)
    for (f, y), variant in itertools.product(problems(seed, 10), VARIANTS):
        value, free = opl(f, y, variant), f.clone().requires_grad_()
        (slope,) = torch.autograd.grad(opl(free, y, variant), free)
        lengths = (6 * torch.randn(len(f), 1, generator=generator, dtype=torch.float64)).exp()
        rotation = torch.linalg.qr(torch.randn(f.shape[1], f.shape[1], generator=generator, dtype=torch.float64))[0]
        order = torch.randperm(len(f), generator=generator)
        worst.note(
            length_gap=gap(opl(f * lengths, y, variant), value),
            along_row=gap((slope * f).sum(1)),
            symmetry_gap=max(
                gap(opl(f @ rotation, y, variant), value),
                gap(opl(f[order], y[order], variant), value),
                gap(opl(f, 10**12 - 3 * y, variant), value),
            ),
        )
    for f, y in problems(seed, 20):
        values = [opl(f.relu() + 1e-3, y, variant, 0.7) for variant in VARIANTS]
        worst.note(nonnegative_gap=max(gap(one, values[0]) for one in values))
    return worst


def minima(*, seed: int) -> dict[str, float]:
    """Where each variant is least, and what it is at total collapse and without structure."""
    worst, eye = Worst(), torch.eye(6, dtype=torch.float64)
    generator = generator_of(seed)
    for classes, rows, variant in itertools.product((2, 3, 6), (2, 5), VARIANTS):
        y = torch.arange(classes).repeat_interleave(rows)
        right = opl(eye[y], y, variant)
        simplex = eye[:classes, :classes] - 1 / classes
        least = -0.5 / (classes - 1)
        worst.note(orthogonal=gap(right))
        if variant == "signed":
            worst.note(simplex_gap=gap(opl(simplex[y], y, variant), least))
        for width in (1, 2, classes):
            f = torch.randn(200, len(y), width, generator=generator, dtype=torch.float64)
            f[:100] = f[:100, ::rows].repeat_interleave(rows, dim=1)  # half of them collapsed to one point a class
            value = opl(f, y.expand(200, -1), variant)
            if variant == "signed":
                worst.note(simplex_gap=float((least - value).max()), signed_least=-float(value.min()))
            else:
                worst.note(range_excess=max(-float(value.min()), float((value - 2.5).max())))
    opposite = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    cosine = (math.sqrt(3) - 1) / 2
    turn = math.sqrt(1 - cosine**2)
    plane = torch.tensor([[1.0, 0.0], [cosine, turn], [cosine, -turn]], dtype=torch.float64).repeat_interleave(2, dim=0)
    three = torch.arange(3).repeat_interleave(2)
    for gamma in (0.3, 0.5, 1.0, 2.0):
        many = torch.tensor([0, 0, 1, 1, 2, 2])
        one_point = torch.ones(6, 3, dtype=torch.float64).requires_grad_()
        for variant in VARIANTS:
            value = opl(one_point, many, variant, gamma)
            (slope,) = torch.autograd.grad(value, one_point)
            worst.note(collapse_gap=gap(value, gamma), collapse_slope=gap(slope))
            for t in (0.0, 0.5, 0.9):  # all cosines are t
                alike = torch.linalg.cholesky(t + (1 - t) * eye)
                worst.note(path_gap=gap(opl(alike, many, variant, gamma), 1 - (1 - gamma) * t))
    return worst | {
        "signed_least": -worst["signed_least"],
        "range_excess": max(worst["range_excess"], gap(opl(opposite, torch.tensor([0, 0, 1, 1]), "mean_of_abs"), 2.5)),
        "cancelled": float(opl(plane, three, "abs_of_mean")),
        "cancelled_by_size": float(opl(plane, three, "mean_of_abs")),
        "collapse_over_no_structure": float(opl(torch.ones(6, 3), many, "abs_of_mean")) - 1,
    }


def bounds(*, seed: int) -> dict[str, float]:
    """More classes than dimensions: how far from right angles they must be, and what the loss sees of it."""
    worst, generator = Worst(), generator_of(seed)
    for classes, width in ((5, 2), (10, 4), (20, 16), (100, 64)):
        y = torch.arange(classes)
        floor = (classes - width) / (width * (classes - 1))
        for _ in range(20):
            f = torch.randn(classes, width, generator=generator, dtype=torch.float64)
            positive = cosines(f.abs() ** 3, y)[1]
            worst.note(mean_excess=floor - min(float(positive), float(cosines(f, y, absolute=True)[1])))
    free = torch.randn(20, 12, generator=generator, dtype=torch.float64).requires_grad_()
    descent = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        descent.zero_grad()
        u = F.normalize(free, dim=1)
        loss = (u @ u.T).square().sum()
        loss.backward()
        return loss

    descent.step(closure)
    with torch.no_grad():
        u = F.normalize(free, dim=1)
        reached = (u @ u.T)[~torch.eye(20, dtype=torch.bool)].square().mean().sqrt()
    return worst | {
        "reached_over_welch": float(reached) / math.sqrt(8 / (12 * 19)),
        "welch_of_cifar100": math.sqrt(36 / (64 * 99)),
        "mean_floor_of_cifar100": 36 / (64 * 99),
    }


def batches(*, seed: int) -> dict[str, float]:
    """2,000 batches of 32 and of 256 from pools of 2,000 features: how far the size moves the mean of s, d and |d|.

    |d| counts in a pool whose ten classes are at right angles: only near d = 0 can it differ from d.
    """
    generator, worst = generator_of(seed), Worst()
    labels = torch.randint(10, (2000,), generator=generator)
    noise = torch.randn(2000, 16, generator=generator, dtype=torch.float64)
    random = torch.randn(10, 16, generator=generator, dtype=torch.float64)
    for name, centres in (("anywhere", random + 0.5), ("right_angles", 4 * torch.eye(10, 16, dtype=torch.float64))):
        pool, found = centres[labels] + noise, {}
        for size in (32, 256):
            parts = []
            for _ in range(8):
                ids = torch.rand(250, 2000, generator=generator).topk(size, dim=1).indices
                parts.append(torch.stack(cosines(pool[ids], labels[ids])))
            s, d = torch.cat(parts, dim=1)
            found[size] = torch.stack([s.mean(), d.mean()])
            worst.note(**{f"{name}_{size}": float(d.abs().mean())})
        worst.note(mean_gap=gap(found[32], found[256]))
    return worst | {"small_over_large": worst["right_angles_32"] / worst["right_angles_256"]}


def extremes() -> dict[str, float]:
    """Edges of the definition, half precision, rows without direction, layouts, autocast, and nonsense."""
    wrong = Worst(edges=0.0)
    f = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    half = 1 / math.sqrt(2)
    for variant in VARIANTS:
        wrong.note(
            edges=max(
                gap(opl(f, torch.tensor([0, 0, 0]), variant), 1 - 2 * half / 3),  # one class: d = 0
                gap(opl(f, torch.tensor([0, 1, 2]), variant), 1 + half / 3),  # no two of a class: s = 0
                gap(opl(f[:1], torch.tensor([4]), variant), 1.0),
                gap(opl(f[:0], torch.zeros(0, dtype=torch.int64), variant), 1.0),
            )
        )
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            large = torch.tensor([[1e4, -1e4], [0.0, 0.0], [1e-3, 1e-3], [-1.0, 1.0]], dtype=dtype, requires_grad=True)
            y = torch.tensor([0, 0, 1, 1])
            value = opl(large, y, variant)
            (slope,) = torch.autograd.grad(value, large)
            expected = {"abs_of_mean": 1 + 0.5 / 4, "mean_of_abs": 1 + 0.5 / 4, "signed": 1 - 0.5 / 4}[variant]
            bad = gap(value, expected) > 1e-6 or value.dtype != torch.promote_types(dtype, torch.float32)
            bad |= not bool(slope.isfinite().all()) or bool(slope[1].any())
            wrong.note(precision=float(bad))
        many = torch.randn(300, 5, generator=generator_of(0))
        labels = torch.arange(300) % 7
        value = opl(many, labels, variant)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = opl(many, labels, variant), opl(many[:50], labels[:50], variant)
        wrong.note(
            layout=max(
                gap(opl(many.T.contiguous().T, labels, variant), value),
                gap(mixed[0], value), gap(mixed[1], opl(many[:50], labels[:50], variant)),
            ),
        )  # fmt: skip
    y, logits = torch.tensor([0, 1, 1]), torch.zeros(3, 2)
    accepted = oracles.accepted(
        *(lambda gamma=gamma: opl(f, y, "signed", gamma) for gamma in (-0.1, math.inf, math.nan)),
        *(
            lambda weight=weight: cross_entropy_with_projection(logits, f, y, weight=weight)
            for weight in (-1, math.inf)
        ),
        lambda: opl(f, y, "absolute"),  # type: ignore[arg-type]
        lambda: opl(f[0], y[0], "signed"),
        lambda: opl(f[:, :0], y, "signed"),
        lambda: opl(f.long(), y, "signed"),
        lambda: opl(f, y[:2], "signed"),
        lambda: opl(f, y.int(), "signed"),
        lambda: opl(f, y - 1, "signed"),
        lambda: cross_entropy_with_projection(logits, f, y + 1),
        lambda: cross_entropy_with_projection(logits[:2], f, y),
        lambda: cross_entropy_with_projection(logits, f[:2], y),
    )
    return wrong | {"accepted": accepted}


def defaults() -> dict[str, float]:
    """Options that nobody gives."""
    return {
        "other_defaults": other_defaults(orthogonal_projection, gamma=0.5, variant="abs_of_mean")
        + other_defaults(cross_entropy_with_projection, weight=1.0, gamma=0.5, variant="abs_of_mean")
        + other_defaults(cosines, absolute=False),
    }


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest tensor has that is made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def memory() -> dict[str, float]:
    """The largest tensor of forward and backward over B D, 2,048 rows of 32 numbers; of the plain form B / D is due."""
    f = torch.randn(2048, 32, generator=generator_of(0), requires_grad=True)
    y = torch.arange(2048) % 50
    found = {}
    for variant in VARIANTS:
        for name, loss in (("", orthogonal_projection), ("gram_", by_gram)):
            with LargestTensor() as seen:
                torch.autograd.grad(loss(f, y, gamma=0.5, variant=variant), f)
            found[f"{name}{variant}"] = seen.numbers / f.numel()
    return found


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward in float32, features of 64 numbers, 100 classes, in turn with the B x B matrix.

    Also of the whole loss behind a linear classifier, and of cross-entropy alone.
    """
    generator = generator_of(seed)
    classifier = torch.nn.Linear(64, 100)
    weights = [*classifier.parameters()]
    calls: dict[str, Callable[[], object]] = {}

    def timed(name: str, loss: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor, whole: bool) -> None:
        calls[name] = lambda: torch.autograd.grad(loss(features), [features, *(weights if whole else [])])

    for rows in (128, 1024):
        f = torch.randn(rows, 64, generator=generator).requires_grad_()
        y = torch.randint(100, (rows,), generator=generator)
        for variant in VARIANTS[:2]:
            of_batch: dict[str, Any] = {"labels": y, "gamma": 0.5, "variant": variant}
            timed(f"projection_{variant}_{rows}", partial(orthogonal_projection, **of_batch), f, False)
            timed(f"gram_{variant}_{rows}", partial(by_gram, **of_batch), f, False)
        timed(f"whole_{rows}", lambda x, y=y: cross_entropy_with_projection(classifier(x), x, y), f, True)  # type: ignore[misc]
        timed(f"cross_entropy_{rows}", lambda x, y=y: F.cross_entropy(classifier(x), y), f, True)  # type: ignore[misc]
    return interleaved(calls, rounds=11)


# The paper's tables.

FEW_SHOT = (
    (71.45, 0.8, 73.02, 0.4), (85.95, 0.5, 86.12, 0.2), (62.02, 0.60, 63.10, 0.36), (79.64, 0.44, 79.87, 0.26),
    (69.74, 0.72, 70.20, 0.41), (84.41, 0.55, 85.01, 0.27), (74.50, 0.9, 74.94, 0.4), (88.00, 0.6, 88.06, 0.3),
    (65.93, 0.81, 66.90, 0.37), (83.15, 0.54, 83.23, 0.25), (71.69, 0.91, 72.10, 0.41), (86.66, 0.60, 86.70, 0.27),
)  # fmt: skip
"""Accuracy and half-width of the baseline, and with OPL: RFS and SKD, each on CIFAR-FS, miniImageNet and
tieredImageNet, 1 shot and 5 shots."""


def tables() -> dict[str, float]:
    """How many of the twelve few-shot gains of the paper's table are larger than the two half-widths' root sum."""
    return {"clear_gains": float(sum(with_opl - base > math.hypot(a, b) for base, a, with_opl, b in FEW_SHOT))}
