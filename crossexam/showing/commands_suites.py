"""Commands about suites: list, show, check, new, schema."""

from __future__ import annotations

import sys

import click

from crossexam.facts.paper import Paper
from crossexam.facts.problems import BadFile
from crossexam.facts.project import find_paper, project_root, suite_folders
from crossexam.runs.plan import Selection
from crossexam.runs.source import Project
from crossexam.showing import show, show_headlines
from crossexam.showing.app import (
    AS_EXPECTED,
    AS_JSON,
    BAD_USAGE,
    PAPER,
    PAPERS,
    BadUsage,
    Slugs,
    app,
    open_store,
    print_json,
    write,
)


@app.command("list")
@AS_JSON
def list_papers(as_json: bool) -> int:
    """One line per paper, by field: how its headlines stand, when it was last run. A broken suite hides no other."""
    from crossexam.watching.standings import standings

    root = project_root()
    papers: list[Paper] = []
    broken: list[BadFile] = []
    for slug in suite_folders(root):
        try:
            papers.append(find_paper(root, slug))
        except BadFile as error:
            broken.append(error)
    with open_store(root) as store:
        found, unread = standings(papers, Project(root), store)
    broken += unread
    if as_json:
        print_json([{**show.paper_record(paper), "standing": found.get(paper.slug)} for paper in papers])
    else:
        show_headlines.papers(papers, found)
    for problem in broken:
        print(f"crossexam: {problem}", file=sys.stderr)
    return BAD_USAGE if broken else AS_EXPECTED


@app.command("show", epilog="Example: crossexam show credit-iv")
@PAPER
@click.option("--all", "everything", is_flag=True, help="Also each check of the implementation.")
@AS_JSON
def show_paper(paper: str, everything: bool, as_json: bool) -> int:
    """A paper in one minute: its headlines and how they stand, how to use its method, its claims and their verdicts."""
    from crossexam.watching import session  # it brings numpy, which `list` and `plan` can do without

    root = project_root()
    loaded = find_paper(root, paper)
    with open_store(root) as store:
        judgements = session.judge(loaded, Project(root), store, Selection())
        audited = session.last_audit(loaded, store, root)
    if as_json:
        found = show.result_record([(loaded, judgements, judgements)])
        print_json({**show.paper_record(loaded), **found, "links": show_headlines.links(loaded)})
    else:
        show.paper(loaded, judgements, audited, everything=everything)
    return AS_EXPECTED


@app.command("new", epilog="Example: crossexam new my-paper")
@click.argument("slug")
@AS_JSON
def new_paper(slug: str, as_json: bool) -> int:
    """Start a suite that runs and passes from the first minute, with a toy claim to be replaced."""
    from crossexam.facts.scaffold import BadSlug, scaffold

    try:
        created = scaffold(project_root(), slug)
    except BadSlug as error:
        raise BadUsage(str(error)) from error
    if as_json:
        print_json({"wrote": [str(file) for file in created]})
        return AS_EXPECTED
    for file in created:
        print(f"wrote {file}")
    print(f"Next: crossexam run {slug}, then read CONTRIBUTING.md.")
    return AS_EXPECTED


@app.command("check", epilog="Example: crossexam check my-paper")
@PAPERS
@AS_JSON
def check_suites(papers: Slugs, as_json: bool) -> int:
    """What keeps suites from being finished, each with its mend; without running anything.

    Exit code 2: something must be mended. Remarks in brackets are for you to weigh."""
    from crossexam.runs.committed import committed_rows
    from crossexam.watching.check import Remark, check

    root = project_root()
    project = Project(root)
    found: dict[str, list[Remark]] = {}
    for slug in dict.fromkeys(papers or suite_folders(root)):
        try:
            paper = find_paper(root, slug)
            found[slug] = check(paper, project, list(committed_rows(root, paper.slug)))
        except BadFile as error:
            found[slug] = [Remark(f"line {one.line}, {one.key}", one.wrong, one.mend) for one in error.problems]
    if as_json:
        print_json({slug: [one.__dict__ for one in remarks] for slug, remarks in found.items()})
    else:
        show.remarks(found)
    return BAD_USAGE if any(one.grave for remarks in found.values() for one in remarks) else AS_EXPECTED


@app.command("schema", epilog="Example: crossexam schema")
@AS_JSON
def write_schema(as_json: bool) -> int:
    """Write what editors and CONTRIBUTING.md say of paper.toml: the JSON Schema and the table of its keys."""
    from crossexam.facts.schema import FILE, schema_text, with_key_table

    contributing = project_root() / "CONTRIBUTING.md"
    write(FILE, [schema_text()])
    write(contributing, [with_key_table(contributing.read_text(encoding="utf-8"))])
    if as_json:
        print_json({"wrote": [str(FILE), str(contributing)]})
    else:
        print(f"wrote {FILE.name} and the table of keys in {contributing.name}")
    return AS_EXPECTED
