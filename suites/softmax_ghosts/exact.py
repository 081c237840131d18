"""The exact tier in float64: worst cases over many inputs and random networks, Taylor series with 30 to 60 digits."""

from __future__ import annotations

import copy
import decimal
import itertools
import math
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, softplus

from baselines.loss_landscape import curvature, random_direction, snapshot, times
from baselines.models import DigitTransformer, mlp, small_cnn
from baselines.oracles import gap as gap_of
from baselines.oracles import other_defaults
from suites.softmax_ghosts import method

Metrics = dict[str, float | list[float]]
Case = tuple[nn.Module, torch.Tensor, dict[str, torch.Tensor]]
"""A model, six random images and a random unit direction, in float64."""


def random_cases(seed: int, *, smooth: bool = False) -> Iterator[Case]:
    """Two smooth MLPs and, unless only `smooth` ones are wanted, a ReLU CNN with BatchNorm and a transformer."""
    # The first use of torch.func or an optimiser imports this, for seconds: named, it is imported ahead of the trials.
    import torch._dynamo

    torch.manual_seed(seed)
    networks: list[nn.Module] = [mlp([64, 24, 10], nn.GELU), mlp([64, 24, 24, 10], nn.Tanh, norm=True)]
    if not smooth:
        networks += [small_cnn(batch_norm=True), DigitTransformer(depth=2)]
    for network in networks:
        model = network.double()
        direction = random_direction(model, torch.Generator().manual_seed(seed))
        yield model, torch.rand(6, 1, 8, 8, dtype=torch.float64), direction


class Scale(nn.Module):
    """Multiplies by a constant: logits / T as a layer of the network."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return self.factor * logits


# Zeros of the partition function.


def binary_radius() -> Metrics:
    """Zeros of the binary partition function against the closed form."""
    gaps, residues, found = [], [], []
    for gap in (0.0, 0.5, -0.5, 2.0, 10.0, -10.0):
        for spread in (0.3, 1.5, 7.0):
            logits, slopes = np.array([gap, 0.0]), np.array([0.0, spread])
            radius = method.binary_radius(gap, spread)
            found.append(abs(method.nearest_zero(logits, slopes)) / radius - 1)
            zeros = method.binary_zeros(gap, spread, range(-3, 3))
            gaps.append(np.abs(zeros).min() / radius - 1)
            # After division by w_1, F(t) = 1 + exp(D t - delta): evaluated here without the method's own F.
            residues.append(np.abs(1 + np.exp(spread * zeros - gap)).max())
    tight = max(abs(abs(method.nearest_zero(np.zeros(2), np.array([0.0, d]))) * d / math.pi - 1) for d in (0.1, 1, 9))
    rare = np.array([0.0, 0.0, -30.0, -30.0])  # logits: all weight on the two extreme slopes
    limit = abs(method.nearest_zero(rare, np.array([-1.0, 1.0, 0.3, -0.2])))
    return {
        "search_gap": float(np.abs(found).max()),
        "closed_form_gap": float(np.abs(gaps).max()),
        "residue": float(max(residues)),
        "tight_gap": float(tight),
        "limit_gap": abs(limit * 2 / math.pi - 1),
    }


def general_bound(*, seed: int) -> Metrics:
    """No zero within the strip |Im t| < pi / D, for 2 to 50 classes, and rho_a <= rho_batch <= rho*(x).

    The order of the three radii follows from the bound, sample by sample, so that batches of four at every third
    number of classes, 68 samples, are enough to catch a radius that mixes samples or takes the wrong one.
    """
    rng = np.random.default_rng(seed)
    shortfall, miscounted, strip, disorder = [], 0, [], []
    for classes in range(2, 51):
        logits, slopes = rng.normal(0, 3, classes), rng.normal(0, rng.uniform(0.1, 5), classes)
        spread = np.ptp(slopes)
        nearest = method.nearest_zero(logits, slopes)
        starts = (rng.uniform(-5, 5, 20) + 1j * rng.uniform(0, 10, 20)) * math.pi / spread
        zeros = np.append(method.newton_zero(starts, logits, slopes), nearest)
        shortfall += list(math.pi / spread - np.abs(zeros[np.isfinite(zeros)].imag))
        inside, around = (method.zeros_within(c * abs(nearest), logits, slopes) for c in (0.999, 1.001))
        miscounted += inside != 0 or around < 2
        height = np.linspace(0, 0.99, 34)[:, None] * math.pi / spread
        grid = np.linspace(-20, 20, 81) / spread + 1j * height
        # The lemma's own lower bound: the terms lie in an arc of y D, so |F| >= cos(y D / 2) times their moduli.
        strip.append((np.abs(method.partition(grid, logits, slopes)) / np.cos(height * spread / 2)).min())

        batch_logits, batch_slopes = rng.normal(0, 2, (4, classes)), rng.normal(0, 1, (4, classes))
        if classes % 3 == 2:
            lower = float(method.slope_radius(torch.from_numpy(batch_slopes)))
            batch = method.exact_radius(batch_logits, batch_slopes)
            each = min(abs(method.nearest_zero(z, a)) for z, a in zip(batch_logits, batch_slopes, strict=True))
            disorder += [lower - batch, abs(batch - each)]
    return {
        "shortfall": max(shortfall),
        "zeros_found": float(len(shortfall)),
        "miscounted": float(miscounted),
        "strip_modulus": float(min(strip)),
        "disorder": max(disorder),
    }


def extremes(*, seed: int) -> Metrics:
    """Zeros where terms would overflow, lengths of any unit, circles on which terms turn fast; an update of zero."""
    far = [abs(method.nearest_zero(np.array([0.0, 0.0, -2000.0]), np.array([-1.0, 1.0, 0.0]))) * 2 / math.pi - 1]
    for gap in (1500.0, -1500.0):
        found = abs(method.nearest_zero(np.array([gap, 0.0]), np.array([0.0, 1.0])))
        far.append(found / method.binary_radius(gap, 1.0) - 1)
    scaled, miscounted = [], 0
    for spread in (1e-9, 1.0, 1e9):
        zero = method.binary_zeros(0.3, spread)[0]
        found = method.newton_zero(zero * (1 + 0.1j), np.array([0.3, 0.0]), np.array([0.0, spread]))
        scaled.append(abs(found / zero - 1))
    for spread in (1.0, 40.0, 400.0):
        radius = 3000 / spread  # the zeros are i pi (2k + 1) / spread
        expected = 2 * math.ceil((radius * spread / math.pi - 1) / 2)
        slopes = np.array([-spread / 2, spread / 2])
        miscounted += method.zeros_within(radius, np.zeros(2), slopes) != expected
    model, inputs, _ = next(random_cases(seed))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    still = method.RadiusController(model, torch.optim.SGD(model.parameters(), 1.0)).step(inputs)
    return {
        "far_gap": float(np.abs(far).max()),
        "scale_gap": float(max(scaled)),
        "miscounted": float(miscounted),
        "still_factor": still.factor,
        "still_r": still.r,
    }


# The radius of networks, and the controller.


def _gap(value: torch.Tensor, wanted: torch.Tensor) -> float:
    return abs(float(value / wanted) - 1)


def invariances(*, seed: int) -> Metrics:
    """What rho_a must not depend on, and how it scales, through the network's own JVP."""
    flip, shift, scale, heat = [], [], [], []
    for model, inputs, direction in random_cases(seed):
        radius = partial(method.directional_radius, model, inputs)
        base = radius(direction)
        flip.append(_gap(radius(times(direction, -1.0)), base))
        slopes = method.logit_slopes(model, inputs, direction)
        shift.append(_gap(method.slope_radius(slopes + torch.randn(len(slopes), 1, dtype=slopes.dtype)), base))
        for factor in (1e-3, 0.4, 7.0, 1e3):
            scale.append(_gap(radius(times(direction, factor)) * factor, base))
            heat.append(_gap(radius(direction, temperature=factor) / factor, base))
            cooled = torch.nn.Sequential(model, Scale(1 / factor))
            named = {f"0.{name}": part for name, part in direction.items()}
            heat.append(_gap(method.directional_radius(cooled, inputs, named) / factor, base))
    return {"flip_gap": max(flip), "shift_gap": max(shift), "scale_gap": max(scale), "temperature_gap": max(heat)}


def controller(*, seed: int) -> Metrics:
    """The clip as a pure function, and around real optimisers on real parameters."""
    generator = torch.Generator().manual_seed(seed)
    norm_gap, excess, changed, set_gap = [], [], 0, []
    for _ in range(300):
        update = {name: torch.randn(5, 7, generator=generator, dtype=torch.float64) for name in "ab"}
        radius = 12 * float(torch.rand((), generator=generator))
        size, held = float(method.length(update)), method.clipped(update, radius)
        norm_gap.append(abs(float(method.length(held)) / min(size, radius) - 1))
        set_gap.append(abs(method.rho_set_rate(update, radius, 2.0) * size / (2 * radius) - 1))
        if size <= radius:
            changed += any(not torch.equal(held[name], update[name]) for name in update)
    for target in (0.5, 1.0, 2.0):
        for rule, rate in (("clip", 1e-4), ("clip", 10.0), ("set", 1.0)):
            for model, inputs, _ in random_cases(seed):
                optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
                wrapped = method.RadiusController(model, optimizer, target, rule=rule)
                cross_entropy(model(inputs), torch.arange(len(inputs)) % 10).backward()
                start, before = copy.deepcopy(model), snapshot(model)
                step = wrapped.step(inputs)
                made = {name: p.detach() - before[name] for name, p in model.named_parameters()}
                r = float(method.spread(method.logit_slopes(start, inputs, made)).max()) / math.pi
                wanted = target if rule == "set" or step.asked_r > target else step.asked_r
                excess.append(r - target)
                set_gap.append(abs(r / wanted - 1))
    return {
        "norm_gap": max(norm_gap),
        "changed_updates": float(changed),
        "excess_r": max(excess),
        "applied_gap": max(set_gap),
    }


def last_layer(*, seed: int) -> Metrics:
    """Logits are affine in the step when only the output layer moves."""
    gaps = []
    for model, inputs, direction in random_cases(seed):
        moving = dict(list(direction.items())[-2:])  # weight and bias of the output layer
        here = snapshot(model.eval())
        with torch.no_grad():
            start, slopes = model(inputs), method.logit_slopes(model, inputs, moving)
            for t in (-3.0, 0.01, 1.0, 20.0):
                there = {name: here[name] + t * part for name, part in moving.items()}
                gaps.append(float((functional_call(model, there, (inputs,)) - start - t * slopes).abs().max()))
    return {"max_gap": max(gaps)}


def estimators(*, seed: int) -> Metrics:
    """Forward mode against central differences, the passes that each costs, and BatchNorm's eval mode."""
    gaps, passes = [], []
    for model, inputs, direction in random_cases(seed, smooth=True):
        calls: list[int] = []
        model.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        exact = method.directional_radius(model, inputs, direction)
        passes.append((len(calls), 1))
        calls.clear()
        slopes = method.finite_difference_slopes(model, inputs, direction, 1e-5, central=True)
        passes.append((len(calls), 2))
        gaps.append(_gap(method.slope_radius(slopes), exact))
    alone = []
    for model, inputs, direction in random_cases(seed):
        model.train()
        together = method.logit_slopes(model, inputs, direction)
        single = torch.cat([method.logit_slopes(model, one[None], direction) for one in inputs])
        alone.append(float((together - single).abs().max()))
    return {
        "difference_gap": max(gaps),
        "surplus_passes": float(max(abs(counted - wanted) for counted, wanted in passes)),
        "batch_gap": max(alone),
    }


def hessian_mismatch() -> Metrics:
    """The step 2 / f'' that curvature allows against the radius, for f = log(1 + exp(-x))."""
    import torch._dynamo  # as in `random_cases`

    def over_curvature(x: float) -> float:
        margin = torch.tensor(x, dtype=torch.float64)
        return 2 / curvature(lambda point: softplus(-point["x"]), {"x": margin}, {"x": margin**0})

    def over_radius(gap: float, spread: float) -> float:
        lower = method.slope_radius(torch.tensor([[0.0, spread]], dtype=torch.float64))
        return over_curvature(gap) / spread**2 / float(lower)

    wide = 1e4  # the crossover formula is the asymptotic one: it wants a large gap, so a large spread
    low, high = 1.0, 20.0
    while high - low > 1e-9:  # far below the margin of the claim
        middle = (low + high) / 2
        low, high = (middle, high) if over_radius(middle, wide) < 1 else (low, middle)
    gaps = [abs(over_radius(gap, 1.0) / (2 * math.exp(gap) / math.pi) - 1) for gap in (8.0, 10.0, 14.0, 20.0)]
    return {
        "ratio_at_10": over_curvature(10.0) / method.binary_radius(10.0, 1.0),
        "inverse_curvature_at_10": over_curvature(10.0) / 2,
        "radius_at_10": method.binary_radius(10.0, 1.0),
        "asymptote_gap": max(gaps),
        "crossover_gap": abs(low - math.log(math.pi * wide / 2)),
    }


# Taylor series and cumulants.


def log_series(coefficients: list[Decimal]) -> list[Decimal]:
    """Taylor coefficients of log f from those of f, by f (log f)' = f', in the precision of the decimal context."""
    logs = [coefficients[0].ln()]
    for n in range(1, len(coefficients)):
        known = sum((k * logs[k] * coefficients[n - k] for k in range(1, n)), Decimal(0))
        logs.append((coefficients[n] - known / n) / coefficients[0])
    return logs


def series() -> Metrics:
    """Taylor sums of the binary log F, inside and outside the radius, with 60 digits."""
    growth, rising = [], 0
    with decimal.localcontext(prec=60):
        for gap, spread in ((0.0, 1.0), (2.0, 1.0), (-3.0, 2.0), (5.0, 0.5)):
            weight = Decimal(-gap).exp()  # log F = z_1 + log(1 + exp(D t - delta))
            powers = [weight * Decimal(spread) ** n / math.factorial(n) for n in range(81)]
            terms = log_series([1 + weight, *powers[1:]])
            radius = Decimal(method.binary_radius(gap, spread))
            for share in (Decimal("0.9"), Decimal("1.1")):
                t = radius * share
                truth = (1 + weight * (Decimal(spread) * t).exp()).ln()
                sums = [sum(c * t**n for n, c in enumerate(terms[: order + 1])) for order in (5, 20, 40, 80)]
                errors = [abs(value - truth) for value in sums]
                if share < 1:
                    rising += sum(later >= sooner for sooner, later in itertools.pairwise(errors))
                else:
                    growth.append(float(errors[3] / errors[2]))
    return {"inside_rises": float(rising), "outside_growth": min(growth)}


def softmax(logits: np.ndarray) -> np.ndarray:
    """The softmax of one vector."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def two_point_remainder(p: float, t: float) -> float:
    """|KL(p(0) || p(t)) - t^2 V / 2| for mass p at slope 1 and 1 - p at slope 0, with 30 digits."""
    with decimal.localcontext(prec=30):
        mass, step = Decimal(p), Decimal(t)
        divergence = (1 - mass + mass * step.exp()).ln() - step * mass
        return float(abs(divergence - step**2 * mass * (1 - mass) / 2))


def kl_remainder(*, seed: int) -> Metrics:
    """The cumulant remainder, its two divergences, their bounds, and the third-moment inequality."""
    rng = np.random.default_rng(seed)
    identity, printed, ratios, reverse, third = [], [], [], [], []
    for _ in range(2000):
        classes = int(rng.integers(2, 30))
        logits, slopes = rng.normal(0, 2, classes), rng.normal(0, 1, classes)
        t = float(rng.choice([-1, 1]) * rng.uniform(0.05, 4) / np.ptp(slopes))
        here, there = softmax(logits), softmax(logits + t * slopes)
        mean = here @ slopes
        variance = here @ (slopes - mean) ** 2
        remainder = math.log(here @ np.exp(t * slopes)) - t * mean
        forward, backward = here @ np.log(here / there), there @ np.log(there / here)
        identity.append(abs(remainder - forward))
        printed.append(abs(remainder - backward))
        spread = np.ptp(slopes)
        ratios.append(abs(forward - t**2 * variance / 2) / method.kl_cubic_bound(t, spread))
        reverse.append(abs(backward - t**2 * variance / 2) / method.kl_cubic_bound(t, spread, reverse=True))
        third.append(abs(here @ (slopes - mean) ** 3) - spread**3 / (6 * math.sqrt(3)))
    roots = [(3 + sign * math.sqrt(3)) / 6 for sign in (-1, 1)]
    sharp = [two_point_remainder(p, 0.1) / method.kl_cubic_bound(0.1, 1.0) for p in roots]
    bernoulli = [p * (1 - p) * abs(1 - 2 * p) for p in roots]  # |E (X - EX)^3|
    return {
        "identity_gap": max(identity),
        "printed_gap": max(printed),
        "bound_ratio": max(ratios),
        "reverse_bound_ratio": max(reverse),
        "sharpness": max(sharp),
        "third_moment_excess": max(third),
        "third_moment_equality": max(abs(moment * 6 * math.sqrt(3) - 1) for moment in bernoulli),
    }


def gelu_coefficient(n: int) -> float:
    """|The coefficient| of t^n, n even and positive, of t Phi(t), from the series of the error function."""
    k = n // 2 - 1
    return 1 / (math.sqrt(2 * math.pi) * 2**k * math.factorial(k) * (2 * k + 1))


def activations() -> Metrics:
    """Root tests on Taylor coefficients at 0, with 40 digits, against the radii that the method uses."""
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    tanh_radius, softplus_radius = (float(method.activation_radius(zero, one, kind)) for kind in ("tanh", "softplus"))
    with decimal.localcontext(prec=40):
        inverse = [1 / Decimal(math.factorial(n)) for n in range(63)]
        log_cosh = log_series([c if n % 2 == 0 else Decimal(0) for n, c in enumerate(inverse)])
        tanh_61 = float(62 * log_cosh[62])  # tanh is the derivative of log cosh
        soft = log_series([Decimal(2), *inverse[1:61]])
        roots = [gelu_coefficient(n) ** (1 / n) for n in range(20, 61, 2)]
        return {
            "tanh_gap": abs(abs(tanh_61) ** (-1 / 61) / tanh_radius - 1),
            "softplus_gap": abs(float(abs(soft[58] / soft[60])) / softplus_radius**2 - 1),
            "gelu_root_20": roots[0],
            "gelu_root_60": roots[-1],
            "gelu_rises": float(sum(later >= sooner for sooner, later in itertools.pairwise(roots))),
        }


def defaults(*, seed: int) -> Metrics:
    """Options that nobody gives, what a step reports of itself, and slopes that are whole numbers or tracked."""
    halved = method.Step(asked=3.0, radius=2.0, factor=0.5)
    logits, slopes = [0, 1, 3], [2, -1, 5]
    model, inputs, direction = next(iter(random_cases(seed)))
    own = method.logit_slopes(model, inputs, direction)
    return {
        "other": other_defaults(method.finite_difference_slopes, eps=1e-4, central=False)
        + other_defaults(method.slope_radius, temperature=1.0)
        + other_defaults(method.directional_radius, temperature=1.0)
        + other_defaults(method.clipped, target=1.0)
        + other_defaults(method.rho_set_rate, target=1.0)
        + other_defaults(method.RadiusController, target=1.0, rule="clip", radius=method.directional_radius)
        + other_defaults(method.binary_zeros, orders=(0,))
        + other_defaults(method.kl_cubic_bound, reverse=False)
        + other_defaults(method.network_radii, attention=(), ffn=(), quantile=0.01),
        "report_gap": gap_of([halved.asked_r, halved.r], [1.5, 0.75]),
        "whole_gap": gap_of(
            abs(method.nearest_zero(np.array(logits), np.array(slopes)) - method.nearest_zero(
                np.array(logits, dtype=float), np.array(slopes, dtype=float)))
        ),
        "tracked": float(own.requires_grad),
    }  # fmt: skip
