"""What compiled heads cost: torch.compile makes one kernel of what surrounds the products of matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from baselines.timing import interleaved
from suites.harmonic_loss.method import HarmonicHead

REPEATS = 5


def cost_compiled(*, seed: int) -> dict[str, list[float]]:
    """Seconds of `REPEATS` times forward and backward of compiled heads: 256 rows, 512 features, 100 classes, CPU."""
    torch.manual_seed(seed)
    x, y = torch.randn(256, 512).requires_grad_(), torch.randint(100, (256,))
    heads: dict[str, nn.Module] = {"linear": nn.Linear(512, 100)}
    heads |= {name: HarmonicHead(512, 100, metric=name) for name in ("euclidean", "cosine")}

    def call(head: nn.Module) -> Callable[[], None]:
        loss = torch.compile(lambda features: F.cross_entropy(head(features), y))

        def repeated() -> None:
            for _ in range(REPEATS):
                torch.autograd.grad(loss(x), [x, *head.parameters()])

        return repeated

    return interleaved({name: call(head) for name, head in heads.items()}, rounds=11)
