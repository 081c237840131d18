"""Consistent learners of enumerated classes: how many examples they need, and how many the theory foretells."""

from __future__ import annotations

import numpy as np
from scipy import stats

from suites.cot_information import method
from suites.cot_information.contenders import enough_for_random, enough_for_worst, family, targets, vc_dimension
from suites.cot_information.method import Bools, Floats, HypothesisClass, Ints

DELTA, REPETITIONS, MOST = 0.1, 200, 400
EPS = (1 / 64, 0.1, 0.3)
"""The mass of one string, what claims are about, and three times that. Thresholds have inputs of mass 1/16."""
TARGETS, FEWER = 40, 20
SIZES = (2, 5, 10, 20)
"""Numbers of examples at which learning curves are read."""


def gains(*, family_name: str, seed: int) -> dict[str, float]:
    """Samples that the worst and a random consistent hypothesis need from answers and from traces, for 40 targets.

    Gains are quotients of both; foretold gains are quotients of rates, or of VC dimensions where errors of answers are
    bounded by those of traces. Rank correlations are over the targets.
    """
    classes, generator = family(family_name), np.random.default_rng(seed)
    inputs = len(classes.masses)
    rows: list[list[float]] = []
    strictly, worse = np.zeros(len(SIZES)), 0.0
    for star in targets(classes, TARGETS, generator):
        risk, (answer, whole) = method.risks(classes, star), method.disagreements(classes, star)
        error = risk.answer / risk.total
        draws = generator.integers(0, inputs, (REPETITIONS, MOST))
        times = [method.elimination_times(apart, draws) for apart in (answer, whole)]
        needed = [[enough_for_worst(t, error, eps, DELTA) for t in times] for eps in EPS]
        curves = [method.consistent_learners(t, error, EPS[1], MOST) for t in times]
        drawn = [enough_for_random(curve.failing, DELTA) for curve in curves]
        means = [curve.worst.mean(1) for curve in curves]
        strictly += [means[1][m] < means[0][m] for m in SIZES]
        worse = max(worse, float((curves[1].worst - curves[0].worst).max()))
        foretold = [
            float(method.information(risk, eps)) / float(method.answer_information(risk, eps))
            if (error > eps).any() else np.nan for eps in EPS
        ]  # fmt: skip
        rows.append([
            *(max(one, 1) / max(other, 1) for one, other in needed), *foretold, max(drawn[0], 1) / max(drawn[1], 1),
            float(method.information(risk, EPS[1])) / EPS[1], 1 / max(1, vc_dimension(whole)), *needed[1],
            method.sample_size(classes.size, DELTA, float(method.information(risk, EPS[1]))) / max(1, needed[1][1]),
        ])  # fmt: skip
    table = np.array(rows)
    low, high = bootstrap(table[:, 1], table[:, 4], generator)
    found = {
        f"spearman{name}": rank_correlation(table[:, one], table[:, other])
        for name, one, other in (
            ("_at_1_64", 0, 3), ("", 1, 4), ("_at_0_3", 2, 5), ("_random", 6, 4), ("_over_eps", 1, 7), ("_vc", 1, 8),
        )
    }  # fmt: skip
    return found | {
        "low": low, "high": high, "over_vc": found["spearman"] - found["spearman_vc"],
        "ever_worse": max(worse, 1 - float(table[:, :3].min())), "strictly": float(min(strictly[1:3])) / TARGETS,
        "median_gain": float(np.median(table[:, 1])), "median_foretold": float(np.median(table[:, 4])),
        "median_gain_random": float(np.median(table[:, 6])), "foretold_over_needed": float(np.median(table[:, 11])),
    }  # fmt: skip


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's, without targets of which nothing errs so much; 0 where one of both does not vary."""
    known = ~np.isnan(second)
    first, second = first[known], second[known]
    if len(first) < 2 or np.ptp(stats.rankdata(first)) == 0 or np.ptp(stats.rankdata(second)) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def bootstrap(first: Floats, second: Floats, generator: np.random.Generator) -> tuple[float, float]:
    """The percentile interval of Spearman's correlation, 95 %, targets drawn anew 1,000 times."""
    chosen = generator.integers(0, len(first), (1000, len(first)))
    found = [rank_correlation(first[one], second[one]) for one in chosen]
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def curves(*, arm: str, family_name: str, seed: int) -> dict[str, float]:
    """Errors after 2 to 20 examples of hypotheses that fit best, over 20 targets and 100 samples, which arms share.

    Arms see "traces", "every_third" of their symbols, "answers", or "shuffled" traces, of another example each, which
    no hypothesis need fit: there learners take what fits most examples.
    """
    classes, generator = family(family_name), np.random.default_rng(seed)
    seen = {"traces": classes.traces, "every_third": classes.traces[..., 2::3], "answers": classes.traces[..., :0]}
    numbers = trace_numbers(classes.with_traces(seen.get(arm, classes.traces)))
    rows, constant = [], []
    for star in targets(classes, FEWER, generator):
        draws = generator.integers(0, len(classes.masses), (100, SIZES[-1]))
        risk = method.risks(classes, star)
        error = risk.answer / risk.total
        row = []
        for m in SIZES:
            shown = np.roll(draws[:, :m], 1, axis=1) if arm == "shuffled" else draws[:, :m]
            fitting = best_fits(classes.answers, numbers, star, draws[:, :m], shown)
            average = error @ fitting / fitting.sum(0)
            row += [float(np.where(fitting, error[:, None], 0).max(0).mean()), float(average.mean())]
        rows.append(row)
        constant.append(len(np.unique(classes.answers[star])) == 1)
    means, of_constant = np.mean(rows, 0), np.mean([r for r, c in zip(rows, constant, strict=True) if c], 0)
    found = {f"worst_{m}": float(means[2 * i]) for i, m in enumerate(SIZES)}
    found |= {f"average_{m}": float(means[2 * i + 1]) for i, m in enumerate(SIZES)}
    return found | {"average_2_constant": float(of_constant[1])}


def trace_numbers(classes: HypothesisClass) -> Ints:
    """Numbers of traces alone, (H, n)."""
    return method.tabulated(classes.traces, np.zeros_like(classes.answers), distinct=False).examples


def best_fits(answers: Ints, numbers: Ints, star: int, draws: Ints, shown: Ints) -> Bools:
    """Which hypotheses miss the fewest of m examples, (H, R): target's answers on draws (R, m), traces on shown."""
    missed = np.zeros((len(answers), len(draws)), dtype=np.int64)
    for x, other in zip(draws.T, shown.T, strict=True):
        missed += (answers[:, x] != answers[star, x]) | (numbers[:, x] != numbers[star, other])
    return missed == missed.min(0)
