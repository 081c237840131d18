"""Commands that take papers to rows and verdicts: plan, run, judge, why, export, import."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossexam.facts.paper import TIERS, Paper
from crossexam.facts.project import find_paper, project_root, suite_folders
from crossexam.runs.committed import OWN, committed_builds, committed_texts, counted_rows
from crossexam.runs.environment import default_jobs, gpu_name, processor
from crossexam.runs.host import WARM, stop_warm, warm_minutes
from crossexam.runs.placement import Gpu
from crossexam.runs.plan import Selection, plan
from crossexam.runs.source import Project
from crossexam.runs.store import Builds, Export, Store
from crossexam.runs.why import why
from crossexam.showing import show, show_runs
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
    complete_paper,
    fetch_runnable,
    open_store,
    out,
    print_json,
    selecting,
    telling,
    workers,
    write,
)

if TYPE_CHECKING:
    from crossexam.judging.judge import Judgement  # it brings numpy
    from crossexam.watching.choice import Choice


@app.command("plan", epilog="Example: crossexam plan deep-linear-collapse --tier small")
@selecting
@AS_JSON
def plan_trials(papers: Slugs, selection: Selection, as_json: bool) -> int:
    """What there is to run: trials that are cached, committed, blocked or left, and about how long these take."""
    return _plan(papers, selection, None, fresh=False, as_json=as_json)


def _plan(papers: Slugs, selection: Selection, minutes: float | None, *, fresh: bool, as_json: bool) -> int:
    from crossexam.watching.choice import choose

    root = project_root()
    chosen = chosen_papers(root, papers)
    with open_store(root) as store:
        choice = choose(chosen, Project(root), store, selection, default_jobs(), full_minutes=minutes, fresh=fresh)
    _refuse_empty(choice, selection.keyword)
    if as_json:
        print_json([show_runs.trial_record(trial, choice) for trial in choice.trials])
    else:
        show_runs.plan(choice)
    return chosen.ending(AS_EXPECTED)


@app.command(
    epilog="Examples: crossexam run softmax-ghosts --tier exact | crossexam run credit-iv -k calibration --seeds 10 | "
    "crossexam run softmax-ghosts --tier full -o rows.jsonl"
)
@selecting
@click.option("--minutes", type=float, help="For the full tier. Default without --tier: 30 where CUDA is, else none.")
@click.option("--jobs", type=int, help="CPUs to use. Default: all.")
@click.option("--fresh", is_flag=True, help="Run again what is cached or committed.")
@click.option("--own", is_flag=True, help="Run here also what is only committed.")
@OFFLINE
@click.option("--dry-run", is_flag=True, help="Say what would be run, and leave.")
@click.option("--cluster", default="", metavar="ADDRESS", help="A Ray cluster: auto, ray://head:10001, or local.")
@click.option("--accelerator", default="", metavar="TYPE", help="Which GPUs of a cluster that has several types.")
@click.option("--warm", type=float, metavar="MINUTES", help="Keep a host with torch imported for the next command.")
@click.option("--inline", is_flag=True, help="Run trials in this process, for a debugger.")
@out("A file: write the papers' rows there, too.")
@AS_JSON
def run(
    papers: Slugs,
    selection: Selection,
    minutes: float | None,
    jobs: int | None,
    fresh: bool,
    own: bool,
    offline: bool,
    dry_run: bool,
    cluster: str,
    accelerator: str,
    warm: float | None,
    inline: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Run trials that have no row yet, then judge: the exact and small tiers, and what of the full one fits --minutes.

    Committed rows of the code as it stands count, and are not run again. Exit code 1: a verdict differs, 3: a trial
    failed.
    """
    from crossexam.watching import session  # it brings numpy, which `list` can do without
    from crossexam.watching.choice import choose, full_minutes

    if out is not None:
        check_writable(out)
    count, gpu = workers(jobs), None
    if minutes is not None and minutes < 0:
        raise BadUsage(f"--minutes {minutes:g}: at least 0")
    if warm is not None:
        if warm < 0:
            raise BadUsage(f"--warm {warm:g}: minutes, 0 for none")
        os.environ[WARM] = f"{warm:g}"
    if own:
        os.environ[OWN] = "1"
    if cluster:
        gpu = _cluster_gpu(cluster, accelerator)
        os.environ["CROSSEXAM_GPU"] = gpu.name if gpu else ""  # trials run there, not here
    elif accelerator:
        raise BadUsage("--accelerator chooses among the GPUs of a cluster: give --cluster, too")
    budget = full_minutes(minutes, tiers_given=selection.tiers != TIERS, gpu=bool(gpu_name()))
    if dry_run and cluster:
        return _forecast(papers, selection, gpu, as_json)
    if dry_run:
        return _plan(papers, selection, budget, fresh=fresh, as_json=as_json)
    root = project_root()
    project = Project(root)
    chosen = chosen_papers(root, papers)
    settings = session.Settings(count, fresh, inline, cluster, gpu)
    with open_store(root) as store:
        before = {paper.slug: store.series(paper.slug) for paper in chosen}

        def choice_now() -> Choice:
            return choose(chosen, project, store, selection, count, full_minutes=budget, fresh=fresh)

        choice = choice_now()
        _refuse_empty(choice, selection.keyword)
        wanted = [trial for trial in choice.blocked if budget != 0 or trial.experiment.tier != "full"]
        if not offline and fetch_runnable(wanted):
            choice = choice_now()
        with show_runs.Live(quiet=as_json) as live:
            live.note(show_runs.opening(choice))
            outcome = session.run_papers(project, store, choice, settings, live.update)
        kept = [(paper, *_judged(paper, project, store, selection)) for paper in chosen]
        if out is not None:
            write(out, [f"{line}\n" for line in store.export(*(paper.slug for paper in chosen)).lines()])
    rows = [row for _, row in outcome]
    status = DIFFERS if any(one.as_expected is False for _, group, _ in kept for one in group) else AS_EXPECTED
    if any(row.health in ("error", "timeout") for row in rows) or any(
        one.health in ("error", "timeout") for _, g, _ in kept for one in g
    ):
        status = FAILED
    status = chosen.ending(status)
    with telling(status):
        if as_json:
            print_json(
                {
                    "trials": show.health_counts(rows),
                    "committed": sum(trial.fingerprint in choice.committed for trial in choice.trials),
                    "left_out": show_runs.left_record(choice),
                    "failed": [show.failure_record(row) for row in rows if row.health in ("error", "timeout")],
                    **show.result_record(kept),
                }
            )
        else:
            show.failures(rows)
            for paper, group, every in kept:
                show.verdicts(paper, group, session.moved(paper, before[paper.slug]), every)
            show_runs.left_out(choice)
    return status


@app.command("warm", epilog="Example: crossexam run credit-iv --warm 30; crossexam warm --stop")
@click.option("--stop", is_flag=True, help="End the hosts that `--warm` keeps.")
@AS_JSON
def warm_hosts(stop: bool, as_json: bool) -> int:
    """Hosts with torch imported that `run --warm MINUTES` keeps, or every command where CROSSEXAM_WARM is set."""
    if as_json:
        print_json({"ended": stop_warm() if stop else 0, "minutes": warm_minutes()})
    elif stop:
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
    """Recompute every verdict from the rows that are there, this machine's and committed ones, without running."""
    from crossexam.watching import session  # it brings numpy, which `list` and `plan` can do without

    root = project_root()
    chosen, project = chosen_papers(root, papers), Project(root)
    with open_store(root) as store:
        before = {paper.slug: store.series(paper.slug) for paper in chosen}
        judged = [(paper, *_judged(paper, project, store, selection)) for paper in chosen]
    surprise = any(one.as_expected is False for _, group, _ in judged for one in group)
    status = chosen.ending(DIFFERS if surprise else AS_EXPECTED)
    with telling(status):
        if as_json:
            print_json(show.result_record(judged))
        else:
            for paper, group, every in judged:
                show.verdicts(paper, group, session.moved(paper, before[paper.slug]), every)
    return status


@app.command("why", epilog="Example: crossexam why credit-iv/encodings")
@click.argument("trial", shell_complete=complete_paper)
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


@app.command(
    "export",
    epilog="Examples: crossexam export softmax-ghosts -o rows.jsonl | crossexam export ldr-loss --format csv | "
    "crossexam export credit-iv --current --device cpu-x86_64 -o results/reference/credit-iv.cpu-x86_64.jsonl",
)
@PAPERS
@out("A file; default: standard output.")
@click.option(
    "--format", "kind", type=click.Choice(["jsonl", "csv", "parquet"]), default="jsonl",
    help="jsonl: for `import`, with environments. csv, parquet: the table of `crossexam.results`. Default: jsonl.",
)  # fmt: skip
@click.option("--current", is_flag=True, help="Finished rows of the code as it stands, committed ones with them.")
@click.option("--device", default="", help="Only rows of this machine class, such as cpu-x86_64.")
@AS_JSON
def export_rows(papers: Slugs, out: Path | None, kind: str, current: bool, device: str, as_json: bool) -> int:
    """Write rows: those that this machine measured, or with --current all that count, of whatever machine.

    --json says what was written, and needs -o."""
    if out is None and (as_json or kind == "parquet"):
        raise BadUsage(f"{'--json' if as_json else '--format parquet'}: say with -o where the rows go")
    root = project_root()
    chosen, project = chosen_papers(root, papers), Project(root)
    with open_store(root) as store:
        found = store.export(*(paper.slug for paper in chosen))
        if current:
            found = _current(found, chosen, project)
    found.rows[:] = [row for row in found.rows if device in ("", row.device)]
    if device and not found.rows:
        print(f"crossexam: no row of the machine class '{device}'", file=sys.stderr)
    if kind != "jsonl":
        from crossexam.showing.frames import table_of, write_table  # it brings pandas

        marks = {row.id for paper in chosen for row in counted_rows(root, paper.slug)}
        write_table(table_of(found, marks), kind, out)
    elif out is None:
        sys.stdout.writelines(f"{line}\n" for line in found.lines())
    else:
        write(out, [f"{line}\n" for line in found.lines()])
    if as_json:
        print_json({"out": str(out), "rows": len(found.rows), "format": kind})
    return chosen.ending(AS_EXPECTED)


def _current(own: Export, papers: Sequence[Paper], project: Project) -> Export:
    """The finished rows of the code as it stands, own and committed; of one fingerprint and processor the newest."""
    subjects = {trial.subject for paper in papers for trial in plan(paper, project, Selection())}
    texts, rows = dict(own.texts), list(own.rows)
    builds: Builds = {}
    for paper in papers:
        rows += counted_rows(project.root, paper.slug)
        texts = committed_texts(project.root, paper.slug) | texts
        builds |= committed_builds(project.root, paper.slug)
    done = [row for row in rows if row.subject in subjects and row.health == "done"]
    newest = {
        (row.fingerprint, processor(texts.get(row.environment, {}))): row
        for row in sorted(done, key=lambda row: row.started)
    }  # fmt: skip
    return Export(list(newest.values()), texts, builds | own.builds)


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
        print_json(show_runs.placement_record(found))
    else:
        show_runs.placement(found)
    return AS_EXPECTED


def _judged(
    paper: Paper, project: Project, store: Store, selection: Selection
) -> tuple[list[Judgement], list[Judgement]]:
    """The verdicts of the claims that are meant, and of all: headlines and Holm's correction are of a whole paper."""
    from crossexam.watching import session

    judgements = session.judge(paper, project, store, selection)
    return [one for one in judgements if selection.keeps(paper, one.claim.id, one.claim.experiment)], judgements


def _refuse_empty(choice: Choice, keyword: str) -> None:
    if not choice.trials and not choice.left:
        raise BadUsage("nothing is selected" + (f": no experiment or claim holds '{keyword}'" if keyword else ""))
