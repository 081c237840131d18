"""The exact tier: every statistic of the printed tables anew, with rounding carried along, and the null they need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.crosseval import method, printed

O1 = ["o1-mini", "o1-preview"]
OPENAI = ["GPT-4o mini", "GPT-4o", *O1]


def table(without: list[str] | None = None) -> pd.DataFrame:
    """The cells of Table 3, of some models."""
    return method.cells(printed.skills().drop(index=without or []), printed.pairs().drop(index=without or []))


def weakest_link() -> dict[str, float]:
    """Table 3: how many scores on pairs are of which kind, and how far rounding could change that."""
    found, within = method.counts(table()), method.counts_within(table(), 3.0, printed.ROUNDING)
    delta = {f"{name}_{d}": value for d in (1, 2, 4, 5, 6) for name, value in swept(d).items()}
    chosen = method.eligible(table())
    n = method.position(chosen.x, chosen.a, chosen.b)
    by_position = np.bincount((n >= -1).astype(int) + (n >= 0) + (n >= 1), minlength=4)
    return {
        "eligible": sum(found.values()),
        "eligible_without_o1": sum(method.counts(table(O1)).values()),
        "eligible_without_openai": sum(method.counts(table(OPENAI)).values()),
        "below": found["below"], "nearer_weaker": found["nearer weaker"],
        "nearer_stronger": found["nearer stronger"] + found["above"],
        "moved_by_rounding": float(sum(high - low for low, high in within.values())),
        "closest": float((chosen.x - np.minimum(chosen.a, chosen.b)).abs().min()),
        "kinds_gap": gap(by_position, list(found.values())),
        "least_share": min(one["below"] / one["eligible"] for one in map(swept, (1, 2, 3, 4, 5, 6))),
        **delta,
    }  # fmt: skip


def swept(delta: float) -> dict[str, float]:
    """Eligible cells at another threshold, and those below."""
    found = method.counts(table(), delta)
    return {"eligible": float(sum(found.values())), "below": float(found["below"])}


def averages() -> dict[str, float]:
    """Means over the cells of Table 3, with the o1 models and without."""
    found: dict[str, float] = {}
    for name, without in (("all", list[str]()), ("without_o1", O1)):
        for kind, scores in (("skills", printed.skills()), ("pairs", printed.pairs())):
            cells = scores.drop(index=without).stack().dropna()
            found |= {f"{kind}_{name}": float(cells.mean()), f"{kind}_{name}_cells": float(len(cells))}
    found["skills_gap"] = abs(found["skills_without_o1"] - printed.AVERAGES["skills"])
    found["pairs_gap"] = min(abs(found[f"pairs_{name}"] - printed.AVERAGES["pairs"]) for name in ("all", "without_o1"))
    return found


def prompting() -> dict[str, float]:
    """Table 4: what a pair does where one of its skills rises and the other falls."""
    scores, worst = printed.prompted(), Worst()
    changes = scores.groupby(level=0, sort=False).apply(lambda of: of.iloc[1:] - of.iloc[0].to_numpy()).droplevel(0)
    followed = {
        (model, prompt, pair): method.follows(scores.loc[(model, "as it is")], scores.loc[(model, prompt)], pair)
        for (model, prompt), pair in itertools.product(changes.index, printed.TABLE_4_PAIRS)
    }
    opposite = [key for key, value in followed.items() if value is not None]
    against = [key for key in opposite if not followed[key]]
    haiku, flash = changes.loc["Claude 3 Haiku"], changes.loc["Gemini 1.5 Flash"]
    pair = ("Image", "Reasoning")
    expected = {
        (3.71, -1.36, 4.58): haiku.loc["Image", ["Image", "Reasoning", pair]],
        (2.85, -0.99, -3.46): haiku.loc["Reasoning", ["Reasoning", "Image", pair]],
        (6.19,): flash.loc["Image", ["Image"]], (3.46,): flash.loc["Reasoning", ["Reasoning"]],
    }  # fmt: skip
    for reported, change in expected.items():
        worst.note(change_gap=gap(change.to_numpy(dtype=float), reported))
    return worst | {
        "opposite": float(len(opposite)), "followed": float(len(opposite) - len(against)),
        "exception": float(against == [("Gemini 1.5 Flash", "Image", pair)]),
        "own_gains": float(sum(changes.loc[key, key[1]] > 0 for key in changes.index)),
        # Without a rise of one and a fall of the other a chance of one half would follow as often or more often:
        "coin": float(stats.binomtest(len(opposite) - len(against), len(opposite)).pvalue),
    }  # fmt: skip


def scale() -> dict[str, float]:
    """The map from ratings to scores, and the grid on which means of a hundred half-point ratings lie."""
    generator = np.random.default_rng(1000)
    ratings = generator.choice(np.arange(1, 5.5, 0.5), size=(50, 100))
    frame = pd.DataFrame({"capability": ["A"] * 100 + ["B & C"] * 100, "r": [*ratings[0], *ratings[1]]}, dtype=object)
    frame.loc[[0, 3, 150], "r"] = ["", "nan", None]
    kept = [np.delete(ratings[0], [0, 3]), np.delete(ratings[1], 50)]
    scores = method.capability_scores(frame, "r")
    steps = np.concatenate([one.stack().dropna() for one in (printed.skills(), printed.pairs())])
    off_grid = np.abs(steps - 1 - np.round((steps - 1) / 0.12375) * 0.12375)
    chosen = table()
    before = method.position(chosen.x, chosen.a, chosen.b)
    after = method.position(*(3.5 * chosen[name] - 20 for name in ("x", "a", "b")))
    distinct = chosen.a != chosen.b
    return {
        "points_gap": gap(method.rescaled([1, 3, 5]), [1, 50.5, 100]),
        "mean_gap": gap(method.rescaled(ratings).mean(1), method.rescaled(ratings.mean(1))),
        "missing_gap": gap(scores.to_numpy(), [method.rescaled(one.mean()) for one in kept]),
        "order": float(list(scores.index) != ["A", "B & C"]),
        "cells": float(len(steps)), "on_grid": float((off_grid <= 0.0051).sum()),
        "affine_gap": gap(before[distinct], after[distinct]),
        "undefined": float(np.isfinite(method.position([1.0, 2.0], [3.0, 5.0], [3.0, 5.0])).sum()),
    }  # fmt: skip


def predictors() -> dict[str, float]:
    """Minimum, mean and maximum of two skills as predictors of their pair, over all cells with both."""
    cells = table()
    found = method.predictions(cells)
    named = {f"{kind}_{name}": float(found.at[name, kind]) for name in found.index for kind in found.columns}
    by_scipy = stats.pearsonr(cells.x, (cells.a + cells.b) / 2).statistic
    lost = cells.x - (cells.a + cells.b) / 2
    shifted = [(lost[cells.model == one] - lost[cells.model != one].median()).abs() for one in cells.model.unique()]
    return named | {
        "cells": float(len(cells)), "scipy_gap": gap(found.at["mean", "correlation"], by_scipy),
        # The mean of the two and one constant, taken from the other models: not fitted to what it foretells.
        "shifted_mean_error": float(pd.concat(shifted).mean()),
    }  # fmt: skip


def null(*, draws: int) -> dict[str, float]:
    """How often the count "below" of Table 3 comes about where pairs are merely harder and noisy."""
    cells = table()
    found: dict[str, float] = {}
    reached = method.counts(cells)["below"]
    for name, per_pair in (("common", False), ("per_pair", True)):
        below = method.null_counts(cells, draws=draws, seed=1000, per_pair=per_pair)
        found |= {f"{name}_p": float((below >= reached).mean()), f"{name}_mean": float(below.mean())}
    # Without spread the null is a sum of certain comparisons: offset -7 for all cells.
    weak, strong = np.full(8, 50.0), np.array([51.0, 52, 53, 54, 60, 62, 64, 66])
    known = pd.DataFrame({"model": range(8), "pair": [("A", "B")] * 8, "a": weak, "b": strong})
    known["x"] = (weak + strong) / 2 - 7
    certain = method.null_counts(known, draws=10, seed=0, delta=4.5)
    found["certain_gap"] = gap(certain, 2)  # 7 below the middle is below the weaker where the skills are < 14 apart
    noisy = known.assign(x=known.x + np.array([1.0, -1, 1, -1, 0, 0, 0, 0]))
    spread = math.sqrt(4 / 3)
    chance = stats.norm.cdf((weak - (weak + strong) / 2 + 7)[4:] / spread).sum()
    simulated = method.null_counts(noisy, draws=200_000, seed=0, delta=4.5).mean()
    found["normal_gap"] = abs(float(simulated) - float(chance))
    return found


def tracking() -> dict[str, float]:
    """Does the pair follow the weaker skill more than the stronger, difficulty taken off? Coefficients of both."""
    found: dict[str, float] = {}
    for name, per_pair in (("common", False), ("per_pair", True)):
        fit = method.regression(table(), per_pair=per_pair)
        margin = stats.t.ppf(0.975, table().model.nunique() - 1) * fit.clustered[2]
        found |= {
            f"{name}_weaker": fit.weaker, f"{name}_stronger": fit.stronger, f"{name}_difference": fit.difference,
            f"{name}_low": fit.difference - margin, f"{name}_high": fit.difference + margin,
        }  # fmt: skip
    return found


def regressions(*, seed: int) -> dict[str, float]:
    """The regression against scipy's and against the spread of its coefficients over made-up tables."""
    generator, worst = np.random.default_rng(seed), Worst()
    pairs = [("A", "B"), ("C", "D"), ("E", "F")]
    frame = pd.DataFrame([(m, p) for m in range(20) for p in pairs], columns=["model", "pair"])
    frame["a"], frame["b"] = generator.uniform(40, 80, 60), generator.uniform(40, 80, 60)
    weak, strong = np.minimum(frame.a, frame.b), np.maximum(frame.a, frame.b)
    level = frame.pair.map(dict(zip(pairs, (-5.0, 0.0, 5.0), strict=True)))
    exact = method.regression(frame.assign(x=0.7 * weak + 0.2 * strong + level), per_pair=True)
    worst.note(exact_gap=gap([exact.weaker, exact.stronger, exact.difference], [0.7, 0.2, 0.5]))
    # Frisch, Waugh and Lovell: residuals of x and w on the rest have the coefficient and, but for the degrees of
    # freedom, the standard error of w.
    frame["x"] = 0.5 * weak + 0.3 * strong + generator.normal(size=60)
    fit = method.regression(frame)
    rest = np.column_stack([strong, np.ones(60)])
    of_x, of_w = (one - rest @ np.linalg.lstsq(rest, one, rcond=None)[0] for one in (frame.x, weak))
    line = stats.linregress(of_w, of_x)
    worst.note(oracle_gap=gap([fit.weaker, fit.errors[0] * math.sqrt(57 / 58)], [line.slope, line.stderr]))
    # Errors that all cells of a model share: the classical error is too small, the clustered one is not.
    many = pd.concat([frame.assign(model=frame.model + 20 * copy) for copy in range(4)], ignore_index=True)
    weak, strong = np.minimum(many.a, many.b), np.maximum(many.a, many.b)
    fits = []
    for _ in range(300):
        shared = generator.normal(scale=3, size=80)[many.model]
        slope = generator.normal(size=80)[many.model] * (weak - weak.mean()) / 5
        fits.append(method.regression(many.assign(x=0.5 * weak + 0.3 * strong + shared + slope)))
    spread = np.std([one.weaker for one in fits], ddof=1)
    clustered = float(np.mean([one.clustered[0] for one in fits]) / spread - 1)
    worst.note(clustered_off=abs(clustered))
    one_each = method.regression(frame.assign(model=range(60)))
    robust = np.abs(np.array(one_each.clustered) / np.array(fit.errors) - 1)
    worst.note(own_cluster_off=float(robust.max()))
    return worst


def correlations(*, seed: int) -> dict[str, float]:
    """Agreement of a judge with people: invariances, brute force, missing ratings."""
    generator, worst = np.random.default_rng(seed), Worst()
    for rows in (8, 40):
        frame = pd.DataFrame({
            f"response_{i}_{who}_rating": generator.choice(np.arange(1, 5.5, 0.5), rows)
            for i in (1, 2, 3) for who in ("human_1", "human_2", "llm")
        })  # fmt: skip
        found = method.agreement(frame)
        judge = [f"response_{i}_llm_rating" for i in (1, 2, 3)]
        scaled, stretched = frame.copy(), frame.copy()
        scaled[judge], stretched[judge] = 3 * frame[judge] + 2, np.exp(frame[judge])
        worst.note(
            affine_gap=max(gap(found[name], method.agreement(scaled)[name]) for name in found),
            rank_gap=max(gap(found[name], method.agreement(stretched)[name]) for name in ("spearman", "kendall")),
        )
        people = np.concatenate([
            frame[[f"response_{i}_human_{j}_rating" for j in (1, 2)]].to_numpy().mean(1) for i in (1, 2, 3)
        ])  # fmt: skip
        worst.note(kendall_gap=gap(found["kendall"], tau_b(people, np.concatenate([frame[one] for one in judge]))))
        holes = frame.copy()
        holes.loc[0, "response_1_human_2_rating"] = np.nan  # one person is left
        holes.loc[1, "response_2_llm_rating"] = np.nan  # the pair is out
        filled = frame.copy()
        filled.loc[0, "response_1_human_2_rating"] = frame.loc[0, "response_1_human_1_rating"]
        keep = np.ones(3 * rows, dtype=bool)
        keep[rows + 1] = False
        people[0] = frame.loc[0, "response_1_human_1_rating"]
        by_hand = stats.pearsonr(people[keep], np.concatenate([frame[one] for one in judge])[keep]).statistic
        worst.note(missing_gap=gap(method.agreement(holes)["pearson"], by_hand))
    circle = [method.others(place, 2) for place in (1, 2, 3)] + [method.others(3, 1), method.others(2, 0)]
    worst.note(circle_wrong=float(circle != [[2, 3], [3, 1], [1, 2], [1], []]))
    return worst


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b, pair by pair."""
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)
    ]  # fmt: skip
    a, b = np.array(signs).T
    return float((a * b).sum() / math.sqrt((a != 0).sum() * (b != 0).sum()))


def alpha(*, seed: int) -> dict[str, float]:
    """Krippendorff's alpha against sums over all pairs of ratings, and at its ends."""
    generator, worst = np.random.default_rng(seed), Worst()
    for raters, units in ((2, 12), (4, 9)):
        ratings = generator.integers(1, 6, (raters, units)).astype(float)
        ratings[generator.random(ratings.shape) < 0.15] = np.nan
        for level in ("nominal", "ordinal", "interval"):
            worst.note(brute_gap=gap(method.krippendorff_alpha(ratings, level), alpha_by_pairs(ratings, level)))
    alike = np.tile(generator.integers(1, 6, 30), (3, 1))
    alone = generator.integers(1, 6, (2, 20_000)).astype(float)
    worst.note(identical_gap=gap(method.krippendorff_alpha(alike), 1.0), constant=float(
        not math.isnan(method.krippendorff_alpha(np.full((2, 5), 3.0)))
    ))  # fmt: skip
    worst.note(independent=abs(method.krippendorff_alpha(alone)))
    ordinal = method.krippendorff_alpha(ratings, "ordinal")
    worst.note(ordinal_gap=gap(ordinal, method.krippendorff_alpha(np.exp(ratings), "ordinal")))
    return worst


def alpha_by_pairs(ratings: np.ndarray, level: str) -> float:
    """1 - D_o / D_e by loops over pairs of ratings."""
    units = [unit[~np.isnan(unit)] for unit in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    pooled = np.concatenate(units)

    def apart(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = ((pooled >= low) & (pooled <= high)).sum() - ((pooled == low).sum() + (pooled == high).sum()) / 2
        return 0.0 if a == b else float(between) ** 2

    observed = sum(
        sum(apart(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(pooled)
    chance = sum(apart(a, b) for a, b in itertools.permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    return 1 - observed / chance


def judging() -> dict[str, float]:
    """Ratings read from a judge's text, principles revised step by step, calls that make no sense, defaults."""
    texts = {
        "### Evaluation Score\nScore: 3.5/5": 3.5, "**Evaluation Score:**\n**Score: **4/5**": 4.0,
        "evaluation score: SCORE: **2/5**": 2.0, "Evaluation Score: ** Score: **4.25/5": 4.25, "Score: 3/5": None,
        "Evaluation Score Score: 6/5": None, "Evaluation Score Score: 0.5/5": None, "": None,
        "Evaluation Score Score: 1/5 ... Evaluation Score Score: 5/5": 1.0, "Evaluation Score Score: 5/5": 5.0,
    }  # fmt: skip
    ten = [str(number) for number in range(10)]
    steps = [
        method.revised(["a"], "ADD", "b") == ["a", "b"], method.revised(["a", "b"], "REPLACE", "c", 0) == ["c", "b"],
        method.revised(["a", "b"], "REVISE", "c", 1) == ["a", "c"], method.revised(["a"], "KEEP") == ["a"],
        len(method.revised(ten[:9], "ADD", "z")) == 10,
    ]  # fmt: skip
    skills, cells = printed.skills(), table()
    refused: list[Callable[[], object]] = [
        lambda: method.rescaled([0.5]), lambda: method.rescaled([5.5, 3.0]), lambda: method.eligible(cells, -1.0),
        lambda: method.cells(skills[["Coding"]], printed.pairs()), lambda: method.cells(skills[1:], printed.pairs()),
        lambda: method.null_counts(cells, draws=2, seed=0, delta=0.0), lambda: method.regression(cells[:3]),
        lambda: method.revised(ten, "ADD", "z"), lambda: method.revised(["a"], "ADD"),
        lambda: method.revised(["a"], "REPLACE", "b", 1), lambda: method.revised(["a"], "REVISE", "b", -1),
        lambda: method.revised(["a"], "DROP", "b"), lambda: method.others(4, 1), lambda: method.others(0, 1),
        lambda: method.others(1, 3), lambda: method.others(1, -1),
        lambda: method.krippendorff_alpha([[1.0], [np.nan]]),
        lambda: method.krippendorff_alpha([[1, 2], [2, 1]], "ratio"),  # type: ignore[arg-type]
    ]  # fmt: skip
    moved = [
        other_defaults(method.eligible, delta=3.0), other_defaults(method.counts, delta=3.0),
        other_defaults(method.null_counts, delta=3.0, per_pair=False),
        other_defaults(method.regression, per_pair=False), other_defaults(method.revised, text="", place=0, most=10),
        other_defaults(method.others, responses=3), other_defaults(method.krippendorff_alpha, level="interval"),
    ]  # fmt: skip
    return {
        "misread": float(sum(method.parse_rating(text) != rating for text, rating in texts.items())),
        "steps_wrong": float(len(steps) - sum(steps)), "accepted": accepted(*refused), "moved": float(sum(moved)),
    }  # fmt: skip


def borders() -> dict[str, float]:
    """Scores on a border, equal skills, changes that are none, and rounding that reaches a border."""
    on_border = method.kinds([10.0, 15.0, 20.0, 9.99, 14.99, 19.99], 10.0, 20.0)
    rows = [
        ("m", ("A", "B"), 10.0, 13.0, 9.0),
        ("m", ("A", "C"), 10.0, 13.006, 9.0),
        ("m", ("B", "C"), 30.0, 20.0, 20.008),
    ]
    cells = pd.DataFrame(rows, columns=["model", "pair", "a", "b", "x"])
    within = method.counts_within(cells, 3.0, 0.005)
    expected = {
        "eligible": (1, 3),
        "below": (0, 3),
        "nearer weaker": (0, 3),
        "nearer stronger": (0, 2),
        "above": (0, 2),
    }
    before, after = {"A": 1.0, "B": 2.0, ("A", "B"): 1.0}, {"A": 2.0, "B": 1.0, ("A", "B"): 1.5}
    still = after | {"B": 2.0}
    swapped = {"A": 2.0, "B": 1.0, ("A", "B"): 1.0}
    follows = [
        method.follows(before, after, ("A", "B")) is True, method.follows(before, still, ("A", "B")) is None,
        method.follows(swapped, {"A": 3.0, "B": 0.5, ("A", "B"): 1.2}, ("A", "B")) is False,
        method.follows(before, after | {("A", "B"): 1.0}, ("A", "B")) is False,
    ]  # fmt: skip
    small = [np.array([score], dtype=np.int8) for score in (95, 90, 110)]  # whose sum does not fit
    return {
        "kinds_wrong": float((on_border != [1, 2, 3, 0, 1, 2]).sum() + (method.kinds(*small) != 1).sum()),
        "strictly": float(len(method.eligible(cells[:1]))),
        "within_wrong": float(within != expected),
        "follows_wrong": float(len(follows) - sum(follows)),
    }
