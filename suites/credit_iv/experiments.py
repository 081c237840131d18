"""The experiments that paper.toml names: those of the exact tier, and what is measured on which real table.

Pandas and scikit-learn, which real tables need, are not imported before an experiment on one is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import reference
from suites.credit_iv.exact import (
    bias,
    binning,
    by_hand,
    coverage,
    identities,
    library_tables,
    merging,
    null_law,
    points,
    programme,
    regression,
    second_order,
    standard_errors,
)

if TYPE_CHECKING:
    from reference import Table

__all__ = [
    "bias", "binning", "bootstrap_german", "bootstrap_taiwan", "by_hand", "coverage", "drift_german",
    "encodings_breast_cancer", "encodings_german", "encodings_taiwan", "frontier_german", "frontier_taiwan",
    "identities", "library_tables", "merging", "null_law", "points", "programme", "protected_paths_german",
    "regression", "second_order", "selection_bias_german", "selection_german", "selection_null_german",
    "standard_errors",
]  # fmt: skip

Metrics = dict[str, float | list[float]]


# Small tier: German credit, and scikit-learn's breast cancer.


def encodings_german(*, seed: int) -> Metrics:
    """S1 on German credit."""
    from suites.credit_iv import on_tables

    return on_tables.encodings(reference.load("german-credit"), seed)


def encodings_breast_cancer(*, seed: int) -> Metrics:
    """S1 on the first six features of breast cancer: with all thirty, every model is near an AUC of 1."""
    from reference import Table
    from suites.credit_iv import on_tables

    table = reference.load("breast-cancer")
    return on_tables.encodings(Table(table.features.iloc[:, :6], 1 - table.target), seed)


def selection_german(*, seed: int, keep: int) -> Metrics:
    """IV against the other criteria that features are selected by."""
    from suites.credit_iv import on_tables

    return on_tables.selection(reference.load("german-credit"), seed, keep)


def bootstrap_german(*, seed: int) -> Metrics:
    """S2 on every feature of German credit that has more than one bin."""
    from suites.credit_iv import on_tables

    return on_tables.bootstrap_errors(reference.load("german-credit"), seed)


def drift_german(*, seed: int) -> Metrics:
    """S3 on German credit."""
    from suites.credit_iv import on_tables

    return on_tables.drift(reference.load("german-credit"), seed)


def selection_bias_german(*, arm: str, seed: int) -> Metrics:
    """Bins and IV from the same half (`no_split`) or from two (`split`)."""
    from suites.credit_iv import on_tables

    return on_tables.selection_bias(reference.load("german-credit"), seed, split=arm == "split")


def selection_null_german(*, seed: int) -> Metrics:
    """The null test on permuted targets, with and without a split."""
    from suites.credit_iv import on_tables

    return on_tables.selection_null(reference.load("german-credit"), seed)


def frontier_german(*, arm: str, seed: int) -> Metrics:
    """S4 on German credit: the protected group is age <= 25, and age itself is no candidate."""
    from suites.credit_iv import on_tables

    return on_tables.frontier(*_german_by_age(), arm, seed)


def protected_paths_german(*, seed: int) -> Metrics:
    """S4 along whole paths."""
    from suites.credit_iv import on_tables

    return on_tables.protected_paths(*_german_by_age(), seed)


def _german_by_age() -> tuple[Table, npt.NDArray[np.int64]]:
    from reference import Table

    table = reference.load("german-credit")
    young = (table.features["age"] <= 25).to_numpy(np.int64)
    return Table(table.features.drop(columns="age"), table.target), young


# Full tier: Taiwan default.


def encodings_taiwan(*, seed: int) -> Metrics:
    """S1 on Taiwan default."""
    from suites.credit_iv import on_tables

    return on_tables.encodings(_taiwan(), seed)


def bootstrap_taiwan(*, seed: int) -> Metrics:
    """S2 on every feature of Taiwan default that has more than one bin."""
    from suites.credit_iv import on_tables

    return on_tables.bootstrap_errors(_taiwan(), seed)


def frontier_taiwan(*, arm: str, seed: int) -> Metrics:
    """S4 on Taiwan default: the protected group is women (X2 = 2), and sex itself is no candidate."""
    from reference import Table
    from suites.credit_iv import on_tables

    table = _taiwan()
    women = (table.features["X2"] == "2").to_numpy(np.int64)
    return on_tables.frontier(Table(table.features.drop(columns="X2"), table.target), women, arm, seed)


def _taiwan() -> Table:
    """Sex, education and marriage (X2, X3, X4) are codes, not numbers."""
    from reference import Table

    table = reference.load("taiwan-default")
    return Table(table.features.astype(dict.fromkeys(("X2", "X3", "X4"), str)), table.target)
