"""Real networks with a deep linear head: data, models, training, and how far they have collapsed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torchvision
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

import reference
from baselines.models import mlp, resnet18_cifar
from suites.deep_linear_collapse import method
from suites.deep_linear_collapse.method import Factors, Setting

Metrics = dict[str, float | list[float]]
Data = tuple[torch.Tensor, torch.Tensor]
"""Inputs (N, ...) and labels (N,)."""


class Network(nn.Module):
    """A backbone and a deep linear head; returns logits and features."""

    def __init__(self, backbone: nn.Module, head: method.DeepLinearHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.backbone(inputs)
        return self.head(features), features


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: mean loss, halved for MSE as in the theory, and decays."""

    epochs: int
    learning_rate: float
    decay: float
    """On head and features if `separate`, else on every parameter."""
    step: int
    """Epochs between two divisions of the learning rate by 10."""
    batch: int | None = None
    """None: all samples at once."""
    separate: bool = True
    loss: Literal["mse", "ce"] = "mse"
    optimiser: Literal["adam", "sgd"] = "adam"


def network_loss(logits: torch.Tensor, labels: torch.Tensor, loss: str) -> torch.Tensor:
    """(1/2B) ||logits - one-hot||^2, or cross-entropy."""
    if loss == "ce":
        return F.cross_entropy(logits, labels)
    return (logits - F.one_hot(labels, logits.shape[1])).square().sum() / (2 * len(labels))


def train(
    network: Network, data: Data, recipe: Recipe, seed: int, after_epoch: Callable[[int], None] = lambda epoch: None
) -> None:
    """Train in place; `after_epoch` is called with 1, 2, ..."""
    inputs, labels = data
    coupled = 0.0 if recipe.separate else recipe.decay
    optimiser: torch.optim.Optimizer
    if recipe.optimiser == "adam":
        optimiser = torch.optim.Adam(network.parameters(), recipe.learning_rate, weight_decay=coupled)
    else:
        optimiser = torch.optim.SGD(network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=coupled)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, recipe.step)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for rows in order.split(recipe.batch or len(labels)):
            optimiser.zero_grad()
            logits, features = network(inputs[rows])
            loss = network_loss(logits, labels[rows], recipe.loss)
            if recipe.separate:
                loss = loss + network.head.penalty(features, recipe.decay, recipe.decay)
            loss.backward()
            optimiser.step()
        scheduler.step()
        after_epoch(epoch)


@torch.no_grad()
def inspect(network: Network, data: Data) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Head weights and features (d, N) in float64 on the CPU, in eval mode, and labels."""
    network.eval()
    features = torch.cat([network.backbone(part) for part in data[0].split(1000)])
    weights = [weight.double().cpu() for weight in network.head.weights]
    return weights, features.T.double().cpu(), data[1].cpu()


def collapse_metrics(
    weights: Sequence[torch.Tensor], features: torch.Tensor, labels: torch.Tensor, classes: int, *, centred: bool
) -> dict[str, float]:
    """How far weights W_1, ..., W_M and features (d, N) of equal classes are from I and from the simplex ETF.

    `centred` takes the global mean off the features, as for a head with a bias. Keys: nc1; nc2_identity and nc2_etf,
    the worst misalignment of A A^T over A = W_M, W_M W_{M-1}, ..., P; means_* for A = Hbar^T; nc3_* of P Hbar itself;
    identity_lead and etf_lead: by how much the one is nearer than the other, at the worst of these A.
    """
    means = method.class_means(features, labels, classes)
    if centred:
        means = means - features.mean(1, keepdim=True)
    products = Factors(tuple(weights), features).products
    targets = {"identity": torch.eye(classes, dtype=torch.float64), "etf": method.simplex_etf(classes)}
    layers = {
        name: [method.misalignment(a @ a.T, target.to(a)) for a in (*products, means.T)]
        for name, target in targets.items()
    }
    lead = [etf - identity for etf, identity in zip(layers["etf"], layers["identity"], strict=True)]
    metrics = {"nc1": method.nc1(features, labels, classes), "identity_lead": min(lead), "etf_lead": -max(lead)}
    for name, target in targets.items():
        metrics[f"nc2_{name}"] = max(layers[name][:-1])
        metrics[f"means_{name}"] = layers[name][-1]
        metrics[f"nc3_{name}"] = method.misalignment(products[-1] @ means, target.to(means))
    return metrics


def collapse(network: Network, data: Data, recipe: Recipe, seed: int) -> Metrics:
    """Train, and measure collapse after epoch 10 and at the end, on the training data."""
    classes, centred = network.head.layers[-1].out_features, network.head.layers[-1].bias is not None
    early: dict[str, float] = {}

    def watch(epoch: int) -> None:
        if epoch == min(10, recipe.epochs):
            early.update(collapse_metrics(*inspect(network, data), classes, centred=centred))

    train(network, data, recipe, seed, watch)
    weights, features, labels = inspect(network, data)
    final = collapse_metrics(weights, features, labels, classes, centred=centred)
    end_to_end = Factors(tuple(weights), features).products[-1]
    logits = end_to_end @ method.class_means(features, labels, classes)
    spectrum = torch.linalg.svdvals(logits - logits.mean(0))
    bias = network.head.layers[-1].bias
    offset = 0 if bias is None else bias.detach().double().cpu()[:, None]
    return {
        **final,
        "log_nc1": math.log10(final["nc1"]),
        "nc1_fall": early["nc1"] / final["nc1"],
        "logit_rank": float((spectrum > 0.05 * spectrum[0]).sum()),
        "train_accuracy": float(((end_to_end @ features + offset).argmax(0) == labels).double().mean()),
    }


def free_value_excess(network: Network, data: Data, recipe: Recipe) -> float:
    """The network's objective over the minimum of the unconstrained problem, less 1; never negative by theory."""
    weights, features, labels = inspect(network, data)
    order = labels.argsort(stable=True)
    last = network.head.layers[-1]
    setting = Setting(
        counts=tuple(labels.bincount().tolist()),
        weight_decays=(recipe.decay,) * len(weights),
        feature_decay=recipe.decay,
        widths=tuple(weight.shape[1] for weight in weights),
        bias=last.bias is not None,
    )
    bias = None if last.bias is None else last.bias.detach().double().cpu()
    value = method.objective(Factors(tuple(weights), features[:, order], bias), setting)
    return float(value) / method.optimum(setting).value - 1


def take(images: torch.Tensor, labels: torch.Tensor, counts: list[int], seed: int) -> Data:
    """`counts[k]` images of class k, drawn by seed. Raises ValueError where a class has fewer."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for k, count in enumerate(counts):
        members = (labels == k).nonzero().squeeze(1)
        if len(members) < count:
            raise ValueError(f"class {k} has {len(members)} images, not {count}")
        rows.append(members[torch.randperm(len(members), generator=generator)[:count]])
    chosen = torch.cat(rows)
    return images[chosen], labels[chosen]


def imbalanced_collapse(network: Network, data: Data, recipe: Recipe, seed: int, counts: list[int]) -> Metrics:
    """Train without a bias on classes of different size, all samples at once, and compare with the closed form."""
    train(network, data, recipe, seed)
    weights, features, labels = inspect(network, data)
    end_to_end = Factors(tuple(weights), features).products[-1]
    means = method.class_means(features, labels, len(counts))
    decays, widths = (recipe.decay,) * len(weights), tuple(weight.shape[1] for weight in weights)
    best = method.optimum(Setting(tuple(counts), decays, recipe.decay, widths))
    fit = {
        "gof_rows": method.misalignment(end_to_end @ end_to_end.T, best.grams[-1]),
        "gof_means": method.misalignment(means.T @ means, best.feature_gram),
        "gof_logits": method.misalignment(end_to_end @ means, best.logits),
    }
    return {
        **fit,
        "gof_worst": max(fit.values()),
        "row_correlation": float(spearmanr(end_to_end.norm(dim=1), counts).statistic),
        "mean_correlation": float(spearmanr(means.norm(dim=0), counts).statistic),
        "nc1": method.nc1(features, labels, len(counts)),
    }


def digits_network(seed: int, depth: int, *, bias: bool) -> Network:
    """Three hidden ReLU layers of width 128, a linear one that gives the features, and M linear layers."""
    torch.manual_seed(seed)
    backbone = mlp((64, 128, 128, 128, 128))
    return Network(backbone, method.DeepLinearHead(128, 10, depth, bias=bias))


CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def cifar10(counts: list[int], seed: int, device: torch.device) -> Data:
    """`counts[k]` training images of class k, normalised, float32 (N, 3, 32, 32)."""
    train_set = reference.load("cifar10", split="train")
    images, labels = take(train_set.images, train_set.labels, counts, seed)
    mean, std = torch.tensor(CIFAR_MEAN).view(3, 1, 1), torch.tensor(CIFAR_STD).view(3, 1, 1)
    return ((images.float() / 255 - mean) / std).to(device), labels.to(device)


def emnist_letters(per_class: int, seed: int, device: torch.device) -> Data:
    """`per_class` letters a class, resized to 32x32 and repeated to 3 channels, normalised as MNIST is."""
    train_set = reference.load("emnist-letters", split="train")
    images, labels = take(train_set.images, train_set.labels, [per_class] * len(train_set.classes), seed)
    resized = torch.cat(
        [F.interpolate(part.float() / 255, (32, 32), mode="bilinear", antialias=True) for part in images.split(5000)]
    )
    return ((resized - 0.1307) / 0.3081).to(device).expand(-1, 3, -1, -1), labels.to(device)


def paper_mlp(seed: int, width: int, classes: int, depth: int, *, bias: bool, norm: bool = True) -> Network:
    """Six layers of Linear, ReLU and BatchNorm, a last BatchNorm, then M linear layers.

    Without `norm`, as for unequal classes, a linear layer stands in for the last BatchNorm and there are no others.
    """
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (3 * 32 * 32, *[width] * 5):
        layers += [nn.Linear(inputs, width), nn.ReLU(), *([nn.BatchNorm1d(width)] if norm else [])]
    layers.append(nn.BatchNorm1d(width) if norm else nn.Linear(width, width))
    return Network(nn.Sequential(*layers), method.DeepLinearHead(width, classes, depth, bias=bias))


def convnet(seed: int, architecture: str, depth: int, *, bias: bool) -> Network:
    """ResNet-18 or VGG-16 without its classifier, BatchNorm on its 512 features, and M linear layers."""
    torch.manual_seed(seed)
    if architecture == "resnet18":
        backbone = resnet18_cifar(10)
        backbone.fc = nn.Identity()
    else:
        backbone = nn.Sequential(torchvision.models.vgg16_bn().features, nn.Flatten())
    features = nn.Sequential(backbone, nn.BatchNorm1d(512))
    return Network(features, method.DeepLinearHead(512, 10, depth, bias=bias))
