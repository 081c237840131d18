"""Large test collections by identifier: BEIR and MS MARCO. Cranfield, which is small, is in `retrieval`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reference.catalog import DataError, get
from reference.images import check_split

BEIR = (
    "trec-covid", "nfcorpus", "nq", "hotpotqa", "fiqa", "arguana", "webis-touche2020", "quora", "dbpedia-entity",
    "scidocs", "fever", "climate-fever", "scifact",
)  # fmt: skip


@dataclass(frozen=True)
class Ranking:
    """`documents` and `queries` map identifiers to text; `judgments` maps a query to the grades of its documents.

    What is not judged counts, by custom, as not relevant. Only queries with judgments are listed.
    """

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgments: Mapping[str, Mapping[str, int]]


def beir(split: str) -> Ranking:
    """One of 13 collections with its test judgments; the split is its name, such as "scifact"."""
    check_split("beir", split, BEIR)
    root = get("beir").require() / split
    for part in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        if not (root / part).is_file():
            raise DataError(f"{root / part} is absent: unpack the archive of {split} into the folder beir")
    # By custom a document is its title and its text.
    documents = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in _lines(root / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in _lines(root / "queries.jsonl")}
    with (root / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t"))[1:]
    return _judged(documents, queries, [(query, document, int(grade)) for query, document, grade in rows])


def msmarco_passage(split: str) -> Ranking:
    """MS MARCO passages: 8,841,823, with the judgments of "train" or "dev-small" (6,980 queries). Needs about 8 GiB."""
    check_split("msmarco-passage", split, ("train", "dev-small"))
    root, part = get("msmarco-passage").require(), split.replace("-", ".")
    documents, queries = (_pairs(root / name) for name in ("collection.tsv", f"queries.{part}.tsv"))
    rows = (line.split() for line in (root / f"qrels.{part}.tsv").read_text("ascii").splitlines())
    return _judged(documents, queries, [(query, document, int(grade)) for query, _, document, grade in rows])


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        yield from (json.loads(line) for line in stream if line.strip())


def _pairs(path: Path) -> dict[str, str]:
    import pandas as pd

    table = pd.read_csv(path, sep="\t", header=None, dtype=str, quoting=csv.QUOTE_NONE, na_filter=False)
    return dict(zip(table[0], table[1], strict=True))


def _judged(documents: dict[str, str], queries: dict[str, str], rows: list[tuple[str, str, int]]) -> Ranking:
    judgments: dict[str, dict[str, int]] = {}
    for query, document, grade in rows:
        judgments.setdefault(query, {})[document] = grade
    if unknown := next((query for query in judgments if query not in queries), None):
        raise DataError(f"a judgment names the query '{unknown}', which is not among the queries")
    return Ranking(documents, {query: queries[query] for query in judgments}, judgments)
