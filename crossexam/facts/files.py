"""What a suite's README holds: the map of its files, each with the first line of its docstring, and a snippet."""

from __future__ import annotations

import ast
import re
from pathlib import Path

BEGIN, END = "<!-- files: written by `crossexam report --status` -->", "<!-- end of files -->"


def file_map(folder: Path) -> str:
    """One line a Python file, as a Markdown list; the method first, what the harness calls last."""
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    files.sort(key=lambda file: ({"method.py": 0, "experiments.py": 2}.get(file.name, 1), file.name))
    lines = []
    for file in files:
        said = ast.get_docstring(ast.parse(file.read_bytes())) or ""
        lines.append(f"- [`{file.name}`]({file.name}): {said.split(chr(10))[0]}")
    return "\n".join([*lines, "- [`paper.toml`](paper.toml): facts, claims with their rules, faults, the ledger."])


def snippet(folder: Path) -> str:
    """The first Python example of a suite's README: how the method is used; empty where there is none."""
    file = folder / "README.md"
    found = (
        re.search(r"^```python\n(.*?)^```", file.read_text(encoding="utf-8"), re.S | re.M) if file.is_file() else None
    )
    return found[1] if found else ""


def with_file_map(readme: str, folder: Path) -> str:
    """A suite's README with a fresh map between its marks; as it is where it has none."""
    if BEGIN not in readme or END not in readme:
        return readme
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{file_map(folder)}\n\n{END}{rest.split(END, 1)[1]}"
