"""Spans and their F1 by hand, words as features, and a tagger that can learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from baselines.tagging import BiLstmTagger, Vocabulary, encode_tags, shape, span_f1, spans


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", set()),
        ("B-PER I-PER O B-LOC", {("PER", 0, 2), ("LOC", 3, 4)}),
        ("B-PER B-PER", {("PER", 0, 1), ("PER", 1, 2)}),
        ("B-PER I-LOC I-LOC", {("PER", 0, 1), ("LOC", 1, 3)}),
        ("O I-ORG O", {("ORG", 1, 2)}),
        ("I-ORG B-ORG I-ORG", {("ORG", 0, 1), ("ORG", 1, 3)}),
        ("B-MISC O I-MISC", {("MISC", 0, 1), ("MISC", 2, 3)}),
    ],
)
def test_spans_by_hand(tags: str, expected: set) -> None:
    assert spans(tags.split()) == expected


@pytest.mark.parametrize("wrong", ["E-PER", "B", "O-LOC", "PER"])
def test_refuses_other_schemes(wrong: str) -> None:
    with pytest.raises(ValueError, match="no IOB2 tag"):
        spans([wrong])


def test_span_f1_by_hand() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG"]]
    predicted = [["B-PER", "I-PER", "O", "O"], ["B-ORG", "I-ORG"]]
    assert span_f1(gold, predicted) == pytest.approx(2 * 1 / (3 + 2))  # one right, three wanted, two given
    assert span_f1(gold, gold) == 1.0
    assert span_f1([["O"]], [["O"]]) == 0.0
    with pytest.raises(ValueError, match="2 tags for 1 words"):
        span_f1([["O"]], [["O", "O"]])


def test_shapes() -> None:
    assert [shape(word) for word in ("Mr.", "1999", "iPhone", "Ángel", "U.S.", "don't")] == [
        "Xx.", "d", "xXx", "Xx", "X.X.", "x'x"]  # fmt: skip


def test_encoding() -> None:
    vocabulary = Vocabulary.of([("The", "cat"), ("the", "dog")])
    words = vocabulary.indices[0]
    assert words == {"the": 2}  # the only word that occurs twice
    encoded = vocabulary.encode([("the",), ("a", "The")])
    assert encoded.shape == (2, 2, 4) and encoded[..., 0].tolist() == [[2, 0], [1, 2]]
    assert encode_tags([("B",), ("A", "B")], ("A", "B")).tolist() == [[1, -100], [0, 1]]


def test_padding_changes_nothing_and_tags_can_be_learnt() -> None:
    torch.manual_seed(0)
    sentences = [("red", "blue", "red"), ("blue",), ("blue", "red")]
    tags = encode_tags([["R" if word == "red" else "B" for word in words] for words in sentences], ("B", "R"))
    vocabulary = Vocabulary.of(sentences)
    inputs, model = vocabulary.encode(sentences), BiLstmTagger(vocabulary.sizes, 2)
    torch.testing.assert_close(model(inputs)[1, :1], model(inputs[1:2])[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs).transpose(1, 2), tags).backward()
        optimizer.step()
    assert torch.equal(model(inputs).argmax(2)[tags >= 0], tags[tags >= 0])
