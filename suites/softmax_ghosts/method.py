r"""Ghosts of softmax: how far a step may go before cross-entropy leaves its radius of convergence (arXiv:2603.13552).

Along a unit direction v the logits are z + t a, with slopes a = J_z v. The cross-entropy of one sample,

    l(t) = -z_y - a_y t + log F(t),      F(t) = sum_k w_k exp(a_k t),      w_k = exp(z_k) > 0,

is analytic up to the nearest complex zero of the partition function F, a "ghost". All terms of F lie in an open
half-plane while |Im t| < pi / spread, so that they cannot cancel, and no zero is nearer than

    rho_a(v) = pi / max_x Delta_a(x; v),      Delta_a(x; v) = max_k a_k(x; v) - min_k a_k(x; v).

A parameter update p has the dimensionless length r = ||p|| / rho_a(p / ||p||), and the controller applies

    p <- min(1, r* rho_a / ||p||) p,      r* = 1 by default.

Shapes: N samples, C classes; logits and slopes (N, C); a direction or update is a mapping from parameter names (as in
`model.named_parameters()`) to tensors of their shapes. Lengths are in parameter space, Euclidean over all parameters.

    controller = RadiusController(model, torch.optim.Adam(model.parameters()))
    for inputs, targets in batches:
        model.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        r = controller.step(inputs).r
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import get_total_norm

Tensors = Mapping[str, torch.Tensor]
Radius = Callable[[torch.nn.Module, torch.Tensor, Tensors], torch.Tensor]
"""(model, inputs, direction) -> the radius along that direction, a scalar."""


# The radius of a network: sections 3 to 5 of the paper.


def logit_slopes(model: torch.nn.Module, inputs: torch.Tensor, direction: Tensors) -> torch.Tensor:
    """a(x; v) = J_z(x) v, shape (N, C), by one forward-mode pass of the model in eval mode.

    Parameters that `direction` does not name stand still. Raises ValueError for unknown names or other shapes.
    """
    here = _parameters(model, direction)
    with _evaluating(model):
        _, slopes = jvp(lambda point: functional_call(model, point, (inputs,)), (here,), (dict(direction),))
    return slopes


def finite_difference_slopes(
    model: torch.nn.Module, inputs: torch.Tensor, direction: Tensors, eps: float = 1e-4, *, central: bool = False
) -> torch.Tensor:
    """a(x; v), shape (N, C), from two plain forward passes: (z(theta + eps v) - z(theta)) / eps.

    With `central`, (z(theta + eps v) - z(theta - eps v)) / (2 eps). Choose v of unit length: eps is a step along it.
    """
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    here = _parameters(model, direction)
    back = -eps if central else 0.0
    with _evaluating(model), torch.no_grad():
        after, before = (
            functional_call(model, {name: here[name] + step * direction[name] for name in here}, (inputs,))
            for step in (eps, back)
        )
    return (after - before) / (eps - back)


def spread(slopes: torch.Tensor) -> torch.Tensor:
    """Delta_a = max_k a_k - min_k a_k over the last dimension: (N, C) -> (N,)."""
    return slopes.amax(dim=-1) - slopes.amin(dim=-1)


def slope_radius(slopes: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """rho_a(T) = pi T / max_x Delta_a, a scalar, where the loss is on z / T and the slopes are those of z.

    Infinite where no logit moves relative to another. Raises ValueError for a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return math.pi * temperature / spread(slopes).max()


def directional_radius(
    model: torch.nn.Module, inputs: torch.Tensor, direction: Tensors, temperature: float = 1.0
) -> torch.Tensor:
    """rho_a(v) for the samples of `inputs`, a scalar. v need not have unit length: rho_a(c v) = rho_a(v) / |c|."""
    return slope_radius(logit_slopes(model, inputs, direction), temperature)


# The controller: sections 3 and 8.


def length(update: Tensors) -> torch.Tensor:
    """||p||_2 over all tensors of an update, a scalar."""
    return get_total_norm(update.values())


def clipped(update: Tensors, radius: float, target: float = 1.0) -> dict[str, torch.Tensor]:
    """min(1, r* rho_a / ||p||) p. An update that is short enough comes back as it is, bit for bit.

    `radius` is rho_a along p / ||p||. Raises ValueError for a negative or NaN radius and for r* <= 0.
    """
    limit = _limit(radius, target)
    size = float(length(update))
    if size <= limit:
        return dict(update)
    return {name: part * (limit / size) for name, part in update.items()}


def rho_set_rate(momentum: Tensors, radius: float, target: float = 1.0) -> float:
    """eta_t = r* rho_a / ||u_t||: the learning rate with which momentum SGD's buffer u_t steps exactly to r = r*."""
    return _limit(radius, target) / float(length(momentum))


@dataclass(frozen=True)
class Step:
    """What the controller did: the optimiser asked for `asked` (its ||p||) along a direction of radius `radius`."""

    asked: float
    radius: float
    factor: float
    """What the update was multiplied by."""

    @property
    def r(self) -> float:
        """The dimensionless length of the step that was applied."""
        return self.factor * self.asked_r

    @property
    def asked_r(self) -> float:
        """The dimensionless length of the step that the optimiser wanted."""
        return self.asked / self.radius


class RadiusController:
    """Holds every step of an optimiser within r* times the radius along that very step.

    The optimiser steps first, so that its update is the actual one, momentum, adaptivity and weight decay included.
    Its state is left alone. With `rule="clip"` longer updates are shortened. With `rule="set"` every update gets the
    length r* rho_a: around `torch.optim.SGD(parameters, lr=1, momentum=0.9)` that is the paper's rho-set rate.

    `radius` measures rho_a; for several radii at once pass `functools.partial(network_radius, ...)`. The radius is a
    minimum over `inputs` only: a small batch sees a larger one than the training set has. One step costs one
    forward-mode pass, three copies of the parameters, and one synchronisation of the device.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        target: float = 1.0,
        *,
        rule: Literal["clip", "set"] = "clip",
        radius: Radius = directional_radius,
    ) -> None:
        if not target > 0:
            raise ValueError(f"target must be positive, got {target}")
        if rule not in ("clip", "set"):
            raise ValueError(f"rule must be 'clip' or 'set', got {rule!r}")
        self.model, self.optimizer, self.target, self.rule, self.radius = model, optimizer, target, rule, radius
        self.last: Step | None = None

    def step(self, inputs: torch.Tensor) -> Step:
        """Step the optimiser on the gradients that are there, within the radius for `inputs`; also kept as `last`.

        Raises ValueError, with the parameters as they were, where update or radius are not numbers any more.
        """
        moving = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        before = {name: p.detach().clone() for name, p in moving.items()}
        self.optimizer.step()
        with torch.no_grad():
            after = {name: p.detach().clone() for name, p in moving.items()}
            unit = {name: after[name] - before[name] for name in moving}
            size = length(unit)
            if size == 0:
                self.last = Step(0.0, math.inf, 1.0)
                return self.last
            for name, p in moving.items():
                p.copy_(before[name])  # the radius is that of the point where the step starts
                unit[name] /= size
            asked, radius = torch.stack([size, self.radius(self.model, inputs, unit).to(size)]).tolist()
            if not (math.isfinite(asked) and radius >= 0):
                raise ValueError(f"cannot hold a step of length {asked} within a radius of {radius}")
            factor = _limit(radius, self.target) / asked
            if self.rule == "clip" or math.isinf(factor):
                factor = min(1.0, factor)
            for name, p in moving.items():
                p.copy_(before[name].lerp(after[name], factor))  # exactly `after` where the factor is 1
        self.last = Step(asked, radius, factor)
        return self.last


# Exact singularities of the linearised loss: section 4.


def partition(t: np.ndarray | complex, logits: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """F(t) = sum_k exp(z_k + a_k t) divided by its largest term's modulus, for complex t of any shape.

    The divisor is positive, so zeros and arguments are those of F, and nothing overflows.
    """
    exponents = np.asarray(logits) + np.asarray(slopes) * np.asarray(t)[..., None]
    return np.exp(exponents - exponents.real.max(axis=-1, keepdims=True)).sum(axis=-1)


def nearest_zero(logits: np.ndarray, slopes: np.ndarray) -> complex:
    """The zero of F nearest to the origin, in the upper half-plane (its conjugate is one too). logits, slopes: (C,).

    The argument principle brackets its modulus (F has no poles, so the winding number of F around a circle counts the
    zeros inside); Newton's method then starts from every dip of |F| on that circle. Complex infinity if all slopes
    are equal. Raises ValueError unless both arrays have the same shape (C,) and are finite.
    """
    logits, slopes = np.asarray(logits, dtype=float), np.asarray(slopes, dtype=float)
    if logits.shape != slopes.shape or logits.ndim != 1 or not np.isfinite([logits, slopes]).all():
        raise ValueError(f"logits and slopes must be finite, of one shape (C,): got {logits.shape}, {slopes.shape}")
    width = np.ptp(slopes)
    if width == 0:
        return complex(math.inf, 0)
    rates = (slopes - slopes.mean()) / width  # a shift and a scale of the slopes, undone below: spread 1
    low, high = 0.0, 1.0
    while zeros_within(high, logits, rates) == 0:
        low, high = high, 2 * high
    while high - low > 1e-2 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if zeros_within(middle, logits, rates) == 0 else (low, middle)
    circle = _half_circle(high, rates)
    size = np.pad(np.abs(partition(circle, logits, rates)), 1, constant_values=math.inf)
    dips = circle[(size[1:-1] < size[:-2]) & (size[1:-1] <= size[2:])]
    found = newton_zero(dips, logits, rates)
    # Newton may run away to a zero far outside, but not to one inside `low`, where there is none.
    return min(found[np.isfinite(found)], key=abs) / width


def newton_zero(start: complex | np.ndarray, logits: np.ndarray, slopes: np.ndarray) -> complex | np.ndarray:
    """A zero of F by Newton's method from each `start`; complex NaN after 100 steps in vain. logits, slopes: (C,)."""
    t, done = np.asarray(start, dtype=complex), np.zeros(np.shape(start), dtype=bool)
    for _ in range(100):
        exponents = logits + slopes * t[..., None]
        terms = np.exp(exponents - exponents.real.max(axis=-1, keepdims=True))
        rate = (slopes * terms).sum(axis=-1)
        step = np.divide(terms.sum(axis=-1), rate, out=np.full_like(rate, math.nan), where=rate != 0)
        t = np.where(done, t, t - step)
        done = done | (abs(step) <= 1e-14 * abs(t))
        if (done | np.isnan(t)).all():
            break
    return np.where(done, t, math.nan)[()]


def zeros_within(radius: float, logits: np.ndarray, slopes: np.ndarray) -> int:
    """The number of zeros of F with |t| < radius, by the argument principle."""
    values = partition(_half_circle(radius, slopes), logits, slopes)
    # F is real on the real axis and conjugate elsewhere: the lower half of the circle turns by as much as the upper.
    return round(float(np.angle(values[1:] / values[:-1]).sum()) / math.pi)


def exact_radius(logits: np.ndarray, slopes: np.ndarray) -> float:
    """rho_batch = min_x rho*(x; v): the distance of the nearest zero of any sample's F. logits, slopes: (N, C).

    Samples are visited in the order of their lower bound pi / Delta_a, until that exceeds what was found.
    """
    nearest = math.inf
    with np.errstate(divide="ignore"):
        bounds = math.pi / np.ptp(slopes, axis=-1)
    for sample in np.argsort(bounds):
        if bounds[sample] >= nearest:
            break
        nearest = min(nearest, abs(nearest_zero(logits[sample], slopes[sample])))
    return nearest


def binary_zeros(gap: float, spread: float, orders: Iterable[int] = (0,)) -> np.ndarray:
    """t_k = (delta + i pi (2k + 1)) / D for two classes: gap delta = z_1 - z_2, spread D = a_2 - a_1 > 0."""
    if not spread > 0:
        raise ValueError(f"spread must be positive, got {spread}")
    return (gap + 1j * math.pi * (2 * np.array(list(orders)) + 1)) / spread


def binary_radius(gap: float, spread: float) -> float:
    """rho* = sqrt(delta^2 + pi^2) / D, exact for two classes."""
    if not spread > 0:
        raise ValueError(f"spread must be positive, got {spread}")
    return math.sqrt(gap**2 + math.pi**2) / spread


def kl_cubic_bound(t: float, spread: float, *, reverse: bool = False) -> float:
    """How far KL(p(0) || p(t)) can be from t^2 Var_p(0)(a) / 2, for p(t) ~ exp(z + t a): |t|^3 D^3 / (36 sqrt 3).

    With `reverse`, the bound for KL(p(t) || p(0)), twice as large. (The paper's appendix 4 mixes the two up.)
    """
    return abs(t * spread) ** 3 / ((18 if reverse else 36) * math.sqrt(3))


# Other singularities: activations (section 7) and attention.

SINGULARITIES = {"relu": 0.0, "sigmoid": math.pi, "softplus": math.pi, "silu": math.pi, "tanh": math.pi / 2}
"""The height above the real axis of the nearest singularity of each activation (its real part is 0)."""


def activation_radius(h: torch.Tensor, h_slope: torch.Tensor, activation: str) -> torch.Tensor:
    """rho_j = min_s |s - h_j| / |hdot_j| for each preactivation h_j with slope hdot_j along v; shapes agree.

    Infinite where a preactivation does not move, and everywhere for the exact "gelu", which is entire.
    """
    if activation == "gelu":
        return torch.full_like(h, math.inf)
    if activation not in SINGULARITIES:
        raise ValueError(f"unknown activation {activation!r}: use one of {', '.join([*SINGULARITIES, 'gelu'])}")
    distance = torch.hypot(h, torch.full_like(h, SINGULARITIES[activation]))
    return torch.where(h_slope == 0, math.inf, distance / h_slope.abs())


@dataclass(frozen=True)
class NetworkRadii:
    """The radii of a transformer's parts along one direction, scalars: output softmax, attention softmax, ReLU FFNs."""

    out: torch.Tensor
    attention: torch.Tensor
    ffn: torch.Tensor


def network_radii(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    direction: Tensors,
    *,
    attention: Iterable[str] = (),
    ffn: Iterable[str] = (),
    quantile: float = 0.01,
) -> NetworkRadii:
    """rho_out, rho_attn and rho_ffn from one forward-mode pass.

    `attention` names the submodules that take pre-softmax scores, `ffn` the ReLUs that take preactivations: what
    flows into them is read. rho_attn = pi / (spread of the scores' slopes over keys), the smallest of all heads,
    queries and samples. rho_ffn is a low quantile of |h| / |hdot|, since some unit always stands at its kink.
    A part without names is infinite. Raises ValueError for a name that the model does not have.
    """
    attention, ffn = tuple(attention), tuple(ffn)
    modules = dict(model.named_modules())
    if unknown := [name for name in attention + ffn if name not in modules]:
        raise ValueError(f"the model has no submodule {', '.join(map(repr, unknown))}")
    here = _parameters(model, direction)

    def call(point: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        read: dict[str, torch.Tensor] = {}
        hooks = [
            modules[name].register_forward_pre_hook(lambda _, args, name=name: read.update({name: args[0]}))
            for name in attention + ffn
        ]
        try:
            return functional_call(model, point, (inputs,)), read
        finally:
            for hook in hooks:
                hook.remove()

    with _evaluating(model):
        (_, values), (slopes, rates) = jvp(call, (here,), (dict(direction),))
    out = slope_radius(slopes)
    kinks = [activation_radius(values[name], rates[name], "relu").flatten() for name in ffn]
    return NetworkRadii(
        out=out,
        attention=torch.stack([slope_radius(rates[name]) for name in attention]).min() if attention else out * math.inf,
        ffn=torch.cat(kinks).quantile(quantile) if ffn else out * math.inf,
    )


def network_radius(
    model: torch.nn.Module, inputs: torch.Tensor, direction: Tensors, *, attention: Iterable[str], ffn: Iterable[str]
) -> torch.Tensor:
    """rho_net = min(rho_out, rho_attn, rho_ffn), a scalar: the radius of the multi-radius controller."""
    radii = network_radii(model, inputs, direction, attention=attention, ffn=ffn)
    return torch.stack([radii.out, radii.attention, radii.ffn]).min()


def _parameters(model: torch.nn.Module, direction: Tensors) -> dict[str, torch.Tensor]:
    """The parameters that `direction` moves, detached, once the direction is known to fit them."""
    parameters = dict(model.named_parameters())
    for name, part in direction.items():
        if name not in parameters or parameters[name].shape != part.shape:
            raise ValueError(f"the direction's {name!r}, of shape {tuple(part.shape)}, is no parameter of the model")
    return {name: parameters[name].detach() for name in direction}


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode, so that BatchNorm and dropout are fixed functions, with attention that forward mode can pass."""
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes.items():
            module.training = training


def _limit(radius: float, target: float) -> float:
    if not radius >= 0:
        raise ValueError(f"radius must not be negative or NaN, got {radius}")
    if not target > 0:
        raise ValueError(f"target must be positive, got {target}")
    return target * radius


def _half_circle(radius: float, slopes: np.ndarray) -> np.ndarray:
    """Points on |t| = radius, Im t >= 0, so close together that no term turns by more than 0.05 between two of them."""
    count = max(512, math.ceil(20 * math.pi * radius * np.abs(slopes).max()))
    return radius * np.exp(1j * math.pi * np.arange(count + 1) / count)
