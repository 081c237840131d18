r"""Robust Mean Teacher: test-time adaptation by symmetric cross-entropy and a contrastive loss (arXiv:2211.13081).

A student f and its moving average, the teacher f', meet a stream of unlabelled batches. For a batch x of B samples and
its augmentation x~, the student trains all of its weights, by one step, on

    L = lambda_trg L_st + lambda_cont L_con + lambda_src CE(f(x_s), y_s),   (x_s, y_s) replayed source data, optional

    L_st  = mean_B [ SCE(z, z') / 2 + SCE(z~, z') / 2 ],   z = f(x), z~ = f(x~), z' = f'(x) without gradient: (B, K)
    SCE(z, z') = -(1 - alpha) sum_k q_k log p_k - alpha sum_k p_k log q_k,   p = softmax z, q = softmax z'
    L_con = mean over 3B anchors i of -1/2 sum_{j positive for i} log( exp(s_ij) / sum_{a != i} exp(s_ia) )

with alpha = 1/2, where s are cosine similarities over the temperature tau = 0.1, after a projector, among the rows of
three views: the source prototypes nearest to phi(x), phi(x) itself, and phi(x~). The positives of a row are the other
two views of the same sample. phi(x) (B, D) is what the classifier reads; a prototype is the mean of phi over one
source class. Then

    theta' <- m theta' + (1 - m) theta,        m = 0.999, parameters only

and what is predicted is argmax(z + z'), as it was before the step. BatchNorm uses the statistics of the batch at hand.

    prototypes = source_prototypes(model, "fc", source_batches, num_classes=10)
    adapted = RobustMeanTeacher(model, "fc", prototypes, lambda p: torch.optim.Adam(p, lr=1e-3), augment=augment)
    for images in stream:
        predictions = adapted(images).argmax(1)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from baselines.losses import widened

Augment = Callable[[torch.Tensor], torch.Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Setting:
    """The paper's constants, which its official code leaves alone on every data set."""

    momentum: float = 0.999  # m
    alpha: float = 0.5
    temperature: float = 0.1  # tau
    self_training: float = 1.0  # lambda_trg
    contrastive: float = 1.0  # lambda_cont
    replay: float = 1.0  # lambda_src, where there are source data to replay

    def __post_init__(self) -> None:
        if not (0 <= self.momentum <= 1 and 0 <= self.alpha <= 1):
            raise ValueError(f"momentum and alpha lie in [0, 1], got {self.momentum} and {self.alpha}")
        if self.temperature <= 0 or min(self.self_training, self.contrastive, self.replay) < 0:
            raise ValueError("the temperature is > 0 and no weight is negative")


def symmetric_cross_entropy(logits: torch.Tensor, teacher: torch.Tensor, alpha: float = 0.5) -> torch.Tensor:
    """SCE of each sample, in nats: (B, K), (B, K) -> (B,). Section 3.2; alpha = 0 is the cross-entropy H(q, p).

    Through log-softmax, for the reversed term grows without bound as q approaches a one-hot vector. Half precision is
    computed, and returned, in float32.
    """
    if logits.shape != teacher.shape:
        raise ValueError(f"student and teacher logits differ in shape: {tuple(logits.shape)}, {tuple(teacher.shape)}")
    log_p, log_q = (_finite(one).log_softmax(-1) for one in (logits, teacher))
    # Weighted after the sums: a weighted (B, K) would be kept for the backward pass.
    return (alpha - 1) * (log_q.exp() * log_p).sum(-1) - alpha * (log_p.exp() * log_q).sum(-1)


def _finite(logits: torch.Tensor) -> torch.Tensor:
    """Logits that rule classes out by -inf, as numbers that do: p log q is then 0, and not NaN, where p is 0."""
    wide = widened(logits)
    return wide.clamp_min(torch.finfo(wide.dtype).min / 2)


def self_training_loss(
    logits: torch.Tensor, augmented: torch.Tensor, teacher: torch.Tensor, alpha: float = 0.5
) -> torch.Tensor:
    """L_st, a scalar, of three (B, K). The teacher gets no gradient, though both arguments stand inside a logarithm."""
    teacher = teacher.detach()
    plain = symmetric_cross_entropy(logits, teacher, alpha)
    return (0.5 * plain + 0.5 * symmetric_cross_entropy(augmented, teacher, alpha)).mean()


def nearest_prototypes(features: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """The row of `prototypes` (K, D) with the highest cosine similarity to each of `features` (B, D): (B, D)."""
    with torch.no_grad():
        nearest = (F.normalize(widened(features), dim=1) @ F.normalize(widened(prototypes), dim=1).T).argmax(1)
    return prototypes[nearest]


def contrastive_loss(views: Sequence[torch.Tensor], temperature: float = 0.1) -> torch.Tensor:
    """L_con, a scalar, of V projected views (B, D) each; any length of a row is the same to it. Section 3.3.

    Samples with the same prototype are negatives of each other, as in the official code. Half precision is computed,
    and returned, in float32.
    """
    count, samples = len(views), len(views[0])
    if count < 2 or len({view.shape for view in views}) > 1:
        raise ValueError(f"at least two views of one shape, got {[tuple(view.shape) for view in views]}")
    rows = F.normalize(widened(torch.cat(list(views))), dim=1)  # view-major: row v * B + b is view v of sample b
    similarity = rows @ rows.T / temperature
    itself = torch.eye(count * samples, dtype=torch.bool, device=rows.device)
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    sample = torch.arange(samples, device=rows.device).repeat(count)
    positive = (sample[:, None] == sample) & ~itself
    return -log_share[positive].mean()  # every anchor has the same number of positives


def projector(width: int, hidden: int = 128) -> nn.Sequential:
    """The head of the contrastive loss, (N, width) -> (N, hidden). (For DomainNet-126 the paper has none.)"""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden))


# The next two stand in baselines.adaptation, too: the method is lifted out whole, and each is an oracle for the other.
def use_batch_statistics(model: nn.Module) -> nn.Module:
    """Drop the running statistics of every BatchNorm, in place: it then normalises by the batch in any mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """theta' <- m theta' + (1 - m) theta, for all parameters and no buffer."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)


def features_and_logits(
    model: nn.Module, classifier: nn.Module, inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(phi(x), z) in one pass: what `classifier`, a part of `model`, reads (B, D), and what that returns (B, K)."""
    caught: list[torch.Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _, arguments: caught.append(arguments[0]))
    try:
        logits = model(inputs)
    finally:
        handle.remove()
    if len(caught) != 1 or caught[0].dim() != 2:
        raise ValueError("the classifier must read features of shape (B, D) once in every pass of the model")
    return caught[0], logits


@torch.no_grad()
def source_prototypes(
    model: nn.Module, classifier: str, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], num_classes: int
) -> torch.Tensor:
    """The mean feature of each class, (K, D), over labelled source batches; `classifier` names a part of `model`.

    Batch statistics are used here too, as in the official code: its model is reconfigured before it is asked. Half
    precision is averaged in float32. Raises ValueError for a class without samples.
    """
    model = use_batch_statistics(copy.deepcopy(model)).eval()
    found = [(features_and_logits(model, model.get_submodule(classifier), x)[0], labels) for x, labels in batches]
    features, labels = (torch.cat(part) for part in zip(*found, strict=True))
    counts = labels.bincount(minlength=num_classes)
    if len(counts) > num_classes or not counts.all():
        raise ValueError(f"prototypes need samples of each of the {num_classes} classes and no other, got {counts}")
    wide = widened(features)
    sums = wide.new_zeros(num_classes, wide.shape[1]).index_add(0, labels, wide)
    return (sums / counts[:, None]).to(features.dtype)


class RobustMeanTeacher:
    """Adapts a copy of `model` to a stream: call it with a batch (B, ...) to get logits (B, K). It is never reset.

    `classifier` names the last layer (as in `model.get_submodule`), `prototypes` (K, D) come from `source_prototypes`,
    `optimizer` makes an optimiser of parameters, `augment` maps a batch to another view of it. `project` replaces the
    two-layer projector (`nn.Identity()` for none). `replay` yields labelled source batches without end, as
    `itertools.cycle(batches)` does; without it the method is source-free. The model runs in eval mode: dropout and
    stochastic depth are off, BatchNorm uses the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        classifier: str,
        prototypes: torch.Tensor,
        optimizer: MakeOptimizer,
        *,
        augment: Augment,
        setting: Setting | None = None,
        project: nn.Module | None = None,
        replay: Iterator[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        self.setting = setting or Setting()
        self.student = use_batch_statistics(copy.deepcopy(model)).eval().requires_grad_(True)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.classifier = self.student.get_submodule(classifier)
        self.prototypes = prototypes.detach()
        self.project = project or projector(prototypes.shape[1]).to(prototypes)
        self.optimizer = optimizer([*self.student.parameters(), *self.project.parameters()])
        self.augment, self.replay = augment, replay

    def loss(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(L, z + z'): the loss of one batch with its graph, and the prediction, (B, K)."""
        if len(inputs) < 2:
            raise ValueError("a batch of one has no batch statistics: collect at least two samples")
        weights = self.setting
        if self.replay is not None:
            try:
                source, labels = next(self.replay)
            except StopIteration:  # which would end the caller's loop as if the stream had ended
                raise ValueError("replay has run out of source batches: repeat them, as itertools.cycle does") from None
        with torch.no_grad():
            teacher = self.teacher(inputs)
        features, logits = features_and_logits(self.student, self.classifier, inputs)
        other_features, other_logits = features_and_logits(self.student, self.classifier, self.augment(inputs))
        loss = weights.self_training * self_training_loss(logits, other_logits, teacher, weights.alpha)
        if weights.contrastive:
            views = torch.cat([nearest_prototypes(features, self.prototypes), features, other_features])
            loss = loss + weights.contrastive * contrastive_loss(self.project(views).chunk(3), weights.temperature)
        if self.replay is not None:
            loss = loss + weights.replay * F.cross_entropy(widened(self.student(source)), labels)
        return loss, (logits + teacher).detach()

    @torch.enable_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Predict a batch, then learn from it by one step. Raises ValueError for a batch of one, and out of replay."""
        loss, prediction = self.loss(inputs)
        self._step(loss)
        return prediction

    @torch.enable_grad()
    def warm_up(self, batches: Iterable[torch.Tensor], steps: int) -> None:
        """Before the stream, `steps` source batches: SCE of student and teacher, the learning rate rising from 0.

        Raises ValueError where there are fewer batches than steps; the learning rate is put back in any case.
        """
        rates, number = [group["lr"] for group in self.optimizer.param_groups], 0
        try:
            for number, inputs in zip(range(1, steps + 1), batches, strict=False):
                for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * number / steps
                with torch.no_grad():
                    teacher = self.teacher(inputs)
                self._step(symmetric_cross_entropy(self.student(inputs), teacher, self.setting.alpha).mean())
        finally:
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        if number < steps:
            raise ValueError(
                f"warm-up of {steps} steps ended after {number} batches: repeat them, or ask for fewer steps"
            )

    def _step(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        update_teacher(self.teacher, self.student, self.setting.momentum)
