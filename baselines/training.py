"""One training loop for all suites: `fit(model, inputs, targets, objective, ...)`.

Data are tensors on the model's device, taken by index: sets of CIFAR's size stay on the GPU. What is trained is an
objective (model, batch) -> scalar, so that a method is a function and the loop never changes:

    trained = fit(
        model, images, labels, supervised(F.cross_entropy),
        epochs=30, batch_size=128, drop_last=False, seed=0,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        schedule=cosine(step_count(len(images), 128, epochs=30, drop_last=False), warmup=100),
    )
    print(trained.losses)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@dataclass(frozen=True)
class Batch:
    """B examples, augmented, with the places that they have in the data."""

    inputs: torch.Tensor
    targets: torch.Tensor
    ids: torch.Tensor  # int64 (B,)


Objective = Callable[[nn.Module, Batch], torch.Tensor]
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""(inputs of a batch, generator on their device) -> inputs. Drawing from the generator keeps arms paired."""
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer], LRScheduler]


@dataclass
class Fit:
    """What `fit` has done so far; `on_epoch` is shown the same object after every epoch."""

    model: nn.Module
    ema: AveragedModel | None
    losses: list[float] = field(default_factory=list)  # mean over the examples of each epoch, as they were met
    steps: int = 0


class Diverged(RuntimeError):
    """A loss was not finite. `fit` holds what there is: the model is not usable, the losses tell when it happened."""

    def __init__(self, fit: Fit) -> None:
        super().__init__(f"the loss of epoch {len(fit.losses)} is {fit.losses[-1]}")
        self.fit = fit


def supervised(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Objective:
    """The objective loss(logits, targets)."""
    return lambda model, batch: loss(model(batch.inputs), batch.targets)


def fit(
    model: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    objective: Objective,
    *,
    epochs: int,
    batch_size: int,
    drop_last: bool,
    optimizer: MakeOptimizer,
    seed: int,
    schedule: Schedule | None = None,
    augment: Augment | None = None,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
    precision: torch.dtype | None = None,
    channels_last: bool = False,
    compile: bool = False,  # noqa: A002 - torch's own word
    on_epoch: Callable[[Fit], None] | None = None,
) -> Fit:
    """Train `model` in place, in training mode, and return it with the history of its losses.

    The order of the examples depends on `seed` alone; so do augmentation and dropout, which have streams of their own,
    and the global generators are left as they were. `drop_last` leaves out an incomplete last batch. The scheduler is
    stepped after every step. `clip_norm` bounds the norm of the gradient. With `ema_decay` d the weights are averaged
    as e <- d e + (1 - d) w from the first step's w on; buffers are copied. `precision` (bfloat16, for autocast),
    `channels_last` and `compile` act on CUDA only: a CPU runs the same protocol without them.

    Raises ValueError for data that do not fit together, and Diverged at the end of an epoch in which a loss was NaN or
    infinite: losses stay on the device until then, so that no step waits for one.
    """
    _check(model, inputs, targets, batch_size, drop_last)
    on_cuda = inputs.is_cuda
    if channels_last and on_cuda:
        model.to(memory_format=torch.channels_last)
    forward: nn.Module = torch.compile(model) if compile and on_cuda else model  # type: ignore[assignment]
    mixed = torch.autocast("cuda", precision) if precision and on_cuda else contextlib.nullcontext()
    stepper = optimizer(model.parameters())
    scheduler = schedule(stepper) if schedule else None
    average = get_ema_multi_avg_fn(ema_decay) if ema_decay is not None else None
    done = Fit(model, AveragedModel(model, multi_avg_fn=average) if average else None)
    order, noise = torch.Generator().manual_seed(seed), torch.Generator(inputs.device).manual_seed(seed)

    with torch.random.fork_rng([inputs.device] if on_cuda else []):
        torch.manual_seed(seed)
        for _ in range(epochs):
            model.train()
            losses: list[torch.Tensor] = []
            ids = torch.randperm(len(inputs), generator=order).to(inputs.device)
            ids = ids[: len(ids) - len(ids) % batch_size] if drop_last else ids
            for batch in _batches(inputs, targets, ids, batch_size):
                if augment:
                    batch = replace(batch, inputs=augment(batch.inputs, noise))
                if channels_last and on_cuda:
                    batch = replace(batch, inputs=batch.inputs.contiguous(memory_format=torch.channels_last))
                stepper.zero_grad()
                with mixed:
                    loss = objective(forward, batch)
                loss.backward()
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
                stepper.step()
                if scheduler:
                    scheduler.step()
                if done.ema:
                    done.ema.update_parameters(model)
                losses.append(loss.detach())
            sizes = torch.tensor([len(part) for part in ids.split(batch_size)], dtype=torch.float64)
            done.losses.append(float(torch.stack(losses).double().cpu() @ sizes / sizes.sum()))
            done.steps += len(losses)
            if not math.isfinite(done.losses[-1]):
                raise Diverged(done)
            if on_epoch:
                on_epoch(done)
    return done


def _batches(inputs: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor, batch_size: int) -> Iterator[Batch]:
    """The examples `ids` in batches. One copy serves 64 batches: each its own took 5 % of a small network's step."""
    for many in ids.split(64 * batch_size):
        yield from map(Batch, inputs[many].split(batch_size), targets[many].split(batch_size), many.split(batch_size))


def _check(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, batch_size: int, drop_last: bool) -> None:
    if len(inputs) != len(targets):
        raise ValueError(f"{len(inputs)} inputs but {len(targets)} targets")
    if batch_size < 1 or (drop_last and len(inputs) < batch_size) or not len(inputs):
        raise ValueError(f"no batch of {batch_size} can be made of {len(inputs)} examples (drop_last: {drop_last})")
    devices = {inputs.device, targets.device, *(p.device for p in model.parameters())}
    if len(devices) > 1:
        raise ValueError(f"model and data must be on one device, not {', '.join(map(str, devices))}")


def step_count(examples: int, batch_size: int, epochs: int, *, drop_last: bool) -> int:
    """How many steps `fit` makes."""
    return epochs * (examples // batch_size if drop_last else math.ceil(examples / batch_size))


def cosine(steps: int, warmup: int = 0) -> Schedule:
    """A linear rise over `warmup` steps, step t at (t + 1) / (warmup + 1) of the rate, then a cosine to 0."""
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must be shorter than the {steps} steps, got {warmup}")

    def schedule(optimizer: torch.optim.Optimizer) -> LRScheduler:
        if not warmup:
            return CosineAnnealingLR(optimizer, steps)
        rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, steps - warmup)], milestones=[warmup])

    return schedule


def step_decay(milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """The rate is multiplied by `factor` after each of these many steps."""
    return lambda optimizer: MultiStepLR(optimizer, list(milestones), factor)


def crop_and_flip(padding: int = 4) -> Augment:
    """CIFAR's augmentation of images (B, C, H, W): a random crop of the zero-padded image, mirrored half the time."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        count, channels, height, width = images.shape
        device = images.device
        shifts = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=device)
        mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
        rows = shifts[0] + torch.arange(height, device=device)
        columns = shifts[1] + torch.arange(width, device=device)
        columns = torch.where(mirrored, columns.flip(1), columns)
        images = F.pad(images, [padding] * 4)
        which = torch.arange(count, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[:, None, None]
        return images[which, channel, rows[:, None, :, None], columns[:, None, None, :]]

    return augment
