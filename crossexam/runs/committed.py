"""The rows and audits that are committed with the project: evidence for those who have run nothing yet.

Rows of several machine classes may lie there, a file each. They count wherever this machine has no rows of its own
(`judging.evidence` says by which rule), unless CROSSEXAM_OWN is set: then this machine has to measure for itself.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossexam.runs.environment import processor
from crossexam.runs.rows import Row
from crossexam.runs.store import Builds, Export, read_export

FOLDER = Path("results", "reference")
OWN = "CROSSEXAM_OWN"


def committed_rows(root: Path, slug: str = "*") -> Iterator[Row]:
    """Rows of all machine classes, of one paper or of all."""
    for export in _exports(root, slug):
        yield from export.rows


def counted_rows(root: Path, slug: str = "*") -> list[Row]:
    """Those that count on this machine: oldest first; none where it has to measure for itself."""
    return [] if os.environ.get(OWN) else sorted(committed_rows(root, slug), key=lambda row: row.started)


def committed_texts(root: Path, slug: str = "*") -> dict[str, Any]:
    """The environments that committed rows name, by their digests."""
    return {key: text for export in _exports(root, slug) for key, text in export.texts.items()}


def committed_processors(root: Path, slug: str = "*") -> dict[str, str]:
    """{digest of an environment that committed rows name: its processor}."""
    return {key: processor(text) for key, text in committed_texts(root, slug).items()}


def committed_builds(root: Path, slug: str = "*") -> Builds:
    """What building artifacts took where the committed rows were measured."""
    return {key: seconds for export in _exports(root, slug) for key, seconds in export.builds.items()}


def committed_audits(root: Path, slug: str = "*") -> dict[str, dict[str, Any]]:
    """{paper: its audit}, of one paper or of all."""
    return {
        file.name.removesuffix(".audit.json"): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((root / FOLDER).glob(f"{slug}.audit.json"))
    }


def _exports(root: Path, slug: str) -> Iterator[Export]:
    for file in sorted((root / FOLDER).glob(f"{slug}.*.jsonl")):
        yield _read(file, file.stat().st_mtime_ns, file.stat().st_size)


@functools.lru_cache(maxsize=256)
def _read(file: Path, changed: int, size: int) -> Export:  # noqa: ARG001 - a file that was written again is read again
    return read_export(file.read_text(encoding="utf-8").split("\n"), file.name)
