"""The experiments of dice-loss: each measures and returns metrics; the rules that judge them are in paper.toml.

Exact experiments run on random logits and labels in float64. What is measured on digits, on tagged sentences and with
BERT is in `on_digits.py`, `on_sentences.py` and `bert.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch.nn import functional as F

import reference
from baselines import losses
from baselines import overlap_losses as region
from suites.dice_loss import method, on_digits, on_sentences
from suites.dice_loss.method import dice, tversky

Metrics = dict[str, float | list[float]]
Loss = Callable[..., torch.Tensor]

SMOOTHINGS = (0.01, 0.5, 1.0, 5.0)
DECAYS = (0.01, 0.1, 0.5, 1.0)
PLAIN: dict[str, Any] = {"level": "example", "square": False, "alpha": 0.0}
"""The per-example form, to which the closed forms belong."""


# Exact tier: values.


def hard_predictions(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E1 on 200 random sets of 1 to 60 examples, and on 50 sets of five classes."""
    generator = torch.Generator().manual_seed(seed)
    counts, f1s, classes = [0.0], [0.0], [0.0]
    for _ in range(200):
        size = int(torch.randint(1, 61, (), generator=generator))
        predicted, gold = (torch.rand(2, size, generator=generator) < torch.rand(2, 1, generator=generator)).long()
        if not (predicted | gold).any():
            continue
        true_positive, errors = int((predicted & gold).sum()), int((predicted != gold).sum())
        for square in (False, True):
            score = 1 - float(dice(_saturated(predicted), gold, level="set", square=square, alpha=0.0, smooth=0.0))
            counts.append(abs(score - 2 * true_positive / (2 * true_positive + errors)))
            f1s.append(abs(score - f1_score(gold, predicted, zero_division=0.0)))
    for _ in range(50):
        gold = torch.cat([torch.arange(5), torch.randint(5, (35,), generator=generator)])
        predicted = torch.where(
            torch.rand(40, generator=generator) < 0.5, gold, torch.randint(5, (40,), generator=generator)
        )
        logits = 1e4 * F.one_hot(predicted, 5).double()
        scores = 1 - dice(logits, gold, level="set", square=True, alpha=0.0, smooth=0.0, reduction="none")
        classes.append(float(np.abs(scores.numpy() - f1_score(gold, predicted, average=None)).max()))
    return {"count_gap": max(counts), "f1_gap": max(f1s), "class_f1_gap": max(classes)}


def values(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E2, E3, E4, E10, E11, E13, E14 on 4,000 random p."""
    generator = torch.Generator().manual_seed(seed)
    z, y = _logits(4000, generator), torch.randint(2, (4000,), generator=generator)
    p, ones, zeros = z.sigmoid(), torch.ones(4000, dtype=torch.int64), torch.zeros(4000, dtype=torch.int64)
    found: dict[str, list[torch.Tensor]] = {}

    def note(name: str, gap: torch.Tensor) -> None:
        found.setdefault(name, []).append(gap.abs().max())

    for g in SMOOTHINGS:
        example = {**PLAIN, "smooth": g, "reduction": "none"}
        note("positive_gap", dice(z, ones, **example) - (1 - p) / (1 + p + g))
        note("negative_gap", dice(z, zeros, **example) - p / (p + g))
        for level in ("example", "set"):
            half = tversky(z, y, a=0.5, b=0.5, level=level, alpha=0.0, smooth=g, reduction="none")
            note("tversky_gap", half - dice(z, y, **{**example, "level": level, "smooth": 2 * g}))
        for square in (False, True):
            form = {**example, "square": square}
            wrong = dice(_saturated(torch.tensor([1, 0])), torch.tensor([0, 1]), **form)
            note("worst_gap", wrong - 1 / (1 + g))
            note("single_gap", dice(z[:1], y[:1], **form) - dice(z[:1], y[:1], **{**form, "level": "set"}))
        squared = dice(z, y, **{**example, "square": True}) - dice(z, y, **example)
        found.setdefault("squared_excess", []).append(squared.max())
        ends, labels = _saturated(torch.tensor([0, 1, 0, 1])), torch.tensor([0, 0, 1, 1])
        note("endpoint_gap", dice(ends, labels, **{**example, "square": True}) - dice(ends, labels, **example))
    return {
        **{name: float(torch.stack(gaps).max()) for name, gaps in found.items()},
        "worst_loss": float(dice(_saturated(torch.tensor([0])), torch.tensor([1]), **PLAIN, smooth=1.0)),
        "level_difference": float(_level_difference()),
        "least_rise": _least_rise(z),
        "focal_gap": _focal_gap(generator),
    }


def _level_difference() -> torch.Tensor:
    """E10: p = .9 with y = 1 and p = .2 with y = 0: 2.8/3.1 of the set, 2.8/2.9 and 1/1.2 of the examples."""
    z, y = torch.logit(torch.tensor([0.9, 0.2], dtype=torch.float64)), torch.tensor([1, 0])
    return (dice(z, y, **PLAIN, smooth=1.0) - dice(z, y, **{**PLAIN, "level": "set"}, smooth=1.0)).abs()


def _least_rise(z: torch.Tensor) -> float:
    """E11: the least rise of the Tversky loss at p, over p, between eight values of a (y = 0) or b (y = 1).

    Over p (y = 0) or 1 - p (y = 1), without which the rise is as near to 0 as p is.
    """
    weights = torch.linspace(0.1, 3, 8).tolist()
    form: dict[str, Any] = {"level": "example", "alpha": 0.0, "smooth": 1.0, "reduction": "none"}
    negative = [tversky(z, torch.zeros_like(z).long(), a=a, b=0.5, **form) / z.sigmoid() for a in weights]
    positive = [tversky(z, torch.ones_like(z).long(), a=0.5, b=b, **form) / (-z).sigmoid() for b in weights]
    return min(float(torch.stack(curve).diff(dim=0).min()) for curve in (negative, positive))


def _focal_gap(generator: torch.Generator) -> float:
    logits = 5 * torch.randn(500, 6, generator=generator, dtype=torch.float64)
    gold = torch.randint(6, (500,), generator=generator)
    return _gap(
        losses.focal(logits, gold, gamma=0.0, reduction="none"), F.cross_entropy(logits, gold, reduction="none")
    )


def consistency(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """Against an independent implementation (baselines.overlap_losses); what masks and shapes must not change."""
    generator = torch.Generator().manual_seed(seed)
    gaps, subsets, shapes = [], [], []
    for classes in (1, 2, 7):
        logits = 6 * torch.randn(12, 10, classes, generator=generator, dtype=torch.float64)
        gold = torch.randint(max(classes, 2), (12, 10), generator=generator)
        mask = torch.rand(12, 10, generator=generator) < 0.7
        flat = logits.flatten() if classes == 1 else logits.flatten(0, 1)
        for level, reduction in (("example", "mean"), ("set", "sum")):
            for alpha in (0.0, *DECAYS):
                form: dict[str, Any] = {"level": level, "alpha": alpha, "smooth": 0.7}
                for square in (False, True):
                    ours = dice(logits, gold, square=square, **form)
                    gaps.append(
                        _gap(ours, region.dice(flat, gold.flatten(), square=square, reduction=reduction, **form))
                    )
                    shapes.append(_gap(ours, dice(flat, gold.flatten(), square=square, **form)))
                    masked = dice(logits, gold, square=square, mask=mask, **form)
                    subsets.append(_gap(masked, dice(logits[mask], gold[mask], square=square, **form)))
                ours = tversky(logits, gold, a=0.3, b=0.9, **form)
                theirs = region.tversky(flat, gold.flatten(), a=0.3, b=0.9, reduction=reduction, **form)
                gaps.append(_gap(ours, theirs))
    return {"region_gap": max(gaps), "mask_gap": max(subsets), "shape_gap": max(shapes), "accepted": _accepted()}


def _accepted() -> float:
    """How many of these inputs, which make no sense, are not refused."""
    good: dict[str, Any] = {"logits": torch.zeros(3), "targets": torch.tensor([0, 1, 1])}
    good |= {"level": "set", "square": True, "alpha": 0.01, "smooth": 1.0}
    bad: list[dict[str, Any]] = [
        {"logits": torch.zeros(3, dtype=torch.int64)}, {"logits": torch.zeros(2, 4)}, {"level": "batch"},
        {"targets": torch.tensor([0, 1, 2])}, {"targets": torch.tensor([0, 1, -1])}, {"targets": torch.zeros(3)},
        {"mask": torch.ones(3)}, {"mask": torch.zeros(3, dtype=torch.bool)}, {"reduction": "sum"},
        {"alpha": -0.1}, {"smooth": -0.1}, {"ohem_ratio": -0.1},
        {"logits": torch.zeros(0), "targets": torch.zeros(0, dtype=torch.int64)},
    ]  # fmt: skip
    accepted = 0
    for wrong in bad:
        try:
            dice(**{**good, **wrong})
            accepted += 1
        except ValueError:
            pass
    return float(accepted)


# Exact tier: gradients.


def gradients(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E5, E6, E7, E9 on 4,000 random p: autograd against the closed forms."""
    generator = torch.Generator().manual_seed(seed)
    z = _logits(4000, generator)
    p, q = z.sigmoid(), (-z).sigmoid()  # q = 1 - p with all its digits
    inert = {**PLAIN, "smooth": 0.0, "reduction": "none"}
    gaps: dict[str, list[float]] = {"positive": [], "negative": [], "decayed": []}
    for g in SMOOTHINGS:
        form = {**PLAIN, "smooth": g, "reduction": "none"}
        gaps["positive"].append(_gap(_slope(z, 1, **form), -(2 + g) / (1 + p + g) ** 2))
        gaps["negative"].append(_gap(_slope(z, 0, **form), g / (p + g) ** 2))
        for alpha in DECAYS:
            w, rise = q**alpha * p, q ** (alpha - 1) * (1 - (1 + alpha) * p)
            expected = -(2 + g) / (w + 1 + g) ** 2 * rise
            error = (_slope(z, 1, **{**form, "alpha": alpha}) - expected).abs() / expected.abs().clamp_min(1)
            gaps["decayed"].append(float(error.max()))
    return {
        **{f"{name}_gap": max(found) for name, found in gaps.items()},
        "inert_loss_gap": _gap(dice(z, torch.zeros(4000, dtype=torch.int64), **inert), torch.ones(())),
        "inert_slope": float(_slope(z, 0, **inert).abs().max()),
        "two_values_gap": _two_values_gap(generator),
    }


def _two_values_gap(generator: torch.Generator) -> float:
    """E9 on 50 sets of 40 examples."""
    gaps = []
    for _ in range(50):
        z, y = _logits(40, generator).requires_grad_(), torch.randint(2, (40,), generator=generator)
        (slope,) = torch.autograd.grad(dice(z, y, level="set", square=False, alpha=0.0, smooth=0.3), z)
        p = z.detach().sigmoid()
        numerator, size = 2 * (p * y).sum() + 0.3, p.sum() + y.sum() + 0.3
        expected = torch.where(y == 1, -(2 * size - numerator) / size**2, numerator / size**2)
        gaps.append(_gap(slope / (p * (-z.detach()).sigmoid()), expected))
    return max(gaps)


def self_adjustment(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E7, E8: where the self-adjusting loss of a positive is least, and how it goes on from there (smoothing 1)."""
    form = {**PLAIN, "smooth": 1.0, "reduction": "none"}
    grid = torch.arange(1, 1_000_000, dtype=torch.float64) / 1e6
    z, ones = torch.logit(grid), torch.ones(len(grid), dtype=torch.int64)
    gaps = []
    for alpha in DECAYS:
        least = int(dice(z, ones, **{**form, "alpha": alpha}).argmin())
        gaps.append(abs(float(grid[least]) - method.turning_point(alpha)))
    full = {**form, "alpha": 1.0}
    at = _slope(torch.logit(torch.tensor([0.5, 0.55, 1 - 1e-9], dtype=torch.float64)), 1, **full)
    beyond = torch.linspace(0.55, 1 - 1e-6, 1000, dtype=torch.float64)
    slopes, start = _slope(torch.logit(beyond), 1, **full), _slope(torch.tensor([-20.0]).double(), 1, **full)
    curve = dice(torch.logit(torch.tensor([0.5, 1 - 1e-9], dtype=torch.float64)), ones[:2], **full)
    return {
        "argmin_gap": max(gaps),
        "slope_at_half": float(at[0].abs()),
        "slope_at_055": float(at[1]),
        "largest_slope_beyond": float(slopes.abs().max() / start.abs()),
        "rise_to_certainty": float(curve[1] - curve[0]),
        "turning_point_of_the_scripts": method.turning_point(0.01),
    }


def easy_and_hard(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """E12: gradients by the logit over those of cross-entropy, smoothing 1: easy negatives, hard positives."""
    ratios: Metrics = {}
    for name, form in {
        "plain": PLAIN,
        "adjusted": {**PLAIN, "alpha": 0.01},
        "squared": {**PLAIN, "square": True},
    }.items():
        for kind, p, label in (("easy_negative", 1e-4, 0), ("hard_positive", 1e-6, 1)):
            z, y = torch.logit(torch.tensor([p], dtype=torch.float64)).requires_grad_(), torch.tensor([label])
            (ours,) = torch.autograd.grad(dice(z, y, **form, smooth=1.0), z)
            (theirs,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, y.double()), z)
            ratios[f"{kind}_{name}"] = float(ours / theirs)
            if kind == "hard_positive":
                ratios["hard_positive_of_ce"] = float(theirs.abs())
    return ratios


# Exact tier: numerics, hard negatives, the official code.


def numerics(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """float32 against float64 at logits up to 1e4, and the formula (1 - p)^alpha p taken literally."""
    generator = torch.Generator().manual_seed(seed)
    gaps, broken = [], 0
    for classes in (1, 2, 5):
        scale = 10 ** (torch.rand(3000, 1, generator=generator, dtype=torch.float64) * 4)
        logits = scale * torch.randn(3000, classes, generator=generator, dtype=torch.float64)
        gold = torch.randint(max(classes, 2), (3000,), generator=generator)
        for alpha in (0.0, *DECAYS):
            for square in (False, True):
                form: dict[str, Any] = {"level": "example", "square": square, "alpha": alpha, "smooth": 1.0}
                single = logits.float().requires_grad_()
                value = dice(single, gold, reduction="none", **form)
                gaps.append(_gap(value.double(), dice(single.detach().double(), gold, reduction="none", **form)))
                (slope,) = torch.autograd.grad(value.sum(), single)
                broken += int((~slope.isfinite()).sum())
    certain = torch.linspace(18, 40, 100).requires_grad_()
    p = certain.sigmoid()
    w = (1 - p) ** 0.01 * p
    literal = 1 - (2 * w + 1) / (w + 2)
    (literal_slope,) = torch.autograd.grad(literal.sum(), certain)
    truth = dice(
        certain.double(), torch.ones(100, dtype=torch.int64), **{**PLAIN, "alpha": 0.01}, smooth=1.0, reduction="none"
    )
    return {
        "float32_gap": max(gaps),
        "broken_gradients": float(broken),
        "literal_broken_gradients": float((~literal_slope.isfinite()).sum()),
        "literal_gap": _gap(literal.double(), truth),
    }


def hard_negatives(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """OHEM on 200 random sets: which negatives are kept, ours and by the official threshold."""
    generator = torch.Generator().manual_seed(seed)
    names = ("count", "order", "loss", "official", "official_rule", "official_loss")
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(200):
        size = int(torch.randint(20, 80, (), generator=generator))
        z, y = _logits(size, generator), (torch.rand(size, generator=generator) < 0.3).long()
        y[:3] = torch.tensor([0, 0, 1])
        ratio = float(torch.rand((), generator=generator))
        negatives, positives = int((y == 0).sum()), int(y.sum())
        count = min(int(positives * ratio), negatives)
        kept = method.hardest_negatives(z[:, None], (y == 0)[:, None], torch.tensor([count]))[:, 0]
        found["count"].append(abs(int(kept.sum()) - count))
        left = z[(y == 0) & ~kept]
        found["order"].append(float(left.max() - z[kept].min()) if count and len(left) else -math.inf)
        chosen = torch.cat([z[y == 1], z[y == 0].topk(count).values])
        labels = torch.cat([torch.ones(positives), torch.zeros(count)]).long()
        for level in ("set", "example"):
            form: dict[str, Any] = {"level": level, "square": True, "alpha": 0.01, "smooth": 1.0}
            found["loss"].append(_gap(dice(z, y, ohem_ratio=ratio, **form), dice(chosen, labels, **form)))
        threshold = method.official_negatives(z.sigmoid(), y == 0, count)
        form = {"square": True, "alpha": 0.01, "smooth": 1.0}
        seen = (y == 1) | threshold
        found["official_loss"].append(
            _gap(method.official(z, y, ohem_ratio=ratio, **form), method.official(z[seen], y[seen], **form))
        )
        theirs = int(threshold.sum())
        found["official"].append(abs(theirs - count))
        found["official_rule"].append(abs(theirs - (count - 2 if count > 1 else negatives - 2 + count)))
    return {f"{name}_gap": max(values) for name, values in found.items()} | {"classes_gap": _classes_gap(generator)}


def _classes_gap(generator: torch.Generator) -> float:
    """OHEM on four classes against a selection for each class by `overlap_losses`, on 20 sets of 40 examples."""
    gaps = []
    for _ in range(20):
        logits = 3 * torch.randn(40, 4, generator=generator, dtype=torch.float64)
        gold = torch.randint(4, (40,), generator=generator)
        for level in ("set", "example"):
            form: dict[str, Any] = {"level": level, "square": True, "alpha": 0.01, "smooth": 1.0}
            alone = []
            for k, p in enumerate(logits.softmax(1).unbind(1)):
                positive = gold == k
                hardest = p[~positive].topk(min(int(0.5 * positive.sum()), int((~positive).sum()))).values
                labels = torch.cat([torch.ones(int(positive.sum())), torch.zeros(len(hardest))]).long()
                alone.append(region.dice(torch.logit(torch.cat([p[positive], hardest])), labels, **form))
            gaps.append(_gap(dice(logits, gold, ohem_ratio=0.5, **form), torch.stack(alone).sum()))
    return max(gaps)


def official_code(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """The compatibility mode against a loop over classes, and what its forms are and are not."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(64, 5, generator=generator, dtype=torch.float64)
    gold, mask = torch.randint(5, (64,), generator=generator), torch.rand(64, generator=generator) < 0.7
    single, binary = logits[:, 0], (gold == 0).long()
    form: dict[str, Any] = {"alpha": 0.01, "smooth": 1.0}
    loops = [
        _gap(method.official(z, y, square=square, mask=m, **form), _class_by_class(z, y, square=square, mask=m, **form))
        for z, y in ((logits, gold), (single, binary))
        for square in (False, True)
        for m in (None, mask)
    ]
    of_the_set = method.official(single, binary, square=True, **form)
    perfect = method.official(1e4 * F.one_hot(gold, 5).double(), gold, square=False, alpha=0.0, smooth=1.0)
    return {
        "loop_gap": max(loops),
        "squared_gap": _gap(
            method.official(logits, gold, square=True, **form), dice(logits, gold, level="example", square=True, **form)
        ),
        "binary_set_gap": _gap(of_the_set, dice(single, binary, level="set", square=True, **form)),
        "binary_example_gap": _gap(of_the_set, dice(single, binary, level="example", square=True, **form)),
        "perfect_unsquared": float(perfect),
        "perfect_squared": float(
            method.official(1e4 * F.one_hot(gold, 5).double(), gold, square=True, alpha=0.0, smooth=1.0)
        ),
    }


def _class_by_class(
    logits: torch.Tensor,
    gold: torch.Tensor,
    *,
    square: bool,
    alpha: float,
    smooth: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the official code computes, one class after the other and in probabilities."""
    shown = torch.ones_like(gold, dtype=logits.dtype) if mask is None else mask.to(logits.dtype)
    if logits.dim() == 1:
        columns, summed = [(logits.sigmoid() * shown, gold * shown)], True
    else:
        p, y = logits.softmax(1) * shown[:, None], F.one_hot(gold, logits.shape[1]) * shown[:, None]
        columns, summed = list(zip(p.unbind(1), y.unbind(1), strict=True)), False
    total = torch.zeros(())
    for p, y in columns:
        w = (1 - p) ** alpha * p
        overlap = (w * y).sum() if summed else w * y
        size = w**2 + y**2 if square else (w.sum() + y.sum())
        size = size.sum() if summed else size
        total = total + 1 - (2 * overlap + smooth) / (size + smooth)
    return total.mean()


# Small tier.


def cost(*, arm: str, seed: int, device: torch.device, classes: int) -> Metrics:
    """Milliseconds of forward and backward on 4,096 tokens, as the scripts run it, in turn with a loop over classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4096, classes, generator=generator).requires_grad_()
    gold = torch.randint(classes, (4096,), generator=generator)
    times: dict[str, list[float]] = {"method_ms": [], "loop_ms": []}
    for _ in range(42):
        for name, loss in (("method_ms", partial(dice, level="example")), ("loop_ms", _class_by_class)):
            start = time.perf_counter()
            torch.autograd.grad(loss(logits, gold, square=True, alpha=0.01, smooth=1.0), logits)
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: values[2:] for name, values in times.items()}


def imbalanced_digits(*, arm: str, seed: int, device: torch.device, ratio: int, epochs: int = 60) -> Metrics:
    """S2 (ratio 9) and S3 (ratio 60): eight or not, positives thinned to 1 : ratio."""
    return on_digits.imbalanced(arm, seed, ratio, epochs)


def per_example_digits(*, arm: str, seed: int, device: torch.device, epochs: int = 60) -> Metrics:
    """S2: the per-example squared loss beside cross-entropy, at 1 : 9."""
    trained = {name: on_digits.imbalanced(name, seed, 9, epochs) for name in ("dice_example", "ce")}
    scores = {f"f1_{name}": metrics["f1"] for name, metrics in trained.items()}
    rates = {f"learning_rate_{name}": metrics["learning_rate"] for name, metrics in trained.items()}
    return {**scores, **rates, "f1_difference": scores["f1_dice_example"] - scores["f1_ce"]}


def parity_digits(*, arm: str, seed: int, device: torch.device, epochs: int = 60) -> Metrics:
    """S4: odd or even, a balanced problem that accuracy measures."""
    return on_digits.parity(seed, epochs)


def alpha_sweep(*, arm: str, seed: int, device: torch.device, alpha: float) -> Metrics:
    """S6: logistic regression of zero against one."""
    return on_digits.pulled(seed, alpha)


def tagging(*, arm: str, seed: int, device: torch.device, corpus: str, epochs: int = 3) -> Metrics:
    """S1: parts of speech (English EWT) or named entities (Dutch CoNLL-2002)."""
    return on_sentences.tag(arm, seed, corpus, epochs)


# Full tier. transformers is an extra, and slow to import: only what needs it does.


def mrpc(*, arm: str, seed: int, device: torch.device, model: str, setting: str, **smaller: Any) -> Metrics:
    """S5: paraphrases of MRPC with BERT, by one recipe for all losses or by that of each of the paper's scripts."""
    from suites.dice_loss import bert

    return bert.paraphrases(arm, seed, device, model, setting, **smaller)


def conll2003_mrc(*, arm: str, seed: int, device: torch.device, model: str, **smaller: Any) -> Metrics:
    """Entities of CoNLL-2003 as answers to questions."""
    from suites.dice_loss import bert_mrc

    return bert_mrc.entities(arm, seed, device, model, **smaller)


def conll2003_imbalance(*, arm: str, seed: int, device: torch.device) -> Metrics:
    """Words outside entities for each word inside, in the training part."""
    found = reference.load("conll2003", "train").sentences
    outside = sum(tag == "O" for sentence in found for tag in sentence.tags)
    inside = sum(tag != "O" for sentence in found for tag in sentence.tags)
    return {"ratio": outside / inside}


# Shared by the exact experiments.


def _logits(count: int, generator: torch.Generator) -> torch.Tensor:
    """Of p in (1e-6, 1 - 1e-6): half of them uniform in p, half uniform in the logit."""
    p = 1e-6 + (1 - 2e-6) * torch.rand(count, generator=generator, dtype=torch.float64)
    most = math.log(1e6 - 1)
    spread = most * (2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1)
    return torch.where(torch.arange(count) % 2 == 0, torch.logit(p), spread)


def _saturated(predicted: torch.Tensor) -> torch.Tensor:
    """Logits whose p is 0 or 1 to the last bit."""
    return 1e4 * (2 * predicted.double() - 1)


def _slope(z: torch.Tensor, label: int, **form: Any) -> torch.Tensor:
    """d loss / dp of every example at label, by autograd through the logit."""
    z = z.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(dice(z, torch.full_like(z, label, dtype=torch.int64), **form).sum(), z)
    return slope / (z.detach().sigmoid() * (-z.detach()).sigmoid())


def _gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().abs().max())
