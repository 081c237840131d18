"""Real classifications: industries of INDSTAT by country and year, occupations of Timor-Leste, the package's demos."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

import reference
from suites.crossmaps import method
from suites.crossmaps.method import Crossmap, apply, compose, diagnose, validate

Metrics = dict[str, float | list[float]]

MASK = 1000.0
"""What every reported value of the masked INDSTAT is."""
OCCUPATIONS = (
    ("farmer", 6000, 7000), ("teacher", 2400, 2500), ("professional", 2000, 3000), ("manager", 1000, 1129),
    ("manager", 1131, 2000), ("armforces", 0, 200), ("xefe", 1129, 1131), ("assprofclerk", 3000, 5000),
    ("svcsales", 5000, 6000), ("svcsales", 9000, 9200), ("labourer", 9200, 9320), ("driver", 8320, 8330),
    ("driver", 9330, 9340), ("craftrademach", 7000, 9000), ("notclass", 9990, 10000),
)  # fmt: skip
"""Categories of the recoding script with their bounds, both exclusive, the first that fits: teachers and drivers lie
within others' bounds."""


def category(code: str) -> str | None:
    """The occupation script, as a function of one code."""
    return next((name for name, low, high in OCCUPATIONS if low < int(code) < high), None)


def occupations() -> Metrics:
    """The crossmap that is hidden in the occupation script."""
    codes = reference.load("crossmaps", "occupations")["occupn"]
    crossmap = method.extract(category, codes)
    kinds = method.link_kinds(crossmap)
    alone = sorted(crossmap.links()["to"][kinds == "one-to-one"])
    return {
        "codes": float(len(crossmap.sources)), "categories": float(len(crossmap.targets)),
        "split": float((crossmap.matrix.data != 1).sum()), "alone": float(len(alone)),
        "alone_named": float(alone == ["notclass", "xefe"]), "imputed": method.imputed_share(crossmap),
    }  # fmt: skip


def industries() -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """((country, year), links) of each block with values: combinations share their one value evenly.

    Codes in a combination (isiccomb has a letter) get a missing value as 0, then the mean of the combination; a weight
    is the value over MASK, and rows that are still without one are no link. Raises ValueError for a combination with
    several values.
    """
    table = reference.load("crossmaps", "values")
    table["weight"] = pd.to_numeric(table["value"]) / MASK
    for block, rows in table.groupby(["country", "year"]):
        combined = rows["isiccomb"].str.contains("[A-Za-z]")
        known = rows[combined].groupby("isiccomb")["weight"].count()
        if (known > 1).any():
            raise ValueError(f"{block}: combinations with several values: {', '.join(known.index[known > 1])}")
        filled = rows["weight"].where(~combined, rows["weight"].fillna(0.0))
        shared = filled.where(~combined, filled.groupby(rows["isiccomb"]).transform("mean"))
        links = pd.DataFrame({"from": rows["isiccomb"], "to": rows["isic"], "weight": shared}).dropna()
        if len(links):
            yield block, links


def indstat() -> Metrics:
    """Every country and year of INDSTAT as a crossmap, composed with the three-digit groups of its industries."""
    table = reference.load("crossmaps", "values")
    names = reference.load("crossmaps", "countries")
    blocks = dict(industries())
    crossmaps = {block: Crossmap.from_links(links) for block, links in blocks.items() if validate(links)}
    codes = sorted({code for links in blocks.values() for code in links["to"]})
    groups = pd.Series({code: code[:3] for code in codes})
    up = Crossmap.from_graph({code: {group: 1.0} for code, group in groups.items()})
    sizes = groups.value_counts()
    composed = {block: compose(one, up) for block, one in crossmaps.items()}
    gaps, split, imputed = [0.0], {}, {}
    for block, one in crossmaps.items():
        x = pd.Series(MASK, one.sources)
        gaps.append(float((apply(composed[block], x) - apply(up, apply(one, x))).abs().max()))
        split[block] = {country for country in (block[0],) if method.imputed_share(one) > 0}
        imputed[block] = method.imputed_share(composed[block], x)
    germany = composed["276", "1991"].graph()["151A"]
    of = {"never": ("840", "156"), "colombia": ("170",), "yemen": ("887",)}
    return {
        "rows": float(len(table)), "unnamed": float((~table["country"].isin(names["code"])).sum()),
        "blocks": float(len(blocks)), "all_blocks": float(table.groupby(["country", "year"]).ngroups),
        "invalid": float(len(blocks) - len(crossmaps)), "codes": float(len(codes)), "groups": float(len(sizes)),
        "largest": float(sizes.max()), "largest_is_292": float(sizes.idxmax() == "292"),
        "germany_gap": max(abs(weight - 0.2) for weight in germany.values()) + abs(len(germany) - 5),
        "germany_named": float(sorted(map(str, germany)) == ["151", "152", "153", "154", "155"]),
        "two_steps_gap": max(gaps),
        "combined_where_never": float(sum(bool(split[block]) for block in split if block[0] in of["never"])),
        "colombia_crossing": max(imputed[block] for block in imputed if block[0] in of["colombia"]),
        "yemen_crossing": float(np.mean([imputed[block] for block in imputed if block[0] in of["yemen"]])),
    }  # fmt: skip


def demos(*, seed: int) -> Metrics:
    """The package's small examples: a share that is too large, totals, recombined halves, uncovered codes."""
    abc = pd.DataFrame(
        [("a", "AA", 1.0), ("b", "BB", 1.0), ("c", "BB", 1.0), ("d", "CC", 0.3), ("d", "DD", 0.6), ("d", "EE", 0.1)],
        columns=["from", "to", "weight"],
    )
    wrong = abc.copy()
    wrong.loc[3, "weight"] = 5.0
    sums = diagnose(wrong)["bad_sums"].set_index("from")["sum"]
    x = pd.Series(np.random.default_rng(seed).uniform(100, 500, 4), list("abcd"))
    table = reference.load("crossmaps", "links")
    simple = pd.DataFrame({"from": table["xcode"], "to": table["alphacode"], "weight": table["weight"].astype(float)})
    grouping = {"A1": "AB", "B2": "AB", "B3": "AB", "C5": "C", "D6": "D", "D7": "D"}
    grouped = compose(Crossmap.from_links(simple), Crossmap.from_graph({k: {v: 1.0} for k, v in grouping.items()}))
    part, codes = Crossmap.from_links(simple.iloc[:3]), simple["from"].unique()
    try:
        apply(part, pd.Series(1.0, codes))
        uncovered = 0
    except method.NotCovered as error:
        uncovered = len(error.codes)
    return {
        "sum_of_d": float(sums["d"]), "sums_reported": float(len(sums)),
        "total_gap": abs(float(apply(Crossmap.from_links(abc), x).sum() / x.sum()) - 1),
        "recombined_gap": abs(grouped.graph()["x2222"].get("AB", 0.0) - 1) + len(grouped.graph()["x2222"]) - 1,
        "uncovered": float(uncovered),
    }  # fmt: skip


def division(*, arm: str, seed: int, table: str) -> Metrics:
    """A half of the records known by fine code, the other half by group alone: how it is divided back, and how well.

    Arms: `equal` weights within a group, or `proportional` to the codes' sizes in the known half (every code counts
    half a record more, so that none is impossible). The error is the mean |difference| per code, in records.
    """
    fine, groups = records(table)
    rng = np.random.default_rng(seed)
    known = pd.Series(rng.multivariate_hypergeometric(fine.to_numpy(), int(fine.sum()) // 2), fine.index)
    truth = fine - known
    up = Crossmap.from_graph({code: {group: 1.0} for code, group in groups.items()})
    down = method.split_by(groups, known + 0.5 if arm == "proportional" else None)
    divided = apply(down, apply(up, truth)).reindex(fine.index)
    return {"error": float((divided - truth).abs().mean()), "total_gap": abs(float(divided.sum() / truth.sum()) - 1)}


def records(table: str) -> tuple[pd.Series, pd.Series]:
    """Counts of records by code, and the group of each code: occupations by category, or digits by odd and even."""
    if table == "digits":
        labels = reference.load("digits").labels.numpy().astype(str)
        counts = pd.Series(labels).value_counts().sort_index()
        return counts, pd.Series({code: "odd" if int(code) % 2 else "even" for code in counts.index})
    found = reference.load("crossmaps", "occupations").set_index("occupn")["n"].astype(int)
    return found, pd.Series({code: str(category(code)) for code in found.index})


def faults(*, seed: int) -> Metrics:
    """One fault at a time in real crossmaps (every tenth block of INDSTAT): what checks find, and what totals show.

    Faults: a link of a divided code or the only one of a code is dropped; a link stands twice, or twice at half its
    weight; a weight is off by 1 %; two links exchange their targets.
    """
    rng = np.random.default_rng(seed)
    blocks = [links.reset_index(drop=True) for number, (_, links) in enumerate(industries()) if number % 10 == 0]
    found: dict[str, list[bool]] = {}
    totals: dict[str, list[bool]] = {}
    for links in blocks:
        x = pd.Series(rng.lognormal(3, 1, links["from"].nunique()), links["from"].unique())
        for name, broken in damaged(links, rng).items():
            valid = validate(broken)
            covered = set(x.index) <= set(broken["from"])
            found.setdefault(name, []).append(not valid or not covered)
            # What a merge and a sum by group make of it, without asking: is the total another one?
            merged = broken.merge(x.rename("x"), left_on="from", right_index=True)
            total = float((merged["x"] * merged["weight"]).sum())
            totals.setdefault(name, []).append(abs(total / x.sum() - 1) > 1e-9)
    return {
        **{f"found_{name}": float(np.mean(values)) for name, values in found.items()},
        **{f"total_{name}": float(np.mean(values)) for name, values in totals.items()},
        "blocks": float(len(blocks)),
    }


def damaged(links: pd.DataFrame, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The list with each fault that it can have."""
    count = links["from"].map(links["from"].value_counts())
    row, split, whole = (
        int(rng.choice(np.flatnonzero(rows))) if rows.any() else -1
        for rows in (np.ones(len(links), bool), (count > 1).to_numpy(), (count == 1).to_numpy())
    )
    twice = pd.concat([links, links.iloc[[row]]], ignore_index=True)
    halves = twice.copy()
    halves.loc[[row, len(links)], "weight"] = links.loc[row, "weight"] / 2
    off = links.copy()
    off.loc[row, "weight"] *= 1.01
    pairs, (source, target) = set(zip(links["from"], links["to"], strict=True)), links.loc[row, ["from", "to"]]
    # Another link of another source and target, whose exchange makes no pair that is there already.
    partners = [
        number
        for number, (f, s) in enumerate(zip(links["from"], links["to"], strict=True))
        if f != source and s != target and (source, s) not in pairs and (f, target) not in pairs
    ]
    other = int(rng.choice(partners))
    swapped = links.copy()
    swapped.loc[[row, other], "to"] = links.loc[[other, row], "to"].to_numpy()
    made = {"duplicate": twice, "halves": halves, "weight": off, "swap": swapped, "only_link": links.drop(index=whole)}
    return made if split < 0 else {**made, "part": links.drop(index=split)}


def speed(*, seed: int, codes: int) -> dict[str, float | list[float]]:
    """Seconds for a million links: checked and applied, and by a merge and a sum by group that check nothing."""
    rng = np.random.default_rng(seed)
    names = np.array([f"{number:07d}" for number in range(codes)])
    degree = rng.integers(1, 5, codes)
    targets = np.array([f"T{number:06d}" for number in range(codes // 4)])
    links = pd.DataFrame(
        {
            "from": np.repeat(names, degree),
            "to": targets[np.arange(int(degree.sum())) * 7919 % len(targets)],
            "weight": np.repeat(1 / degree, degree),
        }
    )
    x = pd.Series(rng.random(codes), names, name="x")
    times: dict[str, list[float]] = {"method_ms": [], "merge_ms": []}
    for _ in range(5):
        start = time.perf_counter()
        y = apply(Crossmap.from_links(links), x)
        times["method_ms"].append(1e3 * (time.perf_counter() - start))
        start = time.perf_counter()
        merged = links.merge(x, left_on="from", right_index=True)
        plain = (merged["x"] * merged["weight"]).groupby(merged["to"]).sum()
        times["merge_ms"].append(1e3 * (time.perf_counter() - start))
    return {
        **{name: values[1:] for name, values in times.items()},
        "links": float(len(links)), "seconds": min(times["method_ms"]) / 1e3, "gap": float((y - plain).abs().max()),
    }  # fmt: skip
