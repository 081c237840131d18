"""What the pages say, gathered from papers and rows, and the pages written. Imports no torch."""

from __future__ import annotations

import ast
import functools
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from crossexam.facts.files import snippet
from crossexam.facts.paper import TIERS, Experiment, Paper, Reported
from crossexam.judging import words
from crossexam.judging.headlines import OUTCOMES, HeadlineJudgement, headline_of
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.judging.numbers import Numbers
from crossexam.judging.standing import LEDGER, SEALS, Standing, is_check, ledger_state, shown, standing, total
from crossexam.runs.committed import committed_audits
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.showing import show, show_headlines
from crossexam.showing.report import out as data_out
from crossexam.showing.report.figures import Figure, draw, draw_costs, figures_of
from crossexam.watching.audit import Audit, from_record
from crossexam.watching.compare import Comparison

HERE = Path(__file__).parent
VERDICTS = (
    "reproduced", "not reproduced", "inconclusive", "outdated", "incomplete", "not run", "blocked", "error", "timeout",
)  # fmt: skip
"""What a claim may be shown as: its verdict, or why it has none."""
SYMBOLS = {
    "reproduced": "✓", "not reproduced": "✗", "inconclusive": "?", "outdated": "↺",
    "incomplete": "…", "not run": "·", "blocked": "·", "error": "!", "timeout": "!",
    "holds": "✓", "partly": "◐", "fails": "✗", "open": "·",
}  # fmt: skip
FIRST = 12
"""How many claims a page shows before the first that has to be opened."""
COSTS = "results/reference"
"""Where `costs.<machine class>.json` lie: what `nox -s bench -- --costs` measured."""


@dataclass(frozen=True)
class PaperPage:
    """All that one paper's page and its line in the ledger show."""

    paper: Paper
    judgements: tuple[Judgement, ...]
    rows: tuple[Row, ...]
    """Finished rows of the code as it stands."""
    trials: tuple[Trial, ...]
    audit: Audit | None
    history: tuple[Mapping[str, str], ...]
    """Verdicts as they were recorded, oldest first: at, claim, series, verdict."""

    @property
    def slug(self) -> str:
        return self.paper.slug

    @functools.cached_property
    def standing(self) -> Standing:
        """Headlines, claims of the paper, checks, ledger and registration, counted."""
        return standing(self.paper, self.judgements)

    @functools.cached_property
    def numbers(self) -> Numbers:
        return Numbers(self.paper, self.judgements)

    @property
    def headlines(self) -> tuple[HeadlineJudgement, ...]:
        return self.standing.headlines

    @property
    def outcomes(self) -> dict[str, int]:
        """Headlines by outcome, those that there are."""
        return {outcome: count for outcome, count in self.standing.outcomes.items() if count}

    def count(self, tier: str | None = None, *, checks: bool | None = None) -> dict[str, int]:
        """Claims of a tier, or all, by what they are shown as; of the paper, or our checks, or both."""
        counts = Counter[str](
            shown(one)
            for one in self.judgements
            if tier in (None, self.paper.tier(one.claim)) and checks in (None, is_check(one.claim))
        )
        return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}

    @functools.cached_property
    def first_claims(self) -> list[Judgement]:
        """The claims of the paper that decide headlines, in their order: as many as a reader sees unasked."""
        used = headline_of(self.headlines)
        deciding = [one for one in self.judgements if one.claim.id in used and not is_check(one.claim)]
        return sorted(deciding, key=lambda one: used[one.claim.id])[:FIRST]

    def others(self, *, checks: bool) -> list[Judgement]:
        """The other claims of the paper, or checks."""
        seen = {one.claim.id for one in self.first_claims}
        return [one for one in self.judgements if one.claim.id not in seen and is_check(one.claim) is checks]

    @property
    def findings_by_headline(self) -> list[tuple[str, list[Judgement]]]:
        """(headline, its findings), then those of no headline."""
        used = headline_of(self.headlines)
        groups: dict[int, list[Judgement]] = {}
        for one in self.findings:
            groups.setdefault(used.get(one.claim.id, len(self.headlines)), []).append(one)
        titles = [*(one.headline.says for one in self.headlines), "No headline"]
        return [(titles[index], groups[index]) for index in sorted(groups)]

    def ledger_state(self, item: Reported) -> str:
        """What is so of a reported number, in words."""
        return LEDGER[ledger_state(item, {one.claim.id: one for one in self.judgements})]

    @property
    def ledger(self) -> dict[str, int]:
        """Reported numbers by what is so of them, in words."""
        return {LEDGER[state]: count for state, count in self.standing.ledger.items()}

    @property
    def snippet(self) -> str:
        """How the method is used."""
        return snippet(self.paper.folder)

    @property
    def links(self) -> dict[str, str]:
        return show_headlines.links(self.paper)

    @property
    def findings(self) -> list[Judgement]:
        """Claims that do not come out as the paper has it, with their evidence."""
        return [one for one in self.judgements if one.claim.finding]

    @property
    def last_run(self) -> str:
        """The day of the newest row."""
        return max((row.started[:10] for row in self.rows), default="")

    @property
    def devices(self) -> list[str]:
        return sorted({row.device for row in self.rows})

    def seconds(self, tier: str) -> float:
        """Trial-seconds of a tier."""
        return sum(row.seconds for row in self.rows if row.tier == tier)

    def experiment(self, one: Judgement) -> Experiment:
        return self.paper.experiments[one.claim.experiment]

    def fingerprints(self, experiment: str) -> str:
        """The subject of the first trial of an experiment: what a reader may quote."""
        return next((trial.fingerprint for trial in self.trials if trial.experiment.name == experiment), "")

    @property
    def changes(self) -> list[Mapping[str, str]]:
        """Recorded verdicts that differ from the one before of the same claim and series."""
        last: dict[tuple[str, str], str] = {}
        found: list[Mapping[str, str]] = []
        for entry in self.history:
            key = entry["claim"], entry["series"]
            if key in last and last[key] != entry["verdict"]:
                found.append({**entry, "before": last[key]})
            last[key] = entry["verdict"]
        return found


@dataclass(frozen=True)
class Site:
    """All pages, before they are written."""

    pages: tuple[PaperPage, ...]
    comparison: Comparison | None = None

    def totals(self, *, checks: bool) -> dict[str, int]:
        """Claims of the papers, or our checks, by verdict."""
        counts = total(page.count(checks=checks) for page in self.pages)
        return {verdict: counts[verdict] for verdict in VERDICTS if counts.get(verdict)}

    def outcomes(self) -> dict[str, int]:
        """Headlines by outcome, over all papers."""
        counts = total(page.outcomes for page in self.pages)
        return {outcome: counts.get(outcome, 0) for outcome in OUTCOMES}

    def ledger(self) -> dict[str, int]:
        """Reported numbers by what is so of them, over all papers."""
        counts = total(page.standing.ledger for page in self.pages)
        return {words: counts[state] for state, words in LEDGER.items() if counts.get(state)}

    def registered(self) -> dict[str, int]:
        """Verdicts by whether their rules stood before their rows, over all papers."""
        counts = total(page.standing.registered for page in self.pages)
        return {words: counts[name] for name, words in SEALS.items() if counts.get(name)}

    @property
    def fields(self) -> list[str]:
        return sorted({page.paper.about.field for page in self.pages})


def gather(
    papers: Sequence[Paper], project: Project, rows: Iterable[Row], audits: Mapping[str, Mapping[str, Any]],
    history: Mapping[str, Sequence[Mapping[str, str]]] | None = None, *, committed: Sequence[Row] = (),
    processors: Mapping[str, str] | None = None,
) -> Site:  # fmt: skip
    """The site of some papers; rows of older code are left out. `rows` are this machine's, as for `judge_paper`."""
    by_paper: dict[str, list[Row]] = {}
    for row in rows:
        by_paper.setdefault(row.paper, []).append(row)
    others: dict[str, list[Row]] = {}
    for row in committed:
        others.setdefault(row.paper, []).append(row)
    return Site(
        tuple(
            _page(
                paper,
                project,
                by_paper.get(paper.slug, []),
                others.get(paper.slug, []),
                processors or {},
                audits.get(paper.slug),
                (history or {}).get(paper.slug, ()),
            )
            for paper in papers
        )
    )


def _page(
    paper: Paper, project: Project, own: Sequence[Row], committed: Sequence[Row], processors: Mapping[str, str],
    audit: Mapping[str, Any] | None, history: Sequence[Mapping[str, str]],
) -> PaperPage:  # fmt: skip
    trials = plan(paper, project, Selection())
    subjects = {trial.subject: trial.experiment.name for trial in trials}
    obstacles = {trial.experiment.name: trial.blocked for trial in trials}
    rows = sorted({row.fingerprint: row for row in (*committed, *own)}.values(), key=lambda row: row.started)
    measured = {(row.experiment, row.seed) for row in rows}
    judgements = judge_paper(
        paper, own, subjects, obstacles=obstacles, committed=committed, processors=processors, measured=measured
    )
    current = tuple(row for row in rows if row.subject in subjects and row.health == "done")
    return PaperPage(
        paper,
        tuple(judgements),
        current,
        tuple(trials),
        from_record(audit) if audit else None,
        tuple(history),
    )


def last_audits(root: Path, store: Store, papers: Sequence[Paper]) -> dict[str, dict[str, Any]]:
    """The last audit of each paper, of the store or committed."""
    audits = committed_audits(root)
    for paper in papers:
        kept = store.audit(paper.slug)
        if kept and kept["at"] >= audits.get(paper.slug, {"at": ""})["at"]:
            audits[paper.slug] = kept
    return audits


def build(site: Site, root: Path, out: Path, kept: Path, jobs: int) -> int:
    """Write the site below `out`, which is replaced; return its bytes. The same site gives the same bytes.

    Figures are kept below `kept`, for most of them are the same next time.
    """
    shutil.rmtree(out, ignore_errors=True)
    (out / "papers").mkdir(parents=True)
    for file in ("style.css", "ledger.js"):
        shutil.copyfile(HERE / "templates" / file, out / file)
    environment = _environment()
    with ProcessPoolExecutor(jobs) as pool:  # figures take most of the time
        plans = [figures_of(page.paper, page.judgements, page.rows) for page in site.pages]
        drawn = pool.map(draw, plans, [kept] * len(plans))
        for page, figures in zip(site.pages, drawn, strict=True):
            _write_page(environment, page, figures, out)
    _write(environment, "index.html", out / "index.html", site=site, up="")
    costs = [draw_costs(json.loads(file.read_text("utf-8"))) for file in sorted((root / COSTS).glob("costs.*.json"))]
    _write(environment, "methods.html", out / "methods.html", up="", methods=_methods(site, root), costs=costs)
    data_out.write(site.pages, out)
    if site.comparison:
        _write(environment, "compare.html", out / "compare.html", comparison=site.comparison, up="")
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def _write_page(environment: jinja2.Environment, page: PaperPage, figures: Sequence[Figure], out: Path) -> None:
    readme = page.paper.folder / "README.md"
    if readme.is_file():
        plain = re.sub("<!--.*?-->", "", readme.read_text(encoding="utf-8"))
        (out / "papers" / f"{page.slug}.README.txt").write_text(plain, encoding="utf-8")
    _write(environment, "paper.html", out / "papers" / f"{page.slug}.html", page=page, figures=figures, up="../")


def _write(environment: jinja2.Environment, template: str, file: Path, **values: Any) -> None:
    file.write_text(environment.get_template(template).render(**values), encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(
        verdicts=VERDICTS, outcomes=OUTCOMES, symbols=SYMBOLS, tiers=TIERS, number=words.number, two=words.two,
        measured=words.measured, shown=shown, criterion=words.criterion, reported=words.reported, why=words.why,
        audit_line=show.audit_line, in_units=words.in_units, details=show_headlines.details,
    )  # fmt: skip
    return environment


def _methods(site: Site, root: Path) -> list[dict[str, Any]]:
    """What there is to import: the public functions and classes of every suite's method.py and of the baselines."""
    files = [(page.slug, page.paper.folder / "method.py") for page in site.pages]
    shared = sorted((root / "baselines").rglob("[a-z]*.py"))
    files += [(str(file.relative_to(root).with_suffix("")), file) for file in shared]
    found = []
    for title, file in files:
        if file.is_file():
            tree = ast.parse(file.read_text(encoding="utf-8"))
            public = [
                {"name": node.name, "says": (ast.get_docstring(node) or "").split("\n")[0]}
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            ]
            module = ".".join(file.relative_to(root).with_suffix("").parts)
            summary = (ast.get_docstring(tree) or "").split("\n")[0]
            found.append({"title": title, "module": module, "says": summary, "public": public})
    return found
