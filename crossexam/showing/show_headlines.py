"""What a person sees first of a paper: its headlines, how to use its method, where to read on; and how papers stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from crossexam.facts.files import snippet
from crossexam.facts.paper import Field, Paper
from crossexam.showing.terminal import Part, Styled, bold, say, table

if TYPE_CHECKING:
    from crossexam.judging.headlines import HeadlineJudgement

STYLES = {"holds": "green", "partly": "yellow", "fails": "red", "open": "dim"}
INDENT = 8


def headlines(found: Sequence[HeadlineJudgement]) -> None:
    """Each with its outcome, the scale that decided it, what that leaves to belief, and what still waits."""
    for one in found:
        say(Styled(f"{one.outcome:6}", STYLES[one.outcome]), f"  {one.headline.says}", indent=INDENT)
        for line in details(one):
            say(f"{'':{INDENT}}{line}", indent=INDENT)


def details(one: HeadlineJudgement) -> list[str]:
    """The lines under a headline."""
    lines = []
    if one.scale:
        lines.append(f"On: {one.scale}.")
    if one.believe:
        lines.append(f"If one believes that {'; that '.join(one.believe)}.")
    others = [f"{count} {name}" for name, count in one.count.items() if name != "reproduced"]
    if others:
        waiting = [name for _, ids in one.waiting for name in ids]
        names = f" ({some(waiting, 2)})" if waiting else ""
        lines.append(f"Of {len(one.judgements)} claims {', '.join(others)}{names}.")
    return lines


def some(ids: Sequence[str], most: int = 4) -> str:
    """A few names, and how many more there are."""
    more = len(ids) - most
    return ", ".join(ids) if more <= 1 else f"{', '.join(ids[:most])} and {more} more"


def use(paper: Paper) -> None:
    """The snippet that uses the method, and where to read on."""
    if code := snippet(paper.folder):
        say()
        say(bold("Use it"))
        say("\n".join(f"    {line}".rstrip() for line in code.splitlines()))
    say()
    for name, where in links(paper).items():
        say(f"{name:7}{where}")


def links(paper: Paper) -> dict[str, str]:
    """{what: where} to read on."""
    found = {"Paper": f"https://arxiv.org/abs/{paper.about.arxiv}"}
    if paper.about.code:
        found["Code"] = f"https://github.com/{paper.about.code}"
    found["Suite"] = str(Path("suites", paper.folder.name, "README.md"))
    return found


def records(paper: Paper, found: Sequence[HeadlineJudgement]) -> list[dict[str, Any]]:
    """Headlines as JSON has them."""
    return [
        {
            "paper": paper.slug,
            "says": one.headline.says,
            "outcome": one.outcome,
            "scale": one.scale,
            "believe": list(one.believe),
            "claims": [{"claim": each.claim.id, "verdict": each.verdict} for each in one.judgements],
            "waiting": [{"cause": cause, "claims": list(ids)} for cause, ids in one.waiting],
        }
        for one in found
    ]


def papers(loaded: Sequence[Paper], standings: Mapping[str, Mapping[str, Any]]) -> None:
    """One line a paper, grouped by field: what one types, how its headlines stand, when it was last run."""
    rows: list[Sequence[Part]] = []
    for field in get_args(Field):
        mine = [paper for paper in loaded if paper.about.field == field]
        if mine:
            rows.append((bold(field), *[""] * 6))
        for paper in mine:
            found = standings.get(paper.slug)
            counts = [str(count or "") for count in found["headlines"].values()] if found else [""] * 4
            last = found["last_run"] or "never" if found else "broken"
            rows.append((f"  {paper.slug}", *counts, last, paper.about.title.partition(": ")[0]))
    table(rows, ("paper", "hold", "partly", "fail", "open", "last run", "title"), drop=(6, 5), whole=True)
    say("Headlines of each paper that hold, hold partly, fail, are open. Next: crossexam show PAPER")
