"""The exact tier: random crossmaps in float64 and in fractions, their encodings, compositions, channels and errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.crossmaps import method
from suites.crossmaps.method import Crossmap, apply, compose, diagnose, validate

Metrics = dict[str, float]
Graph = dict[str, dict[str, Any]]


def draw(rng: np.random.Generator, sources: int = 12, targets: int = 8, most: int = 4) -> Graph:
    """A random crossmap with rational weights, as a graph: each source has 1 to `most` targets."""
    graph: Graph = {}
    for source in range(sources):
        to = rng.choice(targets, rng.integers(1, min(most, targets) + 1), replace=False)
        parts = rng.integers(1, 10, len(to))
        graph[f"{source:03d}"] = {
            f"T{target}": Fraction(int(part), int(parts.sum())) for target, part in zip(to, parts, strict=True)
        }
    return graph


def made(graph: Graph) -> Crossmap:
    return Crossmap.from_graph({s: {t: float(w) for t, w in links.items()} for s, links in graph.items()})


def push(graph: Graph, mass: Mapping[str, Any]) -> dict[str, Any]:
    """y by walking the graph, in whatever numbers it has: an oracle for `apply`, and exact with fractions."""
    found: dict[str, Any] = {}
    for source, value in mass.items():
        for target, weight in graph[source].items():
            found[target] = found.get(target, 0) + value * weight
    return found


def chained(first: Graph, second: Graph) -> Graph:
    """B1 B2 by walking both graphs."""
    return {source: push(second, links) for source, links in first.items()}


def totals(*, seed: int) -> Metrics:
    """60 random crossmaps and data: totals, signs and norms, in float64 and in fractions; unit vectors; a swap."""
    rng, worst, rational, swapped_totals, swapped_values = np.random.default_rng(seed), Worst(), 0, [], []
    for _ in range(60):
        graph = draw(rng)
        crossmap = made(graph)
        codes = sorted(graph)
        values = pd.Series(rng.lognormal(0, 3, len(codes)), codes)
        signed = values * rng.choice([-1, 1], len(codes))
        whole = {code: Fraction(int(v)) for code, v in zip(codes, rng.integers(1, 10**9, len(codes)), strict=True)}
        rational += sum(push(graph, whole).values()) != sum(whole.values())
        y, z = apply(crossmap, values), apply(crossmap, signed)
        oracle = pd.Series(push(graph, values.to_dict())).astype(float).sort_index()
        worst.note(
            total_gap=abs(y.sum() / values.sum() - 1), apply_gap=gap(y / oracle, 1.0), negative=float((y < 0).sum()),
            contraction=z.abs().sum() / signed.abs().sum() - 1,
            norm_gap=abs(y.abs().sum() / values.abs().sum() - 1),
        )  # fmt: skip
        # Two links from different sources exchange their targets: valid still, and no total can tell.
        links = crossmap.links()
        one, two = rng.choice(len(links), 2, replace=False)
        other = links.copy()
        other.loc[[one, two], "to"] = links.loc[[two, one], "to"].to_numpy()
        if validate(other) and not other.sort_values(["from", "to"]).reset_index(drop=True).equals(
            links.sort_values(["from", "to"]).reset_index(drop=True)
        ):
            moved = apply(Crossmap.from_links(other), values)
            swapped_totals.append(abs(moved.sum() / y.sum() - 1))
            swapped_values.append(float((moved - y).abs().max()))
    sums = rng.uniform(0.2, 1.8, 50)
    lost = [abs(float(push({"s": {"a": s / 3, "b": 2 * s / 3}}, {"s": 1.0})["a"] * 3 - s)) for s in sums]
    unlike = [validate(pd.DataFrame({"from": "s", "to": ["a", "b"], "weight": [s / 3, 2 * s / 3]})) for s in sums]
    return worst | {
        "rational_wrong": float(rational), "unit_gap": max(lost), "unlike_valid": float(sum(unlike)),
        "swapped_total_gap": float(max(swapped_totals)), "swapped_least": float(np.median(swapped_values)),
        "swaps": float(len(swapped_values)),
    }  # fmt: skip


def encodings(*, seed: int) -> Metrics:
    """Graph, matrix and list of 15 random crossmaps; corruptions of each kind; matrices with negative cells."""
    rng, worst, wrong, missed, unlike = np.random.default_rng(seed), Worst(), 0, 0, 0
    for number in range(15):
        graph = draw(rng)
        crossmap = made(graph)
        links = crossmap.links()
        again = Crossmap.from_links(links.sample(frac=1, random_state=number))
        dense = Crossmap.from_matrix(crossmap.matrix.toarray(), crossmap.sources, crossmap.targets)
        padded = np.hstack([crossmap.matrix.toarray(), np.zeros((len(crossmap.sources), 1))])
        wide = Crossmap.from_matrix(padded, crossmap.sources, [*crossmap.targets, "never"])
        every = (crossmap, again, dense, wide)
        back = [one.links().sort_values(["from", "to"]).reset_index(drop=True) for one in every]
        wrong += sum(not one.equals(back[0]) for one in back[1:])
        wrong += crossmap.graph() != {s: {t: float(w) for t, w in to.items()} for s, to in graph.items()}
        x = pd.Series(rng.random(len(graph)), sorted(graph))
        by_matrix = pd.Series(x[crossmap.sources].to_numpy() @ crossmap.matrix.toarray(), crossmap.targets).sort_index()
        worst.note(encoding_gap=max(gap(apply(one, x), by_matrix) for one in (crossmap, again, dense, wide)))
        broken = corrupted(links, rng)
        for condition, rows in broken.items():
            missed += condition not in diagnose(rows) or validate(rows)
        unlike += bool(diagnose(links)) or not validate(links)
        # Non-negative matrices: both validators say one thing, whatever the sums are.
        matrix = np.abs(crossmap.matrix.toarray()) * rng.choice([1.0, 1.0, 1 + 1e-6], (len(crossmap.sources), 1))
        grid = pd.DataFrame(matrix, crossmap.sources, crossmap.targets).stack()
        listed = pd.DataFrame({"from": grid.index.get_level_values(0), "to": grid.index.get_level_values(1),
                               "weight": grid.to_numpy()})  # fmt: skip
        listed = listed[listed["weight"] > 0]
        named = list(crossmap.sources), list(crossmap.targets)
        unlike += validate(listed) != (not method.matrix_problems(matrix, *named))
    negative = np.array([[1.5, -0.5]])
    as_links = pd.DataFrame({"from": ["s", "s"], "to": ["a", "b"], "weight": [1.5, -0.5]})
    parity = [method.matrix_problems(negative, ["s"], ["a", "b"], strict=strict) for strict in (False, True)]
    return worst | {
        "round_trips_wrong": float(wrong), "corruptions_missed": float(missed), "disagreements": float(unlike),
        "parity": float(not parity[0]) - float(not parity[1]) + float("nonpositive" in diagnose(as_links)),
    }  # fmt: skip


def corrupted(links: pd.DataFrame, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """A list with one thing wrong, by the condition that it should meet."""
    row = int(rng.integers(len(links)))

    def with_cell(column: str, value: Any) -> pd.DataFrame:
        other = links.astype({"from": object, "to": object})
        other.loc[row, column] = value
        return other

    halved = pd.concat([links, links.iloc[[row]]], ignore_index=True)
    halved.loc[[row, len(links)], "weight"] = links.loc[row, "weight"] / 2
    return {
        "missing_from": with_cell("from", None), "missing_to": with_cell("to", None),
        "missing_weight": with_cell("weight", math.nan), "duplicates": halved,
        "nonpositive": pd.concat([links, links.iloc[[row]].assign(to="new", weight=0.0)]),
        "bad_sums": with_cell("weight", links.loc[row, "weight"] + 1e-6),
    }  # fmt: skip


def composition(*, seed: int) -> Metrics:
    """Chains of random crossmaps against walks through their graphs; identity, inverses, coverage, drift."""
    rng, worst, unused = np.random.default_rng(seed), Worst(), 0
    for _ in range(15):
        graphs = [draw(rng, 12, 9), {}, {}]
        graphs[1] = {f"T{int(s)}": {f"U{t[1:]}": w for t, w in to.items()} for s, to in draw(rng, 9, 7).items()}
        graphs[2] = {f"U{int(s)}": {f"V{t[1:]}": w for t, w in to.items()} for s, to in draw(rng, 7, 5).items()}
        one, two, three = map(made, graphs)
        x = pd.Series(rng.lognormal(0, 2, 12), one.sources)
        both, walked = compose(one, two), chained(graphs[0], graphs[1])
        worst.note(
            chain_gap=gap(apply(both, x) / apply(two, apply(one, x)), 1.0),
            walk_gap=max(
                abs(both.graph()[s].get(t, 0.0) - float(w)) for s, to in walked.items() for t, w in to.items()
            ),
            associativity_gap=gap(apply(compose(both, three), x) / apply(compose(one, compose(two, three)), x), 1.0),
            identity_gap=gap(apply(compose(one, method.identity(one.targets)), x), apply(one, x))
            + gap(apply(compose(method.identity(one.sources), one), x), apply(one, x)),
        )
        unused += any(sum(to.values()) != 1 for to in walked.values())
        extra = {**graphs[1], "T99": {"U0": Fraction(1)}}
        worst.note(extra_gap=gap(apply(compose(one, made(extra)), x), apply(both, x)))
    short = made({s: to for s, to in graphs[1].items() if s != one.targets[0]})
    return worst | {
        "walks_not_crossmaps": float(unused),
        "uncovered_accepted": accepted(lambda: compose(one, short)),
        **_inverses(rng),
        **_drift(),
    }


def _inverses(rng: np.random.Generator) -> dict[str, float]:
    """Square crossmaps with an inverse matrix: is that one a crossmap? Of permutations always, of others never."""
    wrong = tried = 0
    for number in range(200):
        if number % 2:
            matrix = np.eye(5)[rng.permutation(5)]
        else:
            matrix = made(draw(rng, 5, 5)).matrix.toarray()
            matrix = np.pad(matrix, ((0, 0), (0, 5 - matrix.shape[1])))
        if abs(np.linalg.det(matrix)) < 1e-6:
            continue
        tried += 1
        permutation = bool(((matrix == 0) | (matrix == 1)).all())
        inverse = np.linalg.inv(matrix).round(12)
        wrong += (not method.matrix_problems(inverse, range(5), range(5))) != permutation
    return {"inverses_wrong": float(wrong), "inverses_tried": float(tried)}


def _drift() -> dict[str, float]:
    """Rows that miss one by just under the tolerance: one passes, and a chain of two fails."""
    delta = 1.46e-8
    off = Crossmap.from_graph({"a": {"a": 0.5 + delta / 2, "b": 0.5 + delta / 2}, "b": {"b": 1.0 + delta}})
    powers = [float(np.linalg.matrix_power(off.matrix.toarray(), k).sum(1)[0] - 1) / delta for k in (1, 2, 5)]
    return {"drift_accepted": accepted(lambda: compose(off, off)), "drift_gap": gap(powers, [1.0, 2.0, 5.0])}


def channels(*, seed: int) -> Metrics:
    """A crossmap as a Markov channel: divergences fall, entropies of rows, the chain rule, permutations."""
    rng, worst, rises = np.random.default_rng(seed), Worst(), []
    for number in range(120):
        crossmap = made(draw(rng))
        p, q = (pd.Series(rng.dirichlet(np.ones(12) * (0.3 + number % 3)), crossmap.sources) for _ in range(2))
        y, z = apply(crossmap, p), apply(crossmap, q)
        worst.note(
            kl_rise=kl(y, z) - kl(p, q),
            tv_rise=float((y - z).abs().sum() - (p - q).abs().sum()) / 2,
        )
        rises.append(cross_entropy(y, z) - cross_entropy(p, q))
        rows = method.entropies(crossmap)
        joint = crossmap.matrix.toarray() * p.to_numpy()[:, None]
        joint = joint[joint > 0]
        degree = pd.Series(np.diff(crossmap.matrix.indptr), crossmap.sources)
        worst.note(
            chain_rule_gap=abs(float(-(joint * np.log(joint)).sum()) - entropy(p) - float((p * rows).sum())),
            above_log_degree=float((rows - np.log(degree)).max()),
            unsplit_entropy=float(rows[degree == 1].abs().max()) if (degree == 1).any() else 0.0,
        )
    even = Crossmap.from_graph({"s": {str(t): 1 / 7 for t in range(7)}})
    halved = Crossmap.from_graph({"a": {"a1": 0.5, "a2": 0.5}, "b": {"b1": 0.5, "b2": 0.5}})
    p, q = pd.Series({"a": 0.3, "b": 0.7}), pd.Series({"a": 0.6, "b": 0.4})
    rises.append(cross_entropy(apply(halved, p), apply(halved, q)) - cross_entropy(p, q))
    codes = [f"{code:02d}" for code in range(12)]
    order = zip(codes, rng.permutation(codes), strict=True)
    turned = Crossmap.from_graph({code: {other: 1.0} for code, other in order})
    p, q = (pd.Series(rng.dirichlet(np.ones(12)), codes) for _ in range(2))
    return worst | {
        "permutation_gap": abs(kl(apply(turned, p), apply(turned, q)) - kl(p, q)),
        "even_gap": abs(float(method.entropies(even)["s"]) - math.log(7)),
        "cross_entropy_rises": float(sum(rise > 1e-9 for rise in rises)),
        "cross_entropy_falls": float(sum(rise < -1e-9 for rise in rises)),
    }


def entropy(p: pd.Series) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def cross_entropy(p: pd.Series, q: pd.Series) -> float:
    return float(-(p * np.log(q[p.index])).sum())


def kl(p: pd.Series, q: pd.Series) -> float:
    return cross_entropy(p, q) - entropy(p)


def splitting(*, seed: int) -> Metrics:
    """Aggregation and even division back: a projection; by sizes; imputed shares; errors of what is divided."""
    rng, worst = np.random.default_rng(seed), Worst()
    for _ in range(40):
        codes = [f"{code:03d}" for code in range(20)]
        groups = pd.Series(rng.choice(list("ABCDE"), 20), codes)
        down, up = method.split_by(groups), Crossmap.from_graph({code: {group: 1.0} for code, group in groups.items()})
        x = pd.Series(rng.lognormal(0, 1, 20), codes)
        once = apply(down, apply(up, x))
        twice = apply(down, apply(up, once))
        sizes = pd.Series(rng.lognormal(0, 1, 20), codes)
        by_size = apply(method.split_by(groups, sizes), apply(up, sizes))
        single = groups.map(groups.value_counts()) == 1
        worst.note(
            projection_gap=gap(twice, once), group_gap=gap(apply(up, once), apply(up, x)),
            equal_gap=gap(once, x.groupby(groups).transform("mean")), by_size_gap=gap(by_size, sizes.sort_index()),
            share_gap=abs(method.imputed_share(down) - float((~single).mean())),
            mass_share_gap=abs(
                method.imputed_share(down, apply(up, x)) - float(x[~single].sum() / x.sum())
            ),
        )  # fmt: skip
    crossmap = made(draw(rng, 6, 4))
    variances = pd.Series(rng.uniform(0.5, 2, 6), crossmap.sources)
    noise = rng.standard_normal((6, 400_000)) * np.sqrt(variances.to_numpy())[:, None]
    drawn = np.cov(crossmap.matrix.toarray().T @ noise)
    expected = method.covariance(crossmap, variances)
    mixed = {"a": {"A": 1.0}, "b": {"B": 1.0}, "c": {"B": 1.0}, "d": {"C": 0.4, "D": 0.6}}
    kinds = ["one-to-one", "many-to-one", "many-to-one", "one-to-many", "one-to-many"]
    endless = apply(crossmap, pd.Series(np.inf, crossmap.sources[:1]))
    return worst | {
        "covariance_gap": gap(drawn, expected.to_numpy()) / float(expected.to_numpy().max()),
        "least_covariance": float(expected.to_numpy().min()),
        "kinds_wrong": float(list(method.link_kinds(Crossmap.from_graph(mixed))) != kinds),
        "infinite_wrong": float(list(endless) != [np.inf] * len(crossmap.graph()[crossmap.sources[0]])),
    }


def refusals() -> Metrics:
    """What is not conformable, not a crossmap or not meant; defaults; what filling in zero would do."""
    crossmap = Crossmap.from_graph({"01": {"A": 1.0}, "02": {"A": 0.5, "B": 0.5}})
    x = pd.Series({"01": 3.0, "02": 4.0})
    links = crossmap.links()
    codes = pd.Series({"01": "A", "02": "A"})
    calls: list[Callable[[], object]] = [
        lambda: apply(crossmap, pd.Series({"01": 1.0, "03": 2.0})),
        lambda: apply(crossmap, pd.Series({1: 1.0, 2: 2.0})),
        lambda: apply(crossmap, pd.Series({"01": 1.0, "02": math.nan})),
        lambda: apply(crossmap, pd.Series({"01": "1", "02": "2"})),
        lambda: Crossmap.from_links(links.iloc[:0]), lambda: Crossmap.from_links(links.drop(columns="weight")),
        lambda: Crossmap.from_links(links.astype({"weight": str})),
        lambda: Crossmap.from_links(links.assign(weight=True)),
        lambda: Crossmap.from_links(links.assign(weight=math.inf)),
        lambda: Crossmap.from_links(links.iloc[[0, 1]]), lambda: Crossmap.from_graph({"01": {}}),
        lambda: Crossmap.from_matrix(np.eye(2), ["a", "a"], ["A", "B"]),
        lambda: Crossmap.from_matrix(np.eye(2), ["a", "b"], ["A", "A"]),
        lambda: Crossmap.from_matrix(np.eye(2), ["a"], ["A", "B"]),
        lambda: Crossmap.from_matrix([[1.5, -0.5]], ["a"], ["A", "B"]),
        lambda: Crossmap.from_matrix([[math.nan, 1.0]], ["a"], ["A", "B"]),
        lambda: Crossmap.from_matrix([[0.0, 0.0], [0.0, 1.0]], ["a", "b"], ["A", "B"]),
        lambda: method.extract(lambda code: None, ["01"]), lambda: method.extract(lambda code: {}, ["01"]),
        lambda: method.split_by(codes, pd.Series({"01": 1.0, "02": -1.0})),
        lambda: method.split_by(codes, pd.Series({"01": 0.0, "02": 0.0})),
        lambda: method.split_by(codes, pd.Series({"01": 1.0})),
        lambda: method.covariance(crossmap, pd.Series({"09": 1.0})),
        lambda: method.imputed_share(crossmap, pd.Series({"09": 1.0})),
    ]  # fmt: skip
    try:  # coverage is told before missing values are
        apply(crossmap, pd.Series({"03": math.nan}))
        first = 0.0
    except method.NotCovered:
        first = 1.0
    except method.MissingMass:
        first = 0.0
    filled = apply(crossmap, x.where(x.index != "02", 0.0)).sum()
    twice = apply(crossmap, pd.concat([x, x.iloc[:1]]))
    frame = apply(crossmap, pd.DataFrame({"v": x, "w": 2 * x}))
    return {
        "accepted": accepted(*calls), "calls": float(len(calls)), "coverage_first": first,
        "filling_gap": float(abs(x.sum() - filled - x["02"])), "twice_gap": gap(twice, [8.0, 2.0]),
        "columns_gap": gap(frame["w"], 2 * apply(crossmap, x)),
        "empty_gap": float(len(apply(crossmap, x.iloc[:0]))) + method.imputed_share(crossmap, 0 * x),
        "unreached": float(len(apply(crossmap, x.iloc[:1])) - 1),
        "named": float(apply(crossmap, x.rename("mass")).name == "mass"),
        "other": other_defaults(Crossmap, tol=method.TOLERANCE) + other_defaults(diagnose, tol=method.TOLERANCE)
        + other_defaults(validate, tol=method.TOLERANCE) + other_defaults(Crossmap.from_links, tol=method.TOLERANCE)
        + other_defaults(Crossmap.from_matrix, tol=method.TOLERANCE)
        + other_defaults(Crossmap.from_graph, tol=method.TOLERANCE)
        + other_defaults(method.matrix_problems, tol=method.TOLERANCE, strict=True)
        + other_defaults(method.split_by, sizes=None) + other_defaults(method.imputed_share, mass=None)
        + float(math.sqrt(np.finfo(float).eps) != method.TOLERANCE),
        "boundary": _boundary(), "types_wrong": _types(), "words_wrong": _words(),
    }  # fmt: skip


def _types() -> float:
    """How often whole or single-precision weights are not judged and kept as float64, or a target is not whole."""
    thirds = np.full((1, 3), 1 / 3, np.float32)  # their sum is 3e-8 above one, and one only in single precision
    listed = pd.DataFrame({"from": "s", "to": list("abc"), "weight": thirds[0]})
    whole = Crossmap.from_matrix(np.eye(2, dtype=np.int64), "ab", "AB")
    gappy = pd.DataFrame({"from": "s", "to": list("abc"), "weight": [0.5, 0.25, math.nan]})
    return float(
        (not method.matrix_problems(thirds, ["s"], list("abc"))) + validate(listed)
        + (whole.matrix.dtype != np.float64) + (diagnose(gappy)["bad_sums"]["sum"].tolist() != [0.75])
        + (method.extract(lambda code: "A", ["01", "02"]).graph() != {"01": {"A": 1.0}, "02": {"A": 1.0}})
    )  # fmt: skip


def _words() -> float:
    """How often an error does not count what it leaves out, or counts where it leaves out nothing."""
    links = [pd.DataFrame({"from": [f"{n}" for n in range(count)], "to": "A", "weight": 2.0}) for count in (3, 4)]
    told = [str(method.InvalidCrossmap(diagnose(one))) for one in links]
    codes = [str(method.NotCovered(list(range(count)), "codes are")) for count in (5, 6)]
    return float(
        ("more" in told[0]) + ("and 1 more" not in told[1]) + ("more" in codes[0]) + ("and 1 more" not in codes[1])
    )


def _boundary() -> float:
    """How often a row that misses one by the tolerance itself, or by a hair less, is judged wrongly."""
    wrong = 0
    for tol, sign in itertools.product((2.0**-26, 2.0**-10), (1, -1)):
        for miss, valid in ((tol, False), (tol * (1 - 2**-20), True)):
            rows = pd.DataFrame({"from": ["s", "s"], "to": ["a", "b"], "weight": [0.5, 0.5 + sign * miss]})
            wrong += validate(rows, tol=tol) != valid
            wrong += (not method.matrix_problems([[0.5, 0.5 + sign * miss]], ["s"], ["a", "b"], tol=tol)) != valid
    return float(wrong)
