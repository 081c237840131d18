"""What programs read of the site: verdicts as JSON and CSV, of each paper and of all, and a badge for each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossexam.judging import words
from crossexam.judging.standing import is_check, shown
from crossexam.showing import show

if TYPE_CHECKING:
    from crossexam.showing.report.site import PaperPage

COLUMNS = (
    "paper", "claim", "kind", "tier", "says", "where", "reported", "measured", "rule", "verdict", "why", "registered",
    "expected", "seeds", "device",
)  # fmt: skip
COLOURS = {"holds": "#005b8f", "partly": "#7a5c00", "fails": "#a63f00", "open": "#595959"}
"""Of a badge, by the worst of its headlines that is decided."""
CHARACTER = 6.4
"""Mean width of a character of a badge, pixels: 11-pixel sans-serif, rather too wide than too narrow."""


def write(pages: Sequence[PaperPage], out: Path) -> None:
    """Write `data/` and `badges/` below the site's folder."""
    for folder in ("data", "badges"):
        (out / folder).mkdir()
    records, lines = [], []
    for page in pages:
        record, rows = as_record(page), list(as_rows(page))
        records.append(record)
        lines += rows
        _json(out / "data" / f"{page.slug}.json", record)
        (out / "data" / f"{page.slug}.csv").write_text(as_csv(rows), encoding="utf-8")
        badge = as_badge(page)
        _json(out / "badges" / f"{page.slug}.json", badge)
        (out / "badges" / f"{page.slug}.svg").write_text(as_svg(badge), encoding="utf-8")
    _json(out / "data" / "all.json", {"papers": records}, indent=None)
    (out / "data" / "all.csv").write_text(as_csv(lines), encoding="utf-8")


def as_record(page: PaperPage) -> dict[str, Any]:
    """A paper with its headlines, totals and verdicts."""
    found = show.result_record([(page.paper, page.judgements, page.judgements)])
    states = {item.id: page.ledger_state(item) for item in page.paper.reported}
    return {**show.paper_record(page.paper), **found, "ledger": states, "last_run": page.last_run}


def as_rows(page: PaperPage) -> Iterable[dict[str, str]]:
    """One line a claim."""
    for one in page.judgements:
        claim = one.claim
        yield {
            "paper": page.slug, "claim": claim.id, "kind": "check" if is_check(claim) else "claim of the paper",
            "tier": page.paper.tier(claim), "says": claim.says, "where": claim.where,
            "reported": words.reported(claim.rule), "measured": words.measured(one),
            "rule": words.criterion(claim.rule), "verdict": shown(one), "why": words.why(one),
            "registered": one.registered if one.verdict else "", "expected": claim.expected,
            "seeds": str(len(one.seeds) or ""), "device": one.device,
        }  # fmt: skip


def as_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """A table with a header, as RFC 4180 has it but for its line ends."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_badge(page: PaperPage) -> dict[str, Any]:
    """The badge as services read it (the endpoint schema of shields.io): how many headlines hold."""
    found = page.outcomes
    told = ", ".join(f"{count} {_verb(outcome, count)}" for outcome, count in found.items())
    worst = next((outcome for outcome in ("fails", "partly", "holds") if outcome in found), "open")
    message = told or "no headlines yet"
    return {"schemaVersion": 1, "label": f"CrossExam: {page.slug}", "message": message, "color": COLOURS[worst]}


def _verb(outcome: str, count: int) -> str:
    plural = {"holds": "hold", "fails": "fail"}
    return plural.get(outcome, outcome) if count > 1 else outcome


def as_svg(badge: Mapping[str, Any]) -> str:
    """The same as a picture that needs no service."""
    label, message = str(badge["label"]), str(badge["message"])
    left, right = (round(len(text) * CHARACTER) + 12 for text in (label, message))
    title = escape(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<rect width="{left}" height="20" fill="#3b3b3b"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{badge["color"]}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">{escape(label)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{escape(message)}</text></g></svg>\n'
    )


def _json(file: Path, record: Any, indent: int | None = 1) -> None:
    """A date in a ledger is written as text."""
    text = json.dumps(record, ensure_ascii=False, indent=indent, allow_nan=False, default=str)
    file.write_text(f"{text}\n", encoding="utf-8")
