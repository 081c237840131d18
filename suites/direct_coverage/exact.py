"""The exact tier in float64: the loss and its gradient by other means, what is best for N tries, and released code."""

from __future__ import annotations

import decimal
import itertools
import math
from decimal import Decimal

import numpy as np
import torch
from scipy.stats import binom
from torch.nn import functional as F

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement.rollouts import pass_at_k
from baselines.timing import interleaved
from suites.direct_coverage import method

TRIES = (1, 2, 4, 16, 256)
FORMS: tuple[method.Form, ...] = ("loss", "surrogate", "official")


def plain(p: torch.Tensor, n: float) -> torch.Tensor:
    """F(N, p) by its formula, for p < 1."""
    return n * p * (1 - p) ** (n - 1) / -torch.expm1(n * torch.log1p(-p))


def slope(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(values.sum(), at, retain_graph=True)[0]


# The loss.


def gradients(*, seed: int) -> dict[str, float]:
    """12 batches of 8 sequences of up to 5 tokens: gradients of the loss and of its surrogates, in the logits."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for _ in range(12):
        logits = (2 * torch.randn(8, 5, 7, generator=generator, dtype=torch.float64)).requires_grad_()
        targets = torch.randint(7, (8, 5), generator=generator)
        lengths = torch.randint(1, 6, (8, 1), generator=generator)
        targets = targets.masked_fill(torch.arange(5) >= lengths, -100)
        log_p = logits.log_softmax(-1).gather(2, targets.clamp_min(0)[..., None]).squeeze(2)
        log_p = (log_p * (targets >= 0)).sum(1)
        of_ce, p = slope(-log_p, logits), log_p.detach().exp()
        worst.note(log_probability_gap=gap(method.log_probability(logits, targets), log_p))
        for n in TRIES:
            weight = (torch.ones_like(p) if n == 1 else plain(p, n))[:, None, None]
            expected, size = weight * of_ce, (weight * of_ce).abs().max()
            for form in FORMS:
                values = method.direct_coverage(logits, targets, n=n, form=form, reduction="none")
                want = expected / lengths[..., None] if form == "official" else expected
                worst.note(**{f"{form}_gap": gap(slope(values, logits), want) / float(size)})
                if form == "loss":
                    worst.note(value_gap=gap(values, -torch.log(-torch.expm1(n * torch.log1p(-p)))))
                mean = method.direct_coverage(logits, targets, n=n, form=form, reduction="mean")
                total = method.direct_coverage(logits, targets, n=n, form=form, reduction="sum")
                worst.note(reduction_gap=max(gap(mean, values.mean()), gap(total, values.sum())))
    return worst


def shape() -> dict[str, float]:
    """F on 2,000 p from 1e-9 to 1 - 1e-9 and at the ends, for N from 1 to 4,096."""
    worst = Worst()
    ends = torch.tensor([-math.inf, -800.0, 0.0], dtype=torch.float64)
    odds = torch.linspace(-20.7, 20.7, 2000, dtype=torch.float64)
    x = F.logsigmoid(odds)
    rising = [1, 1.5, 2, 3, 4, 16, 256, 4096]
    factors = torch.stack([method.factor(x, n) for n in rising])
    worst.note(
        outside=float(((factors < 0) | (factors > 1)).sum()),
        one_gap=gap(factors[0], 1.0),
        ends_gap=max(gap(method.factor(ends, n), torch.tensor([1.0, 1.0, 0.0])) for n in rising[1:]),
        # Where p is so small that F rounds to 1, and so large that it is 0, neighbours are equal.
        rise_in_p=float(factors.diff(dim=1).max()),
        rise_in_n=float(factors.diff(dim=0).max()),
        flat=float(((factors.diff(dim=1) >= 0) & (factors[:, 1:] > 1e-9) & (factors[:, :-1] < 1 - 1e-6)).sum()),
    )
    for n in TRIES:
        near = x[(x > -15) & (x < -1e-3)]
        step = 1e-5
        up, down = (method.coverage(near + off, n).log() for off in (step, -step))
        worst.note(elasticity_gap=gap((up - down) / (2 * step), method.factor(near, n)))
        small = torch.logspace(-12, math.log10(0.1 / n), 200, dtype=torch.float64)
        residual = (method.factor(small.log(), n) - (1 - (n - 1) * small / 2)).abs() - (n * small) ** 2
        series = method.coverage_loss(small.log(), n) - (-math.log(n) - small.log() + (n - 1) * small / 2)
        worst.note(small_excess=float(torch.maximum(residual, series.abs() - (n * small) ** 2).max()))
    for c in (0.5, 1.0, 2.0, 5.0):
        far = method.factor(torch.tensor(math.log(c) - math.log(1e12), dtype=torch.float64), 1e12)
        worst.note(scale_gap=gap(far, c / math.expm1(c)))
    at_256 = method.factor(torch.tensor(-math.log(256), dtype=torch.float64), 256)
    return {**worst, "at_one_in_256": float(at_256)}


def digits() -> dict[str, float]:
    """Loss, coverage and F against 400-digit arithmetic, N from 1 to 1e30, log p from -760 to -1e-300; relative."""
    worst = Worst()
    points = (-760, -700, -300, -60, -40.1, -39.9, -20, -3, -0.7, -0.5, -1e-2, -1e-9, -1e-20, -1e-300)
    x = torch.tensor(points, dtype=torch.float64)
    with decimal.localcontext(prec=400):
        p = [Decimal(one).exp() for one in points]
        for n in (1, 2, 3.5, 16, 256, 10**6, 1e30):
            missed = [(1 - one) ** Decimal(n) for one in p]
            of_f = [Decimal(n) * a * m / (1 - a) / (1 - m) for a, m in zip(p, missed, strict=True)]
            found = {
                "loss": (method.coverage_loss(x, n), [-(1 - m).ln() for m in missed]),
                "coverage": (method.coverage(x, n), [1 - m for m in missed]),
                "factor": (method.factor(x, n), of_f),
            }
            for name, (values, by_hand) in found.items():
                for value, expected in zip(values.tolist(), by_hand, strict=True):
                    if expected > Decimal("1e-290"):  # below it floats lose digits themselves
                        worst.note(**{f"{name}_gap": float(abs(Decimal(value) - expected) / expected)})
    return worst


def smoothness(*, seed: int) -> dict[str, float]:
    """Second derivatives against differences of first ones, for p from 1e-9 to .999."""
    worst = Worst()
    x = -torch.logspace(-3, math.log10(20), 40, dtype=torch.float64)[torch.randperm(40, generator=_stream(seed))]
    for n in (*TRIES, 3.5):
        free = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(method.coverage_loss(free, n).sum(), free, create_graph=True)
        second = slope(first, free)
        step = 1e-6
        differences = (method.factor(x - step, n) - method.factor(x + step, n)) / (2 * step)
        worst.note(second_gap=float(((second - differences).abs() / (1 + differences.abs())).max()))
    return worst


def extremes() -> dict[str, float]:
    """Logits of 1e4 and -inf, no examples, no tokens, one class, views and half precision; what is wrong is counted."""
    wrong = 0
    for dtype, form in itertools.product((torch.float16, torch.bfloat16, torch.float32), FORMS[:2]):
        logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], dtype=dtype).requires_grad_()
        targets = torch.tensor([2, 1])
        for n in (1, 16):
            values = method.direct_coverage(logits, targets, n=n, form=form, reduction="none")
            gradient = slope(values, logits)
            wrong += int(values.dtype != torch.float32) + int((~values.isfinite()).sum()) + int(values[1] != 0)
            # Rows: an answer that is all but impossible trains in full, a certain one not at all.
            wrong += int(gap(gradient[0], torch.tensor([1.0, 0.0, -1.0])) > 1e-6) + int(gap(gradient[1]) > 0)
            impossible = torch.tensor([[-math.inf, 0.0, 1.0]], dtype=dtype)
            lost = method.direct_coverage(impossible, targets[:1] - 2, n=n, form=form)
            wrong += int(lost != math.inf)
            rest = method.direct_coverage(impossible, targets[:1] - 1, n=n, form=form)
            wrong += int(gap(rest, method.direct_coverage(impossible[:, 1:], targets[:1] - 2, n=n, form=form)) > 1e-6)
            wrong += method.direct_coverage(logits[:0], targets[:0], n=n, form=form, reduction="none").numel()
            wrong += int(method.direct_coverage(logits[:, :1], 0 * targets, n=n, form=form) != 0)
            silent = method.direct_coverage(logits, targets.fill_(-100), n=n, form=form)
            wrong += int(silent != 0)
            targets = torch.tensor([2, 1])
    wide = torch.randn(6, 4, 5, generator=_stream(0), dtype=torch.float64)
    turned, targets = wide.transpose(0, 1), torch.arange(24).view(6, 4) % 5
    by_view = method.direct_coverage(turned, targets.T, n=16)
    wrong += int(gap(by_view, method.direct_coverage(turned.contiguous(), targets.T.contiguous(), n=16)) > 0)
    above = torch.tensor([1e-9], dtype=torch.float64)  # a sum of logarithms that rounding has taken beyond p = 1
    wrong += int(method.factor(above, 16) != 0) + int(method.coverage(above, 16) != 1)
    nan = torch.tensor([[math.nan, 0.0]])
    wrong += int(not bool(method.direct_coverage(nan, torch.tensor([0]), n=16).isnan()))
    x = torch.zeros(2, 3, dtype=torch.float64)
    refused = accepted(
        lambda: method.direct_coverage(nan, torch.tensor([2]), n=16),
        lambda: method.direct_coverage(nan, torch.tensor([-1]), n=16),
        lambda: method.direct_coverage(nan, torch.tensor([0.0]), n=16),
        lambda: method.direct_coverage(nan.long(), torch.tensor([0]), n=16),
        lambda: method.direct_coverage(nan, torch.tensor([[0]]), n=16),
        lambda: method.direct_coverage(nan, torch.tensor([0]), n=16, form="other"),  # type: ignore[arg-type]
        lambda: method.direct_coverage(nan, torch.tensor([0]), n=16, reduction="other"),  # type: ignore[arg-type]
        lambda: method.factor(x, 0.5),
        lambda: method.factor(x, math.inf),
        lambda: method.factor(x.long(), 2),
        lambda: method.stepwise(x[0], 2),
        lambda: method.stepwise(x, 2, mask=x),
        lambda: method.from_samples(x[0], x > 0, 2),
        lambda: method.best_policy(x, 2),
        lambda: method.best_policy(x - 1, 2),
        lambda: next(method.contributing([0], lambda ids: x[0, : len(ids)], n=2, size=0)),
    )
    return {"wrong": float(wrong), "accepted": refused}


# What is best for N tries.


def policies(*, seed: int, draws: int) -> dict[str, float]:
    """The best policy against gradient ascent, its conditions of optimality, and bounds on its confidence."""
    generator, worst = _stream(seed), Worst()
    example = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    by_hand = {1: [1.0, 0, 0, 0], 2: [0.625, 0.375, 0, 0], 1e9: [0.25] * 4}
    worst.note(example_gap=max(gap(method.best_policy(example, n), torch.tensor(p)) for n, p in by_hand.items()))
    single = example.float()
    worst.note(example_gap=gap(method.best_policy(single, 3), method.best_policy(single.double(), 3)))
    for n in (2, 3, 8, 64):
        p = method.best_policy(example, n)
        found = ascended(example, n)
        value, reached = ((example * (1 - (1 - one) ** n)).sum() for one in (p, found))
        worst.note(ascent_gap=gap(value, reached), ascent_distance=gap(p, found))
    for classes in (2, 3, 5, 10):
        shape = torch.full((draws // 4, classes), 0.5, dtype=torch.float64)
        # A Dirichlet draw is a normalised one of gammas.
        q = torch.from_numpy(np.random.default_rng(seed + classes).gamma(shape.numpy())).clamp_min(1e-12)
        q = q / q.sum(1, keepdim=True)
        rivals = torch.rand(20, len(q), classes, generator=generator, dtype=torch.float64) ** 3
        rivals = rivals / rivals.sum(-1, keepdim=True)
        largest = []
        for n in (1, 2, 3, 8, 64, 1000):
            p, bounds = method.best_policy(q, n), method.confidence_bound(q, n)
            value = (q * -torch.expm1(n * torch.log1p(-p))).nan_to_num().sum(1)
            others = (q * (1 - (1 - rivals) ** n)).sum(-1)
            mixed = (q * (1 - (1 - (0.99 * p + 0.01 * rivals)) ** n)).sum(-1)
            largest.append(p.amax(1))
            worst.note(
                sum_gap=gap(p.sum(1), 1.0),
                beaten_by=float((torch.maximum(others, mixed) - torch.where(p.amax(1) == 1, q.amax(1), value)).max()),
                bound_excess=float((p.amax(1, keepdim=True) - bounds).max()),
                bound_gap=gap(bounds.amin(1), p.amax(1)),
                sure=float((p.amax(1) == 1).sum()) if n > 1 else float((p.amax(1) < 1).sum()),
            )
        worst.note(rise=float(torch.stack(largest).diff(dim=0).max()))
    alone = torch.tensor([0.0, 0.7, 0.0], dtype=torch.float64)
    worst.note(alone_gap=max(gap(method.best_policy(alone, n), torch.tensor([0.0, 1.0, 0.0])) for n in (1, 2, 50)))
    return worst


def ascended(q: torch.Tensor, n: float) -> torch.Tensor:
    """The policy that gradient ascent on the logits finds for chances q (K,)."""
    logits = torch.zeros_like(q, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -(q * (1 - (1 - logits.softmax(0)) ** n)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return logits.detach().softmax(0)


def examples() -> dict[str, float]:
    """Two problems whose coverage can be told by hand."""
    log = torch.tensor([0.1, 0.2, 0.05, 0.5], dtype=torch.float64).log()
    spread = {n: float(method.coverage(log[0], n)) for n in range(1, 30)}
    solves_one = [float(method.coverage(torch.tensor([0.0, -math.inf], dtype=torch.float64), n).mean()) for n in TRIES]
    at_16 = method.coverage(log, 16)
    least = min(n for n, value in spread.items() if value > 0.5)
    return {
        "by_hand_gap": gap(list(spread.values()), [1 - 0.9**n for n in spread]),
        "one_of_two_gap": gap(solves_one, 0.5),
        "overtakes_at": float(least),
        "at_seven": spread[7],
        "gain": float(at_16[3] - at_16[1]),
        "loss": float(at_16[0] - at_16[2]),
    }


def estimator() -> dict[str, float]:
    """The mean of 1 - C(n - c, k) / C(n, k) over c of Binomial(n, p), which is 1 - (1 - p)^k; n up to 20."""
    worst = Worst()
    for n, p in itertools.product((1, 2, 5, 20), (0.0, 0.01, 0.3, 0.9, 1.0)):
        outcomes = torch.tril(torch.ones(n + 1, n), -1).bool()  # row c has c right samples
        weights = torch.from_numpy(binom.pmf(np.arange(n + 1), n, p))
        for k in range(1, n + 1):
            mean = (weights * pass_at_k(outcomes.flatten(), n, k)).sum()
            worst.note(expectation_gap=gap(mean, method.coverage(torch.tensor(p, dtype=torch.float64).log(), k)))
    return worst


def proofs(*, seed: int) -> dict[str, float]:
    """Gradients of stepwise and of whole losses in the steps' log-probabilities; chains of thought by samples."""
    generator, worst = _stream(seed), Worst()
    for n in TRIES:
        x = (-2 * torch.rand(20, 4, generator=generator, dtype=torch.float64) - 0.01).requires_grad_()
        mask = torch.rand(20, 4, generator=generator) < 0.7
        p = x.detach().exp()
        product = torch.where(mask, p, 1.0).prod(1, keepdim=True)
        each = slope(method.stepwise(x, n, mask=mask), x)
        whole = slope(method.stepwise(x, n, whole=True, mask=mask), x)
        of_one = torch.ones_like(p) if n == 1 else plain(p, n)
        of_all = torch.ones_like(product) if n == 1 else plain(product.clamp_max(1 - 1e-12), n)
        worst.note(step_gap=gap(each, -of_one * mask), whole_gap=gap(whole, -of_all * mask))
        right = torch.rand(20, 64, generator=generator) < 0.1
        right[0], right[1] = True, False
        losses, share = torch.rand(20, generator=generator, dtype=torch.float64), right.double().mean(1)
        weight = torch.where(share == 0, 1.0, plain(share.clamp_min(1e-9), n) if n > 1 else 1.0)
        worst.note(samples_gap=gap(method.from_samples(losses, right, n), weight * losses))
    return worst


def batches(*, seed: int) -> dict[str, float]:
    """500 candidates of random p, whose model learns while they are drawn: what is kept, in which batches."""
    generator, wrong = _stream(seed), 0
    x = (-6 * torch.rand(500, generator=generator, dtype=torch.float64)) + 0.0
    looks: list[list[int]] = []

    def log_p(ids: list[int]) -> torch.Tensor:
        looks.append(ids)
        return x[ids] / len(looks)  # more confident with every look

    drawn = list(method.contributing(range(500), log_p, n=16, size=32))
    expected = [one for k, ids in enumerate(looks) for one in ids if plain((x[one] / (k + 1)).exp(), 16) > 0.1]
    wrong += int(list(itertools.chain(*drawn)) != expected[: len(expected) // 32 * 32]) + sum(
        len(batch) != 32 for batch in drawn
    )
    wrong += int([len(ids) for ids in looks] != [128, 128, 128, 116])
    shares = [float((method.factor(x / k, 16) < 0.1).double().mean()) for k in range(1, 5)]
    wrong += int(sorted(shares) != shares)
    # All F above the threshold: every candidate is kept, in order, whatever the size of a look.
    unsure = method.contributing(iter(range(10)), lambda ids: torch.full((len(ids),), -9.0), n=2, size=3, looked_at=4)
    whole = list(unsure)
    wrong += int(whole != [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    half = torch.tensor([0.5]).log()  # F(2, 1/2) = 2/3
    for bar, count in ((0.66, 1), (0.67, 0)):
        kept = method.contributing([7], lambda _: half, n=2, size=1, threshold=bar)
        wrong += int(len(list(kept)) != count)
    return {"wrong": float(wrong)}


def official_code() -> dict[str, float]:
    """The approximation below N p = 0.1, and the weight that the published command gives to hard questions."""
    worst = Worst()
    for n in (2, 16, 64, 256, 4096):
        edge = torch.tensor([0.1 / n * (1 - 1e-9), 0.1 / n * (1 + 1e-9)], dtype=torch.float64).log()
        below = torch.logspace(-8, math.log10(0.1 / n), 400, dtype=torch.float64).log()[:-1]
        found = method.official_factor(edge, n)
        worst.note(error=gap(method.official_factor(below, n), method.factor(below, n)), jump=gap(*found))
        above = torch.linspace(0.11 / n, 0.9, 50, dtype=torch.float64).log()
        worst.note(above_gap=gap(method.official_factor(above, n), method.factor(above, n)))
    hard = torch.arange(0, 7, dtype=torch.float64) / 64  # of 64 samples, fewer than a tenth right
    return {**worst, "lightest_of_hard": float(method.factor(hard.log(), 1).min())}


def defaults() -> dict[str, float]:
    other = (
        other_defaults(method.direct_coverage, form="loss", ignore_index=-100, reduction="mean"),
        other_defaults(method.log_probability, ignore_index=-100),
        other_defaults(method.stepwise, whole=False, mask=None),
        other_defaults(method.contributing, looked_at=128, threshold=0.1),
    )
    return {"other": sum(other)}


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds of forward and backward, 64 answers of 16 tokens over 1,000 tokens, in turn with cross-entropy."""
    logits = torch.randn(64, 16, 1000, generator=_stream(seed)).requires_grad_()
    targets = torch.randint(1000, (64, 16), generator=_stream(seed))
    return interleaved(
        {
            "seconds": lambda: torch.autograd.grad(method.direct_coverage(logits, targets, n=16), logits),
            "seconds_of_cross_entropy": lambda: torch.autograd.grad(
                F.cross_entropy(logits.flatten(0, 1), targets.flatten()), logits
            ),
        },
        rounds=20,
    )


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
