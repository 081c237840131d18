"""The experiments of softmax-ghosts: what is checked exactly, on digits, and on CIFAR-10."""

from __future__ import annotations

import copy
import itertools
import math
import time
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import torch
from safetensors.torch import load_file
from scipy.optimize import brentq
from torch.func import functional_call
from torch.nn import GELU
from torch.nn.functional import cross_entropy, softplus

from baselines.digits import batches, first, stratified, unshuffled
from baselines.loss_landscape import (
    curvature,
    gradient,
    loss_and_accuracy,
    loss_at,
    moved,
    random_direction,
    snapshot,
    times,
    unit,
)
from baselines.models import mlp, resnet18_cifar
from suites.softmax_ghosts import cases, method, training
from suites.softmax_ghosts.cases import Scale, gelu_coefficient, log_series, random_cases, softmax, two_point_remainder

Metrics = dict[str, float | list[float]]

# Exact tier: float64, worst cases over many inputs.


def binary_radius(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E1, E3: zeros of the binary partition function against the closed form."""
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


def general_bound(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E2 and the ordering rho_a <= rho_batch <= rho*(x), for 2 to 50 classes."""
    rng = np.random.default_rng(seed)
    shortfall, miscounted, strip, disorder = [], 0, [], []
    for classes in range(2, 51):
        logits, slopes = rng.normal(0, 3, classes), rng.normal(0, rng.uniform(0.1, 5), classes)
        spread = np.ptp(slopes)
        nearest = method.nearest_zero(logits, slopes)
        starts = (rng.uniform(-5, 5, 20) + 1j * rng.uniform(0, 10, 20)) * math.pi / spread
        zeros = [nearest, *(method.newton_zero(start, logits, slopes) for start in starts)]
        shortfall += [math.pi / spread - abs(zero.imag) for zero in zeros if np.isfinite(zero)]
        inside, around = (method.zeros_within(c * abs(nearest), logits, slopes) for c in (0.999, 1.001))
        miscounted += inside != 0 or around < 2
        height = np.linspace(0, 0.99, 34)[:, None] * math.pi / spread
        grid = np.linspace(-20, 20, 81) / spread + 1j * height
        # The lemma's own lower bound: the terms lie in an arc of y D, so |F| >= cos(y D / 2) times their moduli.
        strip.append((np.abs(method.partition(grid, logits, slopes)) / np.cos(height * spread / 2)).min())

        batch_logits, batch_slopes = rng.normal(0, 2, (4, classes)), rng.normal(0, 1, (4, classes))
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


def extremes(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """Zeros where terms would overflow, lengths of any unit, circles on which terms turn fast; an update of zero."""
    return cases.extremes(seed)


def invariances(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E4: what rho_a must not depend on, and how it scales, through the network's own JVP."""
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


def controller(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E5: the clip as a pure function, and around real optimisers on real parameters."""
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


def series(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E6: Taylor sums of the binary log F, inside and outside the radius, with 60 digits."""
    growth, rising = [], 0
    with mpmath.workdps(60):
        for gap, spread in ((0, 1), (2, 1), (-3, 2), (5, 0.5)):
            weight = mpmath.exp(-gap)  # log F = z_1 + log(1 + exp(D t - delta))
            factorial = [weight * mpmath.mpf(spread) ** n / mpmath.factorial(n) for n in range(81)]
            terms = log_series([1 + weight, *factorial[1:]])
            radius = mpmath.mpf(method.binary_radius(gap, spread))
            for share in (0.9, 1.1):
                t = radius * mpmath.mpf(share)
                truth = mpmath.log(1 + weight * mpmath.exp(spread * t))
                sums = [mpmath.fsum(c * t**n for n, c in enumerate(terms[: order + 1])) for order in (5, 20, 40, 80)]
                errors = [abs(value - truth) for value in sums]
                if share < 1:
                    rising += sum(later >= sooner for sooner, later in itertools.pairwise(errors))
                else:
                    growth.append(float(errors[3] / errors[2]))
    return {"inside_rises": float(rising), "outside_growth": min(growth)}


def kl_remainder(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E7, E8: the cumulant remainder, its two divergences, their bounds, and the third-moment inequality."""
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


def last_layer(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E9: logits are affine in the step when only the output layer moves."""
    gaps = []
    for model, inputs, direction in random_cases(seed):
        moving = dict(list(direction.items())[-2:])  # weight and bias of the output layer
        here = snapshot(model.eval())
        start, slopes = model(inputs).detach(), method.logit_slopes(model, inputs, moving)
        for t in (-3.0, 0.01, 1.0, 20.0):
            there = {name: here[name] + t * part for name, part in moving.items()}
            gaps.append(float((functional_call(model, there, (inputs,)) - start - t * slopes).abs().max()))
    return {"max_gap": max(gaps)}


def hessian_mismatch(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E10: the step 2 / f'' that curvature allows against the radius, for f = log(1 + exp(-x))."""

    def over_curvature(x: float) -> float:
        margin = torch.tensor(x, dtype=torch.float64)
        return 2 / curvature(lambda point: softplus(-point["x"]), {"x": margin}, {"x": margin**0})

    def over_radius(gap: float, spread: float) -> float:
        lower = method.slope_radius(torch.tensor([[0.0, spread]], dtype=torch.float64))
        return over_curvature(gap) / spread**2 / float(lower)

    wide = 1e4  # the crossover formula is the asymptotic one: it wants a large gap, so a large spread
    crossover = brentq(lambda gap: over_radius(gap, wide) - 1, 1.0, 20.0)
    gaps = [abs(over_radius(gap, 1.0) / (2 * math.exp(gap) / math.pi) - 1) for gap in (8.0, 10.0, 14.0, 20.0)]
    return {
        "ratio_at_10": over_curvature(10.0) / method.binary_radius(10.0, 1.0),
        "inverse_curvature_at_10": over_curvature(10.0) / 2,
        "radius_at_10": method.binary_radius(10.0, 1.0),
        "asymptote_gap": max(gaps),
        "crossover_gap": abs(crossover - math.log(math.pi * wide / 2)),
    }


def estimators(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E11, E12: forward mode against central differences, the passes that each costs, and BatchNorm's eval mode."""
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


def activations(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E13: root tests on Taylor coefficients at 0, with 40 digits, against the radii that the method uses."""
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    tanh_radius, softplus_radius = (float(method.activation_radius(zero, one, kind)) for kind in ("tanh", "softplus"))
    with mpmath.workdps(40):
        inverse = [1 / mpmath.factorial(n) for n in range(63)]
        log_cosh = log_series([c if n % 2 == 0 else mpmath.mpf(0) for n, c in enumerate(inverse)])
        tanh_61 = 62 * log_cosh[62]  # tanh is the derivative of log cosh
        soft = log_series([mpmath.mpf(2), *inverse[1:61]])
        roots = [float(abs(gelu_coefficient(n)) ** (mpmath.mpf(1) / n)) for n in range(20, 61, 2)]
        return {
            "tanh_gap": abs(float(abs(tanh_61) ** (-mpmath.mpf(1) / 61)) / tanh_radius - 1),
            "softplus_gap": abs(float(abs(soft[58] / soft[60])) / softplus_radius**2 - 1),
            "gelu_root_20": roots[0],
            "gelu_root_60": roots[-1],
            "gelu_rises": float(sum(later >= sooner for sooner, later in itertools.pairwise(roots))),
        }


# Small tier: digits.


def spike(
    *, arm: str, seed: int, device: torch.device, lr: float, factor: float = 1000, steps: int = 200, onset: int = 50
) -> Metrics:
    """S1, S6: the learning rate is multiplied by `factor` from step `onset` to the end, under each safeguard."""
    train, test = stratified(seed)
    cap = math.inf
    if arm == "cap":  # calibrated on a run of its own
        cap = training.calm_cap(training.network("mlp", seed), train, batches(train, 64, steps, seed), lr)
    trainer = training.Trainer(arm, training.network("mlp", seed), train, cap)
    before = 0.0
    for step, batch in enumerate(batches(train, 64, steps, seed)):
        if step == onset:
            before = loss_and_accuracy(trainer.model, test)[1]
        trainer.step(batch, lr * (factor if step >= onset else 1))
    return {
        "accuracy": loss_and_accuracy(trainer.model, test)[1],
        "accuracy_before": before,
        "max_r": max(trainer.r),
        "max_r_before": max(trainer.r[:onset]),
    }


def severity(
    *, arm: str, seed: int, device: torch.device, architecture: str, factor: float, examples: int, steps: int
) -> Metrics:
    """S2: full-batch Adam on digits; the one step 50 is `factor` times too long."""
    (inputs, labels), test = unshuffled()
    train = inputs[:examples], labels[:examples]
    return {"accuracy": training.one_spiked_step(arm, architecture, seed, train, test, factor, steps)}


def table1(*, arm: str, seed: int, device: torch.device, architecture: str, steps: int = 200) -> Metrics:
    """Table 1 at its full protocol: as `severity`, on all training images, 10 000x, in percent."""
    train, test = unshuffled()
    return {"accuracy": 100 * training.one_spiked_step(arm, architecture, seed, train, test, 10_000, steps)}


STAGES = {"early": 25, "middle": 100, "late": 400}
"""AdamW steps after which a trained network is looked at."""


def trained(*, seed: int, device: torch.device, architecture: str) -> dict[str, torch.Tensor]:
    """A network on digits at three stages of training; keys are "stage/parameter or buffer"."""
    train, _ = stratified(seed)
    model = training.network(architecture, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.5e-3, weight_decay=1e-4)
    states: dict[str, torch.Tensor] = {}
    for step, batch in enumerate(batches(train, 128, max(STAGES.values()), seed), 1):
        training.descend(model, optimizer, batch)
        for stage in (stage for stage, at in STAGES.items() if at == step):
            states |= {f"{stage}/{name}": value.clone() for name, value in model.state_dict().items()}
    return states


def below_one(*, arm: str, seed: int, device: torch.device, architecture: str, trained: Path) -> Metrics:
    """S3: one step of length r rho_a along the descent direction and 20 random ones, at three stages."""
    data = first(stratified(seed)[0], 384)
    grid = np.geomspace(0.05, 35, 24)
    generator = torch.Generator().manual_seed(seed)
    states = load_file(trained)
    metrics: Metrics = {}
    found: dict[str, list[dict[str, float]]] = {"descent": [], "random": []}
    for stage in STAGES:
        model = training.network(architecture, seed).eval()
        model.load_state_dict({k.split("/")[1]: v for k, v in states.items() if k.startswith(f"{stage}/")})
        metrics[f"accuracy_{stage}"] = loss_and_accuracy(model, data)[1]
        steps = {"descent": [times(gradient(model, data), -1.0)]}
        steps["random"] = [random_direction(model, generator) for _ in range(20)]
        for kind, directions in steps.items():
            here = [training.failures(model, data, direction, grid) for direction in directions]
            metrics[f"{kind}_below_1_{stage}"] = float(sum(step["below_1"] for step in here))
            found[kind] += here
    for kind, taken in found.items():
        for count in ("below_half", "below_1", "accuracy_below_1"):
            metrics[f"{kind}_{count}"] = float(sum(step[count] for step in taken))
        onsets = [float(step["onset"]) for step in taken]
        metrics |= {f"{kind}_onset": float(np.median(onsets)), f"{kind}_smallest_onset": min(onsets)}
    return metrics


def temperature(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """S4 per seed: onsets of collapse at each temperature, raw and in units of rho_a."""
    return training.scatter([training.onsets(seed)])


def temperature_pooled(*, arm: str, seed: int, device: torch.device, networks: int) -> Metrics:
    """S4 as its rule has it: the onset at each temperature is the median over networks."""
    return training.scatter([training.onsets(number) for number in range(networks)])


def binding(*, arm: str, seed: int, device: torch.device, steps: int = 200) -> Metrics:
    """G17: which of the three radii of a small transformer is the smallest along Adam's own steps."""
    train, _ = stratified(seed)
    model = training.network("transformer", seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    smallest = []
    for batch in batches(train, 64, steps, seed):
        here = copy.deepcopy(model)
        training.descend(model, optimizer, batch)
        before = snapshot(here)
        direction = unit({name: p.detach() - before[name] for name, p in model.named_parameters()})
        radii = method.network_radii(here, batch[0], direction, **training.TRANSFORMER_PARTS)
        smallest.append(int(torch.stack([radii.ffn, radii.out, radii.attention]).argmin()))
    shares: Metrics = {}
    for when, steps_then in (("early", smallest[:20]), ("late", smallest[-20:])):
        for number, part in enumerate(("ffn", "out", "attention")):
            shares[f"{part}_{when}"] = steps_then.count(number) / 20
    return shares


def phase_transition(*, arm: str, seed: int, device: torch.device, stage: str) -> Metrics:
    """G14, G19: what one step to r = 1 does to the loss, and how the step 2 / kappa compares with rho_a."""
    train, test = stratified(seed, test_size=0.3)
    torch.manual_seed(seed)
    model = mlp([64, 128, 128, 10], GELU, norm=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.5e-3, weight_decay=1e-4)
    goal = {"early": 0.84, "middle": 0.95, "late": 0.98}[stage]
    for batch in batches(train, 128, 750, seed):
        training.descend(model, optimizer, batch)
        if (reached := loss_and_accuracy(model, test)[1]) >= goal:
            break
    data = first(train, 384)
    generator = torch.Generator().manual_seed(seed)
    directions = [unit(gradient(model, data))]
    if arm == "random":
        directions = [random_direction(model, generator) for _ in range(20)]
    start = loss_and_accuracy(model, data)[0]
    ratios, overshoot = [], []
    for direction in directions:
        radius = float(method.directional_radius(model, data[0], direction))
        ratios.append(loss_and_accuracy(moved(model, direction, radius), data)[0] / start)
        bend = curvature(loss_at(model, data), dict(model.named_parameters()), direction)
        overshoot.append(2 / abs(bend) / radius)
    return {
        "test_accuracy": reached,
        "loss_ratio": float(np.median(ratios)),
        "log_hessian_over_radius": float(np.log10(np.median(overshoot))),
    }


# Full tier: CIFAR-10 on a GPU.


def resnet_cifar10(*, arm: str, seed: int, device: torch.device, epochs: int, limit: int | None = None) -> Metrics:
    """G7 to G11, S5: ResNet-18, momentum SGD, at a fixed rate (arm "lr_0.1") or a fixed r (arm "r_2")."""
    rule, value = arm.split("_")
    torch.manual_seed(seed)
    model = resnet18_cifar(10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=float(value) if rule == "lr" else 1.0, momentum=0.9)
    controller = method.RadiusController(model, optimizer, float(value), rule="set", radius=training.difference_radius)
    images, labels = training.cifar10("train", device, limit)
    generator = torch.Generator().manual_seed(seed)
    r: list[float] = []
    for _ in range(epochs):
        model.train()
        for number, rows in enumerate(torch.randperm(len(labels), generator=generator).to(device).split(128)):
            inputs = training.normalised(images[rows])
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels[rows]).backward()
            if rule == "r":
                r.append(controller.step(inputs).r)
            elif number % 50:
                optimizer.step()
            else:
                before = snapshot(model)
                optimizer.step()
                r.append(training.measured_r(model, before, inputs)[0])
    return {"accuracy": training.percent_correct(model, training.cifar10("test", device, limit)), "max_r": max(r)}


def step_time(*, arm: str, seed: int, device: torch.device, rounds: int = 15, batch: int = 128) -> Metrics:
    """G18: milliseconds of one ResNet-18 training step: plain, with rho_a by finite differences, and by JVP."""
    model = resnet18_cifar(10).to(device)
    inputs, labels = torch.randn(batch, 3, 32, 32, device=device), torch.arange(batch, device=device) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    held = {
        "finite_difference_ms": method.RadiusController(model, optimizer, radius=training.difference_radius),
        "jvp_ms": method.RadiusController(model, optimizer),
    }
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None

    def timed(kind: str, repeats: int = 5) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            held[kind].step(inputs) if kind in held else optimizer.step()
        wait()
        return 1000 * (time.perf_counter() - start) / repeats

    kinds = ("plain_ms", *held)
    for kind in kinds:
        timed(kind)  # warm up
    rows = [[timed(kind) for kind in kinds] for _ in range(rounds)]
    return {kind: list(column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)}


def _gap(value: torch.Tensor, wanted: torch.Tensor) -> float:
    return abs(float(value / wanted) - 1)
