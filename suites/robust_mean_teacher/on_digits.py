"""The digits of scikit-learn under corruptions that change, in sequence, gradually, over and over, or by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import reference
from baselines.models import conv_net
from baselines.training import fit, supervised
from suites.robust_mean_teacher.contenders import BATCH, Arm, Data, Stream
from suites.robust_mean_teacher.exact import Metrics


@dataclass(frozen=True)
class Split:
    """Images in [0, 1] and labels: to train the source model, to choose rates on, and to judge on."""

    train: Data
    tune: Data
    judge: Data


def digits_split(seed: int) -> Split:
    """1000, 200 and 597 digits, drawn by `seed` and stratified, in random order."""
    from sklearn.model_selection import train_test_split

    digits = reference.load("digits")
    images, labels = digits.images.float() / 16, digits.labels
    train, rest = train_test_split(range(len(labels)), train_size=1000, random_state=seed, stratify=labels.numpy())
    tune, judge = train_test_split(rest, train_size=200, random_state=seed, stratify=labels[rest].numpy())
    return Split(*((images[rows], labels[rows]) for rows in (train, tune, judge)))


def corrupted(
    data: Data, seed: int, strengths: Sequence[float] = (1.0,), limit: int = 0, *, tuning: bool = False
) -> Stream:
    """One corruption after the other, each at `strengths` in turn, on the first `limit` images (0: all) of `data`.

    With `tuning`, the corruptions that learning rates are chosen on. A last batch of one image is left out: it has no
    statistics.
    """
    from suites.robust_mean_teacher.corruptions import CORRUPTIONS, OTHER_CORRUPTIONS  # imports torchvision

    generator = torch.Generator().manual_seed(seed)
    images, labels = data[0][: limit or None], data[1][: limit or None]
    found = []
    for corrupt in (OTHER_CORRUPTIONS if tuning else CORRUPTIONS).values():
        for strength in strengths:
            batches = corrupt(images, strength, generator).clamp(0, 1).split(BATCH)
            found += list(zip(batches, labels.split(BATCH), strict=True))
    return [batch for batch in found if len(batch[1]) > 1]


def by_class(data: Data) -> Data:
    """The same images, one class after the other: what neighbours in a video or on a road look like."""
    order = data[1].argsort(stable=True)
    return data[0][order], data[1][order]


def network(norm: str) -> nn.Sequential:
    """The source model's architecture."""
    return conv_net(10, (24, 48, 48), norm=norm)  # type: ignore[arg-type]


def train_source(train: Data, seed: int, norm: str) -> dict[str, torch.Tensor]:
    """The state of a network after 15 epochs on clean images."""
    torch.manual_seed(seed)
    options = {"epochs": 15, "batch_size": BATCH, "drop_last": False, "seed": seed}
    adam = lambda parameters: torch.optim.Adam(parameters, lr=3e-3)  # noqa: E731
    return fit(network(norm), *train, supervised(F.cross_entropy), optimizer=adam, **options).model.state_dict()


def load_source(file: Path, norm: str) -> nn.Module:
    """The trained source model."""
    model = network(norm)
    model.load_state_dict(load_file(file))
    return model


def mean(batch_errors: list[float], stream: Stream) -> float:
    """The error over all images of a stream, whose batches may differ in size."""
    sizes = [len(labels) for _, labels in stream]
    return sum(size * error for size, error in zip(sizes, batch_errors, strict=True)) / sum(sizes)


def in_sequence(arm: Arm, stream: Stream) -> Metrics:
    """The error over a stream, and under each of its corruptions."""
    from suites.robust_mean_teacher.corruptions import CORRUPTIONS

    errors, length = arm.errors(stream), len(stream) // len(CORRUPTIONS)
    parts = {name: slice(n * length, (n + 1) * length) for n, name in enumerate(CORRUPTIONS)}
    each = {f"error_{name}": mean(errors[part], stream[part]) for name, part in parts.items()}
    return {"error": mean(errors, stream), **each}


def source(*, seed: int, norm: str) -> dict[str, torch.Tensor]:
    """The source model, trained on clean digits."""
    return train_source(digits_split(seed).train, seed, norm)


def continual(*, arm: str, seed: int, norm: str, momentum: float, source: Path) -> Metrics:
    """Six corruptions in sequence, at the official learning rate."""
    split = digits_split(seed)
    return in_sequence(Arm(arm, load_source(source, norm), split.train, seed, momentum), corrupted(split.judge, seed))


def tuned(*, arm: str, seed: int, norm: str, momentum: float, source: Path) -> Metrics:
    """The same, each arm at the learning rate that it does best with on another stream."""
    split = digits_split(seed)
    chosen = Arm(arm, load_source(source, norm), split.train, seed, momentum)
    rate = chosen.chosen_rate(corrupted(split.tune, seed, tuning=True))
    return {"error": chosen.error(corrupted(split.judge, seed), rate), "rate": rate}


def gradual(*, arm: str, seed: int, norm: str, momentum: float, source: Path) -> Metrics:
    """Each corruption rises to its full strength in five steps and falls again, on 200 images a step."""
    split = digits_split(seed)
    stream = corrupted(split.judge, seed, [level / 5 for level in (1, 2, 3, 4, 5, 4, 3, 2, 1)], limit=200)
    return {"error": Arm(arm, load_source(source, norm), split.train, seed, momentum).error(stream)}


def long_stream(*, arm: str, seed: int, norm: str, momentum: float, rounds: int, source: Path) -> Metrics:
    """The sequence of corruptions on 300 images, `rounds` times over."""
    split = digits_split(seed)
    once = corrupted(split.judge, seed, limit=300)
    found = Arm(arm, load_source(source, norm), split.train, seed, momentum).errors(once * rounds)
    by_round = [mean(found[n * len(once) : (n + 1) * len(once)], once) for n in range(rounds)]
    return {"first": by_round[0], "last": by_round[-1], "drift": by_round[-1] - by_round[0], "by_round": by_round}


def correlated(*, arm: str, seed: int, norm: str, momentum: float, source: Path) -> Metrics:
    """The stream of `continual`, sorted by class within each corruption."""
    split = digits_split(seed)
    stream = corrupted(by_class(split.judge), seed)
    return {"error": Arm(arm, load_source(source, norm), split.train, seed, momentum).error(stream)}
