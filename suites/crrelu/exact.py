"""The exact tier in float64: the activation by other means, its shape and moments, and EAFO as calculus.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from scipy.integrate import quad
from torch import nn
from torch.nn import functional as F

from baselines import oracles
from baselines.models import mlp
from baselines.oracles import Worst, gap, other_defaults
from baselines.timing import interleaved
from suites.crrelu import method
from suites.crrelu.contenders import normal
from suites.crrelu.method import CRReLU, crrelu, derivatives, inverted, output_entropy, stepped, unit_nodes

STEEPEST = math.exp(1.5) / 2
"""The largest eps with which x > 0 increases."""
SIZES = (0.05, 0.1, 0.2)
"""Parts of a whole step of EAFO."""


def problems(seed: int, count: int) -> Iterator[tuple[torch.Tensor, float]]:
    """x (8, 9) of spread 0.5 to 4 with a zero and both turns in it, and eps from -3 to 3."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        spread, eps = torch.rand(2, generator=generator, dtype=torch.float64)
        x = (0.5 + 3.5 * spread) * torch.randn(8, 9, generator=generator, dtype=torch.float64)
        x[0, :3] = torch.tensor([0.0, 1.0, -1.0])
        yield x, float(6 * eps - 3)


def by_hand(x: float, eps: float) -> tuple[float, float, float, float]:
    """f, df/dx, its derivative, and df/deps of a number."""
    bell = math.exp(-x * x / 2)
    step = float(x > 0)
    return x * step + eps * x * bell, step + eps * (1 - x * x) * bell, eps * (x**3 - 3 * x) * bell, x * bell


def slope(x: torch.Tensor, eps: float) -> torch.Tensor:
    """df/dx by autograd."""
    free = x.clone().requires_grad_()
    return torch.autograd.grad(crrelu(free, eps).sum(), free)[0]


def definition(*, seed: int) -> dict[str, float]:
    """Values and derivatives by numbers, several eps at once, half precision, and the way through pieces."""
    worst = Worst()
    for x, eps in problems(seed, 20):
        free, scalar = x.clone().requires_grad_(), torch.tensor(eps, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        value = crrelu(free, scalar)
        once = torch.autograd.grad(value, (free, scalar), weights, create_graph=True)
        twice = torch.autograd.grad(once[0].sum(), (free, scalar))
        fast = torch.autograd.grad(crrelu(free, scalar), (free, scalar), weights)
        numbers = torch.tensor([by_hand(one, eps) for one in x.flatten().tolist()], dtype=torch.float64)
        f, by_x, by_xx, by_eps = numbers.T.unflatten(1, (8, 9))
        many = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
        each = torch.autograd.grad(crrelu(x, many), many, weights)[0]
        worst.note(
            value_gap=max(gap(value, f), gap(crrelu(x, many)[:, 3], crrelu(x[:, 3].clone(), float(many[3].detach())))),
            slope_gap=max(gap(one[0], weights * by_x) for one in (once, fast)),
            eps_gap=max(
                *(gap(one[1], (weights * by_eps).sum()) for one in (once, fast)), gap(each, (weights * by_eps).sum(0))
            ),
            second_gap=max(
                gap(twice[0], weights * by_xx),
                gap(twice[1], (weights * (1 - x.square()) * (-x.square() / 2).exp()).sum()),
            ),
        )
        for dtype in (torch.float16, torch.bfloat16):
            half, single = x.to(dtype), torch.tensor(eps)
            right = crrelu(half.double(), single.double())
            for given in (single, eps):
                apart = (crrelu(half, given).double() - right).abs() - torch.finfo(dtype).eps / 2 * right.abs()
                worst.note(half_excess=float(apart.max()))
    return worst | pieces(seed)


def pieces(seed: int) -> dict[str, float]:
    """More elements than a piece has, of which the last is short; and what lies in memory in another order."""
    count = 2 * method.GRAIN * torch.get_num_threads() + 5
    x, weights = torch.randn(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    eps, worst = torch.tensor(0.3, dtype=torch.float64, requires_grad=True), Worst()
    for given, of in ((x, weights), (x[:60].view(6, 10).T, weights[:60].view(6, 10).T)):
        free = given.detach().requires_grad_()
        found = crrelu(free, eps), *torch.autograd.grad(crrelu(free, eps), (free, eps), of)
        plain = method.formula(free, eps)
        expected = plain, *torch.autograd.grad(plain, (free, eps), of)
        worst.note(
            pieces_gap=max(gap(a / (1 + b.abs()), b / (1 + b.abs())) for a, b in zip(found, expected, strict=True))
        )
    return worst


def zero(*, seed: int) -> dict[str, float]:
    """A network of three layers with eps = 0 against one with ReLU, values and gradients."""
    torch.manual_seed(seed)
    ours, plain = mlp([7, 16, 16, 3], lambda: CRReLU(0.0)).double(), mlp([7, 16, 16, 3]).double()
    plain.load_state_dict({name: value for name, value in ours.state_dict().items() if "eps" not in name})
    inputs, targets = torch.randn(32, 7, dtype=torch.float64), torch.arange(32) % 3
    found, expected = ours(inputs), plain(inputs)
    for scores in (found, expected):
        F.cross_entropy(scores, targets).backward()
    weights = [one.grad for name, one in ours.named_parameters() if "eps" not in name]
    pairs = zip(weights, plain.parameters(), strict=True)
    groups = method.parameter_groups(ours, weight_decay=0.1)
    free = [layer.eps for layer in ours if isinstance(layer, CRReLU)]
    return {
        "relu_gap": max(gap(found, expected), *(gap(a, b.grad) for a, b in pairs)),
        "groups_wrong": float(len([*ours.parameters()]) - len([*plain.parameters()]) != 2)
        + float([one["weight_decay"] for one in groups] != [0.1, 0.0])
        + float([id(one) for one in groups[1]["params"]] != [id(one) for one in free])
        + float(sum(len(one["params"]) for one in groups) != len([*ours.parameters()])),
    }  # fmt: skip


def shape_of_activation() -> dict[str, float]:
    """Where it increases, where its slope is 0, and how steep it is."""
    left = torch.linspace(-12, -1e-9, 20_001, dtype=torch.float64)
    right = torch.cat([torch.logspace(-9, 1, 20_001, dtype=torch.float64), torch.tensor([3.0]).double().sqrt()])
    away = left[(left + 1).abs() > 0.01]
    worst = Worst()
    for eps in (0.01, 0.5, 1.0, 2.2, STEEPEST, -0.3, -1.0):
        at_right, at_left = slope(right, eps), slope(left, eps)
        fall, turn = -float(at_right.min()), gap(slope(-torch.ones(1).double(), eps))
        worst.note(monotone_gap=max(fall, turn, -float((eps * (left + 1) * at_left).min())))
        worst.note(dead=-float(slope(away, eps).abs().min()))
        if eps > 0:
            worst.note(lipschitz_gap=gap(max(at_right.abs().max(), at_left.abs().max()), 1 + eps))
    for eps in (1.001 * STEEPEST, -1.001):
        worst.note(monotone_gap=1e-4 + float(slope(right, eps).min()))  # falls, by 1e-4 at least
    return worst | {
        "least_slope": -worst["dead"],
        "float32_slope": float(slope(torch.tensor([-15.0]), 0.01).abs()),
        "slope_at_minus_6": float(slope(torch.tensor([-6.0], dtype=torch.float64), 0.01).abs()),
    }


def moments() -> dict[str, float]:
    """Mean, second moment and entropy of the output for a standard normal input, by scipy's quadrature."""

    def mean(of: Callable[[torch.Tensor], torch.Tensor], low: float = -math.inf) -> float:
        def value(x: float) -> float:
            return float(of(torch.tensor([x], dtype=torch.float64))) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

        ends = [(low, 0.0), (0.0, math.inf)] if low < 0 else [(low, math.inf)]
        return math.fsum(quad(value, *pair, epsabs=1e-12, epsrel=1e-10, limit=200)[0] for pair in ends)

    def entropy(eps: float) -> float:
        """Of the branch x > 0, more than that of ReLU."""
        return mean(lambda x: slope(x, eps).log(), 0.0)

    worst = Worst()
    for eps in (-0.5, 0.01, 1.5):
        worst.note(
            moments_gap=max(
                gap(mean(lambda x: crrelu(x, eps)), 1 / math.sqrt(2 * math.pi)),  # noqa: B023
                gap(mean(lambda x: crrelu(x, eps).square()), 0.5 + eps * 2**-1.5 + eps**2 * 3**-1.5),  # noqa: B023
            )
        )
    step = 1e-4
    return worst | {
        "entropy_slope": (entropy(step) - entropy(-step)) / (2 * step),
        "entropy_at_start": entropy(method.START),
    }


INVERSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "logistic": torch.logit,
    "steep logistic": lambda x: torch.logit(x) / 1.702,
    "tanh": lambda x: torch.logit(x) / 2,
    "arctan": lambda x: torch.tan(math.pi * (x - 0.5)),
    "wide normal": lambda x: 2 * torch.special.ndtri(x),
    "narrow normal": lambda x: torch.special.ndtri(x) / 2,
    "shifted normal": lambda x: torch.special.ndtri(x) - 0.5,
    "mixture": lambda x: torch.special.ndtri(x) + x - 0.5,
    "line": lambda x: 4 * x - 2,
}
"""Of increasing activations onto (0, 1), none of them the standard normal distribution function."""


def worst_activation() -> dict[str, float]:
    """Entropies of activations onto (0, 1), and what is stationary."""
    nodes, phi = unit_nodes(), torch.special.ndtri
    x = torch.linspace(1e-4, 1 - 1e-4, 4001, dtype=torch.float64)
    others = {name: float(output_entropy(inverse, normal, nodes)) for name, inverse in INVERSES.items()}

    y, first, second = derivatives(phi, x)
    constant = normal(y).exp() * first
    parts = normal(y).exp() * second, -y * normal(y).exp() * first.square()
    laws: dict[str, tuple[method.Function, method.Function]] = {  # log p, and the inverse of the distribution function
        "Laplace": (
            lambda y: -y.abs() - math.log(2),
            lambda x: torch.where(x < 0.5, (2 * x).log(), -(2 - 2 * x).log()),
        ),
        "logistic": (lambda y: F.logsigmoid(y) + F.logsigmoid(-y), torch.logit),
        "uniform": (lambda y: 0 * y, lambda x: x),
        "normal": (normal, phi),
    }  # fmt: skip
    foreign = [("Laplace", "logistic"), ("normal", "logistic"), ("logistic", "Laplace")]
    return {
        "own_gap": max(gap(output_entropy(inverse, log_p, nodes)) for log_p, inverse in laws.values()),
        "excess": max(
            *others.values(), *(float(output_entropy(laws[one][1], laws[other][0], nodes)) for one, other in foreign)
        ),
        "logistic_entropy": others["logistic"],
        "stationary_gap": max(
            float((constant.max() - constant.min()) / constant.mean()),
            gap(method.correction(phi, normal, x) / (parts[0].abs() + parts[1].abs() + 1e-300)),
        ),
    }


def descent() -> dict[str, float]:
    """The correction of ReLU, the fall of entropy along corrections, and steps of several sizes."""
    nodes, worst = unit_nodes(), Worst()
    positive = torch.linspace(0.001, 8, 4000, dtype=torch.float64)
    falls = []
    for inverse in (torch.logit, INVERSES["wide normal"], INVERSES["steep logistic"], INVERSES["arctan"]):
        eta, first = method.correction(inverse, normal, nodes[0]), derivatives(inverse, nodes[0])[1]
        expected = -float((nodes[1] * eta.square() / first).sum())
        t = 1e-5
        ends = [output_entropy(stepped(inverse, normal, size), normal, nodes) for size in (t, -t)]
        worst.note(descent_gap=gap(float(ends[0] - ends[1]) / (2 * t) / expected, 1.0))
        falls.append(expected)

    before = output_entropy(torch.logit, normal, nodes)
    for size in SIZES:
        inverse = stepped(torch.logit, normal, size)
        activation, at = inverted(inverse, low=0.0, high=1.0), torch.linspace(-4, 4, 41, dtype=torch.float64)
        free = at.clone().requires_grad_()
        value = activation(free)
        slopes = torch.autograd.grad(value.sum(), free)[0]
        worst.note(
            entropy_change=float(output_entropy(inverse, normal, nodes) - before),
            inverse_gap=max(
                gap(inverse(value.detach()), at), gap(slopes * derivatives(inverse, value.detach())[1], 1.0)
            ),
        )
    t = 1e-4
    moved = inverted(stepped(lambda v: v, normal, t), low=0.0, high=9.0)(positive)
    whole = stepped(torch.logit, normal)(torch.linspace(0, 1, 2003, dtype=torch.float64)[1:-1])
    return worst | {
        "relu_gap": gap(method.correction(lambda v: v, normal, positive), positive * normal(positive).exp()),
        "first_order_gap": gap(moved, positive - t * positive * normal(positive).exp()) / t,
        "fall": falls[0],
        "least_rise_of_whole_step": float(whole.diff().min()),
    }


def extremes() -> dict[str, float]:
    """Infinite and huge inputs, half precision, no elements, and nonsense: what is wrong and what passes."""
    wrong = 0.0
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.tensor([math.inf, -math.inf, 1e4, -1e4, 300.0, -0.0, 0.5], dtype=dtype, requires_grad=True)
        eps = torch.tensor(0.5, requires_grad=True)
        value = crrelu(x, eps)
        by_x, by_eps = torch.autograd.grad(value.sum(), (x, eps))
        wrong += gap(value[:6], x.detach()[:6].relu()) + gap(by_x[:6], [1, 0, 1, 0, 1, 0.5])
        wrong += float(value.dtype != dtype) + float(by_x.dtype != dtype) + float(by_eps.dtype != torch.float32)
        expected = by_hand(0.5, 0.5)
        digits = 4 * torch.finfo(dtype).eps if dtype != torch.float64 else 1e-14
        wrong += float(gap(value[6], expected[0]) > digits) + float(gap(by_x[6], expected[1]) > digits)
        wrong += float(gap(by_eps, expected[3]) > max(digits, 1e-6))
        none = torch.zeros(0, 3, dtype=dtype, requires_grad=True)
        empty = crrelu(none, eps)
        wrong += float(empty.shape != (0, 3)) + gap(torch.autograd.grad(empty.sum(), eps)[0])
    missing = torch.tensor([math.nan, 1.0], requires_grad=True)
    wrong += float(not crrelu(missing, 0.1)[0].isnan()) + float(not crrelu(missing, 0.1)[1].isfinite())
    wrong += gap(crrelu(torch.tensor(2.0).double(), 0.1), by_hand(2.0, 0.1)[0]) > 1e-14  # no dimension
    wrong += gap(torch.func.vmap(crrelu)(missing[1:].detach(), torch.ones(1)), by_hand(1.0, 1.0)[0]) > 1e-6
    wrong += float(sum(one.requires_grad for one in derivatives(torch.logit, torch.full((2,), 0.3))))
    wrong += 1 - oracles.accepted(lambda: inverted(lambda x: 1000 + x / 1000, low=0.0, high=1.0))  # flat, but it rises
    layer = CRReLU(0.2)
    wrong += float([*dict(layer.named_parameters())] != ["eps"]) + float(layer.eps.shape != ())
    wrong += gap(layer(torch.ones(1)), by_hand(1.0, 0.2)[0]) > 1e-6
    accepted = oracles.accepted(
        lambda: crrelu(torch.tensor([1, 2])),
        lambda: crrelu(torch.ones(2, 3), torch.ones(2)),
        lambda: crrelu(torch.ones(3), torch.ones(2, 3)),
        lambda: crrelu(torch.ones(3), torch.ones(3, 1)),
        lambda: CRReLU(math.nan),
        lambda: CRReLU(math.inf),
        lambda: stepped(torch.logit, normal, math.nan),
        lambda: inverted(torch.logit, low=1.0, high=0.0),
        lambda: inverted(torch.logit, low=0.5, high=0.5),
        lambda: inverted(lambda x: -x, low=0.0, high=1.0),
        lambda: inverted(lambda x: 0 * x, low=0.0, high=1.0),
    )
    return {"wrong": wrong, "accepted": accepted}


def defaults() -> dict[str, float]:
    """Options that nobody gives."""
    return {
        "other": other_defaults(crrelu, eps=0.01) + other_defaults(CRReLU, start=0.01)
        + other_defaults(stepped, size=1.0) + other_defaults(inverted, halvings=60)
        + other_defaults(unit_nodes, count=2001)
        + gap(CRReLU().eps, 0.01) // 1e-8 + float(not isinstance(CRReLU().eps, nn.Parameter)),
    }  # fmt: skip


def memory() -> dict[str, float]:
    """Bytes kept for the backward pass over those of GELU, 1,024 x 1,024 in float32."""

    def kept(call: Callable[[torch.Tensor], torch.Tensor]) -> float:
        sizes: list[int] = []

        def pack(one: torch.Tensor) -> torch.Tensor:
            sizes.append(one.numel() * one.element_size())
            return one

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
            call(torch.zeros(1024, 1024, requires_grad=True))
        return float(sum(sizes))

    layer = CRReLU()
    return {"kept_over_gelu": kept(layer) / kept(F.gelu)}


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward, 1,024 x 2,048 in float32, in turn with GELU and the plain formula."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1024, 2048, generator=generator).requires_grad_()
    grad, eps = torch.randn(1024, 2048, generator=generator), torch.tensor(0.01, requires_grad=True)
    calls: dict[str, Callable[[], object]] = {
        "seconds": lambda: torch.autograd.grad(crrelu(x, eps), (x, eps), grad),
        "seconds_of_gelu": lambda: torch.autograd.grad(F.gelu(x), x, grad),
        "seconds_of_formula": lambda: torch.autograd.grad(method.formula(x, eps), (x, eps), grad),
    }
    return interleaved(calls, rounds=5, warm_up=2)
