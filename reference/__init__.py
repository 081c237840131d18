"""Reference data: `reference.load(name, split)` returns real data that was checked to be what its name says."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from reference.catalog import DataError, get

if TYPE_CHECKING:
    from reference.images import Images
    from reference.tables import Table

__all__ = ["DataError", "Images", "Table", "load", "only"]

_declared: ContextVar[frozenset[str] | None] = ContextVar("declared", default=None)


def load(name: str, split: str = "all") -> Any:
    """The data set `name`, as the type that its loader documents. Raises DataError where it is absent or damaged."""
    entry, declared = get(name), _declared.get()
    if declared is not None and name not in declared:
        # Its checksum and its loader would be missing in the fingerprint of the trial.
        raise DataError(f"data set '{name}' is not declared: add it to needs.data of the experiment in paper.toml")
    # The loader is imported here, so that the catalogue can be read without torch or pandas.
    from reference.soundness import loading

    with loading(entry):
        return getattr(importlib.import_module(entry.module), entry.function)(split)


@contextmanager
def only(names: Iterable[str]) -> Iterator[None]:
    """Within it, only these sets can be loaded: those that a trial has declared."""
    token = _declared.set(frozenset(names))
    try:
        yield
    finally:
        _declared.reset(token)


def __getattr__(name: str) -> Any:
    """`Images` and `Table` on first use, for the reason given in `load`."""
    modules = {"Images": "reference.images", "Table": "reference.tables"}
    if name not in modules:
        raise AttributeError(f"module 'reference' has no attribute '{name}'")
    return getattr(importlib.import_module(modules[name]), name)
