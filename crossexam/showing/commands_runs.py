"""Commands that take papers to rows and verdicts: plan, run, judge, why, export, import."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossexam.facts.paper import Paper
from crossexam.facts.project import find_paper, project_root, suite_folders
from crossexam.runs.environment import gpu_name
from crossexam.runs.host import WARM, stop_warm, warm_minutes
from crossexam.runs.placement import Gpu
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.runs.why import why
from crossexam.showing import show, show_data
from crossexam.showing.app import (
    AS_EXPECTED,
    AS_JSON,
    DIFFERS,
    FAILED,
    OFFLINE,
    PAPERS,
    BadUsage,
    Slugs,
    app,
    check_writable,
    chosen_papers,
    open_store,
    print_json,
    selecting,
    workers,
    write,
)
from reference.catalog import DataError, catalog

if TYPE_CHECKING:
    from crossexam.judging.judge import Judgement  # it brings numpy


@app.command("plan", epilog="Example: crossexam plan deep-linear-collapse --tier small")
@selecting
@AS_JSON
def plan_trials(papers: Slugs, selection: Selection, as_json: bool) -> int:
    """What `run` would do: trials to run, cached, blocked, and the time that they may take at most."""
    return _plan(papers, selection, as_json)


def _plan(papers: Slugs, selection: Selection, as_json: bool) -> int:
    root = project_root()
    project = Project(root)
    trials = [trial for paper in chosen_papers(root, papers) for trial in plan(paper, project, selection)]
    _refuse_empty(trials, selection.keyword)
    with open_store(root) as store:
        cached = store.finished(trial.fingerprint for trial in trials)
    if as_json:
        print_json([show.trial_record(trial, trial.fingerprint in cached) for trial in trials])
    else:
        show.plan(trials, cached)
    return AS_EXPECTED


@app.command(
    epilog="Examples: crossexam run softmax-ghosts --tier exact | crossexam run credit-iv -k calibration --seeds 10 | "
    "crossexam run softmax-ghosts --tier full --export rows.jsonl"
)
@selecting
@click.option("--jobs", type=int, help="CPUs to use. Default: all.")
@click.option("--fresh", is_flag=True, help="Run again what is cached.")
@OFFLINE
@click.option("--dry-run", is_flag=True, help="Say what would be run, and leave.")
@click.option("--cluster", default="", metavar="ADDRESS", help="A Ray cluster: auto, ray://head:10001, or local.")
@click.option("--accelerator", default="", metavar="TYPE", help="Which GPUs of a cluster that has several types.")
@click.option("--warm", type=float, metavar="MINUTES", help="Keep a host with torch imported for the next command.")
@click.option("--inline", is_flag=True, help="Run trials in this process, for a debugger.")
@click.option("--export", type=click.Path(path_type=Path), help="Also write the papers' rows to this file.")
@AS_JSON
def run(
    papers: Slugs,
    selection: Selection,
    jobs: int | None,
    fresh: bool,
    offline: bool,
    dry_run: bool,
    cluster: str,
    accelerator: str,
    warm: float | None,
    inline: bool,
    export: Path | None,
    as_json: bool,
) -> int:
    """Run trials that have no row yet, then judge. Exit code 1: a verdict differs, 3: a trial failed."""
    from crossexam.watching import session  # it brings numpy, which `list` and `plan` can do without

    if export is not None:
        check_writable(export)
    count, gpu = workers(jobs), None
    if warm is not None:
        if warm < 0:
            raise BadUsage(f"--warm {warm:g}: minutes, 0 for none")
        os.environ[WARM] = f"{warm:g}"
    if cluster:
        gpu = _cluster_gpu(cluster, accelerator)
        os.environ["CROSSEXAM_GPU"] = gpu.name if gpu else ""  # trials run there, not here
    elif accelerator:
        raise BadUsage("--accelerator chooses among the GPUs of a cluster: give --cluster, too")
    if dry_run:
        return _forecast(papers, selection, gpu, as_json) if cluster else _plan(papers, selection, as_json)
    root = project_root()
    project = Project(root)
    chosen = chosen_papers(root, papers)
    if not offline:
        _fetch_missing(chosen, selection)
    settings = session.Settings(selection, count, fresh, inline, cluster, gpu)
    with open_store(root) as store:
        before = {paper.slug: store.series(paper.slug) for paper in chosen}
        with show.Live(quiet=as_json) as live:
            outcome = session.run_papers(chosen, project, store, settings, live.update)
        _refuse_empty(outcome, selection.keyword)
        kept = [(paper, *_judged(paper, project, store, selection)) for paper in chosen]
        if export is not None:
            lines = [f"{line}\n" for line in store.export([paper.slug for paper in chosen])]
            write(export, lines)
    rows = [row for _, row in outcome]
    if as_json:
        print_json(
            {
                "trials": show.health_counts(rows),
                "failed": [show.failure_record(row) for row in rows if row.health in ("error", "timeout")],
                **show.result_record(kept),
            }
        )
    else:
        show.failures(rows)
        for paper, group, every in kept:
            show.verdicts(paper, group, session.moved(paper, before[paper.slug]), every)
    if any(row.health in ("error", "timeout") for row in rows) or any(
        one.health in ("error", "timeout") for _, g, _ in kept for one in g
    ):
        return FAILED
    return DIFFERS if any(one.as_expected is False for _, group, _ in kept for one in group) else AS_EXPECTED


@app.command("warm", epilog="Example: crossexam run credit-iv --warm 30; crossexam warm --stop")
@click.option("--stop", is_flag=True, help="End the hosts that `--warm` keeps.")
def warm_hosts(stop: bool) -> int:
    """Hosts with torch imported that `run --warm MINUTES` keeps, or every command where CROSSEXAM_WARM is set."""
    if stop:
        count = stop_warm()
        print(f"ended {count} warm host{'' if count == 1 else 's'}")
    else:
        minutes = warm_minutes()
        print(f"commands keep a host for {minutes:g} minutes" if minutes else "commands keep no host: see `run --warm`")
    return AS_EXPECTED


@app.command("judge", epilog="Example: crossexam judge credit-iv --json")
@selecting
@AS_JSON
def judge_papers(papers: Slugs, selection: Selection, as_json: bool) -> int:
    """Recompute every verdict from the rows that are there, without running anything and without torch."""
    from crossexam.watching import session  # it brings numpy, which `list` and `plan` can do without

    root = project_root()
    chosen, project = chosen_papers(root, papers), Project(root)
    with open_store(root) as store:
        before = {paper.slug: store.series(paper.slug) for paper in chosen}
        judged = [(paper, *_judged(paper, project, store, selection)) for paper in chosen]
    if as_json:
        print_json(show.result_record(judged))
    else:
        for paper, group, every in judged:
            show.verdicts(paper, group, session.moved(paper, before[paper.slug]), every)
    return DIFFERS if any(one.as_expected is False for _, group, _ in judged for one in group) else AS_EXPECTED


@app.command("why", epilog="Example: crossexam why credit-iv/encodings")
@click.argument("trial")
@AS_JSON
def explain(trial: str, as_json: bool) -> int:
    """TRIAL is the beginning of a trial's name (paper/experiment/arm...) or fingerprint.

    Why a trial would run again: the parts of its fingerprint that differ from its last row."""
    root = project_root()
    slug = trial.split("/")[0]
    known = suite_folders(root)
    papers = [find_paper(root, slug)] if "/" in trial or slug in known else chosen_papers(root, ())
    with open_store(root) as store:
        explanations = why(papers, Project(root), store, trial)
    if not explanations:
        raise BadUsage(f"no trial begins with '{trial}': `crossexam plan {papers[0].slug} --json` lists their names")
    if as_json:
        print_json([{"trial": e.trial.name, "state": e.state, "differences": e.differences} for e in explanations])
    else:
        show.explanations(explanations)
    return AS_EXPECTED


@app.command("export", epilog="Example: crossexam export softmax-ghosts -o rows.jsonl")
@PAPERS
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file; default: standard output.")
@click.option("--current", is_flag=True, help="Only finished rows of the code as it stands.")
def export_rows(papers: Slugs, output: Path | None, current: bool) -> int:
    """Write rows as JSON Lines, with the environments that they name."""
    root = project_root()
    chosen, project = chosen_papers(root, papers), Project(root)
    trials = [trial for paper in chosen for trial in plan(paper, project, Selection())] if current else []
    subjects = {trial.subject for trial in trials} if current else None
    with open_store(root) as store:
        lines = [f"{line}\n" for line in store.export([paper.slug for paper in chosen], subjects)]
    if output is None:
        sys.stdout.writelines(lines)
    else:
        write(output, lines)
    return AS_EXPECTED


@app.command("import", epilog="Example: crossexam import rows.jsonl")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@AS_JSON
def import_rows(files: tuple[Path, ...], as_json: bool) -> int:
    """Add rows that another machine exported. Rows that are here already are not doubled."""
    counts = {}
    with open_store(project_root()) as store:
        for file in files:
            try:
                counts[str(file)] = store.load(file.read_text(encoding="utf-8").split("\n"), str(file))
            except (OSError, UnicodeDecodeError) as error:
                raise BadUsage(f"cannot read {file}: {error}") from error
    if as_json:
        print_json({file: {"new": count.new, "known": count.known} for file, count in counts.items()})
    else:
        for name, count in counts.items():
            print(f"{name}: {count.new} new rows, {count.known} known")
    return AS_EXPECTED


def _cluster_gpu(address: str, accelerator: str) -> Gpu | None:
    """The GPU of a cluster; says what it offers."""
    try:
        from crossexam.runs import cluster
    except ImportError as error:
        raise BadUsage(f"--cluster needs Ray ({error}): python -m pip install 'crossexam[cluster]'") from error
    try:
        gpu = cluster.gpu_of(address, project_root(), accelerator)
    except ConnectionError as error:
        raise BadUsage(f"--cluster {address}: {error}") from error
    print(f"cluster: {cluster.offer()}", file=sys.stderr)
    return gpu


def _forecast(papers: Slugs, selection: Selection, gpu: Gpu | None, as_json: bool) -> int:
    """Where on the cluster that is joined the trials would run; leaves it."""
    from crossexam.runs import cluster
    from crossexam.watching import session

    nodes = cluster.nodes()
    cluster.leave()
    root = project_root()
    with open_store(root) as store:
        found = session.forecast(chosen_papers(root, papers), Project(root), store, selection, nodes, gpu)
    if as_json:
        print_json(show.placement_record(found))
    else:
        show.placement(found)
    return AS_EXPECTED


def _judged(
    paper: Paper, project: Project, store: Store, selection: Selection
) -> tuple[list[Judgement], list[Judgement]]:
    """The verdicts of the claims that are meant, and of all: headlines and Holm's correction are of a whole paper."""
    from crossexam.watching import session

    judgements = session.judge(paper, project, store, selection)
    return [one for one in judgements if selection.keeps(paper, one.claim.id, one.claim.experiment)], judgements


def _fetch_missing(papers: list[Paper], selection: Selection) -> None:
    """Fetch what can be fetched, for trials that could then run; what cannot leaves them blocked, with the reason."""
    from reference.fetch import fetch  # it brings urllib, zipfile and tarfile

    experiments = [experiment for paper in papers for experiment in selection.experiments(paper)]
    runnable = [one for one in experiments if not one.needs.gpu_memory_gib or gpu_name()]
    names = {name for experiment in runnable for name in experiment.needs.sets}
    for name in sorted(names & catalog().keys()):
        if catalog()[name].state == "auto" and not catalog()[name].available:
            try:
                with show_data.Fetching() as fetching:
                    fetch(name, progress=fetching.update)
            except DataError as error:
                print(f"crossexam: {error}", file=sys.stderr)


def _refuse_empty(found: list[Trial] | list[tuple[Trial, Row]], keyword: str) -> None:
    if not found:
        raise BadUsage("nothing is selected" + (f": no experiment or claim holds '{keyword}'" if keyword else ""))
