"""What is compared: activations side by side in stacked networks, one parameter a layer where they have any."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from suites.crrelu.method import START, crrelu

Activation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x, parameters that broadcast to it) -> values in the shape of x."""
SIZE = 0.1
"""Part of the correction by which the logistic sigmoid is improved; 0.3 would no longer increase."""


def normal(y: torch.Tensor) -> torch.Tensor:
    """log p of the standard normal law."""
    return -y.square() / 2 - math.log(2 * math.pi) / 2


def corrected_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """The logistic sigmoid minus SIZE eta times its slope: the step of EAFO, inverted to first order, as CRReLU is.

    eta s' = p(x) (2 + 2 cosh x) (x - tanh(x/2)), and p(x) (2 + 2 cosh x) is a sum of three exponentials.
    """
    near = x.clamp(-40, 40)
    bells = (near - near.square() / 2).exp() + (-near - near.square() / 2).exp() + 2 * (-near.square() / 2).exp()
    return x.sigmoid() - SIZE / math.sqrt(2 * math.pi) * bells * (near - (near / 2).tanh())


ACTIVATIONS: dict[str, tuple[Activation, float | None]] = {
    "relu": (lambda x, _: x.relu(), None),
    "prelu": (lambda x, a: x.clamp_min(0) + a * x.clamp_max(0), 0.25),
    "scaled_relu": (lambda x, a: a * x.relu(), 1.0),
    "elu": (lambda x, _: F.elu(x), None),
    "gelu": (lambda x, _: F.gelu(x), None),
    "silu": (lambda x, _: F.silu(x), None),
    "mish": (lambda x, _: F.mish(x), None),
    "crrelu": (crrelu, START),
    "crrelu_fixed": (lambda x, _: crrelu(x, START), None),
    "normal_cdf": (lambda x, _: torch.special.ndtr(x), None),
    "sigmoid": (lambda x, _: x.sigmoid(), None),
    "sigmoid_corrected": (lambda x, _: corrected_sigmoid(x), None),
}
"""Each with the start of its parameter, if it learns one. `scaled_relu` is a control: as many parameters as CRReLU has,
and nothing but the scale of the signal. CELU is ELU where both have their default alpha of 1."""


class Mixed(nn.Module):
    """Stacked activations (copies, B, width): the first `each` copies with the first arm, and so on.

    `parameter` (copies, 1, 1) is learned by arms that have one. `spread` is the standard deviation of what came in
    last, one a copy.
    """

    def __init__(self, arms: list[str], each: int) -> None:
        super().__init__()
        self.arms, self.each = arms, each
        starts = [float("nan") if (start := ACTIVATIONS[arm][1]) is None else start for arm in arms]
        self.parameter = nn.Parameter(torch.tensor(starts).nan_to_num(0.0).repeat_interleave(each)[:, None, None])
        self.spread = torch.zeros(len(arms) * each)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            self.spread = x.flatten(1).std(dim=1)
        pieces = zip(self.arms, x.split(self.each), self.parameter.split(self.each), strict=True)
        return torch.cat([ACTIVATIONS[arm][0](part, own) for arm, part, own in pieces])
