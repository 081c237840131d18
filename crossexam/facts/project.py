"""Where the project is, and which suites it has."""

from __future__ import annotations

import os
from pathlib import Path

from crossexam.facts.checked import checked_paper
from crossexam.facts.paper import Paper
from crossexam.facts.problems import did_you_mean


class UnknownPaper(Exception):
    """A paper that the project has no suite for."""


def project_root() -> Path:
    """The nearest folder, from here upwards, that has suites, or a place for them; else the one of crossexam itself.

    A folder `suites` without any suite, such as that of the tests, is only a place for them.
    """
    here = Path.cwd()
    places = [folder for folder in (here, *here.parents) if (folder / "suites").is_dir()]
    for folder in places:
        if suite_folders(folder):
            return folder
    if places:
        return places[0]
    return Path(__file__).resolve().parents[2]


def results_folder(root: Path) -> Path:
    """Where rows are kept: CROSSEXAM_RESULTS, or `results` in the project."""
    named = os.environ.get("CROSSEXAM_RESULTS")
    return Path(named) if named else root / "results"


def suite_folders(root: Path) -> dict[str, Path]:
    """Slug -> folder of every suite."""
    found = sorted(file.parent for file in (root / "suites").glob("*/paper.toml"))
    return {folder.name.replace("_", "-"): folder for folder in found}


def find_paper(root: Path, slug: str) -> Paper:
    """The paper called `slug`. Raises UnknownPaper with the nearest name, BadFile for a broken suite."""
    folders = suite_folders(root)
    wanted = slug.replace("_", "-")
    if wanted not in folders:
        raise UnknownPaper(f"no paper '{slug}': {did_you_mean(wanted, folders) if folders else 'there are no suites'}")
    return checked_paper(folders[wanted])
