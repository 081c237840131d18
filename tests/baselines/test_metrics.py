"""Metrics against closed forms and against second implementations."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import jaccard_score, ndcg_score

from baselines import metrics


def test_bleu_of_equal_disjoint_and_short_corpora() -> None:
    pytest.importorskip("sacrebleu")
    text = ["the cat sat on the mat today", "a dog barked at the other dog"]
    assert metrics.bleu(text, text) == pytest.approx(100)
    assert metrics.bleu(["x y z w v"] * 2, text) == 0
    short = [sentence.rsplit(" ", 1)[0] for sentence in text]  # every n-gram is right, one word in seven is missing
    assert metrics.bleu(short, text) == pytest.approx(100 * math.exp(1 - 14 / 12))
    # 13a splits punctuation off; without a tokeniser "mat." is a word of its own.
    assert metrics.bleu(["on the old mat ."], ["on the old mat."]) == pytest.approx(100)
    assert metrics.bleu(["on the old mat ."], ["on the old mat."], tokenize="none") < 70


def test_chrf_by_hand() -> None:
    pytest.importorskip("sacrebleu")
    # abc against abd: 2/3 of the characters, 1/2 of the pairs, 0 of the triples, in precision and in recall.
    assert metrics.chrf(["abc"], ["abd"]) == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert metrics.chrf(["ein Haus"], ["ein Haus"], words=2) == pytest.approx(100)


@pytest.mark.parametrize("k", [1, 3, 10, None])
def test_ndcg_is_scikit_learns_ties_included(k: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randint(4, (12,), generator=generator).double() for _ in range(20)]
    grades = [torch.randint(4, (12,), generator=generator) for _ in range(20)]
    for gain, gains in (("linear", grades), ("exponential", [2**grade - 1 for grade in grades])):
        expected = [ndcg_score(g[None], s[None], k=k) for s, g in zip(scores, gains, strict=True)]
        assert metrics.ndcg(scores, grades, k, gain=gain) == pytest.approx(sum(expected) / 20, abs=1e-6)


def test_ranking_by_hand() -> None:
    scores, grades = [torch.tensor([3.0, 2, 1, 0])], [torch.tensor([0, 3, 0, 1])]
    assert metrics.mrr(scores, grades) == 0.5 and metrics.mrr(scores, grades, 1) == 0
    ideal = 3 + 1 / math.log2(3)
    assert metrics.ndcg(scores, grades) == pytest.approx((3 / math.log2(3) + 1 / math.log2(5)) / ideal)
    nothing = [torch.zeros(4)]
    assert metrics.ndcg(scores, nothing) == metrics.mrr(scores, nothing) == 0
    assert metrics.mrr(scores * 2, [*grades, *nothing]) == 0.25  # a query without an answer counts


def test_mean_iou_and_dice_leave_out_ignored_pixels_and_absent_classes() -> None:
    found, truth = torch.tensor([[0, 1, 1], [2, 2, 0]]), torch.tensor([[0, 1, 2], [2, 255, 0]])
    iou = metrics.class_iou(found, truth, 4, ignore=255)
    assert iou[:3].tolist() == [1, 0.5, 0.5] and iou[3].isnan()
    assert metrics.mean_iou(found, truth, 4, ignore=255) == pytest.approx(2 / 3)
    assert metrics.mean_dice(found, truth, 4, ignore=255) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    found, truth = torch.randint(5, (2, 9, 9)), torch.randint(5, (2, 9, 9))
    expected = jaccard_score(truth.flatten(), found.flatten(), average="macro")
    assert metrics.mean_iou(found, truth, 5) == pytest.approx(expected)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="1 and 2 are to be compared one by one"):
        metrics.mrr([torch.ones(2)], [torch.ones(2)] * 2)
    with pytest.raises(ValueError, match="0 and 0"):
        metrics.mrr([], [])
    with pytest.raises(ValueError, match="the gain is linear or exponential, not 'cubic'"):
        metrics.ndcg([torch.ones(2)], [torch.ones(2)], gain="cubic")
    with pytest.raises(ValueError, match="grades below 0"):
        metrics.ndcg([torch.ones(2)], [torch.tensor([-1, 1])])
    with pytest.raises(ValueError, match="k is at least 1"):
        metrics.mrr([torch.ones(2)], [torch.ones(2)], 0)
    with pytest.raises(ValueError, match=r"predictions \(2,\) for targets \(3,\)"):
        metrics.mean_iou(torch.zeros(2), torch.zeros(3), 2)


RANKINGS = [metrics.ndcg, metrics.mrr]


@pytest.mark.parametrize("metric", RANKINGS)
def test_one_candidate_is_first_and_none_is_nothing(metric) -> None:
    assert metric([torch.tensor([0.3])], [torch.tensor([1])]) == 1
    assert metric([torch.tensor([0.3])], [torch.tensor([0])]) == 0
    assert metric([torch.zeros(0)], [torch.zeros(0)]) == 0


@pytest.mark.parametrize("metric", RANKINGS)
def test_infinite_scores_are_ranked(metric) -> None:
    grades = [torch.tensor([0, 1, 2])]
    assert metric([torch.tensor([-math.inf, 1.0, math.inf])], grades) == metric([torch.tensor([0.0, 1, 2])], grades)


@pytest.mark.parametrize("metric", RANKINGS)
@pytest.mark.parametrize(
    ("score", "grade", "message"),
    [
        (torch.tensor([math.nan, 1.0]), torch.tensor([0, 1]), "NaN"),
        (torch.tensor([0.0, 1.0]), torch.tensor([math.nan, 1.0]), "NaN"),
        (torch.tensor([0.0, 1.0]), torch.tensor([0, -1]), "below 0"),
        (torch.ones(2), torch.tensor([0]), r"\(2,\) and \(1,\)"),
        (torch.ones(1, 2), torch.tensor([[0, 1]]), r"\(1, 2\)"),
    ],
)
def test_what_is_no_ranking_names_its_query(metric, score: torch.Tensor, grade: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"query 1.*{message}"):
        metric([torch.ones(2), score], [torch.tensor([0, 1]), grade])


@pytest.mark.parametrize("metric", [metrics.mean_iou, metrics.mean_dice])
def test_segmentations_without_a_pixel_and_with_wrong_ones(metric) -> None:
    truth = torch.tensor([[0, 255], [1, 1]])
    assert math.isnan(metric(truth, torch.full_like(truth, 255), 2, ignore=255))
    assert metric(truth, truth, 2, ignore=255) == 1  # predictions of ignored pixels do not count
    with pytest.raises(ValueError, match=r"prediction at \(1, 0\) is 7, not one of 0..1"):
        metric(torch.tensor([[0, 0], [7, 1]]), truth, 2, ignore=255)
    with pytest.raises(ValueError, match=r"target at \(0, 1\) is 255"):
        metric(torch.zeros_like(truth), truth, 2)
    with pytest.raises(ValueError, match="class number"):
        metric(torch.zeros(2, 2), truth, 2, ignore=255)
