"""Commands that look at verdicts from outside: audit, nightly, compare, bisect."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from crossexam.facts.project import find_paper, project_root, results_folder
from crossexam.runs.plan import Selection, plan
from crossexam.runs.source import Project
from crossexam.showing import show, show_runs
from crossexam.showing.app import (
    AS_EXPECTED,
    AS_JSON,
    DIFFERS,
    JOBS,
    OFFLINE,
    PAPER,
    PAPERS,
    TOO_LITTLE,
    BadUsage,
    Slugs,
    app,
    chosen_papers,
    fetch_runnable,
    open_store,
    out,
    print_json,
    telling,
    workers,
    write,
)


@app.command("audit", epilog="Example: crossexam audit credit-iv --minutes 10")
@PAPERS
@click.option("--minutes", type=float, default=10.0, help="Time for each paper. Default: 10.")
@JOBS
@out("A folder: write PAPER.audit.json there.")
@AS_JSON
def audit_papers(papers: Slugs, minutes: float, jobs: int | None, out: Path | None, as_json: bool) -> int:
    """Could the verdicts have gone the other way? Planted and generated faults, null control, placebo, repetition."""
    from crossexam.watching import session  # here, so that other commands need not wait for it
    from crossexam.watching.audit import as_record

    if minutes <= 0:
        raise BadUsage(f"--minutes {minutes:g}: more than 0")
    root = project_root()
    found, chosen = [], chosen_papers(root, papers)
    with open_store(root) as store:
        for paper in chosen:
            with show_runs.Live(quiet=as_json, each_trial=False) as live:
                one = session.audit(paper, Project(root), store, workers(jobs), minutes, live.update, live.note)
            found.append(one)
            if not as_json:
                show.audit(one)
            if out is not None:
                text = json.dumps(as_record(one), indent=1, sort_keys=True)
                write(out / f"{paper.slug}.audit.json", [text, "\n"])
    if as_json:
        print_json([as_record(one) for one in found])
    return chosen.ending(AS_EXPECTED if all(one.passed for one in found) else DIFFERS)


@app.command("vary", epilog="Example: crossexam vary ldr-loss letter --with 'on_letter.py: epochs=30 => epochs=10'")
@click.argument("paper")
@click.argument("experiments", nargs=-1, required=True)
@click.option("--with", "changes", multiple=True, required=True, help="FILE: OLD => NEW, a text of the suite.")
@click.option("--seeds", type=click.IntRange(1), default=2, help="The first so many seeds. Default: 2.")
@JOBS
@AS_JSON
def vary_experiments(
    paper: str, experiments: Slugs, changes: Slugs, seeds: int, jobs: int | None, as_json: bool
) -> int:
    """Would a verdict turn if a number that nobody tuned were another? Estimates over few seeds, no verdicts."""
    from dataclasses import asdict

    from crossexam.runs.executors import LocalExecutor
    from crossexam.watching.vary import Variation, vary

    root = project_root()
    (chosen,) = chosen_papers(root, (paper,))
    if unknown := set(experiments) - chosen.experiments.keys():
        raise BadUsage(f"{paper} has no experiment {', '.join(sorted(unknown))}")
    with show_runs.Live(quiet=as_json, each_trial=False) as live:
        try:
            found = vary(
                chosen, Project(root), [Variation.parse(one) for one in changes], experiments, seeds=seeds,
                start=lambda place, modules: LocalExecutor(place, modules, workers(jobs)), listener=live.update,
            )  # fmt: skip
        except ValueError as error:
            raise BadUsage(str(error)) from error
    print_json([asdict(one) for one in found]) if as_json else show.varied(found)
    return AS_EXPECTED


@app.command(epilog="Example: crossexam nightly --minutes 120 -o night")
@PAPERS
@click.option("--minutes", type=float, default=60.0, help="Time for the whole night. Default: 60.")
@click.option("--floor", type=float, default=0.5, help="Share of judgeable claims to be watched. Default: 0.5.")
@click.option("--issue", is_flag=True, help="Keep an issue on GitHub about it, by the client gh.")
@JOBS
@OFFLINE
@out("A folder: write night.md, night.json and night.xml.")
@AS_JSON
def nightly(
    papers: Slugs, minutes: float, floor: float, issue: bool, jobs: int | None, offline: bool, out: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run what has changed, repeat what has not; say what was watched, what is different from before, and why.

    Exit code 1: a confirmed change, a verdict that is not as expected, a trial that fails or does not repeat; 5: none
    of these, but fewer claims watched than --floor asks for.
    """
    from crossexam.watching import told
    from crossexam.watching.nightly import Watchman, as_record

    started = time.monotonic()
    if minutes <= 0:
        raise BadUsage(f"--minutes {minutes:g}: more than 0")
    if not 0 <= floor <= 1:
        raise BadUsage(f"--floor {floor:g}: a share, from 0 to 1")
    root = project_root()
    chosen = chosen_papers(root, papers)
    if not offline:
        fetch_runnable(trial for paper in chosen for trial in plan(paper, Project(root), Selection()))
    with open_store(root) as store, show_runs.Live(quiet=as_json, each_trial=False) as live:
        night = Watchman(
            chosen, Project(root), store, workers(jobs), minutes, live.update, live.note, floor=floor, started=started
        ).run()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write(out / "night.md", [told.markdown(night)])
        write(out / "night.json", [json.dumps(as_record(night), indent=1), "\n"])
        write(out / "night.xml", [told.junit(night)])
    if issue:
        try:
            print(f"crossexam: {told.issue(night)}", file=sys.stderr)
        except told.NoIssue as error:
            print(f"crossexam: {error}", file=sys.stderr)
    status = chosen.ending(DIFFERS if night.alarm else TOO_LITTLE if night.amber else AS_EXPECTED)
    with telling(status):
        if as_json:
            print_json(as_record(night))
        else:
            print(told.markdown(night), end="")
        if os.environ.get("GITHUB_ACTIONS"):
            print("\n".join(told.workflow_commands(night)), file=sys.stderr if as_json else sys.stdout)
    return status


@app.command(
    epilog="Examples: crossexam compare rows.jsonl cpu-x86_64 | crossexam compare HEAD~1 HEAD | "
    "crossexam compare cpu-x86_64 cuda-nvidia-h200"
)
@click.argument("a")
@click.argument("b")
@click.option("--paper", "papers", multiple=True, help="Only this paper; may be repeated.")
@AS_JSON
def compare(a: str, b: str, papers: Slugs, as_json: bool) -> int:
    """A and B are files of rows, machine classes or commits: what is equal to the bit, what moved, which verdicts."""
    from crossexam.watching.compare import compare as compared
    from crossexam.watching.compare import side

    root = project_root()
    with open_store(root) as store:
        chosen = chosen_papers(root, papers)
        slugs = [paper.slug for paper in chosen]
        found = compared(chosen, a, b, *(side(one, root, store, slugs) for one in (a, b)))
    if as_json:
        print_json(found.as_record())
    else:
        show.comparison(found)
    return DIFFERS if found.verdicts else AS_EXPECTED


@app.command(epilog="Example: crossexam report -o site")
@PAPERS
@out("A folder, replaced. Default: site.", default=Path("site"))
@click.option("--compare", "sides", nargs=2, metavar="A B", help="Also a page that compares two runs.")
@click.option("--status", is_flag=True, help="Write results/README.md and the table in README.md instead.")
@JOBS
@AS_JSON
def report(
    papers: Slugs, out: Path, sides: tuple[str, str] | None, status: bool, jobs: int | None, as_json: bool
) -> int:
    """A static site from rows alone: the ledger, and a page per paper. It opens from a file, without a network."""
    from crossexam.runs.committed import committed_audits, committed_processors, committed_rows, counted_rows
    from crossexam.showing.report.site import build, gather, last_audits
    from crossexam.showing.report.status import write_status
    from crossexam.watching import session
    from crossexam.watching.compare import compare as compared
    from crossexam.watching.compare import side

    root = project_root()
    chosen = chosen_papers(root, papers)
    if status:
        audits, committed, stood = committed_audits(root), list(committed_rows(root)), committed_processors(root)
        write_status(gather(chosen, Project(root), (), audits, committed=committed, processors=stood), root)
        return chosen.ending(AS_EXPECTED)
    started = time.monotonic()
    with open_store(root) as store:
        rows, audits = store.rows(), last_audits(root, store, chosen)
        history = {paper.slug: store.verdict_history(paper.slug) for paper in chosen}
        stood = session.processors(rows, store) | committed_processors(root)
        committed = counted_rows(root)
        site = gather(chosen, Project(root), rows, audits, history, committed=committed, processors=stood)
        if sides:
            slugs = [paper.slug for paper in chosen]
            found = compared(chosen, *sides, *(side(one, root, store, slugs) for one in sides))
            site = replace(site, comparison=found)
    size = build(site, root, out, results_folder(root) / "figures", workers(jobs))
    seconds = time.monotonic() - started
    if as_json:
        print_json({"out": str(out), "papers": len(chosen), "bytes": size, "seconds": round(seconds, 2)})
    else:
        print(f"{out / 'index.html'}: {len(chosen)} papers, {size / 1e6:.1f} MB, {seconds:.1f} s")
    return chosen.ending(AS_EXPECTED)


@app.command(
    epilog="Examples: crossexam bisect credit-iv iv-is-jeffreys --good HEAD~9 --bad HEAD | "
    "crossexam bisect credit-iv form-c-is-closest --package scipy --good 1.15.3 --bad 1.17.1 --version 1.16.0"
)
@PAPER
@click.argument("claim")
@click.option("--good", required=True, help="A commit, or a version with --package.")
@click.option("--bad", required=True, help="A later one.")
@click.option("--package", help="Bisect the versions of this package instead of commits.")
@click.option("--version", "versions", multiple=True, help="A version in between, oldest first; may be repeated.")
@AS_JSON
def bisect(
    paper: str, claim: str, good: str, bad: str, package: str | None, versions: tuple[str, ...], as_json: bool
) -> int:
    """The commit, or the version of a package, at which the verdict of CLAIM changed."""
    from crossexam.watching.bisect import BisectError, at_commit, commits, halve, with_version

    root = project_root()
    if claim not in {one.id for one in find_paper(root, paper).claims}:
        raise BadUsage(f"'{paper}' has no claim '{claim}': `crossexam show {paper}` lists them")
    with open_store(root) as store, show_runs.Live(quiet=as_json) as live:
        results = store.folder / "bisect"
        try:
            if package:
                culprit = halve([good, *versions, bad], with_version(root, paper, claim, package, results), live.note)
            else:
                steps, known = commits(root, good, bad), results / "known.jsonl"
                results.mkdir(parents=True, exist_ok=True)
                write(known, [f"{line}\n" for line in store.export(paper).lines()])
                culprit = halve(steps, at_commit(root, paper, claim, results.resolve(), known.resolve()), live.note)
        except BisectError as error:
            raise BadUsage(str(error)) from error
    if as_json:
        print_json(culprit.__dict__)
    else:
        print(f"{culprit.step} is the first with '{culprit.bad}'; {culprit.before} still had '{culprit.good}'")
        if culprit.skipped:
            print(f"or one of these, which have no verdict: {', '.join(culprit.skipped)}")
    return AS_EXPECTED
