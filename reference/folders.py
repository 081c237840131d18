"""What lies in a folder or an archive, without what file managers, notebooks and systems leave behind there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

LEFT_BEHIND = ("thumbs.db", "desktop.ini", "__macosx")


def belongs(path: PurePath) -> bool:
    """Whether no part of a relative path is hidden (.DS_Store, .ipynb_checkpoints, ._name) or in LEFT_BEHIND."""
    return not any(part.startswith(".") or part.casefold() in LEFT_BEHIND for part in path.parts)


def listed(folder: Path, found: Iterable[Path] | None = None) -> list[Path]:
    """What belongs of `found` below a folder, or of its entries; sorted."""
    return sorted(path for path in (folder.iterdir() if found is None else found) if belongs(path.relative_to(folder)))


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    return [path.name for path in listed(folder) if path.is_dir()]
