"""Tagged sentences: the counts that the literature gives, and the formats' corner cases."""

from __future__ import annotations

from pathlib import Path

import pytest

import reference
from reference import DataError
from reference.tagged import Sentence, bracketed, columns, conllu, iob2, slashed
from tests.conftest import needed
from tests.reference.test_text import root  # noqa: F401  (a fixture)


@pytest.mark.parametrize(
    ("name", "split", "sentences", "words", "tags"),
    [
        ("ud-english-ewt", "train", 12_544, 204_577, 17),
        ("ud-english-ewt", "val", 2_001, 25_147, 17),
        ("ud-english-ewt", "test", 2_077, 25_094, 17),
        ("conll2000", "train", 8_936, 211_727, 22),
        ("conll2000", "test", 2_012, 47_377, 19),
        ("conll2002", "esp-train", 8_323, 264_715, 9),
        ("conll2002", "esp-testa", 1_915, 52_923, 9),
        ("conll2002", "esp-testb", 1_517, 51_533, 9),
        ("conll2002", "ned-train", 15_806, 202_644, 9),
        ("conll2002", "ned-testa", 2_895, 37_687, 9),
        ("conll2002", "ned-testb", 5_195, 68_875, 9),
        ("treebank", "all", 3_914, 94_084, 45),
        ("brown", "all", 57_340, 1_161_192, 472),
        ("brown", "a", 4_623, 100_554, 218),
    ],
)
def test_published_counts(name: str, split: str, sentences: int, words: int, tags: int) -> None:
    needed(name)
    found = reference.load(name, split)
    assert (len(found), sum(map(len, found.sentences)), len(found.tagset)) == (sentences, words, tags)
    for sentence in found.sentences:
        assert len(sentence.words) == len(sentence.tags) and all(sentence.words) and all(sentence.tags)


def test_accents_survive() -> None:
    needed("conll2002")
    first = reference.load("conll2002", "esp-testb").sentences[0]
    assert first.words[:2] == ("La", "Coruña") and first.tags[:2] == ("B-LOC", "I-LOC") and first.pos[0] == "DA"


def test_conllu_skips_ranges_and_empty_nodes() -> None:
    def line(number: str, word: str, upos: str, xpos: str) -> str:
        return f"{number}\t{word}\tlemma\t{upos}\t{xpos}" + "\t_" * 5 + "\n"

    lines = ["# text = don't\n", line("1-2", "don't", "_", "_"), line("1", "do", "AUX", "VBP"),
             line("2", "n't", "PART", "RB"), line("2.1", "go", "VERB", "VB"), "\n", line("1", "#", "SYM", "NN")]  # fmt: skip
    assert list(conllu(lines)) == [
        Sentence(("do", "n't"), ("AUX", "PART"), ("VBP", "RB")),
        Sentence(("#",), ("SYM",), ("NN",)),
    ]


def test_other_formats() -> None:
    lines = ["-DOCSTART- -DOCSTART- O", "De Art O", "Kaiser N B-PER", "", "", "Ja . O", ""]
    assert list(columns(lines)) == [
        Sentence(("De", "Kaiser"), ("O", "B-PER"), ("Art", "N")),
        Sentence(("Ja",), ("O",), (".",)),
    ]
    trees = "( (S \n  (NP-SBJ (-NONE- *) )\n  (VP (VB Go) )))\n( (X (, ,) (-LRB- -LRB-) ))\n"
    assert list(bracketed(trees)) == [Sentence(("Go",), ("VB",)), Sentence((",", "-LRB-"), (",", "-LRB-"))]
    assert slashed("\tand/or/cc 1\\/2/cd ./.") == Sentence(("and/or", "1\\/2", "."), ("cc", "cd", "."))


def test_iob1_becomes_iob2() -> None:
    found = iob2(("I-ORG", "O", "I-MISC", "I-MISC", "B-MISC", "I-PER", "O"))
    assert found == ("B-ORG", "O", "B-MISC", "I-MISC", "B-MISC", "B-PER", "O")
    already = ("B-PER", "I-PER", "O", "B-LOC", "B-LOC")
    assert iob2(already) == already


def test_conll2003_in_its_own_format(root: Path) -> None:  # noqa: F811
    (root / "conll2003").mkdir()
    text = (
        "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n\nPeter NNP I-NP I-PER\n"
    )
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (root / "conll2003" / name).write_text(text, "utf-8")
    found = reference.load("conll2003", "val")
    assert found.sentences == (
        Sentence(("EU", "rejects", "German"), ("B-ORG", "O", "B-MISC"), ("NNP", "VBZ", "JJ")),
        Sentence(("Peter",), ("B-PER",), ("NNP",)),
    )
    assert found.tagset == ("B-MISC", "B-ORG", "B-PER", "O")


def test_ontonotes_in_the_format_of_conll2012(root: Path) -> None:  # noqa: F811
    rows = [
        ("Mr.", "NNP", "*"),
        ("Li", "NNP", "(PERSON)"),
        ("of", "IN", "*"),
        ("New", "NNP", "(GPE*"),
        ("York", "NNP", "*)"),
    ]
    lines = [f"a 0 {place} {word} {pos} * - - - - {tag} -" for place, (word, pos, tag) in enumerate(rows)]
    path = root / "ontonotes5" / "development" / "data" / "english" / "a.v4_gold_conll"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["#begin document (a); part 000", *lines, "", "#end document", ""]))
    (root / "ontonotes5" / "RELEASE").touch()
    (found,) = reference.load("ontonotes5", "val").sentences
    assert found.words == ("Mr.", "Li", "of", "New", "York") and found.pos[2] == "IN"
    assert found.tags == ("O", "B-PERSON", "O", "B-GPE", "I-GPE")


def test_msra_characters(root: Path) -> None:  # noqa: F811
    (root / "msra-ner").mkdir()
    for part in ("train", "test"):
        (root / "msra-ner" / f"{part}.txt").write_text("中 B-ORG\n共 I-ORG\n， O\n\n李 B-PER\n", "utf-8")
    first, second = reference.load("msra-ner", "test").sentences
    assert first.words == ("中", "共", "，") and first.tags == ("B-ORG", "I-ORG", "O") and second.tags == ("B-PER",)
    (root / "msra-ner" / "test.txt").write_text("中 共 O\n", "utf-8")
    with pytest.raises(DataError, match="is not a character and a tag a line"):
        reference.load("msra-ner", "test")
