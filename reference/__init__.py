"""Reference data: `reference.load(name, split)` returns real data that was checked to be what its name says."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from reference.catalog import DataError, get

if TYPE_CHECKING:
    from reference.images import Images
    from reference.tables import Table

__all__ = ["DataError", "Images", "Table", "load"]


def load(name: str, split: str = "all") -> Any:
    """The data set `name`: `Images` or `Table`, by its kind. Raises DataError where it is absent or damaged."""
    from reference import images, tables  # here, so that the catalogue can be read without torch or pandas

    module, function = get(name).loader.split(":")
    return getattr({"reference.images": images, "reference.tables": tables}[module], function)(split)


def __getattr__(name: str) -> Any:
    """`Images` and `Table` on first use, for the reason given in `load`."""
    modules = {"Images": "reference.images", "Table": "reference.tables"}
    if name not in modules:
        raise AttributeError(f"module 'reference' has no attribute '{name}'")
    return getattr(importlib.import_module(modules[name]), name)
