"""The experiments that paper.toml names: those of the exact tier, and the tables that `on_tables` is asked about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import reference
from suites.credit_iv.exact import (
    Metrics,
    bias,
    binning,
    by_hand,
    coverage,
    defaults,
    error_gradients,
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

# on_tables imports pandas and scikit-learn, for which the exact tier need not wait.

# Small tier: German credit, and scikit-learn's breast cancer.


def encodings_german(*, seed: int) -> Metrics:
    """The encodings on German credit."""
    from suites.credit_iv.on_tables import encodings

    return encodings(reference.load("german-credit"), seed)


def encodings_breast_cancer(*, seed: int) -> Metrics:
    """The encodings on the first six features of breast cancer: with all thirty, every model is near an AUC of 1."""
    from suites.credit_iv.on_tables import encodings

    table = reference.load("breast-cancer")
    return encodings(replace(table, features=table.features.iloc[:, :6], target=1 - table.target), seed)


def selection_german(*, seed: int, keep: int) -> Metrics:
    """IV against the other criteria that features are selected by."""
    from suites.credit_iv.on_tables import selection

    return selection(reference.load("german-credit"), seed, keep)


def bootstrap_german(*, seed: int) -> Metrics:
    """Standard errors of every feature of German credit that has more than one bin."""
    from suites.credit_iv.on_tables import bootstrap_errors

    return bootstrap_errors(reference.load("german-credit"), seed)


def drift_german(*, seed: int) -> Metrics:
    """The drift test on German credit."""
    from suites.credit_iv.on_tables import drift

    return drift(reference.load("german-credit"), seed)


def selection_bias_german(*, arm: str, seed: int) -> Metrics:
    """Bins and IV from the same half (`no_split`) or from two (`split`)."""
    from suites.credit_iv.on_tables import selection_bias

    return selection_bias(reference.load("german-credit"), seed, split=arm == "split")


def selection_null_german(*, seed: int) -> Metrics:
    """The null test on permuted targets, with and without a split."""
    from suites.credit_iv.on_tables import selection_null

    return selection_null(reference.load("german-credit"), seed)


def frontier_german(*, arm: str, seed: int) -> Metrics:
    """German credit: the protected group is age <= 25, and age itself is no candidate."""
    from suites.credit_iv.on_tables import frontier

    return frontier(*_german_by_age(), arm, seed)


def protected_paths_german(*, seed: int) -> Metrics:
    """The same along whole paths."""
    from suites.credit_iv.on_tables import protected_paths

    return protected_paths(*_german_by_age(), seed)


def _german_by_age() -> tuple[Table, npt.NDArray[np.int64]]:
    table = reference.load("german-credit")
    young = (table.features["age"] <= 25).to_numpy(np.int64)
    return replace(table, features=table.features.drop(columns="age")), young


# Full tier: Taiwan default.


def encodings_taiwan(*, seed: int) -> Metrics:
    """The encodings on Taiwan default."""
    from suites.credit_iv.on_tables import encodings

    return encodings(_taiwan(), seed)


def bootstrap_taiwan(*, seed: int) -> Metrics:
    """Standard errors of every feature of Taiwan default that has more than one bin."""
    from suites.credit_iv.on_tables import bootstrap_errors

    return bootstrap_errors(_taiwan(), seed)


def frontier_taiwan(*, arm: str, seed: int) -> Metrics:
    """Taiwan default: the protected group is women (X2 = 2), and sex itself is no candidate."""
    from suites.credit_iv.on_tables import frontier

    table = _taiwan()
    women = (table.features["X2"] == "2").to_numpy(np.int64)
    return frontier(replace(table, features=table.features.drop(columns="X2")), women, arm, seed)


def _taiwan() -> Table:
    """Sex, education and marriage (X2, X3, X4) are codes, not numbers."""
    table = reference.load("taiwan-default")
    return replace(table, features=table.features.astype(dict.fromkeys(("X2", "X3", "X4"), str)))
