"""The exact tier: printed numbers recomputed with their rounding carried along, and the statistics held to oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.spatial import distance

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.cognitive_imperfection import method, printed

Floats = npt.NDArray[np.float64]


def pearson(first: Floats, second: Floats) -> float:
    return float(stats.pearsonr(first, second).statistic)


def halves(values: Floats) -> float:
    """Pearson's r of the first and the second half."""
    return pearson(*np.split(values, 2))


def apart(values: Floats) -> float:
    """r of the first third with the last, minus that of the second."""
    first, second, last = np.split(values, 3)
    return pearson(first, last) - pearson(second, last)


def within_rounding(first: Floats, second: Floats, units: tuple[float, float]) -> tuple[float, float]:
    """r of two columns whose last digits are worth `units`."""
    errors = np.repeat(np.array(units) / 2, len(first))
    return method.spread(halves, np.concatenate([first, second]), errors)


def disagreements(cases: list[tuple[float, float, tuple[float, float]]]) -> float:
    """How many of (printed, worth of the last digit, recomputed interval) differ."""
    return float(sum(method.differs(*case) for case in cases))


# The audit.


def events() -> dict[str, float]:
    """Table 18: sentiment and price on 16 days."""
    x, y = printed.EVENT_CHANGES, printed.EVENT_INDEX
    r, p, n = printed.EVENT_CORRELATION
    low, high = within_rounding(x, y, (printed.UNIT, printed.UNIT))
    return {
        "r": pearson(x, y), "r_low": low, "r_high": high, "differ": disagreements([(r, 0.001, (low, high))]),
        "p_ratio": method.correlation_p(r, n) / p,
        "least_without_one": min(pearson(np.delete(x, i), np.delete(y, i)) for i in range(n)),
    }  # fmt: skip


def sentiment() -> dict[str, float]:
    """Appendix G.4: three indices of sentiment and the market on 23 days of 2015, and what is printed of 2024."""
    found: dict[str, float] = {}
    for name, days in printed.DAYS.items():
        r, p, n = printed.CORRELATIONS_2015[name]
        low, high = within_rounding(days, printed.MARKET, (printed.UNIT, printed.UNIT))
        found |= {f"r_{name}": pearson(days, printed.MARKET), f"r_{name}_low": low, f"r_{name}_high": high}
        found[f"differ_{name}"] = disagreements([(r, 0.001, (low, high))])
        found[f"p_{name}"] = method.correlation_p(found[f"r_{name}"], n)
    a, b = found["r_A"], found["r_B"]
    between = pearson(printed.DAYS["A"], printed.DAYS["B"])
    columns = np.concatenate([*(printed.DAYS[name] for name in "AB"), printed.MARKET])
    low, high = method.spread(apart, columns, printed.UNIT / 2)
    t, p = method.williams(a, b, between, len(printed.MARKET))
    swapped = [printed.CORRELATIONS_2015[name][0] for name in ("B", "A")]
    of_2024 = [abs(method.correlation_p(r, n) / p - 1) for r, p, n in printed.CORRELATIONS_2024.values()]
    return found | {
        "a_minus_b": a - b, "a_minus_b_low": low, "a_minus_b_high": high, "between": between,
        "williams_t": abs(t), "williams_p": p,
        "swapped_gap": gap([a, b], swapped), "p_2024_off": max(of_2024),
    }  # fmt: skip


def volatility() -> dict[str, float]:
    """Table 5: is the variance of each quadrant finite in the long run, and does it rise more in falls?"""
    models = {name: method.Garch(*row) for name, row in printed.GARCH.items()}
    sure = [
        name for name, row in printed.GARCH.items()
        if method.spread(lambda values: method.Garch(*values).persistence, row, [0, 0.005, 0.005, 0.005])[0] >= 1
    ]  # fmt: skip
    return {
        "unbounded": float(sum(not math.isfinite(one.variance) for one in models.values())),
        "unbounded_within_rounding": float(len(sure)),
        "largest": max(one.persistence for one in models.values()),
        "falls_weigh_more": float(sum(models[name].alpha_minus > models[name].alpha for name in "CE")),
    }


def crisis() -> dict[str, float]:
    """Table 10 and the text: the index before three crises; membership of six quadrants; samples of holidays."""
    mean = method.spread(lambda x: float(np.mean(x)), printed.CRISIS_INDEX, 0.00005)
    scale = method.spread(lambda x: float(np.std(x, ddof=1)), printed.CRISIS_INDEX, 0.00005)
    total = method.spread(lambda x: float(np.sum(x)), printed.MEMBERSHIP, 0.00005)
    return {
        "mean": float(printed.CRISIS_INDEX.mean()), "deviation": float(printed.CRISIS_INDEX.std(ddof=1)),
        "mean_differs": disagreements([(printed.CRISIS_MEAN, 0.01, mean)]),
        "deviation_differs": disagreements([(printed.CRISIS_SPREAD, 0.01, scale)]),
        "membership_differs": disagreements([(1.0, 0.0, total)]),
        "holidays": float(printed.HOLIDAYS.sum()),
    }  # fmt: skip


def trading() -> dict[str, float]:
    """Tables 22 and 27, 16 and 17: ratios, and what one curve of equity must obey."""
    drawdown, loss = printed.DRAWDOWN, printed.LOSS

    def reduction(values: Floats) -> float:
        return float(100 * (1 - values[0] / values[1]))

    cuts = {name: method.spread(reduction, [drawdown["encoded"], drawdown[name]], 0.05) for name in ("human", "static")}
    ratios = [
        (47.4, 0.1, cuts["human"]), (40.2, 0.1, cuts["static"]),
        (33.0, 1.0, method.spread(lambda x: float(x[0] / x[1]), [printed.ALPHA, printed.COST], [0.05, 0.005])),
    ]  # fmt: skip
    gain = loss["human"] - loss["encoded"] + printed.COST
    shares = [(p, 0.1, (100 * yes / of,) * 2) for yes, of, p in printed.ACCEPTED.values()]
    views = [count * (mean + 0.5) < most for count, mean, most in printed.VIEWS.values()]
    return {
        "ratios_differ": disagreements(ratios),
        "alpha_gap": abs(gain - printed.ALPHA), "shares_differ": disagreements(shares),
        # Total loss is a drawdown from the start: the largest drawdown cannot be smaller.
        "impossible": float(drawdown["encoded"] + 0.05 < loss["encoded"] - 0.005),
        "totals_below_maximum": float(sum(views)),
    }  # fmt: skip


def of_w(w: Floats, n: int) -> float:
    return method.shapiro_p(float(w[0]), n)


def tests() -> dict[str, float]:
    """Tables 9, 15 and 29, appendix G.7: p-values from the printed statistics, ratios from the printed means."""
    normality = {
        name: method.spread(partial(of_w, n=n), [w], 0.0005)
        for name, (n, w, _) in printed.NORMALITY.items()
    }  # fmt: skip
    printed_p = {name: p for name, (_, _, p) in printed.NORMALITY.items()}
    # To five per cent, as good as the approximation is, beside the rounding of W and p.
    off = [not low * 0.95 <= printed_p[name] <= high * 1.05 for name, (low, high) in normality.items()]
    flips = [(low < 0.05) == (high < 0.05) and (low < 0.05) != (printed_p[name] < 0.05)
             for name, (low, high) in normality.items()]  # fmt: skip
    least = {name: method.welch_p(t + 0.005, *printed.WELCH_SIZES)[0] for name, (t, _) in printed.WELCH.items()}
    variation = [
        (cv, 0.01, method.spread(lambda x: float(100 * x[0] / x[1]), [sigma, mu], 0.005))
        for sigma, mu, cv in printed.LENGTHS.values()
    ]  # fmt: skip
    improved = [
        (better, 0.1, method.spread(lambda x: float(100 * (1 - x[1] / x[0])), [before, after], 0.00005))
        for before, after, better in printed.STYLE.values()
    ]  # fmt: skip
    factors = [
        (factor, 0.01, method.spread(lambda x: float(x[0] / x[1]), [high, low], 0.0005))
        for high, low, factor in printed.MULTIPLIERS.values()
    ]  # fmt: skip
    exact_p = {name: method.shapiro_p(w, n) for name, (n, w, _) in printed.NORMALITY.items()}
    return {
        "shapiro_differ": float(sum(off)), "shapiro_flips": float(sum(flips)), "p_standard": exact_p["standard"],
        "p_A": exact_p["A"], "p_B": exact_p["B"], "p_C": exact_p["C"],
        "welch_differ": float(sum(p + 0.0005 < least[name] for name, (_, p) in printed.WELCH.items())),
        "welch_least_fear": method.welch_p(1.78, *printed.WELCH_SIZES)[0],
        "variation_differ": disagreements(variation), "improvements_differ": disagreements(improved),
        "multipliers_differ": disagreements(factors),
    }  # fmt: skip


def sources(*, draws: int) -> dict[str, float]:
    """How far apart two correlations must be for 23 days to tell: days drawn anew with their three values."""
    generator, days = np.random.default_rng(1000), np.array([printed.DAYS["A"], printed.DAYS["B"], printed.MARKET])
    differences = np.empty(draws)
    for draw in range(draws):
        a, b, market = days[:, generator.integers(23, size=23)]
        differences[draw] = pearson(a, market) - pearson(b, market)
    low, high = np.quantile(differences, [0.025, 0.975])
    return {
        "deviation": float(differences.std()),
        "half_width": float(high - low) / 2,
        "contains_zero": float(low < 0 < high),
    }


# The statistics.


def divergences(*, seed: int, draws: int) -> dict[str, float]:
    """JSD: bounds, symmetry, triangle, scipy; the mean JSD of two samples of one distribution."""
    generator, worst = np.random.default_rng(seed), Worst()
    for bins in (2, 5, 30):
        p, q, r = generator.dirichlet(np.full(bins, 0.3), 3)
        p[0] = 0
        p = p / p.sum()
        value = method.jensen_shannon(p, q)
        worst.note(
            scipy_gap=gap(value, distance.jensenshannon(p, q) ** 2), self_gap=method.jensen_shannon(p, 7 * p),
            symmetry_gap=gap(value, method.jensen_shannon(q, p)),
            triangle=math.sqrt(value) - math.sqrt(method.jensen_shannon(p, r)) - math.sqrt(method.jensen_shannon(r, q)),
            base_gap=gap(method.jensen_shannon(p, q, base=2), value / math.log(2)),
            entropy_gap=gap(method.entropy(3 * q), stats.entropy(q)),
        )  # fmt: skip
    worst.note(disjoint_gap=gap(method.jensen_shannon([1, 0], [0, 3], base=2), 1.0))
    for bins in (10, 20):
        samples = [generator.multinomial(n, np.full(bins, 1 / bins), draws) for n in (400, 620)]
        mean = np.mean([method.jensen_shannon(p, q) for p, q in zip(*samples, strict=True)])
        worst.note(floor_off=abs(float(mean) / method.jsd_floor(bins, 400, 620) - 1))
    counted = method.histogram([1, 2, 3, 3, 9, 40], [1, 3, 5])
    worst.note(histogram_wrong=float(counted.tolist() != [2, 2, 2]), print_gap=gap(
        [method.jsd_floor(k, 100, 155) for k in (10, 20, 50)], [0.0185, 0.0391, 0.1008]))  # fmt: skip
    return worst


def agreements(*, seed: int) -> dict[str, float]:
    """ICC against sums of squares by hand, in its limits, and under maps."""
    generator, worst = np.random.default_rng(seed), Worst()
    # Shrout and Fleiss's example: six targets, four judges.
    example = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    kinds: tuple[method.Kind, ...] = ("one-way", "agreement", "consistency")
    worst.note(example_gap=gap([method.icc(example, kind) for kind in kinds], [0.166, 0.290, 0.715]))
    for units in (5, 40):
        x = generator.normal(size=(units, 1)) + 0.5 * generator.normal(size=(units, 3)) + [0, 1, 2]
        worst.note(
            affine_gap=max(gap(method.icc(x, kind), method.icc(3 * x - 7, kind)) for kind in kinds),
            shift_gap=gap(method.icc(x, "consistency"), method.icc(x + np.array([0, 5, -5]), "consistency")),
            order=method.icc(x, "agreement") - method.icc(x, "consistency"),
        )
        pair = x[:, :2] / x[:, :2].std(0)
        worst.note(pearson_gap=gap(method.icc(pair, "consistency"), pearson(*pair.T)))
        worst.note(above_pearson=method.icc(x[:, :2], "consistency") - abs(pearson(*x[:, :2].T)))
    worst.note(below_nine=float((printed.AGREEMENT <= 0.9).sum()))
    days = np.array([printed.DAYS["A"], printed.DAYS["B"]]).T
    worst.note(print_order=method.icc(days, "agreement") - method.icc(days, "consistency"))
    return worst


def p_values(*, seed: int, draws: int) -> dict[str, float]:
    """p-values against scipy, and against how often a true hypothesis is rejected."""
    generator, worst = np.random.default_rng(seed), Worst()
    for n in (5, 23, 200):
        x, y = generator.normal(size=(2, n))
        found = stats.pearsonr(x, y)
        worst.note(pearson_gap=gap(method.correlation_p(found.statistic, n), found.pvalue))
    for n in (12, 90, 155, 1000):
        for x in (generator.normal(size=n), generator.normal(size=n) + generator.exponential(0.5, n)):
            found = stats.shapiro(x)
            worst.note(shapiro_off=abs(math.log(method.shapiro_p(found.statistic, n) / found.pvalue)))
    x, y = generator.normal(size=8) + 1, 2 * generator.normal(size=14)
    found = stats.ttest_ind(x, y, equal_var=False, alternative="greater" if x.mean() > y.mean() else "less")
    low, high = method.welch_p(abs(found.statistic), 8, 14)
    worst.note(welch_outside=float(not low <= found.pvalue <= high))
    rejected = 0
    for _ in range(draws):  # two noisy copies of one cause of z: their correlations with it are alike
        cause = generator.normal(size=23)
        z = cause + generator.normal(size=23)
        a, b = cause + 0.3 * generator.normal(size=(2, 23))
        rejected += method.williams(pearson(a, z), pearson(b, z), pearson(a, b), 23)[1] < 0.05
    worst.note(williams_off=abs(rejected / draws - 0.05))
    t, p = method.williams(0.6, 0.4, 0.5, 40)
    worst.note(williams_sign=float(t <= 0 or method.williams(0.4, 0.6, 0.5, 40)[0] != -t or not 0 < p < 1))
    return worst


def processes(*, seed: int) -> dict[str, float]:
    """GJR-GARCH against its long-run variance, decay against the law it is made from."""
    generator, worst = np.random.default_rng(seed), Worst()
    model = method.Garch(0.05, 0.03, 0.08, 0.85)
    h = model.variances(generator.normal(size=200_000), 1.0)
    worst.note(variance_off=abs(float(h.mean()) / model.variance - 1))
    z = np.array([1.0, -2.0])
    h1 = 0.05 + (0.03 + 0.85) * 2.0
    worst.note(step_gap=gap(model.variances(z, 2.0), [2.0, h1, 0.05 + ((0.03 + 0.08) * 4 + 0.85) * h1]))
    edge = method.Garch(0.1, 0.1, 0.2, 0.8)
    worst.note(edge_finite=float(math.isfinite(edge.variance)), persistence_gap=gap(edge.persistence, 1.0))
    t, e = generator.uniform(1, 30, 25), generator.uniform(0.1, 1, 25)
    worst.note(decay_gap=gap(method.decay(t, e, np.exp(0.2) * t**-0.32 * e**0.9), [0.2, 0.32, 0.9]))
    return worst


def rounding(*, seed: int) -> dict[str, float]:
    """Intervals of rounded numbers: linear and monotone statistics, both ways, and what counts as a difference."""
    generator, worst = np.random.default_rng(seed), Worst()
    x = np.round(generator.uniform(1, 2, 8), 2)
    worst.note(linear_gap=gap(method.spread(lambda v: float(v @ np.arange(8)), x, 0.005),
                              [x @ np.arange(8) - 0.14, x @ np.arange(8) + 0.14]))  # fmt: skip
    ratio = method.spread(lambda v: float(v[0] / v[1]), [3.0, 2.0], [0.5, 0.1])
    worst.note(ratio_gap=gap(ratio, [2.5 / 2.1, 3.5 / 1.9]))
    many = np.round(generator.uniform(1, 2, 30), 2)
    worst.note(first_order_gap=gap(method.spread(np.sum, many, 0.005), [many.sum() - 0.15, many.sum() + 0.15]))
    inside = 0
    low, high = method.spread(halves, many, 0.005)
    for _ in range(300):
        inside += low - 1e-4 <= halves(many + generator.uniform(-0.005, 0.005, 30)) <= high + 1e-4
    worst.note(outside=float(300 - inside))
    intervals = [(0.745, 0.8), (0.7451, 0.8), (0.1, 0.735), (0.1, 0.73), (0.745 + 1e-12, 0.8), (0.1, 0.735 - 1e-12)]
    told = [method.differs(0.74, 0.01, one) for one in intervals]
    worst.note(wrong=float(told != [False, True, False, True, False, False]))
    return worst


def texts(*, seed: int) -> dict[str, float]:
    """Perturbations: lengths of a given mean and CV that oscillate, words that are cut anew, rare words."""
    generator, worst = np.random.default_rng(seed), Worst()
    lengths = method.oscillating(20_001, mean=16.0, variation=0.75, generator=generator)
    turns = np.diff(lengths)
    worst.note(
        mean_off=abs(lengths.mean() / 16 - 1), variation_off=abs(method.coefficient_of_variation(lengths) / 0.75 - 1),
        against_turn=float((turns[::2] < 0).sum() + (turns[1::2] > 0).sum()), least=-float(lengths.min()),
        even_gap=gap(method.oscillating(5, mean=4, variation=0, generator=generator), 4),
    )  # fmt: skip
    words = generator.integers(50, size=1000)
    parts = method.recut(words, method.oscillating(400, mean=9, variation=0.5, generator=generator))
    worst.note(lost=gap(np.concatenate(parts), words), recut_wrong=float(
        [part.tolist() for part in method.recut([1, 2, 3, 4, 5], [2, 1, 9])] != [[1, 2], [3], [4, 5]]))  # fmt: skip
    rare = np.array([90, 91])
    changed = method.with_rare_words(words, rare, 0.2, generator)
    worst.note(
        share_off=abs(float((changed != words).mean()) - 0.2),
        others=float((~np.isin(changed[changed != words], rare)).sum()),
        none=float((method.with_rare_words(words, rare, 0.0, generator) != words).sum()),
    )  # fmt: skip
    worst.note(cv_gap=gap(method.coefficient_of_variation([1, 3]), 0.5))
    return worst


def refusals() -> dict[str, float]:
    """Calls that make no sense, and defaults."""
    generator, garch = np.random.default_rng(0), method.Garch(0.1, 0.1, 0.1, 0.1)
    calls: list[Callable[[], object]] = [
        partial(method.spread, np.sum, [1.0], -0.1), partial(method.entropy, []), partial(method.entropy, [0.0, 0.0]),
        partial(method.entropy, [1.0, -1.0]), partial(method.entropy, [math.nan, 1.0]),
        partial(method.jensen_shannon, [1, 2], [1, 2, 3]), partial(method.histogram, [0.5], [1, 2]),
        partial(method.histogram, [math.nan], [1, 2]), partial(method.coefficient_of_variation, []),
        partial(method.coefficient_of_variation, [-1.0, 0.5]), partial(garch.variances, [1.0], 0.0),
        partial(method.Garch(0.0, 0.1, 0.1, 0.1).variances, [1.0], 1.0),
        partial(method.Garch(0.1, -0.1, 0.1, 0.1).variances, [1.0], 1.0),
        partial(method.decay, [1.0, 2, 3], [1.0, 2, 3], [1.0, 0, 3]), partial(method.decay, [1.0], [1.0], [1.0, 2.0]),
        partial(method.decay, [2.0] * 4, [1.0, 2, 3, 4], [1.0, 2, 3, 4]), partial(method.correlation_p, 1.0, 9),
        partial(method.correlation_p, 0.5, 2), partial(method.williams, 0.5, 0.5, 1.0, 9),
        partial(method.williams, 0.5, 0.5, 0.5, 3), partial(method.icc, [[1.0, 2.0]]),
        partial(method.icc, [[1.0], [2.0]]),
        partial(method.icc, np.ones((3, 3))), partial(method.icc, [[1.0, math.nan], [2.0, 3.0]]),
        lambda: method.icc([[1.0, 2.0], [2.0, 4.0]], "mean"),  # type: ignore[arg-type]
        partial(method.shapiro_p, 1.0, 20),
        partial(method.shapiro_p, 0.9, 11), partial(method.shapiro_p, 0.9, 5001), partial(method.welch_p, -1.0, 8, 14),
        partial(method.welch_p, 1.0, 1, 14), partial(method.oscillating, -1, mean=3, variation=1, generator=generator),
        partial(method.oscillating, 1, mean=0.5, variation=1, generator=generator),
        partial(method.oscillating, 1, mean=3, variation=-1, generator=generator),
        partial(method.recut, [1, 2, 3], [1, 1]), partial(method.recut, [1], []),
        partial(method.with_rare_words, np.array([1]), np.array([]), 0.5, generator),
        partial(method.with_rare_words, np.array([1]), np.array([1]), 1.5, generator),
    ]  # fmt: skip
    return {
        "accepted": accepted(*calls),
        "moved": other_defaults(method.icc, kind="agreement") + other_defaults(method.jensen_shannon, base=math.e),
    }
