"""Text as numbers: nothing is lost, parts are apart, stretches and rows are what they say."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.corpora import PARTS, TEXTS, BytePairs, Bytes, Characters, corpus, examples, pack, windows
from reference.catalog import get

TEXT = "Größe, naïve 🙂\n = ok =\n\n"


@pytest.mark.parametrize(
    "tokenizer", [Bytes(), Characters(TEXT), BytePairs(TEXT * 20, 300)], ids=lambda t: type(t).__name__
)
def test_a_text_survives_its_tokens(tokenizer: Bytes) -> None:
    tokens = tokenizer.encode(TEXT)
    assert tokens.dtype == torch.int64 and tokens.ndim == 1
    assert tokens.min() >= 0 and tokens.max() < tokenizer.vocabulary
    assert tokenizer.decode(tokens) == TEXT


def test_characters_that_were_not_seen_are_number_0() -> None:
    tokenizer = Characters("bca")
    assert tokenizer.alphabet == "abc" and tokenizer.vocabulary == 4
    assert tokenizer.encode("axc~\x00").tolist() == [1, 0, 3, 0, 0]
    assert tokenizer.decode(torch.tensor([1, 0, 3])) == "a\ufffdc"


def test_byte_pairs_are_fewer_than_bytes_and_keep_to_their_vocabulary() -> None:
    text = "the cat and the hat " * 50
    tokenizer = BytePairs(text, 280)
    assert tokenizer.vocabulary <= 280
    assert len(tokenizer.encode(text)) < len(Bytes().encode(text)) / 2
    with pytest.raises(ValueError, match="above 256, got 256"):
        BytePairs(text, 256)


@pytest.mark.parametrize("name", TEXTS)
def test_parts_of_a_text_hold_all_of_it_and_share_nothing(name: str) -> None:
    if not get(name).available:
        pytest.skip(f"{name} is absent")
    found = corpus(name)
    train, validation, test = (found.tokenizer.decode(getattr(found, part)) for part in PARTS)
    assert min(len(train), len(validation), len(test)) > 1000
    assert validation not in train and test not in train and test not in validation
    assert [len(getattr(found, part)) for part in PARTS] == [found.utf8[part] for part in PARTS]


def test_tiny_shakespeare_is_cut_by_custom() -> None:
    if not get("tiny-shakespeare").available:
        pytest.skip("tiny-shakespeare is absent")
    found = corpus("tiny-shakespeare", "character")
    sizes = [len(getattr(found, part)) for part in PARTS]
    assert sum(sizes) == 1_115_394 and found.vocabulary == 66  # 65 characters, and what is none of them
    assert sizes[0] == pytest.approx(0.9 * sum(sizes), rel=1e-4)


def test_bits_per_byte_do_not_depend_on_the_unit() -> None:
    if not get("tiny-shakespeare").available:
        pytest.skip("tiny-shakespeare is absent")
    by_byte, by_pair = corpus("tiny-shakespeare"), corpus("tiny-shakespeare", "bpe", 512)
    assert by_byte.bits_per_byte(math.log(256)) == pytest.approx(8)
    total = 3.0 * len(by_pair.validation)  # nats of the same text, spread over fewer tokens
    per_byte = total / len(by_byte.validation)
    assert by_pair.bits_per_byte(3.0, "validation") == pytest.approx(by_byte.bits_per_byte(per_byte, "validation"))


def test_bad_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no text 'war-and-peace': there are tiny-shakespeare"):
        corpus("war-and-peace")
    with pytest.raises(ValueError, match="no unit 'word'"):
        corpus("brown", "word")
    for unit, vocabulary in (("bpe", None), ("byte", 300)):
        with pytest.raises(ValueError, match="goes with unit='bpe'"):
            corpus("brown", unit, vocabulary)


def test_every_token_but_the_first_is_the_target_of_one_example() -> None:
    tokens = torch.arange(100, 121)
    inputs, targets = examples(tokens, 5)
    assert inputs.tolist()[1] == [105, 106, 107, 108, 109]
    assert targets.flatten().tolist() == list(range(101, 121))
    assert inputs.data_ptr() == tokens.data_ptr()  # views: a text is not copied for every stretch
    assert examples(tokens, 5, step=1)[0].shape == (16, 5)


def test_windows_are_stretches_and_depend_on_the_generator_alone() -> None:
    tokens = torch.arange(50)
    first, again = (windows(tokens, 200, 7, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (200, 8)
    assert (first.diff(dim=1) == 1).all()
    assert first.min() == 0 and first.max() == 49  # the last place is reached
    for wrong in (0, 50):
        with pytest.raises(ValueError, match=f"no stretch of {wrong} tokens"):
            windows(tokens, 1, wrong, torch.Generator())


def test_packed_documents_do_not_predict_or_see_each_other() -> None:
    packed = pack([torch.tensor([5, 6]), torch.tensor([7]), torch.tensor([8, 9, 10])], length=4, end=0)
    assert packed.tokens.tolist() == [[5, 6, 0, 7], [0, 8, 9, 10], [0, 0, 0, 0]]
    assert packed.document.tolist() == [[0, 0, 0, 1], [1, 2, 2, 2], [2, -1, -1, -1]]
    # A document that goes on in the next row loses the target at the cut, as its context ends there.
    assert packed.targets.tolist() == [[6, 0, -100, -100], [-100, 9, 10, -100], [-100] * 4]
    assert packed.attention.shape == (3, 1, 4, 4)
    assert packed.attention[1, 0].tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, True, True, False],
        [False, True, True, True],
    ]
    with pytest.raises(ValueError, match="nothing to pack"):
        pack([], 4, 0)
