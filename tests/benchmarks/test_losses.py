"""Forward and backward of each loss beside PyTorch's cross-entropy: `pytest tests/benchmarks --benchmark-enable`.

N = 4096 rows of K = 100 float32 logits, one thread. Without that option every case runs once, as a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F

from baselines import losses, region
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


@pytest.mark.parametrize("loss", CASES.values(), ids=CASES)
def test_forward_and_backward(benchmark: BenchmarkFixture, loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    benchmark.group = f"losses, forward and backward, {N} x {K}"

    def step() -> torch.Tensor:
        logits = LOGITS.clone().requires_grad_()
        loss(logits).backward()
        return logits.grad

    assert torch.isfinite(benchmark.pedantic(step, rounds=25, warmup_rounds=3)).all()
