"""Labels struck by noise of known kind and rate, as papers on noisy labels make them."""

from __future__ import annotations

from typing import Literal

import torch

Kind = Literal["uniform", "symmetric", "partner"]


def with_label_noise(
    labels: torch.Tensor, kind: Kind, rate: float, *, classes: int, seed: int, partner: torch.Tensor | None = None
) -> torch.Tensor:
    """Labels int64 (N,) of which each is struck with probability `rate`, independently.

    A struck label becomes a uniform draw over all classes, itself included ("uniform"), over all others ("symmetric"),
    or its `partner` (classes,), int64 ("partner": asymmetric noise, as between similar classes). At rate r the first
    leaves r / classes of the struck labels right. Of one seed the noise is nested: what a rate strikes, a larger one
    strikes too, with the same outcome. Raises ValueError for a rate outside of [0, 1], labels out of range, one class
    that should become another, and a partner that is absent or does not fit.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
    generator = torch.Generator().manual_seed(seed)
    struck = torch.rand(len(labels), generator=generator) < rate
    if kind == "uniform":
        drawn = torch.randint(classes, labels.shape, generator=generator)
    elif kind == "symmetric":
        if classes < 2:
            raise ValueError("symmetric noise needs at least two classes")
        drawn = (labels.cpu() + torch.randint(1, classes, labels.shape, generator=generator)) % classes
    elif kind == "partner":
        if partner is None or partner.shape != (classes,):
            raise ValueError(f"partner must be int64 of shape ({classes},)")
        drawn = partner.cpu()[labels.cpu()]
    else:
        raise ValueError(f"kind must be 'uniform', 'symmetric' or 'partner', got {kind!r}")
    return torch.where(struck, drawn, labels.cpu()).to(labels.device)
