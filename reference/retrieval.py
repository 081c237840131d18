"""Test collections: documents, queries, and judgments of which document answers which query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reference.catalog import get
from reference.images import check_split


@dataclass(frozen=True)
class Document:
    """`title` is not repeated in `text`."""

    title: str
    text: str


@dataclass(frozen=True)
class Judgment:
    """`query` and `document` count from 0, in the order of the collection; `grade` is as the collection has it."""

    query: int
    document: int
    grade: int


@dataclass(frozen=True)
class Collection:
    """What is not judged counts, by custom, as not relevant."""

    documents: tuple[Document, ...]
    queries: tuple[str, ...]
    judgments: tuple[Judgment, ...]


def cranfield(split: str) -> Collection:
    """Cranfield: 1,400 abstracts (two are empty), 225 queries, 1,837 judgments with grades 1..4, or -1 for none.

    Judgments name queries by their position: the numbers in the file of queries have gaps.
    """
    check_split("cranfield", split, ("all",))
    folder = get("cranfield").require()
    documents = [_document(fields) for fields in smart_records((folder / "cran.all.1400").read_text("ascii"), "TABW")]
    queries = [" ".join(fields["W"].split()) for fields in smart_records((folder / "cran.qry").read_text("ascii"), "W")]
    rows = [line.split() for line in (folder / "cranqrel").read_text("ascii").splitlines() if line.strip()]
    judgments = [Judgment(int(query) - 1, int(document) - 1, int(grade)) for query, document, grade in rows]
    return Collection(tuple(documents), tuple(queries), tuple(judgments))


def _document(fields: dict[str, str]) -> Document:
    title, text = " ".join(fields["T"].split()), " ".join(fields["W"].split())
    return Document(title, text.removeprefix(title).strip())  # the abstracts begin with their titles


def smart_records(text: str, fields: str) -> Iterator[dict[str, str]]:
    """Records of a SMART file: each begins with `.I number`, its fields with a line `.T`, in the order given.

    A line that looks like the beginning of a field that has passed already belongs to the text.
    """
    for record in re.split(r"^\.I \d+\s*$", text, flags=re.M)[1:]:
        found: dict[str, str] = {}
        current = ""
        for line in record.splitlines():
            mark = line.rstrip()[1:] if re.fullmatch(r"\.[A-Z]\s*", line) else ""
            if mark and mark in fields and fields.index(mark) > (fields.index(current) if current else -1):
                current = mark
                found[current] = ""
            elif current:
                found[current] += f"{line}\n"
        yield {name: found.get(name, "") for name in fields}
