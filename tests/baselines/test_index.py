"""The index of the baselines names every module once."""

from __future__ import annotations

import re

import baselines
from tests.conftest import ROOT


def test_index_is_complete() -> None:
    folder = ROOT / "baselines"
    modules = [file.relative_to(folder).with_suffix("") for file in folder.rglob("*.py") if file.name != "__init__.py"]
    named = re.findall(r"^- `([\w.]+)`: \S", baselines.__doc__ or "", re.M)
    assert sorted(named) == sorted(".".join(module.parts) for module in modules)
