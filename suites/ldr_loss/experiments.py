"""The experiments of ldr-loss, by the names that paper.toml has; the rules that judge them are there."""

from __future__ import annotations

import numpy as np
import torch

from suites.ldr_loss import method
from suites.ldr_loss.exact import (
    adaptive,
    adaptive_spikes,
    algorithm,
    closed_form,
    consistency,
    crammer_singer,
    general_form,
    generalised_ce,
    limits,
    low_precision,
    mean_absolute_error,
    symmetry,
)
from suites.ldr_loss.on_cifar import cifar10_jpeg, cifar100, tuned_cifar10
from suites.ldr_loss.on_letter import (
    letter,
    letter_contrasts,
    letter_folds,
    letter_tuned,
    trained,
    trained_decays,
    trained_folds,
)

__all__ = [
    "adaptive", "adaptive_spikes", "algorithm", "cifar10_jpeg", "cifar100", "closed_form", "consistency",
    "crammer_singer", "general_form", "generalised_ce", "letter", "letter_contrasts", "letter_folds", "letter_tuned",
    "limits", "linear_scores", "low_precision", "mean_absolute_error", "symmetry", "trained", "trained_decays",
    "trained_folds", "tuned_cifar10",
]  # fmt: skip


def linear_scores(*, arm: str, seed: int) -> dict[str, float]:
    """Labels from q(x) = softmax(W x), scores fitted by a linear model; how well they order the classes."""
    from scipy.stats import rankdata

    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(5, 6, generator=generator)
    x, fresh = torch.randn(40_000, 5, generator=generator), torch.randn(2000, 5, generator=generator)
    y = torch.multinomial((x @ truth).softmax(1), 1, generator=generator).squeeze(1)
    lam, margin = (0.0, 1.0) if arm == "crammer_singer" else (float(arm.removeprefix("ldr_").replace("_", ".")), 0.0)
    weight, steps = torch.zeros(5, 6, requires_grad=True), 300
    optimizer = torch.optim.Adam([weight], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        method.ldr_kl(x @ weight, y, lam=lam, margin=margin).backward()
        optimizer.step()
        schedule.step()
    ranks = [rankdata(fresh @ of, axis=1) for of in (weight.detach(), truth)]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    spearman = (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    return {"rank_correlation": float(spearman.mean())}
