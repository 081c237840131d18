"""How a paper stands: claims of the paper apart from checks of ours, its ledger by what was measured, what was
registered before it was run. Everything that is counted anywhere is counted here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from crossexam.facts.paper import Claim, Paper, Reported
from crossexam.judging.headlines import HeadlineJudgement, Outcome, count_outcomes, judge_headlines
from crossexam.judging.judge import Judgement, Registered

LedgerState = Literal["agrees", "differs", "undecided", "not run", "small", "listed", "unobtainable"]
LEDGER: Mapping[LedgerState, str] = {
    "agrees": "measured and agrees",
    "differs": "measured and differs",
    "undecided": "measured, not decided",
    "not run": "a claim that has not run",
    "small": "tested small",
    "listed": "listed",
    "unobtainable": "unobtainable",
}
"""What is so of a reported number, in the words of tables."""
REGISTERED: tuple[Registered, ...] = get_args(Registered)
SEALS: Mapping[Registered, str] = {
    "before": "stood before their rows",
    "changed after": "changed after their rows",
    "unknown": "unknown",
}
"""When the rules of verdicts stood, after "Rules of the verdicts:" and a count."""


def is_check(claim: Claim) -> bool:
    """Whether a claim is ours: it follows from the paper's formulas, or guards the implementation."""
    return claim.provenance == "derived"


def ledger_state(item: Reported, judgements: Mapping[str, Judgement]) -> LedgerState:
    """What is so of a reported number, by the verdicts of the claims that the file says hold it or test it.

    A claim that never ran asserts nothing. A number that several claims hold agrees only if all that have a verdict are
    reproduced, and differs if any is not; inconclusive ones leave it undecided.

    Args:
        judgements: by claim.
    """
    if item.state in ("listed", "unobtainable"):
        return item.state
    found = {one.verdict for name in item.claims if (one := judgements.get(name)) and one.verdict}
    if not found:
        return "not run"
    if item.state == "small":
        return "small"
    if "not reproduced" in found:
        return "differs"
    return "agrees" if found == {"reproduced"} else "undecided"


@dataclass(frozen=True)
class Standing:
    """One paper in numbers."""

    headlines: tuple[HeadlineJudgement, ...]
    claims: Mapping[str, int]
    """Claims of the paper by what they are shown as: a verdict, or why they have none."""
    checks: Mapping[str, int]
    """Checks of ours, likewise."""
    ledger: Mapping[LedgerState, int]
    registered: Mapping[Registered, int]
    """Verdicts, by whether their rules stood before their rows."""

    @property
    def outcomes(self) -> dict[Outcome, int]:
        return count_outcomes(self.headlines)


def shown(one: Judgement) -> str:
    """What a claim is counted as: its verdict, or what stands in the way of one."""
    return one.verdict or one.health


def last_run(judgements: Iterable[Judgement]) -> str:
    """The day of the newest row that a verdict rests on; empty without one."""
    return max((row.started[:10] for one in judgements for row in one.rows), default="")


def standing(paper: Paper, judgements: Sequence[Judgement]) -> Standing:
    """How a paper stands."""
    by_claim = {one.claim.id: one for one in judgements}
    ledger = Counter(ledger_state(item, by_claim) for item in paper.reported)
    claims = Counter(shown(one) for one in judgements if not is_check(one.claim))
    checks = Counter(shown(one) for one in judgements if is_check(one.claim))
    registered = Counter(one.registered for one in judgements if one.verdict is not None)
    return Standing(
        judge_headlines(paper, judgements), claims, checks,
        {state: ledger[state] for state in LEDGER if ledger[state]},
        {name: registered[name] for name in REGISTERED if registered[name]},
    )  # fmt: skip


def total(counts: Iterable[Mapping[Any, int]]) -> dict[str, int]:
    """The sum of counts, in the order in which their names first come."""
    found: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            found[name] = found.get(name, 0) + count
    return found


def record(found: Standing) -> dict[str, object]:
    """The numbers as JSON has them."""
    return {
        "headlines": found.outcomes,
        "claims": dict(found.claims),
        "checks": dict(found.checks),
        "ledger": {LEDGER[state]: count for state, count in found.ledger.items()},
        "registered": dict(found.registered),
    }
