"""The paper's decoder-only transformer in plain PyTorch, and the learning curves of a family of its sizes.

A block has (4 a + 2 f) d^2 weights, where a d is the width of its attention and f d that of its feed-forward part:
3 d^2 for images, video and maths (a = 1/4, f = 1), 12 d^2 for language and multimodal models (a = 1, f = 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from baselines.language_models import next_token
from baselines.training import fit
from suites.scaling_autoregressive import method
from suites.scaling_autoregressive.method import Architecture, Run


class Block(nn.Module):
    """Pre-norm causal attention and feed-forward network, each with a residual connection: (B, T, d) -> (B, T, d)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, inner = architecture.width, architecture.attention_width
        self.heads = architecture.heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.up = nn.Linear(width, architecture.feed_forward_width)
        self.down = nn.Linear(architecture.feed_forward_width, width)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        joined = self.query_key_value(self.attention_norm(stream))
        query, key, value = joined.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.out(attended.transpose(1, 2).flatten(-2))
        return stream + self.down(F.gelu(self.up(self.feed_forward_norm(stream))))


class Decoder(nn.Module):
    """Token numbers (B, T) -> logits (B, T, vocabulary); row t scores token t + 1. T is at most `length`.

    Raises ValueError for a longer input.
    """

    def __init__(self, architecture: Architecture, vocabulary: int, length: int) -> None:
        super().__init__()
        width = architecture.width
        self.length = length
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(architecture) for _ in range(architecture.depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=width**-0.5 if isinstance(module, nn.Linear) else 0.1)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():  # both branches of every block write to the stream: keep its variance from growing
            for block in self.blocks:
                for writer in (block.out, block.down):
                    writer.weight /= (2 * architecture.depth) ** 0.5
            self.head.weight.zero_()  # the first prediction is uniform, at every width

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the last layer reads, (B, T, width)."""
        if tokens.shape[1] > self.length:
            raise ValueError(f"{tokens.shape[1]} tokens where there are {self.length} positions")
        stream = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        return self.norm(self.blocks(stream))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.states(tokens))


class Classifier(nn.Module):
    """A decoder with a new linear head on the mean state of all positions: (B, T) -> (B, classes)."""

    def __init__(self, decoder: Decoder, classes: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = nn.Linear(decoder.embedding.embedding_dim, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder.states(tokens).mean(1))


def weights(blocks: nn.Module) -> int:
    """N of the blocks of a network: their matrices, without biases and norms."""
    return sum(module.weight.numel() for module in blocks.modules() if isinstance(module, nn.Linear))


# A family: one architecture in many sizes, trained on the same examples in the same order.

NO_LOSS = -100
"""A target that carries none. Token t of the targets is predicted from inputs up to t."""


NARROW = ((32, 4), (64, 8), (128, 16), (256, 32))
"""(width, depth) of the paper's smallest sizes: what the full tier trains."""


@dataclass(frozen=True)
class Examples:
    """Rows of tokens, int64 (rows, T) both."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device) -> Examples:
        return Examples(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Recipe:
    """How a family is trained: Adam at the paper's rate for each size, warm-up and linear decay to a tenth."""

    batch: int
    passes: int = 1
    warmup: float = 0.1  # share of all steps; the paper's 3,000 of 250,000 would be no warm-up in some hundred
    points: int = 16  # of a learning curve, evenly spaced in log steps
    first: int = 20  # step of the first point
    weight_decay: float = 0.0


class Curves(NamedTuple):
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
    rows = torch.cat([torch.randperm(len(train), generator=order) for _ in range(recipe.passes)])
    rows = rows.to(train.inputs.device)
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
            model, train.inputs[part], train.targets[part], next_token, epochs=1, batch_size=recipe.batch,
            drop_last=False, optimizer=lambda _: optimiser, schedule=lambda _: schedule, seed=seed,
        )  # fmt: skip
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
    models, trained = [], []
    for width, depth in shapes:
        torch.manual_seed(seed)
        models.append(Decoder(Architecture(width, depth), vocabulary, train.inputs.shape[1]).to(train.inputs.device))
        trained.append(train_decoder(models[-1], Architecture(width, depth).size, train, test, recipe, seed))
    (steps, *_), losses, training = zip(*trained, strict=True)
    tokens = torch.from_numpy(steps).double() * recipe.batch * train.inputs.shape[1]
    sizes = torch.tensor([Architecture(*shape).size for shape in shapes], dtype=torch.float64)
    return Curves(sizes, torch.from_numpy(steps), tokens, torch.stack(losses), torch.stack(training)), models


def rank_correlation(sizes: Sequence[float], losses: Sequence[float]) -> float:
    """Spearman's."""
    from scipy import stats

    return float(stats.spearmanr(sizes, losses).statistic)
