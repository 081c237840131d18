"""Where a claim's verdict changed: by halving over commits, or over versions of a package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from crossexam.runs.committed import OWN
from crossexam.runs.git import GitError, text, worktree
from crossexam.runs.host import KEPT

VERDICTS = ("reproduced", "not reproduced", "inconclusive")
NO_VERDICT = "no verdict"
"""How the answer of a step begins at which not even the claim's health is known: its code or facts do not parse."""

Note = Callable[[str], None]


class BisectError(Exception):
    """The question cannot be answered as it was put. The message says why."""


@dataclass(frozen=True)
class Culprit:
    """The first step at which the verdict is no longer that of the good end."""

    step: str
    before: str
    """The step before it."""
    good: str
    """The verdict, or the health, until then."""
    bad: str
    tried: int
    skipped: tuple[str, ...] = ()
    """Steps between these two of which none has a verdict: the change may be at any of them, too."""


def halve(steps: Sequence[str], verdict: Callable[[str], str], note: Note) -> Culprit:
    """The first of `steps` (good end first, bad end last) whose verdict differs from that of the first one.

    A step that neither has a verdict nor ails as an end does is skipped, and the nearest one to it is tried. Raises
    BisectError for ends that are alike, or that do not run at all.
    """
    low, high = 0, len(steps) - 1
    known = {place: verdict(steps[place]) for place in (low, high)}
    good, bad = known[low], known[high]
    note(f"{steps[low]}: {good}; {steps[high]}: {bad}")
    for place in (low, high):
        if known[place].startswith(NO_VERDICT):
            raise BisectError(f"{steps[place]} gives {known[place]}: choose another end")
    if bad == good:
        raise BisectError(f"both ends are '{good}': there is no change between them")
    while untried := [place for place in range(low + 1, high) if place not in known]:
        middle = min(untried, key=lambda place: abs(2 * place - low - high))
        known[middle] = verdict(steps[middle])
        skipped = known[middle] not in (*VERDICTS, good, bad)
        note(f"{steps[middle]}: {known[middle]}" + (", skipped" if skipped else ""))
        if not skipped:
            low, high = (middle, high) if known[middle] == good else (low, middle)
    return Culprit(steps[high], steps[low], good, known[high], len(known), tuple(steps[low + 1 : high]))


def commits(root: Path, good: str, bad: str) -> list[str]:
    """The commits from `good` to `bad`, oldest first. Raises BisectError where one does not lead to the other."""
    ends = []
    for end in (good, bad):
        try:
            ends.append(_git(root, "rev-parse", "--verify", "--quiet", f"{end}^{{commit}}").strip())
        except BisectError:
            raise BisectError(f"'{end}' is no commit: `git log` lists them") from None
    between = _git(root, "rev-list", "--first-parent", "--reverse", f"{ends[0]}..{ends[1]}").split()
    if not between:
        raise BisectError(f"{bad} does not come after {good}: swap them, or give --package to bisect its versions")
    return [ends[0], *between]


def at_commit(root: Path, paper: str, claim: str, results: Path, known: Path | None = None) -> Callable[[str], str]:
    """The verdict of a claim at a commit, run in a worktree of its own.

    Rows and artifacts go from commit to commit, by fingerprint: one that changes nothing of the claim runs nothing.
    `known` is a file of rows that are there before the first.
    """
    pool = results / "rows.jsonl"

    def verdict(revision: str) -> str:
        own = results / revision[:12]
        with _explained(worktree(root, revision)) as tree:
            _share(results, own)
            for rows in (known, pool):
                if rows is not None and rows.is_file():
                    _crossexam(tree, own, [str(tree)], "import", str(rows))  # one that cannot read them measures itself
            found = _verdict(tree, paper, claim, own, [str(tree)])
            _crossexam(tree, own, [str(tree)], "export", paper, "-o", str(pool))
        return found

    return verdict


def _share(results: Path, own: Path) -> None:
    """Artifacts are files named by their fingerprints: all commits may have one folder of them."""
    own.mkdir(parents=True, exist_ok=True)
    (results / "artifacts").mkdir(exist_ok=True)
    if not (own / "artifacts").exists():
        (own / "artifacts").symlink_to((results / "artifacts").resolve(), target_is_directory=True)


@contextmanager
def _explained(tree: AbstractContextManager[Path]) -> Iterator[Path]:
    try:
        with tree as folder:
            yield folder
    except GitError as error:
        raise BisectError(str(error)) from error


def with_version(root: Path, paper: str, claim: str, package: str, results: Path) -> Callable[[str], str]:
    """The verdict of a claim with a version of a package put before the installed one."""

    def verdict(version: str) -> str:
        with tempfile.TemporaryDirectory(prefix="crossexam-bisect-") as folder:
            command = [
                "uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", folder,
                f"{package}=={version}",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BisectError(f"{package} {version} cannot be installed: {done.stderr.strip()[-500:]}")
            return _verdict(root, paper, claim, results / version, [folder])

    return verdict


def _verdict(tree: Path, paper: str, claim: str, results: Path, first: Sequence[str]) -> str:
    """Run what a claim needs in `tree`, with folders first on the path; its verdict, or its health without one."""
    done = _crossexam(tree, results, first, "run", paper, "-k", claim, "--offline", "--json")
    try:
        judged = {one["claim"]: one for one in json.loads(done.stdout)["claims"]}
        return str(judged[claim]["verdict"] or judged[claim]["health"])
    except (ValueError, KeyError):
        return f"{NO_VERDICT} ({(done.stderr.strip() or 'the claim does not exist').splitlines()[-1][:200]})"


def _crossexam(tree: Path, results: Path, first: Sequence[str], *words: str) -> subprocess.CompletedProcess[str]:
    """Call the command line in `tree`, which keeps its rows in `results`."""
    # A revision has a harness of its own, which its folder brings; where it has none, this one serves.
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [*first, os.environ.get("PYTHONPATH"), here]))
    environment = {**os.environ, "PYTHONPATH": path, "CROSSEXAM_RESULTS": str(results), OWN: "1"}
    environment.pop(KEPT, None)  # a host holds libraries, and these are others
    command = [sys.executable, "-m", "crossexam", *words]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def _git(root: Path, *words: str) -> str:
    try:
        return text(root, *words)
    except GitError as error:
        raise BisectError(str(error)) from error
