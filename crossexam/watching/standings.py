"""How papers stand, in numbers, kept in the index: a list of 56 papers does not judge them all again.

An entry is named by all that a verdict depends on: the suite, the shared code and catalogues, the committed rows, how
far the store's rows have come, and this program. So it cannot be out of date, and a list after a run judges one paper.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from crossexam import index
from crossexam.facts.paper import Paper
from crossexam.facts.problems import BadFile
from crossexam.runs.committed import FOLDER
from crossexam.runs.plan import Selection
from crossexam.runs.source import Project
from crossexam.runs.store import Store

SHARED = ("baselines", "reference")
"""Folders whose code and catalogues suites depend on."""
SETTINGS = ("CROSSEXAM_DATA", "CROSSEXAM_OWN")
"""Variables that change which rows count."""
OWN_CODE = sorted(str(file) for file in Path(__file__).parents[1].rglob("*.py"))


def standings(
    papers: Sequence[Paper], project: Project, store: Store
) -> tuple[dict[str, dict[str, Any]], list[BadFile]]:
    """{slug: what `judging.standing.record` says of the paper, and `last_run`, the day of its newest row}; and what is
    wrong with the code of those that are missing there."""
    shared = index.digest(_contents(file for name in SHARED for file in (project.root / name).rglob("*.*")))
    around = [shared.encode(), platform.platform().encode(), *(os.environ.get(name, "").encode() for name in SETTINGS)]
    found, broken = {}, []
    for paper in papers:
        suite = _contents(paper.folder.iterdir())
        committed = _contents((project.root / FOLDER).glob(f"{paper.slug}.*.jsonl"))
        made_from = [paper.slug.encode(), *around, *suite, *committed, store.mark(paper.slug).encode()]
        try:
            found[paper.slug] = index.remembered(made_from, OWN_CODE, partial(_standing, paper, project, store))
        except BadFile as error:
            broken.append(error)
    return found, broken


def _contents(files: Iterable[Path]) -> list[bytes]:
    """Names and contents of the files among these that decide anything, in the order of their names."""
    kept = sorted(file for file in files if file.suffix in (".py", ".toml", ".jsonl") and file.is_file())
    return [part for file in kept for part in (file.name.encode(), file.read_bytes())]


def _standing(paper: Paper, project: Project, store: Store) -> dict[str, Any]:
    from crossexam.judging.standing import last_run, record, standing
    from crossexam.watching import session

    judgements = session.judge(paper, project, store, Selection())
    return {**record(standing(paper, judgements)), "last_run": last_run(judgements)}
