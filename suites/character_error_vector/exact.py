"""The exact tier: identities, bounds and edges of the vector on random bags, texts and pages, beside slow oracles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.character_error_vector import layout, method
from suites.character_error_vector.contenders import DISTANCES, cer
from suites.character_error_vector.layout import cote
from suites.character_error_vector.method import (
    Page,
    cdd,
    count,
    decompose,
    decompose_micro,
    inside_boxes,
    inside_masks,
    spacer,
    spacer_micro,
    vectors,
)

Metrics = dict[str, float]
Rng = np.random.Generator


def text(rng: Rng, least: int = 1, most: int = 12, letters: int = 5) -> str:
    return "".join("abcdefghij"[letter] for letter in rng.integers(0, letters, rng.integers(least, most + 1)))


def by_hand(reference: Counter[str], found: Counter[str]) -> float:
    """SpACER by its definition, character by character."""
    total, read = reference.total(), found.total()
    apart = sum(abs(reference[one] - found[one]) for one in reference | found)
    return (max(0, total - read) + apart) / (2 * total) if total else 0.0


def page(rng: Rng, *, partition: bool = False) -> tuple[Page, str, npt.NDArray[np.bool_], list[str], list[str]]:
    """A random page of 60 characters in 4 regions, by 3 predicted boxes (or 4 that partition it), badly read."""
    characters, spots = text(rng, 60, 60), rng.integers(0, 40, (60, 2)) + 0.0
    corners = rng.integers([0, 0, 1, 1], [30, 30, 31, 31], (3, 4))
    boxes = np.array([[x, y, 20, 20] for x in (0, 20) for y in (0, 20)]) if partition else corners
    inside = inside_boxes(spots, boxes)
    read_true, read = ([text(rng, 0, 20) for _ in range(size)] for size in (4, len(boxes)))
    found = vectors(characters, inside, owners=rng.integers(0, 4, 60), read_true=read_true, read=read)
    return found, characters, inside, read_true, read


def identity(*, seed: int) -> Metrics:
    """100 random pages: nothing lost, order that does not matter, ideal parsers and engines, and a slow oracle."""
    rng, worst, cer_moved = np.random.default_rng(seed), Worst(), 0.0
    for _ in range(100):
        one, characters, inside, read_true, read = page(rng)
        owners, aside = np.zeros(60, int), list(rng.permutation(60))
        base = decompose(vectors(characters, inside, owners=owners, read_true=["".join(read_true)], read=read))
        mixed = ["".join(rng.permutation(list(part))) for part in read]
        turned, rest = "".join(characters[i] for i in aside), ["".join(read_true)[::-1]]
        moved = decompose(vectors(turned, inside[:, aside], read_true=rest, read=mixed))
        worst.note(order_gap=gap(list(vars(base).values()), list(vars(moved).values())))
        cer_moved += cer(characters, "".join(read)) != cer(characters, "".join(mixed))
        Q = Counter(characters)
        R = Counter(characters[n] for _, n in zip(*np.nonzero(inside), strict=True))
        S, T = Counter("".join(read)), Counter("".join(read_true))
        expected = [by_hand(Q, R), by_hand(Q, T), by_hand(R, S), by_hand(Q, S)]
        for found in (base, decompose(one)):
            worst.note(definition_gap=gap(list(vars(found).values()), expected))
        ideal = page(rng, partition=True)[0]
        for distance in DISTANCES.values():
            whole = decompose(ideal, distance)
            exact = decompose(Page(one.truth, one.parsed, one.truth, one.parsed), distance)
            worst.note(
                ideal_gap=max(
                    gap(distance(one.truth.sum(0), one.truth.sum(0))),
                    gap([whole.parsing, whole.interaction], [0.0, whole.total]),
                    gap([exact.ocr, exact.interaction, exact.total], [0.0, 0.0, exact.parsing]),
                )
            )
    return {**worst, "cer_moved": cer_moved / 100}


def closed_form(*, seed: int) -> Metrics:
    """SpACER from missing and added characters, below CER on 5,000 pairs of texts, and by kind of error."""
    rng, worst = np.random.default_rng(seed), Worst()
    g, p = rng.poisson(rng.gamma(0.5, 4, (2, 10_000, 1)), (2, 10_000, 12))
    g[:, 0] += 1
    missing, added = (np.maximum(0, one).sum(1) for one in (g - p, p - g))
    expected = np.where(missing >= added, missing, (missing + added) / 2) / g.sum(1)
    above, unequal = 0, 0
    for _ in range(5_000):
        a, b = text(rng), text(rng, 0)
        first, second = count([a], [b])
        lost, more = (int(np.maximum(0, one).sum()) for one in (first - second, second - first))
        found, middle, rate = float(spacer(first, second)[0]), max(lost, more) / len(a), cer(a, b)
        above += not (found <= middle + 1e-12 and middle <= rate + 1e-12)
        unequal += (abs(found - middle) < 1e-12) != (lost >= more)
    k, C = 7.0, 40.0
    bag, change = np.array([C / 2, C / 2, 0.0]), np.array([k, 0.0, 0.0])
    kinds = [spacer(bag, bag - change), spacer(bag, bag + change), spacer(bag, bag - change + change[::-1])]
    worst.note(
        closed_gap=gap(spacer(g, p), expected), kinds_gap=gap(kinds, [k / C, k / (2 * C), k / C]),
        range_gap=gap(spacer(g, 0 * p), np.ones(10_000)) + gap(spacer(*count(["ab"], ["cdef"])), 1.5),
    )  # fmt: skip
    swapped = float(np.mean(np.abs(spacer(g, p) - spacer(p + (p.sum(1, keepdims=True) == 0), g)) > 1e-12))
    return {**worst, "above": float(above), "unequal": float(unequal), "swapped": swapped}


def micro(*, seed: int) -> Metrics:
    """Micro against macro on 500 random sets of regions, and the micro vector of 100 pages by its definition."""
    rng, worst = np.random.default_rng(seed), Worst()
    least = math.inf
    for _ in range(500):
        g, p = rng.poisson(3, (2, 4, 6))
        least = min(least, spacer_micro(g, p) - float(spacer(g.sum(0), p.sum(0))))
        worst.note(definition_gap=max(
            gap(spacer_micro(g, g + p), spacer(g.sum(0), (g + p).sum(0))),
            gap(spacer_micro(g + p, g), spacer((g + p).sum(0), g.sum(0))),
        ))  # fmt: skip
    for _ in range(100):
        one, characters, inside, read_true, read = page(rng)
        by_region = [[characters[n] for n in np.flatnonzero(row)] for row in inside]
        lost = sum(max(0, len(a) - len(b)) for a, b in zip(by_region, read, strict=True))
        R, S, Q = (Counter(part) for part in ((c for part in by_region for c in part), "".join(read), characters))
        sizes = one.truth.sum(1)
        lost_true = sum(max(0, int(a) - len(b)) for a, b in zip(sizes, read_true, strict=True))
        T = Counter("".join(read_true))
        apart: Callable[[Counter[str], Counter[str]], int] = lambda a, b: sum(abs(a[c] - b[c]) for c in a | b)  # noqa: E731
        expected = [(lost_true + apart(Q, T)) / 120, (lost + apart(R, S)) / (2 * R.total()) if R else 0.0,
                    (lost + apart(Q, S)) / 120]  # fmt: skip
        errors = decompose_micro(one)
        worst.note(definition_gap=gap([errors.ocr, errors.interaction, errors.total], expected))
        worst.note(definition_gap=float(errors.parsing is not None))
    return {**worst, "least": least}


def triangle(*, seed: int) -> Metrics:
    """The triangle inequality of 5,000 triples of bags, and the two examples in which errors do not add up."""
    rng, worst, plain = np.random.default_rng(seed), Worst(), 0
    Q, R, S = rng.poisson(rng.gamma(0.5, 4, (3, 5_000, 1)), (3, 5_000, 8)) + np.eye(8, dtype=int)[0]
    parsing, interaction, total = cdd(Q, R), cdd(R, S), cdd(Q, S)
    worst.note(cdd_excess=float(np.maximum(total - parsing - interaction, np.abs(parsing - interaction) - total).max()))
    parsing, interaction, total = spacer(Q, R), spacer(R, S), spacer(Q, S)
    worst.note(weighted_excess=float((total - parsing - R.sum(1) / Q.sum(1) * interaction).max()))
    plain = int((total > parsing + interaction + 1e-12).sum())
    q, r, s = count(["a"], ["aaaa"], ["aaaabb"])
    worst.note(examples_gap=gap([spacer(q, s), spacer(q, r), spacer(r, s)], [[2.5], [1.5], [0.25]]))
    # HAT across and TEAM down share their T, which two boxes that overlap in it count twice.
    spots = [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [2.5, 1.5], [2.5, 2.5], [2.5, 3.5]]
    crossword = vectors("HATEAM", inside_boxes(spots, [[0, 0, 3, 1], [2, 0, 1, 4]]), read=["HA", "TEAM"])
    for distance, expected in ((spacer, (1 / 12, 1 / 7)), (cdd, (0.1214067, 0.1214067))):
        found = decompose(crossword, distance)
        worst.note(examples_gap=gap([found.parsing, found.interaction], expected), crossword_total=gap(found.total))
    return {**worst, "plain_broken": float(plain)}


def divergence(*, seed: int) -> Metrics:
    """The distance CDD by entropies, divergences and mutual information, its scale, its empty bags, its rounding."""
    import mpmath  # type: ignore[import-untyped]

    rng, worst = np.random.default_rng(seed), Worst()
    g, p = rng.poisson(rng.gamma(0.5, 4, (2, 2_000, 1)), (2, 2_000, 9)) + np.eye(9, dtype=int)[0]
    a, b = (one / one.sum(1, keepdims=True) for one in (g, p))
    m = (a + b) / 2

    def bits(u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(u > 0, u * np.log2(np.where(u > 0, u, 1) / np.where(v > 0, v, 1)), 0.0).sum(-1)

    ones = np.ones(9)
    joint = np.stack([a, b], axis=1) / 2
    forms = [
        -bits(m, ones) + (bits(a, ones) + bits(b, ones)) / 2, (bits(a, m) + bits(b, m)) / 2,
        bits(joint.reshape(-1, 18), (joint.sum(1, keepdims=True) * joint.sum(2, keepdims=True)).reshape(-1, 18)),
    ]  # fmt: skip
    square = cdd(g, p) ** 2
    worst.note(
        forms_gap=max(gap(square, form) for form in forms) + gap(cdd(g, p), cdd(p, g)),
        copies_gap=max(gap(cdd(g, k * g)) + gap(spacer(g, k * g), np.full(2_000, (k - 1) / 2)) for k in (1, 2, 5)),
        empty_gap=gap([cdd(g, 0 * g), cdd(0 * g, g)], math.sqrt(0.5))
        + gap([cdd(0 * g, 0 * g), spacer(0 * g, 0 * g), spacer(0 * g, g)]),
        disjoint_gap=gap([cdd([5, 0], [0, 5]), spacer([5, 0], [0, 5])], 1.0),
    )  # fmt: skip
    mpmath.mp.dps, official = 50, 0.0
    for size in (10**3, 10**5, 10**7):
        near = np.array([[size, size + 1, size + 3], [size, size + 2, size + 2]])
        u, v = ([mpmath.mpf(int(one)) / int(row.sum()) for one in row] for row in near)
        terms = ((one, 2 * one / (x + y)) for x, y in zip(u, v, strict=True) for one in (x, y))
        true = float(mpmath.sqrt(sum(one * mpmath.log(share, 2) for one, share in terms) / 2))
        c, d = near / near.sum(1, keepdims=True)
        entropies = -bits((c + d) / 2, np.ones(3)) + (bits(c, np.ones(3)) + bits(d, np.ones(3))) / 2
        worst.note(near_gap=abs(float(cdd(*near)) / true - 1))
        official = max(official, abs(math.sqrt(max(0.0, float(entropies))) / true - 1))
    return {**worst, "entropies_gap": official}


def parsing(*, seed: int) -> Metrics:
    """Boxes against masks, edges, words cut into characters, and COTe against a walk over the pixels."""
    rng, worst = np.random.default_rng(seed), Worst()
    for _ in range(40):
        spots, corners = rng.integers(-3, 25, (50, 2)), rng.integers(0, 12, (4, 4))
        masks = np.zeros((4, 22, 20), dtype=bool)
        for mask, (x, y, w, h) in zip(masks, corners, strict=True):
            mask[y : y + h, x : x + w] = True
        on_page = ((spots >= 0) & (spots < [20, 22])).all(1)
        boxes = inside_boxes(spots, corners)
        half = inside_masks(spots + 0.5, masks)
        walk = [[x <= a < x + w and y <= b < y + h for a, b in spots] for x, y, w, h in corners]
        worst.note(inside_wrong=gap(boxes, walk) + gap(half, boxes & on_page) + gap(inside_masks(spots, masks), half))
        regions, found = rng.integers([0, 0, 1, 1], [12, 12, 13, 13], (2, 3, 4))
        slow = slow_cote(regions, found, 24)
        for painted in (cote(regions, found, (24, 24)), cote(4 * regions, 4 * found, (96, 96), canvas=24)):
            worst.note(cote_gap=gap([*vars(painted).values(), painted.score], [*slow, slow[0] - slow[1] - slow[2]]))
    words = ["Ab", "\ufb01n", "\u201cx"]
    characters, middle = method.spread(words, [[0, 0, 10, 4], [20, 2, 9, 6], [0, 10, 3, 1]])
    expected = [[2.5, 2], [7.5, 2], [21.5, 5], [24.5, 5], [27.5, 5], [0.75, 10.5], [2.25, 10.5]]
    for n in (1, 2, 5):
        strips = [[0, 10 * i, 30, 10] for i in range(n)]
        whole = cote(strips, [[0, 0, 30, 10 * n]], (30, 10 * n))
        worst.note(one_box_cote=gap([*vars(whole).values(), whole.score], [1, 0, 1 - 1 / n, 0, 1 / n]))
    worst.note(cote_gap=gap(cote([[-2, -2, 5, 4]], [[-1, -5, 9, 9]], (9, 9)).score, 1.0))
    # Less than half a pixel is none: pages are not enlarged, and the longer side is what shrinks.
    thin = cote([[0, 0, 2, 2]], [[0, 0, 0.4, 2]], (9, 9)), cote([[0, 0, 2, 9]], [[0, 0, 0.9, 9]], (100, 10), canvas=50)
    worst.note(cote_gap=gap([one.score for one in thin]))
    shares = [[0, 0, 10, 30], [0, 30, 10, 10], [0, 40, 10, 20]]
    blank = [cote([], [], (9, 9)), cote([], [[0, 0, 3, 3]], (9, 9)), cote([[0, 0, 3, 3]], [], (9, 9))]
    return {
        **worst,
        "spread_wrong": float(characters != "abfin\"x") + gap(middle, expected),
        "largest_gap": gap(cote(shares, [[0, 0, 10, 60]], (10, 60)).score, 0.5),
        "one_box_parsing": gap(decompose(vectors("abca", np.ones((1, 4), dtype=bool))).parsing),
        "blank_gap": gap([one.score for one in blank], [1, 0, 0]) + gap(blank[1].excess, 1 / 9),
    }  # fmt: skip


def slow_cote(regions: npt.NDArray[np.int64], found: npt.NDArray[np.int64], side: int) -> list[float]:
    """Coverage, overlap, trespass and excess, pixel by pixel."""
    within: Callable[[npt.NDArray[np.int64], int, int], bool] = lambda box, a, b: (  # noqa: E731
        box[0] <= a < box[0] + box[2] and box[1] <= b < box[1] + box[3]
    )
    pixels = [(a, b) for a in range(side) for b in range(side)]
    of = {p: next((n for n, box in enumerate(regions) if within(box, *p)), None) for p in pixels}
    hits = {p: sum(within(box, *p) for box in found) for p in pixels}
    true = [p for p in pixels if of[p] is not None]
    trespass = 0
    for box in found:
        share = Counter(of[p] for p in true if within(box, *p))
        trespass += share.total() - max(share.values(), default=0)
    blank = side * side - len(true)
    return [sum(hits[p] > 0 for p in true) / len(true), sum(max(0, hits[p] - 1) for p in true) / len(true),
            trespass / len(true), sum(hits[p] > 0 for p in pixels if of[p] is None) / blank]  # fmt: skip


def examples() -> Metrics:
    """The two sentences of the authors' post, without spaces."""
    truth, misread = (method.normalise(one) for one in ("The cat sat on the mat", "The cit sit on the mit"))
    mirrored = method.normalise("Tam eht no tas tac eht")
    seventeen, backwards = count([truth], [misread]), count([truth], [mirrored])
    return {
        "misread_gap": gap([cer(truth, misread), float(spacer(*seventeen)[0])], 3 / 17),
        "mirrored_gap": gap([spacer(*backwards), cdd(*backwards)]),
        "mirrored_cer": cer(truth, mirrored),
    }


def defaults() -> Metrics:
    """Options that nobody gives, calls that make no sense, and what is not known."""
    q, one, inside, mask = [[0.5, 0.5]], [[0, 0, 1, 1]], np.ones((1, 2), dtype=bool), np.ones((1, 2, 2), dtype=bool)
    refused = accepted(
        lambda: count("abc"), lambda: count(["a"], unit="line"), lambda: method.spread(["a"], []),
        lambda: spacer([1, 2], [1, 2, 3]), lambda: spacer(1, 1), lambda: spacer([1, -1], [1, 1]),
        lambda: spacer([1, 1], [1, -1]), lambda: cdd([1, math.nan], [1, 1]), lambda: cdd([1, 1], [1, math.inf]),
        lambda: spacer_micro([1], [1]), lambda: spacer_micro([[[1]]], [[[1]]]),
        lambda: inside_boxes([0.5, 0.5], one), lambda: inside_boxes([[0.5, 0.5, 1]], one),
        lambda: inside_boxes([[math.nan, 0]], one), lambda: inside_boxes(q, one[0]),
        lambda: inside_boxes(q, [[0, 0, 1]]), lambda: inside_boxes(q, [[0, 0, -1, 1]]),
        lambda: inside_boxes(q, [[0, 0, 1, -1]]), lambda: inside_boxes(q, [[0, 0, math.inf, 1]]),
        lambda: inside_masks(q, mask * 1), lambda: inside_masks(q, mask[0]),
        lambda: vectors("ab", inside[:, :1]), lambda: vectors("ab", inside[0]), lambda: vectors("ab", inside * 1),
        lambda: vectors("ab", inside, read=["a", "b"]), lambda: vectors("ab", owners=[0]),
        lambda: vectors("ab", owners=[0, -1]), lambda: vectors("ab", owners=[0, 0.5]),
        lambda: vectors("ab", owners=[0, 1], read_true=["a"]),
        lambda: cote([], [], (0, 5)), lambda: cote([], [], (5, 0)), lambda: cote([], [], (5, 5), canvas=0),
    )  # fmt: skip
    bare, partly = decompose(vectors("ab")), decompose_micro(vectors("ab", inside, read_true=["ab"]))
    unknown = [*vars(bare).values(), partly.parsing, partly.interaction, partly.total]
    empty = [
        vectors("", owners=[]).truth, method.spread([], [])[1], inside_boxes(q, []), inside_masks(q, mask[:0]),
        inside_masks(np.zeros((0, 2)), mask),
    ]  # fmt: skip
    words = count(["a bc", "bc"], ["d"], unit="word")
    said = layout.ocr_dominates([0.1, 0.1, 0.2, 0.0], [0.2, 0.3, 0.3, 0.0], [0.5, 0.9, 0.4, 0.5], least_score=0.5)
    return {
        "accepted": refused,
        "moved": other_defaults(count, unit="character")
        + other_defaults(vectors, inside=None, owners=None, read_true=None, read=None)
        + other_defaults(decompose, distance=spacer)
        + other_defaults(cote, canvas=500)
        + other_defaults(layout.ocr_dominates, share=0.5),
        "edges": float(sum(error is not None for error in unknown))
        + gap(partly.ocr)
        + sum(one.size for one in empty)
        + gap(inside_masks([[-1, 0]], mask)),
        "words": gap(words[0], [[1, 1, 0], [0, 1, 0]]) + gap(words[1], [[0, 0, 1]]),
        "triage": gap(said, [1, 0, 0, 1]),
        "normal": float(
            method.normalise(" \u201cA\u201d\n\u2018b\u2019 \u2014c \ufb01\u00bd\u2026\u00a0")
            != "\"a\"'b'-cfi1\u20442..."
        ),
    }
