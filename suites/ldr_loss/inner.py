"""ALDR-KL's inner problem over lam, looked at from outside: grids, derivatives and the slope of the fixed-point map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from suites.ldr_loss import method


@dataclass(frozen=True)
class InnerProblem:
    """max over lam of phi for each row of delta (N, K). Every method takes and returns lam or values (N,)."""

    delta: torch.Tensor
    lam0: float
    alpha: float

    def step(self, lam: torch.Tensor) -> torch.Tensor:
        return method.adapted(self.delta, lam, lam0=self.lam0, alpha=self.alpha)

    def iterated(self, times: int) -> torch.Tensor:
        """From lam0, as the table of Algorithm 1 starts."""
        lam = self.constant(self.lam0)
        for _ in range(times):
            lam = self.step(lam)
        return lam

    def solved(self) -> torch.Tensor:
        return method.adaptive_lambda(self.delta, lam0=self.lam0, alpha=self.alpha)

    def value(self, lam: torch.Tensor) -> torch.Tensor:
        """phi by logsumexp, independently of the method's form of it."""
        classes = self.delta.shape[1]
        soft_max = lam * ((self.delta / lam[:, None]).logsumexp(1) - math.log(classes))
        return soft_max - self.alpha * math.log(classes) / (2 * self.lam0) * (lam - self.lam0) ** 2

    def derivative(self, lam: torch.Tensor) -> torch.Tensor:
        """phi'(lam) by autograd."""
        lam = lam.clone().requires_grad_()
        return torch.autograd.grad(self.value(lam).sum(), lam)[0]

    def slope(self, lam: torch.Tensor) -> torch.Tensor:
        """The derivative of the fixed-point map, lam0 Var_p(delta) / (alpha log K lam^3): below 1 phi is concave."""
        p = (self.delta / lam[:, None]).softmax(1)
        variance = (p * (self.delta - (p * self.delta).sum(1, keepdim=True)).square()).sum(1)
        return self.lam0 * variance / (self.alpha * math.log(self.delta.shape[1]) * lam**3)

    def unimodal(self) -> torch.Tensor:
        """Whether that slope is below 1 over the whole range of lam, (N,) bool."""
        shares = torch.linspace(1 - 1 / self.alpha, 1, 101).tolist()
        return torch.stack([self.slope(self.constant(share * self.lam0)) for share in shares]).amax(0) < 1

    def grid_maximum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(lam, phi) at the maximum over a grid from 0 to 1.2 lam0, refined twice around its best point."""
        centre, reach = self.constant(0.6 * self.lam0), 0.6 * self.lam0
        for _ in range(3):
            offsets = torch.linspace(-reach, reach, 401, dtype=centre.dtype).tolist()
            points = torch.stack([(centre + offset).clamp_min(1e-4 * self.lam0) for offset in offsets])
            best, place = torch.stack([self.value(point) for point in points]).max(0)
            centre, reach = points.gather(0, place[None])[0], reach / 200
        return centre, best

    def constant(self, lam: float) -> torch.Tensor:
        return self.delta.new_full((len(self.delta),), lam)
