"""Chains of GSM8K's calculator marks: which entropy foretells forks, and what AEPO does to easy and hard questions."""

from __future__ import annotations

import copy
import dataclasses
from functools import partial
from pathlib import Path

import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from baselines.reinforcement.policies import LanguagePolicy
from baselines.reinforcement.policy_gradient import masked_mean
from baselines.reinforcement.problems import Problems
from baselines.reinforcement.reasoning import LONGEST, continued, gsm8k_chains
from baselines.reinforcement.reasoning_runs import split_chains, started
from baselines.reinforcement.rollouts import Rollouts, collect, train_policy
from suites.ares.contenders import Arm
from suites.ares.method import difficulty, window_entropy

FORK = 0.2
"""A place is a fork where the chance to be right moves by at least this much."""


def answers(policy: LanguagePolicy, problems: Problems, samples: int, seed: int) -> Rollouts:
    """`samples` responses to each problem, in the order of the problems."""
    everything = Problems(problems.prompts, problems.answers, problems.verify)
    found = collect(policy, everything, len(problems), samples, torch.Generator().manual_seed(seed))
    return some(found, found.ids.argsort(stable=True))


def some(rollouts: Rollouts, rows: torch.Tensor) -> Rollouts:
    """Some responses that have no rewards yet."""
    none = torch.zeros_like(rollouts.correct)
    scored = dataclasses.replace(rollouts, rewards=none, advantages=none)
    return Rollouts(**scored.rows(rows))


def chains(
    *, arm: str, seed: int, steps: int, rate: float, window: int, percentile: float, chain_start: Path
) -> dict[str, float]:
    """`steps` steps of 24 questions x 8 samples in 3 minibatches; then 8 responses to each test chain.

    Questions are easy, medium or hard by 8 responses of the start. A `change` is a mean over questions of after less
    before; counts are of windows above the threshold of the start, for every arm.
    """
    train, validation, test = split_chains(seed)
    start = started(chain_start)
    policy = copy.deepcopy(start)
    contender = Arm(arm, len(train), limit=LONGEST, window=window, percentile=percentile)
    contender.threshold.validated(contender.percentiles(answers(start, validation, 1, seed)))
    train_policy(
        policy, train, contender.objective, steps=steps, questions=24, samples=8, minibatches=3, seed=seed,
        optimizer=partial(torch.optim.Adam, lr=rate), reference=start, reward=contender.reward,
    )  # fmt: skip
    before, after = (answers(one, test, 8, seed) for one in (start, policy))
    ruler = Arm("ares", len(test), limit=LONGEST, window=window, percentile=percentile)
    ruler.threshold.update(ruler.percentiles(before))
    buckets = difficulty(before.correct, 8)
    measured = {
        "length": [one.lengths.float() for one in (before, after)],
        "accuracy": [one.correct for one in (before, after)],
        "count": [ruler.counts(one).float() for one in (before, after)],
    }
    found = {
        "accuracy": float(after.correct.mean()),
        "gain": float(after.correct.mean() - before.correct.mean()),
        "length": float(after.lengths.float().mean()),
        "entropy": float(masked_mean(after.old_entropy, after.mask)),
        "active": sum(contender.paid) / len(contender.paid) if contender.paid else 0.0,
        "threshold": contender.threshold.value,
    }
    for bucket, name in enumerate(("easy", "medium", "hard")):
        there = buckets == bucket
        for what, values in measured.items():
            first, last = (one.view(-1, 8).mean(1)[there].mean() for one in values)
            found[f"{name}_{what}"] = float(last)
            found[f"{name}_{what}_change"] = float(last - first)
        found[f"{name}_questions"] = float(there.sum())
        found[f"{name}_alpha"] = float(contender.shaping.alpha[bucket])
        found[f"{name}_beta"] = float(contender.kl.beta[bucket])
    return {**found, "interaction": found["hard_length_change"] - found["easy_length_change"]}


def forks(*, seed: int, places: int, samples: int, chain_start: Path) -> dict[str, float]:
    """How well entropies at places of the taught policy's responses foretell that the chance to be right moves.

    At `places` places with four tokens after them, in responses to questions that were answered both right and wrong:
    the chance over `samples` continuations with the token that stands there, less that with a token drawn anew
    (`resampled`), or drawn from the others (`replaced`). Areas under the ROC curve for a move of at least `FORK`, of
    the token's entropy and of the mean of the next 1, 2, 4 or 8 (those that are there); `lead` is that of the window of
    4 less that of the token, `open_lead` the same of rank correlations with the move, at places where the chance lies
    between 0.2 and 0.8. Also how many more windows of high entropy right responses have than wrong ones to one
    question.
    """
    policy, test = started(chain_start), gsm8k_chains("test")[0]
    generator = torch.Generator().manual_seed(seed)
    written = answers(policy, test, 8, seed)
    windows = {size: window_entropy(written.old_entropy, written.mask, window=size) for size in (1, 2, 4)}
    share = written.correct.view(-1, written.group).mean(1).repeat_interleave(written.group)
    open_ended = (share > 0) & (share < 1)
    rows, at = ((windows[4] > -torch.inf) & open_ended[:, None]).nonzero().T
    drawn = torch.randperm(len(rows), generator=generator)[:places]
    rows, at = rows[drawn], at[drawn]
    kept = continued(policy, test, written, rows, at + 1, generator, samples=samples)
    anew = continued(policy, test, written, rows, at, generator, samples=samples)
    moved = {
        "resampled": (kept - anew).abs(),
        "replaced": (kept - replaced(policy, test, written, rows, at, generator, samples=samples)).abs(),
    }
    signals = {"token": written.old_entropy[rows, at], "place": -at.double()}
    signals |= {f"window_{size}": values[rows, at] for size, values in windows.items()}
    following = written.old_entropy * written.mask
    signals["window_8"] = torch.stack(
        [following[row, place + 1 : place + 9].sum() / written.mask[row, place + 1 : place + 9].sum()
         for row, place in zip(rows.tolist(), at.tolist(), strict=True)]
    )  # fmt: skip
    # A chance near 0 cannot move far, and entropy to come is large where answers are wrong anyway.
    chance = (kept + anew) / 2
    even = (chance > 0.2) & (chance < 0.8)
    found: dict[str, float] = {}
    for how, change in moved.items():
        forked = (change >= FORK).numpy()
        found[f"{how}_forks"] = float(forked.mean())
        for name, values in signals.items():
            found[f"{how}_{name}"] = float(roc_auc_score(forked, values.numpy()))
        found[f"{how}_lead"] = found[f"{how}_window_4"] - found[f"{how}_token"]
        found[f"{how}_open_lead"] = float(
            spearmanr(signals["window_4"][even], change[even]).statistic
            - spearmanr(signals["token"][even], change[even]).statistic
        )
    return found | counted(written) | {"open_places": float(even.sum())}


@torch.no_grad()
def replaced(
    policy: LanguagePolicy, problems: Problems, written: Rollouts, rows: torch.Tensor, at: torch.Tensor,
    generator: torch.Generator, *, samples: int,
) -> torch.Tensor:  # fmt: skip
    """The chance to be right, (P,), with `samples` other tokens, each continued once; none of them is the end."""
    each, there = rows.repeat_interleave(samples), at.repeat_interleave(samples)
    few = some(written, each)
    logits = torch.cat([
        policy.logits(few.prompts[part], few.actions[part])[torch.arange(len(part)), there[part]]
        for part in torch.arange(len(each)).split(2000)
    ])  # fmt: skip
    number = torch.arange(len(each))
    logits[number, few.actions[number, there]] = -torch.inf
    logits[:, policy.end] = -torch.inf
    actions = few.actions.clone()
    actions[number, there] = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    changed = dataclasses.replace(few, actions=actions)
    right = continued(policy, problems, changed, number, there + 1, generator, samples=1)
    return right.view(-1, samples).mean(1)


def counted(written: Rollouts) -> dict[str, float]:
    """Windows of high entropy in right responses less those in wrong ones, a mean over questions that have both."""
    ruler = Arm("ares", int(written.ids.max()) + 1, limit=LONGEST, window=4, percentile=95.0)
    ruler.threshold.update(ruler.percentiles(written))
    counts = ruler.counts(written).double().view(-1, written.group)
    right = written.correct.view(-1, written.group).bool()
    mixed = right.any(1) & ~right.all(1)
    apart = (counts * right).sum(1) / right.sum(1) - (counts * ~right).sum(1) / (~right).sum(1)
    buckets = difficulty(written.correct, written.group)
    found = {}
    for bucket, name in enumerate(("easy", "medium", "hard")):
        there = buckets == bucket
        found[f"{name}_count"] = float(counts[there].mean())
        found[f"{name}_right_minus_wrong"] = float(apart[there & mixed].mean())
    return found
