"""Commands about reference data: list, show, fetch, verify."""

from __future__ import annotations

import click

from crossexam.showing import show, show_data
from crossexam.showing.app import AS_EXPECTED, AS_JSON, DIFFERS, OFFLINE, Slugs, app, print_json
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


@data_app.command("fetch", epilog="Example: crossexam data fetch fashion-mnist gsm8k")
@click.argument("names", nargs=-1, required=True)
@OFFLINE
@AS_JSON
def data_fetch(names: Slugs, offline: bool, as_json: bool) -> int:
    """Get data sets into the cache, whole and verified, or not at all. What broke off goes on where it stopped."""
    from reference.fetch import fetch  # it brings urllib, zipfile and tarfile

    entries = [get(name) for name in names]  # a misspelt name is told before anything is fetched
    folders: dict[str, str] = {}
    for entry in entries:
        with show_data.Fetching() as fetching:
            folder = fetch(entry.name, offline=offline, progress=fetching.update)
        folders[entry.name] = str(folder) if entry.files else ""
        if not as_json:
            print(f"{entry.name}: {folder if entry.files else f'bundled with {entry.source}'}")
    if as_json:
        print_json(folders)
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
