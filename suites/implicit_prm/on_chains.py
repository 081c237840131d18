"""Chains of sums, modular and GSM8K's: choosing among responses, finding a wrong step, the value of a prefix, data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from baselines.reinforcement.policies import TransformerPolicy, log_probs
from baselines.reinforcement.problems import CHAIN, Problems
from baselines.reinforcement.reasoning import Values, continued, gsm8k_chains, modular_chains, thought
from baselines.reinforcement.reasoning_runs import split_chains, started
from baselines.reinforcement.rollouts import Rollouts, collect
from suites.implicit_prm.contenders import (
    LABELLED,
    Headed,
    Implicit,
    Judged,
    Model,
    StepLabels,
    Steps,
    fitted,
    rows,
    steps_of,
)
from suites.implicit_prm.method import best_of_n, response_scores, step_rewards, weighted_vote

SAMPLES = 8
"""Responses to a question that are trained on, and continuations of a prefix."""
CANDIDATES = 16
"""Responses to a question among which is chosen."""
CHOOSING, TESTED, DEPTHS = 100, 480, (2, 3, 4)
"""Validation and test questions, and the steps of modular ones."""
AT_ONCE = 512
"""Responses that are sampled or read at once."""
RATES = (1e-3, 3e-3)
"""Learning rates among which validation questions choose."""


@dataclass(frozen=True)
class Written:
    """`group` responses of the start to each of some questions, question by question, with their steps."""

    responses: Rollouts
    steps: Steps

    @property
    def correct(self) -> torch.Tensor:
        """(Q, group)."""
        return self.responses.correct.view(-1, self.responses.group)


@dataclass(frozen=True)
class Ground:
    """The policy that writes responses; questions to train on, to choose by and to test on, and the latter's values."""

    start: TransformerPolicy
    train: Problems
    choose: Problems
    test: Problems
    values: list[Values]


def gsm8k_ground(start: Path, questions: int, seed: int) -> Ground:
    """Of the training part `questions` and `CHOOSING`, drawn by seed, and the test part."""
    train, choose, test = split_chains(seed)
    choose = choose[torch.arange(min(CHOOSING, len(choose)))]
    return Ground(started(start), train[torch.arange(questions)], choose, test, gsm8k_chains("test")[1])


def modular_ground(start: Path, questions: int, seed: int) -> Ground:
    """`questions`, `CHOOSING` and `TESTED` chains modulo 10, drawn by seed, no two alike."""
    wanted = questions + CHOOSING + TESTED
    problems, values = modular_chains(DEPTHS, 2 * wanted, seed=seed)
    first = {tuple(prompt): row for row, prompt in reversed(list(enumerate(problems.prompts.tolist())))}
    kept = torch.tensor(sorted(first.values())[:wanted])
    train, choose, test = kept.split([questions, CHOOSING, TESTED])
    return Ground(started(start), problems[train], problems[choose], problems[test], [values[row] for row in test])


def written(policy: TransformerPolicy, problems: Problems, samples: int, seed: int) -> Written:
    """`samples` responses to each problem, in the order of the problems."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    # Few at a time: what a processor's cache holds is sampled twice as fast.
    for some in torch.arange(len(problems)).split(max(1, AT_ONCE // samples)):
        asked = Problems(problems.prompts[some], problems.answers[some], problems.verify)
        with torch.no_grad():
            found = collect(policy, asked, len(asked), samples, generator)
        part = rows(found, found.ids.argsort(stable=True))
        parts.append({name: one for name, one in vars(part).items() if isinstance(one, torch.Tensor) and len(one)})
        parts[-1]["ids"] = some[part.ids]
    width = max(one["actions"].shape[1] for one in parts)
    for one in parts:
        for name in ("actions", "mask", "old", "old_entropy"):
            one[name] = F.pad(one[name], (0, width - one[name].shape[1]))
    whole: dict[str, Any] = {name: torch.cat([one[name] for one in parts]) for name in parts[0]}
    responses = Rollouts(group=samples, **whole)
    return Written(responses, steps_of(responses.actions, responses.mask, CHAIN[";"]))


def labels_by_sampling(
    policy: TransformerPolicy, problems: Problems, data: Written, budget: int, seed: int
) -> StepLabels:
    """Labels of steps of as many responses as `budget` samples allow, these and `SAMPLES` continuations of each step.

    A step is right if any continuation is; the last one is what the response is.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.responses.ids), generator=generator)
    costs = 1 + SAMPLES * (data.steps.present.sum(1) - 1).clamp(min=0)
    chosen = order[costs[order].cumsum(0) <= budget]
    responses = rows(data.responses, chosen)
    steps = Steps(data.steps.numbers[chosen], data.steps.ends[chosen], data.steps.present[chosen])
    right = torch.where(steps.last, responses.correct[:, None], 0.0)
    row, step = (steps.present & ~steps.last).nonzero().T
    places = steps.ends[row, step] + 1
    chances = continued(policy, problems, responses, row, places, generator, samples=SAMPLES)
    right[row, step] = (chances > 0).float()
    return StepLabels(responses, steps, right)


@torch.no_grad()
def judged(model: Model, data: Written) -> Judged:
    """Of all responses."""
    found = []
    for part in torch.arange(len(data.responses.ids)).split(AT_ONCE):
        steps = Steps(data.steps.numbers[part], data.steps.ends[part], data.steps.present[part])
        found.append(model.judge(rows(data.responses, part), steps))
    return Judged(*(torch.cat([getattr(one, name) for one in found]) for name in ("steps", "values", "outcome")))


def scores(model: Model, found: Judged, steps: Steps) -> dict[str, torch.Tensor]:
    """What responses can be chosen by, (B,). Where step rewards are logarithms of chances the outcome is their sum."""
    whole = response_scores(found.steps, steps.present, over="sum")
    outcome = whole if isinstance(model, Headed) and model.labels else found.outcome
    return {"outcome": outcome, "min": response_scores(found.steps, steps.present)}


def accuracy(score: torch.Tensor, data: Written, n: int = CANDIDATES) -> float:
    """Of the best of n by a score (B,)."""
    return float(best_of_n(score.view_as(data.correct), data.correct, n).mean())


@dataclass(frozen=True)
class Chosen:
    """The model and the score that choose best on validation questions."""

    model: Model
    rate: float
    score: str

    def scores(self, data: Written) -> tuple[Judged, torch.Tensor]:
        """What it says of responses, and what they are chosen by, (B,)."""
        found = judged(self.model, data)
        return found, scores(self.model, found, data.steps)[self.score]


def tuned(
    arm: str, start: TransformerPolicy, data: Rollouts, labelled: StepLabels | None, validation: Written, *,
    passes: int, beta: float, seed: int,
) -> Chosen:  # fmt: skip
    """Over `RATES`, and the outcome or the minimum over steps; the first of equals."""
    found = []
    for rate in RATES:
        for model in fitted(arm, start, data, labelled, passes=passes, rate=rate, beta=beta, seed=seed):
            kinds = scores(model, judged(model, validation), validation.steps)
            found += [(accuracy(score, validation), Chosen(model, rate, name)) for name, score in kinds.items()]
    return max(found, key=lambda one: one[0])[1]


def modular(
    *, arm: str, seed: int, questions: int, passes: int, beta: float, budget: float, modular_start: Path
) -> dict[str, float]:
    """`compared` on sums of one digit modulo 10."""
    ground = modular_ground(modular_start, questions, seed)
    return compared(ground, arm, seed=seed, passes=passes, beta=beta, budget=budget)


def chains(
    *, arm: str, seed: int, questions: int, passes: int, beta: float, budget: float, chain_start: Path
) -> dict[str, float]:
    """`compared` on chains of GSM8K's calculator marks."""
    ground = gsm8k_ground(chain_start, questions, seed)
    return compared(ground, arm, seed=seed, passes=passes, beta=beta, budget=budget)


def compared(ground: Ground, arm: str, *, seed: int, passes: int, beta: float, budget: float) -> dict[str, float]:
    """A reward model of `arm` from `SAMPLES` responses to each question; `budget` times as many samples are spent on
    step labels.

    Of `CANDIDATES` responses to each test question: accuracy of the best of 4 and of all, its `gain` over any of them
    and over the start's log-probability, votes; then `located` wrong steps and values of prefixes.
    """
    start = ground.start
    data, validation, candidates = (
        written(start, problems, samples, seed + 1000 * place)
        for place, (problems, samples) in enumerate(
            ((ground.train, SAMPLES), (ground.choose, CANDIDATES), (ground.test, CANDIDATES))
        )
    )
    labelled = None
    if arm in LABELLED:
        labelled = labels_by_sampling(start, ground.train, data, int(budget * len(data.responses.ids)), seed)
    best = tuned(arm, start, data.responses, labelled, validation, passes=passes, beta=beta, seed=seed)
    found, score = best.scores(candidates)
    responses = candidates.responses
    likelihood = (responses.old * responses.mask).sum(1)
    own = likelihood / responses.mask.sum(1)
    any_one, all_of_them = accuracy(score, candidates, 1), accuracy(score, candidates)
    by_likelihood = max(accuracy(one, candidates) for one in (own, likelihood))
    metrics = {
        "any": any_one,
        "best4": accuracy(score, candidates, 4),
        "best16": all_of_them,
        "gain": all_of_them - any_one,
        "likelihood16": by_likelihood,
        "over_likelihood": all_of_them - by_likelihood,
        "right_somewhere": float(candidates.correct.amax(1).mean()),
        "rate": best.rate,
        "by_minimum": float(best.score == "min"),
        "responses": float(len(labelled.responses.ids) if labelled else len(data.responses.ids)),
        **votes(candidates, found.outcome / beta),
        **located(best.model, ground, seed),
        **prefixes(start, ground.test, candidates, found, seed),
    }
    if isinstance(best.model, Implicit):
        with torch.no_grad():
            bare = torch.cat([
                log_probs(best.model.policy, responses.prompts[part], responses.actions[part])
                for part in torch.arange(len(responses.ids)).split(AT_ONCE)
            ])  # fmt: skip
        metrics["over_bare"] = all_of_them - accuracy((bare * responses.mask).sum(1), candidates)
    return metrics | {
        "vote_over_best": metrics["vote"] - all_of_them,
        "majority_over_best": metrics["majority"] - all_of_them,
    }


def votes(data: Written, score: torch.Tensor) -> dict[str, float]:
    """Accuracy of votes, plain and weighted by the sigmoid of 0.001 and of 0.05 times a score (B,)."""
    texts = [
        "".join(CHAIN.decode(row[kept])) for row, kept in zip(data.responses.actions, data.responses.mask, strict=True)
    ]
    answers = [text.rpartition("#")[2] if text.endswith("$") and "#" in text else "" for text in texts]
    codes = {text: code for code, text in enumerate(dict.fromkeys(filter(None, answers)))}
    numbered = torch.tensor([codes.get(one, -1) for one in answers]).view_as(data.correct)
    found = {}
    for name, coefficient in (("majority", 0.0), ("vote", 0.001), ("vote_trained", 0.05)):
        picked = weighted_vote(score.view_as(data.correct), numbered, coefficient=coefficient)
        found[name] = float(data.correct.gather(1, picked[:, None]).mean())
    return {**found, "vote_gain": found["vote"] - found["majority"]}


@torch.no_grad()
def located(model: Model, ground: Ground, seed: int) -> dict[str, float]:
    """One wrong value in the solution of each test question: how well low step rewards find it.

    `located` is the area under the ROC curve of the wrong step against the other steps of these solutions, `noticed`
    how often its reward is below that of the right step in its place. Both also for log-probabilities of the start.
    """
    problems = ground.test
    generator = torch.Generator().manual_seed(seed)
    spoilt, at = zip(*(spoil(one, generator) for one in ground.values), strict=True)
    wrong_at = torch.tensor(at)
    rewards: dict[str, list[torch.Tensor]] = {"": [], "likelihood_": []}
    for texts in ([thought(one, 1) for one in spoilt], [thought(one, 1) for one in ground.values]):
        actions = CHAIN.encode(texts)
        mask = actions != CHAIN.PAD
        logp = log_probs(ground.start, problems.prompts, actions)
        none = torch.zeros(len(actions))
        batch = Rollouts(
            ids=torch.arange(len(actions)), prompts=problems.prompts, actions=actions, mask=mask, correct=none,
            old=logp, old_entropy=logp, group=1,
        )  # fmt: skip
        steps = steps_of(actions, mask, CHAIN[";"])
        rewards[""].append(model.judge(batch, steps).steps)
        rewards["likelihood_"].append(step_rewards(logp * mask, steps.numbers)[0])
    found = {}
    wrong = torch.arange(steps.present.shape[1]) == wrong_at[:, None]
    for name, (bad, good) in rewards.items():
        found[f"{name}located"] = float(roc_auc_score(wrong[steps.present], -bad[steps.present]))
        lower = bad[wrong] < good[wrong]
        found[f"{name}noticed"] = float(lower.float().mean() + (bad[wrong] == good[wrong]).float().mean() / 2)
    return found


def spoil(values: Values, generator: torch.Generator) -> tuple[Values, int]:
    """Values with one before the last replaced by another of as many digits, and which."""
    at = int(torch.randint(len(values) - 1, (), generator=generator))
    low = 10 ** (len(values[at]) - 1) if len(values[at]) > 1 else 0
    others = [str(one) for one in range(low, 10 ** len(values[at])) if str(one) != values[at]]
    other = others[int(torch.randint(len(others), (), generator=generator))]
    return (*values[:at], other, *values[at + 1 :]), at


def prefixes(
    start: TransformerPolicy, problems: Problems, data: Written, found: Judged, seed: int, *, questions: int = 12
) -> dict[str, float]:
    """Rank correlations of values with how often `SAMPLES` continuations by the start are right, of all prefixes that
    end with a step of the responses to some questions; `within` after the mean rank of each question is taken off."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(problems), generator=generator)[:questions]
    wanted = torch.isin(data.responses.ids, some)[:, None]
    row, step = (data.steps.present & ~data.steps.last & wanted).nonzero().T
    places = data.steps.ends[row, step] + 1
    chances = continued(start, problems, data.responses, row, places, generator, samples=SAMPLES)
    values, asked = found.values[row, step], data.responses.ids[row]
    read = (data.responses.old * data.responses.mask).cumsum(1)[row, places - 1]
    metrics = {"prefixes": float(len(row))}
    for name, one in (("value", values), ("likelihood_value", read)):
        metrics[f"{name}_correlation"] = float(spearmanr(one, chances).statistic)
        ranks = [torch.from_numpy(rankdata(each)) for each in (one, chances)]
        for each in ranks:
            for question in asked.unique():
                each[asked == question] -= each[asked == question].mean()
        metrics[f"{name}_within"] = float(torch.corrcoef(torch.stack(ranks))[0, 1])
    return metrics


def amount(*, seed: int, questions: int, passes: int, beta: float, modular_start: Path) -> dict[str, float]:
    """Cross-entropy on fewer responses to each question, and on fewer questions, with as many steps: gains of the best
    of 16 over any.

    `several` is what 8 responses to a quarter of the questions gain beyond 2 responses to each: as many responses.
    """
    ground = modular_ground(modular_start, questions, seed)
    data = written(ground.start, ground.train, SAMPLES, seed)
    validation, candidates = (
        written(ground.start, problems, CANDIDATES, seed + 1000 * place)
        for place, problems in ((1, ground.choose), (2, ground.test))
    )
    number = torch.arange(questions * SAMPLES).view(questions, SAMPLES)
    parts = {f"responses_{count}": number[:, :count] for count in (1, 2, 8)} | {"quarter": number[: questions // 4]}
    gains = {}
    for name, part in parts.items():
        some = rows(data.responses, part.flatten())
        often = passes * number.numel() // part.numel()
        best = tuned("ce", ground.start, some, None, validation, passes=often, beta=beta, seed=seed)
        score = best.scores(candidates)[1]
        gains[name] = accuracy(score, candidates) - accuracy(score, candidates, 1)
    return {
        **gains,
        "more_responses": gains["responses_8"] - gains["responses_1"],
        "more_questions": gains["responses_8"] - gains["quarter"],
        "several": gains["quarter"] - gains["responses_2"],
    }
