"""The exact tier in float64: the loss by other means, its shape, its limits, and the arithmetic of the paper's tables.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from baselines import losses, oracles
from baselines.oracles import Worst, gap, other_defaults
from baselines.timing import interleaved
from suites.pld import method
from suites.pld.method import list_wise, plackett_luce_distillation, position_weights, teacher_ranking, uniform_weights

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def problems(seed: int, count: int, most: int = 30, rows: int = 8) -> Iterator[Problem]:
    """Student and teacher logits (rows, K) of spread 0.5 to 4, and targets; K from 2 to `most`."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        classes = int(torch.randint(2, most + 1, (), generator=generator))
        spread = 0.5 + 3.5 * torch.rand(2, generator=generator, dtype=torch.float64)
        s, t = spread[:, None, None] * torch.randn(2, rows, classes, generator=generator, dtype=torch.float64)
        yield s, t, torch.randint(classes, (rows,), generator=generator)


def pld(s: torch.Tensor, t: torch.Tensor, y: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    return plackett_luce_distillation(s, y, teacher_logits=t, temperature=temperature, reduction="none")


def by_hand(s: list[float], t: list[float], y: int, temperature: float = 1.0) -> tuple[float, list[float]]:
    """The loss of one example and its gradient, by the printed formulas and sums over every suffix."""
    classes = range(len(s))
    order = [y, *sorted((i for i in classes if i != y), key=lambda i: -t[i])]
    top = max(t)
    q = [math.exp((one - top) / temperature) for one in t]
    alpha = [q[i] / math.fsum(q) for i in order]
    value, slope = [], [0.0 for _ in classes]
    for k, i in enumerate(order):
        largest = max(s[j] for j in order[k:])
        phi = largest + math.log(math.fsum(math.exp(s[j] - largest) for j in order[k:]))
        value.append(alpha[k] * (phi - s[i]))
        for j in order[k:]:
            slope[j] += alpha[k] * math.exp(s[j] - phi)
        slope[i] -= alpha[k]
    return math.fsum(value), slope


def definition(*, seed: int) -> dict[str, float]:
    """Value and gradient against sums by hand, also for logits of up to 1,000; the members of the family."""
    worst = Worst()
    for (s, t, y), scale in itertools.product(problems(seed, 12), (1.0, 250.0)):
        free = (scale * s).clamp(-1000, 1000).requires_grad_()
        value = pld(free, t, y, 1.7)
        slope = torch.autograd.grad(value.sum(), free)[0]
        expected = [by_hand(*row, 1.7) for row in zip(free.tolist(), t.tolist(), y.tolist(), strict=True)]
        whole = torch.tensor([one for one, _ in expected], dtype=torch.float64)
        ranking, classes = teacher_ranking(t, y), s.shape[1]
        ce = F.cross_entropy(free, y, reduction="none")
        first = F.one_hot(torch.tensor(0), classes).double()
        picks = list_wise(free, ranking, torch.ones(classes), reduction="none").detach() / classes
        uniform = list_wise(free, ranking, uniform_weights(classes), reduction="none")
        raw = [2.0 ** (classes - k) - 1 for k in range(1, classes + 1)]
        worst.note(
            value_gap=gap((value - whole) / (1 + whole)),
            gradient_gap=gap(slope, [of for _, of in expected]),
            gradient_sum=gap(slope.sum(1)),
            cross_entropy_gap=gap(list_wise(free, ranking, first, reduction="none"), ce),
            list_mle_gap=gap((uniform - picks) / (1 + picks)),
            position_gap=gap(position_weights(classes), [one / sum(raw) for one in raw]),
        )  # fmt: skip
        single = plackett_luce_distillation(free.float(), y, teacher_logits=t, temperature=1.7, reduction="none")
        worst.note(float32_gap=gap((single.double() - whole) / (1 + whole)))
    return worst


def choice_model(*, seed: int) -> dict[str, float]:
    """All rankings of 2 to 5 classes: probabilities, the first pick, and which ranking the teacher finds likeliest."""
    worst = Worst()
    for s, t, y in problems(seed, 12, most=5, rows=4):
        every = torch.tensor([*itertools.permutations(range(s.shape[1]))])
        for student, teacher, target in zip(s, t, y, strict=True):
            ones, many = torch.ones(s.shape[1]), len(every)
            p = (-list_wise(student.expand(many, -1), every, ones, reduction="none")).exp()
            first = torch.zeros_like(student).index_add(0, every[:, 0], p)
            of_teacher = -list_wise(teacher.expand(many, -1), every, ones, reduction="none")
            chosen = teacher_ranking(teacher[None], target[None])
            best = -list_wise(teacher[None], chosen, ones, reduction="none")
            worst.note(
                sum_gap=gap(p.sum(), 1.0),
                first_pick_gap=gap(first, student.softmax(0)),
                optimality_gap=gap(of_teacher[every[:, 0] == target].max(), best) + float(chosen[0, 0] != target),
            )
    return worst


def shape_of_loss(*, seed: int) -> dict[str, float]:
    """Shifts, convexity, bounds, what swaps do, and the gradient at the teacher's own logits."""
    worst, least = Worst(), Worst()
    generator = torch.Generator().manual_seed(seed)
    for s, t, y in problems(seed, 12, most=12, rows=4):
        value, classes, ranking = pld(s, t, y), s.shape[1], teacher_ranking(t, y)
        other = s[torch.randperm(len(s), generator=generator)]
        middle = pld((s + other) / 2, t, y) - (value + pld(other, t, y)) / 2
        first = t.softmax(1).gather(1, y[:, None])[:, 0]
        ce, width = F.cross_entropy(s, y, reduction="none"), s.amax(1) - s.amin(1)
        at_teacher = t.clone().requires_grad_()
        pull = torch.autograd.grad(pld(at_teacher, t, y).sum(), at_teacher)[0].gather(1, y[:, None])[:, 0]
        ladder = torch.zeros_like(s).scatter(1, ranking, -40.0 * torch.arange(classes).double().expand_as(s))
        worst.note(
            shift_gap=max(gap(pld(s + 300, t, y), value), gap(pld(s, t - 300, y), value)),
            midpoint_excess=float(middle.max()),
            lower_excess=float((first * ce - value).max()),
            upper_excess=float((value - math.log(classes) - width).max()),
            infimum=float(pld(ladder, t, y).max()),
            pull_gap=gap(pull, first * (first - 1)),
        )
        least.note(scale_change=-float((pld(2 * s, t, y) - value).abs().min()))
        for row in range(len(s)):
            hessian = torch.autograd.functional.hessian(
                lambda x: pld(x[None], t[row : row + 1], y[row : row + 1]).sum(), s[row]  # noqa: B023
            )  # fmt: skip
            eigen = torch.linalg.eigvalsh(hessian)
            worst.note(concavity=-float(eigen[0]), kernel_gap=gap(hessian.sum(1)))
            least.note(second_eigenvalue=-float(eigen[1]))
        if classes >= 4:  # the second and third of the ranking change places
            places = torch.arange(classes)
            places[1], places[2] = 2, 1
            of_rank = s.gather(1, ranking)
            swapped = torch.zeros_like(s).scatter(1, ranking, of_rank[:, places])
            uniform = [list_wise(x, ranking, uniform_weights(classes), reduction="none") for x in (s, swapped)]
            wrong = of_rank[:, 1] < of_rank[:, 2]
            least.note(swap_change=-float((pld(swapped, t, y) - value).abs().min()))
            worst.note(
                swap_of_ce=gap(F.cross_entropy(swapped, y, reduction="none"), ce),
                swap_excess=float((uniform[1] - uniform[0])[wrong].max()) if bool(wrong.any()) else -math.inf,
            )
    return worst | {name: -value for name, value in least.items()}


def limits(*, seed: int) -> dict[str, float]:
    """The weights' temperature towards 0 and infinity, a teacher that errs, and the ablation as the paper prints it."""
    worst, unlike = Worst(), 0.0
    generator = torch.Generator().manual_seed(seed)
    for s, _, y in problems(seed, 12):
        t = torch.stack([torch.randperm(s.shape[1], generator=generator) for _ in s]).double() / 4
        t_right = t.scatter(1, y[:, None], t.amax(1, keepdim=True) + 1)
        ranking = teacher_ranking(t, y)
        uniform = list_wise(s, ranking, uniform_weights(s.shape[1]), reduction="none")
        erring = t.scatter(1, y[:, None], -50.0)
        free = s.clone().requires_grad_()
        slope = torch.autograd.grad(pld(free, erring, y).sum(), free)[0].gather(1, y[:, None])
        worst.note(
            cold_gap=gap(pld(s, t_right, y, 1e-3), F.cross_entropy(s, y, reduction="none")),
            hot_gap=gap(pld(s, t, y, 1e8), uniform),
            pull_of_label=gap(slope),
        )
        q = t.softmax(1).gather(1, ranking)
        unlike = max(unlike, gap(list_wise(s, ranking, q / q.sum(1, keepdim=True), reduction="none"), pld(s, t, y)))
    return worst | {"printed_ablation_difference": unlike}


# The numbers of the paper, all read in its text: top-1 on ImageNet of (KD, DIST, PLD).
SAME_FAMILY = {
    "ViT-S": (75.33, 74.91, 75.63), "ResNet-50": (76.80, 76.60, 77.30), "MNv4-Hybrid-M": (75.47, 75.98, 76.33),
    "MNv4-Medium": (74.86, 75.40, 75.72), "MNv4-Small": (67.38, 70.05, 70.07),
}  # fmt: skip
CIFAR100 = ((72.44, 72.74, 73.22, 73.50), (69.45, 69.66, 67.80, 70.28), (72.11, 73.21, 73.08, 73.97),
            (66.61, 66.98, 69.51, 68.16))  # fmt: skip
"""KD, DIST, DKD and PLD, four pairs of networks."""
DIVERGENCES = ((0.95, 0.83), (0.67, 0.60), (0.64, 0.60), (0.55, 0.69))
"""KL of teacher and student, DIST and PLD, pairs of one family: MNv4 Small, Medium and Hybrid-M, ViT-S."""
OF_TEMPERATURE = {0.5: 76.06, 1.0: 77.30, 1.5: 77.17, 2.0: 76.46, 4.0: 75.22}


def tables() -> dict[str, float]:
    """What the paper's tables say of the paper's sentences."""
    over_kd, over_dist = ([row[2] - row[i] for row in SAME_FAMILY.values()] for i in (0, 1))
    conv = [row[2] - row[1] for name, row in SAME_FAMILY.items() if name != "ViT-S"]
    return {
        "mean_over_dist": sum(over_dist) / 5,
        "mean_over_kd": sum(over_kd) / 5,
        "least_over_dist_of_conv_nets": min(conv),
        "least_over_rivals_on_cifar": min(row[3] - max(row[:3]) for row in CIFAR100),
        "most_kl_over_dist": max(ours - dist for dist, ours in DIVERGENCES),
        "at_4_over_kd": OF_TEMPERATURE[4.0] - SAME_FAMILY["ResNet-50"][0],
    }


def extremes() -> dict[str, float]:
    """Logits of 1e4, of -inf, ties, half precision, no examples, and nonsense: what is wrong and what passes."""
    wrong, y = 0.0, torch.tensor([2, 1])
    t = torch.tensor([[0.5, 3.0, 1.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        s = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], dtype=dtype, requires_grad=True)
        value = pld(s, t.to(dtype), y)
        slope = torch.autograd.grad(value.sum(), s)[0]
        wrong += float((~value.isfinite()).sum() + (~slope.isfinite()).sum() + (slope[0, 2] >= 0))
        wrong += float(value.dtype != torch.promote_types(dtype, torch.float32)) + pld(s[:0], t[:0], y[:0]).numel()
        wrong += float(pld(s[:0], t[:0], y[:0]).dtype != value.dtype)
        if dtype in (torch.float32, torch.float64):  # large, and so near each other that all count
            near = torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.0, 1.0]], dtype=dtype)
            wrong += gap(pld(near + 1e4, t.to(dtype), y), pld(near, t.to(dtype), y)) > 0.01
    wrong += float(teacher_ranking(t, y).tolist() != [[2, 1, 0], [1, 0, 2]])
    s = torch.tensor([[0.0, 1.0, -math.inf], [0.0, -math.inf, -math.inf]], dtype=torch.float64, requires_grad=True)
    value = pld(s, t, torch.tensor([2, 0]))  # the label cannot be; two of the rest cannot, and come last in any case
    slope = torch.autograd.grad(value.sum(), s)[0]
    wrong += gap(value[0], math.inf) + float(not value[1].isfinite()) + float((~slope.isfinite()).sum())
    hidden = torch.tensor([[0.3, -math.inf, 1.0]], dtype=torch.float64)
    without = pld(s[:1, :2], hidden[:, ::2], torch.tensor([0]))
    wrong += gap(pld(s.detach()[:1, [0, 2, 1]], hidden, torch.tensor([0])), without) > 1e-12
    learner = torch.zeros(2, 3, requires_grad=True)
    wrong += float(pld(torch.zeros(2, 3), learner, y).requires_grad)
    f = torch.zeros(2, 3)
    accepted = oracles.accepted(
        *(lambda tau=tau: pld(f, f, y, tau) for tau in (0.0, -1.0, math.inf, math.nan)),
        lambda: pld(f[0], f[0], y),
        lambda: pld(f, f, y + 1),
        lambda: pld(f, f[:, :2], y),
        lambda: pld(f[:, :1], f[:, :1], 0 * y),
        lambda: pld(f.long(), f, y),
        lambda: teacher_ranking(f, y - 2),
        lambda: list_wise(f, teacher_ranking(f, y)[:, :2], f),
        lambda: plackett_luce_distillation(f, y, teacher_logits=f, ranking=teacher_ranking(f, y - 1)),
        lambda: plackett_luce_distillation(f, y, teacher_logits=f, ranking=teacher_ranking(f, y)[:, :2]),
    )
    return {"wrong": wrong, "accepted": accepted}


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, the three reductions, and a ranking that is known already."""
    s, t, y = next(problems(seed, 1))
    ranking, each, worst = teacher_ranking(t, y), pld(s, t, y), Worst()
    worst.note(
        reduction_gap=max(
            gap(plackett_luce_distillation(s, y, teacher_logits=t, reduction="mean"), each.mean()),
            gap(plackett_luce_distillation(s, y, teacher_logits=t, reduction="sum"), each.sum()),
            gap(list_wise(s, ranking, method.confidence(t, ranking)), each.mean()),
        ),
        ranking_gap=gap(plackett_luce_distillation(s, y, teacher_logits=t, ranking=ranking), each.mean()),
    )
    return worst | {
        "other_defaults": other_defaults(plackett_luce_distillation, temperature=1.0, ranking=None, reduction="mean")
        + other_defaults(method.confidence, temperature=1.0)
        + other_defaults(list_wise, reduction="mean")
    }


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward, 1,024 rows of 1,000 classes in float32, in turn with distillation by KL."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(1024, 1000, generator=generator).requires_grad_()
    t, y = torch.randn(1024, 1000, generator=generator), torch.randint(1000, (1024,), generator=generator)
    ranking = teacher_ranking(t, y)
    losses_of = {
        "seconds": lambda: plackett_luce_distillation(s, y, teacher_logits=t),
        "seconds_ranked": lambda: plackett_luce_distillation(s, y, teacher_logits=t, ranking=ranking),
        "seconds_of_kd": lambda: losses.knowledge_distillation(s, y, teacher_logits=t, temperature=2.0, weight=0.9),
    }
    calls = {name: lambda loss=loss: torch.autograd.grad(loss(), s) for name, loss in losses_of.items()}
    return interleaved(calls, rounds=5, warm_up=1)
