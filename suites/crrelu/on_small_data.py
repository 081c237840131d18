"""Fashion-MNIST and Letter: a small network with every activation at every rate, side by side; units that die.

One network is copied for each setting (`baselines.stacked`): the same start and the same batches in the same order, so
that arms of a seed are paired.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from baselines.models import mlp
from baselines.small_data import Split, split
from baselines.stacked import Stacked, StackedSGD, accuracy
from baselines.stacked_adam import StackedAdam, train
from baselines.stacked_features import classify
from baselines.training import Batch, fit
from suites.crrelu.contenders import ACTIVATIONS, SIZE, Mixed, normal
from suites.crrelu.method import START, inverted, stepped

WIDTH, DEPTH, BATCH = 64, 3, 64
"""Units of a hidden layer, hidden layers, examples of a batch."""
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1)
DECAY = 0.05
"""Weight decay of the weights; parameters of activations have none."""
MORTAL = ("relu", "prelu", "crrelu")
"""Arms of the experiment on dead units."""
BINS = 100
"""Of histograms of values in (0, 1)."""


class Activated(Stacked):
    """Stacked networks with activations of their own, `mixed`: one after each hidden layer, `each` copies an arm."""

    def __init__(self, network: nn.Sequential, arms: list[str], each: int) -> None:
        super().__init__(network, len(arms) * each)
        self.mixed = [Mixed(arms, each) for _ in self.weights[1:]]
        self.registered = nn.ModuleList(self.mixed)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return classify(self, self.mixed[-1](self.entering(inputs)[-1]))

    def entering(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """What goes into each activation, (copies, n, width) each."""
        found = [torch.baddbmm(self.biases[0], inputs.expand(len(self.biases[0]), *inputs.shape[-2:]), self.weights[0])]
        for activation, weight, bias in zip(self.mixed[:-1], self.weights[1:-1], self.biases[1:-1], strict=True):
            found.append(torch.baddbmm(bias, activation(found[-1]), weight))
        return found

    def spreads(self) -> torch.Tensor:
        """Standard deviations of what went into each activation last, (layers, copies)."""
        return torch.stack([one.spread for one in self.mixed])


def networks(data: Split, arms: list[str], each: int, seed: int) -> Activated:
    """Copies of one network d-64-64-64-K by PyTorch's initialisation, `each` an arm, with their activations."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Activated(mlp([data.train[0].shape[1], *[WIDTH] * DEPTH, data.classes]), arms, each)


def losses(models: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of every copy, (copies,)."""
    scores = models(batch.inputs)
    targets = batch.targets.expand(len(scores), -1)
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets).mean(1)


def trained(*, seed: int, data: str, rows: int, epochs: int) -> dict[str, torch.Tensor]:
    """Accuracies (arms, rates), parameters of activations and spreads of what goes into them (layers, arms, rates)."""
    parts, shape = split(data, seed, rows), (len(ACTIVATIONS), len(RATES))
    models = networks(parts, [*ACTIVATIONS], len(RATES), seed)
    rates = torch.tensor(RATES).repeat(len(ACTIVATIONS))
    accuracy(models, *(one[:500] for one in parts.validation))
    before = models.spreads().view(DEPTH, *shape)
    own = [one.parameter for one in models.mixed]
    optimizer = StackedAdam(models, rates, weight_decay=DECAY, undecayed=own)
    train(models, *parts.train, losses, optimizer=optimizer, epochs=epochs, batch_size=BATCH, seed=seed)
    return {
        "test": accuracy(models, *parts.test).view(shape),
        "validation": accuracy(models, *parts.validation).view(shape),
        "parameter": torch.stack([one.detach() for one in own]).view(DEPTH, *shape),
        "spread": models.spreads().view(DEPTH, *shape),
        "spread_before": before,
    }


def activations(*, arm: str, data: str, rows: int, epochs: int, trained: Path) -> dict[str, float]:
    """One activation at the rate that is best on the validation part, of equal ones the first."""
    del data, rows, epochs  # of the artifact
    return outcome(load_file(trained), arm)


def outcome(found: dict[str, torch.Tensor], arm: str) -> dict[str, float]:
    """Test accuracy, what became of eps, and the spread of what went into the activations."""
    place = [*ACTIVATIONS].index(arm)
    rate = int(found["validation"][place].argmax())
    own = found["parameter"][:, place, rate].double()
    return {
        "accuracy": float(found["test"][place, rate]), "rate": RATES[rate],
        "spread": float(found["spread"][:, place, rate].mean()),
        "spread_before": float(found["spread_before"][:, place, rate].mean()),
    } | ({} if arm != "crrelu" else {
        "eps": float(own.mean()), "eps_least": float(own.min()), "eps_most": float(own.max()),
        "share_moved": float(((own - START).abs() > 0.02).double().mean()),
        "share_negative": float((own < 0).double().mean()),
    })  # fmt: skip


# Dead units.


def dying(*, seed: int, data: str, rows: int, epochs: int, rate: float) -> dict[str, torch.Tensor]:
    """Plain SGD at one large rate: shares of hidden units of no slope on all training examples.

    A network whose loss is not finite in the end has lost all of its units.
    """
    parts = split(data, seed, rows)
    models = networks(parts, [*MORTAL], 1, seed)
    rates = torch.full((len(MORTAL),), rate)
    fit(  # one that diverges stops no other
        models, *parts.train, lambda copies, batch: losses(copies, batch).nan_to_num(0, 0, 0).sum(), epochs=epochs,
        batch_size=BATCH, drop_last=True, seed=seed, optimizer=lambda _: StackedSGD(models, rates, momentum=0.0),
    )  # fmt: skip
    with torch.no_grad():
        given = models.entering(parts.train[0])
        lost = ~losses(models, Batch(*parts.train, torch.arange(len(parts.train[1])))).isfinite()
    slopes = torch.stack([steepest(*pair) for pair in zip(models.mixed, given, strict=True)])
    slopes = torch.where(lost[:, None], 0, slopes)
    return {
        "diverged": lost.double(),
        "dead": (slopes == 0).double().mean((0, 2)),
        "accuracy": accuracy(models, *parts.test),
    }


def steepest(activation: nn.Module, entering: torch.Tensor) -> torch.Tensor:
    """The largest |slope| of each unit over all examples, (copies, width), as training in float32 sees it."""
    free = entering.clone().requires_grad_()
    return torch.autograd.grad(activation(free).sum(), free)[0].abs().amax(1)


def dead_units(*, arm: str, data: str, rows: int, epochs: int, rate: float, dying: Path) -> dict[str, float]:
    """One activation."""
    del data, rows, epochs, rate  # of the artifact
    place = MORTAL.index(arm)
    return {name: float(value[place]) for name, value in load_file(dying).items()}


# Entropy of hidden values.


def hidden_entropy(*, arm: str, seed: int, data: str, rows: int) -> dict[str, float]:
    """Entropy of the values of a bounded activation, of inputs of the first layer of an untrained network.

    Each unit's inputs are standardised; the mean over units of the entropy of a histogram, in nats.
    """
    parts = split(data, seed, rows)
    with torch.no_grad():
        given = networks(parts, ["relu"], 1, seed).entering(parts.train[0])[0][0].double()
    given = (given - given.mean(0)) / given.std(0)
    values = BOUNDED[arm](given).detach()
    counts = torch.stack([torch.histc(one, BINS, 0.0, 1.0) for one in values.T]) / len(values)
    return {"entropy": float(-torch.special.xlogy(counts, counts * BINS).sum(1).mean())}


BOUNDED = {
    "normal_cdf": torch.special.ndtr,
    "sigmoid": torch.sigmoid,
    "sigmoid_corrected": lambda x: inverted(stepped(torch.logit, normal, SIZE), low=0.0, high=1.0)(x),
}
