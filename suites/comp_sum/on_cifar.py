"""The paper's image sets on a GPU: ResNet-34 at every tau, a shorter sibling, adversarial training of a ResNet-18."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import reference
from baselines.adversarial import near_start, pgd, uniform_start, withstands
from baselines.distillation import normalised
from baselines.models import resnet18_cifar, resnet34_cifar
from baselines.training import Augment, Batch, Diverged, Objective, cosine, crop_and_flip, fit, step_count
from baselines.tuning import choose
from suites.comp_sum.contenders import CLIP, DECAY, HARDENED, RATES, TAUS, to_ascend, to_descend
from suites.comp_sum.method import comp_sum

RATE, BATCH = 0.1, 1024
"""The usual rate, which all taus share in the paper as far as is known; and its batch size."""
BALL, HELD_OUT = 8 / 255, 1024
"""Radius of the l_inf ball, and the training images that settings of adversarial training are chosen on."""
Part = tuple[torch.Tensor, torch.Tensor]


def images(*, arm: str, seed: int, device: torch.device, data: str, epochs: int, rows: int) -> dict[str, float]:
    """The paper's protocol: one tau at the shared rate, ResNet-34, pad-crop and (not for SVHN) flip."""
    train, test = standardised(data, rows, device)
    classes = int(train[1].max()) + 1
    augment = crop_and_flip() if data != "svhn" else None
    network = trained(resnet34_cifar, train, classes, TAUS[arm], RATE, augment, epochs=epochs, batch=BATCH, seed=seed)
    return {"accuracy": accuracy(network, *test)}


def jpeg(*, arm: str, seed: int, device: torch.device, epochs: int, rows: int) -> dict[str, float]:
    """Less of it on a JPEG copy of CIFAR-10: ResNet-18, `rows` images; at cross-entropy's best rate and at its own."""
    (inputs, labels), test = standardised("cifar10-jpeg", rows, device, seed=seed)
    train, held = (inputs[rows // 5 :], labels[rows // 5 :]), (inputs[: rows // 5], labels[: rows // 5])

    def tried(tau: float) -> dict[float, tuple[float, float]]:
        """Validation and test accuracy by rate."""
        found = {}
        for rate in RATES:
            network = trained(resnet18_cifar, train, 10, tau, rate, crop_and_flip(), epochs=epochs, batch=64, seed=seed)
            found[rate] = accuracy(network, *held), accuracy(network, *test)
        return found

    own, ce = tried(TAUS[arm]), tried(1.0)
    shared, tuned = (choose({rate: one[0] for rate, one in of.items()}) for of in (ce, own))
    return {"accuracy_shared": own[shared][1], "accuracy_tuned": own[tuned][1], "rate_tuned": tuned}


def standardised(data: str, rows: int, device: torch.device, seed: int | None = None) -> tuple[Part, Part]:
    """At most `rows` training and test images, standardised by channel; training images drawn by seed, if given."""
    train, test = (reference.load(data, part) for part in ("train", "test"))
    order = torch.arange(len(train)) if seed is None else torch.randperm(
        len(train), generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip
    kept = order[:rows]
    return (
        (normalised(train.images[kept], train.images[kept]).to(device), train.labels[kept].to(device)),
        (normalised(test.images[:rows], train.images[kept]).to(device), test.labels[:rows].to(device)),
    )


def trained(
    build: Callable[[int], nn.Module], train: Part, classes: int, tau: float, rate: float, augment: Augment | None,
    *, epochs: int, batch: int, seed: int,
) -> nn.Module | None:  # fmt: skip
    """SGD with Nesterov momentum, weight decay 1e-4, cosine; None where it diverged."""
    inputs, labels = train

    def objective(model: nn.Module, found: Batch) -> torch.Tensor:
        return comp_sum(model(found.inputs).float(), found.targets, tau=tau)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(classes)
    return _fitted(network, objective, inputs, labels, rate, augment, epochs, min(batch, len(labels)), seed)


def _fitted(
    network: nn.Module, objective: Objective, inputs: torch.Tensor, labels: torch.Tensor, rate: float,
    augment: Augment | None, epochs: int, batch: int, seed: int,
) -> nn.Module | None:  # fmt: skip
    try:
        fit(
            network.to(inputs.device), inputs, labels, objective, epochs=epochs, batch_size=batch, drop_last=True,
            seed=seed, augment=augment, clip_norm=CLIP, channels_last=True, precision=torch.bfloat16,
            optimizer=lambda parameters: torch.optim.SGD(
                parameters, lr=rate, momentum=0.9, nesterov=True, weight_decay=DECAY
            ),
            schedule=cosine(step_count(len(labels), batch, epochs, drop_last=True)),
        )  # fmt: skip
    except Diverged:
        return None
    return network


@torch.no_grad()
def accuracy(network: nn.Module | None, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """In evaluation mode; 0 for a network that diverged."""
    if network is None:
        return 0.0
    network.eval()
    found = torch.cat([network(part).argmax(1) for part in inputs.split(500)])
    return float((found == labels).double().mean())


# Adversarial training.


def hardened_cifar10(*, arm: str, seed: int, device: torch.device, epochs: int, rows: int) -> dict[str, float]:
    """One kind of adversarial training on CIFAR-10, pixels in [0, 1], at its setting of best robust accuracy."""
    found, rest = (reference.load("cifar10", part) for part in ("train", "test"))
    pixels, labels = (found.images[:rows].float() / 255).to(device), found.labels[:rows].to(device)
    tested = (rest.images[:rows].float() / 255).to(device), rest.labels[:rows].to(device)
    held = min(HELD_OUT, rows // 5)
    tried = {
        setting: hardened_network(arm, setting, (pixels[held:], labels[held:]), epochs=epochs, seed=seed)
        for setting in HARDENED[arm]
    }
    scores = {setting: survival(network, pixels[:held], labels[:held], 10) for setting, network in tried.items()}
    best = choose(scores)
    return {
        "robust": survival(tried[best], *tested, 40), "clean": accuracy(tried[best], *tested), "setting": best,
    }  # fmt: skip


def hardened_network(arm: str, setting: float, train: Part, *, epochs: int, seed: int) -> nn.Module | None:
    """ResNet-18, attacks of 10 steps in training mode."""
    inputs, labels = train
    noise = torch.Generator(inputs.device).manual_seed(seed)

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        natural = model(batch.inputs).float()
        if arm == "plain":
            return to_descend(arm, setting, natural, natural, batch.targets).mean()
        begin = uniform_start(batch.inputs, BALL, noise) if arm == "pgd" else near_start(batch.inputs, noise)
        worst = pgd(
            lambda x: to_ascend(arm, natural.detach(), model(x).float(), batch.targets),
            batch.inputs, begin, eps=BALL, step=BALL / 4, steps=10,
        )  # fmt: skip
        return to_descend(arm, setting, natural, model(worst).float(), batch.targets).mean()

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = resnet18_cifar(10)
    return _fitted(network, objective, inputs, labels, 0.1, crop_and_flip(), epochs, min(128, len(labels)), seed)


def survival(network: nn.Module | None, inputs: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Robust accuracy under PGD on the margin."""
    if network is None:
        return 0.0
    network.eval()
    noise = torch.Generator(inputs.device).manual_seed(0)
    parts = zip(inputs.split(500), labels.split(500), strict=True)
    return float(
        torch.cat([withstands(network, x, y, eps=BALL, steps=steps, generator=noise) for x, y in parts]).double().mean()
    )
