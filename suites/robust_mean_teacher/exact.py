"""The exact tier in float64: the losses as worst cases over random inputs, and the loop step by step on a toy."""

from __future__ import annotations

import copy
import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F

from baselines.adaptation import MeanTeacher
from baselines.contrastive import supcon
from baselines.models import conv_net
from baselines.oracles import gap, other_defaults
from suites.robust_mean_teacher import method

Metrics = dict[str, float | list[float]]
CLASSES = (2, 5, 100)
ALPHAS = (0.0, 0.25, 0.5, 1.0)


def random_logits(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Student and teacher logits from 2 N(0, 1), float64: 200 pairs for each number of classes."""
    generator = torch.Generator().manual_seed(seed)
    return [tuple(2 * torch.randn(2, 200, k, generator=generator, dtype=torch.float64)) for k in CLASSES]


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """d loss_b / d logits_b of every sample."""
    return torch.autograd.grad(loss.sum(), logits)[0]


def entropy(p: torch.Tensor) -> torch.Tensor:
    """H(p) of each row."""
    return torch.special.entr(p).sum(-1)


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of each row."""
    return (p * (p / q).log()).sum(-1)


def symmetric_loss(*, seed: int) -> Metrics:
    """Gradient, decomposition, what is left where student and teacher agree, and equal views."""
    gradients, parts, symmetry, below, apart, equality, agreed_ce, agreed, views, halves = ([] for _ in range(10))
    for student, teacher in random_logits(seed):
        p, q = student.softmax(-1), teacher.softmax(-1)
        for alpha in ALPHAS:
            z = student.clone().requires_grad_()
            found = gradient(method.symmetric_cross_entropy(z, teacher, alpha), z)
            reverse = p * ((p * q.log()).sum(-1, keepdim=True) - q.log())
            gradients.append(gap(found - ((1 - alpha) * (p - q) + alpha * reverse)))
        loss = method.symmetric_cross_entropy(student, teacher)
        floor = (entropy(p) + entropy(q)) / 2
        parts.append(gap(loss - floor - (kl(p, q) + kl(q, p)) / 2))
        symmetry.append(gap(loss - method.symmetric_cross_entropy(teacher, student)))
        below.append(float((floor - loss).max()))
        apart.append(float(((loss - floor) / (p - q).square().sum(-1)).min()))
        equality.append(gap(method.symmetric_cross_entropy(student, student) - entropy(p)))
        z = student.clone().requires_grad_()
        agreed_ce.append(gap(gradient(method.symmetric_cross_entropy(z, student, alpha=0.0), z)))
        of_entropy = gradient(entropy(z.softmax(-1)), z)
        for alpha in ALPHAS:
            at_agreement = gradient(method.symmetric_cross_entropy(z, student, alpha), z)
            agreed.append(gap(at_agreement - alpha * of_entropy))
        views.append(gap(method.self_training_loss(student, student, teacher) - loss.mean()))
        for alpha in ALPHAS:
            other = student.flip(0)
            expected = (crossed(student, teacher, alpha).mean() + crossed(other, teacher, alpha).mean()) / 2
            halves.append(gap(method.self_training_loss(student, other, teacher, alpha) - expected))
    detached = teacher.clone().requires_grad_()
    held = method.self_training_loss(student.clone().requires_grad_(), student, detached)
    (from_teacher,) = torch.autograd.grad(held, detached, allow_unused=True)
    return {
        "gradient_gap": max(gradients),
        "decomposition_gap": max(parts),
        "asymmetry": max(symmetry),
        "below_floor": max(below),
        "least_excess": min(apart),
        "equality_gap": max(equality),
        "agreed_ce_gradient": max(agreed_ce),
        "agreement_gap": max(agreed),
        "equal_views_gap": max(views),
        "two_views_gap": max(halves),
        "teacher_gradient": 0.0 if from_teacher is None else 1.0,
    }


def crossed(student: torch.Tensor, teacher: torch.Tensor, alpha: float) -> torch.Tensor:
    """(1 - alpha) H(q, p) + alpha H(p, q) of each sample, from probabilities."""
    p, q = student.softmax(-1), teacher.softmax(-1)
    return -((1 - alpha) * (q * p.log()).sum(-1) + alpha * (p * q.log()).sum(-1))


def binary_gradient(p: float, q: float, alpha: float) -> float:
    """dL/dz_0 for two classes with student p and teacher q of class 0, by autograd through the method."""
    student, teacher = (torch.tensor([[math.log(x), math.log1p(-x)]], dtype=torch.float64) for x in (p, q))
    student.requires_grad_()
    return float(gradient(method.symmetric_cross_entropy(student, teacher, alpha), student)[0, 0])


def binary_balance(*, seed: int) -> Metrics:
    """The paper's analysis of two classes."""
    ce_gap, sce_gap, general_gap = [], [], []
    for q in (0.55, 0.7, 0.9, 0.99):
        ce_gap.append(abs(binary_gradient(0.5, q, 0.0) - (0.5 - q)))
        sce_gap.append(abs(binary_gradient(0.5, q, 0.5) - ((0.5 - q) / 2 + math.log((1 - q) / q) / 8)))
    generator = torch.Generator().manual_seed(seed)
    for p, q in torch.rand(200, 2, generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6).tolist():
        general = (p - q) / 2 + p * (1 - p) * math.log((1 - q) / q) / 2
        general_gap.append(abs(binary_gradient(p, q, 0.5) - general))
    emphasis = {alpha: binary_gradient(0.5, 0.99, alpha) / binary_gradient(0.5, 0.55, alpha) for alpha in (0.0, 0.5)}
    unsure = max(abs(binary_gradient(p, 0.55, 0.5) / binary_gradient(p, 0.55, 0.0)) for p in (0.3, 0.9))
    # The teacher's gap in logits grows until its softmax is one-hot in float64 many times over.
    gaps = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10_000.0], dtype=torch.float64)
    teacher = torch.stack([gaps, torch.zeros_like(gaps)], dim=1)
    slopes, ce = [], []
    for p in (0.1, 0.5, 0.9):
        student = torch.tensor([[math.log(p), math.log1p(-p)]], dtype=torch.float64).repeat(len(gaps), 1)
        student.requires_grad_()
        ce.append(gradient(method.symmetric_cross_entropy(student, teacher, 0.0), student)[:, 0])
        reverse = 0.5 * gradient(method.symmetric_cross_entropy(student, teacher, 1.0), student)[:, 0]
        slopes.append(gap(reverse / gaps + p * (1 - p) / 2))
    return {
        "ce_gap": max(ce_gap),
        "sce_gap": max(sce_gap),
        "general_gap": max(general_gap),
        "ce_emphasis": emphasis[0.0],
        "sce_emphasis": emphasis[0.5],
        "extra_emphasis": emphasis[0.5] - emphasis[0.0],
        "unsure_ratio": unsure,
        "unsure_ratio_beyond_weight": 2 * unsure,
        "slope_gap": max(slopes),
        "largest_ce_gradient": gap(torch.stack(ce)),
    }


def moving_average(*, seed: int) -> Metrics:
    """The teacher against its closed form under a constant student, and its half-life."""
    torch.manual_seed(seed)
    gaps, lives, buffers = [], [], []
    for momentum in (0.9, 0.99, 0.999):
        teacher, student = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double() for _ in range(2))
        student[1].running_mean.fill_(5.0)
        start = [a.detach() - b.detach() for a, b in zip(teacher.parameters(), student.parameters(), strict=True)]
        for step in range(1, 2001):
            method.update_teacher(teacher, student, momentum)
            if step in (1, 10, 2000):
                pairs = zip(teacher.parameters(), student.parameters(), start, strict=True)
                gaps += [gap(a - b - momentum**step * first) for a, b, first in pairs]
            if step == 1:
                left = float((teacher[0].weight - student[0].weight).detach().norm() / start[0].norm())
                lives.append(math.log(0.5) / math.log(left))
        buffers.append(gap(teacher[1].running_mean))
    return {"max_gap": max(gaps), "half_life": lives[-1], "buffer_change": max(buffers)}


def contrast(*, seed: int) -> Metrics:
    """The contrastive loss: scale, collapse, perfect alignment, its definition as loops, and the prototypes."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scale, collapse, aligned, loops, supervised = ([] for _ in range(5))
    for samples, temperature in itertools.product((2, 5, 9), (0.05, 0.1, 1.0)):
        views = [normal(samples, 16) for _ in range(3)]
        loss = method.contrastive_loss(views, temperature)
        stretched = [view * (3 * normal(samples, 1)).exp() for view in views]
        scale.append(gap(method.contrastive_loss(stretched, temperature) - loss))
        loops.append(abs(float(loss) - contrast_by_loops(views, temperature)))
        supervised.append(gap(supcon(torch.stack(views, 1), torch.arange(samples), temperature=temperature) - loss))
        same = [normal(1, 16).expand(samples, 16)] * 3
        collapse.append(abs(float(method.contrastive_loss(same, temperature)) - math.log(3 * samples - 1)))
        rows = torch.linalg.qr(normal(16, samples)).Q.T
        expected = math.log(2 + (3 * samples - 3) * math.exp(-1 / temperature))
        aligned.append(abs(float(method.contrastive_loss([rows, 2 * rows, 0.1 * rows], temperature)) - expected))
    prototypes, features = normal(7, 16), normal(40, 16) * (3 * normal(40, 1)).exp()
    nearest = F.cosine_similarity(features[:, None], prototypes, dim=2).argmax(1)
    found = method.nearest_prototypes(features, prototypes)
    return {
        "scale_gap": max(scale),
        "collapse_gap": max(collapse),
        "aligned_gap": max(aligned),
        "loop_gap": max(loops),
        "supcon_gap": max(supervised),
        "wrong_prototypes": float((found != prototypes[nearest]).any(1).sum()),
    }


def contrast_by_loops(views: list[torch.Tensor], temperature: float) -> float:
    """L_con as its definition says it, one anchor and one positive at a time."""
    rows = {(v, b): row / row.norm() for v, view in enumerate(views) for b, row in enumerate(view.detach())}
    total = 0.0
    for anchor, row in rows.items():
        weight = {other: math.exp(float(row @ rows[other]) / temperature) for other in rows if other != anchor}
        positives = [(v, anchor[1]) for v in range(len(views)) if v != anchor[0]]
        total -= sum(math.log(weight[one] / sum(weight.values())) for one in positives) / len(positives)
    return total / len(rows)


def toy(seed: int) -> tuple[nn.Module, list[torch.Tensor], torch.Tensor]:
    """A small network with BatchNorm in float64, six batches, and prototypes."""
    # The first use of an optimiser imports this, for seconds: named, it is imported ahead of the trials.
    import torch._dynamo

    torch.manual_seed(seed)
    network = conv_net(5, (6, 8)).double()
    images = [torch.rand(7, 1, 8, 8, dtype=torch.float64) for _ in range(6)]
    return network, images, torch.randn(5, 8, dtype=torch.float64)


def teacher_of(model: nn.Module, prototypes: torch.Tensor, seed: int, **options) -> method.RobustMeanTeacher:
    """The method on a toy, with Adam and the mirror image as the second view."""
    torch.manual_seed(seed)  # the projector's weights
    adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-2)  # noqa: E731
    options = {"augment": lambda images: images.flip(-1), "setting": method.Setting(momentum=0.9), **options}
    return method.RobustMeanTeacher(model, "fc", prototypes, adam, **options)


def one_stream(*, seed: int) -> Metrics:
    """The loop: what is predicted when, the loss from its parts, warm-up, and what remains without L_con."""
    usual, before = predictions(seed)
    same, following = [], []
    for frozen in range(len(usual) - 1):
        held, _ = predictions(seed, frozen)
        same.append(gap(held[frozen] - usual[frozen]))
        following.append(gap(held[frozen + 1] - usual[frozen + 1]))
    return {
        "same_batch_change": max(same),
        "next_batch_change": min(following),
        "prediction_gap": max(gap(a - b) for a, b in zip(usual, before, strict=True)),
        "loss_gap": loss_gap(seed, self_training=0.7, contrastive=1.3, replay=0.4),
        "default_loss_gap": loss_gap(seed),
        "mean_teacher_gap": mean_teacher_gap(seed),
        "warm_up_gap": warm_up_gap(seed),
        "prototype_gap": prototype_gap(seed),
    }


def predictions(seed: int, frozen: int | None = None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What is emitted along a stream whose step `frozen` has rate 0, and z + z' from passes just before each step."""
    model, images, prototypes = toy(seed)
    adapted = teacher_of(model, prototypes, seed)
    emitted, before = [], []
    for number, batch in enumerate(images):
        for group in adapted.optimizer.param_groups:
            group["lr"] = 0.0 if number == frozen else 1e-2
        with torch.no_grad():
            before.append(adapted.student(batch) + adapted.teacher(batch))
        emitted.append(adapted(batch))
    return emitted, before


def loss_gap(seed: int, **weights: float) -> float:
    """The total loss with replay against its three parts, weighted, from separate passes of a network by hand.

    Without `weights` the method has its defaults, and the parts count once each.
    """
    model, images, prototypes = toy(seed)
    labels = torch.arange(7) % 5
    setting = method.Setting(momentum=0.9, **weights)
    adapted = teacher_of(model, prototypes, seed, setting=setting, replay=itertools.repeat((images[1], labels)))
    loss, _ = adapted.loss(images[0])
    by_hand = copy.deepcopy(model).train()  # batch statistics
    features, others = by_hand.features(images[0]), by_hand.features(images[0].flip(-1))
    teacher = by_hand.fc(features)  # before the first step student and teacher are the same
    views = [method.nearest_prototypes(features, prototypes), features, others]
    expected = (
        weights.get("self_training", 1) / 2 * method.symmetric_cross_entropy(by_hand.fc(features), teacher).mean()
        + weights.get("self_training", 1) / 2 * method.symmetric_cross_entropy(by_hand.fc(others), teacher).mean()
        + weights.get("contrastive", 1) * contrast_by_loops([adapted.project(view) for view in views], 0.1)
        + weights.get("replay", 1) * F.cross_entropy(by_hand(images[1]), labels)
    )
    return gap(loss - expected)


def mean_teacher_gap(seed: int) -> float:
    """Without L_con the method is a mean teacher with SCE: both predict the same along a stream."""
    model, images, prototypes = toy(seed)
    plain = teacher_of(model, prototypes, seed, setting=method.Setting(momentum=0.9, contrastive=0.0))
    adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-2)  # noqa: E731
    other = MeanTeacher(model, method.symmetric_cross_entropy, adam, 0.9, lambda batch: batch.flip(-1))
    return max(gap(plain(batch) - other(batch)) for batch in images)


def warm_up_gap(seed: int) -> float:
    """With SGD, one step of warm-up moves the student by rate * n / N along SCE's gradient; the rate is put back."""
    model, images, prototypes = toy(seed)
    adapted = method.RobustMeanTeacher(
        model, "fc", prototypes, lambda p: torch.optim.SGD(p, lr=0.8), augment=lambda x: x, setting=method.Setting(0.5)
    )
    student = copy.deepcopy(model).train()
    teacher = copy.deepcopy(student)
    for number, batch in enumerate(images, 1):
        loss = method.symmetric_cross_entropy(student(batch), teacher(batch).detach()).mean()
        gradients = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for fast, slow, part in zip(student.parameters(), teacher.parameters(), gradients, strict=True):
                fast -= 0.8 * number / len(images) * part
                slow.copy_((slow + fast) / 2)
    adapted.warm_up(images, len(images))
    pairs = [*zip(adapted.student.parameters(), student.parameters(), strict=True)]
    pairs += zip(adapted.teacher.parameters(), teacher.parameters(), strict=True)
    return max(*(gap(a - b) for a, b in pairs), abs(adapted.optimizer.param_groups[0]["lr"] - 0.8))


def prototype_gap(seed: int) -> float:
    """Prototypes against the mean of each class's features, under the statistics of the batch."""
    model, images, _ = toy(seed)
    labels = [(torch.arange(7) + number) % 5 for number in range(len(images))]
    found = method.source_prototypes(model, "fc", zip(images, labels, strict=True), num_classes=5)
    features = torch.cat([copy.deepcopy(model).train().features(batch) for batch in images])
    expected = torch.stack([features[torch.cat(labels) == k].mean(0) for k in range(5)])
    return gap(found - expected)


def complexity(*, seed: int) -> Metrics:
    """Passes of student and teacher, backward passes, and parameters, per batch."""
    model, images, prototypes = toy(seed)
    passes: list[str] = []

    def counted(part: nn.Module, name: str) -> None:
        part.register_forward_pre_hook(lambda *_: passes.append(name))

    adapted = teacher_of(model, prototypes, seed)
    counted(adapted.student, "student")
    counted(adapted.teacher, "teacher")
    counted(adapted.project, "projector")
    adapted.student.fc.weight.register_post_accumulate_grad_hook(lambda _: passes.append("backward"))
    for batch in images:
        adapted(batch)
    expected = {"student": 2, "teacher": 1, "backward": 1, "projector": 1}
    surplus = [abs(passes.count(name) - count * len(images)) for name, count in expected.items()]

    def size(part: nn.Module) -> int:
        return sum(p.numel() for p in part.parameters())

    held = {id(p): p.numel() for part in (adapted.student, adapted.teacher, adapted.project) for p in part.parameters()}
    return {
        "surplus_passes": float(sum(surplus)),
        "surplus_parameters": float(abs(sum(held.values()) - 2 * size(model) - size(adapted.project))),
        "teacher_gradients": float(sum(p.grad is not None for p in adapted.teacher.parameters())),
    }


def defaults(*, seed: int) -> Metrics:
    """Options that nobody gives, classes that are ruled out, and what keeps its dtype or gets no gradient."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 20, 6, generator=generator, dtype=torch.float64)
    barred = torch.arange(6) >= 4
    z = [one.masked_fill(barred, -torch.inf).requires_grad_() for one in (student, teacher)]
    few = [one[:, :4].clone().requires_grad_() for one in (student, teacher)]
    losses = [method.symmetric_cross_entropy(*pair) for pair in (z, few)]
    slopes = [torch.autograd.grad(loss.sum(), pair) for loss, pair in zip(losses, (z, few), strict=True)]
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)).bfloat16()
    batches = [(torch.randn(8, 3, generator=generator).bfloat16(), torch.arange(8) % 4)]
    prototypes = method.source_prototypes(network, "2", batches, 4)
    learnable = prototypes.clone().requires_grad_()
    adapted = method.RobustMeanTeacher(
        network, "2", learnable, lambda parameters: torch.optim.SGD(parameters, 0.1), augment=lambda x: x
    )
    setting = {
        "momentum": 0.999, "alpha": 0.5, "temperature": 0.1, "self_training": 1.0, "contrastive": 1.0, "replay": 1.0,
    }  # fmt: skip
    return {
        "other": other_defaults(method.Setting, **setting)
        + other_defaults(method.symmetric_cross_entropy, alpha=0.5)
        + other_defaults(method.self_training_loss, alpha=0.5)
        + other_defaults(method.contrastive_loss, temperature=0.1)
        + other_defaults(method.projector, hidden=128)
        + other_defaults(method.RobustMeanTeacher, setting=None, project=None, replay=None),
        "barred_gap": max(gap(*losses), *(gap(a[:, :4], b) for a, b in zip(*slopes, strict=True))),
        "widened": float(prototypes.dtype != torch.bfloat16),
        "learnable": float(adapted.prototypes.requires_grad),
    }
