"""Distillation: teachers that are trained once for all papers, and the objective of their students.

A suite declares a teacher as an artifact of the shared ground; arms, experiments and papers that ask for the same one
(function, parameters, seed, data) get the same file:

    [artifact.teacher]
    of = "baselines.distillation:cifar_teacher"
    by = ["seed", "data", "depth", "epochs"]

An experiment takes it as a path:

    network = load_teacher(resnet_cifar(depth, 100), teacher).to(device)
    knowledge = teacher_logits(network, images)
    fit(student, images, labels, distilled(knowledge, temperature=4.0, weight=0.9), ...)
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.digits import stratified
from baselines.losses import Reduction, checked, kl_divergence, knowledge_distillation, reduce, require, widened
from baselines.models import resnet_cifar
from baselines.training import Batch, Objective, cosine, crop_and_flip, fit, step_count, step_decay, supervised

DIGITS_DEPTH = 8
DIGITS_EPOCHS = 15


def digits_teacher(*, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Weights of a ResNet-8 trained on the digits of `stratified(seed)`: Adam at 0.005, cosine, 15 epochs of 64."""
    images, labels = (part.to(device) for part in stratified(seed)[0])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = resnet_cifar(DIGITS_DEPTH, in_channels=1).to(device)
    steps = step_count(len(labels), 64, DIGITS_EPOCHS, drop_last=True)
    fit(
        network, images, labels, supervised(F.cross_entropy), epochs=DIGITS_EPOCHS, batch_size=64, drop_last=True,
        seed=seed, schedule=cosine(steps), optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
    )  # fmt: skip
    return network.state_dict()


def cifar_teacher(*, seed: int, device: torch.device, data: str, depth: int, epochs: int) -> dict[str, torch.Tensor]:
    """Weights of a ResNet of `depth` layers trained on cifar10 or cifar100 as papers on distillation do.

    SGD with momentum 0.9, weight decay 5e-4 and batches of 64, cropped and flipped; the rate is 0.05, a tenth of it
    from 5/8 of the epochs on, and again from 3/4 and 7/8 (240 epochs: after 150, 180 and 210). Images are `normalised`.
    """
    train = reference.load(data, "train")
    images, labels = normalised(train.images, train.images).to(device), train.labels.to(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = resnet_cifar(depth, len(train.classes)).to(device)
    total = step_count(len(labels), 64, epochs, drop_last=False)
    fit(
        network, images, labels, supervised(F.cross_entropy), epochs=epochs, batch_size=64, drop_last=False, seed=seed,
        schedule=step_decay([total * eighths // 8 for eighths in (5, 6, 7)]), augment=crop_and_flip(),
        channels_last=True, precision=torch.bfloat16,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4),
    )  # fmt: skip
    return network.state_dict()


def normalised(images: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """uint8 images (N, C, H, W) as float32, each channel less its mean and over its deviation in `train`."""
    pixels = train.float() / 255
    mean, deviation = (found.view(1, -1, 1, 1) for found in (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))))
    return (images.float() / 255 - mean) / deviation


def load_teacher(network: nn.Module, weights: Path) -> nn.Module:
    """`network` with the weights of an artifact, in evaluation mode and without gradients."""
    network.load_state_dict(load_file(weights))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def teacher_logits(teacher: nn.Module, inputs: torch.Tensor, batch_size: int = 512) -> torch.Tensor:
    """Logits (N, K) of inputs that are not augmented, computed once for all epochs and students."""
    return torch.cat([teacher(part) for part in inputs.split(batch_size)])


def distilled(teacher: nn.Module | torch.Tensor, *, temperature: float, weight: float) -> Objective:
    """`losses.knowledge_distillation` as an objective of `fit`.

    `teacher` are its logits (N, K) for the examples in their order, or the network itself, in evaluation mode: it sees
    the augmented inputs of each batch.
    """

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        if isinstance(teacher, torch.Tensor):
            known = teacher[batch.ids]
        else:
            with torch.no_grad():
                known = teacher(batch.inputs)
        logits = model(batch.inputs)
        return knowledge_distillation(
            logits, batch.targets, teacher_logits=known, temperature=temperature, weight=weight
        )

    return objective


def decoupled(
    logits: torch.Tensor, targets: torch.Tensor, *, teacher_logits: torch.Tensor, temperature: float, target: float,
    rest: float, reduction: Reduction = "mean",
) -> torch.Tensor:  # fmt: skip
    """CE + T^2 (target KL(target or not) + rest KL(among the other classes)), DKD (Zhao et al. 2022).

    Logits and teacher_logits (N, K), K >= 2, targets int64 (N,); softmax at temperature T > 0. KL is from teacher to
    student.
    """
    logits, teacher = _pair(logits, targets, teacher_logits, temperature)
    own = F.one_hot(targets, logits.shape[1]).bool()
    parts = []
    for z in (teacher / temperature, logits / temperature):
        log_p, others = F.log_softmax(z, dim=1), z.masked_fill(own, -math.inf)
        inside = log_p.gather(1, targets[:, None]).squeeze(1)
        outside = others.logsumexp(1) - z.logsumexp(1)
        parts.append((torch.stack([inside, outside], dim=1), F.log_softmax(others, dim=1)))
    (of_target, among), (of_target_s, among_s) = parts
    # The target has probability 0 among the others: its difference of two infinities is left out.
    divergence = target * kl_divergence(of_target, of_target_s) + rest * kl_divergence(
        among, among_s.masked_fill(own, 0)
    )
    return reduce(F.cross_entropy(logits, targets, reduction="none") + temperature**2 * divergence, reduction)


def correlated(
    logits: torch.Tensor, targets: torch.Tensor, *, teacher_logits: torch.Tensor, temperature: float, inter: float,
    intra: float,
) -> torch.Tensor:  # fmt: skip
    """CE + inter (1 - correlation over classes) + intra (1 - correlation over examples), DIST (Huang et al. 2022).

    Correlations are Pearson's of softmax at temperature T > 0 of logits and teacher_logits (N, K), averaged; a scalar.
    """
    logits, teacher = _pair(logits, targets, teacher_logits, temperature)
    p, q = (F.softmax(z / temperature, dim=1) for z in (logits, teacher))
    across = [
        F.cosine_similarity(p - p.mean(axis, keepdim=True), q - q.mean(axis, keepdim=True), dim=axis).mean()
        for axis in (1, 0)
    ]
    return F.cross_entropy(logits, targets) + inter * (1 - across[0]) + intra * (1 - across[1])


def _pair(
    logits: torch.Tensor, targets: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    require(teacher_logits.shape == logits.shape, "teacher_logits must have the shape of logits", teacher_logits.shape)
    require(temperature > 0, "temperature must be positive", temperature)
    return checked(logits, targets), widened(teacher_logits.detach())
