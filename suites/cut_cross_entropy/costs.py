"""Memory and time of the loss, beside those of the plain one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from baselines.timing import unfilled
from suites.cut_cross_entropy.method import linear_cross_entropy


def peak_bytes(call: Callable[[], object]) -> float:
    """Most bytes allocated on the CPU beyond those at the start, from PyTorch's own record of its allocations."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return float(max(itertools.accumulate(change for _, change in changes)))


def memory(*, seed: int, n: int, d: int, v: int) -> dict[str, float]:
    """Peak memory of the plain loss over that of CCE (float32), and what doubling V adds to the forward pass."""
    rng = torch.Generator().manual_seed(seed)
    e, c = torch.randn(n, d, generator=rng), torch.randn(2 * v, d, generator=rng)
    x = torch.randint(v, (n,), generator=rng)
    forward = {size: peak_bytes(lambda size=size: linear_cross_entropy(e, c[:size], x)) for size in (v, 2 * v)}
    plain = peak_bytes(lambda: F.cross_entropy(e @ c[:v].T, x))
    inputs = (e.requires_grad_(), c[:v].clone().requires_grad_())
    both = {
        kind: peak_bytes(
            lambda kind=kind: torch.autograd.grad(linear_cross_entropy(*inputs, x, gradients=kind), inputs)
        )
        for kind in ("forward", "backward")
    }
    plain_both = peak_bytes(lambda: torch.autograd.grad(F.cross_entropy(inputs[0] @ inputs[1].T, x), inputs))
    return {
        "forward_ratio": plain / forward[v], "both_ratio": plain_both / both["backward"],
        "panel_share": both["forward"] / plain_both, "beyond_vector": (forward[2 * v] - forward[v] - 4 * v) / 1024,
    }  # fmt: skip


Losses = dict[str, Callable[[], torch.Tensor]]
Inputs = tuple[torch.Tensor, torch.Tensor]
Costs = dict[str, float | list[float]]


def costs(*, seed: int, device: torch.device, n: int, d: int, v: int, rounds: int) -> Costs:
    """Peak MiB beyond the inputs and milliseconds of the authors' table, in interleaved rounds on bfloat16."""
    inputs, x = synthetic(seed, device, n, d, v)
    losses: Losses = {
        "plain": lambda: plain(*inputs, x),
        "cce": lambda: linear_cross_entropy(*inputs, x),
        "unfiltered": lambda: linear_cross_entropy(*inputs, x, filter_eps=None),
        "unsorted": lambda: linear_cross_entropy(*inputs, x, sort=False),
    }
    found = measured(losses, inputs, rounds)
    found["cce_both_over_bound"] = max(found["cce_both_mib"]) / (2 * d * (n + v) / 2**20)  # type: ignore[arg-type]
    return found


def costs_compiled(*, seed: int, device: torch.device, n: int, d: int, v: int, rounds: int) -> Costs:
    """The same of the plain loss as torch.compile fuses it."""
    inputs, x = synthetic(seed, device, n, d, v)
    fused = torch.compile(plain)
    losses: Losses = {"compiled": lambda: fused(*inputs, x), "cce": lambda: linear_cross_entropy(*inputs, x)}
    return measured(losses, inputs, rounds)


def costs_packages(*, seed: int, device: torch.device, package: str, n: int, d: int, v: int, rounds: int) -> Costs:
    """The same of a package's kernels: the authors' own, or Liger's."""
    inputs, x = synthetic(seed, device, n, d, v)
    of_package: Callable[[], torch.Tensor]
    if package == "cut_cross_entropy":
        from cut_cross_entropy import linear_cross_entropy as authors

        of_package = lambda: authors(*inputs, x)  # noqa: E731
    else:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        of_package = lambda: LigerFusedLinearCrossEntropyFunction.apply(*inputs, x)[0]  # noqa: E731
    return measured({"package": of_package, "cce": lambda: linear_cross_entropy(*inputs, x)}, inputs, rounds)


def synthetic(seed: int, device: torch.device, n: int, d: int, v: int) -> tuple[Inputs, torch.Tensor]:
    """Embeddings (n, d) and classifier (v, d) of variance 0.02 in bfloat16, with gradients, and uniform targets."""
    rng = torch.Generator(device).manual_seed(seed)
    e, c = (torch.randn(size, d, device=device, generator=rng).mul_(0.02**0.5).bfloat16() for size in (n, v))
    return (e.requires_grad_(), c.requires_grad_()), torch.randint(v, (n,), device=device, generator=rng)


def plain(e: torch.Tensor, c: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The paper's baseline: the logits, stored, in float32."""
    return F.cross_entropy((e @ c.T).float(), x)


def measured(losses: Losses, inputs: Inputs, rounds: int) -> Costs:
    """`<loss>_<forward or both>_<ms or mib>` of every round."""
    device, found = inputs[0].device, dict[str, list[float]]()
    with unfilled():
        for loss in losses.values():
            with torch.no_grad():
                loss()  # warm-up: kernels are compiled
            torch.autograd.grad(loss(), inputs)
        for _, (name, loss) in itertools.product(range(rounds), losses.items()):
            for part, call in (("forward", loss), ("both", lambda loss=loss: torch.autograd.grad(loss(), inputs))):
                with torch.set_grad_enabled(part == "both"):
                    ms, mib = cost(call, device)
                found.setdefault(f"{name}_{part}_ms", []).append(ms)
                found.setdefault(f"{name}_{part}_mib", []).append(mib)
    return {**found}


def cost(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Milliseconds and peak MiB of one call: of the device on CUDA, else of PyTorch's allocations."""
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start), peak_bytes(call) / 2**20
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end), (torch.cuda.max_memory_allocated(device) - before) / 2**20
