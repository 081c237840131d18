"""The exact tier: random logits and labels in float64, against closed forms and independent implementations."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from baselines import losses, overlap_losses
from baselines.oracles import Worst, accepted, gap
from suites.dice_loss import method
from suites.dice_loss.contenders import class_by_class
from suites.dice_loss.method import dice, tversky

SMOOTHINGS = (0.01, 0.5, 1.0, 5.0)
DECAYS = (0.01, 0.1, 0.5, 1.0)
SQUARES = (False, True)
PLAIN: dict[str, Any] = {"level": "example", "square": False, "alpha": 0.0}
"""The per-example form, to which the closed forms belong."""
SCRIPTS: dict[str, Any] = {"square": True, "alpha": 0.01, "smooth": 1.0}
"""What the paper's scripts run."""


def draw(count: int, generator: torch.Generator) -> torch.Tensor:
    """Logits of p in (1e-6, 1 - 1e-6): half of them uniform in p, half uniform in the logit."""
    p = 1e-6 + (1 - 2e-6) * torch.rand(count, generator=generator, dtype=torch.float64)
    spread = math.log(1e6 - 1) * (2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1)
    return torch.where(torch.arange(count) % 2 == 0, torch.logit(p), spread)


def logits_of(*p: float) -> torch.Tensor:
    return torch.logit(torch.tensor(p, dtype=torch.float64))


def saturated(predicted: torch.Tensor) -> torch.Tensor:
    """Logits whose p is 0 or 1 to the last bit."""
    return 1e4 * (2 * predicted.double() - 1)


def slopes(z: torch.Tensor, label: int, **form: Any) -> torch.Tensor:
    """d loss / dp of every example at label, by autograd through the logit."""
    z = z.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(dice(z, torch.full_like(z, label, dtype=torch.int64), **form).sum(), z)
    return slope / (z.detach().sigmoid() * (-z.detach()).sigmoid())


# Values.


def hard_predictions(*, seed: int) -> dict[str, float]:
    """Predictions of 0 or 1: on 200 random sets of 1 to 60 examples, and on 50 sets of five classes."""
    from sklearn.metrics import f1_score

    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for _ in range(200):
        size = int(torch.randint(1, 61, (), generator=generator))
        predicted, gold = (torch.rand(2, size, generator=generator) < torch.rand(2, 1, generator=generator)).long()
        if not (predicted | gold).any():
            continue
        true_positive, errors = int((predicted & gold).sum()), int((predicted != gold).sum())
        f1 = f1_score(gold, predicted, zero_division=0.0)
        for square in SQUARES:
            score = 1 - float(dice(saturated(predicted), gold, level="set", square=square, alpha=0.0, smooth=0.0))
            counted = 2 * true_positive / (2 * true_positive + errors)
            worst.note(count_gap=abs(score - counted), f1_gap=abs(score - f1))
    for _ in range(50):
        gold = torch.cat([torch.arange(5), torch.randint(5, (35,), generator=generator)])
        right, other = torch.rand(40, generator=generator) < 0.5, torch.randint(5, (40,), generator=generator)
        predicted = torch.where(right, gold, other)
        logits = 1e4 * F.one_hot(predicted, 5).double()
        scores = 1 - dice(logits, gold, level="set", square=True, alpha=0.0, smooth=0.0, reduction="none")
        worst.note(class_f1_gap=np.abs(scores.numpy() - f1_score(gold, predicted, average=None)).max())
    return worst


def values(*, seed: int) -> dict[str, float]:
    """Closed forms, limits and orders of the losses, on 4,000 random p."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    z, y = draw(4000, generator), torch.randint(2, (4000,), generator=generator)
    p, ones, zeros = z.sigmoid(), torch.ones_like(y), torch.zeros_like(y)
    ends, labels = saturated(torch.tensor([0, 1, 0, 1])), torch.tensor([0, 0, 1, 1])
    for g in SMOOTHINGS:
        example = {**PLAIN, "smooth": g, "reduction": "none"}
        squared = {**example, "square": True}
        worst.note(
            positive_gap=gap(dice(z, ones, **example), (1 - p) / (1 + p + g)),
            negative_gap=gap(dice(z, zeros, **example), p / (p + g)),
            squared_excess=(dice(z, y, **squared) - dice(z, y, **example)).max(),
            endpoint_gap=gap(dice(ends, labels, **squared), dice(ends, labels, **example)),
        )
        for level in ("example", "set"):
            half = tversky(z, y, a=0.5, b=0.5, level=level, alpha=0.0, smooth=g, reduction="none")
            worst.note(tversky_gap=gap(half, dice(z, y, **{**example, "level": level, "smooth": 2 * g})))
        for form in (example, squared):
            worst.note(
                worst_gap=gap(dice(ends[:2].flip(0), torch.tensor([0, 1]), **form), 1 / (1 + g)),
                single_gap=gap(dice(z[:1], y[:1], **form), dice(z[:1], y[:1], **{**form, "level": "set"})),
            )
    two, gold = logits_of(0.9, 0.2), torch.tensor([1, 0])  # 2.8/3.1 of the set, 2.8/2.9 and 1/1.2 of the examples
    levels = (dice(two, gold, **{**PLAIN, "level": level}, smooth=1.0) for level in ("example", "set"))
    wide = 5 * torch.randn(500, 6, generator=generator, dtype=torch.float64)
    classes = torch.randint(6, (500,), generator=generator)
    return worst | {
        "worst_loss": float(dice(saturated(torch.tensor([0])), torch.tensor([1]), **PLAIN, smooth=1.0)),
        "level_difference": gap(*levels),
        "least_rise": _least_rise(z),
        "focal_gap": gap(
            losses.focal(wide, classes, gamma=0.0, reduction="none"), F.cross_entropy(wide, classes, reduction="none")
        ),
    }


def _least_rise(z: torch.Tensor) -> float:
    """The least rise of the Tversky loss at p between eight values of a (y = 0) or b (y = 1).

    Over p (y = 0) or 1 - p (y = 1), without which the rise is as near to 0 as p is.
    """
    weights = torch.linspace(0.1, 3, 8).tolist()
    form: dict[str, Any] = {"level": "example", "alpha": 0.0, "smooth": 1.0, "reduction": "none"}
    negative = [tversky(z, torch.zeros_like(z).long(), a=a, b=0.5, **form) / z.sigmoid() for a in weights]
    positive = [tversky(z, torch.ones_like(z).long(), a=0.5, b=b, **form) / (-z).sigmoid() for b in weights]
    return min(float(torch.stack(curve).diff(dim=0).min()) for curve in (negative, positive))


def consistency(*, seed: int) -> dict[str, float]:
    """Against an independent implementation (baselines.overlap_losses); what masks and shapes must not change."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for classes in (1, 2, 7):
        logits = 6 * torch.randn(12, 10, classes, generator=generator, dtype=torch.float64)
        gold = torch.randint(max(classes, 2), (12, 10), generator=generator)
        mask = torch.rand(12, 10, generator=generator) < 0.7
        flat = (logits.flatten() if classes == 1 else logits.flatten(0, 1)), gold.flatten()
        for (level, summed), alpha in itertools.product((("example", "mean"), ("set", "sum")), (0.0, *DECAYS)):
            form: dict[str, Any] = {"level": level, "alpha": alpha, "smooth": 0.7}
            for square in SQUARES:
                form["square"] = square
                ours = dice(logits, gold, **form)
                worst.note(
                    region_gap=gap(ours, overlap_losses.dice(*flat, reduction=summed, **form)),
                    shape_gap=gap(ours, dice(*flat, **form)),
                    mask_gap=gap(dice(logits, gold, mask=mask, **form), dice(logits[mask], gold[mask], **form)),
                )
            del form["square"]
            theirs = overlap_losses.tversky(*flat, a=0.3, b=0.9, reduction=summed, **form)
            worst.note(region_gap=gap(tversky(logits, gold, a=0.3, b=0.9, **form), theirs))
    return worst | {"accepted": _accepted()}


def _accepted() -> float:
    """How many of these inputs, which make no sense, are not refused."""
    good: dict[str, Any] = {"logits": torch.zeros(3), "targets": torch.tensor([0, 1, 1]), "level": "set", **SCRIPTS}
    bad: list[dict[str, Any]] = [
        {"logits": torch.zeros(3, dtype=torch.int64)}, {"logits": torch.zeros(2, 4)}, {"level": "batch"},
        {"targets": torch.tensor([0, 1, 2])}, {"targets": torch.tensor([0, 1, -1])}, {"targets": torch.zeros(3)},
        {"mask": torch.ones(3)}, {"mask": torch.zeros(3, dtype=torch.bool)}, {"reduction": "sum"},
        {"alpha": -0.1}, {"smooth": -0.1}, {"ohem_ratio": -0.1},
        {"logits": torch.zeros(0), "targets": torch.zeros(0, dtype=torch.int64)},
    ]  # fmt: skip
    return accepted(*(partial(dice, **{**good, **wrong}) for wrong in bad))


# Gradients.


def gradients(*, seed: int) -> dict[str, float]:
    """Autograd against the closed forms, on 4,000 random p and on 50 sets of 40 examples."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    z = draw(4000, generator)
    p, q = z.sigmoid(), (-z).sigmoid()  # q = 1 - p with all its digits
    inert = {**PLAIN, "smooth": 0.0, "reduction": "none"}
    for g in SMOOTHINGS:
        form = {**PLAIN, "smooth": g, "reduction": "none"}
        worst.note(
            positive_gap=gap(slopes(z, 1, **form), -(2 + g) / (1 + p + g) ** 2),
            negative_gap=gap(slopes(z, 0, **form), g / (p + g) ** 2),
        )
        for alpha in DECAYS:
            w, rise = q**alpha * p, q ** (alpha - 1) * (1 - (1 + alpha) * p)
            expected = -(2 + g) / (w + 1 + g) ** 2 * rise
            error = (slopes(z, 1, **{**form, "alpha": alpha}) - expected).abs() / expected.abs().clamp_min(1)
            worst.note(decayed_gap=error.max())
    worst.note(
        inert_loss_gap=gap(dice(z, torch.zeros(4000, dtype=torch.int64), **inert), 1.0),
        inert_slope=slopes(z, 0, **inert).abs().max(),
    )
    for _ in range(50):
        z, y = draw(40, generator).requires_grad_(), torch.randint(2, (40,), generator=generator)
        (slope,) = torch.autograd.grad(dice(z, y, level="set", square=False, alpha=0.0, smooth=0.3), z)
        p = z.detach().sigmoid()
        numerator, size = 2 * (p * y).sum() + 0.3, p.sum() + y.sum() + 0.3
        expected = torch.where(y == 1, -(2 * size - numerator) / size**2, numerator / size**2)
        worst.note(two_values_gap=gap(slope / (p * (-z.detach()).sigmoid()), expected))
    return worst


def self_adjustment() -> dict[str, float]:
    """Where the self-adjusting loss of a positive is least, and how it goes on from there (smoothing 1)."""
    form = {**PLAIN, "smooth": 1.0, "reduction": "none"}
    grid = torch.arange(1, 1_000_000, dtype=torch.float64) / 1e6
    z, ones = torch.logit(grid), torch.ones(len(grid), dtype=torch.int64)
    least = [float(grid[int(dice(z, ones, **{**form, "alpha": alpha}).argmin())]) for alpha in DECAYS]
    full = {**form, "alpha": 1.0}
    half, beyond_half, _ = slopes(logits_of(0.5, 0.55, 1 - 1e-9), 1, **full)
    beyond = slopes(torch.logit(torch.linspace(0.55, 1 - 1e-6, 1000, dtype=torch.float64)), 1, **full)
    start = slopes(torch.tensor([-20.0]).double(), 1, **full)
    lowest, certain = dice(logits_of(0.5, 1 - 1e-9), ones[:2], **full)
    return {
        "argmin_gap": max(abs(p - method.turning_point(alpha)) for p, alpha in zip(least, DECAYS, strict=True)),
        "slope_at_half": float(half.abs()),
        "slope_at_055": float(beyond_half),
        "largest_slope_beyond": float(beyond.abs().max() / start.abs()),
        "rise_to_certainty": float(certain - lowest),
        "turning_point_of_the_scripts": method.turning_point(0.01),
    }


def easy_and_hard() -> dict[str, float]:
    """Gradients by the logit over those of cross-entropy, smoothing 1: easy negatives, hard positives."""
    ratios: dict[str, float] = {}
    forms = {"plain": PLAIN, "adjusted": {**PLAIN, "alpha": 0.01}, "squared": {**PLAIN, "square": True}}
    for name, form in forms.items():
        for kind, p, label in (("easy_negative", 1e-4, 0), ("hard_positive", 1e-6, 1)):
            z, y = logits_of(p).requires_grad_(), torch.tensor([label])
            (ours,) = torch.autograd.grad(dice(z, y, **form, smooth=1.0), z)
            (theirs,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, y.double()), z)
            ratios[f"{kind}_{name}"] = float(ours / theirs)
            if kind == "hard_positive":
                ratios["hard_positive_of_ce"] = float(theirs.abs())
    return ratios


# Numerics, hard negatives, the official code.


def numerics(*, seed: int) -> dict[str, float]:
    """float32 against float64 at logits up to 1e4, and the formula (1 - p)^alpha p taken literally."""
    generator, worst, broken = torch.Generator().manual_seed(seed), Worst(), 0
    for classes in (1, 2, 5):
        scale = 10 ** (torch.rand(3000, 1, generator=generator, dtype=torch.float64) * 4)
        logits = scale * torch.randn(3000, classes, generator=generator, dtype=torch.float64)
        gold = torch.randint(max(classes, 2), (3000,), generator=generator)
        for alpha, square in itertools.product((0.0, *DECAYS), SQUARES):
            form: dict[str, Any] = {**PLAIN, "square": square, "alpha": alpha, "smooth": 1.0, "reduction": "none"}
            single = logits.float().requires_grad_()
            value = dice(single, gold, **form)
            (slope,) = torch.autograd.grad(value.sum(), single)
            broken += int((~slope.isfinite()).sum())
            worst.note(float32_gap=gap(value.double(), dice(single.detach().double(), gold, **form)))
            worst.note(masked_gap=_masked_gap(logits, gold, form))
    certain = torch.linspace(18, 40, 100).requires_grad_()
    p = certain.sigmoid()
    w = (1 - p) ** 0.01 * p
    literal = 1 - (2 * w + 1) / (w + 2)
    (literal_slope,) = torch.autograd.grad(literal.sum(), certain)
    adjusted = {**PLAIN, "alpha": 0.01, "smooth": 1.0, "reduction": "none"}
    truth = dice(certain.double(), torch.ones(100, dtype=torch.int64), **adjusted)
    return worst | {
        "broken_gradients": float(broken),
        "literal_broken_gradients": float((~literal_slope.isfinite()).sum()),
        "literal_gap": gap(literal.double(), truth),
    }


def _masked_gap(logits: torch.Tensor, gold: torch.Tensor, form: dict[str, Any]) -> float:
    """Losses and gradients where logits are -inf, all but one in the first row, against -1e6 in their place."""
    classes = logits.shape[1]
    away = (torch.arange(len(logits))[:, None] + torch.arange(classes)) % 3 == 0
    away[0], away[:, -1] = True, False
    if classes == 1:
        away[::3] = True
    found = []
    for low in (-torch.inf, -1e6):
        z = logits.clamp(-50, 50).masked_fill(away, low).requires_grad_()
        value = dice(z, gold, **form)
        found.append((value, torch.autograd.grad(value.sum(), z)[0]))
    return max(gap(mine, theirs) for mine, theirs in zip(*found, strict=True))


def hard_negatives(*, seed: int) -> dict[str, float]:
    """OHEM: which negatives are kept, ours and by the official threshold, on 200 random sets; four classes on 20."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for _ in range(200):
        size = int(torch.randint(20, 80, (), generator=generator))
        z, y = draw(size, generator), (torch.rand(size, generator=generator) < 0.3).long()
        y[:3] = torch.tensor([0, 0, 1])
        ratio = float(torch.rand((), generator=generator))
        negatives, positives = int((y == 0).sum()), int(y.sum())
        count = min(int(positives * ratio), negatives)
        kept = method.hardest_negatives(z[:, None], (y == 0)[:, None], torch.tensor([count]))[:, 0]
        tied = method.hardest_negatives(0 * z[:, None], (y == 0)[:, None], torch.tensor([count]))[:, 0]
        left = z[(y == 0) & ~kept]
        chosen = torch.cat([z[y == 1], z[y == 0].topk(count).values])
        labels = torch.cat([torch.ones(positives), torch.zeros(count)]).long()
        for level in ("set", "example"):
            form = {"level": level, **SCRIPTS}
            worst.note(loss_gap=gap(dice(z, y, ohem_ratio=ratio, **form), dice(chosen, labels, **form)))
        threshold = method.official_negatives(z.sigmoid(), y == 0, count)
        seen, theirs = (y == 1) | threshold, int(threshold.sum())
        worst.note(
            count_gap=abs(int(kept.sum()) - count),
            order_gap=float(left.max() - z[kept].min()) if count and len(left) else -math.inf,
            tie_gap=float(((y == 0).cumsum(0) <= count).logical_and(y == 0).ne(tied).sum()),
            official_gap=abs(theirs - count),
            official_rule_gap=abs(theirs - (count - 2 if count > 1 else negatives - 2 + count)),
            official_loss_gap=gap(
                method.official(z, y, ohem_ratio=ratio, **SCRIPTS), method.official(z[seen], y[seen], **SCRIPTS)
            ),
        )
    for _ in range(20):
        logits = 3 * torch.randn(40, 4, generator=generator, dtype=torch.float64)
        gold = torch.randint(4, (40,), generator=generator)
        for level in ("set", "example"):
            form = {"level": level, **SCRIPTS}
            alone = sum(_of_class(p, gold == k, form) for k, p in enumerate(logits.softmax(1).unbind(1)))
            worst.note(classes_gap=gap(dice(logits, gold, ohem_ratio=0.5, **form), alone))
    return worst


def _of_class(p: torch.Tensor, positive: torch.Tensor, form: dict[str, Any]) -> torch.Tensor:
    """The loss of one class with half as many of its hardest negatives as it has positives, by `overlap_losses`."""
    hardest = p[~positive].topk(min(int(0.5 * positive.sum()), int((~positive).sum()))).values
    labels = torch.cat([torch.ones(int(positive.sum())), torch.zeros(len(hardest))]).long()
    return overlap_losses.dice(torch.logit(torch.cat([p[positive], hardest])), labels, **form)


def official_code(*, seed: int) -> dict[str, float]:
    """The compatibility mode against a loop over classes, and what its forms are and are not."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(64, 5, generator=generator, dtype=torch.float64)
    gold, mask = torch.randint(5, (64,), generator=generator), torch.rand(64, generator=generator) < 0.7
    single, binary = logits[:, 0], (gold == 0).long()
    worst = Worst()
    for (z, y), square, shown in itertools.product(((logits, gold), (single, binary)), SQUARES, (None, mask)):
        form: dict[str, Any] = {**SCRIPTS, "square": square, "mask": shown}
        worst.note(loop_gap=gap(method.official(z, y, **form), class_by_class(z, y, **form)))
    of_the_set, perfect = method.official(single, binary, **SCRIPTS), 1e4 * F.one_hot(gold, 5).double()
    unsquared, squared = (method.official(perfect, gold, square=square, alpha=0.0, smooth=1.0) for square in SQUARES)
    none = torch.zeros(3, dtype=torch.bool)
    return worst | {
        "short": accepted(
            lambda: method.official_negatives(torch.zeros(3), none, 1),
            lambda: method.official_negatives(torch.zeros(3), ~none & (torch.arange(3) == 0), 0),
        ),
        "squared_gap": gap(method.official(logits, gold, **SCRIPTS), dice(logits, gold, level="example", **SCRIPTS)),
        "binary_set_gap": gap(of_the_set, dice(single, binary, level="set", **SCRIPTS)),
        "binary_example_gap": gap(of_the_set, dice(single, binary, level="example", **SCRIPTS)),
        "perfect_unsquared": float(unsquared),
        "perfect_squared": float(squared),
    }
