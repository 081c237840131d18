"""Running text, labelled texts, pairs of texts, and problems with answers. Tagged sentences are in `tagged`."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from reference.catalog import DataError, get
from reference.images import SPLITS, check_split

WIKITEXT_PARTS = {"train": "train", "val": "valid", "test": "test"}
RTE_SPLITS = tuple(f"rte{number}-{part}" for number in (1, 2, 3) for part in ("dev", "test"))


@dataclass(frozen=True)
class Text:
    """One running text, as it is in its file."""

    text: str

    @property
    def words(self) -> list[str]:
        """What white space separates."""
        return self.text.split()


@dataclass(frozen=True)
class Documents:
    """Whole documents with their names, sorted by name."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class LabelledTexts:
    """`labels` int64 (N,) index `classes`."""

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class TextPairs:
    """Whether `first[i]` entails `second[i]`: `labels` int64 (N,) index `classes`."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Translations:
    """The same sentence in English and German at each place, raw case, not tokenised."""

    english: tuple[str, ...]
    german: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.english)


@dataclass(frozen=True)
class Problem:
    """`solution` is worked out in words, without the line of the final answer; `answer` is that number, no commas."""

    question: str
    solution: str
    answer: str


def gsm8k(split: str) -> tuple[Problem, ...]:
    """Grade-school word problems: 7,473 train, 1,319 test. Solutions hold calculator marks `<<16-3=13>>`."""
    check_split("gsm8k", split, SPLITS)
    path = get("gsm8k").require() / f"{split}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    parts = [(row["question"], *row["answer"].rpartition("\n#### ")) for row in rows]
    return tuple(Problem(question, solution, answer.replace(",", "")) for question, solution, _, answer in parts)


def boxed(solution: str) -> str | None:
    """What the last `\\boxed{...}` (or `\\boxed x`) holds, braces balanced; None without one."""
    start = solution.rfind("\\boxed")
    if start < 0:
        return None
    rest = solution[start + len("\\boxed") :].lstrip()
    if not rest.startswith("{"):
        return re.split(r"[\s$]", rest, maxsplit=1)[0]
    depth = 0
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:place]
    return None


def wikitext2_heldout(split: str) -> Text:
    """WikiText-2 without its train part: 213,886 val and 241,211 test words, `<unk>` for rare ones."""
    check_split("wikitext-2-heldout", split, ("val", "test"))
    return Text((get("wikitext-2-heldout").require() / f"{WIKITEXT_PARTS[split]}.txt").read_text("utf-8"))


def wikitext2(split: str) -> Text:
    """WikiText-2, word level: train, val, test."""
    return _wikitext("wikitext-2", split)


def wikitext103(split: str) -> Text:
    """WikiText-103, word level: train, val, test."""
    return _wikitext("wikitext-103", split)


def tiny_shakespeare(split: str) -> Text:
    """1,115,394 characters of plays. By custom the first 90 % are the train part."""
    check_split("tiny-shakespeare", split, ("all",))
    return Text((get("tiny-shakespeare").require() / "input.txt").read_text("ascii"))


def multi30k(split: str) -> Translations:
    """Captions in English and German: 29,000 train, 1,014 val, 1,000 test (2016 Flickr)."""
    check_split("multi30k", split, ("train", "val", "test"))
    folder, part = get("multi30k").require(), "test_2016_flickr" if split == "test" else split
    english, german = (_gzipped_lines(folder / f"{part}.{language}.gz") for language in ("en", "de"))
    if len(english) != len(german):
        raise DataError(f"{folder}: {part} has {len(english)} English and {len(german)} German sentences")
    return Translations(english, german)


def movie_reviews(split: str) -> LabelledTexts:
    """2,000 reviews, tokenised and lower-case: negative, then positive ones, each in the order of their numbers.

    For the ten folds of Pang & Lee: of each class, fold k is 100 k to 100 k + 99.
    """
    check_split("movie-reviews", split, ("all",))
    classes = ("neg", "pos")
    found = [_members("movie-reviews", rf"movie_reviews/{name}/.*\.txt", "ascii") for name in classes]
    return _labelled((list(texts.values()) for texts in found), classes)


def sentence_polarity(split: str) -> LabelledTexts:
    """10,662 snippets, tokenised and lower-case: 5,331 negative, then as many positive."""
    check_split("sentence-polarity", split, ("all",))
    classes = ("neg", "pos")
    files = _members("sentence-polarity", r".*/rt-polarity\.(neg|pos)", "utf-8")
    return _labelled((_lines(files[f"sentence_polarity/rt-polarity.{name}"]) for name in classes), classes)


def subjectivity(split: str) -> LabelledTexts:
    """10,000 sentences, tokenised and lower-case: 5,000 objective (of plots), then 5,000 subjective (of reviews)."""
    check_split("subjectivity", split, ("all",))
    files = _members("subjectivity", r".*\.5000", "utf-8")
    groups = [_lines(files[f"subjectivity/{name}.tok.gt9.5000"]) for name in ("plot", "quote")]
    return _labelled(groups, ("objective", "subjective"))


def qc(split: str) -> LabelledTexts:
    """TREC questions: 5,452 train, 500 test; the six coarse classes."""
    check_split("qc", split, SPLITS)
    classes = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    lines = _lines(_members("qc", rf"qc/{split}\.txt", "latin-1")[f"qc/{split}.txt"])
    labels, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    coarse = [classes.index(label.partition(":")[0]) for label in labels]
    return LabelledTexts(texts, np.array(coarse, np.int64), classes)


def rte(split: str) -> TextPairs:
    """Textual entailment: rte1-dev 567, rte2-dev 400 (NLTK has half of it), rte3-dev and each test 800 pairs.

    Not GLUE's RTE.
    """
    check_split("rte-123", split, RTE_SPLITS)
    member = f"rte/{split.replace('-', '_')}.xml"
    pairs = list(ElementTree.fromstring(_members("rte-123", re.escape(member), "utf-8")[member]))
    truth = [pair.get("value", pair.get("entailment")) in ("TRUE", "YES") for pair in pairs]
    first, second = ([(pair.findtext(tag) or "").strip() for pair in pairs] for tag in ("t", "h"))
    return TextPairs(tuple(first), tuple(second), np.array(truth, np.int64), ("not entailed", "entailed"))


def inaugural(split: str) -> Documents:
    """Inaugural addresses of US presidents, named `year-President`."""
    return _speeches("inaugural", split)


def state_union(split: str) -> Documents:
    """State of the Union addresses since 1945, named `year-President`."""
    return _speeches("state-union", split)


def _speeches(name: str, split: str) -> Documents:
    check_split(name, split, ("all",))
    found = _members(name, r".*/\d{4}-.*\.txt", "utf-8")
    return Documents(tuple(Path(member).stem for member in found), tuple(found.values()))


def _wikitext(name: str, split: str) -> Text:
    check_split(name, split, tuple(WIKITEXT_PARTS))
    return Text((get(name).require() / f"wiki.{WIKITEXT_PARTS[split]}.tokens").read_text("utf-8"))


def _members(name: str, pattern: str, encoding: str) -> dict[str, str]:
    """The members of a set's one zip that match, sorted by name. Those that are not in `encoding` are Latin-1."""
    entry = get(name)
    with zipfile.ZipFile(entry.require() / entry.files[0].name) as archive:
        wanted = sorted(member for member in archive.namelist() if re.fullmatch(pattern, member))
        found = {}
        for member in wanted:
            content = archive.read(member)
            try:
                found[member] = content.decode(encoding)
            except UnicodeDecodeError:
                found[member] = content.decode("latin-1")
    return found


def _labelled(groups: Iterable[list[str]], classes: tuple[str, ...]) -> LabelledTexts:
    parts = list(groups)
    labels = np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts])
    return LabelledTexts(tuple(text for part in parts for text in part), labels, classes)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _gzipped_lines(path: Path) -> tuple[str, ...]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        return tuple(line.rstrip("\n") for line in lines)
