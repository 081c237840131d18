"""What Markdown says of the results: results/README.md, the table in README.md, maps and numbers of suites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crossexam.facts.files import with_file_map
from crossexam.showing.report.site import Site

BEGIN, END = "<!-- status: written by `crossexam report --status` -->", "<!-- end of status -->"


VERDICT_COLUMNS = ("reproduced", "not reproduced", "inconclusive")


def table(site: Site, link: str) -> str:
    """A Markdown table, one line a paper, which leads with the name that one types."""
    lines = [
        "| paper | headlines: hold | partly | fail | open | claims of the paper | checks | last run | audit | title |",
        "|---|---:|---:|---:|---:|---|---|---|---|---|",
    ]
    for page in site.pages:
        audit = "not yet" if page.audit is None else "passed" if page.audit.passed else "failed"
        title = page.paper.about.title.partition(": ")[0].replace("|", "\\|")
        cells = [
            f"[`{page.slug}`]({link}{page.paper.folder.name})",
            *map(str, page.standing.outcomes.values()),
            *(_four(page.count(checks=ours)) for ours in (False, True)),
            page.last_run or "never", audit, title,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    totals = [*map(str, site.outcomes().values()), *(_four(site.totals(checks=ours)) for ours in (False, True))]
    lines.append(f"| **all {len(site.pages)}** | {' | '.join(totals)} | | | |")
    told = (
        "*Claims of the paper* and *checks* of our implementation: reproduced / not reproduced / inconclusive / "
        "without a verdict (measured with older code, or lacking what the machine has not)."
    )
    ledger, sealed = (
        ", ".join(f"{count} {words}" for words, count in counts.items())
        for counts in (site.ledger(), site.registered())
    )
    return "\n".join(
        [*lines, "", told, "", f"Reported numbers: {ledger}.", "", f"Rules of the verdicts: {sealed}.", ""]
    )


def _four(counts: Mapping[str, int]) -> str:
    """Counts by verdict, and of all without one."""
    decided = [counts.get(verdict, 0) for verdict in VERDICT_COLUMNS]
    return " / ".join(map(str, [*decided, sum(counts.values()) - sum(decided)]))


def results_readme(site: Site) -> str:
    """The whole of results/README.md."""
    lines = [
        "# Results",
        "",
        "`reference/` holds committed rows, one file a paper and machine class, and audits. All else below this folder",
        "is local. Written by `crossexam report --status` from committed rows and the code as it stands.",
        "",
        table(site, "../suites/"),
    ]
    return "\n".join(lines)


def with_status(readme: str, site: Site) -> str:
    """The project's README with a fresh table between its marks. Raises ValueError where it has none."""
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md has no '{BEGIN}' ... '{END}'")
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{table(site, 'suites/')}\n{END}{rest.split(END, 1)[1]}"


def write_status(site: Site, root: Path) -> None:
    """Write all of it."""
    for page in site.pages:
        readme = page.paper.folder / "README.md"
        text = with_file_map(readme.read_text(encoding="utf-8"), page.paper.folder)
        readme.write_text(page.numbers.refresh(text), encoding="utf-8")
    (root / "results" / "README.md").write_text(results_readme(site), encoding="utf-8")
    readme = root / "README.md"
    readme.write_text(with_status(readme.read_text(encoding="utf-8"), site), encoding="utf-8")
