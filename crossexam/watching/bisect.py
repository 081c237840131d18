"""Where a claim's verdict changed: by halving over commits, or over versions of a package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossexam.runs.host import KEPT

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


def halve(steps: Sequence[str], verdict: Callable[[str], str], note: Note) -> Culprit:
    """The first of `steps` (good end first, bad end last) whose verdict differs from that of the first one."""
    known = {0: verdict(steps[0]), len(steps) - 1: verdict(steps[-1])}
    good = known[0]
    note(f"{steps[0]}: {good}; {steps[-1]}: {known[len(steps) - 1]}")
    if known[len(steps) - 1] == good:
        raise BisectError(f"both ends are '{good}': there is no change between them")
    low, high = 0, len(steps) - 1
    while high - low > 1:
        middle = (low + high) // 2
        known[middle] = verdict(steps[middle])
        note(f"{steps[middle]}: {known[middle]}")
        low, high = (middle, high) if known[middle] == good else (low, middle)
    return Culprit(steps[high], steps[low], good, known[high], len(known))


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


def at_commit(root: Path, paper: str, claim: str, results: Path) -> Callable[[str], str]:
    """The verdict of a claim at a commit, run in a worktree of its own. Rows are shared by fingerprint."""

    def verdict(revision: str) -> str:
        with tempfile.TemporaryDirectory(prefix="crossexam-bisect-") as folder:
            tree = Path(folder) / "tree"
            _git(root, "worktree", "add", "--detach", str(tree), revision)
            try:
                return _verdict(tree, paper, claim, results / revision[:12], [str(tree)])
            finally:
                _git(root, "worktree", "remove", "--force", str(tree))

    return verdict


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
    command = [sys.executable, "-m", "crossexam", "run", paper, "-k", claim, "--offline", "--json"]
    # A revision has a harness of its own, which its folder brings; where it has none, this one serves.
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [*first, os.environ.get("PYTHONPATH"), here]))
    environment = {**os.environ, "PYTHONPATH": path, "CROSSEXAM_RESULTS": str(results)}
    environment.pop(KEPT, None)  # a host holds libraries, and these are others
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    try:
        judged = {one["claim"]: one for one in json.loads(done.stdout)["claims"]}
        return str(judged[claim]["verdict"] or judged[claim]["health"])
    except (ValueError, KeyError):
        return f"no verdict ({(done.stderr.strip() or 'the claim does not exist').splitlines()[-1][:200]})"


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BisectError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout
