"""What every suite must hold, as remarks with mends: `crossexam check` prints them, the conformance tests assert them.

What `paper.toml` itself may not say is refused by the loader; here is what makes a readable file a finished suite.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossexam.facts.files import BEGIN, END, with_file_map
from crossexam.facts.paper import Paper
from crossexam.facts.rules import PairedRule
from crossexam.facts.sentences import flaw, sentences
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.judging.numbers import BadExpression, Numbers
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.source import Project

SEEDS = 5
"""Fewest paired seeds of a statistical claim of the small tier."""
FAULTS = 8
"""Fewest planted faults."""
FINDING = 80
"""Fewest characters that can say what was measured, on what, and what was tried."""
PAGE = 150
"""Lines of a README."""
BUDGETS = {"Python": 900, "paper.toml": 700, "tests": 200, "method.py": 300}
"""Lines of a suite that is read in one sitting."""
HEADLINES = range(3, 7)
"""How many headlines a paper has."""
ROOMS = (".py", ".toml", ".md", ".pyc")


@dataclass(frozen=True)
class Remark:
    """What is wrong with a suite, where, and what to do."""

    about: str
    wrong: str
    mend: str
    grave: bool = True
    """Whether the suite is not finished while it stands; others are for a person to weigh."""

    def __str__(self) -> str:
        return f"{self.about}: {self.wrong} -> {self.mend}"


def check(paper: Paper, project: Project, rows: Sequence[Row]) -> list[Remark]:
    """All that is to be said of a suite. `rows` are the committed ones."""
    trials = plan(paper, project, Selection())
    judgements = judge_paper(paper, rows, {trial.subject: trial.experiment.name for trial in trials})
    numbers = Numbers(paper, judgements)
    return [
        *_headlines(paper),
        *_facts(paper),
        *_sentences(paper, numbers),
        *_ledger(paper),
        *_readme(paper, numbers),
        *_files(paper, project.root),
        *_rows(paper, trials, rows, judgements),
    ]


def _headlines(paper: Paper) -> Iterator[Remark]:
    """Three to six, on which every claim of the abstract has its say or is marked; the loader refuses a missing one."""
    count, mend = len(paper.headlines), "state under [[headline]] what a reader of the abstract came for, three to six"
    if count not in HEADLINES:
        yield Remark("paper.toml", f"{count or 'no'} headline{'' if count == 1 else 's'}", mend)
    if not count:
        for claim in paper.claims:
            if claim.provenance == "abstract" and not claim.aside:
                wrong, mend = "is of the abstract and in no headline", 'name it in one, or say `aside = "why not"`'
                yield Remark(f"claim {claim.id}", wrong, mend)


def _sentences(paper: Paper, numbers: Numbers) -> Iterator[Remark]:
    """Sentences stand alone, and the numbers that they ask for can be had."""
    for where, sentence in sentences(paper):
        if wrong := flaw(sentence):
            mend = "write it for who has only this project; keep the number in a comment"
            yield Remark(where, wrong, mend)
        try:
            numbers.fill(sentence)
        except BadExpression as error:
            yield Remark(where, f"asks for a number: {error}", "CONTRIBUTING.md says how one is named")
        if "{= " in sentence and not where.endswith("finding"):
            yield Remark(where, "asks for a measured number", "only findings tell what was measured")


def _facts(paper: Paper) -> Iterator[Remark]:
    tiers = {paper.tier(claim) for claim in paper.claims}
    if paper.about.no_full:
        tiers.add("full")
    for tier in [one for one in ("exact", "small", "full") if one not in tiers]:
        reason = ', or say `no_full = "..."` under [paper]' if tier == "full" else ""
        yield Remark("paper.toml", f"no claim of the {tier} tier", f"state what can be decided there{reason}")
    for name in sorted(paper.experiments.keys() - {claim.experiment for claim in paper.claims}):
        yield Remark(f"experiment {name}", "decides no claim", "give it one, or remove it")
    for claim in paper.claims:
        seeds = paper.experiments[claim.experiment].seeds
        if paper.tier(claim) == "small" and claim.rule.statistical and seeds < SEEDS:
            yield Remark(f"claim {claim.id}", f"has {seeds} seeds", f"a statistical claim needs {SEEDS} paired seeds")
        if claim.expected != "reproduced" and (len(claim.finding) < FINDING or "TODO" in claim.finding):
            yield Remark(
                f"claim {claim.id}", "its finding is no evidence", "say what was measured, on what, what was tried"
            )
    compared = {claim.experiment for claim in paper.claims if isinstance(claim.rule, PairedRule)}
    for name in sorted(one for one in compared if paper.experiments[one].tier == "small"):
        protocol = paper.experiments[name].protocol
        if protocol is None or not protocol.sensitivity:
            mend = "try what is shared, fixed and untuned at other values, and say in protocol.sensitivity what turned"
            yield Remark(f"experiment {name}", "says nothing of its nuisance parameters", mend, grave=False)
    if len(paper.faults) < FAULTS:
        yield Remark(
            "paper.toml", f"{len(paper.faults)} planted faults", f"plant {FAULTS}: what would a wrong version do?"
        )


def _ledger(paper: Paper) -> Iterator[Remark]:
    if not paper.reported:
        yield Remark("paper.toml", "no ledger", "list every number of the paper under [[reported]]")
    claims = {claim.id: claim for claim in paper.claims}
    for item in paper.reported:
        for name in item.claims:
            if item.state == "small" and paper.tier(claims[name]) == "full":
                wrong = f"is 'small' by {name}, a claim of the full tier"
                yield Remark(f"reported {item.id}", wrong, "name a claim that is run small, or change the state")


def _readme(paper: Paper, numbers: Numbers) -> Iterator[Remark]:
    file = paper.folder / "README.md"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if not text:
        yield Remark(
            "README.md", "is missing", "one page: the claims, what was measured, what was found, how to use it"
        )
        return
    if "TODO" in text:
        yield Remark("README.md", "holds a TODO", "do it")
    if f"suites.{paper.folder.name}" not in text or not re.search(r"```python\n.*?```", text, re.S):
        yield Remark("README.md", "has no snippet", f"show how to use suites.{paper.folder.name} in one's own code")
    if BEGIN not in text or with_file_map(text, paper.folder) != text:
        mend = "crossexam report --status"
        if BEGIN not in text:
            mend = f"put `{BEGIN}` and `{END}` where it belongs, then {mend}"
        yield Remark("README.md", "has no fresh map of the suite's files", mend)
    try:
        if numbers.refresh(text) != text:
            yield Remark("README.md", "holds numbers that the rows do not have", "crossexam report --status")
    except BadExpression as error:
        yield Remark("README.md", f"asks for a number: {error}", "CONTRIBUTING.md says how one is named")
    if len(text.splitlines()) >= PAGE:
        yield Remark("README.md", f"has {len(text.splitlines())} lines", "keep it to a page")


def _files(paper: Paper, root: Path) -> Iterator[Remark]:
    if paper.folder != root / "suites" / paper.slug.replace("-", "_"):
        yield Remark(paper.folder.name, "is not the slug with underscores", "rename the folder")
    for file in sorted(paper.folder.rglob("*")):
        if file.is_file() and file.suffix not in ROOMS:
            yield Remark(file.name, "is neither code, facts nor prose", "data, weights and results live elsewhere")
    if (paper.folder / "toy.py").is_file():
        yield Remark("toy.py", "is the toy of the template", "remove it, and all that `grep -rn toy` finds")
    sources = {file.name: file.read_text(encoding="utf-8") for file in sorted(paper.folder.glob("*.py"))}
    for name, text in sources.items():
        if text.strip() and not ast.get_docstring(ast.parse(text)):
            yield Remark(name, "says nothing of itself", "open it with a docstring")
    tests = (root / "tests" / "suites").glob(f"test_{paper.folder.name}*.py")
    lines = {
        "Python": sum(len(text.splitlines()) for text in sources.values()),
        "paper.toml": len((paper.folder / "paper.toml").read_text(encoding="utf-8").splitlines()),
        "tests": sum(len(file.read_text(encoding="utf-8").splitlines()) for file in tests),
        "method.py": len(sources.get("method.py", "").splitlines()),
    }
    for what, count in lines.items():
        if count > BUDGETS[what]:
            yield Remark(
                what, f"has {count} lines of about {BUDGETS[what]}", "shorten what a reader can spare", grave=False
            )


def _rows(
    paper: Paper, trials: Sequence[Trial], rows: Sequence[Row], judgements: Sequence[Judgement]
) -> Iterator[Remark]:
    if not rows:
        mend = f"crossexam run {paper.slug}, then crossexam export {paper.slug} --current -o results/reference/..."
        yield Remark("rows", "none are committed", mend, grave=False)
        return
    known = {row.subject for row in rows}
    ran = {row.experiment for row in rows}  # of the full tier, what never ran is unmeasured, not old
    stale = {
        trial.experiment.name
        for trial in trials
        if trial.subject not in known
        and not trial.blocked
        and (trial.experiment.tier != "full" or trial.experiment.name in ran)
    }
    if stale:
        wrong = f"of {', '.join(sorted(stale))} are older than the code"
        yield Remark("rows", wrong, "run them and commit the export", grave=False)
    for one in judgements:
        if one.claim.experiment not in stale and one.as_expected is False:
            wrong = f"is {one.verdict} by the committed rows, not {one.claim.expected}"
            yield Remark(f"claim {one.claim.id}", wrong, "find out why; then write what was found")
    yield from _placebo(paper, trials, rows)


def _placebo(paper: Paper, trials: Sequence[Trial], rows: Sequence[Row]) -> Iterator[Remark]:
    """The baseline in place of the method never wins: not even when the claim stands alone before Holm's correction."""
    for claim in paper.claims:
        rule, experiment = claim.rule, paper.experiments[claim.experiment]
        if isinstance(rule, PairedRule) and not rule.lenient:
            mine = [trial for trial in trials if trial.experiment is experiment]
            places = {(canonical(one.params), one.seed, one.arm): one.subject for one in mine}
            kept = [row for row in rows if row.experiment == claim.experiment and row.arm == rule.baseline]
            swapped = [
                replace(row, arm=rule.method, subject=places.get((canonical(row.params), row.seed, rule.method), ""))
                for row in kept
            ]
            alone = replace(paper, experiments={experiment.name: experiment}, claims=(claim,))
            subjects = {trial.subject: experiment.name for trial in mine}
            if judge_paper(alone, [*swapped, *kept], subjects)[0].verdict == "reproduced":
                yield Remark(f"claim {claim.id}", "is reproduced by its own baseline", "it decides nothing: sharpen it")
