"""Small networks on digits and Fashion-MNIST that learn labels, learn shuffled labels by heart, or learn without any.

Networks are trained once (`trained`); their features on test images are measured at several bandwidths (`training`).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from baselines.contrastive import nt_xent
from baselines.models import mlp
from baselines.small_data import drawn, split
from baselines.training import Batch, Fit, Objective, cosine, fit, step_count, supervised
from suites.diffusion_spectral_entropy.contenders import bandwidth
from suites.diffusion_spectral_entropy.method import dse, dsmi, groups

Arm = Literal["true", "shuffled", "self_supervised"]
CHECKPOINTS = (0, 5, 20, 100)
"""Epochs after which features are kept; the last one is the number of epochs."""
RATE, DECAY, BATCH = 3e-3, 0.01, 64
"""Of AdamW: the decay is torch's default, as in the authors' code."""
ROWS, MEASURED = 1500, 1000
"""Images of Fashion-MNIST to draw (a fifth of them is left out) and test images to measure."""
HIDDEN = (512, 64)
"""Wide enough to learn most shuffled labels by heart in these epochs."""
KEPT, NOISE, TEMPERATURE = 0.8, 0.1, 0.5
"""Of the two views of an image: the share of pixels that stay, the spread of what is added; and of their contrast."""


def shuffled(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """One permutation of all labels, as the authors make wrong labels."""
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def objective_of(arm: Arm, seed: int) -> Objective:
    """Cross-entropy with the labels given, or the contrast of two views. Raises ValueError for other arms."""
    if arm not in get_args(Arm):
        raise ValueError(f"arm must be one of {', '.join(get_args(Arm))}, got {arm!r}")
    if arm != "self_supervised":
        return supervised(F.cross_entropy)
    generator = torch.Generator().manual_seed(seed)

    def contrast(model: nn.Module, batch: Batch) -> torch.Tensor:
        twice = torch.stack([batch.inputs] * 2, 1)
        kept = torch.rand(twice.shape, generator=generator) < KEPT
        views = twice * kept + NOISE * torch.randn(twice.shape, generator=generator)
        return nt_xent(model(views.flatten(0, 1)).unflatten(0, twice.shape[:2]), temperature=TEMPERATURE)

    return contrast


def trained(*, arm: Arm, seed: int, data: str) -> dict[str, torch.Tensor]:
    """Features (checkpoints, N, 64) of test images, their labels (N,), and the share of training and test labels that
    the last network gets right."""
    parts = split(data, seed, ROWS)
    inputs, labels = parts.train
    targets = shuffled(labels, seed) if arm == "shuffled" else labels
    measured = drawn(parts.test, MEASURED, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = mlp([inputs.shape[1], *HIDDEN, 10])
    found = features_while_trained(model, inputs, targets, measured[0], CHECKPOINTS, objective_of(arm, seed), seed=seed)
    with torch.no_grad():
        right = [(model(x).argmax(1) == y).double().mean() for x, y in ((inputs, targets), measured)]
    return {"features": found, "labels": measured[1], "right": torch.stack(right)}


def features_while_trained(
    model: nn.Sequential,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    measured: torch.Tensor,
    checkpoints: tuple[int, ...],
    objective: Objective,
    *,
    seed: int,
) -> torch.Tensor:
    """What the last layer reads, (checkpoints, N, width), after 0 and each of the other epochs."""
    kept: list[torch.Tensor] = []

    @torch.no_grad()
    def keep(done: Fit | None) -> None:
        if (len(done.losses) if done else 0) in checkpoints:
            kept.append(model[:-1](measured))

    keep(None)
    steps = step_count(len(inputs), BATCH, checkpoints[-1], drop_last=True)
    fit(
        model, inputs, targets, objective, epochs=checkpoints[-1], batch_size=BATCH, drop_last=True, seed=seed,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY),
        schedule=cosine(steps), on_epoch=keep,
    )  # fmt: skip
    return torch.stack(kept)


def training(*, data: str, sigma: float, trained: Path) -> dict[str, float]:  # noqa: ARG001 - `trained` is of that set
    """DSE and DSMI with the true labels at the checkpoints; a sigma of 0 is half of the median distance at each.

    `beyond_scale` is the DSE of the last features less that of the first ones scaled to the same mean norm.
    """
    found = load_file(trained)
    features, labels = found["features"], found["labels"]
    norms = [float(z.norm(dim=1).mean()) for z in features]
    widths = [sigma or bandwidth(z) for z in features]
    entropies = [dse(z, sigma=width) for z, width in zip(features, widths, strict=True)]
    gained = [dsmi(z, labels, sigma=width) for z, width in zip(features, widths, strict=True)]
    grown = features[0] * norms[-1] / norms[0]
    return {
        "dse_start": entropies[0],
        "dse_end": entropies[-1],
        "dse_gain": entropies[-1] - entropies[0],
        "dse_least_step": min(after - before for before, after in itertools.pairwise(entropies)),
        "beyond_scale": entropies[-1] - dse(grown, sigma=sigma or bandwidth(grown)),
        "dsmi_start": gained[0],
        "dsmi_end": gained[-1],
        "dsmi_gain": gained[-1] - gained[0],
        "norm_growth": norms[-1] / norms[0],
        "train_accuracy": float(found["right"][0]),
        "test_accuracy": float(found["right"][1]),
    }


INPUT_CHECKPOINTS = (0, 1, 2, 5, 10, 20, 50)
"""Epochs after which the information on inputs is measured."""


def inputs(*, seed: int, data: str, pictures: Path) -> dict[str, float]:
    """DSMI with ten spectral clusters of the inputs while a network learns to classify, at both kinds of bandwidth."""
    from scipy.stats import spearmanr

    if data == "cifar10-jpeg":
        found = load_file(pictures)
        images, labels = drawn((found["images"].flatten(1), found["labels"]), ROWS + MEASURED, seed)
        train, test = (images[MEASURED:], labels[MEASURED:]), images[:MEASURED]
    else:
        parts = split(data, seed, ROWS)
        train, test = parts.train, drawn(parts.test, MEASURED, seed)[0]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = mlp([test.shape[1], *HIDDEN, 10])
    objective = objective_of("true", seed)
    features = features_while_trained(model, *train, test, INPUT_CHECKPOINTS, objective, seed=seed)
    clusters = groups(test, 10, seed=seed)
    fixed = [dsmi(z, clusters) for z in features]
    free = [dsmi(z, clusters, sigma=bandwidth(z)) for z in features]
    return {
        "fixed_rank": float(spearmanr(INPUT_CHECKPOINTS, fixed).statistic),
        "free_rank": float(spearmanr(INPUT_CHECKPOINTS, free).statistic),
        "fixed_start": fixed[0], "fixed_most": max(fixed), "fixed_end": fixed[-1],
        "free_start": free[0], "free_most": max(free), "free_end": free[-1],
    }  # fmt: skip
