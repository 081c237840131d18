r"""CRReLU and the search it comes from, EAFO (arXiv:2405.12954, ICLR 2025): activations by the entropy of their output.

    CRReLU(x) = max(0, x) + eps x exp(-x^2 / 2),    one learnable scalar eps an activation, which starts at 0.01.

    df/dx = 1[x > 0] + eps (1 - x^2) exp(-x^2 / 2),    df/deps = x exp(-x^2 / 2).

EAFO: an input X has the density p. An increasing activation f with inverse y = f^-1 gives f(X) the differential entropy

    G(y) = -int p(y(x)) y'(x) log(p(y(x)) y'(x)) dx,

over the values x of f. High entropy counts as bad. Among activations onto (0, 1) it is largest where p(y) y' is
constant: f is the distribution function of X itself, the worst activation. Away from it the entropy falls along

    eta = -(p(y) y'' + p'(y) y'^2),    d/dt G(y + t eta) = -int eta^2 / y' dx at t = 0,

and y + t eta, inverted, is the improved activation. Of ReLU's branch y = x and a standard normal X it is
eta = x p(x). CRReLU puts that, with a free factor, over the whole line: a heuristic, for ReLU has no inverse. Inverting
y + eta gives x - eta to first order: entropy falls for eps < 0, and rises for the start 0.01.

    network = nn.Sequential(nn.Linear(64, 256), CRReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(parameter_groups(network, weight_decay=0.05), lr=1e-3)

Values and slopes are computed in float32 at least and have the dtype of x. Infinite x have the limits, inf and 0; the
slope at 0 is eps, the one from the left, as autograd has it for ReLU. What is kept for the backward pass is x alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from baselines.losses import require, visible, widened

START = 0.01
FAR = 40.0
"""Beyond it exp(-x^2/2) is 0 in float64, so that x may as well be here."""
BASE_2 = -0.5 / math.log(2)
"""exp(-x^2/2) = 2^(BASE_2 x^2): PyTorch's exp2 takes a third of the time of its exp on a CPU."""
GRAIN = 1 << 16
"""Elements a thread and turn: large enough for PyTorch to share out, small enough to stay in a core's cache."""
Function = Callable[[torch.Tensor], torch.Tensor]
"""Elementwise and smooth, made of what autograd can differentiate."""


def crrelu(x: torch.Tensor, eps: torch.Tensor | float = START) -> torch.Tensor:
    """max(0, x) + eps x exp(-x^2/2) of floats of any shape; eps is a scalar, or of a shape that broadcasts to x's.

    Raises ValueError for integers and for an eps of more elements than x.
    """
    require(x.is_floating_point(), "x must be floats", x.dtype)
    if not isinstance(eps, torch.Tensor):  # in half precision 0.01 would not be 0.01
        eps = torch.tensor(eps, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    # By hand: the first call of torch.broadcast_shapes takes seconds.
    sizes = zip(reversed(eps.shape), reversed(x.shape), strict=False)
    fits = eps.dim() <= x.dim() and all(own in (1, of_x) for own, of_x in sizes)
    require(fits, f"eps must broadcast to the shape {tuple(x.shape)} of x", tuple(eps.shape))
    # A compiler fuses the formula by itself, and decides by itself what to keep.
    value = formula if torch.compiler.is_compiling() else _Recomputed.apply
    return value(x, eps)


class CRReLU(nn.Module):
    """The activation with its learnable scalar `eps`, which starts at `start`; the shape of the input is kept."""

    def __init__(self, start: float = START) -> None:
        super().__init__()
        require(math.isfinite(start), "start must be finite", start)
        self.eps = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return crrelu(x, self.eps)


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: all but every CRReLU's eps with this weight decay, and these without any.

    Decay pulls eps to 0, that is to ReLU; the paper does not say which it does.
    """
    free = {id(one.eps): one.eps for one in model.modules() if isinstance(one, CRReLU)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in free]
    return [
        {"params": rest, "weight_decay": weight_decay},
        {"params": list(free.values()), "weight_decay": 0.0},
    ]


def formula(x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """CRReLU in plain operations, all of which autograd keeps."""
    wide = widened(x)
    near = wide.clamp(-FAR, FAR)
    return (wide.relu() + widened(eps) * near * torch.exp2(BASE_2 * near * near)).to(x.dtype)


def slopes(x: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """df/dx and df/deps, both in the shape of x and in float32 at least."""
    near = widened(x).clamp(-FAR, FAR)
    bell = torch.exp2(BASE_2 * near * near)
    return (x > 0) + widened(eps) * (1 - near * near) * bell, near * bell


class _Recomputed(torch.autograd.Function):
    """CRReLU that keeps x and eps only. On a CPU both passes go piece by piece through the cache."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        found = _values(x, float(eps)) if _in_pieces(x, eps) else None
        return formula(x, eps) if found is None else found

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[torch.Tensor, ...], output: object
    ) -> None:
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, eps = ctx.saved_tensors  # type: ignore[attr-defined]
        if not torch.is_grad_enabled() and _in_pieces(x, eps) and _in_pieces(grad, eps):
            by_x, total = _gradients(x, grad, float(eps))
            if math.isfinite(total):
                return by_x, torch.full_like(eps, total)
        by_x, by_eps = slopes(x, eps)
        return (grad * by_x).to(x.dtype), (grad * by_eps).sum_to_size(eps.shape).to(eps.dtype)


def _in_pieces(x: torch.Tensor, eps: torch.Tensor) -> bool:
    return x.dtype in (torch.float32, torch.float64) and x.is_contiguous() and eps.numel() == 1 and visible(x)


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same piece of each, with room of its size, which all pieces share, for exp(-x^2/2)."""
    size = GRAIN * torch.get_num_threads()
    room = tensors[0].new_empty(min(size, tensors[0].numel()))
    for parts in zip(*(one.view(-1).split(size) for one in tensors), strict=True):
        yield *parts, room[: len(parts[0])]


def _values(x: torch.Tensor, eps: float) -> torch.Tensor | None:
    """CRReLU; None where x has infinities or NaN: the sum of x exp(-x^2/2) tells, for a pass that only reads."""
    out, none = torch.empty_like(x), x.new_zeros(())
    for part, taken, bell in _pieces(x, out):
        torch.addcmul(none, part, part, value=BASE_2, out=bell).exp2_()
        torch.clamp_min(part, 0, out=taken).addcmul_(part, bell, value=eps)
        if not math.isfinite(float(torch.dot(part, bell))):
            return None
    return out


def _gradients(x: torch.Tensor, grad: torch.Tensor, eps: float) -> tuple[torch.Tensor, float]:
    """By x and by eps; the latter is not finite where x or the gradient is not, and neither is right then."""
    out, none, total = torch.empty_like(x), x.new_zeros(()), 0.0
    for part, given, taken, bell in _pieces(x, grad, out):
        torch.addcmul(none, part, part, value=BASE_2, out=bell).exp2_().mul_(given)
        total += float(torch.dot(part, bell))
        torch.ops.aten.tanh_backward.grad_input(bell, part, grad_input=bell)  # times 1 - x^2
        torch.ops.aten.threshold_backward.grad_input(given, part, 0, grad_input=taken).add_(bell, alpha=eps)
    return out, total


# EAFO.


def derivatives(function: Function, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An elementwise function and its first two derivatives at x, in its shape; differentiable where x asks for it."""
    keep = x.requires_grad
    with torch.enable_grad():
        point = x if keep else x.detach().requires_grad_()
        value = function(point)
        first = _slope(value, point)
        second = _slope(first, point)
    return (value, first, second) if keep else (value.detach(), first.detach(), second.detach())


def _slope(value: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    if not value.requires_grad:  # a constant
        return torch.zeros_like(point)
    found = torch.autograd.grad(value.sum(), point, create_graph=True, allow_unused=True)[0]
    return torch.zeros_like(point) if found is None else found


def correction(inverse: Function, log_density: Function, x: torch.Tensor) -> torch.Tensor:
    """eta(x), the direction of falling entropy, of an activation by its inverse and an input by log p; shape of x."""
    y, first, second = derivatives(inverse, x)
    log_p, slope, _ = derivatives(log_density, y)
    p = log_p.exp()
    return -(p * second + p * slope * first.square())


def stepped(inverse: Function, log_density: Function, size: float = 1.0) -> Function:
    """x -> y(x) + size eta(x): the inverse of the improved activation, if it increases, which not every size grants."""
    require(math.isfinite(size), "size must be finite", size)
    return lambda x: inverse(x) + size * correction(inverse, log_density, x)


def inverted(inverse: Function, *, low: float, high: float, halvings: int = 60) -> Function:
    """The activation itself: values in (low, high) at which the inverse is what comes in, by bisection.

    Its slope is 1 / y'. Raises ValueError where the inverse does not increase over 2,001 points of the interval.
    """
    require(low < high, "low must be below high", (low, high))
    grid = torch.linspace(low, high, 2003, dtype=torch.float64)[1:-1]
    require(bool((inverse(grid).diff() > 0).all()), "inverse must increase; take a smaller step", "one that does not")

    def activation(u: torch.Tensor) -> torch.Tensor:
        bottom, top = torch.full_like(u, low).detach(), torch.full_like(u, high).detach()
        for _ in range(halvings):
            middle = (bottom + top) / 2
            below = inverse(middle) < u
            bottom, top = torch.where(below, middle, bottom), torch.where(below, top, middle)
        value, first, _ = derivatives(inverse, (bottom + top) / 2)
        # A step of Newton, through which the gradient comes; none where y is infinite, at the ends.
        return (bottom + top) / 2 - torch.where(value.isfinite(), (value - u) / first, 0)

    return activation


def unit_nodes(count: int = 2001) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in (0, 1) and their weights, float64, dense at the ends: tanh-sinh quadrature."""
    t = torch.linspace(-3.0, 3.0, count, dtype=torch.float64)
    inner = math.pi / 2 * t.sinh()
    return (1 + inner.tanh()) / 2, math.pi / 4 * t.cosh() / inner.cosh().square() * (t[1] - t[0])


def output_entropy(inverse: Function, log_density: Function, nodes: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """G(y), a scalar in nats, by points of the range of the activation and their weights."""
    x, weights = nodes
    y, first, _ = derivatives(inverse, x)
    log_q = log_density(y) + first.log()
    return -(weights * log_q.exp() * log_q).sum()
