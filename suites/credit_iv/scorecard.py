"""From a table of mixed columns to bins, to the three encodings of the paper, and to what they are compared with.

Missing values are a bin of their own, or where they are under 5 % part of the bin of nearest log-odds. Columns of
numbers and of booleans are cut into intervals; of every other dtype each value is a category.

Every model is a scikit-learn estimator on binned columns (N, D), integers; target 1 is bad (or the protected group).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import chi2_contingency
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from suites.credit_iv.method import (
    bin_counts,
    fill_empty,
    information_value,
    merge_small_bins,
    stump_thresholds,
    weight_of_evidence,
)

Ints = npt.NDArray[np.int64]
Edges = Callable[[pd.DataFrame, Ints, int], Mapping[str, npt.NDArray[np.float64]]]
"""(table, target, seed) -> the inner edges of each numeric column."""

MOST_BINS = 10
MIN_SHARE = 0.05


@dataclass(frozen=True)
class NumericBins:
    """Bins (-inf, e_1], (e_1, e_2], ..., (e_{K-1}, inf) of a numeric column; missing values go to the bin `missing`.

    That is one of these, or bin K, their own.
    """

    edges: npt.NDArray[np.float64]
    missing: int = 0

    @property
    def size(self) -> int:
        return max(len(self.edges), self.missing) + 1

    @property
    def ordered(self) -> bool:
        return self.missing <= len(self.edges)

    def __call__(self, column: pd.Series) -> Ints:
        values = _numbers(column)
        bins = np.searchsorted(self.edges, values, side="left")
        return np.where(np.isnan(values), self.missing, bins).astype(np.int64)


@dataclass(frozen=True)
class CategoryBins:
    """Groups of categories, None for missing. What was not there when the bins were made goes to the largest bin."""

    groups: Mapping[str | None, int]
    largest: int
    ordered = False

    @property
    def size(self) -> int:
        return max(self.groups.values()) + 1

    def __call__(self, column: pd.Series) -> Ints:
        return np.array([self.groups.get(value, self.largest) for value in _categories(column)], dtype=np.int64)


@dataclass(frozen=True)
class TableBins:
    """The bins of every column that falls into more than one."""

    columns: Mapping[str, NumericBins | CategoryBins]

    @property
    def sizes(self) -> list[int]:
        return [bins.size for bins in self.columns.values()]

    @property
    def categorical(self) -> list[int]:
        """Positions of the columns whose bins have no order."""
        return [index for index, bins in enumerate(self.columns.values()) if not bins.ordered]

    def __call__(self, table: pd.DataFrame) -> Ints:
        """(N, D) bin numbers."""
        return np.stack([bins(table[name]) for name, bins in self.columns.items()], axis=1)


def fit_bins(table: pd.DataFrame, target: Ints, how: str = "stumps", seed: int = 0) -> TableBins:
    """Bin every column; bins of less than 5 % of the rows are merged. A column left with one bin is dropped.

    `how` is one of `EDGES` and concerns numeric columns; each category of the others is a bin to begin with.
    """
    edges = EDGES[how](table, target, seed)
    columns: dict[str, NumericBins | CategoryBins] = {}
    for name in table.columns:
        bins = _merged_intervals(table[name], target, edges[name]) if name in edges else _grouped(table[name], target)
        if bins.size > 1:
            columns[name] = bins
    return TableBins(columns)


def numeric_columns(table: pd.DataFrame) -> list[str]:
    """Names of the columns that hold numbers or booleans; the others hold categories."""
    return [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]


def complete(table: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """The table without missing values, where `like` or the table has any: else as it is.

    Numbers take the median of `like`, and a column says where they did; categories take one named "missing".
    """
    columns = {}
    for name, column in table.items():
        if not (column.isna().any() or like[name].isna().any()):
            columns[name] = column
        elif pd.api.types.is_numeric_dtype(column):
            known = _numbers(like[name])
            known = known[~np.isnan(known)]
            columns[name] = pd.Series(_numbers(column)).fillna(np.median(known) if len(known) else 0.0)
            columns[f"{name} is missing"] = column.isna().astype(float)
        else:
            columns[name] = pd.Series(["missing" if value is None else value for value in _categories(column)])
    return pd.DataFrame({name: column.to_numpy() for name, column in columns.items()}, index=table.index)


def _numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    return column.to_numpy(float, na_value=np.nan)


def _categories(column: pd.Series) -> list[str | None]:
    return [None if gone else str(value) for value, gone in zip(column, column.isna(), strict=True)]


def _merged_intervals(column: pd.Series, target: Ints, edges: npt.NDArray[np.float64]) -> NumericBins:
    gone = column.isna().to_numpy()
    if gone.all():
        return NumericBins(np.zeros(0))
    raw = NumericBins(edges)
    labels = merge_small_bins(*_class_counts(raw(column[~gone]), target[~gone], raw.size), MIN_SHARE)
    kept = NumericBins(edges[np.diff(labels) > 0])
    inside = kept(column[~gone])
    if not gone.any():
        return NumericBins(kept.edges, int(np.bincount(inside).argmax()))
    if gone.mean() >= MIN_SHARE:
        return NumericBins(kept.edges, kept.size)
    cells = np.stack(_class_counts(inside, target[~gone], kept.size)) + 0.5
    of_missing = np.log((np.sum(target[gone] == 0) + 0.5) / (np.sum(target[gone] == 1) + 0.5))
    return NumericBins(kept.edges, int(np.abs(np.log(cells[0] / cells[1]) - of_missing).argmin()))


def _grouped(column: pd.Series, target: Ints) -> CategoryBins:
    values = _categories(column)
    names = sorted(set(values), key=lambda value: (value is None, value))
    codes = np.array([names.index(value) for value in values], dtype=np.int64)
    labels = merge_small_bins(*_class_counts(codes, target, len(names)), MIN_SHARE, ordered=False)
    largest = int(np.bincount(labels[codes]).argmax())
    return CategoryBins(dict(zip(names, labels.tolist(), strict=True)), largest)


def _class_counts(bins: Ints, target: Ints, size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    goods, bads = bin_counts(torch.tensor(bins), torch.tensor(target), size)
    return goods.numpy(), bads.numpy()


def _stump_edges(table: pd.DataFrame, target: Ints, seed: int) -> Mapping[str, npt.NDArray[np.float64]]:
    """One boosted model of all columns, categories as indicators, so that a split is made given the others."""
    design = pd.get_dummies(complete(table, table), dtype=float)
    found = dict(zip(design.columns, stump_thresholds(design.to_numpy(float), target, seed=seed), strict=True))
    return {name: found[name] for name in numeric_columns(table)}


def _known(table: pd.DataFrame) -> Iterator[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Name, known values (0 if there are none), and where they are, of each numeric column."""
    for name in numeric_columns(table):
        values = _numbers(table[name])
        where = ~np.isnan(values)
        yield name, values[where] if where.any() else np.zeros(1), where


def _equal_width_edges(table: pd.DataFrame, *_: object) -> Mapping[str, npt.NDArray[np.float64]]:
    return {name: np.linspace(known.min(), known.max(), MOST_BINS + 1)[1:-1] for name, known, _ in _known(table)}


def _equal_frequency_edges(table: pd.DataFrame, *_: object) -> Mapping[str, npt.NDArray[np.float64]]:
    shares = np.arange(1, MOST_BINS) / MOST_BINS
    return {name: np.unique(np.quantile(known, shares)) for name, known, _ in _known(table)}


def _tree_edges(table: pd.DataFrame, target: Ints, seed: int) -> Mapping[str, npt.NDArray[np.float64]]:
    edges = {}
    for name, known, where in _known(table):
        tree = DecisionTreeClassifier(max_leaf_nodes=MOST_BINS, min_samples_leaf=MIN_SHARE, random_state=seed)
        fitted = tree.fit(known[:, None], target[where]).tree_ if where.any() else None
        edges[name] = np.unique(fitted.threshold[fitted.feature >= 0]) if fitted else np.zeros(0)
    return edges


EDGES: Mapping[str, Edges] = {
    "stumps": _stump_edges,
    "equal_width": _equal_width_edges,
    "equal_frequency": _equal_frequency_edges,
    "tree": _tree_edges,
}


def count_tables(binned: Ints, sizes: Sequence[int], target: Ints) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(goods, bads) of each column, by bin; tables with an empty cell have 0.5 added to every cell."""
    labels = torch.tensor(target)
    return [
        fill_empty(*bin_counts(torch.tensor(column), labels, size))
        for column, size in zip(binned.T.copy(), sizes, strict=True)
    ]


def iv_per_column(binned: Ints, sizes: Sequence[int], target: Ints) -> npt.NDArray[np.float64]:
    """IV of each column with respect to `target`, (D,). With a protected group for target: IV^prot."""
    return np.array([float(information_value(*table)) for table in count_tables(binned, sizes, target)])


class WoeEncoder(TransformerMixin, BaseEstimator):
    """Replaces each bin by its WoE in the training data."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes

    def fit(self, binned: Ints, target: Ints) -> WoeEncoder:
        self.tables_ = [weight_of_evidence(*table) for table in count_tables(binned, self.sizes, target)]
        return self

    def transform(self, binned: Ints) -> npt.NDArray[np.float64]:
        return np.stack([table.numpy()[column] for table, column in zip(self.tables_, binned.T, strict=True)], axis=1)


def one_hot_regression(sizes: Sequence[int]) -> Pipeline:
    """Encoding (i): an indicator for each bin, logistic regression with L2, C = 1."""
    categories = [np.arange(size) for size in sizes]
    return make_pipeline(OneHotEncoder(categories=categories), LogisticRegression(C=1.0, max_iter=1000))


def woe_regression(sizes: Sequence[int]) -> Pipeline:
    """Encoding (ii): a WoE column for each feature, logistic regression with L2, C = 1."""
    return make_pipeline(WoeEncoder(sizes), LogisticRegression(C=1.0, max_iter=1000))


def boosted_stumps(sizes: Sequence[int], categorical: Sequence[int], seed: int) -> Pipeline:
    """Encoding (iii): 100 boosted stumps on the number of a bin, on indicators where bins have no order."""
    booster = GradientBoostingClassifier(max_depth=1, n_estimators=100, learning_rate=0.1, random_state=seed)
    return make_pipeline(_ordinal_design(sizes, categorical), booster)


def monotone_stumps(
    binned: Ints, target: Ints, sizes: Sequence[int], categorical: Sequence[int], seed: int
) -> Pipeline:
    """Encoding (iii), constrained: the score is monotone in every ordered feature, along its trend in these data."""
    ordered = [index for index in range(len(sizes)) if index not in categorical]
    trends = [int(np.sign(np.corrcoef(binned[:, index], target)[0, 1])) for index in ordered]
    indicators = sum(sizes[index] for index in categorical)
    booster = HistGradientBoostingClassifier(
        max_depth=1, max_iter=100, learning_rate=0.1, early_stopping=False, random_state=seed,
        monotonic_cst=[0] * indicators + trends,
    )  # fmt: skip
    return make_pipeline(_ordinal_design(sizes, categorical), booster)


def _ordinal_design(sizes: Sequence[int], categorical: Sequence[int]) -> ColumnTransformer:
    """Indicators of unordered bins first, then the bin numbers of the other columns."""
    categories = [np.arange(sizes[index]) for index in categorical]
    encoder = OneHotEncoder(categories=categories, sparse_output=False)
    return ColumnTransformer([("unordered", encoder, list(categorical))], remainder="passthrough")


def raw_regression() -> Pipeline:
    """Baseline on unbinned columns: standardised numbers and indicators, logistic regression with L2, C = 1."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))


def deep_boosting(seed: int) -> GridSearchCV:
    """Baseline on unbinned columns: boosted trees whose depth (2, 3, 6) is chosen by 3-fold validated AUC."""
    booster = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, early_stopping=False, random_state=seed)
    return GridSearchCV(booster, {"max_depth": [2, 3, 6]}, scoring="roc_auc", cv=3)


def raw_design(train: pd.DataFrame, test: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both tables as numbers, categories as the indicators of those that training has; see `complete`."""
    first = pd.get_dummies(complete(train, train), dtype=float)
    second = pd.get_dummies(complete(test, train), dtype=float).reindex(columns=first.columns, fill_value=0.0)
    return first.to_numpy(float), second.to_numpy(float)


def mutual_information(goods: torch.Tensor, bads: torch.Tensor) -> float:
    """Mutual information of bin and class, in nats."""
    return float(mutual_info_score(None, None, contingency=torch.stack([goods, bads]).numpy()))


def chi_square(goods: torch.Tensor, bads: torch.Tensor) -> float:
    """Pearson's statistic of the 2 x K table."""
    return float(chi2_contingency(torch.stack([goods, bads]).numpy(), correction=False).statistic)


def kolmogorov_smirnov(goods: torch.Tensor, bads: torch.Tensor) -> float:
    """Largest gap between the class distributions, bins in the order of their WoE."""
    p, q = _by_risk(goods, bads)
    return float((p.cumsum(0) - q.cumsum(0)).abs().max())


def gini(goods: torch.Tensor, bads: torch.Tensor) -> float:
    """2 AUC - 1 of the bins in the order of their WoE."""
    p, q = _by_risk(goods, bads)
    auc = (p * (q.cumsum(0) - q / 2)).sum()
    return float(2 * auc - 1)


def _by_risk(goods: torch.Tensor, bads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.argsort(weight_of_evidence(goods, bads))
    return (goods / goods.sum())[order], (bads / bads.sum())[order]


CRITERIA: Mapping[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "iv": lambda goods, bads: float(information_value(goods, bads)),
    "mutual_information": mutual_information,
    "chi_square": chi_square,
    "ks": kolmogorov_smirnov,
    "gini": gini,
}
"""Measures that features are ranked by, from the counts of a column."""
