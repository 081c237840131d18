"""The exact tier: the rate by independent counts, its inequalities, and the theorems on classes that are enumerated."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.cot_information import method
from suites.cot_information.contenders import (
    FAMILIES,
    enough_for_random,
    enough_for_worst,
    family,
    targets,
    vc_dimension,
)
from suites.cot_information.method import Floats, HypothesisClass

EPS = (0.0, 1 / 64, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.75, 0.99)


def short(larger: object, smaller: object) -> float:
    """By how much the first falls short of the second at worst; equal infinities do not."""
    a, b = np.broadcast_arrays(np.asarray(larger, dtype=float), np.asarray(smaller, dtype=float))
    with np.errstate(invalid="ignore"):
        return gap(np.where(a >= b, 0.0, b - a))


def sampled(name: str, count: int, seed: int = 1000) -> list[int]:
    return targets(family(name), count, np.random.default_rng(seed))


def weighted(classes: HypothesisClass, seed: int = 1000) -> HypothesisClass:
    """The class where inputs weigh 1 to 5."""
    masses = np.random.default_rng(seed).integers(1, 6, len(classes.masses))
    return method.tabulated(classes.traces, classes.answers, masses)


def counted(classes: HypothesisClass, star: int) -> Floats:
    """The rates of examples and of answers at each eps, (eps, 2), hypothesis by hypothesis and input by input."""
    total, rows = int(classes.masses.sum()), []
    traces, answers, masses = classes.traces.tolist(), classes.answers.tolist(), classes.masses.tolist()
    for trace, answer in zip(traces, answers, strict=True):
        right = [x for x in range(len(masses)) if answer[x] == answers[star][x]]
        whole = sum(masses[x] for x in right if trace[x] == traces[star][x])
        rows.append((Fraction(whole, total), Fraction(sum(masses[x] for x in right), total)))
    found = []
    for bound in (Fraction(eps).limit_denominator(10**6) for eps in EPS):
        wrong = [row for row in rows if 1 - row[1] > bound]
        best = [max((row[place] for row in wrong), default=Fraction(0)) for place in (0, 1)]
        found.append([-math.log(one) if one else math.inf for one in best])
    return np.array(found)


def inequalities() -> dict[str, float]:
    """The rate against fractions, against eps and against itself in part of the class."""
    worst, generator = Worst(), np.random.default_rng(1000)
    for name in FAMILIES:
        for place, star in enumerate(sampled(name, 8)):
            classes = family(name) if place % 2 else weighted(family(name))
            risk = method.risks(classes, star)
            rate, answers = method.information(risk, EPS), method.answer_information(risk, EPS)
            least = -np.log1p(-np.asarray(EPS))
            part = np.append(generator.permutation(classes.size)[: classes.size // 3], star)
            worst.note(
                chain=max(short(rate, answers), short(answers, least), short(least, EPS)),
                falls=max(
                    short(rate[1:], rate[:-1]),
                    short(answers[1:], answers[:-1]),
                    short(method.information(method.risks(classes.chosen(part), len(part) - 1), EPS), rate),
                ),
            )
            if name == "thresholds" or place == 1:
                worst.note(counted_gap=gap(np.column_stack([rate, answers]), counted(classes, star)))
    return worst


def run_of_pairs(tables: tuple[list[list[int]], list[list[int]]], length: int) -> tuple[dict[int, int], dict[int, int]]:
    """Two automata on all strings at once: how many end in each pair of states, and how many whose runs are equal.

    No string is looked at: counts of strings move from pair to pair. Pairs are 10 first + second.
    """
    ends, equal = {0: 1}, {0: 1}
    for _ in range(length):
        moved: list[dict[int, int]] = [{}, {}]
        for before, after in zip((ends, equal), moved, strict=True):
            for pair, count in before.items():
                for one, other in zip(tables[0][pair // 10], tables[1][pair % 10], strict=True):
                    after[10 * one + other] = after.get(10 * one + other, 0) + count
        ends, equal = moved[0], {pair: count for pair, count in moved[1].items() if pair // 10 == pair % 10}
    return ends, equal


def pairs_of_states() -> dict[str, float]:
    """Automata by counts of pairs of states, without strings; and what accepting states and names of states do."""
    tables = [[list(one[2 * s : 2 * s + 2]) for s in range(3)] for one in itertools.product(range(3), repeat=6)]
    worst, length = Worst(), 6
    free, fixed = method.automata(3, 2, length, distinct=False), method.automata(3, 2, length, [0], distinct=False)
    for star in (100, 611):
        runs = [run_of_pairs((one, tables[star]), length) for one in tables]
        for accepts, classes, number in (([{0}], fixed, star), (_subsets(3), free, 5 * 729 + star)):
            mine = accepts[number // 729]
            counts = np.array([
                (sum(c for pair, c in ends.items() if (pair // 10 in other) != (pair % 10 in mine)),
                 2**length - sum(c for pair, c in equal.items() if (pair % 10 in other) == (pair % 10 in mine)))
                for other in accepts for ends, equal in runs
            ])  # fmt: skip
            risk = method.risks(classes, number)
            rates = [
                -math.log(1 - agree / 64) if agree < 64 else math.inf
                for agree in (min((w for a, w in counts.tolist() if a / 64 > eps), default=64) for eps in EPS)
            ]
            counts_gap = max(gap(risk.answer, counts[:, 0]), gap(risk.whole, counts[:, 1]))
            worst.note(pairs_gap=max(counts_gap, gap(method.information(risk, EPS), rates)))
    for name, whole in (("automata", fixed), ("automata_free", free)):
        rows = {(a.tobytes(), t.tobytes()) for a, t in zip(whole.answers, whole.traces, strict=True)}
        worst.note(distinct_gap=abs(len(rows) - family(name).size), **{f"size_{name}": family(name).size})
    # Names of states: 0 stays the start, 1 and 2 change places. Answers are alike, traces are not.
    swap = [0, 2, 1]
    numbers = [int("".join(str(swap[one[swap[s]][a]]) for s in range(3) for a in range(2)), 3) for one in tables]
    renamed = fixed.chosen(numbers)
    worst.note(
        distinct_gap=float(
            ((renamed.answers != fixed.answers) | (np.array(swap)[fixed.traces] != renamed.traces).any(2)).sum()
        ),
        tables_of_answers=len(np.unique(family("automata").answers, axis=0)),
    )
    for star in sampled("automata_free", 12):
        classes = family("automata_free")
        risk = method.risks(classes, star)
        mass = np.bincount(classes.traces[star, :, -1], minlength=3) / 64
        for eps in (0.05, 0.1, 0.3):
            pinned = min((-math.log1p(-one) if one < 1 else math.inf for one in mass if one > eps), default=math.inf)
            worst.note(above_pinned=short(pinned, method.information(risk, eps)))
    return worst


def _subsets(states: int) -> list[set[int]]:
    """As `automata` numbers them: the first state counts most."""
    return [{s for s, bit in enumerate(bits) if bit} for bits in itertools.product((0, 1), repeat=states)]


def steps() -> dict[str, float]:
    """Steps of the rate, infinite rates, and the largest ratio of the rate to eps, by hand."""
    answers = np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    traces = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 7, 0, 0], [0, 0, 0, 0, 0]])
    risk = method.risks(method.tabulated(traces, answers), 0)
    found = method.information(risk, [0.0, 0.19, 0.2, 0.39, 0.4, 0.59, 0.6, 0.9])
    expected = [-math.log(share) for share in (0.8, 0.8, 0.4, 0.4, 0.4, 0.4)] + [math.inf] * 2
    tenths = np.tril(np.ones((10, 10), dtype=int))
    tenths = np.vstack([np.zeros((1, 10), dtype=int), tenths])  # hypothesis k errs on k of 10 inputs
    on_steps = method.information(method.risks(method.tabulated(0 * tenths, tenths), 0), [k / 10 for k in range(9)])
    worst = Worst(strict_gap=max(gap(found, expected), gap(on_steps, [-math.log(1 - (k + 1) / 10) for k in range(9)])))
    for n in (64, 128):  # two hypotheses that agree on one input of n, and answer differently on two
        two = method.tabulated(np.array([[0] * n, [0] + [1] * (n - 1)]), np.array([[0] * n, [0] * (n - 2) + [1] * 2]))
        ratio = float(method.information(method.risks(two, 0), 1 / n)) * n
        worst.note(ratio_gap=gap(ratio, n * math.log(n)), **{f"ratio_{n}": ratio})
    star = sampled("automata", 5)[4]
    rates = method.information(method.risks(family("automata"), star), [1e-2, 1e-3, 1e-4])
    worst.note(ratio_gap=gap(rates[1:], rates[:-1]))
    whole = method.linear_thresholds(4, 8, distinct=False)
    for h, weights in enumerate(itertools.product((-1, 0, 1), repeat=4)):
        for x, start in enumerate(itertools.product((-1, 1), repeat=4)):
            bits = list(start)
            for _ in range(8):
                bits.append(1 if sum(w * b for w, b in zip(weights, bits[-4:], strict=True)) >= 0 else -1)
            worst.note(bits_gap=max(gap(whole.traces[h, x], bits[4:]), gap(whole.answers[h, x], bits[-1])))
    return worst


def traces() -> dict[str, float]:
    """What becomes of the rate with traces that say nothing, more, or all."""
    worst, generator = Worst(), np.random.default_rng(1000)
    for name in FAMILIES:
        classes, chosen = family(name), sampled(name, 4)
        length, inputs = classes.traces.shape[2], len(classes.masses)
        trivial = [classes.with_traces(factor * classes.answers[..., None] + 5) for factor in (0, 3)]
        own = classes.with_traces(np.tile(np.arange(classes.size)[:, None, None], (1, inputs, 1)))
        refined = [classes.with_traces(classes.traces[..., :k]) for k in range(1, length + 1)]
        for star in chosen:
            answers = method.answer_information(method.risks(classes, star), EPS)
            rates = [method.information(method.risks(one, star), EPS) for one in refined]
            named = method.information(method.risks(own, star), EPS)
            once = method.elimination_times(method.disagreements(own, star)[1], generator.integers(0, inputs, (50, 1)))
            worst.note(
                trivial_gap=max(gap(method.information(method.risks(c, star), EPS), answers) for c in trivial),
                coarser=max(short(after, before) for before, after in itertools.pairwise([answers, *rates])),
                named=float(np.isfinite(named).sum() + (np.delete(once, star, axis=0) > 1).sum()),
            )  # fmt: skip
            answer, whole = method.disagreements(classes, star)
            draws = generator.integers(0, inputs, (30, 25))
            early, late = (method.elimination_times(one, draws) for one in (whole, answer))
            worst.note(not_nested=float((early > late).sum() + (answer & ~whole).sum()))
    # A product class: any of four traces with any of eight answers, independently.
    product = method.tabulated(
        np.repeat(generator.integers(0, 3, (4, 12)), 8, 0), np.tile(generator.integers(0, 2, (8, 12)), (4, 1))
    )
    for star in range(product.size):
        risk = method.risks(product, star)
        worst.note(trivial_gap=gap(method.information(risk, EPS), method.answer_information(risk, EPS)))
    # The average of what is left after two draws, over all pairs of strings, for a target that accepts everything.
    every, star = method.automata(3, 2, 6, distinct=False), 7 * 729 + 315
    error, averages = method.risks(every, star).answer / 64, []
    for apart in method.disagreements(every, star):
        alive = 1.0 - apart
        averages.append(float((alive.T @ (alive * error[:, None]) / (alive.T @ alive)).mean()))
    return worst | {
        "average_answers": averages[0],
        "average_traces": averages[1],
        "average_lost": averages[1] - averages[0],
    }


def survival() -> dict[str, float]:
    """The hypothesis that survives longest: its chance after m draws, over all sets of seen inputs and by draws."""
    classes, worst = weighted(family("thresholds")), Worst()
    generator, sets = np.random.default_rng(1000), np.arange(2**16)
    seen = method.seen_sets(classes.masses, 40)
    for star in sampled("thresholds", 6):
        risk = method.risks(classes, star)
        rate = float(method.information(risk, 0.1))
        wrong = np.nonzero(risk.answer / risk.total > 0.1)[0]
        apart = method.disagreements(classes, star)[1][wrong[np.argmin(risk.whole[wrong])]]
        unseen = (sets & int(apart @ (1 << np.arange(16)))) == 0
        worst.note(exact_gap=gap(seen[:, unseen].sum(1), np.exp(-rate * np.arange(41))))
        draws = generator.choice(16, (100_000, 8), p=classes.masses / classes.masses.sum())
        times = method.elimination_times(apart[None], draws)[0]
        for m in (1, 2, 4, 8):
            chance = math.exp(-m * rate)
            worst.note(z=abs((times > m).mean() - chance) / math.sqrt(chance * (1 - chance) / len(draws)))
    return worst | {"mass": gap(seen.sum(1), 1.0)}


def finite_class_bounds() -> dict[str, float]:
    """The chance that some wrong hypothesis survives m draws, exactly, for all thresholds: union bound and theorems.

    And the minimax error of a learner: the first consistent hypothesis.
    """
    classes, worst, most = family("thresholds"), Worst(), 60
    seen, m = method.seen_sets(classes.masses, most), np.arange(most + 1)
    error_of_first, floor = np.zeros(most + 1), np.zeros(most + 1)
    for star in range(classes.size):
        risk = method.risks(classes, star)
        apart, error = method.disagreements(classes, star)[1], risk.answer / risk.total
        largest = method.largest_unseen(apart, error)
        first = (-method.largest_unseen(apart, -np.arange(classes.size, dtype=float))).astype(int)
        # One pass over the sets of seen inputs for what the first consistent one errs, and for three eps.
        expected = seen @ np.column_stack([error[first], *(largest > eps for eps in (0.05, 0.1, 0.3))])
        error_of_first = np.maximum(error_of_first, expected[:, 0])
        floor = np.maximum(floor, (error[:, None] * (1 - risk.whole / risk.total)[:, None] ** m).max(0) / 2)
        for eps, chance in zip((0.05, 0.1, 0.3), expected[:, 1:].T, strict=True):
            rate, wrong = float(method.information(risk, eps)), int((error > eps).sum())
            bound = math.exp(-rate) ** m[1:]
            worst.note(out_of_bounds=max(short(wrong * bound, chance[1:]), short(chance[1:], bound)))
            for delta in (0.05, 0.1):
                size = method.sample_size(classes.size, delta, rate)
                few = max(0, math.ceil(-math.log(delta) / rate) - 1)
                worst.note(
                    failure_over_delta=chance[int(size)] / delta if size <= most else 0.0,
                    survival_under_delta=delta / chance[few] if wrong else 0.0,
                    sizes_too_large=float(size > most),
                    spare=size / (np.nonzero(chance <= delta)[0][0] or 1),
                )
    return worst | {"minimax_under_floor": short(error_of_first, floor)}


def sample_sizes() -> dict[str, float]:
    """Automata: the worst consistent hypothesis after as many draws as the theorem asks for, 20 targets each."""
    worst, generator, delta, repetitions = Worst(), np.random.default_rng(1000), 0.1, 300
    for name in ("automata", "automata_free"):
        classes = family(name)
        for star in sampled(name, 20):
            risk = method.risks(classes, star)
            error, rate = risk.answer / risk.total, float(method.information(risk, 0.1))
            size = int(method.sample_size(classes.size, delta, rate))
            apart = np.unique(method.disagreements(classes, star)[1][error > 0.1], axis=0)
            times = method.elimination_times(apart, generator.integers(0, 64, (repetitions, size)))
            failed = float((times > size).any(0).mean())
            worst.note(
                failure=failed - 3 * math.sqrt(delta * (1 - delta) / repetitions),
                spare=size / enough_for_worst(times, np.ones(len(apart)), 0.1, delta),
            )
    by_hand = [
        *(method.sample_size(*one) for one in ((8, 0.5, math.log(2)), (10, 0.1, 1.0), (3, 0.1, math.inf))),
        *(method.least_sample_size(*one) for one in ((0.125, math.log(2)), (0.1, math.inf), (0.7, 1.0))),
    ]
    return worst | {"hand_gap": gap(by_hand, [4, 5, 1, 2, 0, 0])}


def telling_two_apart() -> dict[str, float]:
    """A target and the hypothesis next to it: the best test between them, all samples enumerated."""
    worst, classes = Worst(), weighted(family("thresholds"))
    shares = classes.masses / classes.masses.sum()
    for star in sampled("thresholds", 5):
        risk = method.risks(classes, star)
        rate = float(method.information(risk, 0.1))
        wrong = np.nonzero(risk.answer / risk.total > 0.1)[0]
        rival = wrong[np.argmin(risk.whole[wrong])]
        codes = classes.examples[[star, rival]]
        for m in (1, 2, 3):
            overlap = 0.0
            for sample in itertools.product(range(16), repeat=m):
                chance = math.prod(shares[x] for x in sample)
                overlap += chance * all(codes[0, x] == codes[1, x] for x in sample)
            # The best test errs with half of the mass that both give alike; variation is the rest.
            bayes = 0.5 * overlap
            worst.note(bayes_gap=max(gap(bayes, math.exp(-m * rate) / 2), gap(1 - 2 * bayes, -math.expm1(-m * rate))))
    return worst


def agnostic() -> dict[str, float]:
    """Traces that no hypothesis gives, or another one's: fitting them as well as the answers can only hurt."""
    worst, classes = Worst(), family("thresholds")
    inputs = np.arange(16)
    misled, excess = 0.0, math.inf
    for star in range(classes.size):
        answers, own = classes.answers[star], classes.traces[star]
        impossible = method.risks_on(classes, inputs, own + 5, answers)
        realised, found = method.risks_on(classes, inputs, own, answers), method.risks(classes, star)
        worst.note(
            # Errors are sixteenths: between them `at least` and `more` ask for the same hypotheses.
            realised_gap=max(
                gap(realised.answer, found.answer), gap(realised.whole, found.whole),
                gap(np.minimum(method.agnostic_information(realised, [0.1, 0.3]), 1),
                    -np.expm1(-method.information(found, [0.1, 0.3]))),
                gap(method.agnostic_information(realised, 0.25), min(
                    found.whole[found.answer >= 4] / 16, default=math.inf)),
            ),
        )  # fmt: skip
        fitting = impossible.whole == impossible.whole.min()
        no_rate = not method.agnostic_information(impossible, [0.1, 0.3]).any()
        excess = min(excess, no_rate * float(impossible.answer[fitting].max() - impossible.answer.min()) / 16)
        for other in range(0, classes.size, 4):
            risk = method.risks_on(classes, inputs, classes.traces[other], answers)
            misled = max(misled, float(risk.answer[risk.whole == risk.whole.min()].min()) / 16)
    # One answer of ten is wrong: the best hypothesis errs there, and excess is over its risk.
    noisy = method.risks_on(
        method.tabulated([[0] * 10] * 3, [[0] * 10, [1] + [0] * 9, [1] * 3 + [0] * 7]),
        range(10),
        [[0]] * 10,
        [0] * 9 + [1],
    )
    worst.note(realised_gap=gap(method.agnostic_information(noisy, [0.1, 0.11, 0.3, 0.31]), [0.1, 0.3, 0.3, math.inf]))
    return worst | {"impossible_error": excess, "misled_error": misled}


def forms() -> dict[str, float]:
    """Masses as repeated inputs, kinds of integers, learners and dimensions by hand."""
    generator, worst = np.random.default_rng(1000), Worst()
    first, second = generator.integers(0, 3, (9, 5, 2)), generator.integers(0, 2, (9, 5))
    masses = np.array([1, 2, 3, 1, 2])
    repeated = method.tabulated(np.repeat(first, masses, 1), np.repeat(second, masses, 1))
    one = method.risks(method.tabulated(first, second, masses), 2)
    for other in (
        method.risks(repeated, 2),
        method.risks(method.tabulated(first.astype(np.uint8), second.astype(bool), masses.astype(np.int16)), 2),
        method.risks(method.tabulated(np.asfortranarray(first) + 200, -second, masses), 2),
        method.risks(method.tabulated(first, 1 - second, masses).with_traces(first[..., ::-1]), 2),
        method.risks(method.tabulated(np.concatenate([first] * 40, axis=2) * 1000, second, masses), 2),
    ):
        worst.note(
            forms_gap=max(gap(one.answer, other.answer), gap(one.whole, other.whole), abs(one.total - other.total))
        )
    twice = method.tabulated(np.tile(first, (2, 1, 1)), np.tile(second, (2, 1)), masses)
    worst.note(forms_gap=float(twice.size != 9 or (twice.traces != first).any()))
    apart = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
    error, draws = np.array([0.0, 0.25, 0.5, 0.125]), np.array([[3, 1, 1, 0], [2, 2, 2, 2]])
    times = method.elimination_times(apart, draws)
    learners = method.consistent_learners(times, error, 0.2, 4)
    worst.note(learners_gap=max(
        gap(times, [[5, 5], [4, 5], [2, 1], [1, 5]]),
        gap(learners.worst, [[0.5, 0.5], [0.5, 0.25], [0.25, 0.25], [0.25, 0.25], [0, 0.25]]),
        gap(learners.average, [[0.21875] * 2, [0.25, 0.125], [0.125, 0.125], [0.125, 0.125], [0, 0.125]]),
        gap(learners.failing, [[0.5, 0.5], [2 / 3, 1 / 3], [0.5, 1 / 3], [0.5, 1 / 3], [0, 1 / 3]]),
    ))  # fmt: skip
    early, shares = method.consistent_learners(times, error, 0.2, 2), learners.failing
    worst.note(learners_gap=max(gap(one, other[:3]) for one, other in zip(early, learners, strict=True)))
    enough = [
        *(enough_for_worst(times, error, *one) for one in ((0.2, 0.5), (0.2, 0.1), (0.3, 0.5), (0.3, 0.1), (0.5, 0.1))),
        *(enough_for_random(shares, delta) for delta in (0.6, 0.5, 0.45, 0.3, 0.1)),
    ]
    worst.note(learners_gap=gap(enough, [4, 5, 1, 2, 0, 0, 0, 2, 4, 5]))
    accepts = [sum(family("automata").answers[star].tolist()) for star in sampled("automata", 8)]
    rarer = sorted(min(one, 64 - one) for one in accepts)  # two of each kind of base rate
    worst.note(learners_gap=max(gap(rarer[:2]), sum(not low < one < high for one, low, high in zip(
        rarer[2:], (0, 0, 12, 12, 25, 25), (13, 13, 26, 26, 33, 33), strict=True))))  # fmt: skip
    points, starts = np.arange(6), np.arange(7)[:, None]
    spans = ((points >= starts[:, None]) & (points < starts)).reshape(-1, 6)
    bits = np.array(list(itertools.product((False, True), repeat=4)))
    found = [vc_dimension(one) for one in (points >= starts, spans, bits, bits[:1], bits[:0])]
    worst.note(learners_gap=gap(found, [1, 2, 4, 0, -1]))
    return worst


def refusals() -> dict[str, float]:
    """Bad calls that pass, and defaults that moved."""
    classes, tables = family("thresholds"), np.zeros((2, 3), dtype=int)
    risk = method.risks(classes, 0)
    bad = accepted(
        lambda: method.tabulated(tables, tables[:, :2]), lambda: method.tabulated(tables + 0.5, tables),
        lambda: method.tabulated(tables[:0], tables[:0]), lambda: method.tabulated(tables, tables, [1, 0, 1]),
        lambda: method.tabulated(tables, tables, [1, 1]), lambda: method.tabulated(tables, tables, [0.5, 1, 1]),
        lambda: method.tabulated(tables[0], tables[0]), lambda: method.automata(0, 2, 3),
        lambda: method.automata(3, 2, 0), lambda: method.automata(3, 2, 3, [3]), lambda: method.automata(4, 2, 6),
        lambda: method.automata(3, 2, 3, [-1]), lambda: method.linear_thresholds(0, 4),
        lambda: method.linear_thresholds(4, 0), lambda: method.linear_thresholds(12, 4),
        lambda: method.risks(classes, -1), lambda: method.risks(classes, classes.size),
        lambda: method.information(risk, 1.0), lambda: method.information(risk, [0.1, -0.1]),
        lambda: method.information(risk, math.nan), lambda: method.agnostic_information(risk, 1.5),
        lambda: method.sample_size(0, 0.1, 1.0), lambda: method.sample_size(3, 0.0, 1.0),
        lambda: method.sample_size(3, 0.1, 0.0), lambda: method.sample_size(3, 0.1, math.nan),
        lambda: method.least_sample_size(1.0, 1.0), lambda: method.seen_sets(np.ones(17, dtype=int), 3),
        lambda: method.risks_on(classes, [16], classes.traces[0, :1], [1]),
        lambda: method.risks_on(classes, [-1], classes.traces[0, :1], [1]),
        lambda: method.risks_on(classes, [0], classes.traces[0, :1, 1:], [1]),
        lambda: method.risks_on(classes, [0, 1], classes.traces[0, :2], [1]),
        lambda: method.risks_on(classes, [0], classes.traces[0, :1], [1], [0]),
        lambda: method.risks_on(classes, np.zeros(0, int), classes.traces[0, :0], np.zeros(0, int)),
    )  # fmt: skip
    moved = (
        other_defaults(method.tabulated, masses=None, distinct=True)
        + other_defaults(method.automata, accepting=None, distinct=True)
        + other_defaults(method.linear_thresholds, distinct=True)
        + other_defaults(method.risks_on, masses=None)
    )
    return {"accepted": bad, "moved": moved}
