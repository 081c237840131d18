"""What the exact tier measures: the paper's formulas on random inputs, and its tables against each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch.nn import functional as F

from baselines.power_laws import POWER_PLUS_CONSTANT, PowerLaw, fit, power_law
from suites.scaling_autoregressive import method, tables
from suites.scaling_autoregressive.method import Architecture, Frontier, Run
from suites.scaling_autoregressive.networks import Classifier, Decoder, weights

Metrics = dict[str, float | list[float]]
SIZES = [float(size) for _, size, _ in tables.NARROW.values()]


def relative(found: float, printed: float) -> float:
    """|found / printed - 1|."""
    return abs(found / printed - 1)


def refusals(*calls: Callable[[], object]) -> float:
    """How many of these calls raise ValueError, as all of them should."""
    count = 0
    for call in calls:
        try:
            call()
        except ValueError:
            count += 1
    return float(count)


def decomposition(seed: int) -> Metrics:
    """E1 on pairs of Dirichlet distributions of 2 to 1000 symbols."""
    generator = np.random.default_rng(seed)
    gaps, excess, equal = [], [], []
    for symbols in generator.integers(2, 1001, 300):
        p, q = generator.dirichlet(np.full(symbols, generator.choice([0.3, 1.0, 5.0])), 2)
        gaps.append(abs(method.cross_entropy(p, q) - method.entropy(p) - method.divergence(p, q)))
        excess.append(method.cross_entropy(p, q) - method.entropy(p))
        equal.append(abs(method.cross_entropy(p, p) - method.entropy(p)))
    half, skewed, sure = [0.5, 0.5], [0.25, 0.75], [1.0, 0.0]
    by_hand = [
        float(method.entropy(half)) - math.log(2),
        float(method.divergence(half, skewed)) - 0.5 * math.log(4 / 3),
        float(method.cross_entropy(sure, skewed)) - math.log(4),
        float(method.entropy(sure)),
        float(np.abs(method.divergence([half, sure], [half, sure])).max()),
    ]
    return {
        "gap": float(max(gaps)),
        "smallest_excess": float(min(excess)),
        "equality_gap": float(max(equal)),
        "by_hand_gap": max(map(abs, by_hand)),
        "unseen": 1 / (1 + float(method.cross_entropy(half, sure))),
        "refused": refusals(
            lambda: method.entropy([0.5, 0.6]),
            lambda: method.entropy([1.5, -0.5]),
            lambda: method.divergence(half, [0.5, 0.4]),
        ),
    }


def parameter_counts() -> Metrics:
    """E2: formula and built networks, the latter without memory for their weights."""
    narrow = {Architecture(width, depth): size for width, (depth, size, _) in tables.NARROW.items()}
    wide = {Architecture(width, depth, 1.0, 4.0): size for width, (depth, size, _) in tables.WIDE.items()}
    with torch.device("meta"):
        built = [weights(Decoder(shape, 7, 5)) - size for shape, size in (narrow | wide).items() if shape.depth <= 64]
    return {
        "table5_gap": float(max(abs(shape.size - size) for shape, size in narrow.items())),
        "table4_gap": float(max(abs(shape.size - size) for shape, size in wide.items())),
        "built_gap": float(max(map(abs, built))),
        "heads_gap": float(sum(shape.heads != max(2, shape.width // 64) for shape in narrow | wide)),
        "mixed_gap": float(abs(Architecture(64, 3, 0.5, 2.0).size - 3 * (4 * 64 * 32 + 2 * 64 * 128))),
        "refused": refusals(
            lambda: Architecture(0, 1), lambda: Architecture(8, 0), lambda: Architecture(10, 1),
            lambda: Architecture(8, 1, feed_forward=0.3),
        ),
    }  # fmt: skip


def network(seed: int) -> Metrics:
    """The decoder against the same computation without modules, in float64."""
    torch.manual_seed(seed)
    shape, vocabulary, length = Architecture(32, 2), 11, 9
    decoder = Decoder(shape, vocabulary, length).double()
    tokens = torch.randint(vocabulary, (5, length))
    with torch.no_grad():
        uniform = float((decoder(tokens).log_softmax(-1) + math.log(vocabulary)).abs().max())
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        logits = decoder(tokens)
        changed = tokens.clone()
        changed[:, 6:] = (changed[:, 6:] + 1) % vocabulary
        classifier = Classifier(decoder, 3).double()
        direct = by_hand(decoder, tokens)
        pooled = direct.mean(1) @ classifier.head.weight.T + classifier.head.bias
        return {
            "logits_gap": float((logits - direct @ decoder.head.weight.T).abs().max()),
            "leak": float((decoder(changed) - logits)[:, :6].abs().max()),
            "effect": float((decoder(changed) - logits)[:, 6:].abs().max()),
            "uniform_gap": uniform,
            "classifier_gap": float((classifier(tokens) - pooled).abs().max()),
            "refused": refusals(lambda: decoder(torch.zeros(1, length + 1, dtype=torch.int64))),
        }


def by_hand(decoder: Decoder, tokens: torch.Tensor) -> torch.Tensor:
    """Final states of a decoder, its attention as a sum over heads and earlier positions."""
    width = decoder.embedding.embedding_dim
    stream = decoder.embedding.weight[tokens] + decoder.position.weight[: tokens.shape[1]]
    for block in decoder.blocks:
        normed = F.layer_norm(stream, (width,), block.attention_norm.weight, block.attention_norm.bias)
        joined = normed @ block.query_key_value.weight.T + block.query_key_value.bias
        heads = []
        for query, key, value in zip(*(part.chunk(block.heads, -1) for part in joined.chunk(3, -1)), strict=True):
            scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
            future = torch.ones(scores.shape[1:]).triu(1).bool()
            heads.append(scores.masked_fill(future, -math.inf).softmax(-1) @ value)
        stream = stream + torch.cat(heads, -1) @ block.out.weight.T + block.out.bias
        normed = F.layer_norm(stream, (width,), block.feed_forward_norm.weight, block.feed_forward_norm.bias)
        inner = normed @ block.up.weight.T + block.up.bias
        activated = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
        stream = stream + activated @ block.down.weight.T + block.down.bias
    return F.layer_norm(stream, (width,), decoder.norm.weight, decoder.norm.bias)


def learning_rates() -> Metrics:
    """E3, and the schedule against its corners joined by lines."""
    steps, warmup = 250, 30
    factors = [method.rate_factor(step, steps, warmup) for step in range(steps)]
    corners = np.interp(np.arange(steps), [-1, warmup - 1], [0, 1])
    falling = np.interp(np.arange(steps), [warmup, steps], [1, 0.1])
    expected = np.where(np.arange(steps) < warmup, corners, falling)
    return {
        "table5_gap": max(relative(method.learning_rate(size), rate) for _, size, rate in tables.NARROW.values()),
        "table4_gap": max(relative(method.language_learning_rate(n), rate) for _, n, rate in tables.WIDE.values()),
        "schedule_gap": float(np.abs(factors - expected).max()),
        "no_warmup": method.rate_factor(0, 10, 0),
        "by_hand_gap": max(
            relative(method.learning_rate(402_653_184 * 16), 1e-4),
            relative(method.language_learning_rate(math.exp(8)), 0.002123),
        ),
        "refused": refusals(lambda: method.rate_factor(0, 5, 5), lambda: method.rate_factor(0, 5, -1)),
    }


def units() -> Metrics:
    """E4-E7 and what else the tables say of each other in other units."""
    per_image = {name: method.per_sequence(tables.LOSS_OF_COMPUTE[name], t) for name, t in tables.IMAGE_TOKENS.items()}
    scale_gaps = {name: relative(law.scale, tables.COMPUTE_SCALE_PER_IMAGE[name]) for name, law in per_image.items()}
    small = method.per_sequence(tables.LOSS_OF_SIZE["image 8x8"], 192)
    law = PowerLaw(1.5, 2e3, 0.3)
    whole, x = method.per_sequence(law, 17), np.geomspace(1, 1e9, 50)
    slack = [
        relative(tables.LOSS_OF_COMPUTE[name].offset, law.offset)
        for name, law in tables.LOSS_OF_SIZE.items()
        if law.offset and name != "maths"
    ]
    return {
        "irreducible_gap": max(relative(law.offset, tables.NATS_PER_IMAGE[name]) for name, law in per_image.items()),
        "scale_gap": max(gap for name, gap in scale_gaps.items() if name != "image 8x8"),
        "scale_gap_8x8": scale_gaps["image 8x8"],
        "scale_8x8": per_image["image 8x8"].scale,
        "billion_parameters": float(small.reducible(1e9)),
        "billion_share": float(small.reducible(1e9)) / small.offset,
        "frame_by_size": 256 * float(tables.LOSS_OF_SIZE["video"].reducible(1e13)),
        "frame_by_compute": 256 * float(tables.LOSS_OF_COMPUTE["video"].reducible(1e4)),
        "section6_gap": tables.NATS_PER_IMAGE["image 16x16"] - 2023,
        "entropies_gap": max(slack),
        "entropies_gap_maths": relative(tables.LOSS_OF_COMPUTE["maths"].offset, tables.LOSS_OF_SIZE["maths"].offset),
        "words_per_image": 8 / 3.4,
        "caption_loss": float(tables.TEXT_PARTS["image-to-text"](1e9)),
        "conversion_gap": float(np.abs(whole(x) / (17 * law(x)) - 1).max()),
        "flop": method.training_compute(786_432, 250_000 * 524_288),
        "pf_day": method.PF_DAY,
    }


def data_laws() -> Metrics:
    """E8-E10: how data grow along the compute-optimal sizes, and what one PF-day buys."""
    exponents = {name: b for name, (_, b) in tables.OPTIMAL_SIZE.items()}
    at_one = {name: (1 / c0) ** b for name, (c0, b) in tables.OPTIMAL_SIZE.items()}
    coefficient, exponent = method.compute_for_data(2.8e8, 0.74)
    # Put back: N = k C^b and D = C / (6 N) at some C.
    compute = 37.0
    data = compute * method.PF_DAY / (6 * 2.8e8 * compute**0.74)
    others = [size for name, size in at_one.items() if name != "language"]
    return {
        "corners_gap": float(np.abs(method.data_exponent([0.6, 0.7, 0.75]) - [2 / 3, 3 / 7, 1 / 3]).max()),
        "median": float(np.median(method.data_exponent(list(exponents.values())))),
        "largest": float(method.data_exponent(list(exponents.values())).max()),
        "least_exponent": min(exponents.values()),
        "greatest_exponent": max(exponents.values()),
        "coefficient": coefficient,
        "exponent": exponent,
        "round_trip_gap": relative(coefficient * data**exponent, compute),
        "least_size": min(others),
        "greatest_size": max(others),
        "language_size": at_one["language"],
        "refused": refusals(
            lambda: method.data_exponent(0.0), lambda: method.data_exponent([0.7, -0.1]),
            lambda: method.compute_for_data(1.0, 1.0),
        ),
    }  # fmt: skip


def information(seed: int) -> Metrics:
    """E11, E12 on 10,000 pairs of random joint tables of 2 x 2 to 6 x 6."""
    generator = np.random.default_rng(seed)
    excess, other, same, gap = [], [], [], []
    for _ in range(10_000):
        shape = generator.integers(2, 7, 2)
        truth, model = (
            generator.dirichlet(np.full(shape.prod(), alpha)).reshape(shape)
            for alpha in generator.choice([0.1, 0.5, 2.0], 2)
        )
        model = (model + 1e-12) / (model + 1e-12).sum()
        found, losses = method.mutual_information(truth, model), method.marginal_losses(truth, model)
        excess.append(found - min(losses))
        other.append(method.infogain(found, losses[1]))
        own = method.mutual_information(model, model)
        same.append(own)
        marginals = [method.entropy(model.sum(axis)) for axis in (0, 1)]
        gap.append(abs(own - float(sum(marginals) - method.entropy(model.ravel()))))
    truth, model = np.array([[0.0, 0.5], [0.5, 0.0]]), np.array([[0.4, 0.1], [0.1, 0.4]])
    uneven = np.array([[0.6, 0.1], [0.1, 0.2]])
    losses = method.marginal_losses([[0.5, 0.25], [0.0, 0.25]], [[0.3, 0.5], [0.1, 0.1]])
    by_hand = [
        losses[0] + 0.75 * math.log(0.8) + 0.25 * math.log(0.2),
        losses[1] + 0.5 * math.log(0.4) + 0.5 * math.log(0.6),
        method.mutual_information(truth, uneven) - math.log(0.1 / 0.21),
        method.infogain(0.3, 1.5) - 0.2,
    ]
    return {
        "excess": max(excess),
        "least_gain": min(other),
        "least_gain_of_itself": min(same),
        "by_entropies_gap": max(gap),
        "opposite": method.mutual_information(truth, model),
        "by_hand_gap": max(map(abs, by_hand)),
        "refused": refusals(
            lambda: method.infogain(1.0, 0.0), lambda: method.infogain(1.0, -2.0),
            lambda: method.mutual_information([[0.5, 0.2], [0.2, 0.2]], model),
        ),
    }  # fmt: skip


def language() -> Metrics:
    """E13-E16: appendix E by sums over positions, its limits, and the logarithm of infogain."""
    sums, second, alone, unconditional, conditional, limit, fits = [], [], [], [], [], [], []
    for length, p, low in itertools.product((1, 7, 64, 512), (0.2, 0.5, 0.9), (0.0, 0.4, 1.3)):
        high = low + 2.1
        losses = method.loss_at(np.arange(1, 2 * length + 1), low, high, p)
        shared = method.shared_information(length, low, high, p)
        sums.append(abs(float((losses[:length] - losses[length:]).sum()) - shared))
        ratio = method.conditional_infogain(length, low, high, p)
        second.append(abs(shared / ratio - float(losses[length:].sum())))
        ratio = method.unconditional_infogain(length, low, high, p)
        alone.append(abs(shared / ratio - float(losses[:length].sum())))
    for length, p in itertools.product((2, 100, 100_000), (0.1, 0.3, 0.5, 0.7, 0.9)):
        unconditional.append(method.unconditional_infogain(length, 0.0, 1.0, p))
        conditional.append(method.conditional_infogain(length, 0.0, 1.0, p))
        expected = 2 - method.harmonic(2 * length, p) / method.harmonic(length, p)
        alone.append(abs(unconditional[-1] - expected))
    for p in (0.2, 0.35, 0.5):
        doubled = 2 ** (1 - p)
        limit.append(relative(method.conditional_infogain(4_000_000, 0.0, 1.0, p), (2 - doubled) / (doubled - 1)))
    sizes = np.geomspace(1e7, 1e9, 30)
    for scale, p in itertools.product((1e9, 1.47e14), (0.3, 0.5)):
        known = [method.shared_information(512, float(PowerLaw(0, scale, 0.07)(n)), 12.0, p) for n in sizes]
        fits.append(method.log_law(sizes, known)[2])
    slope, zero, quality = method.log_law([1e9, 3e12], [0.1, 0.2])
    noisy = method.log_law([1.0, math.e, math.e**2], [0.0, 1.0, 1.0])
    return {
        "harmonic_gap": max(sums),
        "conditional_gap": max(second),
        "unconditional_gap": max(alone),
        "greatest_unconditional": max(unconditional),
        "greatest_conditional": max(conditional),
        "limit_gap": max(limit),
        "half_limit": method.conditional_infogain(4_000_000, 0.0, 1.0, 0.5),
        "least_r2": min(fits),
        "slope": slope,
        "zero": zero,
        "line_gap": max(abs(quality - 1), abs(noisy[0] - 0.5), abs(noisy[1] - math.exp(-1 / 3)), abs(noisy[2] - 0.75)),
    }


def recovery(seed: int) -> Metrics:
    """E17: the paper's own L(N) at the sizes of Table 5, exact and with 0.1 % noise (20 draws of each, 220 in all)."""
    generator = np.random.default_rng(seed)
    offsets, exponents, scales, noisy = [], [], [], []
    laws = {**tables.LOSS_OF_SIZE, **{f"{name}, text": law for name, law in tables.TEXT_PARTS.items()}}
    del laws["language"]
    for law in laws.values():
        losses = law(SIZES)
        found = power_law(fit(POWER_PLUS_CONSTANT, SIZES, losses))
        offsets.append(abs(found.offset - law.offset))
        exponents.append(abs(found.exponent - law.exponent))
        scales.append(relative(found.scale, law.scale))
        draws = losses * (1 + 1e-3 * generator.standard_normal((20, len(SIZES))))
        fits = [power_law(fit(POWER_PLUS_CONSTANT, SIZES, draw)) for draw in draws]
        noisy.append(float(np.mean([abs(one.exponent - law.exponent) for one in fits])))
    return {
        "offset_gap": max(offsets),
        "exponent_gap": max(exponents),
        "scale_gap": max(scales),
        "noisy_exponent_gap": max(noisy),
    }


def surface(sizes: Sequence[float], a_size: float, a_data: float, points: int) -> list[Run]:
    """Learning curves L = 1 + (1e4 / N)^a_size + (1e7 / E)^a_data."""
    tokens = np.geomspace(1e4, 1e16, points)
    return [Run(size, tokens, 1.0 + (1e4 / size) ** a_size + (1e7 / tokens) ** a_data) for size in sizes]


def hulls(seed: int) -> Metrics:
    """E18, and frontier, hull and one-sided fit against other ways to find them."""
    generator = np.random.default_rng(seed)
    inner, whole = [], []
    for a_size, a_data in ((0.3, 0.3), (0.2, 0.4), (0.4, 0.2)):
        sizes = np.geomspace(1e4, 1e9, 80)
        hull = method.lower_hull(method.pareto_frontier(surface(sizes, a_size, a_data, 600)))
        within = np.flatnonzero((hull.size > sizes[0]) & (hull.size < sizes[-1]))
        inner.append(abs(-method.size_law(hull[within]).exponent - a_data / (a_size + a_data)))
        whole.append(abs(-method.size_law(hull).exponent - a_data / (a_size + a_data)))
    tokens = np.sort(generator.uniform(1, 100, (6, 40)), 1) * 1e9
    losses = 2 + 1e3 / tokens**0.4 + 0.05 * generator.random((6, 40))
    runs = [Run(10.0 ** (4 + k), tokens[k], losses[k]) for k in range(6)]
    compute = (6 * np.array([[10.0 ** (4 + k)] for k in range(6)]) * tokens / 8.64e19).ravel()
    flat = losses.ravel()
    beaten = ((compute <= compute[:, None]) & (flat < flat[:, None])).any(1)
    frontier, order = method.pareto_frontier(runs), np.argsort(compute[~beaten])
    hull = method.lower_hull(frontier)
    corners = ConvexHull(np.log(np.stack([frontier.compute, frontier.loss], 1))).vertices
    # The frontier falls, so the part of the whole hull above the line between its ends is the upper one.
    x, y = np.log(frontier.compute[corners]), np.log(frontier.loss[corners])
    ends = np.log(frontier.loss[[0, -1]]), np.log(frontier.compute[[0, -1]])
    lower = np.sort(corners[y <= np.interp(x, ends[1], ends[0]) + 1e-12])
    points = Frontier(np.geomspace(1e-9, 1, 30), 1 + np.geomspace(1e-9, 1, 30) ** -0.1, np.ones(30))
    one_sided = method.loss_law(points)
    raised = Frontier(points.compute, points.loss * (1 + 0.01 * generator.random(30)), points.size)
    law = method.loss_law(raised)
    three = np.array([1e-3, 1e-1, 10.0])
    line = method.size_law(Frontier(three, np.array([3.0, 2.0, 1.0]), (three / 2e-9) ** 0.7))
    expected = Frontier(compute, flat, np.repeat(10.0 ** np.arange(4, 10), 40))[np.flatnonzero(~beaten)[order]]
    return {
        "inner_gap": max(inner),
        "whole_gap": max(whole),
        "frontier_gap": max(
            float(np.abs(getattr(frontier, name) / getattr(expected, name) - 1).max())
            for name in ("compute", "loss", "size")
        ),
        "hull_gap": float(len(lower) != len(hull)) or float(np.abs(frontier[lower].loss - hull.loss).max()),
        "one_sided_gap": abs(one_sided.offset - 1) + abs(one_sided.exponent - 0.1),
        "one_sided_excess": float((law(raised.compute) / raised.loss - 1).max()),
        "one_sided_touch": float((raised.loss / law(raised.compute) - 1).min()),
        "size_law_gap": relative(line.scale, 2e-9) + abs(line.exponent + 0.7) + abs(line.offset),
        "refused": refusals(
            lambda: Run(1.0, np.ones(3), np.ones(2)), lambda: Run(0.0, np.ones(2), np.ones(2)),
            lambda: Run(1.0, np.zeros(2), np.ones(2)), lambda: Run(1.0, np.ones((2, 2)), np.ones((2, 2))),
            lambda: method.size_law(points),
        ),
    }  # fmt: skip


def resampling(seed: int) -> Metrics:
    """The bootstrap of b where all test sequences agree, and where they do not."""
    runs = surface(np.geomspace(1e4, 1e8, 12), 0.3, 0.3, 60)
    sizes, tokens = [run.size for run in runs], np.stack([run.tokens for run in runs])
    losses = np.repeat(np.stack([run.losses for run in runs])[..., None], 20, 2)
    expected = -method.size_law(method.lower_hull(method.pareto_frontier(runs))).exponent
    same = method.bootstrap_size_exponents(sizes, tokens, losses, draws=7, seed=seed)
    generator = np.random.default_rng(seed)
    # Noise of a sequence is the same at all sizes and points: it moves all curves together, and b hardly.
    easy = losses * (1 + 0.3 * generator.standard_normal(20))
    apart = losses * (1 + 0.02 * generator.standard_normal(losses.shape))
    paired, unpaired = (
        method.bootstrap_size_exponents(sizes, tokens, table, draws=60, seed=seed) for table in (easy, apart)
    )
    rows = np.random.default_rng(seed).integers(20, size=(60, 20))
    drawn = [
        np.stack([table[..., row] for row in picked], -1).mean(-1)
        for table, picked in ((apart, rows[0]), (apart, rows[59]))
    ]
    direct = [
        -method.size_law(
            method.lower_hull(method.pareto_frontier([Run(*one) for one in zip(sizes, tokens, mean, strict=True)]))
        ).exponent
        for mean in drawn
    ]
    two_sizes = method.bootstrap_size_exponents(sizes[::11], tokens[::11], losses[::11], draws=3, seed=seed)
    one_size = method.bootstrap_size_exponents(sizes[:1], tokens[:1], losses[:1], draws=3, seed=seed)
    lowest = method.lowest_losses([Run(5.0, np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.5, 2.0]))])
    return {
        "equal_gap": float(np.abs(same - expected).max()) + abs(len(same) - 7),
        "paired_spread": float(paired.std()),
        "unpaired_spread": float(unpaired.std()),
        "direct_gap": float(max(abs(direct[0] - unpaired[0]), abs(direct[1] - unpaired[59]))),
        "left_out": float(len(one_size)),
        "two_sizes": float(len(two_sizes)),
        "repeat_gap": float(
            np.abs(unpaired - method.bootstrap_size_exponents(sizes, tokens, apart, draws=60, seed=seed)).max()
        ),
        "lowest_gap": abs(float(lowest[0][0]) - 5.0) + abs(float(lowest[1][0]) - 1.5),
        "refused": refusals(
            lambda: method.bootstrap_size_exponents(sizes[:2], tokens, losses, draws=1, seed=0),
            lambda: method.bootstrap_size_exponents(sizes, tokens[:, :3], losses, draws=1, seed=0),
            lambda: method.bootstrap_size_exponents(sizes, tokens, losses[..., 0], draws=1, seed=0),
        ),
    }  # fmt: skip
