"""The paper's CIFAR protocols on a GPU: ResNet-56 with and without OPL, and the truncated loss on wrong labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

import reference
from baselines.label_noise import with_label_noise
from baselines.losses import target_log_probability, truncated_gce
from baselines.models import resnet18_cifar, resnet_cifar
from baselines.small_data import Part
from baselines.training import Augment, Batch, Fit, Schedule, crop_and_flip, fit, step_count
from suites.orthogonal_projection.method import orthogonal_projection

BATCH = 128
HELD = 10
"""One in so many training images is held out, as in the code, where nothing is chosen by them."""
TRUNCATED = {"cifar10": (120, (40, 80), 40), "cifar100": (150, (80, 120), 80)}
"""Epochs, those from which on the rate is a tenth, and that from which on examples are dropped."""
DROP_EVERY = 10
"""Epochs between two looks at which examples to drop."""
Standardise = Callable[[torch.Tensor], torch.Tensor]


def cifar_classes(
    *, arm: str, seed: int, device: torch.device, data: str, depth: int, epochs: int, rows: int
) -> dict[str, float]:
    """Cross-entropy, for the arm opl with OPL of weight 1 and gamma 0.5 in the variant of the code; last epoch.

    SGD at 0.1, momentum 0.9, weight decay 5e-4, a fifth of the rate at 3/10, 6/10 and 8/10 of the epochs, the first of
    which warms up. `rows` takes so many images of each part at most.
    """
    (images, labels), test, classes = parts(data, rows, device)
    held = len(labels) // HELD
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(device)[held:]
    standardise = standardiser(images[order])

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        features, logits = both(model, batch.inputs)
        fitted = F.cross_entropy(logits, batch.targets)
        if arm == "ce":
            return fitted
        return fitted + orthogonal_projection(features, batch.targets, gamma=0.5, variant="mean_of_abs")

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = resnet_cifar(depth, classes).to(device)
    a_epoch = step_count(len(order), BATCH, 1, drop_last=False)
    fit(
        model, images[order], labels[order], objective, epochs=epochs, batch_size=BATCH, drop_last=False, seed=seed,
        augment=jittered(standardise), channels_last=True, precision=torch.bfloat16,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4),
        schedule=stepped(a_epoch, [round(part * epochs) for part in (0.3, 0.6, 0.8)], 0.2, warmed_up=True),
    )  # fmt: skip
    return {"accuracy": accuracy(model, *test, standardise)}


def cifar_noise(*, arm: str, seed: int, device: torch.device, data: str, kind: str, rows: int) -> dict[str, float]:
    """The truncated loss (q = 0.7, k = 0.5) on labels of which 40 % are wrong, with OPL of weight 0.1 and gamma 2."""
    (images, labels), test, classes = parts(data, rows, device)
    (epochs, milestones, first), standardise = TRUNCATED[data], standardiser(images)
    following = (torch.arange(classes) + 1) % classes
    noisy = with_label_noise(labels, kind, 0.4, classes=classes, seed=seed, partner=following)  # type: ignore[arg-type]
    kept = torch.ones(len(noisy), dtype=torch.bool, device=device)

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        features, logits = both(model, batch.inputs)
        fitted = truncated_gce(logits, batch.targets, q=0.7, k=0.5, kept=kept[batch.ids])
        if arm == "truncated":
            return fitted
        projection = orthogonal_projection(features, batch.targets, gamma=2.0, variant="mean_of_abs")
        return fitted + 0.1 * projection

    def drop(done: Fit) -> None:
        if len(done.losses) >= first and len(done.losses) % DROP_EVERY == 0:
            kept.copy_(target_log_probability(predicted(done.model, images, standardise), noisy).exp() > 0.5)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = resnet18_cifar(classes)
        classifier, body.fc = nn.Linear(512, classes), nn.Identity()
        model = nn.Sequential(OrderedDict(features=body, fc=classifier)).to(device)
    fit(
        model, images, noisy, objective, epochs=epochs, batch_size=min(BATCH, len(noisy)), drop_last=False, seed=seed,
        augment=cropped(standardise), channels_last=True, precision=torch.bfloat16, on_epoch=drop,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4),
        schedule=stepped(step_count(len(noisy), BATCH, 1, drop_last=False), milestones, 0.1),
    )  # fmt: skip
    return {"accuracy": accuracy(model, *test, standardise)}


def parts(data: str, rows: int, device: torch.device) -> tuple[Part, Part, int]:
    """At most `rows` training and test images, bytes, on the device, their labels, and the number of classes."""
    train, test = (reference.load(data, part) for part in ("train", "test"))
    first, second = ((one.images[:rows].to(device), one.labels[:rows].to(device)) for one in (train, test))
    return first, second, len(train.classes)


def both(model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and logits, in float32."""
    features = model.features(inputs)  # type: ignore[operator]
    return features.float(), model.fc(features).float()  # type: ignore[operator]


def stepped(a_epoch: int, milestones: Sequence[int], factor: float, *, warmed_up: bool = False) -> Schedule:
    """The rate times `factor` from each of these epochs on; in the first it may rise from 0, step by step."""

    def share(step: int) -> float:
        rise = min(1.0, (step + 1) / a_epoch) if warmed_up else 1.0
        return rise * factor ** sum(step >= a_epoch * epoch for epoch in milestones)

    return lambda optimizer: LambdaLR(optimizer, share)


def standardiser(train: torch.Tensor) -> Standardise:
    """Pixels in [0, 1] -> each channel less its mean and over its deviation in (10,000 of) `train`, which is bytes."""
    sample = train[:10_000].float() / 255
    mean, deviation = (found.view(1, -1, 1, 1) for found in (sample.mean((0, 2, 3)), sample.std((0, 2, 3))))
    return lambda pixels: (pixels - mean) / deviation


def cropped(standardise: Standardise) -> Augment:
    crop = crop_and_flip()
    return lambda images, generator: standardise(crop(images, generator).float() / 255)


def jittered(standardise: Standardise, strength: float = 0.4) -> Augment:
    """Crop, flip, then brightness, contrast and saturation times a factor from 1 - strength to 1 + strength each."""
    crop = crop_and_flip()

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        pixels = crop(images, generator).float() / 255
        drawn = torch.rand(3, len(pixels), 1, 1, 1, generator=generator, device=pixels.device)
        bright, contrast, saturation = 1 + strength * (2 * drawn - 1)
        pixels = (bright * pixels).clamp(0, 1)
        pixels = torch.lerp(grey(pixels).mean((2, 3), keepdim=True), pixels, contrast).clamp(0, 1)
        return standardise(torch.lerp(grey(pixels), pixels, saturation).clamp(0, 1))

    return augment


def grey(pixels: torch.Tensor) -> torch.Tensor:
    """Luma by ITU-R BT.601, (N, 1, H, W)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=pixels.device).view(1, 3, 1, 1)
    return (weights * pixels).sum(1, keepdim=True)


@torch.no_grad()
def predicted(model: nn.Module, images: torch.Tensor, standardise: Standardise) -> torch.Tensor:
    """Logits of bytes in evaluation mode; the model is left in it."""
    model.eval()
    return torch.cat([model(standardise(part.float() / 255)).float() for part in images.split(500)])


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, standardise: Standardise) -> float:
    """In %."""
    return 100 * float((predicted(model, images, standardise).argmax(1) == labels).double().mean())
