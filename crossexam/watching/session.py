"""What the commands do, apart from how they are typed and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossexam.facts.paper import Paper
from crossexam.judging import words
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.runs.committed import committed_audits, committed_processors, counted_rows
from crossexam.runs.environment import processor
from crossexam.runs.placement import Gpu, Node, Placement, place
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store, StoreError, read_export
from crossexam.watching.choice import Choice, costs_of

if TYPE_CHECKING:  # judging waits neither for what runs trials nor for what audits
    from crossexam.runs.executors import Executor
    from crossexam.runs.runner import Listener
    from crossexam.watching.audit import Audit


@dataclass(frozen=True)
class Settings:
    """How a run is to be done."""

    jobs: int
    fresh: bool = False
    inline: bool = False
    cluster: str = ""
    """The address of a Ray cluster: "auto", "ray://host:10001", or "local" to start one here."""
    gpu: Gpu | None = None
    """The cluster's GPU."""


def run_papers(
    project: Project, store: Store, choice: Choice, settings: Settings, listener: Listener
) -> list[tuple[Trial, Row]]:
    """Run what was chosen and return each trial with its row."""
    from crossexam.runs.executors import InlineExecutor, LocalExecutor
    from crossexam.runs.runner import Runner

    root = project.root

    def start(modules: set[str]) -> Executor:
        if settings.cluster:
            from crossexam.runs.cluster import RayExecutor  # Ray is an optional extra

            return RayExecutor(root, modules, settings.cluster, settings.gpu)
        return InlineExecutor(root) if settings.inline else LocalExecutor(root, modules, settings.jobs)

    runner = Runner(store, project, start, listener, settings.fresh, costs=choice.costs)
    return list(zip(choice.trials, runner.run(choice.trials, choice.committed), strict=True))


def forecast(
    papers: Sequence[Paper],
    project: Project,
    store: Store,
    selection: Selection,
    nodes: Sequence[Node],
    gpu: Gpu | None,
) -> Placement:
    """Where trials without a row would run, and for how long: as long as the last of their kind, else their limit."""
    waiting = []
    for paper in papers:
        trials = plan(paper, project, selection)
        done = store.finished(trial.fingerprint for trial in trials)
        waiting += [trial for trial in trials if not trial.blocked and trial.fingerprint not in done]
    costs = costs_of(papers, project, store)
    return place(waiting, nodes, gpu, lambda trial: costs.seconds(trial) / 60)


def judge(paper: Paper, project: Project, store: Store, selection: Selection) -> list[Judgement]:
    """Verdicts of all claims on the rows that there are for the code as `project` read it, recorded in the store.

    Of the selection only the seeds count here.
    """
    trials = plan(paper, project, Selection(seeds=selection.seeds, first_seed=selection.first_seed))
    subjects = {trial.subject: trial.experiment.name for trial in trials}
    own, committed = store.current_rows(paper.slug, subjects), counted_rows(project.root, paper.slug)
    judgements = judge_paper(
        paper,
        own,
        subjects,
        seeds=selection.seeds,
        first_seed=selection.first_seed,
        setting={trial.experiment.name: trial.setting for trial in trials},
        obstacles={trial.experiment.name: trial.blocked for trial in trials},
        history=lambda file: history_rows(project.root, file),
        committed=committed,
        processors=processors(own, store) | committed_processors(project.root, paper.slug),
        measured=store.measured(paper.slug) | {(row.experiment, row.seed) for row in committed},
    )
    verdicts = (
        (one.claim.id, paper.series(one.claim), one.verdict, _verdict_record(one))
        for one in judgements if one.verdict is not None
    )  # fmt: skip
    store.add_verdicts(paper.slug, verdicts)
    return judgements


def processors(rows: Iterable[Row], store: Store) -> dict[str, str]:
    """{digest of an environment that rows name: its processor}, as the store knows them."""
    return {key: processor(store.text(key)) for key in {row.environment for row in rows} if key}


def _verdict_record(judgement: Judgement) -> dict[str, Any]:
    """What a verdict rests on."""
    return {
        "device": judgement.device, "seeds": len(judgement.seeds), "p": judgement.p,
        "p_holm": judgement.p_holm, "version": judgement.claim.version,
        "measured": words.measured(judgement), "rule": words.criterion(judgement.claim.rule),
        "findings": [[f.point, f.verdict, f.estimate, f.low, f.high] for f in judgement.findings],
    }  # fmt: skip


def audit(
    paper: Paper, project: Project, store: Store, jobs: int, minutes: float, listener: Listener,
    note: Callable[[str], None],
) -> Audit:  # fmt: skip
    """Audit a paper; what was found is kept in the store."""
    from crossexam.watching.audit import Auditor, as_record

    found = Auditor(paper, project, store, jobs, minutes, listener, note).run()
    store.add_audit(paper.slug, found.at, as_record(found))
    return found


def last_audit(paper: Paper, store: Store, root: Path) -> Audit | None:
    """What the last audit of a paper found, here or committed."""
    from crossexam.watching.audit import from_record

    records = [one for one in (committed_audits(root, paper.slug).get(paper.slug), store.audit(paper.slug)) if one]
    return from_record(max(records, key=lambda one: str(one["at"]))) if records else None


def moved(paper: Paper, before: dict[str, str]) -> list[str]:
    """Claims whose rule, decision or protocol differs from that of their last verdict: a new series begins."""
    return [claim.id for claim in paper.claims if before.get(claim.id) not in (None, paper.series(claim))]


def history_rows(root: Path, file: str) -> list[Row]:
    """Rows of a committed file that a claim names as its reference history."""
    path = root / file
    if not path.is_file():
        raise StoreError(f"the history file {file} does not exist: mend decision.history of the claim")
    return read_export(path.read_text(encoding="utf-8").split("\n"), file).rows
