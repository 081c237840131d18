"""What is compared: the networks on digits, and the safeguards that their optimiser's steps are held by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch.nn import Module
from torch.nn.functional import cross_entropy

from baselines.loss_landscape import Data, Tensors, loss_at, snapshot, times
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
