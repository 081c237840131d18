"""One architecture in many sizes, trained on the same examples in the same order: the learning curves of a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from baselines.language_models import next_token
from baselines.training import fit
from suites.scaling_autoregressive import method
from suites.scaling_autoregressive.method import Architecture, Run
from suites.scaling_autoregressive.networks import Decoder
from suites.scaling_autoregressive.sources import NO_LOSS, Examples


@dataclass(frozen=True)
class Recipe:
    """How a family is trained: Adam at the paper's rate for each size, warm-up and linear decay to a tenth."""

    batch: int
    passes: int = 1
    warmup: float = 0.1  # share of all steps; the paper's 3,000 of 250,000 would be no warm-up in some hundred
    points: int = 16  # of a learning curve, evenly spaced in log steps
    first: int = 20  # step of the first point
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Curves:
    """Learning curves of a family. The last point is the end of training."""

    sizes: torch.Tensor  # float64 (sizes,)
    steps: torch.Tensor  # int64 (points,)
    tokens: torch.Tensor  # float64 (points,): tokens processed
    losses: torch.Tensor  # float32 (sizes, points, rows): nats per token of each test row
    training: torch.Tensor  # float32 (sizes, points): mean training loss since the point before

    def runs(self) -> list[Run]:
        """As `method` takes them."""
        tokens, losses = self.tokens.numpy(), self.losses.double().mean(-1).numpy()
        return [Run(float(size), tokens, curve) for size, curve in zip(self.sizes, losses, strict=True)]


def train_decoder(
    model: Decoder, size: int, train: Examples, test: Examples, recipe: Recipe, seed: int
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Train in place. Returns (steps (points,), test losses (points, rows), mean training losses (points,))."""
    order = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.randperm(len(train), generator=order) for _ in range(recipe.passes)]).to(
        train.inputs.device
    )
    total = len(rows) // recipe.batch
    warmup = round(recipe.warmup * total)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=method.learning_rate(size), weight_decay=recipe.weight_decay, fused=True
    )
    schedule = LambdaLR(optimiser, lambda step: method.rate_factor(min(step, total - 1), total, warmup))
    steps = np.unique(np.geomspace(min(recipe.first, total), total, recipe.points).round().astype(int))
    losses, training = [], []
    for start, stop in zip([0, *steps[:-1]], steps, strict=True):
        part = rows[start * recipe.batch : stop * recipe.batch]
        done = fit(
            model,
            train.inputs[part],
            train.targets[part],
            next_token,
            epochs=1,
            batch_size=recipe.batch,
            drop_last=False,
            optimizer=lambda _: optimiser,
            schedule=lambda _: schedule,
            seed=seed,
        )
        losses.append(row_losses(model, test))
        training.append(done.losses[-1])
    return steps, torch.stack(losses), torch.tensor(training)


@torch.no_grad()
def row_losses(model: Decoder, test: Examples, batch: int = 128) -> torch.Tensor:
    """Mean nats per token that carries loss, of each row: float32 (rows,) on the CPU."""
    model.eval()
    found = []
    for inputs, targets in zip(test.inputs.split(batch), test.targets.split(batch), strict=True):
        logits = model(inputs)
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_LOSS, reduction="none")
        found.append((nats.view_as(targets).sum(1) / (targets != NO_LOSS).sum(1)).cpu())
    return torch.cat(found)


def train_family(
    shapes: Sequence[tuple[int, int]], vocabulary: int, train: Examples, test: Examples, recipe: Recipe, seed: int
) -> tuple[Curves, list[Decoder]]:
    """Every shape (width, depth), from the smallest size on, on the device of the examples."""
    sizes, losses, training, models = [], [], [], []
    steps = np.zeros(0, int)
    for width, depth in shapes:
        architecture = Architecture(width, depth)
        torch.manual_seed(seed)
        model = Decoder(architecture, vocabulary, train.inputs.shape[1]).to(train.inputs.device)
        steps, curve, seen = train_decoder(model, architecture.size, train, test, recipe, seed)
        sizes.append(architecture.size)
        losses.append(curve)
        training.append(seen)
        models.append(model)
    steps_tensor = torch.from_numpy(steps)
    tokens = steps_tensor.double() * recipe.batch * train.inputs.shape[1]
    stacked = torch.stack(losses), torch.stack(training)
    return Curves(torch.tensor(sizes, dtype=torch.float64), steps_tensor, tokens, *stacked), models
