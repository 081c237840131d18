"""CIFAR-10 and ResNet-18 on a GPU: momentum SGD at a fixed rate or a fixed r, and what the radius costs per step."""

from __future__ import annotations

import functools
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


def cifar10(name: str, split: str, device: torch.device, limit: int | None) -> Data:
    """uint8 images (N, 3, 32, 32) and labels of CIFAR-10 or its copy on the device; a random `limit`, if given."""
    found = reference.load(name, split=split)
    rows = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:limit]
    return found.images[rows].to(device), found.labels[rows].to(device)


@functools.cache
def statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of the channels, on the device once: copying them there at every step would wait for it."""
    mean, std = (torch.tensor(part, device=device).view(3, 1, 1) for part in (MEAN, STD))
    return mean, std


def normalised(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 3, 32, 32) -> float32 of about zero mean and unit variance per channel."""
    mean, std = statistics(images.device)
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
    train, test = (cifar10("cifar10", split, device, limit) for split in ("train", "test"))
    return train_resnet(arm, seed, train, test, epochs=epochs, radius=difference_radius)


def resnet_cifar10_jpeg(*, arm: str, seed: int, device: torch.device, epochs: int, limit: int) -> Metrics:
    """The same on the JPEG copy of CIFAR-10, in bfloat16 with the radius by a float32 JVP.

    Not by finite differences: 1e-4 along a unit vector moves a weight by 3e-8, which the rounding of the factors of a
    convolution (to 11 bits in TF32, PyTorch's default) drowns.
    """
    train, test = (cifar10("cifar10-jpeg", split, device, limit or None) for split in ("train", "test"))
    radius = method.directional_radius
    return train_resnet(arm, seed, train, test, epochs=epochs, radius=radius, precision=torch.bfloat16)


def train_resnet(
    arm: str,
    seed: int,
    train: Data,
    test: Data,
    *,
    epochs: int,
    radius: method.Radius,
    precision: torch.dtype | None = None,
) -> Metrics:
    """`precision` is that of training passes on CUDA, by autocast and with channels last; all else is float32."""
    rule, value = arm.split("_")
    fast = train[0].is_cuda and precision is not None
    torch.manual_seed(seed)
    model = resnet18_cifar(10).to(train[0].device)
    if fast:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=float(value) if rule == "lr" else 1.0, momentum=0.9)
    controller = method.RadiusController(model, optimizer, float(value), rule="set", radius=radius)
    images, labels = train
    generator = torch.Generator().manual_seed(seed)
    r: list[float] = []
    for _ in range(epochs):
        model.train()
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for number, rows in enumerate(order.split(128)):
            inputs = normalised(images[rows])
            if fast:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            with torch.autocast("cuda", precision, enabled=fast):
                loss = cross_entropy(model(inputs), labels[rows])
            loss.backward()
            if rule == "r":
                r.append(controller.step(inputs).r)
            elif number % 50:
                optimizer.step()
            else:
                before = snapshot(model)
                optimizer.step()
                r.append(measured_r(model, before, inputs)[0])
    return {"accuracy": percent_correct(model, test), "max_r": max(r)}


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
