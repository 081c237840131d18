"""The exact tier: identities of losses, gradients and filtered blocks, in float64 on the CPU."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import torch
from torch.nn import functional as F

from baselines.oracles import accepted, other_defaults
from baselines.oracles import gap as gap_of
from suites.cut_cross_entropy import method
from suites.cut_cross_entropy.method import Accumulator, Problem, linear_cross_entropy

EPS = 2.0**-12
"""The authors' threshold for bfloat16."""


def draw(seed: int, n: int = 13, d: int = 5, v: int = 31, scale: float = 1.0) -> list[torch.Tensor]:
    """Random e, c, bias, targets of which two are ignored, in float64."""
    rng = torch.Generator().manual_seed(seed)
    e, c, bias = (scale * torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((n, d), (v, d), (v,)))
    x = torch.randint(v, (n,), generator=rng)
    x[[n // 3, n // 2]] = -100
    return [e, c, bias, x]


def reference_losses(e, c, bias, x, softcap=None, z_loss=0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each token and its log-sum-exp (0 where ignored), from all logits at once."""
    a = e @ c.T if bias is None else e @ c.T + bias
    a = a if softcap is None else softcap * torch.tanh(a / softcap)
    lse = a.logsumexp(1) * (x != -100)
    return F.cross_entropy(a, x, reduction="none") + z_loss * lse.square(), lse


def cases():
    """(softcap, with bias, z-loss, reduction, where the gradients are made, block)."""
    yield from itertools.product(
        (None, 0.5, 30.0), (False, True), (0.0, 0.1), ("mean", "sum", "none"), ("auto", "backward"), ((4, 7), (64, 64))
    )


def identities(*, seed: int) -> dict[str, float]:
    """Loss and gradients beside autograd through all logits, for every option."""
    gap = gradient_gap = lse_gap = lse_gradient_gap = 0.0
    for number, (softcap, with_bias, z, reduction, gradients, block) in enumerate(cases()):
        e, c, bias, x = draw(1000 * seed + number)
        wanted = [t.requires_grad_() for t in ([e, c, bias] if with_bias else [e, c])]
        weight = torch.randn(len(x), dtype=torch.float64)
        options = {
            "bias": bias if with_bias else None,
            "softcap": softcap,
            "z_loss": z,
            "filter_eps": None,
            "block": block,
        }
        losses, lse = reference_losses(e, c, options["bias"], x, softcap, z)
        truth = {"mean": losses.sum() / (x != -100).sum(), "sum": losses.sum(), "none": losses @ weight}[reduction]
        loss = linear_cross_entropy(e, c, x, reduction=reduction, gradients=gradients, **options)
        if reduction == "none":
            gap = max(gap, gap_of(loss, losses))
            loss = loss @ weight
        gap = max(gap, gap_of(loss, truth))
        pairs = zip(
            torch.autograd.grad(3 * loss, wanted),
            torch.autograd.grad(3 * truth, wanted, retain_graph=True),
            strict=True,
        )
        gradient_gap = max(gradient_gap, *(gap_of(*pair) for pair in pairs))
        if gradients == "backward":  # which the log-sum-exp always takes
            _, own = linear_cross_entropy(e, c, x, return_lse=True, **options)
            lse_gap = max(lse_gap, gap_of(own, lse))
            pairs = zip(
                torch.autograd.grad(own @ weight, wanted), torch.autograd.grad(lse @ weight, wanted), strict=True
            )
            lse_gradient_gap = max(lse_gradient_gap, *(gap_of(*pair) for pair in pairs))
    return {"loss_gap": gap, "gradient_gap": gradient_gap, "lse_gap": lse_gap, "lse_gradient_gap": lse_gradient_gap}


def gradcheck(*, seed: int) -> dict[str, float]:
    """Options whose gradients are not those of central differences.

    Not by torch.autograd.gradcheck: it asks for gradients twice, and imports SymPy, half of the whole tier's time.
    """
    failures = 0
    options = [
        {"softcap": softcap, "z_loss": z, "gradients": gradients, "reduction": reduction}
        for softcap, z, gradients, reduction in itertools.product(
            (None, 2.0), (0.0, 0.1), ("forward", "backward"), ("mean", "none")
        )
        if (gradients, reduction) != ("forward", "none")
    ]
    for one in options:
        e, c, bias, x = draw(seed, 4, 2, 7)
        inputs = [t.requires_grad_() for t in (e, c, bias)]
        weight = torch.linspace(0.5, 2.0, 4, dtype=torch.float64)

        def loss(e, c, bias, x=x, weight=weight, one=one):
            value = linear_cross_entropy(e, c, x, bias=bias, filter_eps=None, block=(2, 4), **one)
            return value @ weight if one["reduction"] == "none" else value

        pairs = zip(torch.autograd.grad(loss(*inputs), inputs), differences(loss, inputs), strict=True)
        failures += any(gap_of(*pair) > 1e-6 for pair in pairs)
    return {"failures": float(failures), "tried": float(len(options))}


def differences(call: Callable, inputs: list[torch.Tensor], step: float = 1e-5) -> list[torch.Tensor]:
    """Central differences of a scalar function."""
    found = []
    with torch.no_grad():
        for number, one in enumerate(inputs):
            slope = torch.zeros_like(one)
            for place in range(one.numel()):
                ends = []
                for sign in (1, -1):
                    moved = [t.detach().clone() for t in inputs]
                    moved[number].view(-1)[place] += sign * step
                    ends.append(call(*moved))
                slope.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
            found.append(slope)
    return found


def streaming(*, seed: int) -> dict[str, float]:
    """Log-sum-exp over random partitions and orders of the columns, with entries of -inf and rows far from zero."""
    rng, gap = torch.Generator().manual_seed(seed), 0.0
    for _ in range(200):
        a = 30 * torch.randn(7, 50, generator=rng, dtype=torch.float64)
        a[0], a[1, 10:] = a[0] + 500, -torch.inf
        order = torch.randperm(50, generator=rng)
        cuts = sorted(set(torch.randint(1, 50, (5,), generator=rng).tolist()))
        gap = max(gap, gap_of(method.streaming_log_sum_exp(a[:, order].tensor_split(cuts, 1)), a.logsumexp(1)))
    nothing = method.streaming_log_sum_exp([torch.full((1, 3), -torch.inf)] * 2)
    return {"gap": gap, "nan_of_nothing": float(nothing.isnan().sum())}


def ignored(*, seed: int) -> dict[str, float]:
    """Ignored tokens, the divisor of the mean, and the shift."""
    changed = de = divisor = shift_gap = shift_tail = 0.0
    for number, gradients in itertools.product(range(20), ("auto", "backward")):
        e, c, _, x = draw(100 * seed + number)
        away = x == -100
        loss = linear_cross_entropy(e.requires_grad_(), c, x, gradients=gradients)
        moved = torch.where(away[:, None], 1e3 * torch.ones_like(e), e)
        changed = max(changed, gap_of(loss, linear_cross_entropy(moved, c, x, gradients=gradients)))
        de = max(de, float(torch.autograd.grad(loss, e)[0][away].abs().max()))
        total = linear_cross_entropy(e, c, x, reduction="sum", gradients=gradients)
        divisor = max(divisor, gap_of(loss, total / (~away).sum()))
        for k in (1, 3):
            shifted = linear_cross_entropy(e, c, x, shift=k, gradients=gradients)
            shift_gap = max(shift_gap, gap_of(shifted, linear_cross_entropy(e[:-k], c, x[k:], gradients=gradients)))
            shift_tail = max(shift_tail, float(torch.autograd.grad(shifted, e)[0][-k:].abs().max()))
    e, c, bias, x = draw(seed)
    inputs = [t.requires_grad_() for t in (e, c, bias)]
    nothing, left = 0, 0.0
    for gradients in ("auto", "backward"):
        loss = linear_cross_entropy(e, c, torch.full_like(x, -100), bias=bias, gradients=gradients)
        nothing += int(loss.isnan())
        left = max(left, *(gap_of(one, torch.zeros_like(one)) for one in torch.autograd.grad(loss, inputs)))
    return {
        "changed": changed, "gradient": de, "divisor_gap": divisor, "shift_gap": shift_gap, "shift_tail": shift_tail,
        "nan_mean_of_nothing": nothing / 2, "gradient_of_nothing": left,
    }  # fmt: skip


def masked(*, seed: int) -> dict[str, float]:
    """Classes masked by a bias of -inf, whole blocks of them and a target among them, beside PyTorch's own loss."""
    gap = 0.0
    for number, gradients, softcap, eps in itertools.product(range(3), ("auto", "backward"), (None, 3.0), (None, 1e-3)):
        e, c, bias, x = draw(100 * seed + number)
        allowed = torch.arange(len(c)) < 3 + 4 * number  # blocks have 4 columns: all but 1, 2 or 3 are masked whole
        bias = torch.where(allowed, bias, -math.inf)
        x = torch.where(x < 0, x, x % int(allowed.sum()))
        # A softcap turns -inf into -s: there the mask is no mask, in either loss.
        x[-1] = len(c) - 1 if softcap else x[-1]
        inputs = [t.requires_grad_() for t in (e, c)]
        losses, lse = reference_losses(e, c, bias, x, softcap)
        truth = losses.sum() / (x != -100).sum()
        options = {"bias": bias, "softcap": softcap, "block": (2, 4)}
        loss = linear_cross_entropy(e, c, x, gradients=gradients, filter_eps=eps, **options)
        own = linear_cross_entropy(e, c, x, reduction="none", return_lse=True, **options)
        gap = max(gap, gap_of(loss, truth), gap_of(own[0], losses), gap_of(own[1], lse))
        if eps is None:
            pairs = zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(truth, inputs), strict=True)
            gap = max(gap, *(gap_of(*pair) for pair in pairs))
    return {"gap": gap}


def precision(*, seed: int) -> dict[str, float]:
    """Tokens that the classifier is sure of, in bfloat16, in both dtypes and under autocast, against float64.

    The truth is the plain loss in float64 of the same rounded values. Gradients: relative error of their norm.
    """
    found = dict.fromkeys(("bfloat16", "mixed_e", "mixed_c", "autocast", "autocast_loss"), 0.0)
    for level, gradients in itertools.product((4e-4, 0.02), ("auto", "backward")):
        e, c, x = confident(seed, level)
        for name, narrow_c in (("bfloat16", True), ("mixed", False), ("autocast", True)):
            given = [e.bfloat16(), c.bfloat16() if narrow_c else c]
            truth, exact = with_gradients(lambda e, c, x=x: F.cross_entropy(e @ c.T, x), [t.double() for t in given])
            with torch.autocast("cpu", enabled=name == "autocast"):
                loss, own = with_gradients(
                    lambda e, c, x=x, gradients=gradients: linear_cross_entropy(
                        e, c, x, gradients=gradients, filter_eps=None, block=(64, 16)
                    ),
                    [e, c] if name == "autocast" else given,
                )
            errors = [float((a - b).norm() / b.norm()) for a, b in zip(own, exact, strict=True)]
            for key, error in zip(("mixed_e", "mixed_c") if name == "mixed" else (name, name), errors, strict=True):
                found[key] = max(found[key], error)
            if name == "autocast":
                found["autocast_loss"] = max(found["autocast_loss"], gap_of(loss, truth))
    return found


def confident(seed: int, level: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """256 embeddings near the weights of their classes, as long as gives a mean loss of `level`; float32."""
    rng = torch.Generator().manual_seed(seed)
    c, x = torch.randn(64, 32, generator=rng), torch.randint(64, (256,), generator=rng)
    e = c[x] + 0.1 * torch.randn(256, 32, generator=rng)
    short, long = 0.0, 10.0
    for _ in range(40):
        middle = (short + long) / 2
        less = F.cross_entropy((middle * e).double() @ c.double().T, x) < level
        short, long = (short, middle) if less else (middle, long)
    return long * e, c, x


def with_gradients(loss: Callable, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The value of a loss and its gradients, at inputs of its own."""
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    value = loss(*inputs)
    return value, torch.autograd.grad(value, inputs)


def pigeonhole(*, seed: int) -> dict[str, float]:
    """Entries of a softmax row that reach eps, beyond floor(1 / eps)."""
    rng = torch.Generator().manual_seed(seed)
    rows = [scale * torch.randn(20, 10_000, generator=rng, dtype=torch.float64) for scale in (0.0, 0.1, 1.0, 5.0)]
    spread = torch.full((1, 10_000), -50.0, dtype=torch.float64)
    counts = []
    for size in (4000, 4095, 4096, 4097):
        spread[0, :size], spread[0, size:] = 0.0, -50.0
        counts.append(int((spread.softmax(1) >= EPS - 1e-18).sum()))
    most = max(int((a.softmax(1) >= EPS).sum(1).max()) for a in rows)
    return {"most": float(max(most, *counts)), "uniform": float(counts[2])}


def filtering(*, seed: int) -> dict[str, float]:
    """What filtered gradients lack, against the sum over the blocks that were dropped."""
    excess = column_excess = 0.0
    wrong = lost_targets = dropped_blocks = rises = 0
    zero_gap = column_sum = 0.0
    full_gaps = {"c": 0.0, "e": 0.0}
    for number, scale in itertools.product(range(2), (1.0, 2.5)):
        e, c, bias, x = draw(100 * seed + number, 24, 8, 96, scale)
        x = x.clamp_min(0)
        base = {"bias": bias, "targets": x, "rows": 6, "columns": 8}
        exact = gradients_of(Problem(e, c, eps=0.0, **base))
        g = torch.full((len(e),), 1 / len(e), dtype=torch.float64)
        probability = (e @ c.T + bias).softmax(1)
        entries = probability - F.one_hot(x, len(c))
        before = None
        for eps in (0.0, 1e-6, 1e-4, EPS, 1e-2, 0.1, 0.5):
            filtered = gradients_of(Problem(e, c, eps=eps, **base))
            kept = filtered.kept.repeat_interleave(6, 0).repeat_interleave(8, 1)
            largest = entries.abs().view(4, 6, 12, 8).amax((1, 3))
            wrong += int((filtered.kept != (largest >= eps)).sum())
            lost_targets += int((~kept & (F.one_hot(x, len(c)) == 1) & (probability <= 1 - eps)).sum())
            dropped_blocks += int((~filtered.kept).sum())
            rises += 0 if before is None else int((filtered.kept & ~before).sum())
            before = filtered.kept
            away = (~kept).double()
            excess = max(excess, float(((filtered.e - exact.e).abs() - g[:, None] * eps * (away @ c.abs())).max()))
            bound = eps * (away.T @ (g[:, None] * e.abs()))
            column_excess = max(column_excess, float(((filtered.c - exact.c).abs() - bound).max()))
            column_sum = max(column_sum, float((filtered.c.sum(0).abs() - bound.sum(0)).max()))
            for preset, which in (("cce_kahan_full_c", "c"), ("cce_kahan_full_e", "e")):
                if eps < 1e-2:  # little is dropped
                    continue
                filters = {k: v for k, v in method.PRESETS[preset].items() if k.startswith("filter")}
                full = gradients_of(Problem(e, c, eps=eps, **base, **filters))
                full_gaps[which] = max(full_gaps[which], gap_of(getattr(full, which), getattr(exact, which)))
        zero_gap = max(zero_gap, float(exact.c.sum(0).abs().max()))
        tiny = gradients_of(Problem(e, c, eps=1e-300, **base))
        full_gap = max(gap_of(tiny.e, exact.e), gap_of(tiny.c, exact.c), gap_of(tiny.bias, exact.bias))
    return {
        "excess_of_e": excess, "excess_of_c": column_excess, "wrong_blocks": float(wrong), "rises": float(rises),
        "lost_targets": float(lost_targets), "dropped_blocks": float(dropped_blocks), "small_eps_gap": full_gap,
        "column_sum": zero_gap, "column_sum_excess": column_sum, "full_c_gap": full_gaps["c"],
        "full_e_gap": full_gaps["e"],
    }  # fmt: skip


def gradients_of(problem: Problem, order: torch.Tensor | None = None) -> method.Gradients:
    """Gradients of the mean loss by the backward pass."""
    lse, _ = problem.log_sum_exp()
    g = torch.full_like(lse, 1 / len(lse))
    return problem.backward(lse, g, torch.zeros_like(g), order)


def paths_agree(*, seed: int) -> dict[str, float]:
    """Filtered gradients made beside the loss and in the backward pass: the same blocks, the same sums."""
    gap, blocks = 0.0, 0
    for number, softcap in itertools.product(range(10), (None, 3.0)):
        e, c, bias, x = draw(100 * seed + number, 24, 8, 96, 2.0)
        problem = Problem(e, c, bias, x.clamp_min(0), softcap=softcap, eps=1e-2, rows=6, columns=8)
        later = gradients_of(problem)
        _, beside = problem.forward_and_backward(0.0, 1 / len(e), (True, True, True))
        gap = max(gap, gap_of(beside.e, later.e), gap_of(beside.c, later.c), gap_of(beside.bias, later.bias))
        blocks += int((beside.kept != later.kept).sum())
    return {"gap": gap, "different_blocks": float(blocks)}


def sorting(*, seed: int) -> dict[str, float]:
    """Any order of the columns, with and without filtering."""
    gap, changed, means_gap = 0.0, 0, 0.0
    for number in range(10):
        e, c, bias, x = draw(100 * seed + number, 24, 8, 96, 2.0)
        base = {"bias": bias, "targets": x.clamp_min(0), "rows": 6, "columns": 8}
        exact = gradients_of(Problem(e, c, **base))
        _, means = Problem(e, c, sort=True, **base).log_sum_exp()
        means_gap = max(means_gap, gap_of(means, (e @ c.T + bias).mean(0)))
        filtered = Problem(e, c, eps=1e-2, **base)
        natural = gradients_of(filtered).kept
        for order in (means.argsort(), torch.randperm(96, generator=torch.Generator().manual_seed(number))):
            other = gradients_of(Problem(e, c, **base), order)
            gap = max(gap, gap_of(exact.e, other.e), gap_of(exact.c, other.c), gap_of(exact.bias, other.bias))
            changed += not torch.equal(natural, gradients_of(filtered, order).kept)
    return {"gap": gap, "changed": float(changed), "means_gap": means_gap}


def constants() -> dict[str, float]:
    """Thresholds, sizes in MiB, and the slope of the softcap."""
    n, d, v, mib = 8192, 2304, 256_000, 2**20
    a = torch.linspace(-50, 50, 1001, dtype=torch.float64, requires_grad=True)
    slope_gap = 0.0
    for s in (0.5, 5.0, 30.0):
        (slope,) = torch.autograd.grad((s * torch.tanh(a / s)).sum(), a)
        capped = method.soft_capped(a.detach().clone(), s)
        slope_gap = max(slope_gap, gap_of(slope, method.soft_cap_slope(capped, s)))
    return {
        "eps_bf16": method.default_eps(torch.bfloat16) * 2**12, "eps_fp16": method.default_eps(torch.float16) * 2**15,
        "eps_fp32": method.default_eps(torch.float32) * 2**28, "gradients_mib": 2 * (v * d + n * d) / mib,
        "logits_mib": 4 * n * v / mib, "slope_gap": slope_gap,
    }  # fmt: skip


def phantom(*, seed: int) -> dict[str, float]:
    """A mask of -inf before the softcap gives phantom classes of logit -s, as in the authors' kernel."""
    worst = {"gap_small": 0.0, "gap_30": 0.0, "own_gap": 0.0}
    for name, s in (("gap_small", 1.0), ("gap_30", 30.0)):
        e, c, _, x = draw(seed, v=129)
        a = s * torch.tanh(e @ c.T / s)
        masked_first = torch.cat([a, torch.full((len(a), 127), -s, dtype=torch.float64)], 1).logsumexp(1)
        _, own = linear_cross_entropy(e, c, x.clamp_min(0), softcap=s, return_lse=True, block=(16, 128))
        worst[name] = gap_of(masked_first, a.logsumexp(1))
        worst["own_gap"] = max(worst["own_gap"], gap_of(own, a.logsumexp(1)))
    return worst


def accumulation(*, seed: int) -> dict[str, float]:
    """The sum of 1e4 terms of bfloat16: it stalls after some hundreds, where a term is half of its last digit."""
    terms = torch.rand(10_000, 1, generator=torch.Generator().manual_seed(seed)).bfloat16()
    truth = float(terms.double().sum())
    errors = {}
    for kind in ("input", "kahan", "float32"):
        sums = Accumulator(torch.zeros(1, 1, dtype=torch.bfloat16), kind)
        where = slice(0, 1)
        for term in terms.split(1):
            sums.add(where, term)
        errors[f"error_{kind}"] = abs(float(sums.total) - truth) / truth
    return errors


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, calls that make no sense, and two places where a block or a token is at an end."""
    e, c, bias, x = draw(seed)
    x = x.clamp_min(0)
    call = functools.partial(linear_cross_entropy, e, c)
    nonsense = (
        lambda: linear_cross_entropy(e, c.long(), x), lambda: linear_cross_entropy(e, c[:, :1], x),
        lambda: linear_cross_entropy(e, c[:0], x), lambda: call(x.float()), lambda: call(x[:1]),
        lambda: call(x + len(c)), lambda: call(x - len(c)), lambda: call(x, bias=bias[:2]),
        lambda: call(x, bias=bias.long()), lambda: call(x, softcap=0.0), lambda: call(x, softcap=math.inf),
        lambda: call(x, shift=len(x)), lambda: call(x, shift=-1), lambda: call(x, reduction="median"),
        lambda: call(x, accumulate="float8"), lambda: call(x, filter_eps=1.0), lambda: call(x, filter_eps=-0.1),
        lambda: call(x, block=(0, 8)), lambda: call(x, block=(8,)),
        lambda: call(x, gradients="forward", return_lse=True),
        lambda: call(x, gradients="forward", reduction="none"),
    )  # fmt: skip
    once = linear_cross_entropy(e.requires_grad_(), c, x)
    once.backward(retain_graph=True)
    try:
        once.backward()
        again = 1.0
    except RuntimeError:
        again = 0.0
    # Four equal logits in two blocks: each S is 1/4, and only the block of the target has a larger |S - onehot|.
    even = Problem(torch.zeros(1, 2), torch.ones(4, 2), None, torch.tensor([0]), eps=0.25, rows=1, columns=2)
    _, beside = even.forward_and_backward(0.0, 1.0, (True, True, True))
    return {
        "other": other_defaults(linear_cross_entropy, **DEFAULTS) + other_defaults(Problem, **PROBLEM),
        "accepted": accepted(*nonsense),
        "twice": again,
        "dropped_at_eps": float((~gradients_of(even).kept).sum() + (~beside.kept).sum()),
        "hopeless_gap": max(_hopeless_gap(way) for way in ("forward", "backward")),
    }


DEFAULTS = {
    "bias": None, "ignore_index": -100, "softcap": None, "z_loss": 0.0, "return_lse": False, "shift": 0,
    "reduction": "mean", "filter_eps": "auto", "filter_e": True, "filter_c": True, "sort": True,
    "accumulate": "input", "gradients": "auto", "block": None,
}  # fmt: skip
PROBLEM = {
    "softcap": None, "eps": 0.0, "filter_e": True, "filter_c": True, "sort": False, "accumulate": "input",
    "rows": 256, "columns": 2048,
}  # fmt: skip


def _hopeless_gap(gradients: str) -> float:
    """Gradients of tokens whose target lies 1,000 nats below the largest logit, alone in its block, by autograd."""
    e = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    c = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1000.0, 1000.0]], dtype=torch.float64)
    x = torch.tensor([0, 1])
    _, truth = with_gradients(lambda e, c: F.cross_entropy(e @ c.T, x), [e, c])
    _, own = with_gradients(
        lambda e, c: linear_cross_entropy(e, c, x, gradients=gradients, filter_eps=None, block=(2, 1)), [e, c]
    )
    return max(gap_of(a, b) for a, b in zip(own, truth, strict=True))
