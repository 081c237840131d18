"""From the verdicts of claims to those of headlines, with the scale at which they were decided, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from crossexam.facts.paper import TIERS, Experiment, Headline, Paper
from crossexam.judging.judge import Judgement
from reference.catalog import catalog

Outcome = Literal["holds", "partly", "fails", "open"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class HeadlineJudgement:
    """A headline with the judgements of its claims."""

    headline: Headline
    judgements: tuple[Judgement, ...]
    """In the order in which the headline names its claims."""
    outcome: Outcome
    scale: str
    """On what it was decided: "exact, in float64; small: letter recognition, 5 seeds". Empty where it is open."""
    believe: tuple[str, ...]
    """What one must believe to accept the outcome, one clause each, to follow "that"."""
    waiting: tuple[tuple[str, tuple[str, ...]], ...]
    """(what keeps claims from a verdict, their ids)."""

    @property
    def count(self) -> dict[str, int]:
        """Its claims by verdict, or by what stands in the way of one."""
        return dict(Counter(one.verdict or one.health for one in self.judgements))


def outcome(verdicts: Iterable[str | None]) -> Outcome:
    """What the verdicts of its claims make of a headline.

    A claim is decided when it is `reproduced` or `not reproduced`. `inconclusive` decides nothing, but it was asked and
    gave no answer: it keeps a headline from holding whole, and alone it leaves it open. A claim without a verdict (not
    run, blocked, measured with older code, ended in an error) has no say: what it would need is told beside the
    outcome.

    - holds: at least one is reproduced, and all that have a verdict are;
    - partly: at least one is reproduced, and at least one is not reproduced or inconclusive;
    - fails: none is reproduced, at least one is not reproduced;
    - open: nothing is decided.
    """
    found = set(verdicts) - {None}
    if "reproduced" in found:
        return "holds" if found == {"reproduced"} else "partly"
    return "fails" if "not reproduced" in found else "open"


def judge_headlines(paper: Paper, judgements: Sequence[Judgement]) -> tuple[HeadlineJudgement, ...]:
    """The headlines of a paper, in the order of the file; claims that were not judged have no say."""
    by_claim = {one.claim.id: one for one in judgements}
    found = []
    for headline in paper.headlines:
        mine = tuple(by_claim[name] for name in headline.claims if name in by_claim)
        waiting: dict[str, list[str]] = {}
        for one in mine:
            if one.verdict is None:
                waiting.setdefault(one.cause or one.health, []).append(one.claim.id)
        found.append(
            HeadlineJudgement(
                headline, mine, outcome(one.verdict for one in mine), _scale(paper, mine), _believe(paper, mine),
                tuple((cause, tuple(ids)) for cause, ids in waiting.items()),
            )
        )  # fmt: skip
    return tuple(found)


def headline_of(headlines: Sequence[HeadlineJudgement]) -> Mapping[str, int]:
    """{claim: index of the first headline that rests on it}."""
    return {name: index for index, one in reversed([*enumerate(headlines)]) for name in one.headline.claims}


def count_outcomes(headlines: Iterable[HeadlineJudgement]) -> dict[Outcome, int]:
    """How many hold, hold partly, fail, are open."""
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    for one in headlines:
        counts[one.outcome] += 1
    return counts


def _decided(paper: Paper, judgements: Iterable[Judgement], tier: str) -> list[Judgement]:
    return [
        one for one in judgements if one.verdict in ("reproduced", "not reproduced") and paper.tier(one.claim) == tier
    ]


def _scale(paper: Paper, judgements: Sequence[Judgement]) -> str:
    """By tier, the data and seeds of the claims that are decided."""
    parts = []
    for tier in TIERS:
        decided = _decided(paper, judgements, tier)
        if tier == "exact" and decided:
            parts.append("exact, in float64")
        elif decided:
            experiments = {one.claim.experiment: one for one in decided}
            grounds: dict[str, set[int]] = {}
            for name, one in experiments.items():
                grounds.setdefault(ground(paper.experiments[name]), set()).add(len(one.seeds))
            told = [f"{where}, {_seeds(counts)}" for where, counts in grounds.items()]
            parts.append(f"{tier}: {'; '.join(told)}")
    return "; ".join(parts)


def _seeds(counts: set[int]) -> str:
    few, many = min(counts), max(counts)
    return f"{few} seed{'' if few == 1 else 's'}" if few == many else f"{few} to {many} seeds"


def ground(experiment: Experiment) -> str:
    """What an experiment measures on, in a few words: the sets and models that it needs, by the catalogue's titles."""
    known = catalog()
    names = [brief(known[name].title) if name in known else name for name in experiment.needs.sets]
    return " and ".join(names) or "made-up data"


def brief(title: str) -> str:
    """A title of the catalogue without its details."""
    return title.split(" (")[0].split(":")[0].split(",")[0]


def _believe(paper: Paper, judgements: Sequence[Judgement]) -> tuple[str, ...]:
    """What evidence of this kind leaves to belief."""
    exact, small, full = (_decided(paper, judgements, tier) for tier in TIERS)
    decided = [*exact, *small, *full]
    clauses = []
    if exact and not (small or full):
        clauses.append("formulas in float64 are all that it says")
    if small and not full:
        where = " and ".join(dict.fromkeys(ground(paper.experiments[one.claim.experiment]) for one in small))
        clauses.append(f"what is so on {where} is so at the paper's scale")
    if derived := sum(one.claim.provenance == "derived" for one in decided):
        clauses.append(f"checks of ours say it too ({derived} of {len(decided)} deciding claims)")
    if late := sum(one.registered == "changed after" for one in decided):
        clauses.append(
            f"the rules of {late} of {len(decided)} claims, changed after their rows, were not fitted to them"
        )
    if unknown := sum(one.registered == "unknown" for one in decided):
        clauses.append(f"the rules of {unknown} of {len(decided)} claims stood before their rows, which do not say so")
    return tuple(clauses)
