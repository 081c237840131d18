"""A toy that holds from the first minute: a method, an experiment, and in paper.toml a claim and a fault of them.

Replace method.py, README.md, the tests and the claims in any order: nothing of yours rests on this file, and nothing
here on yours. When claims of your own stand, remove it with all that `grep -rn toy` finds in this folder and the test.
"""

from __future__ import annotations

import torch


def probabilities(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Temperature-scaled softmax: logits (N, K), any real numbers, to rows (N, K) that sum to one."""
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, not {temperature}")
    scaled = logits / temperature
    weights = torch.exp(scaled - scaled.amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)


def toy(*, seed: int) -> dict[str, float]:
    """An experiment: the worst gap between a row sum and one, over logits of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-3, 3, 100, dtype=torch.float64).unsqueeze(1)
    logits = scales * torch.randn(100, 17, generator=generator, dtype=torch.float64)
    return {"max_gap": float((probabilities(logits).sum(-1) - 1).abs().max())}
