"""What the commands do, apart from how they are typed and shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossexam.facts.paper import Paper
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.runs.executors import Executor, InlineExecutor, LocalExecutor
from crossexam.runs.placement import Gpu, Node, Placement, place
from crossexam.runs.plan import Selection, Trial, matching, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.runner import Listener, Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Store, StoreError, read_export
from crossexam.watching.audit import Audit, Auditor, as_record, from_record


@dataclass(frozen=True)
class Settings:
    """How a run is to be done."""

    selection: Selection
    jobs: int
    fresh: bool = False
    inline: bool = False
    cluster: str = ""
    """The address of a Ray cluster: "auto", "ray://host:10001", or "local" to start one here."""
    gpu: Gpu | None = None
    """The cluster's GPU."""


def default_jobs() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_papers(
    papers: Sequence[Paper], project: Project, store: Store, settings: Settings, listener: Listener
) -> list[tuple[Trial, Row]]:
    """Run the selected trials of the papers and return each with its row."""
    root = project.root
    trials = [trial for paper in papers for trial in plan(paper, project, settings.selection)]

    def start(modules: set[str]) -> Executor:
        if settings.cluster:
            from crossexam.runs.cluster import RayExecutor  # Ray is an optional extra

            return RayExecutor(root, modules, settings.cluster, settings.gpu)
        return InlineExecutor(root) if settings.inline else LocalExecutor(root, modules, settings.jobs)

    runner = Runner(store, project, start, listener, settings.fresh)
    return list(zip(trials, runner.run(trials), strict=True))


def forecast(
    papers: Sequence[Paper],
    project: Project,
    store: Store,
    selection: Selection,
    nodes: Sequence[Node],
    gpu: Gpu | None,
) -> Placement:
    """Where trials without a row would run, and for how long: as long as the last of their kind, else their limit."""
    waiting, seconds = [], {}
    for paper in papers:
        for row in store.rows(paper.slug):
            if row.health == "done":
                seconds[paper.slug, row.experiment, row.arm, canonical(row.params)] = row.seconds
        trials = plan(paper, project, selection)
        waiting += [trial for trial in trials if not trial.blocked and not store.done(trial.fingerprint)]

    def minutes(trial: Trial) -> float:
        known = seconds.get((trial.paper.slug, trial.experiment.name, trial.arm, canonical(trial.params)))
        return trial.experiment.needs.minutes if known is None else known / 60

    return place(waiting, nodes, gpu, minutes)


def judge(paper: Paper, project: Project, store: Store, selection: Selection) -> list[Judgement]:
    """Verdicts of all claims on the rows that the store has for the code as `project` read it, recorded there.

    Of the selection only the seeds count here.
    """
    trials = plan(paper, project, Selection(seeds=selection.seeds, first_seed=selection.first_seed))
    judgements = judge_paper(
        paper,
        store.rows(paper.slug),
        {trial.subject: trial.experiment.name for trial in trials},
        seeds=selection.seeds,
        first_seed=selection.first_seed,
        setting={trial.experiment.name: trial.setting for trial in trials},
        obstacles={trial.experiment.name: trial.blocked for trial in trials},
        history=lambda file: history_rows(project.root, file),
    )
    for judgement in judgements:
        if judgement.verdict is not None:
            body = {
                "device": judgement.device, "seeds": len(judgement.seeds), "p": judgement.p,
                "p_holm": judgement.p_holm, "version": judgement.claim.version,
                "findings": [[f.point, f.verdict, f.estimate, f.low, f.high] for f in judgement.findings],
            }  # fmt: skip
            store.add_verdict(paper.slug, judgement.claim.id, paper.series(judgement.claim), judgement.verdict, body)
    return judgements


def audit(
    paper: Paper, project: Project, store: Store, jobs: int, minutes: float, listener: Listener,
    note: Callable[[str], None],
) -> Audit:  # fmt: skip
    """Audit a paper; what was found is kept in the store."""
    found = Auditor(paper, project, store, jobs, minutes, listener, note).run()
    store.add_audit(paper.slug, found.at, as_record(found))
    return found


def last_audit(paper: Paper, store: Store) -> Audit | None:
    """What the last audit of a paper found."""
    record = store.audit(paper.slug)
    return from_record(record) if record else None


def moved(paper: Paper, before: dict[str, str]) -> list[str]:
    """Claims whose rule, decision or protocol differs from that of their last verdict: a new series begins."""
    return [claim.id for claim in paper.claims if before.get(claim.id) not in (None, paper.series(claim))]


def history_rows(root: Path, file: str) -> list[Row]:
    """Rows of a committed file that a claim names as its reference history."""
    path = root / file
    if not path.is_file():
        raise StoreError(f"the history file {file} does not exist: mend decision.history of the claim")
    return read_export(path.read_text(encoding="utf-8").splitlines(), file)[0]


@dataclass(frozen=True)
class Explanation:
    """Why a trial would run again, or would not."""

    trial: Trial
    state: str
    differences: tuple[str, ...] = ()


def why(papers: Sequence[Paper], project: Project, store: Store, text: str) -> list[Explanation]:
    """Explain every trial whose name or fingerprint begins with `text`."""
    found = [trial for paper in papers for trial in matching(plan(paper, project, Selection()), text)]
    return [_explain(trial, store) for trial in found]


def _explain(trial: Trial, store: Store) -> Explanation:
    if store.done(trial.fingerprint):
        return Explanation(trial, "cached: a finished row has this fingerprint")
    same = [
        row for row in store.rows(trial.paper.slug)
        if (row.experiment, row.arm, row.seed) == (trial.experiment.name, trial.arm, trial.seed)
        and canonical(row.params) == canonical(trial.params)
    ]  # fmt: skip
    if trial.blocked:
        return Explanation(trial, f"blocked: {trial.blocked}")
    if not same:
        return Explanation(trial, "runs: it has never been run")
    if same[-1].fingerprint == trial.fingerprint:
        return Explanation(trial, f"runs: its last attempt ended as {same[-1].health}: {same[-1].cause}")
    last = next((row for row in reversed(same) if row.health == "done"), same[-1])
    return Explanation(trial, "runs: its fingerprint has changed", tuple(_differences(trial, last, store)))


def _differences(trial: Trial, row: Row, store: Store) -> list[str]:
    """The parts that differ between a trial as it stands and the row that it had, code by definition."""
    lines = []
    for name in sorted(trial.parts.keys() | row.parts.keys()):
        then, now = row.parts.get(name, "absent"), trial.parts.get(name, "absent")
        if then == now:
            continue
        if name == "code":
            lines += _code_differences(store.text(then), trial.code)
        else:
            lines.append(f"{name}: {then} -> {now}")
    return lines


def _code_differences(then: dict[str, str], now: object) -> list[str]:
    current = dict(now) if isinstance(now, dict) else {}
    if not then:
        return ["code: differs (the row came without its list of definitions)"]
    kinds: list[tuple[str, Callable[[str], bool]]] = [
        ("changed", lambda key: key in then and key in current and then[key] != current[key]),
        ("new", lambda key: key not in then),
        ("gone", lambda key: key not in current),
    ]
    return [f"code {kind}: {key}" for kind, test in kinds for key in sorted({*then, *current}) if test(key)]
