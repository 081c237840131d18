"""Letter with noisy labels: all losses, learning rates and noise settings trained side by side on the same batches.

The paper's tabular network is so small (two hidden layers of 16) that a step costs mostly overhead. Hence every model
of the comparison is one slice of stacked weights: the same start, the same batches in the same order, and no parameter
in common, so that the sum of all losses trains each model as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import reference
from baselines.models import mlp
from baselines.training import Batch, fit, step_count, step_decay
from suites.ldr_loss.contenders import LOSSES, RATES, all_losses, fold, with_noise

CLASSES = 26
TRAINING_ROWS = 15_000
"""Of the 20,000 rows in the file's order; the other 5,000 are the test part, in the paper as here."""
ADAPTIVE = ("aldr", "aldr_official", "aldr_softplus")
PAIRS = ("BD", "CG", "EF", "HN", "IL", "KX", "MW", "OQ", "PR", "UV")
"""Letters that class-dependent noise takes for each other."""


NOISES = ("clean", "uniform-0.3", "uniform-0.6")
"""Those of the small tier."""
DECAYS = (5e-3, 5e-4, 0.0)
"""Of the weights: the paper's, fixed for all losses, and what they may choose from where it is tuned."""
Part = tuple[torch.Tensor, torch.Tensor]


class Split(NamedTuple):
    """Float32 inputs (n, 16) in [-1, 1] and clean int64 labels (n,) of the three parts."""

    train: Part
    validation: Part
    test: Part


def trained(*, seed: int, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """All losses on `rows` of Letter's training part, drawn by seed, a fifth of them for validation."""
    drawn = torch.from_numpy(np.random.default_rng(seed).permutation(TRAINING_ROWS)[:rows])
    return train_all(split(drawn[rows // 5 :], drawn[: rows // 5]), NOISES, epochs=epochs, seed=seed)


def trained_decays(*, seed: int, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """As `trained`, under 60 % uniform noise and with every weight decay, whose results follow along the rates."""
    drawn = torch.from_numpy(np.random.default_rng(seed).permutation(TRAINING_ROWS)[:rows])
    data = split(drawn[rows // 5 :], drawn[: rows // 5])
    found = [train_all(data, NOISES[-1:], epochs=epochs, seed=seed, decay=decay) for decay in DECAYS]
    return {name: torch.cat([results[name] for results in found]) for name in ("test", "validation")}


def trained_folds(*, seed: int, noise: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """The paper's protocol: fold number `seed` of five, in the order of the file."""
    return train_all(split(*fold(seed, rows)), [noise], epochs=epochs, seed=seed)


def letter(*, arm: str, noise: str, rows: int, epochs: int, trained: Path) -> dict[str, float]:
    """One loss under one noise."""
    del rows, epochs  # of the artifact
    return outcome(load_file(trained), NOISES.index(noise), arm)


def letter_tuned(*, arm: str, rows: int, epochs: int, trained_decays: Path) -> dict[str, float]:
    """One loss under 60 % uniform noise, at the learning rate and weight decay of best noisy validation accuracy.

    `top1_fixed_D` is with weight decay D, and the rate tuned.
    """
    del rows, epochs  # of the artifact
    results, place = load_file(trained_decays), LOSSES.index(arm)
    validation, top1 = (results[name][:, place, 0] for name in ("validation", "test"))
    best = int(validation.argmax())
    decay, rate = divmod(best, len(RATES))
    found = {"top1": float(top1[best, 0]), "weight_decay": DECAYS[decay], "learning_rate": RATES[rate]}
    for number, (checked, tested) in enumerate(zip(validation.split(len(RATES)), top1.split(len(RATES)), strict=True)):
        found[f"top1_fixed_{DECAYS[number]:g}"] = float(tested[int(checked.argmax()), 0])
    return found


def letter_folds(*, arm: str, noise: str, rows: int, epochs: int, trained_folds: Path) -> dict[str, float]:
    """The paper's tabular protocol: one loss under one noise (full tier)."""
    del noise, rows, epochs  # of the artifact
    return outcome(load_file(trained_folds), 0, arm)


def letter_contrasts(*, rows: int, epochs: int, trained: Path) -> dict[str, float]:
    """What is said about several losses or noise settings at once."""
    from scipy.stats import rankdata

    del rows, epochs  # of the artifact
    results = load_file(trained)
    top = {(loss, noise): outcome(results, place, loss) for loss in LOSSES for place, noise in enumerate(NOISES)}

    def gap(k: int, noise: str, method: str, baseline: str) -> float:
        return top[method, noise][f"top{k}"] - top[baseline, noise][f"top{k}"]

    def rank(adaptive: str) -> float:
        """Mean rank over the noise settings, the other forms of ALDR-KL left out."""
        compared = [loss for loss in LOSSES if loss == adaptive or not loss.startswith("aldr")]
        table = np.array([[top[loss, noise]["top1"] for loss in compared] for noise in NOISES])
        return float(rankdata(-table, axis=1).mean(0)[compared.index(adaptive)])

    baselines, forms = [loss for loss in LOSSES if not loss.startswith(("ldr", "aldr"))], ("aldr", "aldr_softplus")
    return {
        "smallest_step": min(gap(1, "uniform-0.6", *pair) for pair in (("ldr_1", "ldr_0_1"), ("ldr_10", "ldr_1"))),
        **{f"{loss}_on_clean": gap(1, "clean", loss, "cross_entropy") for loss in forms},
        **{f"{loss}_rank": rank(loss) for loss in forms},
        **{f"{loss}_over_best": min(gap(1, "uniform-0.6", loss, one) for one in baselines) for loss in forms},
        **{f"mae_behind_{lam}": gap(5, "clean", lam, "mae") for lam in ("ldr_0_1", "ldr_1", "ldr_10")},
        **{
            f"{loss}_auroc_{noise}": auroc(results, table, place, int(top[loss, noise]["rate"]))
            for table, loss in enumerate(ADAPTIVE)
            for place, noise in enumerate(NOISES)
            if noise != "clean"
        },
    }


def outcome(results: dict[str, torch.Tensor], place: int, loss: str) -> dict[str, float]:
    """Test accuracies of a loss under noise number `place`, at the rate with the best noisy validation accuracy."""
    validation = results["validation"][:, LOSSES.index(loss), place]
    rate = int(validation.argmax())
    top = results["test"][rate, LOSSES.index(loss), place]
    accuracies = {f"top{k + 1}": float(value) for k, value in enumerate(top)}
    return {**accuracies, "validation": float(validation[rate]), "learning_rate": RATES[rate], "rate": float(rate)}


def auroc(results: dict[str, torch.Tensor], table: int, place: int, rate: int) -> float:
    """How well a larger lam tells training rows of wrong label from the others."""
    from sklearn.metrics import roc_auc_score

    wrong = results["noisy"][place] != results["labels"]
    return float(roc_auc_score(wrong.numpy(), results["lam"][table, rate, place].numpy()))


def split(train: torch.Tensor, validation: torch.Tensor) -> Split:
    """Letter, with these rows of its training part."""
    table = reference.load("letter")
    features = torch.from_numpy(table.features.to_numpy(np.float32))
    low, high = features[:TRAINING_ROWS].amin(0), features[:TRAINING_ROWS].amax(0)
    scaled, labels = 2 * (features - low) / (high - low) - 1, torch.from_numpy(table.target)
    test = slice(TRAINING_ROWS, None)
    return Split(*((scaled[rows], labels[rows]) for rows in (train, validation, test)))


def partners() -> torch.Tensor:
    """The class that class-dependent noise makes of each, (26,)."""
    partner = torch.arange(CLASSES)
    for one, other in PAIRS:
        a, b = ord(one) - ord("A"), ord(other) - ord("A")
        partner[a], partner[b] = b, a
    return partner


class Copies(nn.Module):
    """Copies of one tanh network with weights of their own: (B, d) -> (copies, B, K)."""

    def __init__(self, network: nn.Sequential, copies: int) -> None:
        super().__init__()
        layers = [layer for layer in network if isinstance(layer, nn.Linear)]
        self.weights = nn.ParameterList([layer.weight.detach().T.repeat(copies, 1, 1) for layer in layers])
        self.biases = nn.ParameterList([layer.bias.detach().repeat(copies, 1, 1) for layer in layers])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs.expand(len(self.biases[0]), *inputs.shape)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden if depth == 0 else hidden.tanh(), weight)
        return hidden


class Field(nn.Module):
    """One network for each learning rate, loss and noise setting: (B, d) -> (rates, losses, settings, B, K)."""

    def __init__(self, network: nn.Sequential, settings: int) -> None:
        super().__init__()
        self.shape = (len(RATES), len(LOSSES), settings)
        self.of_rate = nn.ModuleList(Copies(network, len(LOSSES) * settings) for _ in RATES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([copies(inputs) for copies in self.of_rate]).unflatten(1, self.shape[1:])


def network(seed: int) -> nn.Sequential:
    """The paper's: two tanh hidden layers of width min(d, K) = 16, Xavier weights, zero biases."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = mlp([16, 16, 16, CLASSES], nn.Tanh)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
    return layers


def train_all(
    data: Split, noises: Sequence[str], *, epochs: int, seed: int, decay: float = DECAYS[0]
) -> dict[str, torch.Tensor]:
    """Train every loss at every rate under every noise, as the paper does: SGD in batches of 64, rate / 10 twice.

    Returns test top-1 ... top-5 (rates, losses, noises, 5) on clean labels, validation top-1 (rates, losses, noises) on
    noisy ones, the tables (3, rates, noises, n) of `ADAPTIVE`, and the noisy and clean labels.
    """
    (inputs, labels), (checked, true) = data.train, data.validation
    noisy, noisy_checked = (
        torch.stack([with_noise(y, noise, partners(), 2 * seed + part) for noise in noises])
        for part, y in enumerate((labels, true))
    )
    models, per_epoch = Field(network(seed), len(noises)), step_count(len(inputs), 64, 1, drop_last=False)
    replicas = len(RATES) * len(noises)
    objectives = all_losses(replicas * len(inputs), epochs * per_epoch)
    first_id = len(inputs) * torch.arange(replicas)[:, None]

    def objective(field: nn.Module, batch: Batch) -> torch.Tensor:
        scores, count = field(batch.inputs), len(batch.ids)
        targets = noisy[:, batch.ids].repeat(len(RATES), 1).flatten()
        ids = (first_id + batch.ids).flatten()
        of_model = [
            loss(scores[:, place].reshape(-1, CLASSES), targets, ids).view(replicas, count).mean(1)
            for place, loss in enumerate(objectives.values())
        ]
        # A model that has diverged is of no use but must not stop the others: validation will not choose it.
        return torch.nan_to_num(torch.stack(of_model), nan=0.0, posinf=0.0).sum()

    groups = [{"params": [*of.parameters()], "lr": rate} for of, rate in zip(models.of_rate, RATES, strict=True)]
    fit(
        models, inputs, labels, objective, epochs=epochs, batch_size=64, drop_last=False, seed=seed,
        optimizer=lambda _: torch.optim.SGD(groups, lr=RATES[0], momentum=0.9, weight_decay=decay),
        schedule=step_decay([epochs * per_epoch // 2, 3 * epochs * per_epoch // 4]),
    )  # fmt: skip
    tables = [objectives[name].loss.lam.view(len(RATES), len(noises), -1) for name in ADAPTIVE]
    return {
        "test": hits(models, data.test[0], data.test[1].expand(len(noises), -1)),
        "validation": hits(models, checked, noisy_checked)[..., 0].contiguous(),
        "lam": torch.stack(tables),
        "noisy": noisy,
        "labels": labels,
    }


@torch.no_grad()
def hits(models: Field, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Top-1 ... top-5 accuracy of every model, (rates, losses, noises, 5); targets (noises, n)."""
    found = torch.zeros(*models.shape, 5, dtype=torch.float64)
    for rows in torch.arange(len(inputs)).split(1000):
        best = models(inputs[rows]).topk(5, dim=-1).indices
        found += (best == targets[:, rows, None]).cumsum(-1).sum(-2)
    return found / len(inputs)
