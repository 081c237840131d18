"""What the models learn: a source of known entropy, bytes of a text, images as rows of tokens. Inputs and targets.

A target of -100 carries no loss. Inputs of `Examples` are what a `Decoder` reads: token t of the targets is predicted
from inputs up to t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

import reference
from baselines.corpora import corpus, windows

NO_LOSS = -100


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
class MarkovSource:
    """A stationary source whose next symbol depends on the last two: `next_symbol` float64 (K, K, K), P(c | a, b)."""

    next_symbol: torch.Tensor

    @classmethod
    def random(cls, symbols: int, concentration: float, seed: int) -> MarkovSource:
        """Every row drawn from a symmetric Dirichlet distribution."""
        generator = torch.Generator().manual_seed(seed)
        shape = torch.full((symbols, symbols, symbols), concentration, dtype=torch.float64)
        gamma = torch._standard_gamma(shape, generator=generator)
        return cls(gamma / gamma.sum(-1, keepdim=True))

    @property
    def pairs(self) -> torch.Tensor:
        """The stationary distribution of two neighbours, (K, K)."""
        symbols = len(self.next_symbol)
        step = torch.zeros(symbols, symbols, symbols, symbols, dtype=torch.float64)
        for middle in range(symbols):
            step[:, middle, middle] = self.next_symbol[:, middle]  # (a, b) -> (b, c)
        chain = step.view(symbols**2, symbols**2)
        # pi (chain - 1) = 0 and sum(pi) = 1, one of whose equations is redundant.
        system = torch.cat([(chain.T - torch.eye(symbols**2))[:-1], torch.ones(1, symbols**2)])
        right = torch.zeros(symbols**2, dtype=torch.float64)
        right[-1] = 1
        return torch.linalg.solve(system.double(), right).view(symbols, symbols)

    @property
    def conditional_entropies(self) -> tuple[float, float, float]:
        """Nats per symbol given 0, 1 and 2 symbols before it: the last is the entropy rate."""
        pairs = self.pairs
        triples = pairs[..., None] * self.next_symbol

        def joint(p: torch.Tensor) -> float:
            return float(-torch.special.xlogy(p, p).sum())

        single, double, triple = joint(pairs.sum(0)), joint(pairs), joint(triples)
        return single, double - single, triple - double

    def sample(self, rows: int, length: int, generator: torch.Generator) -> torch.Tensor:
        """int64 (rows, length) from the stationary distribution."""
        symbols = len(self.next_symbol)
        first = torch.multinomial(self.pairs.flatten().clamp(min=0), rows, True, generator=generator)
        found = [first // symbols, first % symbols]
        thresholds = self.next_symbol.cumsum(-1)[..., :-1].contiguous()
        for draw in torch.rand(length - 2, rows, 1, generator=generator, dtype=torch.float64):
            found.append((thresholds[found[-2], found[-1]] < draw).sum(-1))
        return torch.stack(found, 1)

    def examples(self, rows: int, length: int, generator: torch.Generator) -> Examples:
        """Rows of `length` predictions; the first, of a symbol with one before it, carries no loss."""
        tokens = self.sample(rows, length + 1, generator)
        targets = tokens[:, 1:].clone()
        targets[:, 0] = NO_LOSS
        return Examples(tokens[:, :-1], targets)


def text_examples(name: str, part: str, rows: int, length: int, generator: torch.Generator) -> Examples:
    """Random stretches of a part of a corpus, in bytes."""
    stretches = windows(getattr(corpus(name), part), rows, length, generator)
    return Examples(stretches[:, :-1], stretches[:, 1:])


def image_tokens(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images uint8 (rows, C, H, W), area-resized to side x side: int64 (rows, side^2 C) in raster order, RGBRGB..."""
    small = F.interpolate(images.float(), size=(side, side), mode="area").round().long()
    return small.permute(0, 2, 3, 1).flatten(1)


def image_examples(tokens: torch.Tensor) -> Examples:
    """Rows of 256-valued tokens, each predicted; 256 stands for the start of a row."""
    return Examples(F.pad(tokens[:, :-1], (1, 0), value=256), tokens)


def load_images(name: str, split: str, side: int, limit: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of images and their labels; a random subset of `limit` that is the same for every seed, or all."""
    images = reference.load(name, split)
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: limit or None]
    return image_tokens(images.images[rows], side), images.labels[rows]
