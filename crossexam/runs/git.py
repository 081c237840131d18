"""Asks git about the project, and about no other repository."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
"""What a hook of another repository, or a careless shell, sets: git would answer for that one."""


class GitError(Exception):
    """Git said no. The message is the end of what it printed."""


class NoGit(Exception):
    """There is no git here to be asked."""


def git(root: Path, *words: str) -> bytes:
    """What `git WORDS` prints in the folder `root`. Raises GitError where it fails, NoGit where it cannot be run."""
    own = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(["git", *words], cwd=root, env=own, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoGit(f"git cannot be run ({error}): install it, or name files of rows instead of commits") from error
    if done.returncode:
        raise GitError(f"git {words[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()[-300:]}")
    return done.stdout


@contextmanager
def worktree(root: Path, revision: str) -> Iterator[Path]:
    """A folder with the files of a commit, gone afterwards. Raises GitError where there is no such commit."""
    with tempfile.TemporaryDirectory(prefix="crossexam-then-") as folder:
        tree = Path(folder) / "tree"
        git(root, "worktree", "add", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            git(root, "worktree", "remove", "--force", str(tree))


def text(root: Path, *words: str) -> str:
    """As `git`, decoded; bytes that are not UTF-8 become replacement characters."""
    return git(root, *words).decode("utf-8", "replace")
