"""Real networks with a deep linear head: training them, and how far they have collapsed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.training import Batch, Fit, fit, step_count, step_decay
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
    network: Network, data: Data, recipe: Recipe, seed: int, on_epoch: Callable[[Fit], None] | None = None
) -> None:
    """Train in place."""
    batch = recipe.batch or len(data[1])
    coupled = 0.0 if recipe.separate else recipe.decay

    def objective(network: nn.Module, batch: Batch) -> torch.Tensor:
        logits, features = network(batch.inputs)
        loss = network_loss(logits, batch.targets, recipe.loss)
        return loss + network.head.penalty(features, recipe.decay, recipe.decay) if recipe.separate else loss

    def optimiser(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if recipe.optimiser == "adam":
            return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=coupled)
        return torch.optim.SGD(parameters, recipe.learning_rate, momentum=0.9, weight_decay=coupled)

    drops = range(recipe.step, recipe.epochs + 1, recipe.step)
    fit(
        network,
        *data,
        objective,
        epochs=recipe.epochs,
        batch_size=batch,
        drop_last=False,
        optimizer=optimiser,
        seed=seed,
        schedule=step_decay([step_count(len(data[1]), batch, epoch, drop_last=False) for epoch in drops]),
        on_epoch=on_epoch,
    )


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

    def watch(done: Fit) -> None:
        if len(done.losses) == min(10, recipe.epochs):
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


def rank_correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Spearman's, of two vectors; equal entries share the mean of their ranks. (SciPy's takes 2 s to import.)"""
    ranks = [(v[:, None] > v).double().sum(1) + (v[:, None] == v).double().sum(1) / 2 for v in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


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
        "row_correlation": rank_correlation(end_to_end.norm(dim=1), torch.tensor(counts)),
        "mean_correlation": rank_correlation(means.norm(dim=0), torch.tensor(counts)),
        "nc1": method.nc1(features, labels, len(counts)),
    }


def digits_network(seed: int, depth: int, *, bias: bool) -> Network:
    """Three hidden ReLU layers of width 128, a linear one that gives the features, and M linear layers."""
    torch.manual_seed(seed)
    backbone = mlp((64, 128, 128, 128, 128))
    return Network(backbone, method.DeepLinearHead(128, 10, depth, bias=bias))
