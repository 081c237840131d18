r"""Harmonic loss on any distance (arXiv:2603.10225, after arXiv:2502.01628): class centres for a linear classifier.

Features x (B, D), centres w_k (K, D), distances d_k = d(x, w_k), exponent n > 0, targets y (B,). A class is the
likelier the nearer its centre is,

    p_k = d_k^-n / sum_j d_j^-n,    L = -log p_y = n log d_y + log sum_j d_j^-n,    dL/dd_k = n (1[k = y] - p_k) / d_k:

cross-entropy of the logits -n log d_k. The prediction is the nearest centre, and the loss is 0 where x is its centre.
n is that of the distance itself. (Official Euclidean layers raise the squared distance to -n, which is 2 n here.)
`floor` is added to every distance, 1e-4 as in the official layers, so that the cosine distance, which is at most 2,
bounds the confidence: `largest_probability`.

    head = HarmonicHead(128, 10, metric="cosine", exponent=6.0)
    loss = F.cross_entropy(head(features), targets)                     # logits: all that reads logits reads them
    loss = harmonic_loss(features, centres, targets, metric="euclidean", exponent=6.0)

Metrics are functions of x (..., B, D) and w (..., K, D) that return (..., B, K). Both Canberra distances and the smooth
Chebyshev need a tensor of B x K x D numbers, the others none. Half precision, also that of autocast, is computed and
returned in float32; its gradients are infinite above 65,504, which without a floor they are near a centre.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from baselines.losses import Reduction, require, visible, widened

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def harmonic_logits(
    features: torch.Tensor, centres: torch.Tensor, *, metric: str | Distance = "cosine", exponent: float = 1.0,
    floor: float = 1e-4,
) -> torch.Tensor:  # fmt: skip
    """-n log(d + floor) of features (..., B, D) and centres (..., K, D): logits (..., B, K), finite where d is.

    `metric` is a name of `METRICS` or a function like them. At floor = 0 a distance of 0 counts as the smallest normal
    number, and gets no gradient. Raises ValueError for shapes that do not fit, integers, n <= 0, floor < 0.
    """
    require(0 < exponent < math.inf, "exponent must be positive and finite", exponent)
    require(0 <= floor < math.inf, "floor must be at least 0 and finite", floor)
    distance = distance_of(metric)
    x, w = _checked(features, centres)
    with torch.autocast(x.device.type, enabled=False):
        distances = distance(x, w)
        return -exponent * (distances + floor if floor else distances.clamp_min(_tiny(x))).log()


def harmonic_loss(
    features: torch.Tensor, centres: torch.Tensor, targets: torch.Tensor, *, metric: str | Distance = "cosine",
    exponent: float = 1.0, floor: float = 1e-4, uniform: float = 0.0, ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> torch.Tensor:  # fmt: skip
    """-log p_y of features (B, D), centres (K, D), targets int64 (B,): a scalar, or (B,) for reduction "none".

    `uniform` u mixes p with the uniform distribution, (1 - u) p + u / K, as the official language models do with u =
    0.01: the loss is then at most log(K / u). Targets of `ignore_index` cost nothing and do not count in the mean.
    Raises ValueError for what `harmonic_logits` refuses, u outside [0, 1) and (on a CPU) targets out of range.
    """
    require(features.dim() == 2 and centres.dim() == 2, "features and centres must be matrices", tuple(features.shape))
    require(0 <= uniform < 1, "uniform must lie in [0, 1)", uniform)
    require(reduction in ("mean", "sum", "none"), "reduction must be 'mean', 'sum' or 'none'", repr(reduction))
    _check_targets(targets, len(features), len(centres), ignore_index)
    log_p = harmonic_logits(features, centres, metric=metric, exponent=exponent, floor=floor).log_softmax(1)
    if uniform:
        share = log_p.new_tensor(math.log(uniform / len(centres)))
        log_p = torch.logaddexp(log_p + math.log1p(-uniform), share)
    return F.nll_loss(log_p, targets, ignore_index=ignore_index, reduction=reduction)


class HarmonicHead(nn.Module):
    """A classifier by distance, in place of nn.Linear: features (..., D) -> logits (..., K), no bias.

    Centres start as the weights of nn.Linear. "mahalanobis" learns the root C of its matrix C C^T and
    "mahalanobis_diagonal" the logarithms of its diagonal, both from the identity.
    """

    def __init__(
        self, features: int, classes: int, *, metric: str = "cosine", exponent: float = 1.0, floor: float = 1e-4
    ) -> None:
        super().__init__()
        require(features >= 1 and classes >= 1, "there must be a feature and a class", (features, classes))
        distance_of(metric)
        self.metric, self.exponent, self.floor = metric, exponent, floor
        self.weight = nn.Parameter(torch.empty(classes, features).uniform_(-1, 1) / math.sqrt(features))
        if metric == "mahalanobis":
            self.root = nn.Parameter(torch.eye(features))
        elif metric == "mahalanobis_diagonal":
            self.log_diagonal = nn.Parameter(torch.zeros(features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = features.reshape(-1, features.shape[-1])
        options = {"exponent": self.exponent, "floor": self.floor}
        logits = harmonic_logits(rows, self.weight, metric=self._distance(), **options)
        return logits.reshape(*features.shape[:-1], len(self.weight))

    def _distance(self) -> str | Distance:
        if self.metric == "mahalanobis":
            return lambda x, w: mahalanobis(x, w, root=self.root)
        if self.metric == "mahalanobis_diagonal":
            return lambda x, w: mahalanobis(x, w, root=(self.log_diagonal / 2).exp())
        return self.metric


def largest_probability(classes: int, *, exponent: float, floor: float = 1e-4, diameter: float = 2.0) -> float:
    """The bound 1 / (1 + (K - 1) (floor / (diameter + floor))^n) on p, for distances in [0, diameter]: 2 for cosine."""
    require(classes >= 1, "classes must be at least 1", classes)
    return 1 / (1 + (classes - 1) * (floor / (diameter + floor)) ** exponent)


def euclidean(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """sqrt(sum (x - w)^2)."""
    # A square below the smallest normal number has no gradient: that of the root would be infinite.
    product, of_x, of_w = _Products.apply(x, w)
    squares = torch.add(of_x + of_w.mT, product, alpha=-2)
    return _with_digits(squares, x, w, 1.0, math.inf).clamp_min(_tiny(x)).sqrt()


def cosine(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """1 - x.w / (|x| |w|), in [0, 2]; 1 where one of them is 0. Half the squared distance of x / |x| and w / |w|."""
    product, of_x, of_w = _Products.apply(x, w)
    by_x, by_w = (of.clamp_min(_small(x)).rsqrt() for of in (of_x, of_w))
    distances = 1 - product * by_x * by_w.mT
    return _with_digits(distances, x * by_x, w * by_w, 0.5, 0.5).clamp(0, 2)


class _Products(torch.autograd.Function):
    """x w^T, |x|^2 (..., B, 1) and |w|^2 (..., K, 1). PyTorch's own gradients of the three take half as long again."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, w: torch.Tensor):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, w)
        return x @ w.mT, x.square().sum(-1, keepdim=True), w.square().sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx, product: torch.Tensor, of_x: torch.Tensor, of_w: torch.Tensor):  # type: ignore[no-untyped-def]
        x, w = ctx.saved_tensors
        return torch.addcmul(product @ w, of_x, x, value=2), torch.addcmul(product.mT @ x, of_w, w, value=2)


def _with_digits(
    distances: torch.Tensor, x: torch.Tensor, w: torch.Tensor, factor: float, below: float
) -> torch.Tensor:
    """Distances whose smallest of each row, where below `below`, are factor * sum (x - w)^2; changed in place."""
    with torch.no_grad():
        least, nearest = distances.min(-1, keepdim=True)
        if w.dim() == 2:  # several times as fast as the general way
            chosen = w.index_select(0, nearest.flatten())
        else:
            chosen = w.gather(-2, nearest.expand(*nearest.shape[:-1], w.shape[-1]))
        exact = factor * (x - chosen).square().sum(-1, keepdim=True)
        lost = torch.where(least < below, exact - least, 0)
    return distances.scatter_add_(-1, nearest, lost)


def mahalanobis(x: torch.Tensor, w: torch.Tensor, *, root: torch.Tensor) -> torch.Tensor:
    """sqrt((x - w)^T C C^T (x - w)) for the root C (D, R), or for a diagonal one (D,)."""
    root = root.to(x)
    return euclidean(x * root, w * root) if root.dim() == 1 else euclidean(x @ root, w @ root)


def minkowski(x: torch.Tensor, w: torch.Tensor, *, p: float) -> torch.Tensor:
    """(sum |x - w|^p)^(1/p), 1 <= p <= inf."""
    require(p >= 1, "p must be at least 1", p)
    return torch.cdist(x, w, p=p, compute_mode="donot_use_mm_for_euclid_dist")


def manhattan(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """sum |x - w|."""
    return minkowski(x, w, p=1.0)


def chebyshev(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """max |x - w|."""
    return minkowski(x, w, p=math.inf)


def bray_curtis(
    x: torch.Tensor, w: torch.Tensor, *, form: Literal["absolute", "standard", "normalised"] = "absolute",
    eps: float = 1e-3,
) -> torch.Tensor:  # fmt: skip
    """sum |x - w| / sum (|x| + |w|), in [0, 1]; "standard": over max(|sum (x + w)| + eps, 10 eps).

    "normalised" divides |x| and |w| by their sums first. Two vectors of zeros are at 0.
    """
    if form == "absolute":
        sizes = x.abs().sum(-1, keepdim=True) + w.abs().sum(-1).unsqueeze(-2)
        return manhattan(x, w) / sizes.clamp_min(_small(x))
    if form == "standard":
        sums = (x.sum(-1, keepdim=True) + w.sum(-1).unsqueeze(-2)).abs() + eps
        return manhattan(x, w) / sums.clamp_min(max(10 * eps, _small(x)))
    require(form == "normalised", "form must be 'absolute', 'standard' or 'normalised'", repr(form))
    return manhattan(*(F.normalize(one.abs(), p=1.0, dim=-1, eps=_small(x)) for one in (x, w))) / 2


def hamming(x: torch.Tensor, w: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """sum |sigmoid(x / T) - sigmoid(w / T)|: differing bits, softly."""
    require(temperature > 0, "temperature must be positive", temperature)
    return manhattan((x / temperature).sigmoid(), (w / temperature).sigmoid())


def hamming_hard(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """How many entries lie on different sides of 0.5; the gradient is that of sigmoid((x - 0.5) / 0.1)."""
    soft = [((one - 0.5) / 0.1).sigmoid() for one in (x, w)]
    bits = [(one > 0.5).to(one) + (s - s.detach()) for one, s in zip((x, w), soft, strict=True)]
    return manhattan(*bits)


# Distances that compare B x K x D pairs of numbers.


def smooth_chebyshev(x: torch.Tensor, w: torch.Tensor, *, sharpness: float = 10.0) -> torch.Tensor:
    """logsumexp(a |x - w|) / a: above the largest by at most log(D) / a, which is also its value at x = w."""
    require(sharpness > 0, "sharpness must be positive", sharpness)
    return (sharpness * _pairs(x, w)[0]).logsumexp(-1) / sharpness


def canberra(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """sum |x - w| / (|x| + |w|), in [0, D]; two zeros do not differ."""
    apart, sizes = _pairs(x, w)
    return (apart / sizes.clamp_min(_small(x))).sum(-1)


def weighted_canberra(x: torch.Tensor, w: torch.Tensor, *, power: float = 1.0) -> torch.Tensor:
    """The mean of |x - w| / (|x| + |w|) with weights (|x| + |w|)^a, in [0, 1]; Bray-Curtis at a = 1."""
    apart, sizes = _pairs(x, w)
    weights = sizes.clamp_min(1e-12) ** power  # a root has no slope at 0
    return (weights * apart / sizes.clamp_min(_small(x))).sum(-1) / weights.sum(-1)


def _pairs(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """|x - w| and |x| + |w| of all pairs, (..., B, K, D)."""
    x, w = x.unsqueeze(-2), w.unsqueeze(-3)
    return (x - w).abs(), x.abs() + w.abs()


METRICS: dict[str, Distance] = {
    "euclidean": euclidean,
    "cosine": cosine,
    "manhattan": manhattan,
    "chebyshev": chebyshev,
    "smooth_chebyshev": smooth_chebyshev,
    "minkowski_1.5": lambda x, w: minkowski(x, w, p=1.5),
    "minkowski_3": lambda x, w: minkowski(x, w, p=3.0),
    "canberra": canberra,
    "weighted_canberra": weighted_canberra,
    "bray_curtis": bray_curtis,
    "bray_curtis_standard": lambda x, w: bray_curtis(x, w, form="standard"),
    "bray_curtis_normalised": lambda x, w: bray_curtis(x, w, form="normalised"),
    "hamming": hamming,
    "hamming_hard": hamming_hard,
    "mahalanobis": euclidean,
    "mahalanobis_diagonal": euclidean,
}
"""By name. A Mahalanobis distance without a matrix of its own has the identity: that of `HarmonicHead` is learned."""


def distance_of(metric: str | Distance) -> Distance:
    """The function of a name; a function is returned as it is."""
    if not isinstance(metric, str):
        return metric
    require(metric in METRICS, f"metric must be one of {', '.join(METRICS)}", repr(metric))
    return METRICS[metric]


def _tiny(values: torch.Tensor) -> float:
    return torch.finfo(values.dtype).tiny


def _small(values: torch.Tensor) -> float:
    """The root of the smallest normal number: what divides by its square, or its power 3/2, is finite."""
    return math.sqrt(_tiny(values))


def _checked(features: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in float32 at least."""
    shapes = f"{tuple(features.shape)} and {tuple(centres.shape)}"
    fit = features.dim() == centres.dim() >= 2 and features.shape[-1] == centres.shape[-1]
    fit = fit and features.shape[:-2] == centres.shape[:-2]
    require(fit, "features must be (..., B, D) and centres (..., K, D)", shapes)
    require(min(centres.shape[-2:]) >= 1, "there must be a centre, and a feature", shapes)
    floats = features.is_floating_point() and centres.is_floating_point()
    require(floats, "features and centres must be floats", f"{features.dtype} and {centres.dtype}")
    dtype = torch.promote_types(features.dtype, centres.dtype)
    return widened(features.to(dtype)), widened(centres.to(dtype))


def _check_targets(targets: torch.Tensor, count: int, classes: int, ignored: int) -> None:
    shape = f"{targets.dtype} {tuple(targets.shape)}"
    require(targets.shape == (count,) and targets.dtype == torch.int64, f"targets must be int64 ({count},)", shape)
    if count and visible(targets):
        outside = (targets != ignored) & ((targets < 0) | (targets >= classes))
        require(not bool(outside.any()), f"targets must lie in 0..{classes - 1} or be {ignored}", "another")
