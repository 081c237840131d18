"""Images as rows of tokens: CIFAR-10 at 8x8 (full tier), and how a decoder becomes a classifier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

import reference
from baselines.training import cosine, step_count, supervised
from baselines.training import fit as train
from baselines.tuning import choose
from suites.scaling_autoregressive.method import Architecture
from suites.scaling_autoregressive.networks import (
    NARROW,
    Classifier,
    Decoder,
    Examples,
    Recipe,
    rank_correlation,
    train_decoder,
    train_family,
)

Metrics = dict[str, float | list[float]]

RATES = (1e-3, 3e-3)
"""The grid of fine-tuning, the same for pre-trained and fresh models."""


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


def classify(
    decoder: Decoder,
    parts: list[tuple[torch.Tensor, torch.Tensor]],
    classes: int,
    rate: float,
    epochs: int,
    batch: int,
    seed: int,
) -> tuple[float, float]:
    """(validation error, test error) after training all weights; parts are (tokens, labels) to train, choose, test."""
    torch.manual_seed(seed)
    device = decoder.embedding.weight.device
    model = Classifier(decoder, classes).to(device)
    steps = step_count(len(parts[0][0]), batch, epochs, drop_last=False)
    (inputs, labels), *held_out = [(image_examples(tokens).inputs.to(device), y.to(device)) for tokens, y in parts]
    train(
        model, inputs, labels, supervised(F.cross_entropy), epochs=epochs, batch_size=batch, drop_last=False, seed=seed,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, fused=True),
        schedule=cosine(steps, warmup=min(10, steps // 10)),
    )  # fmt: skip
    validation, test = (error_rate(model, *part) for part in held_out)
    return validation, test


@torch.no_grad()
def error_rate(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of rows that are classified wrongly."""
    model.eval()
    found = torch.cat([model(part).argmax(-1) for part in inputs.split(500)])
    return float((found != labels).double().mean())


def least(tried: Mapping[float, tuple[float, float]]) -> tuple[float, float]:
    """(validation error, test error) at the rate of least validation error."""
    return tried[choose({rate: validation for rate, (validation, _) in tried.items()}, smallest=True)]


def cifar10_jpeg(*, seed: int, device: torch.device, depths: int, epochs: int, limit: int) -> Metrics:
    """The JPEG copy of CIFAR-10 at 8x8 in several sizes, pre-training alone."""
    pixels, _ = load_images("cifar10-jpeg", "train", 8, limit)
    unseen, _ = load_images("cifar10-jpeg", "test", 8, limit)
    seen, test = image_examples(pixels).to(device), image_examples(unseen[:2000]).to(device)
    recipe = Recipe(batch=128, passes=epochs)
    curves, _ = train_family(NARROW[:depths], 257, seen, test, recipe, seed)
    lowest = curves.losses.double().mean(-1).min(1).values
    found: Metrics = {"spearman": rank_correlation(curves.sizes.tolist(), lowest.tolist())}
    return {**found, "nats_per_image": [192 * loss for loss in lowest.tolist()]}


def cifar10(*, arm: str, seed: int, device: torch.device, depths: int, epochs: int, limit: int) -> Metrics:
    """CIFAR-10 at 8x8 (192 RGB tokens): pre-training in several sizes, then classification, or that alone."""
    pixels, labels = load_images("cifar10", "train", 8, limit)
    unseen, truth = load_images("cifar10", "test", 8, limit)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    kept = len(pixels) // 10  # a tenth of the training images chooses the rate of fine-tuning
    chosen, learned = order[:kept], order[kept:]
    parts = [(pixels[learned], labels[learned]), (pixels[chosen], labels[chosen]), (unseen, truth)]
    seen, test = image_examples(pixels[learned]).to(device), image_examples(unseen).to(device)
    recipe = Recipe(batch=128, passes=epochs)
    sizes, lowest, errors = [], [], []
    for shape in NARROW[:depths]:
        architecture = Architecture(*shape)
        torch.manual_seed(seed)
        decoder = Decoder(architecture, 257, 192).to(device)
        if arm == "pretrained":
            _, losses, _ = train_decoder(decoder, architecture.size, seen, test, recipe, seed)
            lowest.append(float(losses.double().mean(1).min()))
        state = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
        tried = {}
        for rate in RATES:
            decoder.load_state_dict(state)
            tried[rate] = classify(decoder, parts, 10, rate, epochs, 128, seed)
        sizes.append(architecture.size)
        errors.append(least(tried)[1])
    found: Metrics = {"error_largest": errors[-1], "error_second": errors[-2], "errors": errors}
    if arm == "pretrained":
        found["spearman"] = rank_correlation(sizes, lowest)
        found["nats_per_image"] = [192 * loss for loss in lowest]
    return found
