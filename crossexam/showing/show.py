"""What a person sees: tables, a live display on a terminal, plain lines in a pipe; and the records behind `--json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crossexam.facts.paper import TIERS, Paper
from crossexam.facts.rules import EffectRule, ExactRule, LevelRule, OrderRule, ResourceRule, Rule, TrendRule
from crossexam.runs.rows import Row
from crossexam.showing import show_runs
from crossexam.showing.terminal import Part, Styled, bold, say, table

if TYPE_CHECKING:
    from crossexam.judging.decide import Finding
    from crossexam.judging.judge import Judgement
    from crossexam.runs.why import Explanation
    from crossexam.watching.audit import Audit
    from crossexam.watching.check import Remark
    from crossexam.watching.compare import Comparison

STYLES = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}


def papers(loaded: Sequence[Paper]) -> None:
    rows = []
    for paper in loaded:
        tiers = Counter(paper.tier(claim) for claim in paper.claims)
        rows.append((paper.slug, *(str(tiers[tier]) for tier in TIERS), paper.about.title))
    table(rows, ("paper", *TIERS, "title"))


def paper(loaded: Paper, judgements: Sequence[Judgement], audited: Audit | None) -> None:
    say(bold(loaded.about.title))
    facts = [f"arXiv:{loaded.about.arxiv}", loaded.about.venue, loaded.about.code]
    say(" · ".join(filter(None, facts)))
    say(loaded.about.summary)
    verdicts(loaded, judgements, [])
    states = Counter(item.state for item in loaded.reported)
    say(f"Ledger: {', '.join(f'{count} {state}' for state, count in states.items()) or 'no reported numbers'}.")
    say(audit_line(audited) if audited else f"Planted faults: {len(loaded.faults)}; not audited yet.")
    say(f"Run it: crossexam run {loaded.slug}. Audit it: crossexam audit {loaded.slug}")


def verdicts(loaded: Paper, judgements: Sequence[Judgement], moved: Sequence[str]) -> None:
    """One line per claim, then what needs words: findings, surprises, what is blocked."""
    rows = [
        (one.claim.id, loaded.tier(one.claim), reported(one.claim.rule), measured(one), criterion(one.claim.rule),
         _verdict(one))
        for one in judgements
    ]  # fmt: skip
    say()
    say(bold(loaded.slug), f": {loaded.about.title}")
    table(rows, ("claim", "tier", "reported", "measured", "rule", "verdict"))
    for one in judgements:
        if one.as_expected is False:
            say(bold(one.claim.id), f": expected '{one.claim.expected}', judged '{one.verdict}'. {_why(one)}")
        elif one.claim.finding and one.verdict is not None:
            say(bold(one.claim.id), f", a finding: {one.claim.finding}")
        elif one.health in ("error", "timeout"):
            say(bold(one.claim.id), f": {one.health}: {one.cause}")
    for (health, cause), ids in _absent(judgements).items():
        say(f"{health}: {', '.join(ids)}: {cause}")
    for claim_id in moved:
        say(f"{claim_id}: its rule, decision or protocol has changed since its last verdict; a new series begins")
    counts = Counter(one.verdict or one.health for one in judgements)
    surprises = sum(one.as_expected is False for one in judgements)
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    judged = any(one.verdict for one in judgements)
    closing = (
        f"{surprises} not as expected" if surprises else "all verdicts as expected" if judged else "no verdict yet"
    )
    for line in show_runs.evidence(judgements):
        say(line)
    say(f"{loaded.slug}: {summary or 'no claims selected'}; {closing}.")


def _absent(judgements: Sequence[Judgement]) -> dict[tuple[str, str], list[str]]:
    """Claims without a verdict for want of rows, by what is the matter and why."""
    causes: dict[tuple[str, str], list[str]] = {}
    for one in judgements:
        if one.health in ("blocked", "outdated", "not run", "incomplete"):
            causes.setdefault((one.health, one.cause), []).append(one.claim.id)
    return causes


def _verdict(one: Judgement) -> Styled:
    if one.verdict is None:
        return Styled(one.health, "dim")
    finding = " (finding)" if one.claim.expected != "reproduced" and one.as_expected else ""
    surprise = " (!)" if one.as_expected is False else ""
    return Styled(f"{one.verdict}{finding}{surprise}", STYLES[one.verdict])


def _why(one: Judgement) -> str:
    finding = one.decisive
    if finding is None:
        return ""
    words = [finding.point and f"at {finding.point}", finding.label]
    if finding.seeds_needed is not None:
        needed = finding.seeds_needed
        words.append(
            "no number of seeds would decide" if math.isinf(needed) else f"about {needed:.0f} seeds would decide"
        )
    return "; ".join(filter(None, words))


def number(value: float) -> str:
    """Four significant digits; powers of ten where they are shorter."""
    return f"{value:.4g}"


def reported(rule: Rule) -> str:
    if isinstance(rule, LevelRule):
        return number(rule.reported)
    if isinstance(rule, EffectRule):
        return f"{rule.gain:+.4g}"
    return ""


def measured(one: Judgement) -> str:
    finding = one.decisive
    if finding is None:
        return ""
    extra = f" ({len(one.findings)} points)" if len(one.findings) > 1 else ""
    if isinstance(one.claim.rule, ExactRule):
        return number(finding.estimate) + extra
    return f"{number(finding.estimate)} [{number(finding.low)}, {number(finding.high)}]{extra}"


def criterion(rule: Rule) -> str:
    """The rule in a few characters."""
    if isinstance(rule, LevelRule | EffectRule):
        return f"± {number(rule.margin)}"
    if isinstance(rule, OrderRule):
        return (
            f"{rule.method} - {rule.baseline} > {number(rule.margin)}"
            if rule.higher_is_better
            else (f"{rule.baseline} - {rule.method} > {number(rule.margin)}")
        )
    if isinstance(rule, ResourceRule):
        return f"ratio <= {number(rule.at_most)}"
    assert isinstance(rule, ExactRule | TrendRule)
    if rule.target is not None:
        tolerance = rule.margin if isinstance(rule, TrendRule) else rule.atol + rule.rtol * abs(rule.target)
        return f"{number(rule.target)} ± {number(tolerance)}"
    bounds = [(">=", rule.at_least), ("<=", rule.at_most)]
    return " and ".join(f"{sign} {number(bound)}" for sign, bound in bounds if bound is not None)


def audit(found: Audit) -> None:
    """The matrix fault x claim, then survivors with their diffs, controls, and what a reader should know."""
    rows = []
    for one in found.faults:
        red = ", ".join(one["red"][:3]) + (f" and {len(one['red']) - 3} more" if len(one["red"]) > 3 else "")
        fate: Part = red or (Styled("excused", "dim") if one["excused"] else Styled("survives", "red"))
        rows.append((one["id"], one["kind"], fate, ", ".join(one["ran"])))
    table(rows, ("fault", "kind", "turned red", "ran"))
    for one in found.faults:
        if not one["red"]:
            say(bold(one["id"]), f": {one['excused'] or 'survives'}\n{one['says']}")
    for title, controls in (("null control", found.null_control), ("placebo", found.placebo)):
        say(f"{title}: {dict(Counter(one.verdict or 'not judged' for one in controls)) or 'no order or effect claim'}")
    lists = (
        ("toothless (no fault turned them red)", found.toothless), ("metrics differ when repeated", found.unrepeatable),
        ("over budget", found.overspent), ("nothing was tuned", found.untuned),
        ("rule or protocol changed after the rows", found.changed_after), ("no claim reaches", found.unreached),
    )  # fmt: skip
    for title, names in lists:
        if names:
            say(f"{title}: {'; '.join(names)}")
    say(audit_line(found))


def audit_line(found: Audit) -> str:
    """An audit in one sentence."""
    parts = []
    for kind in ("listed", "generated"):
        counted = [one for one in found.faults if one["kind"] == kind and one["ran"] and not one["excused"]]
        parts.append(f"{sum(bool(one['red']) for one in counted)} of {len(counted)} {kind} faults caught")
    if found.untried:
        parts.append(f"{found.untried} faults not tried for lack of time")
    alarms, judged = found.false_alarms()
    low, high = found.alarm_rate
    parts.append(f"{alarms} false alarms in {judged} controls" + (f" (rate {low:.2f} to {high:.2f})" if judged else ""))
    parts.append(f"{found.repeated - len(found.unrepeatable)} of {found.repeated} trials repeat bit for bit")
    return f"{found.paper}: audit {'passed' if found.passed else 'FAILED'}: {', '.join(parts)}; {found.seconds:.0f} s."


def comparison(found: Comparison) -> None:
    """What two sides have in common, and the series and verdicts in which they differ."""
    say(f"{found.trials} trials on both sides, {found.equal} of them equal to the bit.")
    if found.differences:
        rows = [
            (one.what, number(one.a), number(one.b), "" if one.z is None else f"{one.z:+.1f}")
            for one in found.differences[:40]
        ]
        table(rows, ("series", "a", "b", "z"))
        if len(found.differences) > 40:
            say(f"and {len(found.differences) - 40} more: --json has them all")
    for claim, a, b in found.verdicts:
        say(bold(claim), f": {a} in {found.a}, {b} in {found.b}")
    if not found.verdicts:
        say("No verdict differs.")


def remarks(found: Mapping[str, Sequence[Remark]]) -> None:
    """What is to be said of suites, what must be mended first."""
    for slug, one_suite in found.items():
        grave = sum(one.grave for one in one_suite)
        say(bold(slug), f": {f'{grave} to mend' if grave else 'nothing to mend'}")
        for one in sorted(one_suite, key=lambda one: not one.grave):
            say("  ", str(one) if one.grave else Styled(f"({one})", "dim"))


def failures(rows: Sequence[Row]) -> None:
    """Trials in ill health, with the end of what the first of each cause printed."""
    seen: set[str] = set()
    for row in rows:
        if row.health in ("error", "timeout"):
            say(Styled(row.health, "red"), f" {row.name}: {row.cause}")
            if row.tail and row.cause not in seen:
                say("\n".join(f"    | {line}" for line in row.tail.splitlines()[-15:]))
            seen.add(row.cause)


def explanations(found: Sequence[Explanation]) -> None:
    for one in found:
        say(f"{one.trial.name} {one.state}")
        for line in one.differences:
            say(f"    {line}")


def fields(record: Mapping[str, Any]) -> None:
    table((name, _briefly(value)) for name, value in record.items())


def _briefly(value: Any) -> str:
    """A list one a line, a long one by its beginning; `--json` has all of it."""
    if not isinstance(value, list):
        return str(value)
    shown = value if len(value) <= 8 else [*value[:6], f"... {len(value)} in all"]
    return "\n".join(map(str, shown))


def paper_record(loaded: Paper) -> dict[str, Any]:
    tiers = Counter(loaded.tier(claim) for claim in loaded.claims)
    return {
        "paper": loaded.slug,
        **asdict(loaded.about),
        "claims_by_tier": {tier: tiers[tier] for tier in TIERS},
        "reported": [asdict(item) for item in loaded.reported],
        "faults": [fault.id for fault in loaded.faults],
    }


def judgement_record(loaded: Paper, one: Judgement) -> dict[str, Any]:
    claim = one.claim
    return {
        "paper": loaded.slug,
        "claim": claim.id,
        "says": claim.says,
        "tier": loaded.tier(claim),
        "series": loaded.series(claim),
        "version": claim.version,
        "rule": {"kind": claim.rule.kind, **asdict(claim.rule)},
        "verdict": one.verdict,
        "expected": claim.expected,
        "as_expected": one.as_expected,
        "health": one.health,
        "cause": one.cause,
        "p": one.p,
        "p_holm": one.p_holm,
        "device": one.device,
        "seeds": list(one.seeds),
        "registered": one.registered,
        "source": asdict(one.source) if one.source else None,
        "findings": [_finding_record(finding) for finding in one.findings],
        "finding": claim.finding,
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    """JSON has no infinity: an end that is not finite is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(finding).items()
    }


def failure_record(row: Row) -> dict[str, Any]:
    return {"trial": row.name, "health": row.health, "cause": row.cause, "tail": row.tail}


def health_counts(rows: Sequence[Row]) -> dict[str, int]:
    return dict(Counter(row.health for row in rows))
