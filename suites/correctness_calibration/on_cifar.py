"""CIFAR-10 on a GPU: a ResNet-18, its images turned, grey and jittered, and what calibrators make of shifted copies."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

import reference
from baselines.models import resnet18_cifar
from baselines.training import cosine, crop_and_flip, fit, step_count, supervised
from suites.correctness_calibration import method
from suites.correctness_calibration.on_digits import ARMS, METRICS, evaluated, turned

PLACES = ("clean", "rotated", "noisy")
"""Names of the test sets in order: as they are, turned by up to 30 degrees, blurred (here in the place of noise)."""


def images(*, arm: str, seed: int, device: torch.device, data: str, rows: int, epochs: int) -> dict[str, float]:
    """One calibrator on the three test sets; of `rows` training images a ninth calibrates."""
    train, test = (reference.load(data, part) for part in ("train", "test"))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:rows]
    first, held = order[rows // 9 :], order[: rows // 9]
    pixels = train.images[first].float() / 255
    shift, scale = (one.view(1, -1, 1, 1).to(device) for one in (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))))

    def part(images: torch.Tensor) -> torch.Tensor:
        return images.float().to(device) / 255

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = resnet18_cifar(10).to(device)
    batch = min(128, len(first))
    fit(
        network, (part(train.images[first]) - shift) / scale, train.labels[first].to(device),
        supervised(F.cross_entropy), epochs=epochs, batch_size=batch, drop_last=True, seed=seed,
        optimizer=lambda of: torch.optim.SGD(of, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=cosine(step_count(len(first), batch, epochs, drop_last=True)), augment=crop_and_flip(),
        precision=torch.bfloat16, channels_last=True,
    )  # fmt: skip
    network.eval()
    tested = part(test.images[:rows])
    noise = torch.Generator().manual_seed(seed)
    sets = {
        "held": part(train.images[held]), "clean": tested, "rotated": turned(tested.cpu(), 30.0, noise).to(device),
        "noisy": v2.functional.gaussian_blur(tested, [5, 5], [1.0, 1.0]),
    }  # fmt: skip
    logits = {name: outputs(network, (one - shift) / scale) for name, one in sets.items()}
    seen = {
        name: torch.stack([outputs(network, (copy - shift) / scale) for copy in transformed(one, seed + place)])
        for place, (name, one) in enumerate(sets.items())
    }
    found = evaluated(logits, seen, train.labels[held], test.labels[:rows], seed)[ARMS.index(arm)]
    accuracy = method.correctness(logits["clean"], test.labels[:rows]).mean()
    return {"accuracy": float(accuracy)} | {
        f"{metric}_{name}": float(found[place, METRICS.index(metric)])
        for place, name in enumerate(PLACES) for metric in ("ece", "auroc")
    }  # fmt: skip


def transformed(images: torch.Tensor, seed: int) -> list[torch.Tensor]:
    """Turned by up to 30 degrees, grey, and jittered (brightness, contrast, saturation 0.4, hue 0.1)."""
    noise = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
        jittered = torch.cat([jitter(one) for one in images.split(50)])  # one draw for 50 images
    return [turned(images.cpu(), 30.0, noise).to(images.device), v2.functional.rgb_to_grayscale(images, 3), jittered]


@torch.no_grad()
def outputs(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Logits on the CPU, float64."""
    return torch.cat([network(one) for one in inputs.split(1000)]).double().cpu()
