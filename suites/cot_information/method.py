"""The chain-of-thought information of a finite class (Altabaa, Montasser, Lafferty, NeurIPS 2025, arXiv:2505.15927).

A hypothesis h maps an input x to a trace and an answer. For a target h* of the class and inputs x drawn from D,

    I(eps) = min { -log P[h agrees with h* in trace and answer] : h in the class, P[h's answer is wrong] > eps }

in nats, infinite where no such h ever agrees, or where there is none. (log|H| + log(1/delta)) / I(eps) examples with
traces let every hypothesis that is consistent with them err in at most a share eps of the answers, with probability
1 - delta; from answers alone it is the same with I of answers, which is at least -log(1 - eps) >= eps.

    family = automata(states=3, symbols=2, length=6)               # all of them, as tables on all 64 strings
    risk = risks(family, star=0)
    information(risk, 0.1), answer_information(risk, 0.1)
    sample_size(family.size, delta=0.1, rate=information(risk, 0.1))

Masses of inputs are whole numbers, so that shares are correctly rounded quotients and `> eps` means what it says.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_ENTRIES = 2**26
"""Of traces of hypotheses on inputs: beyond that a class is too large to be enumerated."""


@dataclass(frozen=True)
class HypothesisClass:
    """H hypotheses as tables on n inputs: traces (H, n, L), answers (H, n), and the inputs' masses (n,), whole numbers.

    `examples` (H, n) numbers the pairs of trace and answer: equal numbers are equal pairs.
    """

    traces: Ints
    answers: Ints
    masses: Ints
    examples: Ints

    @property
    def size(self) -> int:
        return len(self.answers)

    def chosen(self, hypotheses: ArrayLike) -> HypothesisClass:
        """The class of some hypotheses, by their numbers or by a mask (H,)."""
        kept = np.asarray(hypotheses)
        return HypothesisClass(self.traces[kept], self.answers[kept], self.masses, self.examples[kept])

    def with_traces(self, traces: ArrayLike) -> HypothesisClass:
        """The same hypotheses in the same order with other traces (H, n, L); those that are now alike are kept."""
        return tabulated(traces, self.answers, self.masses, distinct=False)


def tabulated(
    traces: ArrayLike, answers: ArrayLike, masses: ArrayLike | None = None, *, distinct: bool = True
) -> HypothesisClass:
    """A class from traces (H, n) or (H, n, L) and answers (H, n), whole numbers; by default all inputs weigh the same.

    `distinct` keeps the first of hypotheses whose tables of traces and answers are equal. Raises ValueError for what
    does not fit together, and for masses that are not whole numbers of at least 1.
    """
    first, second = _whole(traces, "traces"), _whole(answers, "answers")
    first = first[..., None] if first.ndim == 2 else first
    if second.ndim != 2 or second.size == 0 or first.shape[:2] != second.shape or first.ndim != 3:
        raise ValueError(f"traces (H, n, L) go with answers (H, n), got {first.shape} and {second.shape}")
    weights = np.ones(second.shape[1], dtype=np.int64) if masses is None else _whole(masses, "masses")
    if weights.shape != second.shape[1:] or (weights < 1).any():
        raise ValueError("masses (n,) are whole numbers of at least 1, one an input")
    numbers = np.zeros(second.shape, dtype=np.int64)
    for symbol in (second, *np.moveaxis(first, 2, 0)):
        ranks = np.unique(symbol, return_inverse=True)[1].reshape(symbol.shape)
        numbers = numbers * (int(ranks.max()) + 1) + ranks
        if numbers.max() > 2**31:  # the next product must fit in 63 bits
            numbers = np.unique(numbers, return_inverse=True)[1].reshape(symbol.shape)
    family = HypothesisClass(first, second, weights, numbers)
    return family.chosen(np.sort(np.unique(numbers, axis=0, return_index=True)[1])) if distinct else family


def _whole(values: ArrayLike, name: str) -> Ints:
    array = np.asarray(values)
    if array.dtype.kind not in "biu":
        raise ValueError(f"{name} are whole numbers, got {array.dtype}")
    return array.astype(np.int64)


def automata(
    states: int, symbols: int, length: int, accepting: ArrayLike | None = None, *, distinct: bool = True
) -> HypothesisClass:
    """All deterministic automata that start in state 0, on all strings of one length, each as likely as any other.

    The trace is the sequence of states after each symbol, the answer whether the last one accepts. `accepting` are the
    accepting states, which all share; by default every set of them is tried with every table of transitions.
    """
    if min(states, symbols, length) < 1:
        raise ValueError("an automaton has at least one state and one symbol, a string at least one symbol")
    inputs = symbols**length
    sets = 1 if accepting is not None else 2**states
    if states ** (states * symbols) * sets * inputs * length > MOST_ENTRIES:
        raise ValueError("there are too many automata or strings to enumerate: take fewer states or shorter strings")
    tables = _digits(states, states * symbols)  # (H, states * symbols): where state s goes with symbol a is s, a
    strings = _digits(symbols, length)
    if accepting is None:
        accepts = _digits(2, states).astype(bool)
    else:
        chosen = _whole(accepting, "accepting states") if np.size(accepting) else np.zeros(0, dtype=np.int64)
        if ((chosen < 0) | (chosen >= states)).any():
            raise ValueError(f"accepting states are among 0 to {states - 1}, got {chosen.tolist()}")
        accepts = np.isin(np.arange(states), chosen)[None]
    state = np.zeros((len(tables), inputs), dtype=np.int64)
    trace = np.empty((len(tables), inputs, length), dtype=np.int64)
    for step in range(length):
        state = np.take_along_axis(tables, state * symbols + strings[:, step], 1)
        trace[:, :, step] = state
    answers = accepts[:, state].reshape(-1, inputs).astype(np.int64)
    return tabulated(np.tile(trace, (len(accepts), 1, 1)), answers, distinct=distinct)


def linear_thresholds(window: int, steps: int, *, distinct: bool = True) -> HypothesisClass:
    """Thresholds with weights -1, 0 or 1, iterated: each new bit is the sign of weights times the last `window` bits.

    The inputs are all starts of `window` bits -1 and 1, the trace is the `steps` bits that are appended, the answer
    the last of them. The sign of 0 is 1.
    """
    if min(window, steps) < 1:
        raise ValueError("the window and the number of steps are at least 1")
    if 3**window * 2**window * (window + steps) > MOST_ENTRIES:
        raise ValueError("there are too many thresholds to enumerate: take a shorter window")
    weights, starts = _digits(3, window) - 1, 2 * _digits(2, window) - 1
    bits = np.empty((len(weights), len(starts), window + steps), dtype=np.int64)
    bits[:, :, :window] = starts
    for step in range(steps):
        sums = np.einsum("hk,hnk->hn", weights, bits[:, :, step : step + window])
        bits[:, :, window + step] = np.where(sums >= 0, 1, -1)
    return tabulated(bits[:, :, window:], bits[:, :, -1], distinct=distinct)


def _digits(base: int, places: int) -> Ints:
    """All numbers of so many places, (base ** places, places), the first place counting most."""
    return np.indices((base,) * places).reshape(places, -1).T


class Risks(NamedTuple):
    """Of every hypothesis: the mass on which its answer, and on which its trace or answer, is wrong; both (H,)."""

    answer: Ints
    whole: Ints
    total: int


def disagreements(family: HypothesisClass, star: int) -> tuple[Bools, Bools]:
    """Where hypotheses differ from number `star` in the answer, and where in trace or answer; both (H, n)."""
    if not 0 <= star < family.size:
        raise ValueError(f"the target is a hypothesis from 0 to {family.size - 1}, got {star}")
    return family.answers != family.answers[star], family.examples != family.examples[star]


def risks(family: HypothesisClass, star: int) -> Risks:
    """The risks where hypothesis `star` gives traces and answers (the realisable case)."""
    answer, whole = disagreements(family, star)
    return Risks(answer @ family.masses, whole @ family.masses, int(family.masses.sum()))


def risks_on(
    family: HypothesisClass, inputs: ArrayLike, traces: ArrayLike, answers: ArrayLike, masses: ArrayLike | None = None
) -> Risks:
    """The risks on N given examples: inputs (N,) by number, traces (N, L), answers (N,), masses (N,) or ones.

    No hypothesis need fit them (the agnostic case). They may be a whole distribution or a sample.
    """
    places, first, second = _whole(inputs, "inputs"), _whole(traces, "traces"), _whole(answers, "answers")
    weights = np.ones(len(places), dtype=np.int64) if masses is None else _whole(masses, "masses")
    if first.shape != (len(places), family.traces.shape[2]) or not places.shape == second.shape == weights.shape:
        raise ValueError(f"inputs, answers and masses (N,) go with traces (N, {family.traces.shape[2]})")
    if len(places) == 0 or (places < 0).any() or (places >= len(family.masses)).any() or (weights < 1).any():
        raise ValueError("examples are on inputs of the class, at least one, with masses of at least 1")
    wrong = family.answers[:, places] != second
    apart = wrong | (family.traces[:, places] != first).any(2)
    return Risks(wrong @ weights, apart @ weights, int(weights.sum()))


def information(risk: Risks, eps: ArrayLike) -> Floats:
    """I(eps) in nats, of the shape of eps, which is in [0, 1): the least rate of those whose answers err by more."""
    return _rate(risk.whole / risk.total, risk.answer / risk.total, eps)


def answer_information(risk: Risks, eps: ArrayLike) -> Floats:
    """I(eps) of answers alone: at least -log(1 - eps)."""
    return _rate(risk.answer / risk.total, risk.answer / risk.total, eps)


def _rate(apart: Floats, error: Floats, eps: ArrayLike) -> Floats:
    bounds = _shares(eps)
    order = np.argsort(error)
    # The least share of disagreement among this hypothesis and all that err more, and infinity beyond the last:
    least = np.append(np.minimum.accumulate(apart[order][::-1])[::-1], 1.0)
    with np.errstate(divide="ignore"):
        return -np.log1p(-least[np.searchsorted(error[order], bounds, side="right")])


def agnostic_information(risk: Risks, eps: ArrayLike) -> Floats:
    """The least excess whole risk among hypotheses whose excess answer risk is at least eps, in [0, 1); or infinity.

    Excess is over the least of the class. 0 means that fitting traces says nothing about answers.
    """
    bounds = _shares(eps)
    answer, whole = ((one - one.min()) / risk.total for one in (risk.answer, risk.whole))
    order = np.argsort(answer)
    least = np.append(np.minimum.accumulate(whole[order][::-1])[::-1], math.inf)
    return least[np.searchsorted(answer[order], bounds, side="left")]


def _shares(eps: ArrayLike) -> Floats:
    bounds = np.asarray(eps, dtype=np.float64)
    if not ((bounds >= 0) & (bounds < 1)).all():
        raise ValueError("eps is in [0, 1)")
    return bounds


def sample_size(size: int, delta: float, rate: float) -> float:
    """Examples that suffice for `size` hypotheses at a rate I(eps): ceil((log size + log(1/delta)) / I), at least 1."""
    if size < 1:
        raise ValueError(f"a class has at least one hypothesis, got {size}")
    return max(1.0, float(np.ceil((math.log(size) - math.log(delta)) / _checked(delta, rate))))


def least_sample_size(delta: float, rate: float) -> float:
    """Examples below which some learner's target is not told apart with probability 1 - delta: log(1/(2 delta)) / I."""
    return max(0.0, -math.log(2 * delta)) / _checked(delta, rate)


def _checked(delta: float, rate: float) -> float:
    if not 0 < delta < 1 or not rate > 0:
        raise ValueError(f"delta is in (0, 1) and a rate above 0, got {delta} and {rate}")
    return rate


def elimination_times(apart: Bools, draws: Ints) -> Ints:
    """After how many draws each hypothesis is found out: apart (H, n), draws (R, M) of inputs -> (H, R).

    M + 1 where M draws do not show it.
    """
    repetitions, last = draws.shape
    first = np.full((repetitions, apart.shape[1]), last + 1)
    for m in range(last, 0, -1):  # earlier draws overwrite later ones
        first[np.arange(repetitions), draws[:, m - 1]] = m
    rows, place = np.unique(apart, axis=0, return_inverse=True)  # many hypotheses differ in the same places
    times = np.full((len(rows), repetitions), last + 1)
    for row, time in zip(rows, times, strict=True):
        first[:, row].min(1, initial=last + 1, out=time)
    return times[place.reshape(-1)]


class Learners(NamedTuple):
    """After m = 0 to M draws, (M + 1, R): errors of consistent hypotheses, and the share of them that errs too much."""

    worst: Floats
    average: Floats
    failing: Floats


def consistent_learners(times: Ints, error: Floats, eps: float, most: int) -> Learners:
    """The worst, the average and a random consistent hypothesis after up to `most` draws.

    From elimination times (H, R) and errors (H,). `failing` is the chance that a random one errs by more than eps. One
    hypothesis, the target, is never eliminated.
    """
    shape, late = (most + 2, times.shape[1]), times.clip(max=most + 1)
    places = (late * shape[1] + np.arange(shape[1])).ravel()
    worst = np.zeros(shape)
    np.maximum.at(worst.reshape(-1), places, np.repeat(error, shape[1]))
    sums = [
        np.bincount(places, np.repeat(value, shape[1]), worst.size).reshape(shape)
        for value in (np.ones_like(error), error, (error > eps).astype(float))
    ]
    # Alive after m draws is whoever is found out later: sums and maxima over later times.
    alive, errors, failing = (np.cumsum(one[::-1], axis=0)[-2::-1] for one in sums)
    return Learners(np.maximum.accumulate(worst[::-1])[-2::-1], errors / alive, failing / alive)


def seen_sets(masses: Ints, most: int) -> Floats:
    """P[the set of inputs seen in m draws is S] for m = 0 to `most`: (most + 1, 2 ** n); bit x of S is input x."""
    if len(masses) > 16:
        raise ValueError(f"sets of at most 16 inputs are enumerated, got {len(masses)}")
    sets = np.arange(2 ** len(masses))
    found = np.zeros((most + 1, len(sets)))
    found[0, 0] = 1.0
    for m, (x, mass) in itertools.product(range(most), enumerate(masses / masses.sum())):
        has = sets[(sets >> x) & 1 == 1]
        found[m + 1, has] += mass * (found[m, has] + found[m, has ^ (1 << x)])
    return found


def largest_unseen(apart: Bools, values: Floats) -> Floats:
    """For each set S of seen inputs, the largest value of a hypothesis that differs on none of S; -inf if none: (2^n,).

    With errors as values this is the worst consistent hypothesis.
    """
    inputs = apart.shape[1]
    best = np.full(2**inputs, -math.inf)
    np.maximum.at(best, ~(apart @ (1 << np.arange(inputs))) & (2**inputs - 1), values)  # all that it survives
    for x in range(inputs):
        pairs = best.reshape(-1, 2, 2**x)
        np.maximum(pairs[:, 0], pairs[:, 1], out=pairs[:, 0])
    return best
