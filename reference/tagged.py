"""Sentences whose words carry tags: parts of speech, chunks, named entities. Archives are read, never unpickled."""

from __future__ import annotations

import gzip
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reference.catalog import DataError, get
from reference.folders import listed
from reference.images import check_split

IOB_SPLITS = tuple(f"{language}-{part}" for language in ("esp", "ned") for part in ("train", "testa", "testb"))
LEAF = re.compile(r"\(([^\s()]+) ([^\s()]+)\)")


@dataclass(frozen=True)
class Sentence:
    """Words with one tag each; `pos` are their parts of speech where `tags` are something else, otherwise empty."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    pos: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Sentences:
    """`tagset` holds every tag of these sentences, sorted."""

    sentences: tuple[Sentence, ...]
    tagset: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sentences)


def ud_english_ewt(split: str) -> Sentences:
    """English Web Treebank: 12,544 train, 2,001 val and 2,077 test sentences; 17 universal tags, pos are Penn's."""
    check_split("ud-english-ewt", split, ("train", "val", "test"))
    part = "dev" if split == "val" else split
    path = get("ud-english-ewt").require() / f"en_ewt-ud-{part}.conllu.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return _collect(conllu(lines))


def conll2000(split: str) -> Sentences:
    """CoNLL-2000 chunking: 8,936 train and 2,012 test sentences; tags are IOB2 chunks (B-NP), pos Penn's."""
    check_split("conll2000", split, ("train", "test"))
    return _collect(columns(_member("conll2000", f"conll2000/{split}.txt", "ascii")))


def conll2002(split: str) -> Sentences:
    """CoNLL-2002 named entities in Spanish (esp) and Dutch (ned); tags are IOB2 (B-PER, ORG, LOC, MISC).

    Splits: esp-train, esp-testa (development), esp-testb (test), and ned- likewise.
    """
    check_split("conll2002", split, IOB_SPLITS)
    member = f"conll2002/{split.replace('-', '.')}"
    return _collect(columns(_member("conll2002", member, "utf-8")))


def conll2003(split: str) -> Sentences:
    """CoNLL-2003 named entities in English: train, val (eng.testa), test (eng.testb), pos Penn's.

    The shared task's own tags are IOB1, where B is only for an entity right after one of its type; these are IOB2.
    """
    parts = {"train": "eng.train", "val": "eng.testa", "test": "eng.testb"}
    check_split("conll2003", split, tuple(parts))
    lines = (get("conll2003").require() / parts[split]).read_text("utf-8").split("\n")
    return _collect(Sentence(found.words, iob2(found.tags), found.pos) for found in columns(lines))


def ontonotes5(split: str) -> Sentences:
    """OntoNotes 5.0 named entities in the CoNLL-2012 parts: train, val, test; 18 types as IOB2, pos Penn's.

    Read from the *_gold_conll files that the CoNLL-2012 scripts make of the release, in the order of their paths.
    """
    folders = {"train": "train", "val": "development", "test": "test"}
    check_split("ontonotes5", split, tuple(folders))
    root = get("ontonotes5").require() / folders[split]
    files = listed(root, root.rglob("*_gold_conll"))
    return _collect(found for path in files for found in conll2012(path.read_text("utf-8").split("\n")))


def msra_ner(split: str) -> Sentences:
    """MSRA named entities in Chinese, a character and its tag a line: train and test; tags as IOB2 (PER, ORG, LOC)."""
    check_split("msra-ner", split, ("train", "test"))
    path = get("msra-ner").require() / f"{split}.txt"
    found = []
    for rows in _blocks(path.read_text("utf-8").split("\n")):
        pairs = [row.split() for row in rows]
        if bad := next((pair for pair in pairs if len(pair) != 2), None):
            raise DataError(f"{path} is not a character and a tag a line: it holds {' '.join(bad)!r}")
        words, tags = zip(*pairs, strict=True)
        found.append(Sentence(words, iob2(tags)))
    return _collect(found)


def treebank(split: str) -> Sentences:
    """3,914 sentences of the Wall Street Journal (a 5 % sample of the Penn Treebank), in order; tags are Penn's.

    Empty elements (-NONE-) are left out. The sample has no split of its own.
    """
    check_split("treebank", split, ("all",))
    with zipfile.ZipFile(get("treebank").require() / "treebank.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".mrg"))
        return _collect(parse for name in names for parse in bracketed(archive.read(name).decode("ascii")))


def brown(split: str) -> Sentences:
    """The Brown corpus: 57,340 sentences in the order of its files; tags are Brown's own, in lower case as stored.

    Splits: "all", or one of the fifteen categories by its letter, a (news) to r (humour).
    """
    letters = "abcdefghjklmnpr"
    check_split("brown", split, ("all", *letters))
    member = re.compile(rf"brown/c[{letters if split == 'all' else split}]\d\d")
    with zipfile.ZipFile(get("brown").require() / "brown.zip") as archive:
        names = sorted(filter(member.fullmatch, archive.namelist()))
        return _collect(slashed(line) for name in names for line in archive.read(name).decode("ascii").split("\n"))


def conllu(lines: Iterable[str]) -> Iterator[Sentence]:
    """CoNLL-U: ten columns. Ranges of a multi-word token (1-2) and empty nodes (8.1) are no words."""
    for rows in _blocks(line for line in lines if not line.startswith("#")):
        words = [row.split("\t") for row in rows]
        words = [row for row in words if row[0].isdigit()]
        yield Sentence(*(tuple(row[column] for row in words) for column in (1, 3, 4)))


def columns(lines: Iterable[str]) -> Iterator[Sentence]:
    """The shared tasks' format: word, part of speech and, last, tag, a space apart; a blank line ends a sentence.

    Marks between articles (-DOCSTART-) are no words.
    """
    for rows in _blocks(line for line in lines if not line.startswith("-DOCSTART-")):
        words, pos, *_, tags = zip(*(row.split() for row in rows), strict=True)
        yield Sentence(words, tags, pos)


def conll2012(lines: Iterable[str]) -> Iterator[Sentence]:
    """CoNLL-2012: word, pos and named entity are the fourth, fifth and eleventh column; entities open and close.

    `(PERSON*` opens one, `*)` closes it, `(GPE)` or `(GPE*)` is one word.
    """
    for rows in _blocks(line for line in lines if not line.startswith("#")):
        words = [row.split() for row in rows]
        tags, within = [], ""
        for row in words:
            opened = row[10].startswith("(")
            within = row[10].strip("(*)") if opened else within
            tags.append(f"{'B' if opened else 'I'}-{within}" if within else "O")
            within = "" if row[10].endswith(")") else within
        yield Sentence(tuple(row[3] for row in words), tuple(tags), tuple(row[4] for row in words))


def iob2(tags: Iterable[str]) -> tuple[str, ...]:
    """IOB1 or IOB2 tags as IOB2: every entity begins with B."""
    found, before = [], "O"
    for tag in tags:
        begins = tag.startswith("I-") and before[2:] != tag[2:]
        found.append(f"B{tag[1:]}" if begins else tag)
        before = tag
    return tuple(found)


def bracketed(text: str) -> Iterator[Sentence]:
    """Penn Treebank parses: one sentence for each tree that begins in the first column."""
    for tree in re.split(r"^(?=\()", text, flags=re.M):
        leaves = [(word, tag) for tag, word in LEAF.findall(tree) if tag != "-NONE-"]
        if leaves:
            words, tags = zip(*leaves, strict=True)
            yield Sentence(words, tags)


def slashed(line: str) -> Sentence:
    """word/tag pairs; the tag follows the last slash."""
    pairs = [token.rpartition("/") for token in line.split()]
    return Sentence(tuple(word for word, _, _ in pairs), tuple(tag for _, _, tag in pairs))


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line.rstrip("\n"))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _member(name: str, member: str, encoding: str) -> list[str]:
    with zipfile.ZipFile(get(name).require() / f"{name}.zip") as archive:
        return archive.read(member).decode(encoding).split("\n")


def _collect(found: Iterable[Sentence]) -> Sentences:
    sentences = tuple(sentence for sentence in found if sentence.words)
    return Sentences(sentences, tuple(sorted({tag for sentence in sentences for tag in sentence.tags})))
