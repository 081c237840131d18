"""The training loop: it learns, repeats itself to the bit, notices divergence, averages, schedules and augments."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.digits import stratified
from baselines.loss_landscape import loss_and_accuracy
from baselines.models import mlp, small_cnn
from baselines.training import (
    Batch,
    Diverged,
    Fit,
    cosine,
    crop_and_flip,
    fit,
    step_count,
    step_decay,
    supervised,
)

CROSS_ENTROPY = supervised(F.cross_entropy)


def sgd(lr: float = 0.1):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def small(**options) -> Fit:
    """A few steps on 50 random examples in batches of 16; options override."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(50, 6, generator=generator), torch.randint(3, (50,), generator=generator)
    with torch.random.fork_rng([]):
        torch.manual_seed(7)
        model = mlp([6, 8, 3])
    default = {"epochs": 2, "batch_size": 16, "drop_last": False, "optimizer": sgd(), "seed": 0}
    return fit(model, inputs, targets, options.pop("objective", CROSS_ENTROPY), **{**default, **options})


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_learns_digits() -> None:
    train, test = stratified(0)
    torch.manual_seed(0)
    model = small_cnn(batch_norm=True)
    total = step_count(len(train[1]), 64, 5, drop_last=True)
    trained = fit(
        model, *train, CROSS_ENTROPY, epochs=5, batch_size=64, drop_last=True, seed=0,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3), schedule=cosine(total, warmup=10),
    )  # fmt: skip
    assert trained.model is model
    assert trained.steps == total == 5 * 22
    assert trained.losses[-1] < 0.2 < trained.losses[0]
    assert loss_and_accuracy(model, test)[1] > 0.95


def test_same_seed_same_bits_whatever_the_global_state() -> None:
    def train(seed: int) -> Fit:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        torch.manual_seed(torch.seed())
        inputs, targets = torch.linspace(-1, 1, 300).view(50, 6), torch.arange(50) % 3
        options = {"epochs": 3, "batch_size": 16, "drop_last": False, "optimizer": sgd(), "seed": seed}
        return fit(model, inputs, targets, CROSS_ENTROPY, augment=noisy, **options)

    def noisy(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs + torch.randn(inputs.shape, generator=generator)

    first, second = train(0), train(0)
    assert torch.equal(weights(first.model), weights(second.model))
    assert first.losses == second.losses
    assert not torch.equal(weights(first.model), weights(train(1).model))


def test_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    small()
    assert torch.equal(torch.rand(4), expected)


def test_order_depends_on_the_seed_only() -> None:
    def orders(**options) -> list[list[int]]:
        seen: list[list[int]] = []

        def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
            seen.append(batch.ids.tolist())
            return CROSS_ENTROPY(model, batch)

        small(objective=objective, **options)
        return seen

    def drawing(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs + torch.rand((), generator=generator)

    plain = orders()
    assert [len(ids) for ids in plain] == [16, 16, 16, 2] * 2
    assert sorted(number for ids in plain[:4] for number in ids) == list(range(50))
    assert plain[:4] != plain[4:]
    assert orders(optimizer=sgd(0.5), augment=drawing) == plain
    assert orders(seed=1) != plain
    assert orders(drop_last=True) == plain[:3] + plain[4:7]


def test_ids_lead_back_to_the_data() -> None:
    inputs, targets = torch.randn(9, 2), torch.arange(9) % 2

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        assert torch.equal(batch.inputs, inputs[batch.ids])
        assert torch.equal(batch.targets, targets[batch.ids])
        return CROSS_ENTROPY(model, batch)

    fit(nn.Linear(2, 2), inputs, targets, objective, epochs=1, batch_size=4, drop_last=False, optimizer=sgd(), seed=0)


def test_the_order_of_a_long_epoch_is_one_permutation() -> None:
    """150 batches are gathered in three pieces, which must follow each other."""
    seen = []

    def remember(model: nn.Module, batch: Batch) -> torch.Tensor:
        assert torch.equal(batch.inputs[:, 0], 2.0 * batch.ids)
        assert torch.equal(batch.targets, batch.ids)
        seen.append(batch.ids)
        return model(batch.inputs).sum()

    ids = torch.arange(300)
    options = {"epochs": 1, "batch_size": 2, "drop_last": False, "optimizer": sgd(1e-9), "seed": 3}
    fit(nn.Linear(1, 1), 2.0 * ids[:, None], ids, remember, **options)
    assert torch.equal(torch.cat(seen), torch.randperm(300, generator=torch.Generator().manual_seed(3)))


def test_equals_a_loop_written_by_hand() -> None:
    """Losses, too: each epoch's is the mean over its examples, the last batch being smaller."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(50, 6, generator=generator), torch.randint(3, (50,), generator=generator)
    torch.manual_seed(0)
    model = mlp([6, 8, 3])
    by_hand = copy.deepcopy(model)
    trained = fit(
        model, inputs, targets, CROSS_ENTROPY,
        epochs=2, batch_size=16, drop_last=False, optimizer=sgd(), schedule=step_decay([3]), clip_norm=0.3, seed=5,
    )  # fmt: skip
    optimizer, order = sgd()(by_hand.parameters()), torch.Generator().manual_seed(5)
    for epoch in range(2):
        total = 0.0
        for step, rows in enumerate(torch.randperm(50, generator=order).split(16)):
            optimizer.param_groups[0]["lr"] = 0.1 if 4 * epoch + step < 3 else 0.01
            optimizer.zero_grad()
            loss = F.cross_entropy(by_hand(inputs[rows]), targets[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(by_hand.parameters(), 0.3)
            optimizer.step()
            total += len(rows) * float(loss.detach())
        assert trained.losses[epoch] == pytest.approx(total / 50, rel=1e-6)
    assert torch.equal(weights(model), weights(by_hand))


def test_divergence_is_an_error_that_keeps_the_history() -> None:
    seen: list[int] = []
    with pytest.raises(Diverged, match=r"the loss of epoch \d is (nan|inf)") as caught:
        small(epochs=9, optimizer=sgd(1e30), on_epoch=lambda done: seen.append(done.steps))
    losses = caught.value.fit.losses
    assert not math.isfinite(losses[-1])
    assert len(seen) == len(losses) - 1 < 8


def test_average_by_hand() -> None:
    """e_1 = w_1, e_t = d e_{t-1} + (1 - d) w_t: weights are caught after each step, in the next objective."""
    seen: list[torch.Tensor] = []

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        seen.append(weights(model).clone())
        return CROSS_ENTROPY(model, batch)

    trained = small(objective=objective, ema_decay=0.7)
    path = [*seen[1:], weights(trained.model)]
    expected = path[0]
    for point in path[1:]:
        expected = 0.7 * expected + 0.3 * point
    assert trained.ema is not None
    torch.testing.assert_close(weights(trained.ema), expected)
    assert small().ema is None


def test_average_copies_buffers() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    options = {"epochs": 1, "batch_size": 4, "drop_last": True, "optimizer": sgd(), "seed": 0}
    trained = fit(model, torch.randn(8, 4) + 3, torch.arange(8) % 2, CROSS_ENTROPY, ema_decay=0.9, **options)
    assert trained.ema is not None
    assert torch.equal(trained.ema.module[0].running_mean, model[0].running_mean)


def test_hook_sees_every_epoch_and_may_evaluate() -> None:
    modes: list[bool] = []

    def on_epoch(done: Fit) -> None:
        modes.append(done.model.training)
        done.model.eval()  # the loop puts it back

    assert len(small(epochs=3, on_epoch=on_epoch).losses) == 3
    assert modes == [True, True, True]


def test_schedules_by_hand() -> None:
    def rates(schedule, steps: int) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler, found = schedule(optimizer), []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    half = [(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
    assert rates(cosine(4), 4) == pytest.approx(half)
    assert rates(cosine(7, warmup=3), 7) == pytest.approx([1 / 4, 2 / 4, 3 / 4, *half])
    assert rates(step_decay([2, 3]), 4) == pytest.approx([1, 1, 0.1, 0.01])
    with pytest.raises(ValueError, match="warmup"):
        cosine(3, warmup=3)


def test_steps_are_counted_as_they_are_made() -> None:
    for drop_last in (False, True):
        assert small(drop_last=drop_last).steps == step_count(50, 16, 2, drop_last=drop_last)


def test_crop_and_flip() -> None:
    images = torch.arange(1, 2 * 2 * 25 + 1, dtype=torch.uint8).view(2, 2, 5, 5)
    augment = crop_and_flip(2)
    found = [augment(images, torch.Generator().manual_seed(seed)) for seed in range(40)]
    assert all(one.shape == images.shape and one.dtype == torch.uint8 for one in found)
    assert torch.equal(found[3], augment(images, torch.Generator().manual_seed(3)))
    padded = F.pad(images, [2] * 4)
    windows = [padded[:, :, top : top + 5, left : left + 5] for top in range(5) for left in range(5)]
    possible = [(number, window[number]) for window in windows for number in (0, 1)]
    possible += [(number, window.flip(-1)) for number, window in possible]
    for one in found:  # each image is one of its own 50 views, drawn apart from the other's
        assert all(any(n == number and torch.equal(one[n], view) for number, view in possible) for n in (0, 1))
    assert torch.equal(crop_and_flip(0)(images.flip(-1), torch.Generator().manual_seed(0)).sort(-1).values, images)


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(3), {}, "4 inputs but 3 targets"),
        (torch.zeros(4, 2), torch.zeros(4), {"batch_size": 0}, "no batch of 0"),
        (torch.zeros(4, 2), torch.zeros(4), {"batch_size": 5, "drop_last": True}, "no batch of 5"),
        (torch.zeros(0, 2), torch.zeros(0), {}, "of 0 examples"),
        (torch.zeros(4, 2), torch.zeros(4, device="meta"), {}, "one device"),
    ],
)
def test_data_that_do_not_fit_are_refused(inputs, targets, options, message: str) -> None:
    default = {"epochs": 1, "batch_size": 2, "drop_last": False, "optimizer": sgd(), "seed": 0}
    with pytest.raises(ValueError, match=message):
        fit(nn.Linear(2, 2), inputs, targets, CROSS_ENTROPY, **{**default, **options})


def test_cuda_options_change_nothing_on_a_cpu() -> None:
    plain = small()
    asked = small(precision=torch.bfloat16, channels_last=True, compile=True)
    assert torch.equal(weights(plain.model), weights(asked.model))
