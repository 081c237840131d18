"""The networks of Table 1, with the sizes of the released grid (experiments/archgrid/run.py of the official code).

All take digits (N, 1, 8, 8) as 64 features and return logits (N, 10).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp


class TokenTransformer(nn.Module):
    """A pre-norm transformer block of width 32 and one head on a single token, the embedded image; no final norm."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(64, width)
        self.attention_norm, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.embed(images.flatten(1))[:, None]
        query, key, value = self.qkv(self.attention_norm(x)).chunk(3, -1)
        shares = (query @ key.mT * x.shape[-1] ** -0.5).softmax(-1)  # of one token: 1
        x = x + self.out(shares @ value)
        x = x + self.fc2(F.gelu(self.fc1(self.norm(x))))
        return self.head(x[:, 0])


class SignalNet(nn.Module):
    """Two convolutions of 32 channels with BatchNorm and ReLU along the 64 features, their mean, and a classifier."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (1, channels):
            layers += [nn.Conv1d(inputs, channels, 3, padding=1), nn.BatchNorm1d(channels), nn.ReLU()]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(channels, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images.flatten(2)).mean(-1))


NETWORKS = {
    "transformer": TokenTransformer,
    "mlp_ln": lambda: mlp([64, 64, 64, 64, 10], nn.GELU, norm=True),
    "cnn_bn": SignalNet,
}


def network(architecture: str, seed: int) -> nn.Module:
    """A network of the grid, initialised by `seed`."""
    torch.manual_seed(seed)
    return NETWORKS[architecture]()
