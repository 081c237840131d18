"""Digits: a small network, its images transformed, calibrators fitted in distribution and tested in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

from baselines.calibration import temperature_scaling
from baselines.confidence_maps import ensemble_temperature_scaling, isotonic_confidence
from baselines.digits import stratified
from baselines.models import mlp
from baselines.training import fit as train
from baselines.training import supervised
from suites.correctness_calibration import method

TRAINED, HELD = 250, 750
"""Images to train on and to calibrate on; the 797 left over are tested."""
NOISE = 0.3
"""Standard deviation of the noise on all images, clipped to [0, 1]."""
STEPS, RATE, START = 400, 0.01, 1.0
"""Of every network of temperatures: full batches, Adam, and the bias of its output at first."""
TURN = 20.0
"""Degrees by which a copy is turned at most."""
TESTS = ("clean", "rotated", "noisy")
METRICS = ("ece", "auroc", "brier", "ks", "adaptive", "temperature")
LOSSES: dict[str, method.Loss] = {
    "ce": method.cross_entropy,
    "ce_balanced": partial(method.cross_entropy, balance="batch"),
    "squared_error": method.squared_error,
    "ca": method.correctness_aware,
    "ca_balanced": partial(method.correctness_aware, balance="batch"),
    "ca_own_cues": partial(method.correctness_aware, balance="batch"),
}
"""Networks of temperatures; `ca_own_cues` sees the image's own four largest probabilities in place of the copies'."""
ARMS = ("uncalibrated", "temperature", "ensemble", "isotonic", *LOSSES)


def with_noise(images: torch.Tensor, sd: float, seed: int) -> torch.Tensor:
    return (images + sd * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def turned(images: torch.Tensor, degrees: float, generator: torch.Generator) -> torch.Tensor:
    """Each image by an angle of its own, uniform in +- degrees; bilinear."""
    angles = torch.deg2rad(degrees * (2 * torch.rand(len(images), generator=generator) - 1))
    zero = torch.zeros_like(angles)
    maps = torch.stack([angles.cos(), -angles.sin(), zero, angles.sin(), angles.cos(), zero], 1).view(-1, 2, 3)
    return F.grid_sample(images, F.affine_grid(maps, list(images.shape), align_corners=False), align_corners=False)


def copies(images: torch.Tensor, seed: int) -> list[torch.Tensor]:
    """Three transformed copies: turned, blurred, and with another contrast and brightness, drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    contrast = 0.6 + 0.8 * torch.rand(len(images), 1, 1, 1, generator=generator)
    brightness = 0.4 * torch.rand(len(images), 1, 1, 1, generator=generator) - 0.2
    means = images.mean((1, 2, 3), keepdim=True)
    return [
        turned(images, TURN, generator), v2.functional.gaussian_blur(images, [5, 5], [0.6, 0.6]),
        ((images - means) * contrast + means + brightness).clamp(0, 1),
    ]  # fmt: skip


def calibrated(*, seed: int) -> dict[str, torch.Tensor]:
    """Metrics (arms, tests, METRICS) of one network, and its accuracy on each test set."""
    (images, labels), (rest, more) = stratified(seed)
    images, labels = with_noise(torch.cat([images, rest]), NOISE, seed), torch.cat([labels, more])
    trained, held, tested = (slice(TRAINED), slice(TRAINED, TRAINED + HELD), slice(TRAINED + HELD, None))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = mlp([64, 128, 10])
    train(
        network, images[trained], labels[trained], supervised(F.cross_entropy), epochs=100, batch_size=50,
        drop_last=True, seed=seed, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )  # fmt: skip
    network.eval()
    clean = images[tested]
    sets = {
        "held": images[held], "clean": clean,
        "rotated": turned(clean, 30.0, torch.Generator().manual_seed(seed + 1)),
        "noisy": with_noise(clean, NOISE, seed + 2),
    }  # fmt: skip
    logits = {name: outputs(network, one) for name, one in sets.items()}
    seen = {
        name: torch.stack([outputs(network, one) for one in copies(part, seed + place)])
        for place, (name, part) in enumerate(sets.items())
    }
    rows = evaluated(logits, seen, labels[held], labels[tested], seed)
    right = torch.stack([method.correctness(logits[name], labels[tested]).double().mean() for name in TESTS])
    return {
        "metrics": rows,
        "accuracy": right,
    }


@torch.no_grad()
def outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return network(images)


def evaluated(
    logits: dict[str, torch.Tensor], seen: dict[str, torch.Tensor], held: torch.Tensor, labels: torch.Tensor, seed: int
) -> torch.Tensor:
    """Metrics (arms, tests, METRICS) of all calibrators, fitted to the logits "held" and their copies."""
    z = logits["held"]
    ensemble, one = ensemble_temperature_scaling(z, held), temperature_scaling(z, held)
    confidences: dict[str, Callable[[str], tuple[torch.Tensor, torch.Tensor]]] = {
        "uncalibrated": lambda name: (logits[name].softmax(1).amax(1), torch.ones(())),
        "temperature": lambda name: (one(logits[name]).amax(1), 1 / one.weight),
        "ensemble": lambda name: (ensemble(logits[name]).amax(1), torch.ones(())),
        "isotonic": lambda name: (
            isotonic_confidence(z.softmax(1).amax(1), method.correctness(z, held), logits[name].softmax(1).amax(1)),
            torch.ones(()),
        ),
    }
    for name, loss in LOSSES.items():
        confidences[name] = partial(fitted(loss, z, seen, held, seed, own=name == "ca_own_cues"), logits)
    return torch.stack([
        torch.stack([metrics(*of(name), method.correctness(logits[name], labels)) for name in TESTS])
        for of in confidences.values()
    ])  # fmt: skip


def fitted(
    loss: method.Loss, z: torch.Tensor, seen: dict[str, torch.Tensor], held: torch.Tensor, seed: int, *, own: bool
) -> Callable[[dict[str, torch.Tensor], str], tuple[torch.Tensor, torch.Tensor]]:
    """Confidences and temperatures of a set by a network that is fitted to the set "held"."""

    def cues(logits: torch.Tensor, name: str) -> torch.Tensor:
        return method.cues(logits, logits[None] if own else seen[name])

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        calibrator = method.SampleTemperature(copies=1 if own else 3, start=START)
    method.fit(calibrator, cues(z, "held"), z, held, loss, steps=STEPS, rate=RATE)

    @torch.no_grad()
    def confidences(logits: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
        t = calibrator(cues(logits[name], name))
        return method.confidence(logits[name], t), t

    return confidences


def metrics(confidence: torch.Tensor, temperature: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """METRICS of one arm on one set."""
    from sklearn.metrics import roc_auc_score

    return torch.tensor([
        method.expected_calibration_error(confidence, right), float(roc_auc_score(right, confidence)),
        float((confidence.double() - right.double()).square().mean()), method.kolmogorov_smirnov(confidence, right),
        method.adaptive_calibration_error(confidence, right), float(temperature.double().mean()),
    ], dtype=torch.float64)  # fmt: skip


def digits(*, arm: str, test: str, calibrated: Path) -> dict[str, float]:
    """One calibrator on one test set."""
    found = load_file(calibrated)
    row = found["metrics"][ARMS.index(arm), TESTS.index(test)]
    accuracy = float(found["accuracy"][TESTS.index(test)])
    return dict(zip(METRICS, row.tolist(), strict=True)) | {"accuracy": accuracy}
