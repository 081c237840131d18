"""The map of a suite's files in its README: each with the first line of its docstring."""

from __future__ import annotations

import ast
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


def with_file_map(readme: str, folder: Path) -> str:
    """A suite's README with a fresh map between its marks; as it is where it has none."""
    if BEGIN not in readme or END not in readme:
        return readme
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{file_map(folder)}\n\n{END}{rest.split(END, 1)[1]}"
