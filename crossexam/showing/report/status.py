"""What Markdown says of the results: results/README.md, the table in the project's README, maps of suites' files."""

from __future__ import annotations

from pathlib import Path

from crossexam.facts.files import with_file_map
from crossexam.showing.report.site import VERDICTS, Site

BEGIN, END = "<!-- status: written by `crossexam report --status` -->", "<!-- end of status -->"


def table(site: Site, link: str) -> str:
    """A Markdown table, one line a paper."""
    lines = [
        "| paper | reproduced | not reproduced | inconclusive | outdated | blocked | findings | audit |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for page in site.pages:
        counts = page.count()
        numbers = [str(counts.get(name, 0)) for name in VERDICTS]
        audit = "not yet" if page.audit is None else "passed" if page.audit.passed else "failed"
        title = page.paper.about.title.replace("|", "\\|")
        cells = [f"[{title}]({link}{page.paper.folder.name})", *numbers, str(len(page.findings)), audit]
        lines.append(f"| {' | '.join(cells)} |")
    total = [str(count) for count in site.totals().values()]
    lines.append(f"| **all {len(site.pages)}** | {' | '.join(total)} | {sum(len(p.findings) for p in site.pages)} | |")
    ledger = ", ".join(f"{count} {state}" for state, count in site.ledger().items())
    told = "*Outdated*: measured with older code, to be run again. *Blocked*: needs what the machine lacked."
    return "\n".join([*lines, "", told, "", f"Reported numbers: {ledger}.", ""])


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
        readme.write_text(with_file_map(readme.read_text(encoding="utf-8"), page.paper.folder), encoding="utf-8")
    (root / "results" / "README.md").write_text(results_readme(site), encoding="utf-8")
    readme = root / "README.md"
    readme.write_text(with_status(readme.read_text(encoding="utf-8"), site), encoding="utf-8")
