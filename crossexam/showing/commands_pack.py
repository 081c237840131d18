"""Commands for machines without a network: pack here, run-pack there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from crossexam.facts.project import project_root
from crossexam.runs.plan import Selection
from crossexam.runs.source import Project
from crossexam.showing import show_data, show_pack, show_runs
from crossexam.showing.app import (
    AS_EXPECTED,
    AS_JSON,
    FAILED,
    JOBS,
    OFFLINE,
    BadUsage,
    app,
    chosen_papers,
    open_store,
    out,
    print_json,
    selecting,
    workers,
)

MEMORY = {"A100": 39.6, "H100": 79.0, "H200": 139.0, "L40": 44.5, "T4": 14.6, "V100": 15.8}
"""GiB of usual GPUs, of several sizes the smallest, where --gpu does not say more."""


@app.command(epilog='Example: crossexam pack ldr-loss softmax-ghosts --gpu "NVIDIA H100 80GB HBM3" --minutes 9 -o pack')
@selecting
@click.option("--gpu", default="", metavar="NAME[:GIB]", help="That machine's GPU, as nvidia-smi names it.")
@click.option("--cpus", type=int, help="That machine's CPUs. Default: as many as here.")
@click.option("--minutes", type=float, default=9.0, help="What it may take there. Default: 9.")
@click.option("--mib", type=float, default=60.0, help="What the pack may take, wheels apart. Default: 60.")
@click.option("--wheels", is_flag=True, help="Bring packages (not torch), downloaded by pip.")
@click.option("--python", default="3.12", help="That machine's Python, for the wheels. Default: 3.12.")
@click.option(
    "--platform", "platforms", multiple=True, default=("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    help="Its platform tags, for the wheels; may be repeated. Default: Linux on x86-64.",
)  # fmt: skip
@OFFLINE
@out("The folder; one that holds an earlier pack is replaced.", required=True)
@AS_JSON
def pack(
    papers: tuple[str, ...],
    selection: Selection,
    gpu: str,
    cpus: int | None,
    minutes: float,
    mib: float,
    wheels: bool,
    python: str,
    platforms: tuple[str, ...],
    offline: bool,
    out: Path,
    as_json: bool,
) -> int:
    """A folder that a machine without a network runs: code, data, rows that stand, and a script.

    Of the full tier, unless --tier says otherwise. Tracked files come as they lie here, with uncommitted changes."""
    from crossexam.facts.paper import TIERS
    from crossexam.watching.pack import PackError, Wheels, gpu_of, loads, make

    for name, value in (("--minutes", minutes), ("--mib", mib)):
        if value <= 0:
            raise BadUsage(f"{name} {value:g}: more than 0")
    try:
        there = gpu_of(gpu, MEMORY) if gpu else None
    except ValueError:
        raise BadUsage(f"--gpu {gpu}: after the colon stands its memory in GiB, as in 'NVIDIA H200:139'") from None
    os.environ["CROSSEXAM_GPU"] = there.name if there else ""  # trials are planned as they will run there
    if selection.tiers == TIERS:
        selection = Selection(("full",), selection.keyword, selection.seeds, selection.first_seed)
    root = project_root()
    chosen = chosen_papers(root, papers)
    started = time.monotonic()
    with open_store(root) as store, show_runs.Live(quiet=as_json) as live:
        if not offline:
            waiting, left = loads(chosen, Project(root), store, selection, there)
            names = {(one.paper, one.experiment) for one in left} | {load.key for load in waiting}
            experiments = [paper.experiments[name] for paper in chosen for slug, name in names if slug == paper.slug]
            limit = there.gib if there and there.gib else float("inf")
            fitting = [one for one in experiments if one.needs.gpu_memory_gib <= (limit if there else 0)]
            show_data.fetch_missing(name for one in fitting for name in one.needs.sets)
        try:
            made = make(
                out.resolve(), chosen, Project(root), store, selection, minutes=minutes, mib=mib, gpu=there,
                capacity=workers(cpus), wheels=Wheels(python, platforms) if wheels else None, note=live.note,
            )  # fmt: skip
        except PackError as error:
            raise BadUsage(str(error)) from error
    if as_json:
        print_json({**made.record(), "bytes": made.bytes, "took": round(time.monotonic() - started, 1)})
    else:
        show_pack.pack(made, out, time.monotonic() - started)
    return chosen.ending(AS_EXPECTED)


@app.command("run-pack", epilog="Example: bash pack/run.sh rows.jsonl, which calls this")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--minutes", type=float, help="Instead of those that it was packed for.")
@JOBS
@out("A file: each row is there the moment its trial ends.", required=True)
@AS_JSON
def run_pack(folder: Path, minutes: float | None, jobs: int | None, out: Path, as_json: bool) -> int:
    """Run what a pack holds, in its order, until its minutes are over. Exit code 3: a trial failed."""
    from dataclasses import asdict

    from crossexam.watching.pack import PackError
    from crossexam.watching.packed import read, unpack, work

    started = time.monotonic()
    if minutes is not None and minutes <= 0:
        raise BadUsage(f"--minutes {minutes:g}: more than 0")
    root = project_root()
    try:
        packed = read(folder)
        unpack(folder, packed)
        with open_store(root) as store, show_runs.Live(quiet=as_json) as live:
            outcome = work(
                folder, packed, Project(root), store, out, until=started + 60 * (minutes or packed["minutes"]),
                jobs=workers(jobs), listener=live.update, note=live.note,
            )  # fmt: skip
    except PackError as error:
        raise BadUsage(str(error)) from error
    if as_json:
        print_json(asdict(outcome))
    else:
        show_pack.outcome(outcome, out)
    return FAILED if outcome.failed else AS_EXPECTED
