"""CIFAR-10 and ResNet-18 on a GPU: momentum SGD at a fixed rate or a fixed r, and what the radius costs per step."""

from __future__ import annotations

import time
from functools import partial

import torch
from torch.nn import Module
from torch.nn.functional import cross_entropy

import reference
from baselines.loss_landscape import Data, Tensors, snapshot
from baselines.models import resnet18_cifar
from baselines.timing import unfilled
from suites.softmax_ghosts import method
from suites.softmax_ghosts.contenders import measured_r
from suites.softmax_ghosts.exact import Metrics

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def cifar10(split: str, device: torch.device, limit: int | None) -> Data:
    """uint8 images (N, 3, 32, 32) and labels of CIFAR-10 on the device; only the first `limit`, if given."""
    found = reference.load("cifar10", split=split)
    return found.images[:limit].to(device), found.labels[:limit].to(device)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 3, 32, 32) -> float32 of about zero mean and unit variance per channel."""
    mean, std = (torch.tensor(part, device=images.device).view(3, 1, 1) for part in (MEAN, STD))
    return (images.float() / 255 - mean) / std


@torch.no_grad()
def percent_correct(model: Module, data: Data) -> float:
    """The accuracy on CIFAR-10 images, in percent, in eval mode."""
    model.eval()
    pairs = zip(data[0].split(500), data[1].split(500), strict=True)
    return 100 * sum(int((model(normalised(some)).argmax(1) == labels).sum()) for some, labels in pairs) / len(data[1])


def difference_radius(model: Module, inputs: torch.Tensor, direction: Tensors) -> torch.Tensor:
    """The paper's estimate of rho_a: two passes on at most 256 samples."""
    return method.slope_radius(method.finite_difference_slopes(model, inputs[:256], direction))


def resnet_cifar10(*, arm: str, seed: int, device: torch.device, epochs: int, limit: int | None = None) -> Metrics:
    """ResNet-18, momentum SGD, at a fixed rate (arm "lr_0.1") or a fixed r (arm "r_2")."""
    rule, value = arm.split("_")
    torch.manual_seed(seed)
    model = resnet18_cifar(10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=float(value) if rule == "lr" else 1.0, momentum=0.9)
    controller = method.RadiusController(model, optimizer, float(value), rule="set", radius=difference_radius)
    images, labels = cifar10("train", device, limit)
    generator = torch.Generator().manual_seed(seed)
    r: list[float] = []
    for _ in range(epochs):
        model.train()
        for number, rows in enumerate(torch.randperm(len(labels), generator=generator).to(device).split(128)):
            inputs = normalised(images[rows])
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels[rows]).backward()
            if rule == "r":
                r.append(controller.step(inputs).r)
            elif number % 50:
                optimizer.step()
            else:
                before = snapshot(model)
                optimizer.step()
                r.append(measured_r(model, before, inputs)[0])
    return {"accuracy": percent_correct(model, cifar10("test", device, limit)), "max_r": max(r)}


def step_time(*, device: torch.device, rounds: int = 15, batch: int = 128) -> Metrics:
    """Milliseconds of one ResNet-18 training step: plain, with rho_a by finite differences, and by JVP."""
    model = resnet18_cifar(10).to(device)
    inputs, labels = torch.randn(batch, 3, 32, 32, device=device), torch.arange(batch, device=device) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    held = {
        "finite_difference_ms": method.RadiusController(model, optimizer, radius=difference_radius),
        "jvp_ms": method.RadiusController(model, optimizer),
    }
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None

    def timed(kind: str, repeats: int = 5) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            held[kind].step(inputs) if kind in held else optimizer.step()
        wait()
        return 1000 * (time.perf_counter() - start) / repeats

    kinds = ("plain_ms", *held)
    with unfilled():
        for kind in kinds:
            timed(kind)  # warm up
        rows = [[timed(kind) for kind in kinds] for _ in range(rounds)]
    return {kind: list(column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)}
