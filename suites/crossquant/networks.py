"""Networks with activation outliers that leave their function as it is, and the data that they are trained on.

A ReLU unit may be scaled by s > 0 with its outgoing weights divided by s, as may a channel of a LayerNorm's gain and
bias, or of the values of an attention: the outputs stay the same, while one input channel of the next layer is s times
larger than it was. Large language models have such channels by themselves.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines import digits
from baselines.corpora import Corpus, corpus, windows
from baselines.digits import Data
from baselines.models import mlp
from baselines.training import fit, supervised

SIZES = {"digits": (64, 128, 128, 128, 10), "fashion-mnist": (784, 256, 256, 256, 10)}
HIDDEN = ("1", "3", "5")  # the names of the linear layers before each ReLU; the next one reads it
EPOCHS = {"digits": 40, "fashion-mnist": 6}
SHARE = 0.01  # of the units of a layer are outliers


@dataclass(frozen=True)
class Parts:
    train: Data
    val: Data
    test: Data


def parts(dataset: str, seed: int) -> Parts:
    """Digits: 64/16/20 %, stratified. Fashion-MNIST: 12,000 and 2,000 of the train part; the first 4,000 to test."""
    if dataset == "digits":
        from sklearn.model_selection import train_test_split

        rest, test = digits.stratified(seed)
        train, val = train_test_split(range(len(rest[1])), test_size=0.2, random_state=seed, stratify=rest[1].numpy())
        return Parts((rest[0][train], rest[1][train]), (rest[0][val], rest[1][val]), test)
    found = reference.load("fashion-mnist", "train")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    cuts = (order[:12_000], order[12_000:14_000])
    train, val = ((found.images[rows].float() / 255, found.labels[rows]) for rows in cuts)
    test = reference.load("fashion-mnist", "test")
    return Parts(train, val, (test.images[:4000].float() / 255, test.labels[:4000]))


def trained(*, seed: int, dataset: str) -> dict[str, torch.Tensor]:
    """Parameters of a trained network, and the units of each hidden layer that will be outliers: "units/NAME"."""
    data = parts(dataset, seed).train
    torch.manual_seed(seed)
    model = mlp(SIZES[dataset])
    fit(
        model, *data, supervised(F.cross_entropy), epochs=EPOCHS[dataset], batch_size=128, drop_last=True, seed=seed,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )  # fmt: skip
    generator, hidden, units = torch.Generator().manual_seed(seed), data[0], {}
    with torch.no_grad():
        for place, layer in enumerate(model):
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):  # a unit that is never active would be no outlier
                active = ((hidden > 0).float().mean(0) >= 0.1).nonzero()[:, 0]
                drawn = torch.randperm(len(active), generator=generator)[: math.ceil(SHARE * hidden.shape[1])]
                units[f"units/{place - 1}"] = active[drawn]
    return {**model.state_dict(), **units}


def load_mlp(dataset: str, tensors: Mapping[str, torch.Tensor], scale: float) -> nn.Sequential:
    """The trained network with its outlier units scaled by `scale`; 1 leaves it as it was trained."""
    model = mlp(SIZES[dataset]).eval()
    model.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("units/")})
    for before in HIDDEN:
        rescale(
            model.get_submodule(before), model.get_submodule(str(int(before) + 2)), tensors[f"units/{before}"], scale
        )
    return model


@torch.no_grad()
def rescale(before: nn.Module, after: nn.Module | tuple[nn.Module, ...], units: torch.Tensor, scale: float) -> None:
    """Output `units` of `before` (weight and bias) times `scale`; the weights that read them, divided by it."""
    before.weight[units] *= scale
    before.bias[units] *= scale
    for reader in after if isinstance(after, tuple) else (after,):
        reader.weight[:, units] /= scale


class Block(nn.Module):
    """A layer of OPT: LayerNorms before, biases everywhere, ReLU between fc1 and fc2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = self.attention_norm(x)
        heads = (
            part(read).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        return x + self.fc2(F.relu(self.fc1(self.norm(x))))


class Decoder(nn.Module):
    """OPT's architecture at a size that a CPU trains in seconds: tokens (B, T) -> logits (B, T, vocabulary)."""

    def __init__(self, vocabulary: int, *, width: int = 64, depth: int = 2, heads: int = 4, length: int = 64) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def text() -> Corpus:
    """Bytes of WikiText-2, of which the valid part is trained on."""
    return corpus("wikitext-2-heldout")


def trained_decoder(*, seed: int, steps: int) -> dict[str, torch.Tensor]:
    """Parameters after `steps` batches of 32 stretches of 64 bytes."""
    found = text()
    torch.manual_seed(seed)
    model, generator = Decoder(found.vocabulary), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        stretches = windows(found.train, 32, 64, generator)
        optimizer.zero_grad()
        F.cross_entropy(model(stretches[:, :-1]).flatten(0, 1), stretches[:, 1:].flatten()).backward()
        optimizer.step()
        schedule.step()
    return dict(model.state_dict())


def load_decoder(tensors: Mapping[str, torch.Tensor], scale: float, seed: int) -> Decoder:
    """The trained decoder with outliers in what every layer of a block reads: norms, values and units of fc1."""
    model = Decoder(tensors["embed.weight"].shape[0]).eval()
    model.load_state_dict(dict(tensors))
    generator = torch.Generator().manual_seed(seed)

    def drawn(width: int) -> torch.Tensor:
        return torch.randperm(width, generator=generator)[: math.ceil(SHARE * width)]

    for block in model.blocks:
        assert isinstance(block, Block)
        width = block.out.in_features
        rescale(block.attention_norm, (block.query, block.key, block.value), drawn(width), scale)
        rescale(block.value, block.out, drawn(width), scale)
        rescale(block.norm, block.fc1, drawn(width), scale)
        rescale(block.fc1, block.fc2, drawn(4 * width), scale)
    return model


def logits_gap(model: nn.Module, scaled: nn.Module, inputs: torch.Tensor) -> float:
    """The largest difference of outputs in float64: what outliers change of the function, beyond rounding."""
    with torch.no_grad():
        return float((copy.deepcopy(model).double()(inputs) - copy.deepcopy(scaled).double()(inputs)).abs().max())
