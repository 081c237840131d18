"""Cut cross-entropy beside the plain loss, PyTorch's own and published kernels: forward and backward.

`pytest tests/benchmarks/test_linear_cross_entropy.py --benchmark-enable`. On the CPU N = 2048, D = 512, V = 32,768 in
float32 on one thread; on CUDA N = 8192, D = 2304, V = 256,000 in bfloat16. Without that option every case runs once at
a tiny size, as a test.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn
from torch.nn import functional as F

from suites.cut_cross_entropy.method import linear_cross_entropy

SIZES = {"tiny": (32, 16, 96), "cpu": (2048, 512, 32_768), "cuda": (8192, 2304, 256_000)}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def naive(e, c, bias, x) -> torch.Tensor:
    return F.cross_entropy((e @ c.T + bias).float(), x)


def cce(e, c, bias, x) -> torch.Tensor:
    return linear_cross_entropy(e, c, x, bias=bias)


def cce_backward(e, c, bias, x) -> torch.Tensor:
    return linear_cross_entropy(e, c, x, bias=bias, gradients="backward")


def torch_plain(e, c, bias, x) -> torch.Tensor:
    return F.linear_cross_entropy(e, c, x, linear_bias=bias)


def torch_chunked(e, c, bias, x, rows: int | None = None) -> torch.Tensor:
    """In chunks of `rows` rows; None leaves their size to PyTorch."""
    chosen = {} if rows is None else {"batch_chunk_size": rows, "chunking_method": None}
    return F.linear_cross_entropy(e, c, x, linear_bias=bias, options=nn.LinearCrossEntropyOptions(**chosen))


def apple(e, c, bias, x) -> torch.Tensor:
    from cut_cross_entropy import linear_cross_entropy as theirs

    return theirs(e, c, x, bias=bias)


def liger(e, c, bias, x) -> torch.Tensor:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    return liger_fused_linear_cross_entropy(e, c, x, bias)


LOSSES: dict[str, Loss] = {
    "naive": naive,
    "cce": cce,
    "cce_backward": cce_backward,
    "torch_plain": torch_plain,
    "torch_chunked": torch_chunked,
    **{f"torch_chunked_{rows}": partial(torch_chunked, rows=rows) for rows in (16, 64, 128, 256, 512, 1024)},
    "cut-cross-entropy": apple,
    "liger-kernel": liger,
}
PACKAGES = {"cut-cross-entropy": "cut_cross_entropy", "liger-kernel": "liger_kernel"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(size: str, device: torch.device = DEVICE, dtype: torch.dtype = DTYPE) -> tuple[torch.Tensor, ...]:
    n, d, v = SIZES[size]
    rng = torch.Generator(device).manual_seed(0)
    e, c = (torch.randn(rows, d, device=device, generator=rng).mul_(d**-0.25).to(dtype) for rows in (n, v))
    bias = torch.zeros(v, device=device, dtype=dtype)
    return *(t.requires_grad_() for t in (e, c, bias)), torch.randint(v, (n,), device=device, generator=rng)


def step(loss: Loss, e, c, bias, x) -> torch.Tensor:
    e.grad = c.grad = bias.grad = None
    value = loss(e, c, bias, x)
    value.backward()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return value.detach()


@pytest.mark.parametrize("name", LOSSES)
def test_forward_and_backward(benchmark: BenchmarkFixture, name: str) -> None:
    if name in PACKAGES and DEVICE.type != "cuda":
        pytest.skip(f"{name} runs on CUDA only")
    if name in PACKAGES and not importlib.util.find_spec(PACKAGES[name]):
        pytest.skip(f"{name} is not installed: pip install {name}")
    if name.startswith("torch_") and not hasattr(F, "linear_cross_entropy"):
        pytest.skip(f"PyTorch {torch.__version__} has no linear_cross_entropy")
    size = DEVICE.type if benchmark.enabled else "tiny"
    benchmark.group = f"linear cross-entropy, forward and backward, {' x '.join(map(str, SIZES[size]))}"
    given = inputs(size)
    value = benchmark.pedantic(step, args=(LOSSES[name], *given), rounds=5, warmup_rounds=1)
    if not benchmark.enabled:
        torch.testing.assert_close(value.float(), naive(*given).detach(), rtol=1e-2, atol=1e-2)


def test_time_beside_the_plain_loss(benchmark: BenchmarkFixture) -> None:
    """The median ratio of interleaved rounds in alternating order goes to the record; the loss must be the same.

    So does that of the three matrix products alone, A = E C^T, A C and A^T E, which no exact method can leave out.
    """
    size = DEVICE.type if benchmark.enabled else "tiny"
    given = inputs(size)
    found = interleaved({"naive": naive, "cce": cce, "products": products}, given, 5 if benchmark.enabled else 1)
    for name in ("cce", "products"):
        ratios = [one / plain for one, plain in zip(found[name], found["naive"], strict=True)]
        benchmark.extra_info[f"{name} over naive"] = statistics.median(ratios)
    print(benchmark.extra_info)
    torch.testing.assert_close(benchmark.pedantic(step, args=(cce, *given)), step(naive, *given), rtol=1e-3, atol=1e-3)


def products(e, c, bias, x) -> torch.Tensor:
    """What the loss and its gradients need of matrix products, the gradients' block of logits being the logits."""
    with torch.no_grad():
        logits = e @ c.T
        e.grad, c.grad = logits @ c, logits.T @ e
    return torch.zeros((), requires_grad=True)


def interleaved(losses: dict[str, Loss], given: tuple[torch.Tensor, ...], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, by round; the order is turned round every time."""
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for number in range(rounds):
        for name in list(losses)[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            step(losses[name], *given)
            seconds[name].append(time.perf_counter() - start)
    return seconds


@pytest.mark.timeout(900)
def test_front_of_time_and_memory(benchmark: BenchmarkFixture) -> None:
    """Which of this suite's passes and of PyTorch's chunk sizes nothing beats in both, for the record. CPU only."""
    if DEVICE.type == "cuda" or sys.platform != "linux":
        pytest.skip("reads the peak of a process from /proc")
    if not benchmark.enabled:
        pytest.skip("measured with --benchmark-enable")
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip(f"PyTorch {torch.__version__} has no linear_cross_entropy")
    losses = {name: loss for name, loss in LOSSES.items() if name not in PACKAGES}
    found = interleaved(losses, inputs("cpu"), 5)
    points = {name: (min(found[name]), benchmark_process(name)) for name in losses}  # noise only adds
    front = {name for name, mine in points.items() if not any(_dominates(one, mine) for one in points.values())}
    for name, (seconds, grown) in sorted(points.items(), key=lambda item: item[1]):
        median, place = statistics.median(found[name]), "on the front" if name in front else ""
        print(f"{name:20} {seconds:6.2f} s (median {median:.2f}) {grown:7.0f} MiB {place}")
    benchmark.extra_info |= {name: list(point) for name, point in points.items()} | {"front": sorted(front)}
    benchmark.pedantic(step, args=(cce, *inputs("tiny")))
    assert front


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def test_resident_memory_beside_the_plain_loss(benchmark: BenchmarkFixture) -> None:
    """Growth of the resident set, each loss in a process of its own. CPU only."""
    if DEVICE.type == "cuda" or sys.platform != "linux":
        pytest.skip("reads the peak of a process from /proc; the experiment `costs` has that of the device")
    if not benchmark.enabled:
        pytest.skip("measured with --benchmark-enable")
    grown = {name: benchmark_process(name) for name in ("naive", "cce", "cce_backward")}
    benchmark.extra_info |= grown
    benchmark.pedantic(step, args=(cce, *inputs("tiny")))
    assert 0 < grown["cce"] <= 0.35 * grown["naive"]


def benchmark_process(name: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.test_linear_cross_entropy", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def resident_growth(name: str) -> float:
    """MiB by which one step lets the peak of this process's resident set grow beyond its inputs."""
    torch.set_num_threads(1)
    step(LOSSES[name], *inputs("tiny"))  # libraries are loaded
    given = inputs("cpu")
    before = peak_resident()
    step(LOSSES[name], *given)
    return (peak_resident() - before) / 1024


def peak_resident() -> int:
    """KiB. Not ru_maxrss, which a process inherits from the one that started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    print(resident_growth(sys.argv[1]))
