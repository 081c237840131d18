"""The official direct optimisation: free features and M layers in float32, trained by SGD."""

from __future__ import annotations

import torch

from suites.deep_linear_collapse import method
from suites.deep_linear_collapse.exact import BALANCED, DECAY, IMBALANCED, Metrics, compare
from suites.deep_linear_collapse.method import Factors, Setting


def sgd_optimum(*, seed: int, device: torch.device, case: str, depth: int, width: int, iterations: int) -> Metrics:
    """SGD with momentum 0.9 and rate 0.1 from N(0, 0.1^2) against the closed form."""
    counts = IMBALANCED if case == "imbalanced" else BALANCED
    setting = Setting(counts, (DECAY,) * depth, DECAY, (width,) * depth, bias=case == "bias")
    start = method.initial_factors(setting, torch.Generator().manual_seed(seed), std=0.1)[0]
    tensors = [tensor.float().to(device).requires_grad_() for tensor in start.tensors]
    factors = Factors(tuple(tensors[:depth]), tensors[depth], tensors[-1] if setting.bias else None)
    optimiser = torch.optim.SGD(tensors, lr=0.1, momentum=0.9)
    for _ in range(iterations):
        optimiser.zero_grad()
        method.objective(factors, setting).backward()
        optimiser.step()
    exact = [tensor.detach().double().cpu() for tensor in tensors]
    return compare(Factors(tuple(exact[:depth]), exact[depth], exact[-1] if setting.bias else None), setting)
