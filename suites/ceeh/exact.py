"""The exact tier in float64: what is remembered, the length reward, both ways of entropy, the metric.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds), `wrong` a count of cases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from statistics import fmean

import torch
from scipy.stats import expectile

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement.policy_gradient import group_advantages, ppo, token_entropy, token_log_probs
from baselines.reinforcement.rollouts import pass_at_k
from baselines.timing import interleaved
from suites.ceeh import method
from suites.ceeh.method import Memory, asymmetric_average, ceeh_ea, ceeh_me, entropy_advantages, weighted_entropy

F64 = torch.float64
Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


# What is remembered.


def average(*, seed: int) -> dict[str, float]:
    """Steps towards a constant in closed form; where random accuracies bring it to rest."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for start, target in torch.rand(50, 2, generator=generator, dtype=F64).tolist():
        value = torch.tensor(start, dtype=F64)
        kept = 0.8 if target > start else 0.95
        for k in range(1, 30):
            value = asymmetric_average(value, torch.tensor(target, dtype=F64))
            worst.note(closed_gap=gap(value, target + kept**k * (start - target)))
    # At rest the mean move is zero: which is how an expectile is defined, that of 0.8 here.
    for samples in torch.rand(20, 101, generator=generator, dtype=F64):
        rest = torch.full_like(samples, float(expectile(samples.numpy(), alpha=0.8)))
        worst.note(rest_gap=gap((asymmetric_average(rest, samples) - rest).mean()))
    for p in (0.1, 0.25, 0.5, 0.9):
        value, means = torch.full((2000,), p, dtype=F64), []
        for step in range(300):
            value = asymmetric_average(value, (torch.rand(2000, generator=generator, dtype=F64) < p).double())
            if step >= 200:
                means.append(float(value.mean()))
        worst.note(stationary_gap=abs(fmean(means) - 4 * p / (1 + 3 * p)))
    return worst


def batch_of(generator: torch.Generator, questions: int, asked: int, group: int) -> Batch:
    """Ids, outcomes and lengths of some questions' groups; no two lengths of a batch are equal."""
    ids = torch.randperm(questions, generator=generator)[:asked].repeat_interleave(group)
    chance = (ids % 5 / 4)[:, None].double()
    correct = (torch.rand(len(ids), 1, generator=generator, dtype=F64) < chance).double().squeeze(1)
    return ids, correct, torch.randperm(40 * len(ids), generator=generator)[: len(ids)] + 1


class Diary:
    """`Memory` once more, question by question with plain numbers: the oracle."""

    def __init__(self, questions: int, difficulty: str, anchor: str, scale: float) -> None:
        self.accuracy: list[float | None] = [None] * questions
        self.anchors: list[float | None] = [None] * questions
        self.difficulty, self.anchor, self.scale = difficulty, anchor, scale

    def visit(self, ids: torch.Tensor, correct: torch.Tensor, lengths: torch.Tensor) -> tuple[list[float], list[bool]]:
        threshold = fmean(-1.0 if one is None else one for one in self.accuracy)
        bonus, now = [0.0] * len(ids), {}
        for x in set(ids.tolist()):
            rows = [row for row, one in enumerate(ids.tolist()) if one == x]
            right = [row for row in rows if correct[row] == 1]
            now[x], known, anchor = len(right) / len(rows), self.accuracy[x], self.anchors[x]
            if anchor is not None and (known is None or now[x] >= known):
                for row in right:
                    bonus[row] = max(-0.9, self.scale * (anchor - float(lengths[row])) / anchor)
            if right:
                m = min(float(lengths[row]) for row in right)
                if anchor is None:
                    self.anchors[x] = m
                elif self.anchor == "min":
                    self.anchors[x] = min(m, anchor)
                else:
                    self.anchors[x] = 0.2 * m + 0.8 * anchor if m < anchor else 0.05 * m + 0.95 * anchor
            if known is None or (self.difficulty == "current" and known <= 0):
                self.accuracy[x] = now[x]
            else:
                rate = 0.2 if now[x] > known else 0.05
                self.accuracy[x] = known + rate * (now[x] - known)
        if self.difficulty == "current":
            return bonus, [now[x] <= threshold for x in ids.tolist()]
        mean = fmean(one for one in self.accuracy if one is not None)
        return bonus, [(self.accuracy[x] or 0.0) < mean - 1e-9 for x in ids.tolist()]


def memory(*, seed: int) -> dict[str, float]:
    """Twelve batches of both difficulties and anchors against the oracle, and in another order of responses."""
    worst = Worst()
    cases = itertools.product(("history", "current"), ("min", "ema"), (0.1, 0.5))
    for number, (difficulty, anchor, scale) in enumerate(cases):
        generator = torch.Generator().manual_seed(seed + number)
        found, shuffled = (Memory(30, difficulty=difficulty, anchor=anchor, scale=scale) for _ in range(2))  # type: ignore[arg-type]
        diary = Diary(30, difficulty, anchor, scale)
        for _ in range(12):
            batch = batch_of(generator, 30, 10, 6)
            visit = found.visit(*batch)
            bonus, hard = diary.visit(*batch)
            order = torch.randperm(len(bonus), generator=generator)
            other = shuffled.visit(batch[0][order], batch[1][order], batch[2][order])
            known, tokens = (
                torch.tensor([-1.0 if one is None else one for one in told], dtype=F64)
                for told in (diary.accuracy, diary.anchors)
            )
            worst.note(
                hard_wrong=float((visit.hard != torch.tensor(hard)).sum()),
                bonus_gap=gap(visit.bonus, bonus),
                memory_gap=max(gap(found.accuracy.nan_to_num(-1), known), gap(found.anchors.nan_to_num(-1), tokens)),
                order_gap=max(
                    gap(other.bonus, visit.bonus[order]),
                    gap(other.hard.double(), visit.hard[order].double()),
                    gap(shuffled.accuracy.nan_to_num(-1), found.accuracy.nan_to_num(-1)),
                ),
            )
    equal = Memory(3)
    for _ in range(9):
        alike = equal.visit(
            torch.arange(3).repeat_interleave(10), torch.tensor([1.0] + [0.0] * 9).repeat(3), torch.ones(30)
        )
        worst.note(equal_hard=float(alike.hard.sum()))
    return worst


def differences(*, seed: int) -> dict[str, float]:
    """Where the official code is another method than the paper: cold start, accuracies of 0, order of the responses."""
    generator = torch.Generator().manual_seed(seed)
    paper, code = Memory(1000), Memory(1000, difficulty="current")
    cold, first = 0.0, 0.0
    chances = torch.rand(1000, generator=generator, dtype=F64) * 0.8 + 0.2
    for start in range(0, 1000, 100):
        ids = torch.arange(start, start + 100).repeat_interleave(10)
        correct = (torch.rand(1000, generator=generator, dtype=F64) < chances[ids]).double()
        share = start / 1000
        mean = float(code.accuracy[:start].mean()) if start else 0.0
        visit, other = code.visit(ids, correct, torch.ones(1000)), paper.visit(ids, correct, torch.ones(1000))
        if share < 1 / (1 + mean):
            cold += float(visit.hard.sum())
        if not start:
            first = float(other.hard.double().mean())

    zero = {name: Memory(1, difficulty=name) for name in ("history", "current")}
    for one in zero.values():
        for outcome in (0.0, 1.0):
            one.visit(torch.zeros(4, dtype=torch.int64), torch.full((4,), outcome), torch.ones(4))

    # Responses sorted by length, as for equal loads of devices, but read in blocks of the questions as they were asked.
    chance = torch.rand(500, generator=generator, dtype=F64)
    ids = torch.arange(500).repeat_interleave(12)
    correct = (torch.rand(6000, generator=generator, dtype=F64) < chance[ids]).double()
    lengths = (
        torch.randn(500, generator=generator, dtype=F64)[ids] + torch.randn(6000, generator=generator, dtype=F64)
    ).exp()
    order = lengths.argsort()
    aligned, mixed = Memory(500), Memory(500)
    aligned.visit(ids, correct, lengths)
    mixed.visit(ids, correct[order], lengths[order])
    accuracies = torch.stack([chance, aligned.accuracy, mixed.accuracy])
    correlations = accuracies.corrcoef()[0]
    return {
        "cold_hard": cold,
        "last_hard": float(visit.hard.double().mean()),
        "first_hard": first,
        "zero_gap": max(gap(zero["history"].accuracy, 0.2), gap(zero["current"].accuracy, 1.0)),
        "aligned_correlation": float(correlations[1]),
        "mixed_correlation": float(correlations[2]),
    }


def anchors(*, seed: int) -> dict[str, float]:
    """Shortest so far against the average: which rises, which stays above the running minimum, where it rests."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    rises = 0.0
    for _ in range(8):
        shortest = torch.randint(5, 200, (60,), generator=generator)
        least, smooth = Memory(1), Memory(1, anchor="ema")
        seen: list[float] = []
        last = math.inf
        for m in shortest.tolist():
            for one in (least, smooth):
                one.visit(torch.zeros(2, dtype=torch.int64), torch.ones(2), torch.tensor([m, m + 7]))
            seen.append(m)
            now = float(smooth.anchors)
            worst.note(least_gap=gap(least.anchors, min(seen)), below=min(seen) - now)
            rises = max(rises, now - last)
            last = now
    for samples in torch.rand(20, 101, generator=generator, dtype=F64) * 100:
        rest = torch.full_like(samples, float(expectile(samples.numpy(), alpha=0.2)))
        worst.note(rest_gap=gap((asymmetric_average(rest, samples, up=0.05, down=0.2) - rest).mean()))
    return {**worst, "rise": rises}


def reward(*, seed: int) -> dict[str, float]:
    """The length reward: its range and order, where it is 0 and where it is at its floor; a reward of 0.1 for a box."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for scale in (0.1, 0.5, 1.0):
        lengths, known = (1 + 20_000 * torch.rand(2, 10_000, generator=generator, dtype=F64)).round()
        found = method.length_reward(lengths, known, scale=scale)
        ordered = method.length_reward(lengths.sort().values, torch.full_like(known, 300), scale=scale)
        worst.note(
            formula_gap=gap(
                found, [max(-0.9, scale * (a - b) / a) for a, b in zip(known.tolist(), lengths.tolist(), strict=True)]
            ),
            order_excess=max(
                float(ordered.diff().max()), float(-0.9 - found.min()), float((found[lengths > 0] - scale).max())
            ),
        )
        edge = 300 * (1 + 0.9 / scale)
        near = method.length_reward(
            torch.tensor([edge - 1, edge + 1e-6]), torch.tensor([300.0, 300.0], dtype=F64), scale=scale
        )
        worst.note(edge_wrong=float(not (near[0] > -0.9 and near[1] == -0.9)))
    unset = method.length_reward(torch.ones(3), torch.full((3,), math.nan))
    empty = method.length_reward(torch.tensor([0, 3]), torch.zeros(2, dtype=F64), scale=0.5)
    worst.note(edge_wrong=gap(unset) + gap(empty, [0.0, -0.9]))
    # The least that a right response has is what a wrong one has in a box, in the predecessor's code.
    least = 1 + float(method.length_reward(torch.tensor([1e6]), torch.tensor([300.0], dtype=F64)))
    return {**worst, "lead_over_wrong": least, "lead_over_box": least - 0.1}


# Both ways of entropy.


def rows(seed: int, *, responses: int = 8, tokens: int = 12, vocabulary: int = 7) -> Rows:
    """Logits (B, T, V) with a gradient, old log-probabilities, advantages (B, 1), mask, actions, hard."""
    generator = torch.Generator().manual_seed(seed)
    spread = 0.3 + 4 * torch.rand(responses, tokens, 1, generator=generator, dtype=F64)
    z = (spread * torch.randn(responses, tokens, vocabulary, generator=generator, dtype=F64)).requires_grad_()
    actions = torch.randint(vocabulary, (responses, tokens), generator=generator)
    old = token_log_probs(z, actions).detach() + 0.4 * torch.randn(responses, tokens, generator=generator, dtype=F64)
    advantages = torch.randn(responses, 1, generator=generator, dtype=F64)
    mask = torch.arange(tokens) < torch.randint(3, tokens + 1, (responses, 1), generator=generator)
    return z, old, advantages, mask, actions, torch.arange(responses) % 3 == 0


def loss_of(batch: Rows, loss: Callable[..., torch.Tensor], **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss of a batch and its gradient in the logits."""
    z, old, advantages, mask, actions, hard = batch
    value = loss(token_log_probs(z, actions), old, advantages, token_entropy(z), mask, hard, **options)
    return value.detach(), torch.autograd.grad(value, z)[0]


def advantage(*, seed: int) -> dict[str, float]:
    """CEEH-EA: signs and bounds of the advantages, the formula in a loop, no gradient through the entropy."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for kappa, alpha in itertools.product((1.01, 2.0, 7.0), (0.0, 0.4, 30.0)):
        a = torch.randn(1000, 10, generator=generator, dtype=F64)
        a[:20] = 0
        h = 5 * torch.rand(1000, 10, generator=generator, dtype=F64)
        hard = torch.rand(1000, generator=generator) < 0.5
        mask = torch.rand(1000, 10, generator=generator) < 0.8
        found = entropy_advantages(a, h, mask, hard, alpha=alpha, kappa=kappa)
        wrong, on = (a < 0) & (alpha > 0), mask & hard[:, None]
        loop = [
            float(a[i, t]) + min(alpha * float(h[i, t]), abs(float(a[i, t])) / kappa) * float(on[i, t])
            for i, t in itertools.product(range(0, 1000, 50), range(10))
        ]
        worst.note(
            formula_gap=max(gap(found[::50].flatten(), loop), gap(found[~on], a[~on])),
            signs_changed=float((found.sign() != a.sign()).sum()),
            bound_excess=float(((found - a).abs() - a.abs() / kappa).max()),
            # A wrong response of a hard question is punished less: the bonus has one sign.
            wrong_excess=max(
                float((a - found).max()),
                float((found - (1 - 1 / kappa) * a)[wrong].max()) if bool(wrong.any()) else -1.0,
            ),
        )
    flipped = entropy_advantages(
        torch.tensor([[-1.0]], dtype=F64), torch.full((1, 1), 9.0), torch.ones(1, 1), torch.ones(1), kappa=0.5
    )
    for number in range(10):
        batch = rows(seed + number)
        z, old, advantages, mask, actions, hard = batch
        shaped = entropy_advantages(advantages, token_entropy(z), mask, hard)
        plain = ppo(token_log_probs(z, actions), old, shaped.detach(), mask, low=0.2, high=0.28, dual=3.0)
        value, gradient = loss_of(batch, ceeh_ea)
        worst.note(
            constant_gap=max(gap(value, plain), gap(gradient, torch.autograd.grad(plain, z)[0])),
        )
    return {**worst, "flipped": float(flipped)}


def entropy_loss(*, seed: int) -> dict[str, float]:
    """CEEH-ME: the formula in a loop, what the factor does and where it does nothing, annealing."""
    worst = Worst()
    absolute = []
    for number in range(10):
        batch = rows(seed + number)
        z, old, advantages, mask, actions, hard = batch
        h = token_entropy(z).detach()
        logp = token_log_probs(z, actions)
        terms = [(5.0 if hard[i] else 1.0, float(h[i, t])) for i, t in mask.nonzero().tolist()]
        value, gradient = loss_of(batch, ceeh_me, coefficient=0.3, scale=0.7)
        surrogate = ppo(logp, old, advantages, mask, low=0.2, high=0.28, dual=3.0)
        whole = sum(w * one for w, one in terms) / sum(w for w, _ in terms)
        weights = torch.where(hard[:, None], 5.0, 1.0) * mask
        direct = surrogate - 0.21 * (weights * token_entropy(z)).sum() / weights.sum()
        plain = weighted_entropy(h, mask, torch.zeros_like(hard))
        absolute.append(sum(w * one for w, one in terms) / len(terms) - whole)
        retained, _ = loss_of(batch, ceeh_me, coefficient=0.3, scale=0.7, retain=True)
        milder = [(1 + 4 * 0.7 if hard[i] else 1.0, float(h[i, t])) for i, t in mask.nonzero().tolist()]
        milder_mean = sum(w * one for w, one in milder) / sum(w for w, _ in milder)
        alone = [weighted_entropy(h[i : i + 1], mask[i : i + 1], hard[i : i + 1]) for i in range(len(h))]
        bare = [weighted_entropy(h[i : i + 1], mask[i : i + 1], hard[i : i + 1], factor=1.0) for i in range(len(h))]
        worst.note(
            formula_gap=max(
                gap(value, surrogate.detach() - 0.21 * whole), gap(gradient, torch.autograd.grad(direct, z)[0])
            ),
            uniform_gap=max(
                gap(weighted_entropy(h, mask, torch.ones_like(hard)), plain), gap(plain, float(h[mask].mean()))
            ),
            retain_gap=gap(retained, surrogate.detach() - 0.3 * milder_mean),
            micro_batch_gap=gap(torch.stack(alone), torch.stack(bare)),
        )
    scales = [method.annealed(t, 40) for t in range(41)]
    return {
        **worst,
        "absolute_lead": min(absolute),
        "annealing_gap": gap(scales, [math.cos(math.pi * t / 80) ** 2 for t in range(41)]),
    }


# The metric, and what calls must and must not do.

QUOTED = (  # accuracy, length, base's accuracy and length, and NAG, as a public summary quotes the tables
    (91.4, 2696, 91.3, 3701, -0.06), (92.1, 2170, 91.3, 3701, -0.56),
    (35.6, 10173, 36.7, 10958, 0.8), (36.3, 7311, 36.7, 10958, 0.63),
)  # fmt: skip


def metrics() -> dict[str, float]:
    """NAG as a product and as a quotient on the numbers that a summary quotes; pass@k against all subsets."""
    worst = Worst()
    quotient = []
    for accuracy, length, base_accuracy, base_length, quoted in QUOTED:
        found = method.nag(accuracy, length, base_accuracy=base_accuracy, base_length=base_length)
        quotient.append(abs(found / (1 - length / base_length) - quoted))
        worst.note(nag_gap=abs(found - quoted))
    by_hand = [
        method.nag(accuracy, length, base_accuracy=50.0, base_length=100.0)
        for accuracy, length in ((25.0, 75.0), (50.0, 30.0), (20.0, 100.0))
    ]
    worst.note(nag_hand_gap=gap(by_hand, [25.0, 0.0, 0.0]))
    table = torch.zeros(9, 9, dtype=F64)
    for n, c in itertools.product((1, 5, 8), range(9)):
        outcomes = torch.tensor([1.0] * c + [0.0] * (n - c))
        for k in range(1, n + 1) if c <= n else ():
            subsets = list(itertools.combinations(outcomes.tolist(), k))
            found = float(pass_at_k(outcomes, n, k))
            worst.note(pass_gap=abs(found - fmean(float(any(one)) for one in subsets)))
            if k == 1:
                worst.note(pass_gap=abs(found - c / n))
            if n == 8:
                table[c, k] = found
    worst.note(pass_gap=max(-float(table[:, 1:].diff(dim=1).min()), -float(table[:, 1:].diff(dim=0).min())))
    return {**worst, "quotient_gap": min(quotient)}


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, half precision, what lies outside the mask, bad calls."""
    worst = Worst()
    z, old, advantages, mask, actions, hard = rows(seed)
    logp, h = token_log_probs(z, actions).detach(), token_entropy(z).detach()
    dirty = [torch.where(mask, one, math.nan) for one in (logp, old, h)]
    nan = h.clone()
    nan[0, 0] = math.nan
    clip = {"low": 0.2, "high": 0.28, "dual": 3.0}
    ea = {"alpha": 0.4, "kappa": 2.0, "scale": 1.0}
    me = {"coefficient": 0.001, "factor": 5.0, "scale": 1.0, "retain": False}
    remembered = {"difficulty": "history", "anchor": "min", "up": 0.2, "down": 0.05, "scale": 0.1, "floor": -0.9}
    half = [one.bfloat16() for one in (logp, old, advantages, h)]
    wide = [one.float() for one in half]
    for loss in (ceeh_ea, ceeh_me):
        worst.note(
            half_gap=gap(*(loss(one[0], one[1], one[2], one[3], mask, hard) for one in (half, wide))),
            padding_gap=max(
                gap(
                    loss(dirty[0], dirty[1], advantages, dirty[2], mask, hard),
                    loss(logp, old, advantages, h, mask, hard),
                ),
                gap(loss(logp, old, advantages, h, torch.zeros_like(mask), hard)),
            ),
        )
    batch = z, old, advantages, mask, actions, hard
    plain = ppo(token_log_probs(z, actions), old, advantages, mask, low=0.2, high=0.28, dual=3.0)
    plain_gradient = torch.autograd.grad(plain, z)[0]
    for loss, off in ((ceeh_ea, "scale"), (ceeh_ea, "alpha"), (ceeh_me, "scale"), (ceeh_me, "coefficient")):
        value, gradient = loss_of(batch, loss, **{off: 0.0})
        worst.note(off_gap=max(gap(value, plain), gap(gradient, plain_gradient)))
    alone = group_advantages(torch.tensor([0.3, 1.4]), 1, std=False)
    equal = group_advantages(torch.full((4,), 1.1), 4, std=False)
    one = torch.zeros(2, dtype=torch.int64)
    two = torch.ones(2)
    memory = Memory(2)
    return {
        **worst,
        "other": other_defaults(ceeh_ea, **ea, **clip)
        + other_defaults(ceeh_me, **me, **clip)
        + other_defaults(entropy_advantages, **ea)
        + other_defaults(weighted_entropy, factor=5.0)
        + other_defaults(method.length_reward, scale=0.1, floor=-0.9)
        + other_defaults(asymmetric_average, up=0.2, down=0.05)
        + other_defaults(Memory.__init__, **remembered),
        "no_signal": gap(alone) + gap(equal),
        "bad_passed": accepted(
            lambda: Memory(0),
            lambda: Memory(3, difficulty="now"),  # type: ignore[arg-type]
            lambda: Memory(3, anchor="mean"),  # type: ignore[arg-type]
            lambda: memory.visit(one, two[:1], two),
            lambda: memory.visit(one[None], two[None], two[None]),
            lambda: memory.visit(one.float(), two, two),
            lambda: memory.visit(one + 2, two, two),
            lambda: memory.visit(one - 1, two, two),
            lambda: memory.visit(one, two * math.nan, two),
            lambda: memory.visit(one, two * 0.5, two),
            lambda: asymmetric_average(two, two, up=1.1),
            lambda: asymmetric_average(two, two, down=-0.1),
            lambda: method.length_reward(two, two[:1]),
            lambda: method.length_reward(two, two, scale=-0.1),
            lambda: method.length_reward(two, two, floor=-1.0),
            lambda: method.length_reward(two, two, floor=0.1),
            lambda: entropy_advantages(advantages, h, mask, hard[:2]),
            lambda: entropy_advantages(advantages[:2], h, mask, hard),
            lambda: entropy_advantages(advantages, nan, torch.ones_like(mask), hard),
            lambda: entropy_advantages(advantages, h, mask, hard, kappa=0.0),
            lambda: entropy_advantages(advantages, h, mask, hard, alpha=-0.1),
            lambda: entropy_advantages(advantages, h, mask, hard, scale=-0.1),
            lambda: weighted_entropy(h[0], mask[0], hard),
            lambda: weighted_entropy(h, mask[:, 1:], hard),
            lambda: weighted_entropy(h, mask, hard, factor=0.0),
            lambda: ceeh_me(logp, old, advantages, h, mask, hard, coefficient=-0.1),
            lambda: ceeh_me(logp, old, advantages, h, mask, hard, scale=-0.1),
            lambda: method.annealed(5, 4),
            lambda: method.annealed(-1, 4),
            lambda: method.annealed(0, 0),
            lambda: method.nag(1.0, 2.0, base_accuracy=1.0, base_length=1.0),
            lambda: method.nag(1.0, 1.0, base_accuracy=0.0, base_length=1.0),
            lambda: method.nag(1.0, -1.0, base_accuracy=1.0, base_length=1.0),
        ),
    }


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds forward and backward from logits (16, 64, 4000) of both losses, and of PPO with an entropy bonus."""
    batch = rows(seed, responses=16, tokens=64, vocabulary=4000)
    z, old, advantages, mask, actions, hard = (
        one.detach().float() if one.is_floating_point() else one for one in batch
    )
    z.requires_grad_()

    def call(loss: Callable[..., torch.Tensor]) -> None:
        logp = token_log_probs(z, actions)
        torch.autograd.grad(loss(logp, old, advantages, token_entropy(z), mask, hard), z)

    def plain(*given: torch.Tensor) -> torch.Tensor:
        logp, old, advantages, entropy, mask, _ = given
        bonus = torch.where(mask, entropy, 0).sum() / mask.sum()
        return ppo(logp, old, advantages, mask, low=0.2, high=0.28, dual=3.0) - 0.001 * bonus

    calls = {"ea": lambda: call(ceeh_ea), "me": lambda: call(ceeh_me), "plain": lambda: call(plain)}
    return interleaved(calls, rounds=4)
