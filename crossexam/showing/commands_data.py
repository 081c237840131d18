"""Commands about reference data: list, show, fetch, verify."""

from __future__ import annotations

import sys

import click

from crossexam.facts.project import project_root
from crossexam.showing import show, show_data
from crossexam.showing.app import (
    AS_EXPECTED,
    AS_JSON,
    BAD_USAGE,
    DIFFERS,
    OFFLINE,
    BadUsage,
    Slugs,
    app,
    chosen_papers,
    print_json,
)
from reference import cache
from reference.catalog import catalog, get


@app.group("data")
def data_app() -> None:
    """Reference data: list, show, fetch, verify."""


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


@data_app.command(
    "fetch", epilog="Examples: crossexam data fetch fashion-mnist gsm8k | crossexam data fetch --for credit-iv"
)
@click.argument("names", nargs=-1)
@click.option("--for", "papers", multiple=True, metavar="PAPER", help="All that this paper needs; may be repeated.")
@OFFLINE
@AS_JSON
def data_fetch(names: Slugs, papers: Slugs, offline: bool, as_json: bool) -> int:
    """Get data sets and models into the cache, whole and verified, or not at all. What broke off goes on.

    Exit code 2: one is not to be had, and it is said how to get it; the others have come."""
    if not names and not papers:
        raise BadUsage("name the sets to fetch, or with --for a paper that needs them")
    wanted = [get(name).name for name in names]  # a misspelt name is told before anything is fetched
    wanted += [name for paper in chosen_papers(project_root(), papers) for name in paper.sets] if papers else []
    folders, missing = show_data.fetch_sets(wanted, offline=offline)
    for problem in missing.values():
        print(f"crossexam: {problem}", file=sys.stderr)
    if as_json:
        print_json(folders)
    else:
        for name, folder in folders.items():
            print(f"{name}: {folder or f'bundled with {get(name).source}'}")
    return BAD_USAGE if missing else AS_EXPECTED


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
