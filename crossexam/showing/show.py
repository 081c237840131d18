"""What a person sees: tables, a live display on a terminal, plain lines in a pipe; and the records behind `--json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crossexam.facts.paper import TIERS, Paper
from crossexam.judging import words
from crossexam.runs.rows import Row
from crossexam.showing import show_headlines, show_runs
from crossexam.showing.terminal import Part, Styled, bold, say, table

if TYPE_CHECKING:
    from crossexam.judging.decide import Finding
    from crossexam.judging.judge import Judgement
    from crossexam.judging.numbers import Numbers
    from crossexam.judging.standing import Standing
    from crossexam.runs.why import Explanation
    from crossexam.watching.audit import Audit
    from crossexam.watching.check import Remark
    from crossexam.watching.compare import Comparison
    from crossexam.watching.vary import Varied

SPARE = ("rule", "reported", "tier", "registered", "measured")
"""Columns of claims that go where the page is too narrow, the first of them first."""
STYLES = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}


def paper(loaded: Paper, judgements: Sequence[Judgement], audited: Audit | None, *, everything: bool = False) -> None:
    """A paper in one minute: headlines, use, links, its claims; checks of ours in a line, unless `everything`."""
    from crossexam.judging.numbers import Numbers
    from crossexam.judging.standing import LEDGER, SEALS, is_check, standing

    found = standing(loaded, judgements)
    say(bold(loaded.about.title))
    facts = [f"arXiv:{loaded.about.arxiv}", loaded.about.venue, loaded.about.field]
    say(" · ".join(filter(None, facts)))
    say(loaded.about.summary)
    if found.headlines:
        say()
        say(bold("Headlines"))
        show_headlines.headlines(found.headlines)
    show_headlines.use(loaded)
    numbers = Numbers(loaded, judgements)
    for title, ours in (("Claims of the paper", False), ("Checks of the implementation", True)):
        group = [one for one in judgements if is_check(one.claim) is ours]
        counts = _counted(found.checks if ours else found.claims)
        if group and (everything or not ours):
            say()
            say(bold(title), f": {counts}")
            _claims(loaded, group, numbers)
        elif group:
            say()
            say(bold(title), f": {counts}. Each: crossexam show {loaded.slug} --all")
            if odd := [one for one in group if one.as_expected is False or one.health in ("error", "timeout")]:
                _claims(loaded, odd, numbers)
    say()
    say(f"Reported numbers: {_counted({LEDGER[state]: n for state, n in found.ledger.items()}) or 'none listed'}.")
    stood = {SEALS[name]: count for name, count in found.registered.items()}
    say(f"Rules of the verdicts: {_counted(stood) or 'no verdict yet'}.")
    say(audit_line(audited) if audited else f"Planted faults: {len(loaded.faults)}; not audited yet.")
    _closing(loaded, judgements, found)
    say(f"Run it: crossexam run {loaded.slug}. Audit it: crossexam audit {loaded.slug}")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def verdicts(loaded: Paper, judgements: Sequence[Judgement], moved: Sequence[str], every: Sequence[Judgement]) -> None:
    """The headlines, then a line per claim, those of the paper before checks of ours; then what needs words.

    Args:
        judgements: those that were selected.
        every: all of the paper, on which headlines and totals rest.
    """
    from crossexam.judging.headlines import judge_headlines
    from crossexam.judging.numbers import Numbers
    from crossexam.judging.standing import is_check, standing

    numbers, headlines = Numbers(loaded, every), judge_headlines(loaded, every)
    found = standing(loaded, judgements)
    say()
    say(bold(loaded.slug), f": {loaded.about.title}")
    show_headlines.headlines(headlines)
    for title, ours in (("Claims of the paper", False), ("Checks of the implementation", True)):
        if group := [one for one in judgements if is_check(one.claim) is ours]:
            say()
            say(bold(title))
            _claims(loaded, group, numbers)
    for claim_id in moved:
        say(f"{claim_id}: its rule, decision or protocol has changed since its last verdict; a new series begins")
    _closing(loaded, judgements, found)


def _closing(loaded: Paper, judgements: Sequence[Judgement], found: Standing) -> None:
    """Whose rows there are, how many verdicts, and whether they are the expected ones."""
    surprises = sum(one.as_expected is False for one in judgements)
    counts = [
        f"{title}: {_counted(some)}" for title, some in (("claims", found.claims), ("checks", found.checks)) if some
    ]
    closing = f"{surprises} not as expected" if surprises else "all verdicts as expected"
    if not any(one.verdict for one in judgements):
        closing = "no verdict yet"
    for line in show_runs.evidence(judgements):
        say(line)
    say(f"{loaded.slug}: {'; '.join(counts) or 'no claims selected'}; {closing}.")


def _claims(loaded: Paper, judgements: Sequence[Judgement], numbers: Numbers) -> None:
    """One line per claim, then what needs words: surprises, findings, failures, what is blocked."""
    rows = [
        (one.claim.id, loaded.tier(one.claim), words.reported(one.claim.rule), words.measured(one),
         words.criterion(one.claim.rule), one.registered if one.verdict else "", _verdict(one))
        for one in judgements
    ]  # fmt: skip
    header = ("claim", "tier", "reported", "measured", "rule", "registered", "verdict")
    kept = [index for index in range(len(header)) if any(row[index] for row in rows)]
    drop = [kept.index(header.index(name)) for name in SPARE if header.index(name) in kept]
    table([[row[index] for index in kept] for row in rows], [header[index] for index in kept], drop, whole=True)
    for one in judgements:
        why = words.why(one)
        if one.as_expected is False:
            say(bold(one.claim.id), f": expected '{one.claim.expected}', judged '{one.verdict}'. {why}")
        elif one.claim.finding and one.verdict is not None:
            told = f" ({one.verdict}: {why})" if why else ""
            say(bold(one.claim.id), f", a finding: {numbers.fill(one.claim.finding)}{told}")
        elif one.health in ("error", "timeout"):
            say(bold(one.claim.id), f": {one.health}: {one.cause}")
    for (health, cause), ids in _absent(judgements).items():
        say(f"{health}: {show_headlines.some(ids)}: {cause}")


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


def varied(found: Sequence[Varied]) -> None:
    """Estimates of each claim as the experiment stands and with each change; which of them change sides."""
    stands = {one.claim: one.holds for one in found if one.variation == "as it is"}
    for change in dict.fromkeys(one.variation for one in found):
        say(bold(change))
        rows: list[tuple[Part, ...]] = []
        for one in (each for each in found if each.variation == change):
            turned = one.holds is not None and one.holds != stands[one.claim]
            side = "" if one.holds is None else "on its side" if one.holds else "against it"
            value = "failed" if one.estimate is None else words.number(one.estimate)
            rows.append((one.claim, value, Styled(f"{side}, TURNS" if turned else side, "red" if turned else "")))
        table(rows, ("claim", "estimate", ""))


def comparison(found: Comparison) -> None:
    """The verdicts in which two sides differ, then what they have in common, then the series that moved."""
    for claim, a, b in found.verdicts:
        say(bold(claim), f": {a} in {found.a}, {b} in {found.b}")
    if not found.verdicts:
        say("No verdict differs.")
    cached = f" ({found.cached} by the same row: nothing that they depend on changed)" if found.cached else ""
    say(f"{found.trials} trials on both sides, {found.equal} of them equal to the bit{cached}.")
    if found.differences:
        rows = [
            (*words.in_units(one.what, one.a, one.b), "" if one.z is None else f"{one.z:+.1f}")
            for one in found.differences[:40]
        ]
        table(rows, ("series", "a", "b", "z"))
        if len(found.differences) > 40:
            say(f"and {len(found.differences) - 40} more: --json has them all")
    if found.small:
        say(f"{found.small} series differ by less than a night would look at.")


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


def result_record(
    judged: Sequence[tuple[Paper, Sequence[Judgement], Sequence[Judgement]]],
) -> dict[str, list[dict[str, Any]]]:
    """Headlines, totals and claims of papers, each with the judgements that were selected and all of them."""
    from crossexam.judging.headlines import judge_headlines
    from crossexam.judging.standing import record, standing

    found: dict[str, list[dict[str, Any]]] = {"headlines": [], "totals": [], "claims": []}
    for loaded, selected, every in judged:
        found["headlines"] += show_headlines.records(loaded, judge_headlines(loaded, every))
        found["totals"].append({"paper": loaded.slug, **record(standing(loaded, every))})
        found["claims"] += judgement_records(loaded, selected, every)
    return found


def judgement_records(loaded: Paper, selected: Sequence[Judgement], every: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Claims as JSON has them; the numbers in findings are filled in from all of them."""
    from crossexam.judging.numbers import Numbers

    numbers = Numbers(loaded, every)
    return [_judgement_record(loaded, one, numbers) for one in selected]


def _judgement_record(loaded: Paper, one: Judgement, numbers: Numbers) -> dict[str, Any]:
    claim = one.claim
    return {
        "paper": loaded.slug,
        "claim": claim.id,
        "says": claim.says,
        "kind": "check" if claim.provenance == "derived" else "claim of the paper",
        "where": claim.where,
        "provenance": claim.provenance,
        "tier": loaded.tier(claim),
        "series": loaded.series(claim),
        "version": claim.version,
        "rule": {"kind": claim.rule.kind, **asdict(claim.rule)},
        "verdict": one.verdict,
        "why": words.why(one),
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
        "finding": numbers.fill(claim.finding),
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    """JSON has no infinity: an end that is not finite is null. Rows hold what it was decided on, `point` says where."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(finding).items()
        if name not in ("at", "values")
    }


def failure_record(row: Row) -> dict[str, Any]:
    return {"trial": row.name, "health": row.health, "cause": row.cause, "tail": row.tail}


def health_counts(rows: Sequence[Row]) -> dict[str, int]:
    return dict(Counter(row.health for row in rows))
