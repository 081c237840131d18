"""What the shared training loop costs beside one written by hand: `nox -s bench -- tests/benchmarks/test_training.py`."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F

from baselines.corpora import corpus, examples
from baselines.digits import stratified
from baselines.language_models import next_token
from baselines.models import mlp, small_cnn
from baselines.training import Objective, fit, supervised
from reference.catalog import get

EPOCHS, BATCH = 3, 64
LIMIT = 1.03  # of the median ratio of the times
TEXT = "tiny-shakespeare"


@dataclass(frozen=True)
class Case:
    """A network on its data."""

    model: Callable[[], torch.nn.Module]
    data: tuple[torch.Tensor, torch.Tensor]
    objective: Objective
    loss: Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
    items: int
    """Examples, or tokens, of an epoch."""


@functools.cache
def case(name: str) -> Case:
    """A step of the MLP takes about 0.4 ms, one of the CNN 2 ms: 15 microseconds of bookkeeping would show."""
    digits = stratified(0)[0]
    if name == "mlp":
        return Case(lambda: mlp([64, 128, 10]), digits, supervised(F.cross_entropy), of_logits, len(digits[1]))
    if name == "cnn":
        cnn = partial(small_cnn, batch_norm=True)
        return Case(cnn, digits, supervised(F.cross_entropy), of_logits, len(digits[1]))
    pytest.importorskip("transformers")
    if not get(TEXT).available:
        pytest.skip(f"{TEXT} is absent")
    from baselines.transformer_models import small_decoder

    inputs, targets = examples(corpus(TEXT).train[: 64 * 512 + 1], 64)
    decoder = partial(small_decoder, 256, width=64, depth=2, heads=2, length=64)
    return Case(decoder, (inputs, targets), next_token, of_tokens, inputs.numel())


def of_logits(model, inputs, targets) -> torch.Tensor:
    return F.cross_entropy(model(inputs), targets)


def of_tokens(model, inputs, targets) -> torch.Tensor:
    return F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten())


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def by_hand(name: str) -> torch.nn.Module:
    one = case(name)
    torch.manual_seed(0)
    model = one.model().train()
    optimizer, order = sgd(model.parameters()), torch.Generator().manual_seed(0)
    inputs, targets = one.data
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs), generator=order).split(BATCH):
            optimizer.zero_grad()
            one.loss(model, inputs[rows], targets[rows]).backward()
            optimizer.step()
    return model


def by_fit(name: str) -> torch.nn.Module:
    one = case(name)
    torch.manual_seed(0)
    options = {"epochs": EPOCHS, "batch_size": BATCH, "drop_last": False, "optimizer": sgd, "seed": 0}
    return fit(one.model(), *one.data, one.objective, **options).model


@pytest.mark.parametrize("loop", [by_hand, by_fit])
@pytest.mark.parametrize("name", ["mlp", "cnn", "decoder"])
def test_training_loop(benchmark: BenchmarkFixture, loop: Callable, name: str) -> None:
    benchmark.group = f"training loop, {name}"
    benchmark.pedantic(loop, args=(name,), setup=lambda: case(name) and None, rounds=5, warmup_rounds=1)
    if benchmark.enabled:
        benchmark.extra_info["items per second"] = EPOCHS * case(name).items / benchmark.stats.stats.median


@pytest.mark.parametrize("name", ["mlp", "cnn", "decoder"])
def test_overhead_is_small(benchmark: BenchmarkFixture, name: str) -> None:
    """Both make the same weights; the median ratio of interleaved rounds, in alternating order, is bounded."""
    first, second = (loop(name).state_dict() for loop in (by_hand, by_fit))
    assert all(torch.equal(first[key], second[key]) for key in first)
    if not benchmark.enabled:
        pytest.skip("timed with --benchmark-enable")
    benchmark.extra_info["ratio"] = ratio = overhead(name, rounds=25)
    benchmark.pedantic(by_fit, args=(name,))
    print(f"{name}: {ratio:.3f} of the loop by hand")
    assert ratio <= LIMIT


def overhead(name: str, rounds: int) -> float:
    ratios = []
    for number in range(rounds):
        loops = [partial(by_hand, name), partial(by_fit, name)]
        times = {which: timed(loops[which]) for which in ((0, 1) if number % 2 else (1, 0))}
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
