"""Metrics of translation, ranking and segmentation, each by the field's library, with its conventions written down.

BLEU and chrF need `crossexam[metrics]` (sacrebleu). Accuracy, F1 and AUC are scikit-learn's, which needs no wrapping;
calibration errors are in `baselines.calibration`, spans of tags in `baselines.tagging`. Not torchmetrics: importing it
takes longer than most trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

GAINS = ("linear", "exponential")


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, tokenize: str = "13a") -> float:
    """Corpus BLEU, 0 to 100, of detokenised sentences with one reference each: sacreBLEU's, n-grams up to 4.

    `tokenize` is sacreBLEU's name of its tokeniser: "13a" (mteval's), "intl", "zh", "char", "none". Zero counts of
    n-grams are smoothed as mteval does ("exp"). Raises ValueError for unequal or empty corpora.
    """
    _paired(hypotheses, references)
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(tokenize=tokenize).corpus_score(list(hypotheses), [list(references)]).score)


def chrf(hypotheses: Sequence[str], references: Sequence[str], *, words: int = 0) -> float:
    """Corpus chrF2, 0 to 100: characters up to 6-grams; with `words=2` it is chrF++."""
    _paired(hypotheses, references)
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF(word_order=words).corpus_score(list(hypotheses), [list(references)]).score)


def _paired(first: Sequence[object], second: Sequence[object]) -> None:
    if not first or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} are to be compared one by one")


def ndcg(
    scores: Sequence[torch.Tensor], grades: Sequence[torch.Tensor], k: int | None = 10, *, gain: str = "linear"
) -> float:
    """Mean over queries of nDCG@k; each query has scores and non-negative grades of its candidates, both (C,).

    The gain is the grade, as in trec_eval, or 2^grade - 1 ("exponential"). Candidates of equal score share the mean of
    their gains. A query without a positive grade counts 0, as in trec_eval when every query is averaged. Raises
    ValueError that names the query for NaN, for negative grades, and for unequal numbers of scores and grades.
    """

    from sklearn.metrics import ndcg_score

    _rankable(scores, grades, k)
    if gain not in GAINS:
        raise ValueError(f"the gain is {' or '.join(GAINS)}, not '{gain}'")
    found = []
    for score, grade in zip(scores, grades, strict=True):
        gains = grade.double() if gain == "linear" else 2.0 ** grade.double() - 1
        if len(gains) < 2 or not gains.any():  # scikit-learn refuses to rank one candidate
            found.append(float(gains.any()))
            continue
        places = score.double().unique(return_inverse=True)[1]  # the same order and ties, for scores of +-inf too
        found.append(ndcg_score(gains[None].cpu(), places[None].double().cpu(), k=k))
    return float(np.mean(found))


def mrr(scores: Sequence[torch.Tensor], grades: Sequence[torch.Tensor], k: int | None = 10) -> float:
    """Mean over queries of 1 / rank of the first candidate with a positive grade; 0 where none is among the first k.

    Candidates of equal score rank in the order in which they stand. Raises ValueError as `ndcg` does.
    """
    _rankable(scores, grades, k)
    ranked = [
        grade[score.argsort(descending=True, stable=True)][:k] > 0 for score, grade in zip(scores, grades, strict=True)
    ]
    return float(np.mean([1 / (1 + int(found.int().argmax())) if found.any() else 0.0 for found in ranked]))


def _rankable(scores: Sequence[torch.Tensor], grades: Sequence[torch.Tensor], k: int | None) -> None:
    _paired(scores, grades)
    if k is not None and k < 1:
        raise ValueError(f"k is at least 1, or None for all candidates, not {k}")
    for query, (score, grade) in enumerate(zip(scores, grades, strict=True)):
        if score.ndim != 1 or score.shape != grade.shape:
            shapes = f"{tuple(score.shape)} and {tuple(grade.shape)}"
            raise ValueError(f"query {query}: scores and grades must both be (C,), got {shapes}")
        if score.isnan().any() or grade.isnan().any():
            raise ValueError(f"query {query} has a score or grade that is NaN")
        if (grade < 0).any():
            raise ValueError(f"query {query} has grades below 0: what is judged as not relevant has grade 0")


def class_iou(
    predicted: torch.Tensor, target: torch.Tensor, classes: int, *, ignore: int | None = None
) -> torch.Tensor:
    """Intersection over union of each class, counted over all pixels of all images: float64 (classes,).

    Both hold class numbers and have the same shape, whatever it is. Pixels whose target is `ignore` are left out;
    a class that occurs in neither is NaN, and so are all where every pixel is left out. Dice is 2 IoU / (1 + IoU).
    Raises ValueError for unequal shapes, floats, and numbers out of range, and says at which pixel.
    """

    from sklearn.metrics import confusion_matrix

    if predicted.shape != target.shape:
        raise ValueError(f"predictions {tuple(predicted.shape)} for targets {tuple(target.shape)}")
    kept = torch.ones_like(target, dtype=torch.bool) if ignore is None else target != ignore
    for name, numbers in (("prediction", predicted), ("target", target)):
        if numbers.is_floating_point():
            raise ValueError(f"a {name} is a class number, not {numbers.dtype}")
        outside = (kept & ((numbers < 0) | (numbers >= classes))).nonzero()
        if len(outside):
            pixel = tuple(outside[0].tolist())
            raise ValueError(f"the {name} at {pixel} is {int(numbers[pixel])}, not one of 0..{classes - 1}")
    if not kept.any():
        return torch.full((classes,), torch.nan, dtype=torch.float64)
    counts = confusion_matrix(target[kept].cpu(), predicted[kept].cpu(), labels=range(classes)).astype(np.float64)
    both = counts.diagonal()
    either = counts.sum(0) + counts.sum(1) - both
    return torch.from_numpy(np.divide(both, either, out=np.full(classes, np.nan), where=either > 0))


def mean_iou(predicted: torch.Tensor, target: torch.Tensor, classes: int, *, ignore: int | None = None) -> float:
    """Mean of `class_iou` over the classes that occur."""
    return float(class_iou(predicted, target, classes, ignore=ignore).nanmean())


def mean_dice(predicted: torch.Tensor, target: torch.Tensor, classes: int, *, ignore: int | None = None) -> float:
    """Mean over the classes that occur of 2 |A and B| / (|A| + |B|)."""
    iou = class_iou(predicted, target, classes, ignore=ignore)
    return float((2 * iou / (1 + iou)).nanmean())
