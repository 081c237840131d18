"""The exact tier in float64: the reward by hand, its bounds and invariances, the ways around it, its advantages.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds), `wrong` a count of cases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from statistics import fmean

import torch

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement import tabular_policies as tabular
from suites.pear import method
from suites.pear.method import group_advantages, penalty, phase_means, phase_reward, phases

F64 = torch.float64
TAG = 9
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batches(seed: int, count: int = 40) -> Iterator[Batch]:
    """Entropies (B, T) up to 3 nats, actions of 10 tokens of which 9 is the tag, and a mask of at least one token."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        shape = tuple(torch.randint(2, 14, (2,), generator=generator).tolist())
        h = 3 * torch.rand(shape, generator=generator, dtype=F64)
        actions = torch.randint(10, shape, generator=generator)
        mask = torch.arange(shape[1]) < torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)
        yield h, actions, mask


def by_hand(h: list[float], actions: list[int], alpha: float, untagged: str) -> tuple[float, float, float]:
    """H_think, H_ans and P of one response, in lists."""
    if TAG in actions:
        k = actions.index(TAG)
        before, after = h[:k], h[k + 1 :]
    elif untagged == "thinking":
        before, after = h[:-1], []
    else:
        before, after = [], h
    means = [fmean(part) if part else 0.0 for part in (before, after)]
    return means[0], means[1], max(0.0, means[0] - alpha * means[1])


def right(h: torch.Tensor, actions: torch.Tensor, mask: torch.Tensor, **options: float) -> torch.Tensor:
    """The rewards of responses that are all right."""
    return phase_reward(torch.ones(len(h)), h, *phases(actions, mask, TAG), **options)  # type: ignore[arg-type]


def definition(*, seed: int) -> dict[str, float]:
    """Phases, means, penalty and reward against lists, for several alpha and both conventions."""
    worst = Worst()
    for h, actions, mask in batches(seed):
        for untagged in ("thinking", "answer"):
            parts = phases(actions, mask, TAG, untagged=untagged)
            means = phase_means(h, *parts)
            for alpha in (-1.0, 0.0, 0.5, 1.0, 2.0):
                expected = [
                    by_hand(one[kept].tolist(), token[kept].tolist(), alpha, untagged)
                    for one, token, kept in zip(h, actions, mask, strict=True)
                ]
                correct = torch.arange(len(h)) % 2
                rewards = phase_reward(correct, h, *parts, alpha=alpha, score=0.8, format_score=0.1)
                found = phase_reward(correct, h, *parts, alpha=alpha, format_score=0.3, found=correct.bool())
                worst.note(
                    means_gap=max(gap(means[i], [one[i] for one in expected]) for i in (0, 1)),
                    penalty_gap=gap(penalty(*means, alpha=alpha), [one[2] for one in expected]),
                    reward_gap=gap(rewards, [0.1 if i % 2 == 0 else 0.8 - one[2] for i, one in enumerate(expected)]),
                    missing_gap=gap(found[correct == 0]),
                )  # fmt: skip
            worst.note(both=float((parts[0] & parts[1]).sum()), outside=float(((parts[0] | parts[1]) & ~mask).sum()))
    return worst


def tables(*, seed: int) -> dict[str, float]:
    """Phase entropies of every sequence of a policy in tables, where each token's entropy is known in closed form."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for _ in range(5):
        policy = tabular.SequencePolicy.random(3, 4, generator, scale=2.0)
        sequences = policy.sequences
        by_step = [tabular.entropy(table) for table in policy.tables]
        prefix = [torch.zeros(len(sequences), dtype=torch.int64)]
        for t in range(3):
            prefix.append(prefix[-1] * 3 + sequences[:, t])
        h = torch.stack([by_step[t][prefix[t]] for t in range(4)], 1)
        mask = torch.ones_like(sequences, dtype=torch.bool)
        thinking, answer = phase_means(h, *phases(sequences, mask, 2))
        chance = policy.log_probs().sum(1).exp()
        expected_think, expected_answer = 0.0, 0.0
        for row, chances in zip(sequences.tolist(), chance.tolist(), strict=True):
            k = row.index(2) if 2 in row else 3
            numbers = [int("".join(map(str, row[:t])) or "0", 3) for t in range(4)]
            values = [float(by_step[t][numbers[t]]) for t in range(4)]
            expected_think += chances * (fmean(values[:k]) if k else 0.0)
            expected_answer += chances * (fmean(values[k + 1 :]) if k < 3 else 0.0)
        worst.note(
            expected_gap=max(
                abs(float(chance @ thinking) - expected_think), abs(float(chance @ answer) - expected_answer)
            ),
            entropy_excess=float(torch.maximum(thinking, answer).max()) - math.log(3),
        )
    return worst


def bounds(*, seed: int) -> dict[str, float]:
    """Signs and monotonicity of the penalty, convexity in alpha, the range of the reward, scale and alpha of -1."""
    worst = Worst()
    alphas = torch.linspace(-2, 3, 26, dtype=F64)
    for h, actions, mask in batches(seed):
        parts = phases(actions, mask, TAG)
        think, ans = phase_means(h, *parts)
        curve = torch.stack([penalty(think, ans, alpha=float(alpha)) for alpha in alphas])
        up = [torch.where(part, h + 0.3, h) for part in parts]
        p = penalty(think, ans)
        more_think, more_ans = (penalty(*phase_means(one, *parts)) for one in up)
        c = 1 / math.log(2)
        worst.note(
            negative=-float(curve.min()),
            reward_excess=float(right(h, actions, mask).max()) - 1,
            alpha_rise=float(curve.diff(dim=0).max()),
            alpha_bend=-float(curve.diff(dim=0).diff(dim=0).min()),
            think_fall=float((p - more_think).max()),
            ans_rise=float((more_ans - p).max()),
            sum_gap=gap(penalty(think, ans, alpha=-1.0), think + ans),
            unit_gap=gap(penalty(*phase_means(c * h, *parts)), c * p),
        )
    return worst


def ways_around(*, seed: int) -> dict[str, float]:
    """What changes a response and not its reward, or raises it: repeats, order, filler, no thinking at all, no tag."""
    worst, generator = Worst(), torch.Generator().manual_seed(seed)
    for _ in range(40):
        n, m = (int(one) for one in torch.randint(1, 8, (2,), generator=generator))
        think, ans = (2 * torch.rand(size, generator=generator, dtype=F64) for size in (n, m))
        tag = torch.rand(1, generator=generator, dtype=F64)

        def reward(think: torch.Tensor, ans: torch.Tensor, tag: torch.Tensor = tag) -> float:
            h = torch.cat([think, tag, ans])[None]
            actions = torch.tensor([[0] * len(think) + [TAG] + [0] * len(ans)])
            return float(right(h, actions, torch.ones_like(actions)))

        plain = reward(think, ans)
        shuffled = reward(think[torch.randperm(n, generator=generator)], ans.flip(0))
        h = torch.cat([think, tag])[None]
        untagged = float(right(h, torch.zeros(1, n + 1, dtype=torch.int64), torch.ones(1, n + 1)))
        filled = [reward(torch.cat([think, torch.zeros(size, dtype=F64)]), ans) for size in range(6)]
        gains = [after - before for before, after in itertools.pairwise(filled)]
        worst.note(
            repeat_gap=abs(reward(think.repeat(3), ans) - plain),
            order_gap=abs(shuffled - plain),
            filler_gap=abs(filled[3] - (1 - max(0.0, float(think.mean()) * n / (n + 3) - float(ans.mean())))),
            filler_loss=-min(gains),
            empty_gap=abs(reward(think[:0], ans) - 1),
            untagged_excess=untagged - plain,
        )
    example = [
        float(penalty(torch.tensor([0.6 * 4 / (4 + m)], dtype=F64), torch.tensor([0.2], dtype=F64))) for m in (0, 4, 12)
    ]
    return {**worst, "example_gap": gap(example, [0.4, 0.1, 0.0])}


def range_of_reward() -> dict[str, float]:
    """A right answer after thinking of 1.6 nats and an answer of 0.2: its reward, beside that of a wrong one."""
    h = torch.tensor([[1.6, 1.6, 0.5, 0.2], [1.6, 1.6, 0.5, 0.2]], dtype=F64)
    actions = torch.tensor([[1, 1, TAG, 1]] * 2)
    mask = torch.ones_like(actions)
    rewards = phase_reward(torch.tensor([1, 0]), h, *phases(actions, mask, TAG))
    wrong = 0
    for p in torch.linspace(0, 2, 41, dtype=F64):
        for score, form in ((1.0, 0.0), (1.0, 0.3), (0.6, 0.2)):
            one = torch.full((1, 4), float(p), dtype=F64)
            one[:, 3] = 0
            pair = phase_reward(
                torch.tensor([1, 0]), one.repeat(2, 1), *phases(actions, mask, TAG), score=score, format_score=form
            )
            if abs(float(p) - (score - form)) > 1e-9:
                wrong += bool(pair[0] > pair[1]) != (float(p) < score - form)
    return {"right": float(rewards[0]), "right_over_wrong": float(rewards[0] - rewards[1]), "order_wrong": float(wrong)}


def advantages(*, seed: int) -> dict[str, float]:
    """Groups of right answers only, in which the penalty is all there is, and mixed ones, in which it is a part."""
    worst, generator = Worst(), torch.Generator().manual_seed(seed)
    for _ in range(30):
        p = 0.05 + 0.3 * torch.rand(8, generator=generator, dtype=F64)
        whole = group_advantages(1 - p, 8, epsilon=0.0)
        formula = -(p - p.mean()) / p.std()
        mixed = torch.where(torch.arange(8) % 2 == 0, 1 - p, 0)
        apart = group_advantages(mixed, 8) - group_advantages((torch.arange(8) % 2 == 0).double(), 8)
        worst.note(
            formula_gap=gap(whole.squeeze(1), formula),
            score_gap=gap(group_advantages(0.6 - p, 8, epsilon=0.0), whole),
            scale_gap=gap(group_advantages(1 - p / 100, 8, epsilon=0.0), whole),
            unit_variance_gap=abs(float(whole.std()) - 1),
            mixed_size=float(apart.abs().max()),
        )
    z = torch.randn(3, 4, generator=generator, dtype=F64, requires_grad=True)
    h = torch.special.entr(z.softmax(-1)).sum(-1)[None]
    reward = right(h, torch.tensor([[1, TAG, 1]]), torch.ones(1, 3))
    return {**worst, "has_gradient": float(reward.requires_grad)}


def defaults(*, seed: int) -> dict[str, float]:
    """Options that nobody gives, half precision, padding, texts, empty responses, and calls that make no sense."""
    h, actions, mask = next(batches(seed, 1))
    h, actions, mask = h[:2], actions[:2], mask[:2]
    one = torch.ones(2)
    parts = phases(actions, mask, TAG)
    half = h.bfloat16()
    dirty = torch.where(mask, h, math.nan)
    nan = h.clone()
    nan[0, 0] = math.nan
    texts = {
        ("so 3 + 4 = 7\n#### 7", "strict"): "7",
        ("#### 5, no: #### $1,234.50", "strict"): "1234.50",
        ("it is 12", "strict"): None,
        ("it is 12, or -3", "flexible"): "-3",
        ("12" + " " * 300, "flexible"): None,
    }
    tokens = torch.tensor([1, 1, TAG, 1])
    entropies = torch.tensor([0.4, 0.2, 2.0, 0.1], dtype=F64)

    def scored(text: str, **options: object) -> float:
        return method.score_text(text, "7", entropies=entropies, tokens=tokens, tag=TAG, **options)  # type: ignore[arg-type]

    empty = torch.zeros(2, 0)
    return {
        "other": other_defaults(phases, untagged="thinking")
        + other_defaults(penalty, alpha=1.0)
        + other_defaults(phase_reward, alpha=1.0, score=1.0, format_score=0.0, found=None)
        + other_defaults(method.extracted, method="strict")
        + other_defaults(
            method.score_text, method="strict", alpha=1.0, score=1.0, format_score=0.0, untagged="thinking"
        ),
        "half_gap": gap(phase_reward(one, half, *parts), phase_reward(one, half.float(), *parts)),
        "padding_gap": gap(phase_reward(one, dirty, *parts), phase_reward(one, h, *parts)),
        "texts_wrong": float(sum(method.extracted(text, how) != answer for (text, how), answer in texts.items())),  # type: ignore[arg-type]
        "scored_gap": gap(
            [scored("#### 7"), scored("#### 8", format_score=0.2), scored("7"), scored("7", method="flexible")],
            [0.8, 0.2, 0.0, 0.8],
        ),
        "empty_gap": gap(phase_reward(one, empty, *phases(empty.long(), empty, TAG)), [1.0, 1.0]),
        "bad_passed": accepted(
            lambda: phases(actions, mask[:, :-1], TAG),
            lambda: phases(actions[0], mask[0], TAG),
            lambda: phases(actions, mask, TAG, untagged="none"),  # type: ignore[arg-type]
            lambda: phase_means(h, parts[0], parts[1][:, :-1]),
            lambda: phase_means(nan, torch.ones_like(mask), parts[1]),
            lambda: phase_means(torch.full_like(h, math.inf), torch.ones_like(mask), parts[1]),
            lambda: phase_reward(torch.ones(3), h, *parts),
            lambda: phase_reward(torch.tensor([1.0, 0.5]), h, *parts),
            lambda: phase_reward(torch.tensor([1.0, math.nan]), h, *parts),
            lambda: phase_reward(one, h, *parts, score=0.0),
            lambda: phase_reward(one, h, *parts, score=1.1),
            lambda: phase_reward(one, h, *parts, format_score=1.0),
            lambda: phase_reward(one, h, *parts, format_score=-0.1),
            lambda: phase_reward(one, h, *parts, found=torch.ones(3)),
            lambda: method.extracted("7", "loose"),  # type: ignore[arg-type]
        ),
    }  # fmt: skip
