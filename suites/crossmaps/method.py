r"""Crossmaps: recoding statistics from one classification into another (Huang, arXiv:2406.14163).

A crossmap is a weighted bipartite graph from source codes s to target codes t, whose weights leaving each source sum to
one. Its matrix B (n_S, n_T), B[s, t] = w(s, t), is row-stochastic; x (n_S,) are values that are parts of one whole, a
shared mass array.

    valid         no missing code or weight, no pair (s, t) twice, w > 0, |sum_t w(s, t) - 1| < tol for every s
    conformable   every code of x is a source of the crossmap, and no value is missing
    apply         y_t = sum_s x_s w(s, t), or y = x B: the total is kept
    compose       w(s, t) = sum_m w1(s, m) w2(m, t), or B1 B2

Graph, matrix and list are encodings of one object, which is checked before any data are seen. Weights below one impute:
they say how a value that was never measured by itself is divided.

    crossmap = Crossmap.from_links(pd.DataFrame({"from": ["a", "b"], "to": ["A", "A"], "weight": [1.0, 1.0]}))
    apply(crossmap, pd.Series({"a": 2.0, "b": 3.0}))                # A 5.0

Codes stay what they are: text with leading zeros is never read as a number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

TOLERANCE = float(np.finfo(np.float64).eps ** 0.5)
"""Of a sum of weights, absolute and exclusive: what the paper's package has."""
COLUMNS = ("from", "to", "weight")

Array = npt.NDArray[np.float64]
Mass = TypeVar("Mass", pd.Series, pd.DataFrame)


class InvalidCrossmap(ValueError):
    """Links that are no crossmap; `problems` has the offending rows by condition."""

    def __init__(self, problems: Mapping[str, pd.DataFrame]) -> None:
        self.problems = dict(problems)
        told = "; ".join(f"{name.replace('_', ' ')}: {_sample(rows)}" for name, rows in self.problems.items())
        super().__init__(f"these links are no crossmap: {told}")


class NotCovered(ValueError):
    """Codes that the crossmap has no links for; `codes` lists them."""

    def __init__(self, codes: Sequence[Hashable], of: str) -> None:
        self.codes = list(codes)
        more = f" and {len(codes) - 5} more" if len(codes) > 5 else ""
        super().__init__(f"{of} not covered: {', '.join(map(repr, self.codes[:5]))}{more}; add links for them")


class MissingMass(ValueError):
    """Codes whose value is missing; `codes` lists them. Filling in 0 would change the total unseen."""

    def __init__(self, codes: Sequence[Hashable]) -> None:
        self.codes = list(codes)
        super().__init__(f"values are missing for {', '.join(map(repr, self.codes[:5]))}: impute or drop them openly")


@dataclass(frozen=True, eq=False)
class Crossmap:
    """A valid crossmap. Make one by `from_links`, `from_matrix` or `from_graph`, which check it."""

    sources: pd.Index
    """(n_S,), in the order in which they were first seen."""
    targets: pd.Index
    """(n_T,), likewise."""
    matrix: sparse.csr_array
    """B, float64 (n_S, n_T), without explicit zeros."""
    tol: float = TOLERANCE

    @classmethod
    def from_links(cls, links: pd.DataFrame, *, tol: float = TOLERANCE) -> Crossmap:
        """From a list with the columns from, to and weight, one link a row. Raises InvalidCrossmap."""
        if problems := diagnose(links, tol=tol):
            raise InvalidCrossmap(problems)
        rows, sources = pd.factorize(links["from"])
        columns, targets = pd.factorize(links["to"])
        weights = links["weight"].to_numpy(np.float64)
        shape = (len(sources), len(targets))
        return cls(pd.Index(sources), pd.Index(targets), sparse.csr_array((weights, (rows, columns)), shape), tol)

    @classmethod
    def from_matrix(
        cls, matrix: Any, sources: Iterable[Hashable], targets: Iterable[Hashable], *, tol: float = TOLERANCE
    ) -> Crossmap:
        """From B, dense or sparse (n_S, n_T), and the names of its rows and columns; zero cells are no links.

        Raises ValueError for what `matrix_problems` names; columns without a link are dropped.
        """
        names = list(sources), list(targets)
        if problems := matrix_problems(matrix, *names, tol=tol):
            raise ValueError(f"this matrix is no crossmap: {'; '.join(problems)}")
        return _kept(pd.Index(names[0]), pd.Index(names[1]), sparse.csr_array(matrix, dtype=np.float64), tol)

    @classmethod
    def from_graph(cls, graph: Mapping[Any, Mapping[Any, float]], *, tol: float = TOLERANCE) -> Crossmap:
        """From {source: {target: weight}}. Raises InvalidCrossmap, and ValueError for a source without a link."""
        if lone := [source for source, links in graph.items() if not links]:
            raise ValueError(f"sources without a link: {', '.join(map(repr, lone))}")
        rows = [(source, target, weight) for source, links in graph.items() for target, weight in links.items()]
        return cls.from_links(pd.DataFrame(rows, columns=list(COLUMNS)), tol=tol)

    def links(self) -> pd.DataFrame:
        """The list: from, to, weight, by source and target as they are numbered."""
        grid = self.matrix.tocoo()
        return pd.DataFrame({"from": self.sources[grid.row], "to": self.targets[grid.col], "weight": grid.data})

    def graph(self) -> dict[Hashable, dict[Hashable, float]]:
        """{source: {target: weight}}."""
        found: dict[Hashable, dict[Hashable, float]] = {source: {} for source in self.sources}
        for source, target, weight in self.links().itertuples(index=False):
            found[source][target] = weight
        return found


# Validity.


def diagnose(links: pd.DataFrame, *, tol: float = TOLERANCE) -> dict[str, pd.DataFrame]:
    """The rows that keep a list of links from being a crossmap, by condition; empty for a crossmap.

    Conditions: missing_from, missing_to, missing_weight, duplicates, nonpositive, and bad_sums, whose rows are a source
    and the sum of its weights. Raises ValueError for other columns, no link at all, and weights that are no numbers.
    """
    if absent := [name for name in COLUMNS if name not in links.columns]:
        raise ValueError(f"links need the columns from, to and weight; {', '.join(absent)} is missing")
    if not len(links):
        raise ValueError("a crossmap needs at least one link")
    if not pd.api.types.is_numeric_dtype(links["weight"]) or pd.api.types.is_bool_dtype(links["weight"]):
        raise ValueError(f"weights must be numbers, got {links['weight'].dtype}")
    missing = {name: links[name].isna() for name in COLUMNS}
    weights = links["weight"].to_numpy(np.float64, na_value=np.nan)
    rows, sources = pd.factorize(links["from"])
    columns, targets = pd.factorize(links["to"])
    named = (rows >= 0) & (columns >= 0)
    pair = pd.Series(rows.astype(np.int64) * max(1, len(targets)) + columns)
    sums = np.bincount(rows[rows >= 0], np.nan_to_num(weights[rows >= 0], nan=0.0), len(sources))
    found = {
        **{f"missing_{name}": links[gone] for name, gone in missing.items()},
        "duplicates": links[pair.where(named, -1 - np.arange(len(pair))).duplicated(keep=False).to_numpy()],
        "nonpositive": links[weights <= 0],
        "bad_sums": pd.DataFrame({"from": sources, "sum": sums})[~(np.abs(sums - 1) < tol)],
    }
    return {name: rows for name, rows in found.items() if len(rows)}


def validate(links: pd.DataFrame, *, tol: float = TOLERANCE) -> bool:
    """Whether a list of links is a crossmap."""
    return not diagnose(links, tol=tol)


def matrix_problems(
    matrix: Any,
    sources: Sequence[Hashable],
    targets: Sequence[Hashable],
    *,
    tol: float = TOLERANCE,
    strict: bool = True,
) -> list[str]:
    """What keeps a named matrix (n_S, n_T) from being a crossmap, in words.

    With `strict=False` as the paper's package has it, which looks at no sign: (1.5, -0.5) passes, and is no list of
    links. Raises ValueError where names and shape do not fit.
    """
    grid = sparse.csr_array(matrix, dtype=np.float64)
    if grid.shape != (len(sources), len(targets)):
        raise ValueError(f"a matrix {grid.shape} for {len(sources)} sources and {len(targets)} targets")
    sums = np.asarray(grid.sum(axis=1)).ravel()
    told = {
        "names of rows or columns occur twice": len(set(sources)) < len(sources) or len(set(targets)) < len(targets),
        "cells are missing": bool(np.isnan(grid.data).any()),
        "rows do not sum to one": bool((~(np.abs(sums - 1) < tol)).any()),
        "cells are negative": strict and bool((grid.data < 0).any()),
    }
    return [words for words, wrong in told.items() if wrong]


# Using one.


def apply(crossmap: Crossmap, mass: Mass) -> Mass:
    """y = x B: values by source code (a Series, or a DataFrame of several) to values by target code, in float64.

    Only targets that the codes of `mass` reach appear, sorted. A code that occurs twice counts twice. Infinite values
    are values. Raises NotCovered, then MissingMass; ValueError for values that are no numbers.
    """
    frame = mass.to_frame("value") if isinstance(mass, pd.Series) else mass
    place = _covered(crossmap.sources, frame.index, "codes of the data are")
    if not all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes):
        raise ValueError(f"values must be numbers, got {', '.join(map(str, frame.dtypes))}")
    if (missing := frame.isna().any(axis=1).to_numpy()).any():
        raise MissingMass(list(frame.index[missing]))
    used = crossmap.matrix[place]
    reached = np.unique(used.indices)
    # Only links that are there: a row of B times an infinite value would be NaN wherever B is 0.
    values = used[:, reached].T @ frame.to_numpy(np.float64)
    found = pd.DataFrame(values, crossmap.targets[reached], frame.columns).sort_index()
    return found["value"].rename(mass.name) if isinstance(mass, pd.Series) else found


def compose(first: Crossmap, second: Crossmap) -> Crossmap:
    """B1 B2. Sources of the second that the first does not reach are left out.

    Raises NotCovered where a target of the first is no source of the second, and InvalidCrossmap where the deviations
    of both add up to the tolerance of the first.
    """
    place = _covered(second.sources, first.targets, "targets of the first crossmap are")
    found = _kept(first.sources, second.targets, sparse.csr_array(first.matrix @ second.matrix[place]), first.tol)
    if problems := diagnose(found.links(), tol=first.tol):
        raise InvalidCrossmap(problems)
    return found


def identity(codes: Iterable[Hashable]) -> Crossmap:
    """Every code to itself."""
    index = pd.Index(list(codes))
    return Crossmap(index, index, sparse.csr_array(sparse.eye_array(len(index), format="csr")))


def extract(script: Callable[[Any], Hashable | Mapping[Hashable, float]], codes: Iterable[Hashable]) -> Crossmap:
    """The crossmap hidden in a script: each source code goes through it, which answers with a target or weights.

    Raises InvalidCrossmap, and ValueError for a code that the script sends nowhere (None, or no weights).
    """
    answers = {code: script(code) for code in codes}
    if lost := [code for code, answer in answers.items() if answer is None]:
        raise ValueError(f"the script sends {', '.join(map(repr, lost))} nowhere")
    return Crossmap.from_graph(
        {code: answer if isinstance(answer, Mapping) else {answer: 1.0} for code, answer in answers.items()}
    )


def split_by(groups: pd.Series, sizes: pd.Series | None = None) -> Crossmap:
    """From groups back to their codes: by `sizes` of the codes, or evenly. `groups`: code -> group.

    Raises ValueError for sizes that are negative, missing, or zero throughout a group.
    """
    weights = pd.Series(1.0, groups.index) if sizes is None else sizes.reindex(groups.index).astype(float)
    if weights.isna().any() or (weights < 0).any():
        raise ValueError("every code needs a size of at least 0")
    share = weights / weights.groupby(groups).transform("sum")
    if share.isna().any():
        raise ValueError(f"all sizes are 0 in {', '.join(map(str, groups[share.isna()].unique()))}")
    links = pd.DataFrame({"from": groups.to_numpy(), "to": groups.index, "weight": share.to_numpy()})
    return Crossmap.from_links(links[links["weight"] > 0])


# What its structure says of the data.


def link_kinds(crossmap: Crossmap) -> pd.Series:
    """Of each link of `links()`: one-to-one, many-to-one (an aggregation), or one-to-many (weight below 1: imputed)."""
    grid = crossmap.matrix.tocoo()
    alone = np.bincount(grid.col, minlength=len(crossmap.targets))[grid.col] == 1
    kinds = np.where(grid.data != 1, "one-to-many", np.where(alone, "one-to-one", "many-to-one"))
    return pd.Series(kinds)


def imputed_share(crossmap: Crossmap, mass: pd.Series | None = None) -> float:
    """The share of links with a weight other than 1, or, with data, of the mass that is divided by them."""
    if mass is None:
        return float((crossmap.matrix.data != 1).mean())
    size = mass.abs().to_numpy(np.float64)
    divided = sparse.csr_array(crossmap.matrix[_covered(crossmap.sources, mass.index, "codes of the data are")])
    divided.data = np.where(divided.data != 1, divided.data, 0.0)
    return float((size @ divided).sum() / size.sum()) if size.sum() > 0 else 0.0


def entropies(crossmap: Crossmap) -> pd.Series:
    """-sum_t w ln w of each source, in nats: 0 where it is not split, at most ln of its number of links."""
    terms = crossmap.matrix.copy()
    terms.data = -terms.data * np.log(terms.data)
    return pd.Series(np.asarray(terms.sum(axis=1)).ravel(), crossmap.sources)


def covariance(crossmap: Crossmap, variances: pd.Series) -> pd.DataFrame:
    """Cov(y) = B^T diag(v) B of independent values with these variances: the errors of x, weights taken as known.

    Splitting understates them: how a value divides is uncertain too.
    """
    place = _covered(crossmap.sources, variances.index, "codes of the variances are")
    used = crossmap.matrix[place]
    spread = used.T @ sparse.diags_array(variances.to_numpy(np.float64)) @ used
    return pd.DataFrame(spread.toarray(), crossmap.targets, crossmap.targets)


def _covered(sources: pd.Index, codes: pd.Index, of: str) -> npt.NDArray[np.intp]:
    """The places of codes among sources. A number is no text that looks like it."""
    place = sources.get_indexer(codes)
    if (place < 0).any():
        raise NotCovered(list(codes[place < 0].unique()), of)
    return place


def _kept(sources: pd.Index, targets: pd.Index, matrix: sparse.csr_array, tol: float) -> Crossmap:
    """Without explicit zeros, and without targets that nothing reaches."""
    matrix.eliminate_zeros()
    reached = np.unique(matrix.indices)
    return Crossmap(sources, targets[reached], sparse.csr_array(matrix[:, reached]), tol)


def _sample(rows: pd.DataFrame) -> str:
    first = ", ".join(str(tuple(row)) for row in rows.head(3).itertuples(index=False))
    return first + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
