"""The exact tier in float64: values on enumerated trees, steps, objectives, calibration, choosing, the printed table.

Names of metrics: a `gap` is a distance between two computations of the same thing, an `excess` how far a bound is
passed (negative where it holds), `wrong` a count of cases.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, Literal

import torch
from torch.nn import functional as F

from baselines.oracles import Worst, accepted, gap, other_defaults
from baselines.reinforcement.policy_gradient import token_log_probs
from baselines.timing import interleaved
from suites.implicit_prm import method
from suites.implicit_prm.method import (
    all_pairs,
    balanced_weights,
    best_of_n,
    ce_loss,
    dpo_loss,
    kl_baseline,
    kto_loss,
    nca_loss,
    response_scores,
    split_steps,
    step_rewards,
    token_rewards,
    weighted_vote,
)

F64 = torch.float64
SYMBOLS, LONGEST = 4, 4
OVERS: tuple[Literal["min", "sum"], ...] = ("min", "sum")


# Trees.


@dataclass(frozen=True)
class Tree:
    """All sequences of LONGEST symbols, in order, with their log-probabilities (N, LONGEST) under two policies.

    With an end, symbol 0 ends a response and only padding of 0 follows; other sequences are not `there`.
    """

    actions: torch.Tensor
    mask: torch.Tensor
    there: torch.Tensor  # (N,)
    policy: torch.Tensor
    reference: torch.Tensor

    def weights(self, logs: torch.Tensor) -> torch.Tensor:
        """log-probabilities of whole responses, (N,)."""
        return torch.where(self.mask, logs, 0).sum(1).masked_fill(~self.there, -math.inf)


def tree(generator: torch.Generator, *, spread: float, ends: bool) -> Tree:
    """Two random tables of next-symbol probabilities for every prefix."""
    actions = torch.tensor(list(itertools.product(range(SYMBOLS), repeat=LONGEST)))
    over = (actions == 0).long().cumsum(1) if ends else torch.zeros_like(actions)
    mask = F.pad(over, (1, 0))[:, :-1] == 0
    there = ((actions == 0) | mask).all(1)
    logs = []
    for _ in range(2):
        columns = []
        for place in range(LONGEST):
            table = (spread * torch.randn(SYMBOLS**place, SYMBOLS, generator=generator, dtype=F64)).log_softmax(-1)
            # Sequences with one prefix are neighbours.
            prefix = torch.arange(len(actions)) // SYMBOLS ** (LONGEST - place)
            columns.append(table[prefix, actions[:, place]])
        logs.append(torch.stack(columns, 1))
    return Tree(actions, mask, there, logs[0], logs[1])


def values(*, seed: int) -> dict[str, float]:
    """Values of every prefix by enumeration, for trees of fixed and of free length and four beta."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for ends, spread, beta in itertools.product((False, True), (0.5, 2.0), (0.05, 0.5, 1.0, 3.0)):
        grown = tree(generator, spread=spread, ends=ends)
        rewards = token_rewards(grown.policy, grown.reference, grown.mask, beta=beta)
        prefixes, whole = F.pad(rewards.cumsum(1), (1, 0)), rewards.sum(1)
        bare = F.pad(torch.where(grown.mask, beta * grown.policy, 0).cumsum(1), (1, 0))
        acted, referred = grown.weights(grown.policy), grown.weights(grown.reference)
        right = grown.there & (torch.rand(len(whole), generator=generator) < 0.3)
        share = torch.logsumexp(referred[right], 0)
        right_value = beta * (torch.logsumexp((referred + whole / beta)[right], 0) - share)
        worst.note(right_excess=float(right_value + beta * share))
        for place in range(LONGEST + 1):

            def grouped(one: torch.Tensor, place: int = place) -> torch.Tensor:
                return one.view(SYMBOLS**place, -1)

            # The first sequence of a prefix goes on with symbol 0: it is there if any is.
            kept = grouped(grown.there)[:, 0]
            q, q_bare = (grouped(one[:, place])[kept, 0] for one in (prefixes, bare))
            ref, pol = (grouped(one)[kept].log_softmax(1) for one in (referred, acted))
            r = grouped(whole)[kept]
            soft = beta * torch.logsumexp(ref + r / beta, 1)
            mean, own = ((logs.exp() * r).sum(1) for logs in (ref, pol))
            apart = torch.where(pol > -math.inf, pol.exp() * (pol - ref), 0).sum(1)
            soft_bare = beta * torch.logsumexp(ref + grouped(bare[:, -1])[kept] / beta, 1)
            worst.note(
                value_gap=gap(q, soft),
                start_gap=gap(soft) if place == 0 else 0.0,
                order_excess=max(float((mean - q).max()), float((q - own).max())),
                mean_gap=gap(q, mean),
                policy_gap=gap(own, q + beta * apart),
                bare_gap=gap(q_bare, soft_bare),
            )
    return worst


def steps(*, seed: int) -> dict[str, float]:
    """Rewards of steps against loops, their sums under any splitting, and the sum over two places that is printed."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    changed = 0.0
    for _ in range(30):
        rows, width = torch.randint(1, 8, (2,), generator=generator).tolist()
        actions = torch.randint(4, (rows, width), generator=generator)
        mask = torch.arange(width) < torch.randint(0, width + 1, (rows, 1), generator=generator)
        logp, reference = torch.randn(2, rows, width, generator=generator, dtype=F64)
        rewards = token_rewards(logp, reference, mask)
        numbers = split_steps(actions, mask, {1, 3})
        found, present = step_rewards(rewards, numbers)
        wider, more = step_rewards(rewards, numbers, count=9)
        coarse, coarse_present = step_rewards(rewards, numbers.where(numbers < 0, numbers // 2))
        q = F.pad(rewards.cumsum(1), (1, 0))
        for row in range(rows):
            length, expected, start = int(mask[row].sum()), [], 0
            for place in range(length):
                if actions[row, place] in (1, 3) or place == length - 1:
                    expected.append(float(q[row, place + 1] - q[row, start]))
                    start = place + 1
            count = len(expected)
            worst.note(
                step_gap=gap(found[row, :count], expected)
                + gap(found[row, count:])
                + float((present[row] != (torch.arange(found.shape[1]) < count)).sum()),
            )
            for over, accumulated in itertools.product(OVERS, (False, True)):
                terms = list(itertools.accumulate(expected)) if accumulated else expected
                score = (min(terms) if over == "min" else sum(terms)) if terms else 0.0
                scores = response_scores(found, present, over=over, accumulated=accumulated)
                worst.note(score_gap=gap(scores[row], score))
        whole = rewards.sum(1)
        doubled = (rewards + F.pad(rewards, (1, 0))[:, :-1]).where(mask, 0).sum(1)
        last = rewards.gather(1, (mask.sum(1) - 1).clamp(min=0)[:, None])[:, 0]
        worst.note(
            total_gap=max(gap(one.sum(1), whole) for one in (found, coarse, wider))
            + float((more.sum(1) - present.sum(1)).abs().sum()),
            printed_gap=gap(doubled, whole),
            printed_excess=gap(doubled - whole, whole - last),
        )
        changed = max(changed, gap(response_scores(coarse, coarse_present), response_scores(found, present)))
    return {**worst, "splitting_gap": changed}


# Objectives.


def losses(*, seed: int) -> dict[str, float]:
    """Values and gradients by formula, at the start, far away; what adding a constant does; the sigmoid in float32."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    log_sig = F.logsigmoid
    for beta in (0.05, 1.0):
        labels = (torch.rand(9, generator=generator) < 0.4).double()
        mask = torch.arange(6) < torch.randint(0, 7, (9, 1), generator=generator)
        logp, reference = (3 * torch.randn(2, 9, 6, generator=generator, dtype=F64)).requires_grad_()
        rewards = token_rewards(logp, reference, mask, beta=beta).sum(1)
        weights = torch.rand(9, generator=generator, dtype=F64)
        each = -labels * rewards.sigmoid().log() - (1 - labels) * (1 - rewards.sigmoid()).log()
        (slope,) = torch.autograd.grad(ce_loss(rewards, labels), logp, retain_graph=True)
        wanted = (beta * (rewards.sigmoid() - labels) / 9)[:, None] * mask
        start = token_rewards(logp, logp.detach(), mask, beta=beta).sum(1)
        (first,) = torch.autograd.grad(ce_loss(start, labels), logp)
        plus, minus = rewards.detach()[:4].requires_grad_(), rewards.detach()[4:8].requires_grad_()
        pair = (plus, minus)
        z = kl_baseline(rewards)
        at = z + 0.7
        kto = torch.where(labels == 1, 1 - (rewards - at).sigmoid(), 1 - (at - rewards).sigmoid())
        worst.note(
            ce_gap=gap(ce_loss(rewards, labels), each.mean())
            + gap(ce_loss(rewards, labels, weights=weights), (weights * each).sum() / weights.sum()),
            slope_gap=gap(slope, wanted),
            start_gap=gap(ce_loss(start, labels), math.log(2))
            + gap(first, beta / 9 * (0.5 - labels)[:, None] * mask),
            dpo_gap=gap(dpo_loss(*pair), -log_sig(plus - minus).mean())
            + gap(dpo_loss(*pair), ce_loss(plus - minus, torch.ones(4))),
            # One pair, one response: the number that a sum is divided by is not larger.
            single_gap=gap(dpo_loss(plus[:1], minus[:1]), -log_sig(plus - minus)[:1].sum())
            + gap(nca_loss(plus[:1], minus[:1]), nca_loss(plus[[0, 0]], minus[[0, 0]]))
            + gap(ce_loss(rewards[:1], labels[:1]), each[0])
            + gap(kto_loss(rewards[:1], labels[:1], at), kto[0]) + gap(kl_baseline(plus[:1].abs()), plus[0].abs()),
            dpo_shift=gap(dpo_loss(plus + 3, minus + 3), dpo_loss(*pair)),
            nca_gap=gap(nca_loss(*pair), (-log_sig(plus) - (log_sig(-plus) + log_sig(-minus)) / 2).mean()),
            kto_gap=gap(kto_loss(rewards, labels, at), kto.mean())
            + gap(
                kto_loss(rewards, labels, at, desirable=2.0, undesirable=0.5),
                (kto * torch.where(labels == 1, 2.0, 0.5)).mean(),
            )
            + gap(z, max(0.0, float(rewards.detach().mean()))) + gap(kl_baseline(-rewards.abs()))
            + gap(kl_baseline(rewards.abs()), rewards.abs().mean())
            + float(z.requires_grad),
        )  # fmt: skip
    top = torch.full((1,), math.log(2), dtype=F64, requires_grad=True)
    worst.note(nca_rest=gap(torch.autograd.grad(nca_loss(top, torch.zeros(1, dtype=F64)), top)[0]))
    far = torch.tensor([-math.inf, -1e4, -90, 90, 1e4], dtype=F64)
    wrong, right = torch.zeros(5), torch.ones(5)
    for label, expected in ((wrong, [0, 0, 0, 90, 1e4]), (right, [math.inf, 1e4, 90, 0, 0])):
        found = [float(ce_loss(one[None], own[None])) for one, own in zip(far, label, strict=True)]
        r = far.clone().requires_grad_()
        (slope,) = torch.autograd.grad(ce_loss(r, label), r)
        worst.note(far_gap=gap(found, expected) + gap(slope * 5, far.sigmoid() - label))
    r = torch.linspace(-30, 30, 61, requires_grad=True)
    for label in (torch.zeros(61), torch.ones(61)):
        official = F.binary_cross_entropy(r.sigmoid(), label, reduction="sum")
        wanted = r.detach().double().sigmoid() - label
        ours = torch.autograd.grad(ce_loss(r, label), r)[0] * 61
        worst.note(
            sigmoid_slope_gap=gap(torch.autograd.grad(official, r)[0], wanted), logits_slope_gap=gap(ours, wanted)
        )
    return {**worst, **_data(generator)}


def _data(generator: torch.Generator) -> dict[str, float]:
    """Weights that balance and pairs, against loops."""
    worst = Worst()
    for _ in range(10):
        labels = (torch.rand(24, generator=generator) < 0.4).long()
        questions = 7 * torch.randint(5, (24,), generator=generator) - 3
        inside, over_all = balanced_weights(labels, questions), balanced_weights(labels)
        expected = []
        for label, question in zip(labels.tolist(), questions.tolist(), strict=True):
            here = labels[questions == question].tolist()
            expected.append(len(here) / 2 / here.count(label) if len(set(here)) == 2 else 0.0)
        pairs = [
            [i, j] for i, j in itertools.product(range(24), repeat=2)
            if labels[i] > labels[j] and questions[i] == questions[j]
        ]  # fmt: skip
        worst.note(
            weights_gap=gap(inside, expected)
            + max(gap(over_all[labels == one].sum(), 12) for one in (0, 1))
            + gap(balanced_weights(labels * 0 + 1)),
            pairs_wrong=float(all_pairs(labels, questions).tolist() != pairs),
        )
    return worst


# What the cross-entropy is minimised by.


def calibration(*, seed: int) -> dict[str, float]:
    """The policy of least cross-entropy among all, where responses are right with given probabilities p.

    Rewards are tied by E_ref exp(r / beta) = 1, so that sig(r) - p = -c exp(r / beta) with the c that ties them; c is
    positive where r = logit(p) would have a larger mean. `error` is the mean of |sig(r) - p| under pi_ref.
    """
    generator, found, worst = torch.Generator().manual_seed(seed), {}, Worst()
    for beta, name in ((0.05, "paper"), (0.5, "half"), (1.0, "one")):
        errors = []
        for _ in range(5):
            p = 0.02 + 0.96 * torch.rand(64, generator=generator, dtype=F64)
            ref = torch.randn(64, generator=generator, dtype=F64).log_softmax(0)
            low, high = -60.0, 60.0
            for _ in range(60):
                log_c = (low + high) / 2
                r = _answer(p, log_c, beta)
                low, high = (log_c, high) if float(torch.logsumexp(ref + r / beta, 0)) > 0 else (low, log_c)
            logits = (ref + r / beta).requires_grad_()
            own = token_rewards(logits.log_softmax(0)[:, None], ref[:, None], torch.ones(64, 1), beta=beta).sum(1)
            objective = (ref.exp() * (p * F.softplus(-own) + (1 - p) * F.softplus(own))).sum()
            errors.append(float((ref.exp() * (r.sigmoid() - p).abs()).sum()))
            worst.note(
                slope_gap=gap(torch.autograd.grad(objective, logits)[0]) + gap(own, r),
                inversions=float((p.argsort() != own.argsort()).sum()),
                **{f"{name}_top": float(r.sigmoid().max())},
                # What the value of the empty prefix would be, were sig(r) = p; it must be 0.
                **{f"{name}_free_value": beta * float(torch.logsumexp(ref + p.logit() / beta, 0))},
            )
        found[f"{name}_error"] = fmean(errors)
    return {**worst, **found}


def _answer(p: torch.Tensor, log_c: float, beta: float) -> torch.Tensor:
    """r with sig(r) + exp(log_c + r / beta) = p, by bisection."""
    low = torch.minimum((p / 2).logit(), beta * ((p / 2).log() - log_c))
    high = torch.minimum(p.logit(), beta * (p.log() - log_c))
    for _ in range(50):
        middle = (low + high) / 2
        above = middle.sigmoid() + (log_c + middle / beta).exp() > p
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


# Choosing.


def choosing(*, seed: int) -> dict[str, float]:
    """Best of n against all subsets; what a factor of the scores changes; votes against loops and the plain vote."""
    generator, worst = torch.Generator().manual_seed(seed), Worst()
    for _ in range(6):
        scores = torch.randint(5, (4, 7), generator=generator).double()  # with ties
        correct = (torch.rand(4, 7, generator=generator) < 0.5).double()
        for n in range(1, 8):
            expected = []
            for s, c in zip(scores.tolist(), correct.tolist(), strict=True):
                subsets = list(itertools.combinations(range(7), n))
                expected.append(fmean(
                    fmean(c[i] for i in subset if s[i] == max(s[j] for j in subset)) for subset in subsets
                ))  # fmt: skip
            worst.note(best_gap=gap(best_of_n(scores, correct, n), expected))
    scores = 50 * torch.randn(300, 16, generator=generator, dtype=F64)
    correct = (torch.rand(300, 16, generator=generator) < 0.4).double()
    answers = torch.randint(-1, 5, (300, 16), generator=generator)
    scaled = gap(best_of_n(scores * 0.02, correct, 8), best_of_n(scores, correct, 8))
    picks = {c: answers.gather(1, weighted_vote(scores, answers, coefficient=c)[:, None]) for c in (0.0, 0.001, 0.05)}
    loops = []
    for row, own in zip(answers.tolist(), scores.tolist(), strict=True):
        totals: dict[int, float] = {}
        for answer, score in zip(row, own, strict=True):
            if answer >= 0:
                totals[answer] = totals.get(answer, 0.0) + 1 / (1 + math.exp(-0.001 * score))
        loops.append(max(totals, key=lambda one: totals[one]))
    # The last column is of responses without an answer, whose number is -1.
    counts = F.pad(torch.stack([(answers == one).sum(1) for one in range(5)], 1), (0, 1))
    top = counts.topk(2).values
    clear = top[:, 0] > top[:, 1]
    nothing = torch.full((1, 3), -1)
    worst.note(
        scale_gap=scaled,
        vote_wrong=float((picks[0.001][:, 0] != torch.tensor(loops)).sum())
        + float(weighted_vote(scores[:1, :3], nothing)[0])
        + float((counts.gather(1, picks[0.0] % 6)[:, 0] != top[:, 0]).sum()),
        official_changes=float((picks[0.001] != picks[0.0])[clear].sum()),
        official_breaks_ties=-float((picks[0.001] != picks[0.0])[~clear].double().mean()),
        trained_changes=-float((picks[0.05] != picks[0.0])[clear].double().mean()),
        official_outside=float((counts.gather(1, picks[0.001] % 6)[:, 0] != top[:, 0]).sum()),
    )
    return {**worst, "share_of_ties": float((~clear).double().mean())}


# The printed table: Mistral-7B, Llama-3.1-8B, Llama-3.1-70B, best of 4, 16 and 64 each, then their mean.
TABLE = {
    "math_shepherd": (17.6, 24.4, 26.8, 50.0, 51.4, 52.8, 68.6, 69.4, 68.8, 47.8),
    "autopsv": (16.6, 20.6, 22.2, 52.2, 51.4, 52.2, 68.4, 65.4, 62.4, 45.7),
    "dpo": (18.6, 24.4, 28.8, 54.0, 55.4, 57.0, 71.8, 71.2, 72.2, 50.4),
    "kto": (15.6, 18.4, 18.6, 49.6, 51.8, 50.8, 72.6, 67.0, 67.2, 45.7),
    "nca": (18.6, 23.8, 28.0, 52.4, 53.4, 55.2, 69.0, 73.0, 71.6, 49.4),
    "ce": (18.8, 24.0, 28.0, 52.6, 54.4, 53.0, 70.6, 67.0, 67.2, 48.4),
    "ce_data_balanced": (18.0, 23.6, 27.0, 52.6, 54.2, 52.6, 68.6, 66.8, 67.0, 47.8),
    "ce_question_balanced": (17.6, 22.6, 26.2, 52.6, 55.2, 54.6, 69.4, 71.2, 72.0, 49.0),
    "eurusrm": (17.2, 21.0, 20.4, 49.6, 51.6, 51.8, 69.0, 69.6, 72.2, 46.9),
    "rlhflow_mistral": (19.4, 25.2, 30.2, 51.8, 52.0, 50.6, 70.8, 71.0, 71.2, 49.1),
    "rlhflow_ds": (17.2, 23.0, 25.2, 54.4, 54.2, 55.8, 68.6, 70.4, 73.0, 49.1),
}
WITH_MAJORITY = {"kto": 50.4, "nca": 51.8, "dpo": 51.5, "ce": 51.9}
COST = (38.8, 38.6, 38.8)  # of Math-Shepherd over CE with 2, 4 and 8 responses


def printed() -> dict[str, float]:
    """Arithmetic of the published table."""
    mean = {name: row[-1] for name, row in TABLE.items()}
    leads = {name: mean[name] - mean["math_shepherd"] for name in WITH_MAJORITY}
    return {
        "means_gap": max(abs(fmean(row[:-1]) - row[-1]) for row in TABLE.values()),
        **{f"{name}_lead": lead for name, lead in leads.items()},
        "kto_lag": -leads["kto"],
        "least_lead": min(leads.values()),
        "least_vote_gain": min(one - mean[name] for name, one in WITH_MAJORITY.items()),
        "least_cost": min(COST),
    }


# Edges.


def edges(*, seed: int) -> dict[str, float]:
    """Bad input, half precision, responses that are empty, impossible or far off, defaults."""
    generator = torch.Generator().manual_seed(seed)
    one, mask = torch.zeros(2, 3), torch.ones(2, 3)
    nan, flat, labels = torch.full((2, 3), math.nan), torch.zeros(2), torch.tensor([0, 1])
    whole = torch.zeros(2, 3, dtype=torch.int64)
    rewards = partial(token_rewards, one, one, mask)
    bad = accepted(
        lambda: rewards(beta=0.0), lambda: rewards(beta=-1.0), lambda: rewards(beta=math.inf),
        lambda: rewards(beta=math.nan), lambda: token_rewards(one, one[:1], mask),
        lambda: token_rewards(one, one, flat),
        lambda: token_rewards(nan, one, mask), lambda: token_rewards(one, one - math.inf, mask),
        lambda: token_rewards(one - math.inf, one - math.inf, mask), lambda: split_steps(whole, mask[:1], {0}),
        lambda: split_steps(whole[0], mask[0], {0}), lambda: step_rewards(one, whole[:1]),
        lambda: step_rewards(one[0], whole[0]), lambda: step_rewards(one, whole - 2),
        lambda: step_rewards(one, whole + 2, count=2),
        lambda: ce_loss(flat, labels[:1]), lambda: ce_loss(one, mask), lambda: ce_loss(nan[0], mask[0]),
        lambda: ce_loss(flat, labels + 1), lambda: ce_loss(flat, labels / 2), lambda: ce_loss(flat, flat * math.nan),
        lambda: ce_loss(flat, labels, weights=flat[:1]), lambda: ce_loss(flat, labels, weights=flat - 1),
        lambda: ce_loss(flat, labels, weights=nan[0, :2]), lambda: dpo_loss(flat, flat[:1]),
        lambda: dpo_loss(nan[0], one[0]), lambda: dpo_loss(one[0], nan[0]), lambda: dpo_loss(one, one),
        lambda: nca_loss(flat, flat[:1]), lambda: nca_loss(nan[0], one[0]), lambda: kl_baseline(nan[0]),
        lambda: kto_loss(flat, labels, flat[0], desirable=-1.0), lambda: kto_loss(flat, labels + 1, flat[0]),
        lambda: kto_loss(flat, labels, flat[0], undesirable=-1.0), lambda: balanced_weights(labels, labels[:1]),
        lambda: balanced_weights(one), lambda: all_pairs(labels, labels[:1]), lambda: all_pairs(one, one),
        lambda: response_scores(one, mask[:1].bool()), lambda: response_scores(one, mask.bool(), over="mean"),  # type: ignore[arg-type]
        lambda: response_scores(flat, flat.bool()), lambda: best_of_n(one, mask, 0), lambda: best_of_n(one, mask, 4),
        lambda: best_of_n(nan, mask, 1), lambda: best_of_n(one, mask[:1], 1), lambda: best_of_n(flat, flat, 1),
        lambda: weighted_vote(one, whole[:1]), lambda: weighted_vote(nan, whole), lambda: weighted_vote(flat, labels),
    )  # fmt: skip
    worst = Worst()
    for dtype in (torch.float16, torch.bfloat16):
        logp, reference = (40 * torch.randn(2, 5, 8, generator=generator)).to(dtype)
        right = torch.tensor([0, 1, 1, 0, 1])
        found, wide = (
            token_rewards(a, b, torch.ones(5, 8)) for a, b in ((logp, reference), (logp.float(), reference.float()))
        )
        low, first = wide.sum(1).to(dtype), wide.sum(1).to(dtype).float()
        z = first[0]
        results = [
            (found, wide), (ce_loss(low, right), ce_loss(first, right)), (dpo_loss(low, -low), dpo_loss(first, -first)),
            (nca_loss(low, -low), nca_loss(first, -first)), (kl_baseline(low), kl_baseline(first)),
            (kto_loss(low, right, z.to(dtype)), kto_loss(first, right, z)),
            (step_rewards(logp, torch.zeros(5, 8, dtype=torch.int64))[0], logp.float().sum(1, keepdim=True)),
            (response_scores(logp, torch.ones(5, 8, dtype=torch.bool), over="sum"), logp.float().sum(1)),
        ]  # fmt: skip
        for ours, wanted in results:
            worst.note(half_gap=gap(ours, wanted) + float(ours.dtype != torch.float32))
    hidden = torch.tensor([[0.0, math.nan], [-math.inf, math.inf]])
    shown = torch.tensor([[1, 0], [0, 0]])
    impossible = token_rewards(torch.tensor([[-1.0, -math.inf]]), torch.tensor([[-1.0, -2.0]]), torch.ones(1, 2))
    none = torch.zeros(0)
    empty = torch.zeros(2, 0, dtype=torch.int64)
    cut, there = step_rewards(torch.zeros(2, 0), empty)
    worst.note(
        outside=gap(token_rewards(hidden, hidden, shown)),
        impossible=gap(impossible.sum(), -math.inf) + gap(ce_loss(impossible.sum(1), torch.zeros(1))),
        nothing=gap(ce_loss(none, none)) + gap(dpo_loss(none, none)) + gap(nca_loss(none, none))
        + gap(kl_baseline(none)) + gap(kto_loss(none, none, torch.zeros(()))) + float(all_pairs(none, none).numel())
        + float(balanced_weights(none).numel()) + gap(response_scores(cut, there), [0, 0])
        + gap(response_scores(one, mask < 0), [0, 0]) + float(cut.shape[1])
        + gap(ce_loss(torch.tensor([-math.inf, 0.0]), torch.ones(2), weights=labels.float()), math.log(2))
        + gap(ce_loss(flat, labels, weights=flat)) + float(balanced_weights(none, none).numel()),
    )  # fmt: skip
    expected: dict[Any, dict[str, Any]] = {
        token_rewards: {"beta": 0.05}, ce_loss: {"weights": None}, dpo_loss: {}, nca_loss: {}, kl_baseline: {},
        kto_loss: {"desirable": 1.0, "undesirable": 1.0}, balanced_weights: {"questions": None}, all_pairs: {},
        response_scores: {"over": "min", "accumulated": False}, best_of_n: {}, weighted_vote: {"coefficient": 0.001},
        split_steps: {}, step_rewards: {"count": None},
    }  # fmt: skip
    public = [
        one
        for name, one in vars(method).items()
        if getattr(one, "__module__", "") == method.__name__ and name[0] != "_"
    ]
    moved = sum(other_defaults(one, **expected[one]) for one in public)
    return {**worst, "bad_calls": bad, "other_defaults": moved}


def cost(*, seed: int) -> dict[str, list[float]]:
    """Seconds for rewards, steps, scores and the loss with its gradient of 64 responses of 512 tokens, and of the two
    log-probabilities of 100 symbols that they are made of."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, 64, 512, 100, generator=generator)
    actions, mask = torch.randint(100, (64, 512), generator=generator), torch.ones(64, 512, dtype=torch.bool)
    labels = (torch.rand(64, generator=generator) < 0.5).long()
    logp, reference = (token_log_probs(one, actions) for one in z)
    logp.requires_grad_()

    def reward() -> None:
        rewards = token_rewards(logp, reference, mask)
        torch.autograd.grad(ce_loss(rewards.sum(1), labels), logp)
        response_scores(*step_rewards(rewards.detach(), split_steps(actions, mask, {0})))

    return interleaved({"rewards": reward, "reading": lambda: [token_log_probs(one, actions) for one in z]}, rounds=8)
