"""The digits of scikit-learn: spikes of the learning rate, steps to r = 1 and beyond, collapse by temperature."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from baselines.digits import batches, first, stratified, unshuffled
from baselines.loss_landscape import (
    Data,
    Tensors,
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
from baselines.models import mlp
from suites.softmax_ghosts import archgrid, method
from suites.softmax_ghosts.contenders import TRANSFORMER_PARTS, Trainer, calm_cap, descend, network
from suites.softmax_ghosts.exact import Metrics

# Spikes of the learning rate.


def spike(*, arm: str, seed: int, lr: float, factor: float = 1000, steps: int = 200, onset: int = 50) -> Metrics:
    """The learning rate is multiplied by `factor` from step `onset` to the end, under each safeguard."""
    train, test = stratified(seed)
    cap = math.inf
    if arm == "cap":  # calibrated on a run of its own
        cap = calm_cap(network("mlp", seed), train, batches(train, 64, steps, seed), lr)
    trainer = Trainer(arm, network("mlp", seed), train, cap)
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


def one_spiked_step(arm: str, model: Module, train: Data, factor: float, steps: int) -> None:
    """The released grid's training, in place: full-batch Adam at rate 0.015, step 50 `factor` times longer."""
    trainer = Trainer(arm, model, train, record=False)
    for step in range(steps):
        trainer.step(train, 0.015 * (factor if step == 50 else 1))


def severity(*, arm: str, seed: int, architecture: str, factor: float, examples: int, steps: int) -> Metrics:
    """Full-batch Adam on the first `examples` training images; the one step 50 is `factor` times too long."""
    train, test = unshuffled()
    model = network(architecture, seed)
    one_spiked_step(arm, model, first(train, examples), factor, steps)
    return {"accuracy": loss_and_accuracy(model, test)[1]}


def table1(*, arm: str, seed: int, architecture: str, steps: int = 200) -> Metrics:
    """Table 1 with the networks and at the protocol of the released grid: a step of 10 000x, in percent.

    "accuracy" is taken in training mode, as there, so that BatchNorm uses the statistics of the test images.
    """
    train, test = unshuffled()
    model = archgrid.network(architecture, seed)
    one_spiked_step(arm, model, train, 10_000, steps)
    evaluated = loss_and_accuracy(model, test)[1]
    with torch.no_grad():
        released = float((model.train()(test[0]).argmax(1) == test[1]).double().mean())
    return {"accuracy": 100 * released, "accuracy_evaluated": 100 * evaluated}


# Steps of length r rho_a.

STAGES = {"early": 25, "middle": 100, "late": 400}
"""AdamW steps after which a trained network is looked at."""


def trained(*, seed: int, architecture: str) -> dict[str, torch.Tensor]:
    """A network on digits at three stages of training; keys are "stage/parameter or buffer"."""
    train, _ = stratified(seed)
    model = network(architecture, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.5e-3, weight_decay=1e-4)
    states: dict[str, torch.Tensor] = {}
    for step, batch in enumerate(batches(train, 128, max(STAGES.values()), seed), 1):
        descend(model, optimizer, batch)
        for stage in (stage for stage, at in STAGES.items() if at == step):
            states |= {f"{stage}/{name}": value.clone() for name, value in model.state_dict().items()}
    return states


def failures(model: Module, data: Data, direction: Tensors, grid: np.ndarray) -> dict[str, float]:
    """How a step of length r rho_a fails, for ascending r: by accuracy (10 points lower) or by loss (more than double).

    Counts of failing r up to 0.5 and below 1, of those that fail by accuracy, and the smallest failing r (else the
    grid's end). Nothing is evaluated beyond the first failure at r >= 1.
    """
    direction = unit(direction)
    radius = float(method.directional_radius(model, data[0], direction))
    loss, accuracy = loss_and_accuracy(model, data)
    failing, inaccurate = [], []
    for r in grid:
        new_loss, new_accuracy = loss_and_accuracy(moved(model, direction, r * radius), data)
        if not new_accuracy >= accuracy - 0.1:  # negated, so that NaN is a failure
            inaccurate.append(r)
        if not (new_accuracy >= accuracy - 0.1 and new_loss <= 2 * loss):
            failing.append(r)
            if r >= 1:
                break
    return {
        "below_half": sum(r <= 0.5 for r in failing),
        "below_1": sum(r < 1 for r in failing),
        "accuracy_below_1": sum(r < 1 for r in inaccurate),
        "onset": min(failing, default=grid[-1]),
    }


def below_one(*, seed: int, architecture: str, trained: Path) -> Metrics:
    """One step of length r rho_a along the descent direction and 20 random ones, at three stages."""
    data = first(stratified(seed)[0], 384)
    grid = np.geomspace(0.05, 35, 24)
    generator = torch.Generator().manual_seed(seed)
    states = load_file(trained)
    metrics: Metrics = {}
    found: dict[str, list[dict[str, float]]] = {"descent": [], "random": []}
    for stage in STAGES:
        model = network(architecture, seed).eval()
        model.load_state_dict({k.split("/")[1]: v for k, v in states.items() if k.startswith(f"{stage}/")})
        metrics[f"accuracy_{stage}"] = loss_and_accuracy(model, data)[1]
        steps = {"descent": [times(gradient(model, data), -1.0)]}
        steps["random"] = [random_direction(model, generator) for _ in range(20)]
        for kind, directions in steps.items():
            here = [failures(model, data, direction, grid) for direction in directions]
            metrics[f"{kind}_below_1_{stage}"] = float(sum(step["below_1"] for step in here))
            found[kind] += here
    for kind, taken in found.items():
        for count in ("below_half", "below_1", "accuracy_below_1"):
            metrics[f"{kind}_{count}"] = float(sum(step[count] for step in taken))
        onsets = [float(step["onset"]) for step in taken]
        metrics |= {f"{kind}_onset": float(np.median(onsets)), f"{kind}_smallest_onset": min(onsets)}
    return metrics


def phase_transition(*, arm: str, seed: int, stage: str) -> Metrics:
    """What one step to r = 1 does to the loss, and how the step 2 / kappa compares with rho_a."""
    train, test = stratified(seed, test_size=0.3)
    torch.manual_seed(seed)
    model = mlp([64, 128, 128, 10], nn.GELU, norm=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.5e-3, weight_decay=1e-4)
    goal = {"early": 0.84, "middle": 0.95, "late": 0.98}[stage]
    for batch in batches(train, 128, 750, seed):
        descend(model, optimizer, batch)
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


def binding(*, seed: int, steps: int = 200) -> Metrics:
    """Which of the three radii of a small transformer is the smallest along Adam's own steps."""
    train, _ = stratified(seed)
    model = network("transformer", seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    smallest = []
    for batch in batches(train, 64, steps, seed):
        here = copy.deepcopy(model)
        descend(model, optimizer, batch)
        before = snapshot(here)
        direction = unit({name: p.detach() - before[name] for name, p in model.named_parameters()})
        radii = method.network_radii(here, batch[0], direction, **TRANSFORMER_PARTS)
        smallest.append(int(torch.stack([radii.ffn, radii.out, radii.attention]).argmin()))
    shares: Metrics = {}
    for when, steps_then in (("early", smallest[:20]), ("late", smallest[-20:])):
        for number, part in enumerate(("ffn", "out", "attention")):
            shares[f"{part}_{when}"] = steps_then.count(number) / 20
    return shares


# The onset of collapse by temperature.

TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def doubling_onset(model: Module, data: Data, temperature: float) -> tuple[float, float]:
    """The first tau at which the loss on z / T doubles along its own descent direction, and rho_a(T) there.

    120 points from 1e-4 to max(16 rho_a, 2), geometric; NaN where the loss doubles at none of them.
    """
    direction = unit(times(gradient(model, data, temperature), -1.0))
    radius = float(method.directional_radius(model, data[0], direction, temperature))
    start = loss_and_accuracy(model, data, temperature)[0]
    for tau in np.geomspace(1e-4, max(16 * radius, 2), 120):
        if loss_and_accuracy(moved(model, direction, tau), data, temperature)[0] >= 2 * start:
            return float(tau), radius
    return math.nan, radius


def onsets(seed: int, *, each: bool) -> list[tuple[float, float]]:
    """(tau, rho_a) per temperature: where the loss on z / T first doubles downhill.

    The network is trained anew on z / T for `each` T, as by the released script, or once at T = 1.
    """
    train, _ = stratified(seed)

    def trained_at(temperature: float) -> Module:
        torch.manual_seed(seed)
        model = mlp([64, 128, 128, 10], nn.GELU)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for images, labels in batches(train, 256, 120, seed):
            optimizer.zero_grad()
            cross_entropy(model(images) / temperature, labels).backward()
            optimizer.step()
        return model

    if each:
        return [doubling_onset(trained_at(heat), train, heat) for heat in TEMPERATURES]
    model = trained_at(1.0)
    return [doubling_onset(model, train, heat) for heat in TEMPERATURES]


def scatter(found: list[list[tuple[float, float]]]) -> Metrics:
    """How the median onsets scatter over temperatures, raw and in units of rho_a, on log10 and linear axes."""
    tau, radius = np.array(found).transpose(2, 0, 1)
    raw, scaled = np.median(tau, axis=0), np.median(tau / radius, axis=0)
    return {
        "log_std_ratio": float(np.log10(scaled).std() / np.log10(raw).std()),
        "std_ratio": float(scaled.std() / raw.std()),
        "log_std_raw": float(np.log10(raw).std()),
        "log_std_scaled": float(np.log10(scaled).std()),
        "std_raw": float(raw.std()),
        "std_scaled": float(scaled.std()),
        "median_onset": float(np.median(scaled)),
    }


def temperature(*, seed: int) -> Metrics:
    """Onsets of collapse of one network at each temperature, raw and in units of rho_a."""
    return scatter([onsets(seed, each=False)])


def temperature_pooled(*, networks: int) -> Metrics:
    """The same where the onset at each temperature is the median over networks."""
    return scatter([onsets(number, each=False) for number in range(networks)])


def temperature_trained(*, networks: int) -> Metrics:
    """The same with networks trained at each temperature."""
    return scatter([onsets(number, each=True) for number in range(networks)])
