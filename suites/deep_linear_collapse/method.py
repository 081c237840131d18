r"""Neural collapse under a deep linear head: closed forms, objective, optimiser and metrics (arXiv:2301.00437).

The backbone is replaced by free features H (the unconstrained features model), and M linear layers stand on it:

    F = (1/2N) ||W_M ... W_1 H + b 1^T - Y||_F^2 + sum_l (lam_l/2) ||W_l||_F^2 + (lam_H/2) ||H||_F^2      (MSE)

or, for cross-entropy, with (1/N) sum_i CE(W_M ... W_1 h_i + b, y_i) as its first term. The bias b is not decayed.

K classes of n_k samples, N = sum_k n_k; Y in R^{K x N} one-hot, columns sorted by class; H in R^{d_1 x N};
W_l in R^{d_{l+1} x d_l} with d_{M+1} = K; P = W_M ... W_1; Hbar = [hbar_1 ... hbar_K] the mean features of the classes;
L = M + 1 factors (with H), c = lam_H prod_l lam_l, R = min(K, d_1 ... d_M).

At every critical point the factors are balanced, lam_{l+1} W_{l+1}^T W_{l+1} = lam_l W_l W_l^T, so that a singular
value sigma of Z = P H is split into sqrt(tau / lam_l) for each factor, tau = (c sigma^2)^{1/L}, and costs (L/2) tau.
The MSE problem falls apart over the classes (no bias) or over the K - 1 directions orthogonal to 1 (bias, equal n_k):

    f_k(xh) = (n_k/2N) (xh - 1)^2 + (L/2) (c n_k xh^2)^{1/L},      xh_k = x_k^M / (x_k^M + 1),

where x_k is the largest root of b / n_k = M x^{M-1} / (x^M + 1)^2, b = M N (N c)^{1/M}, or 0 if b / n_k is not below
(M-1)^{(M-1)/M} / M ("minority collapse"). Of these at most R are non-zero, those of the largest classes.

    setting = Setting(counts=(200, 100, 50, 50), weight_decays=(5e-4,) * 3, feature_decay=5e-4, widths=(16,) * 3)
    trained = minimise(setting, generator=torch.Generator().manual_seed(0))
    assert abs(trained.values[0] - optimum(setting).value) < 1e-10
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from suites.deep_linear_collapse.lbfgs import descend


@dataclass(frozen=True)
class Setting:
    """The problem: class sizes, decays and widths. Raises ValueError for values that make no problem."""

    counts: tuple[int, ...]  # n_1 ... n_K
    weight_decays: tuple[float, ...]  # lam_1 ... lam_M; the first acts on the layer next to the features
    feature_decay: float  # lam_H, on the sum of squares over all N samples
    widths: tuple[int, ...]  # d_1 ... d_M, what each layer reads; d_1 is the dimension of the features
    bias: bool = False  # whether the last layer has a free bias
    loss: Literal["mse", "ce"] = "mse"

    def __post_init__(self) -> None:
        if len(self.counts) < 2 or min(self.counts) < 1:
            raise ValueError(f"counts needs at least two classes of at least one sample, got {self.counts}")
        if not self.widths or len(self.weight_decays) != len(self.widths) or min(self.widths) < 1:
            raise ValueError(f"{len(self.weight_decays)} weight decays for layers of widths {self.widths}")
        if min(*self.weight_decays, self.feature_decay) <= 0:
            raise ValueError("every decay must be positive: without one the minimum is not attained")
        if self.loss not in ("mse", "ce"):
            raise ValueError(f"loss is 'mse' or 'ce', got {self.loss!r}")

    @property
    def classes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """N."""
        return sum(self.counts)

    @property
    def depth(self) -> int:
        """M."""
        return len(self.weight_decays)

    @property
    def rank(self) -> int:
        """R, the most that the product can have."""
        return min(self.classes, *self.widths)

    @property
    def size(self) -> int:
        """n of a balanced problem. Raises ValueError where classes differ in size."""
        if len(set(self.counts)) > 1:
            raise ValueError(f"classes must be of equal size, got {self.counts}")
        return self.counts[0]

    @property
    def decay_product(self) -> float:
        """c."""
        return self.feature_decay * math.prod(self.weight_decays)

    @cached_property
    def labels(self) -> torch.Tensor:
        """Class of each column, int64 (N,)."""
        return torch.arange(self.classes).repeat_interleave(torch.tensor(self.counts))

    @cached_property
    def targets(self) -> torch.Tensor:
        """Y, float64 (K, N)."""
        with torch.inference_mode(False):  # it is kept, and gradients are taken through it later
            return F.one_hot(self.labels, self.classes).T.double()


# The scalar problem of one class, vectorised over classes.


def threshold(depth: int) -> float:
    """(M-1)^{(M-1)/M} / M: at or above this pressure b / n_k the global minimiser of a class is zero."""
    return (depth - 1) ** ((depth - 1) / depth) / depth


def pressure(counts: torch.Tensor, total: torch.Tensor, decay_product: torch.Tensor, depth: int) -> torch.Tensor:
    """b / n_k with b = M N (N c)^{1/M}. All arguments broadcast."""
    return depth * total * (total * decay_product) ** (1 / depth) / counts


def largest_root(pressure: torch.Tensor, depth: int) -> torch.Tensor:
    """The largest x > 0 with pressure = M x^{M-1} / (x^M + 1)^2, and 0 where there is none.

    A root is a critical point of f_k; it is the global minimiser only below `threshold`. With t = log x^M the logarithm
    of the right side is concave, and decreasing right of its top at x^M = (M-1)/(M+1), so that Newton's steps from the
    right never pass the root.
    """
    if not (pressure > 0).all():
        raise ValueError("pressure must be positive")

    def excess(t: torch.Tensor) -> torch.Tensor:
        return math.log(depth) + (depth - 1) / depth * t - 2 * F.softplus(t, threshold=700) - pressure.log()

    t = (math.log(depth) - pressure.log()) * depth / (depth + 1)  # u^{(M-1)/M} / (u+1)^2 < u^{-(M+1)/M}
    top = torch.full_like(t, math.log((depth - 1) / (depth + 1)) if depth > 1 else -math.inf)
    exists = (excess(top) >= 0) if depth > 1 else (pressure < 1)
    t = torch.where(exists, torch.maximum(t, top), 0)
    for _ in range(80):
        slope = (depth - 1) / depth - 2 * torch.sigmoid(t)
        step = torch.where(slope < 0, excess(t) / slope, 0)
        t = torch.where(exists, torch.maximum(t - step, top), 0)
    return torch.where(exists, (t / depth).exp(), 0)


def root(pressure: torch.Tensor, depth: int) -> torch.Tensor:
    """x_k of the global minimiser: the largest root below the threshold, else 0."""
    return torch.where(pressure < threshold(depth), largest_root(pressure, depth), 0)


def fitted_logit(x: torch.Tensor, depth: int) -> torch.Tensor:
    """xh = x^M / (x^M + 1), in [0, 1)."""
    return x**depth / (x**depth + 1)


def class_objective(
    fit: torch.Tensor, counts: torch.Tensor, total: torch.Tensor, decay_product: torch.Tensor, depth: int
) -> torch.Tensor:
    """f_k(xh). All arguments broadcast."""
    factors = depth + 1
    penalty = factors / 2 * (decay_product * counts * fit**2) ** (1 / factors)
    return counts / (2 * total) * (fit - 1) ** 2 + penalty


# The global minimisers.


@dataclass(frozen=True)
class Optimum:
    """The geometry of the global minimisers. Where R leaves a choice (ties), this is one of them; spectra are unique.

    Matrices are float64 (K, K); spectra are float64 (R,), descending.
    """

    logits: torch.Tensor  # P Hbar, without the bias
    feature_gram: torch.Tensor  # Hbar^T Hbar
    grams: tuple[torch.Tensor, ...]  # A A^T for A = W_M, W_M W_{M-1}, ..., P
    singular_values: tuple[torch.Tensor, ...]  # of W_1, ..., W_M, and H
    product_singular_values: torch.Tensor  # of P
    bias: torch.Tensor | None  # b, (K,)
    value: float  # F*


def optimum(setting: Setting) -> Optimum:
    """The closed form. Raises ValueError where none is known: unequal n_k with a bias, or cross-entropy otherwise
    than with equal n_k and M = 1 (see `etf_value` and `cross_polytope_value` for what is known beyond)."""
    balanced = len(set(setting.counts)) == 1
    if not balanced and (setting.bias or setting.loss == "ce"):
        raise ValueError("with a bias or cross-entropy a closed form is known for classes of equal size only")
    if setting.loss == "ce":
        return _cross_entropy_optimum(setting)
    basis = centred_basis(setting.classes) if setting.bias else torch.eye(setting.classes, dtype=torch.float64)
    sizes = torch.tensor(setting.counts[: basis.shape[1]], dtype=torch.float64)
    total, decay_product = torch.tensor(float(setting.total)), torch.tensor(setting.decay_product, dtype=torch.float64)
    x = root(pressure(sizes, total, decay_product, setting.depth), setting.depth)
    dropped = sizes.sort(descending=True, stable=True).indices[setting.rank :]
    x[dropped] = 0
    fit = fitted_logit(x, setting.depth)
    value = class_objective(fit, sizes, total, decay_product, setting.depth).sum()
    rows = setting.total * setting.feature_decay * x**setting.depth  # S_k
    features = rows / (rows + setting.total * setting.feature_decay) ** 2  # |hbar_k|^2
    return _assemble(setting, basis, sizes.sqrt() * fit, fit, rows, features, float(value))


def _cross_entropy_optimum(setting: Setting) -> Optimum:
    if setting.depth > 1 or setting.rank < setting.classes - 1:
        raise ValueError("for cross-entropy a closed form is known for M = 1 and R >= K - 1 only")
    margin, value = smallest(lambda a: etf_value(a, setting), setting)
    basis, size = centred_basis(setting.classes), setting.size
    fit = torch.full((setting.classes - 1,), margin, dtype=torch.float64)
    features = fit * math.sqrt(setting.weight_decays[0] / setting.feature_decay / size)
    rows = fit * math.sqrt(setting.feature_decay * size / setting.weight_decays[0])
    return _assemble(setting, basis, math.sqrt(size) * fit, fit, rows, features, value)


def _assemble(
    setting: Setting,
    basis: torch.Tensor,
    sigma: torch.Tensor,
    fit: torch.Tensor,
    rows: torch.Tensor,
    features: torch.Tensor,
    value: float,
) -> Optimum:
    """`Optimum` from what holds along each column of `basis`: of Z, P Hbar, P P^T and Hbar^T Hbar."""

    def matrix(diagonal: torch.Tensor) -> torch.Tensor:
        return (basis * diagonal) @ basis.T

    def spectrum(values: torch.Tensor) -> torch.Tensor:
        return F.pad(values.sort(descending=True).values, (0, setting.classes))[: setting.rank]

    factors = factor_singular_values(sigma, setting)
    partial = torch.stack(factors[:-1]).flip(0).cumprod(0) ** 2
    grams = tuple(matrix(diagonal) for diagonal in (*partial[:-1], rows))
    spectra = tuple(spectrum(values) for values in factors)
    share = 1 / setting.classes if setting.loss == "mse" else 0.0
    bias = torch.full((setting.classes,), share, dtype=torch.float64) if setting.bias else None
    return Optimum(matrix(fit), matrix(features), grams, spectra, spectrum(rows.sqrt()), bias, value)


def centred_basis(classes: int) -> torch.Tensor:
    """An orthonormal basis of the vectors that sum to zero, float64 (K, K-1)."""
    ones = torch.ones(classes, 1, dtype=torch.float64)
    return torch.linalg.qr(torch.cat([ones, torch.eye(classes, dtype=torch.float64)[:, 1:]], 1)).Q[:, 1:]


def simplex_etf(classes: int) -> torch.Tensor:
    """I - 11^T / K, float64 (K, K)."""
    return torch.eye(classes, dtype=torch.float64) - 1 / classes


# Factor balance: what a given Z costs, and the factors that attain it.


def factor_singular_values(sigma: torch.Tensor, setting: Setting) -> tuple[torch.Tensor, ...]:
    """How singular values sigma of Z = P H are shared: sqrt(tau / lam) for W_1, ..., W_M, and H."""
    tau = (setting.decay_product * sigma**2) ** (1 / (setting.depth + 1))
    return tuple((tau / decay).sqrt() for decay in (*setting.weight_decays, setting.feature_decay))


def smallest_penalty(sigma: torch.Tensor, setting: Setting) -> torch.Tensor:
    """(L/2) c^{1/L} sum_i sigma_i^{2/L}, a Schatten quasi-norm: the least decay term over all factorisations of Z."""
    factors = setting.depth + 1
    return factors / 2 * setting.decay_product ** (1 / factors) * (sigma ** (2 / factors)).sum(-1)


@dataclass(frozen=True)
class Factors:
    """Parameters, or a batch of them: leading dimensions are independent problems."""

    weights: tuple[torch.Tensor, ...]  # W_1, ..., W_M: (..., d_{l+1}, d_l)
    features: torch.Tensor  # H: (..., d_1, N)
    bias: torch.Tensor | None = None  # b: (..., K)

    @property
    def products(self) -> list[torch.Tensor]:
        """W_M, W_M W_{M-1}, ..., P."""
        products = [self.weights[-1]]
        for weight in reversed(self.weights[:-1]):
            products.append(products[-1] @ weight)
        return products

    @property
    def logits(self) -> torch.Tensor:
        """Z, with the bias: (..., K, N)."""
        logits = self.products[-1] @ self.features
        return logits if self.bias is None else logits + self.bias[..., None]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All parameters."""
        return [*self.weights, self.features, *([] if self.bias is None else [self.bias])]

    def __getitem__(self, index: int) -> Factors:
        """One problem of a batch."""
        bias = None if self.bias is None else self.bias[index]
        return Factors(tuple(weight[index] for weight in self.weights), self.features[index], bias)


def balanced_factors(class_logits: torch.Tensor, setting: Setting) -> Factors:
    """Factors of least penalty with P h_i = class_logits[:, y_i], and a zero bias where the setting has one.

    class_logits: (K, K), column k for class k. Raises ValueError if its rank is above R.
    """
    left, sigma, right = torch.linalg.svd(class_logits[:, setting.labels], full_matrices=False)
    rank = int((sigma > 1e-12 * sigma.max()).sum())
    if rank > setting.rank:
        raise ValueError(f"logits of rank {rank} do not fit through a width of {setting.rank}")
    shares = factor_singular_values(sigma[:rank], setting)
    outputs = (*setting.widths[1:], setting.classes)
    shapes = zip(shares[:-1], outputs, setting.widths, strict=True)
    weights = [F.pad(share.diag(), (0, width - rank, 0, output - rank)) for share, output, width in shapes]
    weights[-1] = F.pad(left[:, :rank] * shares[-2], (0, setting.widths[-1] - rank))
    features = F.pad(shares[-1][:, None] * right[:rank], (0, 0, 0, setting.widths[0] - rank))
    return Factors(tuple(weights), features, class_logits.new_zeros(setting.classes) if setting.bias else None)


# Cross-entropy: two symmetric candidates, as functions of their margin a.


def etf_value(margin: torch.Tensor, setting: Setting) -> torch.Tensor:
    """F at Z = a (I - 11^T/K), factors balanced: K - 1 singular values sqrt(n) a."""
    classes, sigma = setting.classes, math.sqrt(setting.size) * margin
    loss = ((classes - 1) * (-margin).exp()).log1p()
    return loss + smallest_penalty(sigma[..., None].expand(*sigma.shape, classes - 1), setting)


def cross_polytope_value(margin: torch.Tensor, setting: Setting) -> torch.Tensor:
    """F at Z = a U U^T, U = [I; -I], factors balanced: K / 2 singular values 2 sqrt(n) a. K must be even."""
    classes, sigma = setting.classes, 2 * math.sqrt(setting.size) * margin
    if classes % 2:
        raise ValueError(f"a cross-polytope has an even number of vertices, got K = {classes}")
    loss = ((classes - 2) * (-margin).exp() + (-2 * margin).exp()).log1p()
    return loss + smallest_penalty(sigma[..., None].expand(*sigma.shape, classes // 2), setting)


def cross_polytope(classes: int) -> torch.Tensor:
    """U U^T with U = [I; -I], float64 (K, K): opposite vertices -1, others 0."""
    half = torch.eye(classes // 2, dtype=torch.float64)
    return torch.cat([torch.cat([half, -half], 1), torch.cat([-half, half], 1)])


def smallest(value: Callable[[torch.Tensor], torch.Tensor], setting: Setting) -> tuple[float, float]:
    """(a, F) of the global minimum of `etf_value` or `cross_polytope_value` over the margin a >= 0.

    F has two local minima for M >= 2 (zero is one), hence a search over a log grid that is then narrowed.
    """
    # Beyond this margin the decay term alone exceeds log K, the value at a = 0: even one singular value costs that.
    scale = (setting.depth + 1) / 2 * setting.decay_product ** (1 / (setting.depth + 1))
    low, high = -7.0, max(0.0, math.log10(math.log(setting.classes) / scale) * (setting.depth + 1) / 2)
    for _ in range(7):
        grid = torch.logspace(low, high, 2001, dtype=torch.float64)
        values = value(grid)
        best = int(values.argmin())
        step = (high - low) / 2000
        low, high = math.log10(float(grid[best])) - step, math.log10(float(grid[best])) + step
    at_zero = float(value(torch.zeros((), dtype=torch.float64)))
    return (float(grid[best]), float(values[best])) if values[best] < at_zero else (0.0, at_zero)


# Direct optimisation.


def objective(factors: Factors, setting: Setting) -> torch.Tensor:
    """F of each problem of the batch, shape (...)."""
    logits, targets = factors.logits, setting.targets.to(factors.features)
    if setting.loss == "mse":
        loss = (logits - targets).square().sum((-2, -1)) / (2 * setting.total)
    else:
        loss = (logits.logsumexp(-2) - (logits * targets).sum(-2)).mean(-1)
    decays = (setting.feature_decay, *setting.weight_decays)
    for decay, factor in zip(decays, (factors.features, *factors.weights), strict=True):
        loss = loss + decay / 2 * factor.square().sum((-2, -1))
    return loss


def slopes(factors: Factors, setting: Setting) -> list[torch.Tensor]:
    """The derivatives of F by `factors.tensors`, by hand: automatic differentiation takes most of `minimise`'s time."""
    logits, products = factors.logits, factors.products
    fitted = logits if setting.loss == "mse" else logits.softmax(-2)
    error = (fitted - setting.targets) / setting.total
    end_to_end = error @ factors.features.mT  # by P
    found, below = [], None
    for decay, weight, above in zip(setting.weight_decays, factors.weights, [*products[-2::-1], None], strict=True):
        slope = end_to_end if above is None else above.mT @ end_to_end
        found.append((slope if below is None else slope @ below.mT) + decay * weight)
        below = weight if below is None else weight @ below
    found.append(products[-1].mT @ error + setting.feature_decay * factors.features)
    return found if factors.bias is None else [*found, error.sum(-1)]


def initial_factors(setting: Setting, generator: torch.Generator, *, restarts: int = 1, std: float = 0.3) -> Factors:
    """A batch of `restarts` problems with entries from N(0, std^2), float64 on the CPU; biases are zero."""

    def normal(*shape: int) -> torch.Tensor:
        return std * torch.randn(restarts, *shape, generator=generator, dtype=torch.float64)

    outputs = (*setting.widths[1:], setting.classes)
    weights = tuple(normal(*shape) for shape in zip(outputs, setting.widths, strict=True))
    bias = torch.zeros(restarts, setting.classes, dtype=torch.float64) if setting.bias else None
    return Factors(weights, normal(setting.widths[0], setting.total), bias)


@dataclass(frozen=True)
class Solution:
    """Where `minimise` ended."""

    factors: Factors  # with a leading dimension of restarts
    values: torch.Tensor  # F of each restart
    gradient: float  # largest entry of the last gradient, in the units of `minimise`

    @property
    def best(self) -> Factors:
        """The restart of least F."""
        return self.factors[int(self.values.argmin())]


def minimise(setting: Setting, *, generator: torch.Generator, restarts: int = 1, std: float = 0.3) -> Solution:
    """L-BFGS in float64 until the gradient is rounding error. Restarts are independent problems, solved at once.

    A small `std` may end in the saddle at zero.
    """
    start = initial_factors(setting, generator, restarts=restarts, std=std)
    shapes = [tensor.shape[1:] for tensor in start.tensors]
    sizes = [shape.numel() for shape in shapes]
    # In units where all decays are equal the problem is better conditioned, and its minimisers are the same. The bias
    # is a factor too, shared with a row of N ones.
    decays = torch.tensor([*setting.weight_decays, setting.feature_decay], dtype=torch.float64)
    units = (decays.max() / decays).sqrt().tolist() + [setting.total**-0.25] * setting.bias
    unit = torch.cat([torch.full((size,), one, dtype=torch.float64) for size, one in zip(sizes, units, strict=True)])

    def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.flatten(1) for tensor in tensors], 1)

    def factors(point: torch.Tensor) -> Factors:
        parts = (unit * point).split(sizes, 1)
        tensors = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
        return Factors(tuple(tensors[: setting.depth]), tensors[setting.depth], tensors[-1] if setting.bias else None)

    def evaluate(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        here = factors(point)
        return objective(here, setting), unit * joined(slopes(here, setting))

    with torch.inference_mode():
        point = descend(evaluate, joined(start.tensors) / unit, tolerance=1e-12)
    point = point.clone().requires_grad_()
    values = objective(factors(point), setting)
    (gradient,) = torch.autograd.grad(values.sum(), point)  # automatic differentiation: it checks `slopes`
    with torch.no_grad():
        return Solution(factors(point), values.detach(), float(gradient.abs().max()))


# A head for a real network, and the metrics of collapse.


class DeepLinearHead(nn.Module):
    """M linear layers without activations, orthogonally initialised; only the last may have a bias.

    `head(features)` maps (B, d) to (B, K); add `head.penalty(features, ...)` to the loss, and no other decay.
    """

    def __init__(self, width: int, classes: int, depth: int, *, bias: bool = False) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        inner = [nn.Linear(width, width, bias=False) for _ in range(depth - 1)]
        self.layers = nn.ModuleList([*inner, nn.Linear(width, classes, bias=bias)])
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight)

    @property
    def weights(self) -> tuple[torch.Tensor, ...]:
        """W_1, ..., W_M."""
        return tuple(layer.weight for layer in self.layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            features = layer(features)
        return features

    def penalty(self, features: torch.Tensor, weight_decay: float, feature_decay: float) -> torch.Tensor:
        """(weight_decay/2) sum_l ||W_l||^2 + (feature_decay/2) ||H||^2 over the rows of `features`.

        On batches of B of N samples, beside a mean loss, this is lam_H = feature_decay B / N in the objective.
        """
        weights = sum(weight.square().sum() for weight in self.weights)
        return weight_decay / 2 * weights + feature_decay / 2 * features.square().sum()


def class_means(features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Hbar, (d, K), of features (d, N). Raises ValueError for a class without samples: it has no mean."""
    one_hot = F.one_hot(labels, classes).to(features.dtype)
    counts = one_hot.sum(0)
    if not counts.all():
        raise ValueError(f"classes without samples: {(counts == 0).nonzero().flatten().tolist()}; drop them")
    return features @ one_hot / counts


def nc1(features: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """tr(Sigma_W pinv(Sigma_B)) / K of features (d, N).

    Sigma_W = (1/N) sum_i (h_i - hbar)(.)^T, Sigma_B = (1/K) sum_k (hbar_k - hbar_G)(.)^T, hbar_G the mean of all.
    Through the thin SVD of the centred means, whose last direction is rounding error where they sum to zero. Raises
    ValueError for a class without samples. Where all class means coincide nothing lies between them, and the ratio is
    infinite, or NaN if nothing lies within them either.
    """
    means = class_means(features, labels, classes)
    within = features - means[:, labels]
    centred = means - features.mean(1, keepdim=True)
    left, scale, _ = torch.linalg.svd(centred, full_matrices=False)
    if scale.max() <= _rounding(features):
        return math.inf if within.norm() > _rounding(features) * len(labels) ** 0.5 else math.nan
    kept = scale > 1e-7 * scale.max()
    whitened = left[:, kept].T @ within / scale[kept, None]
    return float(whitened.square().sum() / features.shape[1])


def _rounding(features: torch.Tensor) -> float:
    """What means of features (d, N) may differ by although they are equal: the rounding of sums of N terms."""
    return float(torch.finfo(features.dtype).eps * features.shape[1] ** 0.5 * features.abs().max()) * 4


def misalignment(matrix: torch.Tensor, target: torch.Tensor) -> float:
    """|| A/||A||_F - T/||T||_F ||_F, in [0, 2]. Raises ValueError for a zero matrix, where it means nothing."""
    norms = matrix.norm(), target.norm()
    if min(norms) == 0:
        raise ValueError("a zero matrix has no direction: drop the classes that have collapsed")
    return float((matrix / norms[0] - target / norms[1]).norm())
