"""The exact tier in float64: loss and distances by other means, their symmetries and bounds, the official heads.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.spatial import distance as scipy_distance
from torch import nn
from torch.nn import functional as F

from baselines import oracles
from baselines.models import mlp
from baselines.oracles import Worst, gap, other_defaults
from baselines.timing import interleaved
from suites.harmonic_loss import method
from suites.harmonic_loss.method import METRICS, HarmonicHead, harmonic_logits, harmonic_loss

NORMS = ("euclidean", "manhattan", "chebyshev", "minkowski_1.5", "minkowski_3")
RATIOS = ("cosine", "canberra", "weighted_canberra", "bray_curtis", "bray_curtis_normalised")
"""Which depend on where zero is."""
Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def problems(seed: int, count: int, rows: int = 8) -> Iterator[Problem]:
    """Features (rows, D), centres (K, D) of spread 0.5 to 3, and targets; D from 2 to 12, K from 2 to 9."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        width, classes = (
            int(torch.randint(2, 13, (), generator=generator)),
            int(torch.randint(2, 10, (), generator=generator)),
        )
        spread = 0.5 + 2.5 * torch.rand((), generator=generator, dtype=torch.float64)
        x = spread * torch.randn(rows, width, generator=generator, dtype=torch.float64)
        w = spread * torch.randn(classes, width, generator=generator, dtype=torch.float64)
        yield x, w, torch.randint(classes, (rows,), generator=generator)


def log_p(x: torch.Tensor, w: torch.Tensor, metric: str | method.Distance, n: float = 3.0) -> torch.Tensor:
    """log p without a floor, (B, K)."""
    return harmonic_logits(x, w, metric=metric, exponent=n, floor=0.0).log_softmax(-1)


def most(values: torch.Tensor) -> float:
    """The largest."""
    return float(values.max())


# The loss.


def definition(*, seed: int) -> dict[str, float]:
    """The loss of every metric as a ratio of powers, its derivative in the distances, and scaled distances."""
    worst = Worst()
    for x, w, y in problems(seed, 4):
        for name, n in itertools.product(METRICS, (0.7, 3.0)):
            d = METRICS[name](x, w).detach() + 0.01
            p = d**-n / (d**-n).sum(1, keepdim=True)
            of_target = p.gather(1, y[:, None]).squeeze(1)
            options = {"metric": name, "exponent": n, "floor": 0.01, "reduction": "none"}
            plain, mixed = (harmonic_loss(x, w, y, uniform=u, **options) for u in (0.0, 0.2))  # type: ignore[arg-type]
            free = d.clone().requires_grad_()
            of_free = harmonic_loss(x, w, y, metric=lambda *_: free, exponent=n, floor=0.0, reduction="sum")  # noqa: B023
            scaled = harmonic_logits(x, w, metric=lambda *_: d / d.amin(1, keepdim=True), exponent=n, floor=0.0)  # noqa: B023
            worst.note(
                loss_gap=max(gap(plain, -of_target.log()), gap(mixed, -(0.8 * of_target + 0.2 / len(w)).log())),
                row_minimum_gap=gap(scaled.log_softmax(1), p.log()),
                gradient_gap=gap(torch.autograd.grad(of_free, free)[0], n * (F.one_hot(y, len(w)) - p) / d),
            )
    return worst


def optimum(*, seed: int) -> dict[str, float]:
    """Features at their centres: the loss, and its slope."""
    worst = Worst()
    for _, w, y in problems(seed, 10):
        for name in ("euclidean", "cosine", "manhattan", "canberra", "bray_curtis"):
            free = w[y].clone().requires_grad_()
            at = harmonic_loss(free, w, y, metric=name, exponent=2.0, floor=0.0)
            worst.note(at_centre=max(float(at.detach()), gap(torch.autograd.grad(at, free)[0])))
    return worst


def exponents(*, seed: int) -> dict[str, float]:
    """Entropy as n grows, and the limits: uniform at n = 1e-6, the nearest centre at n = 1e5."""
    worst, ladder = Worst(), [0.1, 0.5, 1.0, 2.0, 6.0, 28.0, 200.0]
    for x, w, _ in problems(seed, 5):
        for name in METRICS:
            if name == "hamming_hard":  # counts: many centres are equally far
                continue
            entropy = torch.stack([torch.special.entr(log_p(x, w, name, n).exp()).sum(1) for n in ladder])
            d = METRICS[name](x, w)
            two = d.topk(2, dim=1, largest=False).values
            clear = two[:, 1] > 1.001 * two[:, 0]
            chosen = log_p(x, w, name, 1e5).exp()[clear]
            worst.note(
                entropy_rise=most(entropy.diff(dim=0)),
                limits_gap=max(gap(log_p(x, w, name, 1e-6).exp(), 1 / len(w)),
                               gap(chosen, F.one_hot(d.argmin(1), len(w))[clear])),
            )  # fmt: skip
    return worst


# The distances.


def by_scipy(name: str, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Distances (B, K) by SciPy or, where it has none, pair by pair."""
    names = {"manhattan": "cityblock", "mahalanobis": "euclidean", "mahalanobis_diagonal": "euclidean"}
    if name.startswith("minkowski"):
        return scipy_distance.cdist(x, w, "minkowski", p=float(name.split("_")[1]))
    if name in PAIRWISE:
        return np.array([[PAIRWISE[name](a, b) for b in w] for a in x])
    return scipy_distance.cdist(x, w, names.get(name, name))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "smooth_chebyshev": lambda a, b: math.log(sum(math.exp(10 * abs(one)) for one in a - b)) / 10,
    "weighted_canberra": lambda a, b: float(
        np.average(np.abs(a - b) / (np.abs(a) + np.abs(b)), weights=np.abs(a) + np.abs(b))
    ),
    "bray_curtis": lambda a, b: float(scipy_distance.cityblock(a, b) / (np.abs(a) + np.abs(b)).sum()),
    "bray_curtis_standard": lambda a, b: float(scipy_distance.cityblock(a, b) / max(abs((a + b).sum()) + 0.001, 0.01)),
    "bray_curtis_normalised": lambda a, b: float(
        np.abs(np.abs(a) / np.abs(a).sum() - np.abs(b) / np.abs(b).sum()).sum() / 2
    ),
    "hamming": lambda a, b: float(np.abs(_sigmoid(a) - _sigmoid(b)).sum()),
    "hamming_hard": lambda a, b: float(((a > 0.5) != (b > 0.5)).sum()),
}


def distances(*, seed: int) -> dict[str, float]:
    """Every distance and its gradient by other means: SciPy, pairs by hand, finite differences, stacked problems."""
    worst = Worst()
    for number, (x, w, _) in enumerate(problems(seed, 5)):
        other = x + 1, w.flip(0) - 0.5
        for name, metric in METRICS.items():
            found = metric(x, w)
            stacked = metric(torch.stack([x, other[0]]), torch.stack([w, other[1]]))
            worst.note(
                distance_gap=max(gap(found, by_scipy(name, x.numpy(), w.numpy())),
                                 gap(stacked, torch.stack([found, metric(*other)]))),
            )  # fmt: skip
            if number == 0 and name != "hamming_hard":
                free = x[:3].clone().requires_grad_(), w.clone().requires_grad_()
                right = torch.autograd.gradcheck(
                    metric, free, atol=1e-6, rtol=1e-5, raise_exception=False, fast_mode=True
                )
                worst.note(slope_gap=float(not right))
        root = torch.randn(x.shape[1], 4, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        worst.note(slope_gap=slopes_of_bits(x, w))
        apart, diagonal = x[:, None] - w, root[:, 0].exp()
        worst.note(
            mahalanobis_gap=max(
                gap(method.mahalanobis(x, w, root=root), (apart @ (root @ root.T) * apart).sum(-1).sqrt()),
                gap(method.mahalanobis(x, w, root=diagonal), (diagonal * apart).square().sum(-1).sqrt()),
            ),
            options_gap=max(
                gap(method.smooth_chebyshev(x, w, sharpness=3.0), (3 * apart.abs()).logsumexp(-1) / 3),
                gap(method.hamming(x, w, temperature=2.0), method.hamming(x / 2, w / 2)),
                gap(method.weighted_canberra(x, w, power=0.5), _by_power(x, w, 0.5)),
                gap(method.bray_curtis(x, w, form="standard", eps=0.5), _standard(x, w, 0.5)),
            ),
        )
    return worst


def _by_power(x: torch.Tensor, w: torch.Tensor, a: float) -> torch.Tensor:
    apart, sizes = (x[:, None] - w).abs(), x[:, None].abs() + w.abs()
    return (apart * sizes ** (a - 1)).sum(-1) / (sizes**a).sum(-1)


def _standard(x: torch.Tensor, w: torch.Tensor, eps: float) -> torch.Tensor:
    below = ((x[:, None] + w).sum(-1).abs() + eps).clamp_min(10 * eps)
    return (x[:, None] - w).abs().sum(-1) / below


def slopes_of_bits(x: torch.Tensor, w: torch.Tensor) -> float:
    """The gradient of the sum of hard Hamming distances, a step function, against that of its sigmoids."""
    free = [one.clone().requires_grad_() for one in (x, w)]
    found = torch.autograd.grad(METRICS["hamming_hard"](*free).sum(), free)
    signs = ((x > 0.5).double()[:, None] - (w > 0.5).double()).sign()
    sides = [((one - 0.5) / 0.1).sigmoid() for one in (x, w)]
    expected = [sign * side * (1 - side) / 0.1 for sign, side in zip((signs.sum(1), -signs.sum(0)), sides, strict=True)]
    return max(gap(one, other) for one, other in zip(found, expected, strict=True))


def symmetries(*, seed: int) -> dict[str, float]:
    """Scaling of both sides, of each vector by itself, and shifts of both, without a floor."""
    worst, least = Worst(), Worst()
    free_of_eps: dict[str, method.Distance] = {
        name: METRICS[name] for name in (*NORMS, *RATIOS)
    } | {"bray_curtis_standard": partial(method.bray_curtis, form="standard", eps=0.0)}  # fmt: skip
    for x, w, _ in problems(seed, 12):
        root = torch.linspace(0.3, 2.0, x.shape[1], dtype=torch.float64).diag() + 0.2
        free_of_eps["mahalanobis"] = partial(method.mahalanobis, root=root)
        shift = torch.linspace(-2, 3, x.shape[1], dtype=torch.float64)
        for name, metric in free_of_eps.items():
            p = log_p(x, w, metric).exp()
            worst.note(scale_gap=max(gap(log_p(a * x, a * w, metric).exp(), p) for a in (1e-3, 7.0)))
            moved = gap(log_p(x + shift, w + shift, metric).exp(), p)
            if name in NORMS or name == "mahalanobis":
                worst.note(shift_gap=moved)
            elif name != "bray_curtis_standard":
                least.note(shift_change=-moved)
        by_row = torch.linspace(0.1, 9, len(x), dtype=torch.float64)[:, None]
        by_centre = torch.linspace(5, 0.2, len(w), dtype=torch.float64)[:, None]
        worst.note(own_scale_gap=gap(log_p(by_row * x, by_centre * w, "cosine"), log_p(x, w, "cosine")))
    return worst | {"shift_change": -least["shift_change"]}


def relations(*, seed: int) -> dict[str, float]:
    """Distances that are special cases or limits of one another, and the range of ratios."""
    worst = Worst()
    for x, w, y in problems(seed, 12):
        d = {name: metric(x, w) for name, metric in METRICS.items()}
        units, positive = (F.normalize(x, dim=1), F.normalize(w, dim=1)), (x.abs(), w.abs())
        of_cosine, of_euclid = (
            harmonic_loss(*pair, y, metric=name, exponent=n, floor=0.0, reduction="none")
            for pair, name, n in (((x, w), "cosine", 3.0), (units, "euclidean", 6.0))
        )
        of_ratios = torch.cat([d[name] for name in RATIOS if name not in ("cosine", "canberra")])
        bounds = ((of_ratios, 1), (d["canberra"], x.shape[1]), (d["cosine"], 2))
        worst.note(
            sphere_gap=gap(of_cosine, of_euclid),
            range_excess=max(max(most(values - top), most(-values)) for values, top in bounds),
            special_gap=max(
                gap(method.minkowski(x, w, p=1.0), d["manhattan"]), gap(method.minkowski(x, w, p=2.0), d["euclidean"]),
                gap(d["weighted_canberra"], d["bray_curtis"]),
                gap(method.bray_curtis(*positive, form="standard", eps=0.0), method.bray_curtis(*positive)),
            ),
            large_p_gap=gap(method.minkowski(x, w, p=200.0) / d["chebyshev"], 1.0),
        )  # fmt: skip
    return worst


def geometry(*, seed: int) -> dict[str, float]:
    """The nearest centre as an affine classifier, and lines that leave a region and come back to it."""
    worst = Worst()
    generator = torch.Generator().manual_seed(seed)
    bent = dict.fromkeys(("manhattan", "chebyshev", "canberra", "bray_curtis"), 0.0)
    for x, w, _ in problems(seed, 12, rows=200):
        root = torch.randn(x.shape[1], x.shape[1], generator=generator, dtype=torch.float64)
        y, v = x @ root, w @ root
        worst.note(
            affine_gap=max(
                gap(METRICS["euclidean"](x, w).argmin(1), (x @ w.T - w.square().sum(1) / 2).argmax(1)),
                gap(method.mahalanobis(x, w, root=root).argmin(1), (y @ v.T - v.square().sum(1) / 2).argmax(1)),
                gap(METRICS["cosine"](x, w).argmin(1), (x @ F.normalize(w, dim=1).T).argmax(1)),
            )
        )
        # Regions of affine scores are convex: no line leaves one and comes back.
        ends = x[:100, None], x[100:, None]
        share = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
        line = (ends[0] + share * (ends[1] - ends[0])).flatten(0, 1)
        for name in bent:
            on_line = METRICS[name](line, w).argmin(1).view(100, 21)
            runs = 1 + (on_line.diff(dim=1) != 0).sum(1)
            kinds = torch.tensor([len(one.unique()) for one in on_line])
            bent[name] = max(bent[name], most((runs - kinds).double()))
    xor = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    two = torch.randn(20_000, 2, 2, generator=generator, dtype=torch.float64)
    right = METRICS["euclidean"](xor.expand(len(two), -1, -1), two).argmin(-1) == torch.tensor([0, 0, 1, 1])
    return worst | {"bent": min(bent.values()), "right_on_xor": most(right.sum(-1).double())}


# The official code.


def official_heads(*, seed: int) -> dict[str, float]:
    """Heads of the official code as formulas: what they predict, and how sure or low they can get."""
    worst, accuracy, lowest = Worst(), 0.0, math.inf
    generator = torch.Generator().manual_seed(seed)
    for classes in (10, 100):
        x = torch.randn(200, 32, generator=generator, dtype=torch.float64)
        w = torch.randn(classes, 32, generator=generator, dtype=torch.float64)
        d = METRICS["cosine"](x, w) + 1e-4
        faulty = -((d / d.amin(1, keepdim=True)) ** -1.0)
        accuracy = max(accuracy, float((faulty.argmax(1) == d.argmin(1)).double().mean()))
        lowest = min(lowest, -most(faulty.log_softmax(1)))  # ten classes have the lower one
        largest = [(n, eps, harmonic_logits(a, w, exponent=n, floor=eps).softmax(1))
                   for n, eps in itertools.product((1.0, 2.0), (1e-4, 1e-2)) for a in (x, w)]  # fmt: skip
        worst.note(
            temperature_gap=gap((F.normalize(x, dim=1) @ F.normalize(w, dim=1).T / 0.1).log_softmax(1),
                                ((1 - d) / 0.1).log_softmax(1)),
            bound_gap=max(
                most(p) - method.largest_probability(classes, exponent=n, floor=eps) for n, eps, p in largest
            ),
        )  # fmt: skip
    d = torch.tensor([[1.0, 1.0242, 1.0244]], dtype=torch.float64).requires_grad_()
    clamped = (d / d.detach().amin(1)).pow(-768.0).clamp_min(1e-8).log()
    slope = torch.autograd.grad(F.cross_entropy(clamped, torch.tensor([2])), d)[0][0]
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    tight = harmonic_logits(opposite[:1], opposite, exponent=2.0, floor=1e-2).softmax(1)[0, 0]
    worst.note(bound_gap=gap(tight, method.largest_probability(2, exponent=2.0, floor=1e-2)))
    return worst | {
        "faulty_accuracy": accuracy, "lowest_of_ten": lowest, "slope_of_clamped_target": float(slope[2].abs()),
    }  # fmt: skip


# Costs.


def memory(*, seed: int) -> dict[str, float]:
    """Entries of the largest tensor that backward needs, 64 rows, 30 classes, 50 features, over B x K x D."""
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(rows, 50, generator=generator).requires_grad_() for rows in (64, 30))
    sizes = [0]

    def keep(kept: torch.Tensor) -> torch.Tensor:
        sizes.append(kept.numel())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        for name in METRICS:
            if name not in ("canberra", "weighted_canberra", "smooth_chebyshev"):
                harmonic_loss(x, w, torch.arange(64) % 30, metric=name)
    return {"largest": max(sizes) / (64 * 30 * 50)}


REPEATS = 4
"""Of a call of a millisecond or two: less than the slices in which a busy machine gives its time."""


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward of heads: 256 rows, 512 features, 100 classes in float32; and of whole steps.

    A step is that of an MLP 196-512-512 with the head on top.
    """
    torch.manual_seed(seed)
    x, images, y = torch.randn(256, 512).requires_grad_(), torch.rand(256, 196), torch.randint(100, (256,))
    heads: dict[str, nn.Module] = {"linear": nn.Linear(512, 100)}
    heads |= {name: HarmonicHead(512, 100, metric=name) for name in ("euclidean", "cosine")}
    body = mlp([196, 512, 512])

    def head(layer: nn.Module) -> None:
        for _ in range(REPEATS):
            torch.autograd.grad(F.cross_entropy(layer(x), y), [x, *layer.parameters()])

    def step(layer: nn.Module) -> None:
        network = nn.Sequential(body, nn.ReLU(), layer)
        for _ in range(2):
            torch.autograd.grad(F.cross_entropy(network(images), y), [*network.parameters()])

    calls = {f"head_{name}": partial(head, layer) for name, layer in heads.items()}
    calls |= {f"step_{name}": partial(step, heads[name]) for name in ("linear", "cosine")}
    return interleaved(calls, rounds=7)


def slow_metrics(*, seed: int) -> dict[str, list[float]]:
    """Seconds of `REPEATS` times forward and backward of heads: 32 rows, 512 features, 100 classes in float32."""
    torch.manual_seed(seed)
    x, y = torch.randn(32, 512).requires_grad_(), torch.randint(100, (32,))
    w = torch.randn(100, 512).requires_grad_()

    def call(metric: str) -> None:
        for _ in range(REPEATS):
            torch.autograd.grad(harmonic_loss(x, w, y, metric=metric), (x, w))

    return interleaved({name: partial(call, name) for name in ("cosine", "bray_curtis")}, rounds=5, warm_up=1)


# Ends of the range.


def extremes(*, seed: int) -> dict[str, float]:
    """How many properties fail of: large and tiny features, zeros, four precisions, one class, no rows, few digits."""
    wrong = 0
    x, w, y = next(problems(seed, 1))
    for name, dtype in itertools.product(METRICS, (torch.float64, torch.float32, torch.float16, torch.bfloat16)):
        for scale, floor in itertools.product((1e4, 1.0, 1e-6, 0.0), (0.0, 1e-4)):
            free = (scale * x.clamp(-3, 3)).to(dtype).requires_grad_()
            centres = (scale * w.clamp(-3, 3)).to(dtype).requires_grad_()
            found = harmonic_loss(free, centres, y, metric=name, exponent=6.0, floor=floor, reduction="none")
            slopes = torch.autograd.grad(found.sum(), (free, centres))
            wrong += found.dtype != torch.promote_types(dtype, torch.float32)
            wrong += not bool(found.isfinite().all())
            if dtype != torch.float16 or scale != 1e-6:  # the gradients are above float16's largest
                wrong += sum(not bool(one.isfinite().all()) for one in slopes)
        same = w[:1].expand(2, -1).to(dtype)
        at_all = harmonic_loss(x.to(dtype), same, y.clamp_max(1), metric=name, exponent=6.0, floor=1e-4)
        wrong += gap(at_all, math.log(2)) > 1e-3
        alone = harmonic_loss(x.to(dtype), w[:1].to(dtype), torch.zeros_like(y), metric=name)
        wrong += float(alone) != 0
        wrong += harmonic_logits(x[:0].to(dtype), w.to(dtype), metric=name).shape != (0, len(w))
        wrong += not math.isnan(harmonic_loss(x[:0].to(dtype), w.to(dtype), y[:0], metric=name))
    wrong += gap(METRICS["cosine"](torch.zeros(1, 3), torch.eye(3)), 1.0) > 1e-7
    near = 100 * torch.ones(1, 300) + 1e-3 * torch.eye(300)[:1]
    centres = torch.cat([100 * torch.ones(1, 300), torch.zeros(1, 300)])
    single, double = (
        torch.stack([METRICS[name](near.to(d), centres.to(d))[0, 0].double() for name in ("euclidean", "cosine")])
        for d in (torch.float32, torch.float64)
    )
    return {"wrong": float(wrong), "cancelled_gap": gap(single / double, 1.0)}


def nonsense(*, seed: int) -> dict[str, float]:
    """Calls that make no sense and are not refused."""
    x, w, y = next(problems(seed, 1))
    calls: list[Callable[[], object]] = [
        *(partial(harmonic_loss, x, w, y, exponent=n) for n in (0.0, -1.0, math.inf, math.nan)),
        *(partial(harmonic_loss, x, w, y, floor=eps) for eps in (-1e-3, math.inf, math.nan)),
        *(partial(harmonic_loss, x, w, y, uniform=u) for u in (-0.1, 1.0)),
        *(partial(harmonic_loss, x, w, target) for target in (y + len(w), y - len(w), y.float(), y[:-1])),
        partial(harmonic_loss, x, w, y, ignore_index=-100, metric="hyperbolic"),
        partial(harmonic_loss, x, w, y, reduction="median"),  # type: ignore[arg-type]
        partial(harmonic_loss, x[0], w, y), partial(harmonic_loss, x, w[:, :-1], y), partial(harmonic_loss, x, w[0], y),
        partial(harmonic_loss, x[None], w[None], y),
        partial(harmonic_logits, x, w[:0]), partial(harmonic_logits, x[:, :0], w[:, :0]),
        partial(harmonic_logits, x.long(), w), partial(harmonic_logits, x, w.long()),
        partial(harmonic_logits, torch.stack([x, x]), w[None]), partial(harmonic_logits, x[None], w),
        partial(method.minkowski, x, w, p=0.9), partial(method.hamming, x, w, temperature=0.0),
        partial(method.smooth_chebyshev, x, w, sharpness=0.0),
        partial(method.bray_curtis, x, w, form="other"),  # type: ignore[arg-type]
        partial(HarmonicHead, 3, 0), partial(HarmonicHead, 0, 3), partial(HarmonicHead, 3, 3, metric="hyperbolic"),
        partial(method.largest_probability, 0, exponent=1.0),
    ]  # fmt: skip
    return {"accepted": oracles.accepted(*calls)}


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, the reductions, names of metrics, and the head against the function."""
    x, w, y = next(problems(seed, 1))
    each, worst = harmonic_loss(x, w, y, reduction="none"), Worst()
    ignored = torch.where(torch.arange(len(y)) % 2 == 0, -100, y)
    worst.note(
        reduction_gap=max(gap(harmonic_loss(x, w, y), each.mean()),
                          gap(harmonic_loss(x, w, y, reduction="sum"), each.sum()),
                          gap(harmonic_loss(x, w, ignored), each[1::2].mean())),
    )  # fmt: skip
    torch.manual_seed(seed)
    with torch.no_grad():
        for name in METRICS:
            head = HarmonicHead(x.shape[1], len(w), metric=name, exponent=2.0, floor=0.02).double()
            expected = METRICS[name](x, head.weight)
            if name == "mahalanobis":
                head.root.add_(0.3)
                expected = method.mahalanobis(x, head.weight, root=torch.eye(x.shape[1]).double() + 0.3)
            elif name == "mahalanobis_diagonal":
                head.log_diagonal.add_(torch.linspace(-1, 1, x.shape[1]))
                scale = torch.linspace(-1, 1, x.shape[1]).double().exp()
                expected = ((x[:, None] - head.weight).square() * scale).sum(-1).sqrt()
            worst.note(
                head_gap=max(gap(head(x), -2 * (expected + 0.02).log()), gap(head(x[0]), head(x)[0]),
                             gap(head(x.view(2, 4, -1)).flatten(0, 1), head(x))),
            )  # fmt: skip
    common = {"metric": "cosine", "exponent": 1.0, "floor": 1e-4}
    return worst | {
        "start_spread": gap(HarmonicHead(4, 1000).weight) * 2,
        "other_defaults": other_defaults(harmonic_logits, **common)
        + other_defaults(harmonic_loss, **common, uniform=0.0, ignore_index=-100, reduction="mean")
        + other_defaults(HarmonicHead, **common)
        + other_defaults(method.largest_probability, floor=1e-4, diameter=2.0)
        + other_defaults(method.bray_curtis, form="absolute", eps=1e-3)
        + other_defaults(method.hamming, temperature=1.0)
        + other_defaults(method.smooth_chebyshev, sharpness=10.0)
        + other_defaults(method.weighted_canberra, power=1.0),
    }  # fmt: skip
