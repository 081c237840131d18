"""The exact tier: what cross-entropy and the correctness-aware loss do to a temperature, float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.nn import functional as F

from baselines.oracles import Worst, accepted, gap, other_defaults
from suites.correctness_calibration import method

WIDTHS, TEMPERATURES = (3, 10, 100), (0.3, 1.0, 3.0)


def problems(seed: int, rows: int = 1000) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Logits 3 N(0, 1) of 3, 10 and 100 classes, labels, and a temperature for each row."""
    generator = torch.Generator().manual_seed(seed)
    for classes in WIDTHS:
        z = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        y = torch.where(
            torch.rand(rows, generator=generator) < 0.5,
            z.argmax(1),
            torch.randint(classes, (rows,), generator=generator),
        )
        for t in TEMPERATURES:
            yield z, y, torch.full((rows,), t, dtype=torch.float64)


def slope(loss: method.Loss, z: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """d loss / d T of each row, of a loss that is a mean over rows."""
    t = t.clone().requires_grad_()
    return len(y) * torch.autograd.grad(loss(z, t, y), t)[0]


def entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * p.log()).sum(-1)


def directions(*, seed: int) -> dict[str, float]:
    """Where each loss pulls the temperature of a row."""
    worst, conflicts = Worst(), 0
    for z, y, t in problems(seed):
        n, p = len(y), (z / t[:, None]).softmax(1)
        chat, right = p.amax(1), method.correctness(z, y)
        ce, ca = slope(method.cross_entropy, z, t, y), slope(method.correctness_aware, z, t, y)
        own = -p.gather(1, y[:, None]).squeeze(1).log()
        law = -chat * (z.amax(1) - (p * z).sum(1)) / t**2
        opposite = (right == 0) & (ce * ca < 0)
        narrow = (right == 0) & (own < entropy(p))
        conflicts += int(opposite.sum())
        spread = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 9.9 + 0.1
        worst.note(
            sign_law_gap=gap(t * ce, entropy(p) - own), slope_gap=gap(ca, 2 * (chat - right) * law),
            wrong_way=float(((ca > 0) != (right == 1)).sum()), sets_apart=float((opposite != narrow).sum()),
            moved=float(((z / spread[:, None]).softmax(1).argmax(1) != z.argmax(1)).sum()),
            confidence_gap=gap(method.confidence(z, t), chat),
        )  # fmt: skip
        if z.shape[1] == 3:
            two = z[:, :2]
            label = y % 2
            pull = slope(method.cross_entropy, two, t, label)
            worst.note(two_classes=float(((method.correctness(two, label) == 0) & (pull > 0)).sum()))
    narrow_p, wide_p = torch.tensor([[0.5, 0.4, 0.1]]).double(), torch.tensor([[0.6, 0.4]]).double()
    one = torch.ones(1, dtype=torch.float64)
    second = torch.tensor([1])
    pulls = [float(slope(method.cross_entropy, p.log(), one, second)) for p in (narrow_p, wide_p)]
    worst.note(example_wrong=float(pulls[0] <= 0) + float(pulls[1] >= 0), example_gap=max(
        gap(method.cross_entropy(narrow_p.log(), one, second), 0.91629), gap(entropy(narrow_p), 0.94335)))  # fmt: skip
    return worst | {"conflicts": float(conflicts)}


def optima(*, seed: int) -> dict[str, float]:
    """The best temperature of a row by itself."""
    worst = Worst()
    grid = torch.logspace(-3, 3, 400, dtype=torch.float64)
    for z, y, _ in problems(seed, 60):
        best, right = method.best_temperature(z, y), method.correctness(z, y)
        own = z.gather(1, y[:, None]).squeeze(1)
        inside = (right == 0) & (own > z.mean(1))
        values = torch.stack([F.cross_entropy(z / t, y, reduction="none") for t in grid])
        found = grid[values.argmin(0)]
        reachable = inside & (best > grid[1]) & (best < grid[-2])
        worst.note(
            grid_off=float((found / best - 1).abs()[reachable].max()) if bool(reachable.any()) else 0.0,
            root_gap=gap(((z[inside] / best[inside, None]).softmax(1) * z[inside]).sum(1), own[inside]),
            cold_wrong=float((best[right == 1] != 0).sum()),
            hot_wrong=float((best[(right == 0) & ~inside].isfinite()).sum() + (~best[inside].isfinite()).sum()),
        )
        two = z.topk(2, 1).values
        clear = two[:, 0] - two[:, 1] >= 0.1
        for t, rows, value in ((1e6, right == 0, 1 / z.shape[1] ** 2), (1e-3, (right == 1) & clear, 0.0)):
            loss = (method.confidence(z, torch.tensor(t, dtype=z.dtype)) - right).square()[rows]
            worst.note(limit_gap=gap(loss, value))
    tied = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    worst.note(tie_wrong=float(method.best_temperature(tied, torch.tensor([0, 1])).tolist() != [0.0, math.inf]))
    return worst


def bounds(*, seed: int, draws: int) -> dict[str, float]:
    """Calibration errors against the error of each sample, and against loops over bins."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for draw in range(draws):
        n = 1 + int(torch.randint(200, (), generator=generator))
        c = torch.rand(n, generator=generator, dtype=torch.float64)
        if draw % 3 == 0:
            c = (c * 20).round() / 20  # ties, and edges of bins
        right = (torch.rand(n, generator=generator) < c).double()
        mean, square = method.calibration_error(c, right), float((c - right).square().mean())
        for bins in (1, 5, 15, 25, 1000):
            error = method.expected_calibration_error(c, right, bins)
            worst.note(above=error - mean, jensen=error**2 - square)
            if draw % 20 == 0 and bins < 100:
                worst.note(by_loop=gap(error, ece_by_loop(c, right, bins)))
            worst.note(maximum_above=method.weighted_maximum_gap(c, right, bins) - error)
        worst.note(ks_above=method.kolmogorov_smirnov(c, right) - mean)
        if draw % 20 == 0:
            worst.note(ks_gap=gap(method.kolmogorov_smirnov(c, right), ks_by_loop(c, right)))
        adaptive = method.adaptive_calibration_error(c, right)
        worst.note(adaptive_above=adaptive - mean, adaptive_one=gap(
            method.adaptive_calibration_error(c, right, 1), abs(float((right - c).mean()))))  # fmt: skip
    c = (torch.arange(40, dtype=torch.float64) + 0.5) / 40
    right = (torch.arange(40) % 3 == 0).double()
    worst.note(pure_gap=gap(method.expected_calibration_error(c, right, 40), method.calibration_error(c, right)))
    worst.note(quantile_gap=gap(method.adaptive_calibration_error(c, right, 40), method.calibration_error(c, right)))
    p = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    worst.note(sce_gap=gap(method.static_calibration_error(p, torch.tensor([0, 0])), (0.4 + 0.4) / 2))
    edges = torch.tensor([0.0, 0.04, 1.0], dtype=torch.float64)
    worst.note(edge_gap=gap(method.expected_calibration_error(edges, torch.ones(3)), (1 + 0.96) / 3))
    worst.note(largest_gap=gap(method.weighted_maximum_gap(edges, torch.ones(3)), 1.96 / 3))
    return worst


def ece_by_loop(c: torch.Tensor, right: torch.Tensor, bins: int) -> float:
    """Bin by bin, edges b / B."""
    total = 0.0
    for b in range(bins):
        inside = (c * bins > b) & (c * bins <= b + 1) if b else c * bins <= 1
        if bool(inside.any()):
            total += float(inside.sum()) / len(c) * abs(float(right[inside].mean() - c[inside].mean()))
    return total


def ks_by_loop(c: torch.Tensor, right: torch.Tensor) -> float:
    return max(abs(float((right - c)[c <= t].sum())) / len(c) for t in c.tolist())


def losses(*, seed: int) -> dict[str, float]:
    """Losses by hand, balanced and not; what they depend on."""
    worst = Worst()
    for z, y, t in problems(seed):
        right, chat = method.correctness(z, y), method.confidence(z, t)
        squares = (chat - right).square()
        halves = (squares[right == 1].mean() + squares[right == 0].mean()) / 2
        p = (z / t[:, None]).softmax(1)
        own = p.gather(1, y[:, None]).squeeze(1)
        full = (1 - own) ** 2 + p.square().sum(1) - own**2
        nats = -own.log()
        worst.note(
            plain_gap=gap(method.correctness_aware(z, t, y), squares.mean()),
            balanced_gap=gap(method.correctness_aware(z, t, y, balance="batch"), halves),
            squared_gap=gap(method.squared_error(z, t, y), full.mean()),
            cross_entropy_gap=max(gap(method.cross_entropy(z, t, y), nats.mean()), gap(
                method.cross_entropy(z, t, y, balance="batch"),
                (nats[right == 1].mean() + nats[right == 0].mean()) / 2)),
            balanced_square_gap=gap(method.squared_error(z, t, y, balance="batch"),
                                    (full[right == 1].mean() + full[right == 0].mean()) / 2),
        )  # fmt: skip
        wrong = right == 0
        top = z[wrong].argmax(1)
        rest = (top[:, None] + 1 + torch.arange(z.shape[1] - 1)) % z.shape[1]
        permuted = z[wrong].scatter(1, rest, z[wrong].gather(1, rest.roll(1, 1)))
        args, others = (t[wrong], y[wrong]), method.correctness(permuted, y[wrong]) == 0
        worst.note(permuted_gap=gap(method.confidence(permuted, args[0]), chat[wrong]), others=float((~others).sum()))
        moved = abs(float(method.squared_error(permuted, *args) - method.squared_error(z[wrong], *args)))
        worst["square_moves"] = min(worst.get("square_moves", math.inf), moved)
        alone = right == 1
        worst.note(alone_gap=gap(method.correctness_aware(z[alone], t[alone], y[alone], balance="batch"),
                                 squares[alone].mean()))  # fmt: skip
    return worst


def figure() -> dict[str, float]:
    """The example of the repository's figure: four classes, the truth a close second."""
    p = torch.tensor([[0.412, 0.455, 0.068, 0.065]], dtype=torch.float64)
    z, y, one = (p / p.sum()).log(), torch.tensor([0]), torch.ones(1, dtype=torch.float64)
    t = torch.linspace(0.1, 10, 9901, dtype=torch.float64)
    many, labels = z.expand(len(t), -1), y.expand(len(t))
    rows = torch.stack([(many / t[:, None]).softmax(1)]).squeeze(0)
    square = ((rows - F.one_hot(labels, 4)) ** 2).sum(1)
    nats, aware = -rows[:, 0].log(), rows.amax(1) ** 2
    best = t[square.argmin()]
    printed = {"ce": torch.tensor([0.399, 0.538, 0.032, 0.030]), "ca": torch.tensor([0.274, 0.292, 0.220, 0.214])}
    ratios = {
        name: (q.double().log()[1] - q.double().log()) / (z[0, 1] - z[0]) for name, q in printed.items()
    }  # 1 / T of each pair, if any temperature leads there
    return {
        "cross_entropy": float(method.cross_entropy(z, one, y)), "entropy": float(entropy(z.exp())),
        "best_for_squares": float(best), "squares_gap": gap((z / best).softmax(1), [[0.413, 0.456, 0.067, 0.064]]),
        "best_for_ce": float(t[nats.argmin()]), "ce_confidence": float(rows[nats.argmin()].max()),
        "best_for_ca": float(t[aware.argmin()]),
        "ce_apart": float(ratios["ce"][0] / ratios["ce"][2:].mean()),
        "ca_apart": float(ratios["ca"][0] / ratios["ca"][2:].mean()),
    }  # fmt: skip


def cues(*, seed: int) -> dict[str, float]:
    """Cues by hand, and under one order of classes for another; the network, its size and its bounds."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    z = torch.randn(50, 10, generator=generator, dtype=torch.float64)
    copies = torch.randn(3, 50, 10, generator=generator, dtype=torch.float64)
    found, order = method.cues(z, copies), torch.randperm(10, generator=generator)
    by_hand = torch.stack([
        torch.cat([copies[m, i].softmax(0)[z[i].sort(descending=True).indices[:4]] for m in range(3)])
        for i in range(50)
    ])  # fmt: skip
    worst.note(hand_gap=gap(found, by_hand), order_gap=gap(method.cues(z[:, order], copies[:, :, order]), found))
    network = method.SampleTemperature()
    worst.note(parameters=float(sum(one.numel() for one in network.parameters())))
    x = 100 * torch.randn(2000, 12, generator=generator)
    t = torch.cat([method.SampleTemperature()(x) for _ in range(10)])
    worst.note(
        outside=float(((t < 0.1) | (t > 10)).sum()),
        unused=float(t.max() < 10 or t.min() > 0.1001),
    )
    started = method.SampleTemperature(start=1.0)
    by_hand = (started.second.weight @ (started.first.weight @ x[:5].T + started.first.bias[:, None]).relu()).squeeze(
        0
    ) + 1
    worst.note(network_gap=gap(started(x[:5]), by_hand.clamp(0.1, 10)), start_gap=gap(started.second.bias, 1.0))
    wide = method.SampleTemperature(copies=2, k=3, hidden=7)
    worst.note(sizes_wrong=float(wide.first.weight.shape != (7, 6) or wide.second.weight.shape != (1, 7)))
    return worst


def training(*, seed: int) -> dict[str, float]:
    """Fitting: as Adam by hand, batches that cover all rows, and a calibrator that learns which rows are wrong."""
    worst = Worst()
    z, y, _ = next(problems(seed, 200))
    right = method.correctness(z, y)
    x = torch.stack([right, 1 - right], 1).repeat(1, 6).float()  # cues that say it all

    def started() -> method.SampleTemperature:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return method.SampleTemperature(start=1.0)

    one, other = started(), started()
    found = method.fit(one, x, z, y, method.correctness_aware, steps=3, rate=0.01)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    for value in found:
        loss = method.correctness_aware(z, other(x), y)
        worst.note(loss_gap=gap(loss, value))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    worst.note(weights_gap=gap(one.first.weight, other.first.weight))
    learned = started()
    fall = method.fit(learned, x, z, y, method.correctness_aware, steps=120, rate=0.05)
    t = learned(x)
    worst.note(not_learned=float(t[right == 1].mean() >= t[right == 0].mean()) + float(fall[-1] > 0.5 * fall[0]))
    seen: list[int] = []

    def noted(logits: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.extend((logits[:, 0] * 1e9).round().long().tolist())
        return method.cross_entropy(logits, t, labels)

    method.fit(started(), x, z, y, noted, steps=4, rate=1e-4, batch=60, seed=seed)
    worst.note(uncovered=float(sorted(seen) != sorted((z[:, 0] * 1e9).round().long().tolist())))
    return worst


def extremes() -> dict[str, float]:
    """Logits of -inf and 1e4, half precision, no rows, one class, views; nonsense; defaults."""
    wrong, y = 0.0, torch.tensor([0, 1])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = torch.tensor([[1e4, 0.0, -torch.inf], [0.0, 1e4, -1e4]]).to(dtype).requires_grad_()
        for loss in (method.correctness_aware, method.cross_entropy, method.squared_error):
            t = torch.ones(2, dtype=z.dtype, requires_grad=True)
            value = loss(z, t, y)
            by_z, by_t = torch.autograd.grad(value, [z, t])
            wrong += float(not value.isfinite()) + float((~by_t.isfinite()).sum() + (~by_z.isfinite()).sum())
            wrong += float(value.dtype != torch.promote_types(dtype, torch.float32))
            wrong += float(loss(z[:0], t[:0], y[:0]) != 0)
        wrong += float(method.confidence(z, torch.tensor(1.0)).dtype != torch.promote_types(dtype, torch.float32))
        wrong += float(method.cues(z, z[None], 2).dtype != torch.promote_types(dtype, torch.float32))
    single = torch.zeros(4, 1)
    wrong += gap(method.confidence(single, torch.tensor(2.0)), 1.0)
    wrong += gap(method.correctness_aware(single, torch.tensor(2.0), torch.zeros(4, dtype=torch.int64)), 0.0)
    view = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).T[:, ::2]
    wrong += gap(method.confidence(view, torch.ones(4)), method.confidence(view.contiguous(), torch.ones(4)))
    wrong += float(
        method.cross_entropy(torch.tensor([[0.0, -torch.inf]]), torch.ones(1), torch.tensor([1])) != math.inf
    )
    f, c = torch.zeros(2, 3), torch.tensor([0.5, 0.5])
    network = method.SampleTemperature(copies=1, k=2)
    calls: list[Callable[[], object]] = [
        partial(method.cues, f, f), partial(method.cues, f, f[None, :, :2]), partial(method.cues, f, f[None], 4),
        partial(method.cues, f, f[None], 0), partial(method.cues, f.long(), f[None]),
        partial(method.cues, f, f[None] + torch.nan), partial(method.SampleTemperature, copies=0),
        partial(method.SampleTemperature, k=0), partial(method.SampleTemperature, hidden=0),
        partial(method.confidence, f[0], torch.ones(3)), partial(method.confidence, f, torch.ones(3)),
        partial(method.confidence, f, torch.zeros(2)), partial(method.confidence, f, -torch.ones(())),
        partial(method.confidence, f + torch.inf, torch.ones(2)),
        partial(method.confidence, f - torch.inf, torch.ones(2)),
        partial(method.confidence, f * torch.nan, torch.ones(2)), partial(method.confidence, f.long(), torch.ones(2)),
        partial(method.correctness, f, y + 2), partial(method.correctness, f, y - 1),
        partial(method.correctness, f, y[:1]), partial(method.correctness, f, y.int()),
        partial(method.best_temperature, f, y + 2),
        *(partial(loss, f, torch.ones(2), y, balance="rows")  # type: ignore[arg-type]
          for loss in (method.correctness_aware, method.cross_entropy, method.squared_error)),
        partial(method.fit, network, f[:0, :2], f[:0], y[:0], method.cross_entropy, steps=1, rate=0.1),
        partial(method.fit, network, f[:1, :2], f, y, method.cross_entropy, steps=1, rate=0.1),
        partial(method.fit, network, f[:, :2], torch.tensor([[0.0, -torch.inf]] * 2), y, method.cross_entropy, steps=1,
                rate=0.1),
        partial(method.expected_calibration_error, c, c[:1]), partial(method.expected_calibration_error, c[:0], c[:0]),
        partial(method.kolmogorov_smirnov, c + 1, c), partial(method.adaptive_calibration_error, c - 1, c),
        partial(method.expected_calibration_error, c * torch.nan, c),
        partial(method.static_calibration_error, f, y + 2),
    ]  # fmt: skip
    binned = (
        method.expected_calibration_error, method.weighted_maximum_gap, method.adaptive_calibration_error,
        method.static_calibration_error,
    )  # fmt: skip
    moved = [
        other_defaults(method.cues, k=4), other_defaults(method.SampleTemperature, copies=3, k=4, hidden=5, start=None),
        other_defaults(method.correctness_aware, balance="none"), other_defaults(method.cross_entropy, balance="none"),
        other_defaults(method.squared_error, balance="none"), other_defaults(method.fit, batch=None, seed=0),
        other_defaults(method.best_temperature, halvings=200), *(other_defaults(one, bins=25) for one in binned),
    ]  # fmt: skip
    return {"wrong": wrong, "accepted": accepted(*calls), "moved": float(sum(moved))}
