"""Forward and backward of each loss beside PyTorch's cross-entropy: `nox -s bench -- --costs costs.json`.

Losses of logits: contrastive ones compare all pairs of rows, which is another order of cost. N = 4096 rows of K = 100
float32 logits, one thread. Without that option every case runs once, as a test. The memory is the most that tensors
hold at once, by PyTorch's own count of its allocations, the logits and their gradient included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from baselines import losses
from baselines import overlap_losses as region
from suites.ldr_loss.method import ALDRKL, aldr_kl, ldr_kl

N, K = 4096, 100
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(N, K, generator=GENERATOR)
TARGETS = torch.randint(K, (N,), generator=GENERATOR)
TEACHER = 3 * torch.randn(N, K, generator=GENERATOR)
IDS = torch.arange(N)
ADAPTIVE = ALDRKL(N)

CASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "torch_cross_entropy": lambda z: F.cross_entropy(z, TARGETS),
    "cross_entropy": lambda z: losses.cross_entropy(z, TARGETS),
    "label_smoothing": lambda z: losses.cross_entropy(z, TARGETS, label_smoothing=0.1),
    "logit_adjusted": lambda z: losses.logit_adjusted(z, TARGETS, prior=torch.full((K,), 1 / K)),
    "focal": lambda z: losses.focal(z, TARGETS),
    "poly1": lambda z: losses.poly1(z, TARGETS),
    "distillation": lambda z: losses.knowledge_distillation(
        z, TARGETS, teacher_logits=TEACHER, temperature=4.0, weight=0.9
    ),
    "mae": lambda z: losses.mae(z, TARGETS),
    "mse": lambda z: losses.mse(z, TARGETS),
    "gce": lambda z: losses.gce(z, TARGETS),
    "truncated_gce": lambda z: losses.truncated_gce(z, TARGETS),
    "symmetric_ce": lambda z: losses.symmetric_ce(z, TARGETS, alpha=0.5, beta=0.5),
    "rll": lambda z: losses.rll(z, TARGETS),
    "jensen_shannon": lambda z: losses.jensen_shannon(z, TARGETS),
    "nce_rce": lambda z: losses.nce_rce(z, TARGETS),
    "nce_agce": lambda z: losses.nce_agce(z, TARGETS, a=3.0, q=1.5),
    "nce_aul": lambda z: losses.nce_aul(z, TARGETS, a=6.0, p=1.5),
    "crammer_singer": lambda z: losses.crammer_singer(z, TARGETS),
    "weston_watkins": lambda z: losses.weston_watkins(z, TARGETS),
    "dice": lambda z: region.dice(z, TARGETS, level="example", square=True, smooth=1.0),
    "dice_decayed": lambda z: region.dice(z, TARGETS, level="example", square=True, smooth=1.0, alpha=0.01),
    "ldr_kl": lambda z: ldr_kl(z, TARGETS, lam=10.0),
    "ldr_kl_margin": lambda z: ldr_kl(z, TARGETS, lam=10.0, margin=0.1),
    "aldr_kl": lambda z: ADAPTIVE(z, TARGETS, IDS),
    "aldr_kl_solved": lambda z: aldr_kl(z, TARGETS),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def peak_bytes(step: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes))


@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward(benchmark: BenchmarkFixture, costs: dict[str, dict[str, Any]], name: str) -> None:
    benchmark.group = f"losses, forward and backward, {N} x {K}"

    def step() -> torch.Tensor:
        logits = LOGITS.clone().requires_grad_()
        CASES[name](logits).backward()
        return logits.grad

    assert torch.isfinite(benchmark.pedantic(step, rounds=25, warmup_rounds=3)).all()
    if benchmark.enabled:
        times = benchmark.stats.stats
        quartiles = [float(f"{value:.4g}") for value in (times.q1, times.median, times.q3)]
        costs[name] = {"seconds": quartiles, "peak_mib": round(peak_bytes(step) / 2**20, 3)}


def test_the_peak_counts_what_lives_at_once() -> None:
    def step() -> None:
        for _ in range(3):
            torch.ones(1000)  # freed before the next
        first, second = torch.ones(500), torch.ones(600)
        del first, second

    assert 4400 <= peak_bytes(step) < 4400 + 256
