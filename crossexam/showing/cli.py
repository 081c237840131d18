"""The command line. Commands parse, call `session`, and hand what comes back to `show`."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crossexam import __version__
from crossexam.facts.paper import TIERS, Paper, Tier
from crossexam.facts.problems import BadFile, did_you_mean
from crossexam.facts.project import UnknownPaper, find_paper, project_root, results_folder, suite_folders
from crossexam.runs.environment import gpu_name
from crossexam.runs.placement import Gpu
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store, StoreError
from crossexam.showing import show, show_data
from reference import cache
from reference.catalog import DataError, catalog, get

if TYPE_CHECKING:
    from crossexam.judging.judge import Judgement  # it brings numpy

AS_EXPECTED, DIFFERS, BAD_USAGE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130


class BadUsage(Exception):
    """An option or argument that cannot be meant."""


Slugs = tuple[str, ...]
F = TypeVar("F", bound=Callable[..., Any])

PAPERS = click.argument("papers", nargs=-1, metavar="[PAPER]...")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
OFFLINE = click.option("--offline", is_flag=True, help="Fetch no data.")


def selecting(command: F) -> F:
    """The arguments that pick trials; the command gets them as one `selection`."""

    @functools.wraps(command)
    def gathered(tiers: Slugs, keyword: str, seeds: int | None, first_seed: int | None, **rest: Any) -> Any:
        return command(selection=_selection(tiers, keyword, seeds, first_seed), **rest)

    for decorate in (
        click.option("--first-seed", type=int, help="The first seed, such as 1000 for fresh ones."),
        click.option("--seeds", type=int, help="Seeds per experiment, instead of those of the file."),
        click.option("-k", "keyword", default="", help="Only experiments and claims whose name holds this."),
        click.option("--tier", "tiers", multiple=True, help="exact, small or full; may be repeated. Default: all."),
        PAPERS,
    ):
        gathered = decorate(gathered)
    return gathered  # type: ignore[return-value]


@click.group(epilog="Start with `crossexam list`, then `crossexam run softmax-ghosts --tier exact`.")
@click.version_option(__version__)
def app() -> None:
    """Cross-examine what machine-learning papers claim."""


@app.group("data")
def data_app() -> None:
    """Reference data: list, show, fetch, verify."""


def run_app() -> int:
    """Run the command line; errors that a person can mend become one message and exit code 2."""
    from crossexam.showing import cli_watch  # noqa: F401 - registers more commands, which need what is defined here

    try:
        result = app.main(prog_name="crossexam", standalone_mode=False)
        return result if isinstance(result, int) else AS_EXPECTED
    except (click.Abort, KeyboardInterrupt):
        print("interrupted: finished trials are kept; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return AS_EXPECTED
    except click.ClickException as error:
        error.show()
        return BAD_USAGE
    except (BadFile, UnknownPaper, BadUsage, StoreError, DataError) as error:
        print(f"crossexam: {error}", file=sys.stderr)
        return BAD_USAGE


@app.command("list")
@AS_JSON
def list_papers(as_json: bool) -> int:
    """One line per paper: claims by tier, title. A broken suite is named, and does not hide the others."""
    root = project_root()
    papers: list[Paper] = []
    broken: list[BadFile] = []
    for slug in suite_folders(root):
        try:
            papers.append(find_paper(root, slug))
        except BadFile as error:
            broken.append(error)
    if as_json:
        print_json([show.paper_record(paper) for paper in papers])
    else:
        show.papers(papers)
    for problem in broken:
        print(f"crossexam: {problem}", file=sys.stderr)
    return BAD_USAGE if broken else AS_EXPECTED


@app.command("show", epilog="Example: crossexam show credit-iv")
@click.argument("paper")
@AS_JSON
def show_paper(paper: str, as_json: bool) -> int:
    """A paper's claims with their rules and last verdicts, and its ledger of reported numbers."""
    from crossexam.showing import session  # it brings numpy, which `list` and `plan` can do without

    root = project_root()
    loaded = find_paper(root, paper)
    with open_store(root) as store:
        judgements = session.judge(loaded, Project(root), store, Selection())
        audited = session.last_audit(loaded, store)
    if as_json:
        print_json({**show.paper_record(loaded), "claims": [show.judgement_record(loaded, one) for one in judgements]})
    else:
        show.paper(loaded, judgements, audited)
    return AS_EXPECTED


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
    inline: bool,
    export: Path | None,
    as_json: bool,
) -> int:
    """Run trials that have no row yet, then judge. Exit code 1: a verdict differs, 3: a trial failed."""
    from crossexam.showing import session  # it brings numpy, which `list` and `plan` can do without

    count, gpu = workers(jobs), None
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
        kept = [(paper, _judged(paper, project, store, selection)) for paper in chosen]
        if export is not None:
            lines = [f"{line}\n" for line in store.export([paper.slug for paper in chosen])]
            write(export, lines)
    rows = [row for _, row in outcome]
    if as_json:
        print_json(
            {
                "trials": show.health_counts(rows),
                "failed": [show.failure_record(row) for row in rows if row.health in ("error", "timeout")],
                "claims": [show.judgement_record(paper, one) for paper, group in kept for one in group],
            }
        )
    else:
        show.failures(rows)
        for paper, group in kept:
            show.verdicts(paper, group, session.moved(paper, before[paper.slug]))
    if any(row.health in ("error", "timeout") for row in rows) or any(
        one.health in ("error", "timeout") for _, g in kept for one in g
    ):
        return FAILED
    return DIFFERS if any(one.as_expected is False for _, group in kept for one in group) else AS_EXPECTED


@app.command("judge", epilog="Example: crossexam judge credit-iv --json")
@selecting
@AS_JSON
def judge_papers(papers: Slugs, selection: Selection, as_json: bool) -> int:
    """Recompute every verdict from the rows that are there, without running anything and without torch."""
    from crossexam.showing import session  # it brings numpy, which `list` and `plan` can do without

    root = project_root()
    chosen, project = chosen_papers(root, papers), Project(root)
    with open_store(root) as store:
        before = {paper.slug: store.series(paper.slug) for paper in chosen}
        judged = [(paper, _judged(paper, project, store, selection)) for paper in chosen]
    if as_json:
        print_json([show.judgement_record(paper, one) for paper, group in judged for one in group])
    else:
        for paper, group in judged:
            show.verdicts(paper, group, session.moved(paper, before[paper.slug]))
    return DIFFERS if any(one.as_expected is False for _, group in judged for one in group) else AS_EXPECTED


@app.command(epilog="Example: crossexam why credit-iv/encodings")
@click.argument("trial")
@AS_JSON
def why(trial: str, as_json: bool) -> int:
    """TRIAL is the beginning of a trial's name (paper/experiment/arm...) or fingerprint.

    Why a trial would run again: the parts of its fingerprint that differ from its last row."""
    from crossexam.showing import session  # it brings numpy, which `list` and `plan` can do without

    root = project_root()
    slug = trial.split("/")[0]
    known = suite_folders(root)
    papers = [find_paper(root, slug)] if "/" in trial or slug in known else chosen_papers(root, ())
    with open_store(root) as store:
        explanations = session.why(papers, Project(root), store, trial)
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
                counts[str(file)] = store.load(file.read_text(encoding="utf-8").splitlines(), str(file))
            except (OSError, UnicodeDecodeError) as error:
                raise BadUsage(f"cannot read {file}: {error}") from error
    if as_json:
        print_json({file: {"new": count.new, "known": count.known} for file, count in counts.items()})
    else:
        for name, count in counts.items():
            print(f"{name}: {count.new} new rows, {count.known} known")
    return AS_EXPECTED


@app.command("new", epilog="Example: crossexam new my-paper")
@click.argument("slug")
def new_paper(slug: str) -> int:
    """Start a suite that runs and passes from the first minute, with a toy claim to be replaced."""
    from crossexam.facts.scaffold import BadSlug, scaffold

    try:
        created = scaffold(project_root(), slug)
    except BadSlug as error:
        raise BadUsage(str(error)) from error
    for file in created:
        print(f"wrote {file}")
    print(f"Next: crossexam run {slug}, then read CONTRIBUTING.md.")
    return AS_EXPECTED


@data_app.command("list")
@AS_JSON
def data_list(as_json: bool) -> int:
    """Every data set of the catalogue, and whether it is here."""
    entries = list(catalog().values())
    if as_json:
        print_json([show_data.data_record(entry) for entry in entries])
    else:
        show_data.data_sets(entries)
    return AS_EXPECTED


@data_app.command("show", epilog="Example: crossexam data show cifar10-jpeg")
@click.argument("name")
@AS_JSON
def data_show(name: str, as_json: bool) -> int:
    """Licence, citation, source and files of a data set, what it must not be compared with, and how to get it."""
    record = show_data.data_record(get(name))
    if as_json:
        print_json(record)
    else:
        show.fields(record)
    return AS_EXPECTED


@data_app.command("fetch", epilog="Example: crossexam data fetch fashion-mnist gsm8k")
@click.argument("names", nargs=-1, required=True)
@OFFLINE
def data_fetch(names: Slugs, offline: bool) -> int:
    """Get data sets into the cache, whole and verified, or not at all. What broke off goes on where it stopped."""
    from reference.fetch import fetch  # it brings urllib, zipfile and tarfile

    entries = [get(name) for name in names]  # a misspelt name is told before anything is fetched
    for entry in entries:
        with show_data.Fetching() as fetching:
            folder = fetch(entry.name, offline=offline, progress=fetching.update)
        print(f"{entry.name}: {folder if entry.files else f'bundled with {entry.source}'}")
    return AS_EXPECTED


@data_app.command("verify", epilog="Example: crossexam data verify")
@click.argument("names", nargs=-1)
@AS_JSON
def data_verify(names: Slugs, as_json: bool) -> int:
    """Read data sets again and check them against the catalogue; without names, all that are here.

    Exit code 1: one is damaged or absent."""
    cache.distrust()
    entries = [get(name) for name in names] if names else [e for e in catalog().values() if e.available]
    states = {entry.name: show_data.verified(entry) for entry in entries}
    if as_json:
        print_json([{"name": name, "verified": good, "state": state} for name, (good, state) in states.items()])
    else:
        for name, (_, state) in states.items():
            print(f"{name}: {state}")
    return AS_EXPECTED if all(good for good, _ in states.values()) else DIFFERS


def chosen_papers(root: Path, slugs: Slugs) -> list[Paper]:
    return [find_paper(root, slug) for slug in dict.fromkeys(slugs or suite_folders(root))]


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
    from crossexam.showing import session

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


def workers(jobs: int | None) -> int:
    from crossexam.showing import session

    if jobs is not None and jobs < 1:
        raise BadUsage(f"--jobs {jobs}: at least 1")
    return jobs or session.default_jobs()


def _judged(paper: Paper, project: Project, store: Store, selection: Selection) -> list[Judgement]:
    """The verdicts of the claims that are meant. All are judged, for Holm's correction is over the whole paper."""
    from crossexam.showing import session

    judgements = session.judge(paper, project, store, selection)
    return [one for one in judgements if selection.keeps(paper, one.claim.id, one.claim.experiment)]


def _selection(tiers: Slugs, keyword: str, seeds: int | None, first_seed: int | None) -> Selection:
    known = {str(tier): tier for tier in TIERS}
    for tier in tiers:
        if tier not in known:
            raise BadUsage(f"--tier {tier}: {did_you_mean(tier, known)}")
    if seeds is not None and seeds < 1:
        raise BadUsage(f"--seeds {seeds}: at least 1")
    wanted: tuple[Tier, ...] = tuple(known[tier] for tier in tiers) if tiers else TIERS
    if first_seed is not None and first_seed < 0:
        raise BadUsage(f"--first-seed {first_seed}: seeds count from 0")
    return Selection(wanted, keyword, seeds, first_seed)


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


def open_store(root: Path) -> Store:
    store = Store(results_folder(root))
    if store.note:
        print(f"crossexam: {store.note}", file=sys.stderr)
    return store


def write(file: Path, lines: list[str]) -> None:
    try:
        file.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"cannot write {file}: {error}") from error


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
