"""Training under each safeguard, and what is measured on the way."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

import reference
from baselines.digits import batches, stratified
from baselines.loss_landscape import Data, Tensors, gradient, loss_and_accuracy, loss_at, moved, snapshot, times, unit
from baselines.models import DigitTransformer, mlp, small_cnn
from baselines.step_safeguards import armijo_factor, cap_factor, curvature_factor, rescaled_step
from suites.softmax_ghosts import method

ARCHITECTURES = {
    "linear": lambda: mlp([64, 10]),
    "mlp": lambda: mlp([64, 128, 10]),
    "cnn": lambda: small_cnn(),
    "mlp_ln": lambda: mlp([64, 128, 10], norm=True),
    "cnn_bn": lambda: small_cnn(batch_norm=True),
    "transformer": lambda: DigitTransformer(),
}
TRANSFORMER_PARTS = {"attention": ["blocks.0.attention.1.softmax"], "ffn": ["blocks.0.ffn.2"]}
"""Where a DigitTransformer of one block has its attention scores and its preactivations."""


def network(architecture: str, seed: int) -> Module:
    """A network for digits, whose initialisation depends on architecture and seed only."""
    torch.manual_seed(seed)
    return ARCHITECTURES[architecture]()


def descend(model: Module, optimizer: torch.optim.Optimizer, batch: Data) -> None:
    """One plain step on the cross-entropy of a batch."""
    optimizer.zero_grad()
    cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()


class Trainer:
    """Steps a model under one safeguard (an arm), and records the r and rho_a of every step that was really made.

    Whatever an arm measures for its safeguard beyond the mini-batch, it measures on the full training set.
    """

    def __init__(self, arm: str, model: Module, train: Data, cap: float = math.inf, *, record: bool = True) -> None:
        self.arm, self.model, self.train, self.cap, self.record = arm, model, train, cap, record
        self.optimizer = (torch.optim.SGD if arm == "sgd" else torch.optim.Adam)(model.parameters(), lr=1.0)
        self.controller = method.RadiusController(model, self.optimizer)
        self.r: list[float] = []
        self.radii: list[float] = []

    def step(self, batch: Data, lr: float) -> None:
        """One step on the cross-entropy of `batch`."""
        self.optimizer.zero_grad()
        cross_entropy(self.model(batch[0]), batch[1]).backward()
        self.optimizer.param_groups[0]["lr"] = lr * self._discount()
        before = snapshot(self.model)
        if self.arm == "clip":
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if self.arm == "method":
            self.controller.step(self.train[0])
        elif self.arm == "cap":
            rescaled_step(self.model, self.optimizer, lambda _, update: cap_factor(update, self.cap))
        elif self.arm in ("armijo", "curvature"):
            factor = armijo_factor if self.arm == "armijo" else curvature_factor
            rescaled_step(self.model, self.optimizer, partial(factor, loss_at(self.model, self.train)))
        else:
            self.optimizer.step()
        if self.record:
            r, radius = measured_r(self.model, before, self.train[0])
            self.r.append(r)
            self.radii.append(radius)

    @torch.no_grad()
    def _discount(self) -> float:
        """The released RhoScaledAdam's factor min(1, pi / spread), with the spread of the logits themselves."""
        if self.arm != "logit_spread":
            return 1.0
        return min(1.0, math.pi / float(method.spread(self.model(self.train[0])).max()))


def calm_cap(model: Module, train: Data, batches: Iterable[Data], lr: float) -> float:
    """The median rho_a along plain Adam's steps without a spike: what a constant cap is set to."""
    trainer = Trainer("adam", model, train)
    for batch in batches:
        trainer.step(batch, lr)
    return float(np.median(trainer.radii))


def one_spiked_step(
    arm: str, architecture: str, seed: int, train: Data, test: Data, factor: float, steps: int
) -> float:
    """The archgrid protocol: full-batch Adam at rate 0.015, step 50 `factor` times longer; the final test accuracy."""
    trainer = Trainer(arm, network(architecture, seed), train, record=False)
    for step in range(steps):
        trainer.step(train, 0.015 * (factor if step == 50 else 1))
    return loss_and_accuracy(trainer.model, test)[1]


def measured_r(model: Module, before: Tensors, inputs: torch.Tensor) -> tuple[float, float]:
    """r and rho_a of the step from `before` to where the model is now; r = 1e30 where numbers have run out."""
    after = snapshot(model)
    update = {name: after[name] - before[name] for name in before}
    size = float(method.length(update))
    if size == 0:
        return 0.0, math.inf
    model.load_state_dict(dict(before), strict=False)
    radius = float(method.directional_radius(model, inputs, times(update, 1 / size)))
    model.load_state_dict(after, strict=False)
    r = size / radius if radius > 0 else math.inf
    return (r if math.isfinite(r) else 1e30), radius


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


TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def onsets(seed: int) -> list[tuple[float, float]]:
    """(tau, rho_a) per temperature for a freshly trained network: where the loss first doubles downhill."""
    train, _ = stratified(seed)
    torch.manual_seed(seed)
    model = mlp([64, 128, 128, 10], nn.GELU)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for batch in batches(train, 256, 120, seed):
        descend(model, optimizer, batch)
    return [doubling_onset(model, train, heat) for heat in TEMPERATURES]


def scatter(found: list[list[tuple[float, float]]]) -> dict[str, float]:
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


CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def cifar10(split: str, device: torch.device, limit: int | None) -> Data:
    """uint8 images (N, 3, 32, 32) and labels of CIFAR-10 on the device; only the first `limit`, if given."""
    found = reference.load("cifar10", split=split)
    return found.images[:limit].to(device), found.labels[:limit].to(device)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 3, 32, 32) -> float32 of about zero mean and unit variance per channel."""
    mean, std = (torch.tensor(part, device=images.device).view(3, 1, 1) for part in (CIFAR_MEAN, CIFAR_STD))
    return (images.float() / 255 - mean) / std


@torch.no_grad()
def percent_correct(model: Module, data: Data) -> float:
    """The accuracy on CIFAR-10 images, in percent, in eval mode."""
    model.eval()
    pairs = zip(data[0].split(500), data[1].split(500), strict=True)
    return 100 * sum(int((model(normalised(some)).argmax(1) == labels).sum()) for some, labels in pairs) / len(data[1])


def difference_radius(model: Module, inputs: torch.Tensor, direction: Tensors) -> torch.Tensor:
    """The paper's estimate of rho_a: two passes on at most 256 samples."""
    return method.slope_radius(method.finite_difference_slopes(model, inputs[:256], direction))
