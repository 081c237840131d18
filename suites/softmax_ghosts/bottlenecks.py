"""Which radius of a transformer binds: the network and protocol of the released script (experiments/tfmbottlenecks)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from baselines.digits import stratified
from baselines.loss_landscape import Tensors, loss_and_accuracy
from baselines.models import Attention
from suites.softmax_ghosts import method
from suites.softmax_ghosts.exact import Metrics


class RowTransformer(nn.Module):
    """Pre-norm blocks over a class token and the eight rows of a digit, (N, 1, 8, 8) -> (N, 10)."""

    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 9, width))
        self.attentions, self.ffns = nn.ModuleList(), nn.ModuleList()
        for _ in range(depth):
            attention = Attention(width, heads)
            attention.qkv, attention.out = (nn.Linear(width, size, bias=False) for size in (3 * width, width))
            self.attentions.append(nn.Sequential(nn.LayerNorm(width), attention))
            inner, outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.ffns.append(nn.Sequential(nn.LayerNorm(width), inner, nn.GELU(), outer))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.embed(images.squeeze(1))
        tokens = torch.cat([self.token.expand(len(rows), -1, -1), rows], 1) + self.position
        for attention, ffn in zip(self.attentions, self.ffns, strict=True):
            tokens = tokens + attention(tokens)
            tokens = tokens + ffn(tokens)
        return self.head(self.norm(tokens[:, 0]))


PARTS = {
    "attention": [f"attentions.{block}.1.softmax" for block in range(2)],
    "ffn": [f"ffns.{block}.2" for block in range(2)],
}
"""Where its attention scores and its preactivations are; the script counts |h| / |hdot| for GELU too."""


def binding_released(*, seed: int, steps: int = 1200, every: int = 20) -> Metrics:
    """Steps of exactly r = 1, full-batch; the share of each radius among the first and the last third of the steps.

    One step in `every` is looked at; at the script's 1,200 steps and 20 these are 20 early and 21 late ones.
    """
    train, test = stratified(seed, test_size=0.3)
    torch.manual_seed(seed)
    model = RowTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    smallest: list[int] = []

    def radius(model: nn.Module, inputs: torch.Tensor, direction: Tensors) -> torch.Tensor:
        found = method.network_radii(model, inputs, direction, **PARTS)
        radii = torch.stack([found.ffn, found.out, found.attention])
        smallest.append(int(radii.argmin()))
        return radii.min()

    controller = method.RadiusController(model, optimizer, rule="set", radius=radius)
    for _ in range(steps + 1):
        optimizer.zero_grad()
        cross_entropy(model(train[0]), train[1]).backward()
        controller.step(train[0])
    looked_at = smallest[::every]
    third = len(looked_at) // 3
    shares: Metrics = {"accuracy": loss_and_accuracy(model, test)[1]}
    for when, chosen in (("early", looked_at[:third]), ("late", looked_at[2 * third :])):
        for number, part in enumerate(("ffn", "out", "attention")):
            shares[f"{part}_{when}"] = chosen.count(number) / len(chosen)
    return shares
