"""`crossexam new`: a suite that runs from the first minute."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).with_name("templates")


class BadSlug(ValueError):
    """A name that cannot be a suite's, or is taken."""


def scaffold(root: Path, slug: str) -> list[Path]:
    """Write the files of a new suite and return them, relative to `root`. Raises BadSlug."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        raise BadSlug(f"'{slug}' is no slug: use lower-case words joined by hyphens, such as focal-loss")
    package = slug.replace("-", "_")
    folder = root / "suites" / package
    if folder.exists():
        raise BadSlug(f"the suite {folder.relative_to(root)} exists already")
    targets = {
        "__init__.py.txt": folder / "__init__.py",
        "paper.toml.txt": folder / "paper.toml",
        "method.py.txt": folder / "method.py",
        "experiments.py.txt": folder / "experiments.py",
        "toy.py.txt": folder / "toy.py",
        "README.md.txt": folder / "README.md",
        "test.py.txt": root / "tests" / "suites" / f"test_{package}.py",
    }
    for template, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        target.write_text(Template(text).substitute(slug=slug, package=package), encoding="utf-8")
    return [target.relative_to(root) for target in targets.values()]
