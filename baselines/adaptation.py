"""Test-time adaptation: what predicts a stream of unlabelled batches, and may learn from each once it is predicted.

An adapter is called with a batch (B, ...) and returns logits (B, K) as they were before it learned from that batch. It
works on a copy of the model and is never reset. Models run in eval mode, so that dropout is off; where an adapter says
so, BatchNorm normalises by the batch at hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn

from baselines.losses import expectation, kl_divergence, widened

Adapter = Callable[[torch.Tensor], torch.Tensor]
Consistency = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(student logits, teacher logits), both (B, K) -> loss of each sample, (B,)."""
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def online_errors(adapter: Adapter, stream: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[float]:
    """The share of wrong predictions in each batch of (inputs, labels), in the order of the stream."""
    return [float((adapter(inputs).argmax(1) != labels).float().mean()) for inputs, labels in stream]


def error_rate(adapter: Adapter, stream: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The share of wrong predictions over a whole stream."""
    wrong = [(adapter(inputs).argmax(1) != labels) for inputs, labels in stream]
    return float(torch.cat(wrong).double().mean())


def use_batch_statistics(model: nn.Module) -> nn.Module:
    """Make every BatchNorm of `model` normalise by its batch in any mode, in place."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, momentum: float) -> None:
    """average <- momentum average + (1 - momentum) model, for all parameters and no buffer."""
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)


class Source:
    """No adaptation: the model as it was trained."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.model(inputs)


class BatchStatistics(Source):
    """BN-1 (Schneider et al. 2020, Nado et al. 2020): batch statistics in place of the source's, nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        use_batch_statistics(self.model)


class Tent:
    """TENT (Wang et al. 2021): one step on the mean entropy, by the scales and shifts of the normalisation layers."""

    NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)

    def __init__(self, model: nn.Module, optimizer: MakeOptimizer) -> None:
        self.model = use_batch_statistics(copy.deepcopy(model)).eval().requires_grad_(False)
        trained = [p for layer in self.model.modules() if isinstance(layer, self.NORMS) for p in layer.parameters()]
        if not trained:
            raise ValueError("the model has no normalisation layer with scales and shifts")
        for p in trained:
            p.requires_grad_(True)
        self.optimizer = optimizer(trained)

    @torch.enable_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = self.model(inputs)
        self.optimizer.zero_grad()
        cross_entropy(logits, logits).mean().backward()  # of p with itself: the entropy, with its gradient
        self.optimizer.step()
        return logits.detach()


class MeanTeacher:
    """A student learns to agree with its moving average (Tarvainen & Valpola 2017), by one step over all weights.

    The loss is the mean of `consistency` between student and teacher on the batch; with `augment`, the mean of that and
    of the same for the student on an augmented batch, the teacher still seeing the plain one. What is predicted is the
    sum of both logits.
    """

    def __init__(
        self,
        model: nn.Module,
        consistency: Consistency,
        optimizer: MakeOptimizer,
        momentum: float,
        augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.student = use_batch_statistics(copy.deepcopy(model)).eval().requires_grad_(True)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = optimizer(self.student.parameters())
        self.consistency, self.momentum, self.augment = consistency, momentum, augment

    @torch.enable_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            teacher = self.teacher(inputs)
        logits = self.student(inputs)
        loss = self.consistency(logits, teacher)
        if self.augment:
            loss = 0.5 * loss + 0.5 * self.consistency(self.student(self.augment(inputs)), teacher)
        self.optimizer.zero_grad()
        loss.mean().backward()
        self.optimizer.step()
        update_average(self.teacher, self.student, self.momentum)
        return (logits + teacher).detach()


def cross_entropy(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """H(q, p) = - sum_k q_k log p_k, 0 log 0 = 0. Against a fixed teacher it has the gradient of KL(q || p)."""
    return -expectation(widened(teacher).softmax(-1), widened(student).log_softmax(-1))


def squared_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """sum_k (p_k - q_k)^2."""
    return (widened(student).softmax(-1) - widened(teacher).softmax(-1)).square().sum(-1)


def reverse_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(p || q): inf where the teacher excludes a class that the student does not."""
    return kl_divergence(widened(student).log_softmax(-1), widened(teacher).log_softmax(-1))
