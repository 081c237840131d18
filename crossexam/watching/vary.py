"""Would a verdict turn if something that nobody tuned were other than it is?

Nothing here touches the tree or the rows: as in an audit, what is varied is a copy of the suite, in its own project.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossexam.facts.loader import load_paper
from crossexam.facts.paper import Claim, Paper
from crossexam.facts.rules import OrderRule, PairedRule, TrendRule
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.runs.executors import Executor
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.runner import Listener, Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.watching.audit import Faulty, Laboratory

Start = Callable[[Path, set[str]], Executor]
"""(root, modules) -> what runs trials there."""


@dataclass(frozen=True)
class Variation:
    """A text in one file of a suite, and what stands in its place, everywhere in that file."""

    file: str
    old: str
    new: str

    @classmethod
    def parse(cls, text: str) -> Variation:
        r"""Of "FILE: OLD => NEW", where \n is the end of a line. Raises ValueError for any other form."""
        file, colon, change = text.partition(":")
        old, arrow, new = change.partition("=>")
        if not (colon and arrow and file.strip() and old.strip()):
            raise ValueError(f"{text!r} is not of the form FILE: OLD => NEW")
        return cls(file.strip(), *(one.strip().replace("\\n", "\n") for one in (old, new)))

    def applied(self, folder: Path) -> str:
        """The file's text with the change, wherever the old text stands. Raises ValueError where it does not."""
        path = folder / self.file
        if not path.is_file():
            raise ValueError(f"{self.file} is no file of {folder.name}")
        text = path.read_text(encoding="utf-8")
        if self.old not in text:
            raise ValueError(f"{self.old!r} does not occur in {self.file}")
        return text.replace(self.old, self.new)

    def __str__(self) -> str:
        return f"{self.file}: {self.old} => {self.new}" if self.old else "as it is"


@dataclass(frozen=True)
class Varied:
    """A claim's estimate under one variation, over few seeds: a direction, no verdict."""

    claim: str
    variation: str
    estimate: float | None
    """Of the point that decides; None where trials failed."""
    holds: bool | None
    """Whether the estimate by itself, without its interval, is on the claim's side."""


def vary(
    paper: Paper, project: Project, variations: Sequence[Variation], names: Sequence[str], *,
    seeds: int, start: Start, listener: Listener,
) -> list[Varied]:  # fmt: skip
    """The named experiments as they stand and with each variation, first seeds only; for each of their claims.

    Raises ValueError for a variation that does not fit its file.
    """
    as_it_is = Variation("method.py", "", "")
    texts = {one: one.applied(paper.folder) for one in variations}
    texts = {as_it_is: (paper.folder / "method.py").read_text(encoding="utf-8"), **texts}
    with tempfile.TemporaryDirectory(prefix="crossexam-vary-") as folder:
        laboratory = Laboratory(Path(folder), paper, project.root)
        trials: dict[Variation, list[Trial]] = {}
        papers: dict[Variation, Paper] = {}
        for number, (one, text) in enumerate(texts.items()):
            copy = laboratory.plant(Faulty(str(one), "listed", str(one), one.file, text), number)
            if one.file == "paper.toml":  # its parameters are those of the changed file, its seeds those of the paper
                copy = replace(load_paper(copy.folder), slug=paper.slug)
            papers[one] = copy
            planned = plan(copy, laboratory.project, Selection(seeds=seeds))
            trials[one] = [trial for trial in planned if trial.experiment.name in names and not trial.blocked]
        with Store(laboratory.root / "results") as store:
            runner = Runner(store, laboratory.project, lambda modules: start(laboratory.root, modules), listener)
            runner.run([trial for mine in trials.values() for trial in mine])
            rows = store.rows()
    found = []
    for one, mine in trials.items():
        subjects: Mapping[str, str] = {trial.subject: trial.experiment.name for trial in mine}
        judged = judge_paper(papers[one], [row for row in rows if row.subject in subjects], subjects, seeds=seeds)
        found += list(_varied(judged, names, str(one)))
    return found


def _varied(judged: Sequence[Judgement], names: Sequence[str], variation: str) -> Iterator[Varied]:
    for one in judged:
        if one.claim.experiment in names:
            decisive = one.decisive
            estimate = None if decisive is None else decisive.estimate
            yield Varied(one.claim.id, variation, estimate, _holds(one.claim, estimate, one))


def _holds(claim: Claim, estimate: float | None, judged: Judgement) -> bool | None:
    rule = claim.rule
    if estimate is None:
        return None
    if isinstance(rule, OrderRule):
        return estimate > rule.margin
    if isinstance(rule, PairedRule):
        return estimate > 0
    if isinstance(rule, TrendRule) and rule.target is None:
        above = rule.at_least is None or estimate >= rule.at_least
        return above and (rule.at_most is None or estimate <= rule.at_most)
    return None if judged.verdict is None else judged.verdict == "reproduced"
