"""The rows and audits that are committed with the project: evidence for those who have run nothing yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossexam.runs.rows import Row
from crossexam.runs.store import read_export

FOLDER = Path("results", "reference")


def committed_rows(root: Path, slug: str = "*") -> Iterator[Row]:
    """Rows of all machine classes, of one paper or of all."""
    for file in sorted((root / FOLDER).glob(f"{slug}.*.jsonl")):
        yield from read_export(file.read_text(encoding="utf-8").split("\n"), file.name)[0]


def committed_audits(root: Path) -> dict[str, dict[str, Any]]:
    """{paper: its audit}."""
    return {
        file.name.removesuffix(".audit.json"): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((root / FOLDER).glob("*.audit.json"))
    }
