"""The application: its group of commands, exit codes, and what several commands share."""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from crossexam import __version__
from crossexam.facts.paper import TIERS, Paper, Tier
from crossexam.facts.problems import BadFile, did_you_mean
from crossexam.facts.project import find_paper, project_root, results_folder, suite_folders
from crossexam.runs.environment import default_jobs, gpu_name
from crossexam.runs.plan import Selection, Trial
from crossexam.runs.store import Store

AS_EXPECTED, DIFFERS, BAD_USAGE, FAILED, HARNESS, TOO_LITTLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
"""Exit codes: 1 a verdict differs, 2 bad usage or a bad suite, 3 a trial failed, 4 a fault of the harness itself, 5 a
night that is quiet but has watched too little."""

COMMANDS = {
    "suites": ("list", "show", "check", "new", "schema"),
    "runs": ("plan", "run", "warm", "judge", "why", "export", "import"),
    "data": ("data",),
    "pack": ("pack", "run-pack"),
    "watch": ("audit", "vary", "nightly", "compare", "bisect", "report"),
}
"""{module below `showing`, without "commands_": the commands that it registers}; only the one that is called loads."""


class Lazy(click.Group):
    """A group whose commands are imported when they are asked for: `list` does not wait for what `audit` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(name for names in COMMANDS.values() for name in names)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        for module, names in COMMANDS.items():
            if name in names:
                importlib.import_module(f"crossexam.showing.commands_{module}")
        return super().get_command(ctx, name)


class BadUsage(Exception):
    """An option or argument that cannot be meant."""


Slugs = tuple[str, ...]
F = TypeVar("F", bound=Callable[..., Any])


def complete_paper(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's
    """Slugs of papers, for a shell that completes them."""
    return [slug for slug in suite_folders(project_root()) if slug.startswith(incomplete)]


PAPERS = click.argument("papers", nargs=-1, metavar="[PAPER]...", shell_complete=complete_paper)
PAPER = click.argument("paper", shell_complete=complete_paper)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def out(told: str, **more: Any) -> Callable[[F], F]:
    """`-o`: where to write. The same in every command that writes."""
    return click.option("-o", "--out", type=click.Path(path_type=Path), help=told, **more)


JOBS = click.option("--jobs", type=int, help="CPUs to use. Default: all.")
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


@click.group(
    cls=Lazy,
    epilog="Start with `crossexam list`, then `crossexam run softmax-ghosts --tier exact`. For names of papers on TAB: "
    """`eval "$(_CROSSEXAM_COMPLETE=bash_source crossexam)"` in ~/.bashrc (zsh: zsh_source; fish: fish_source).""",
)
@click.version_option(__version__)
def app() -> None:
    """Cross-examine what machine-learning papers claim."""


class Chosen(list[Paper]):
    """Papers of which the sound ones are here; what is wrong with others has been said."""

    broken: int = 0

    def ending(self, status: int) -> int:
        """The exit code of a command that ended with `status` on the sound ones."""
        return BAD_USAGE if self.broken else status


def chosen_papers(root: Path, slugs: Slugs) -> Chosen:
    """The papers of these names, or all. A broken one does not keep others from their turn.

    Raises UnknownPaper for a name without a suite, and BadFile where no paper is sound.
    """
    chosen = Chosen()
    problems: list[BadFile] = []
    for slug in dict.fromkeys(slugs or suite_folders(root)):
        try:
            chosen.append(find_paper(root, slug))
        except BadFile as error:
            problems.append(error)
    if problems and not chosen:
        raise problems[0]
    for problem in problems:
        print(f"crossexam: {problem}", file=sys.stderr)
    chosen.broken = len(problems)
    return chosen


class ReaderLeft(Exception):
    """Whoever read the output has closed it, as `head` does; the command's outcome stands."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@contextmanager
def telling(status: int) -> Iterator[None]:
    """Print what came out, which has this exit code whether or not somebody reads to the end."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderLeft(status) from error


def workers(jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise BadUsage(f"--jobs {jobs}: at least 1")
    return jobs or default_jobs()


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


def fetch_runnable(trials: Iterable[Trial]) -> bool:
    """Fetch what can be fetched, for blocked trials that could then run; what cannot leaves them blocked.

    Returns whether anything has come."""
    from crossexam.showing.show_data import fetch_missing

    stuck = [trial for trial in trials if trial.blocked and (not trial.needs_gpu or gpu_name())]
    return fetch_missing(name for trial in stuck for name in trial.experiment.needs.sets)


def open_store(root: Path) -> Store:
    store = Store(results_folder(root))
    if store.note:
        print(f"crossexam: {store.note}", file=sys.stderr)
    return store


def check_writable(file: Path) -> None:
    """Refuse before the work what could not be written after it."""
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise BadUsage(f"cannot write {file}: name a file in a folder that exists and can be written")


def write(file: Path, lines: list[str]) -> None:
    try:
        file.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"cannot write {file}: {error}") from error


def print_json(value: Any) -> None:
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not unicode))
