"""Why something moved: the code, data or library that differs from what was measured before, and the commits since.

What a row depended on is kept with it, by definition; where it came without that (a committed row), the code of its
commit is read again from git.
"""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from crossexam.facts.problems import BadFile
from crossexam.runs.committed import committed_texts
from crossexam.runs.git import GitError, NoGit, git, text
from crossexam.runs.plan import Trial, definitions
from crossexam.runs.rows import Row, canonical, digest
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.runs.why import code_differences, differences

NOTHING = "nothing in its code, data or libraries"
MOST_COMMITS = 8
"""Commits that are listed; how many more there are is said."""
UNCOMMITTED = "not committed: "
LOCK = ("requirements.lock", "pyproject.toml")
"""What a commit touches that changes libraries."""


@dataclass(frozen=True)
class Reason:
    """Why a measurement may be another than before."""

    causes: tuple[str, ...]
    """"code changed: suites.x.method:loss", "library torch: 2.11.0 -> 2.13.0"; never empty."""
    since: str = ""
    """The commit of the row before, in short; empty where nobody knows."""
    commits: tuple[str, ...] = ()
    """"1a2b3c4 2026-11-27 subject", newest first, of those since then that touch it."""
    file: str = ""
    """The first file among the causes, from the project's root."""
    packages: tuple[tuple[str, str, str], ...] = ()
    """(package, version before, version now)."""

    def bisect(self, paper: str, claim: str) -> str:
        """The command that finds where the verdict of a claim changed; empty where there is nothing to search."""
        command = f"crossexam bisect {paper} {claim}"
        if self.packages and not self.commits:
            name, before, now = self.packages[0]
            return f"{command} --package {name} --good {before} --bad {now}"
        committed = any(not line.startswith(UNCOMMITTED) for line in self.commits)
        return f"{command} --good {self.since} --bad HEAD" if self.since and committed else ""


class Reasons:
    """Finds reasons by the rows that there were before some moment; reads the code of old commits at most once."""

    def __init__(self, project: Project, store: Store, history: Iterable[Row], before: str) -> None:
        self._project, self._store = project, store
        self._texts = committed_texts(project.root)
        self._rows: dict[tuple[str, str, str, str, int], list[Row]] = {}
        for row in history:
            if row.health == "done" and row.started < before:
                key = row.paper, row.experiment, row.arm, canonical(row.params), row.seed
                self._rows.setdefault(key, []).append(row)
        self._folder = tempfile.TemporaryDirectory(prefix="crossexam-then-")
        self._then: dict[str, Project | None] = {}

    def __enter__(self) -> Reasons:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def of(self, trials: Sequence[Trial], *, costs: bool = False) -> Reason:
        """Why some trials of one experiment may measure something else, or cost more, than the last time."""
        pairs = [(trial, row) for trial in trials if (row := self._before(trial, costs)) is not None]
        if not pairs:
            return Reason(("it was never measured before",))
        trial, row = max(pairs, key=lambda pair: pair[1].started)
        since = str(self._environment(row).get("commit", "")).partition("+")[0]
        causes = self._causes(trial, row, since)
        files = self._files(causes)
        return Reason(
            tuple(causes) or (NOTHING,), since[:12], tuple(self._commits(since, files)),
            next(iter(files), ""), tuple(_versions(row.parts, trial.parts)),
        )  # fmt: skip

    def _before(self, trial: Trial, costs: bool) -> Row | None:
        """The newest row of a trial; for metrics, which repeat, of other code or libraries than now if there is one."""
        found = self._rows.get((trial.paper.slug, trial.experiment.name, trial.arm, trial.point, trial.seed), [])
        found = sorted(found, key=lambda row: row.started)
        others = [row for row in found if row.fingerprint != trial.fingerprint]
        return next(reversed(found if costs or not others else others), None)

    def _environment(self, row: Row) -> Mapping[str, object]:
        return self._store.text(row.environment) or self._texts.get(row.environment, {})

    def _causes(self, trial: Trial, row: Row, since: str) -> list[str]:
        """What differs, code by definition; where the row brought no list of these, as they were at its commit."""
        causes = differences(trial, row, self._store.text)
        vague = [line for line in causes if line.startswith("code: differs")]
        if vague and (then := self._code_at(since, trial)):
            causes = [line for line in causes if line not in vague] + code_differences(then, trial.code)
        elif vague:
            where = f"its commit, {since[:12]}, is not in this clone: fetch the whole history" if since else "unknown"
            causes[causes.index(vague[0])] = f"code changed: what of it is unknown ({where})"
        versions = [f"library {name}: {before} -> {now}" for name, before, now in _versions(row.parts, trial.parts)]
        sets = _sets(row.parts, trial.parts)
        plain = ("artifact ", "libraries: ", "data: ")
        return [line for line in causes if not line.startswith(plain)] + versions + sets or causes

    def _code_at(self, revision: str, trial: Trial) -> dict[str, str]:
        """{definition: digest} of a trial's code at a commit; empty where that cannot be had."""
        if revision not in self._then:
            self._then[revision] = self._project_at(revision)
        project = self._then[revision]
        if project is None:
            return {}
        roots = definitions(f"{trial.paper.package}.experiments", trial.experiment.name, trial.experiment.needs.sets)
        try:
            return project.digests(*roots)
        except BadFile:  # it does not parse
            return {}

    def _project_at(self, revision: str) -> Project | None:
        if not revision:
            return None
        try:
            packed = git(self._project.root, "archive", "--format=tar", revision)
        except (GitError, NoGit):
            return None
        folder = Path(self._folder.name) / revision
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        return Project(folder)

    def _files(self, causes: Iterable[str]) -> list[str]:
        """The files of the definitions, and of the versions, that causes name."""
        found: dict[str, None] = {}
        for line in causes:
            kind, _, rest = line.partition(": ")
            if kind.startswith("code"):
                module = rest.partition(":")[0].replace(".", "/")
                for name in (f"{module}.py", f"{module}/__init__.py"):
                    if (self._project.root / name).is_file():
                        found[name] = None
            elif kind.startswith("library"):
                found |= dict.fromkeys(name for name in LOCK if (self._project.root / name).is_file())
        return list(found)

    def _commits(self, since: str, files: Sequence[str]) -> list[str]:
        """The commits since one that touch some files, and what of them is not committed."""
        if not since or not files:
            return []
        try:
            told = text(self._project.root, "log", "--format=%h %cs %s", f"{since}..HEAD", "--", *files).splitlines()
            changed = text(self._project.root, "diff", "--name-only", "HEAD", "--", *files).split()
        except (GitError, NoGit):
            return []
        more = [f"and {len(told) - MOST_COMMITS} more"] if len(told) > MOST_COMMITS else []
        return [*(f"{UNCOMMITTED}{name}" for name in changed), *told[:MOST_COMMITS], *more]


def _versions(then: Mapping[str, str], now: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    """(library, version before, version now) where they differ."""
    before, after = (dict(re.findall(r"(\S+?)=(\S+)", parts.get("libraries", ""))) for parts in (then, now))
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield name, before[name], after[name]


def _sets(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The data sets whose content is another."""
    before, after = (set(parts.get("data", "").split()) for parts in (then, now))
    return [f"data set {name}" for name in sorted({one.partition("=")[0] for one in before ^ after})]


def grouped(reasons: Iterable[tuple[Reason, int]]) -> list[tuple[Reason, list[int]]]:
    """Entries with one cause together, the cause of most of them first."""
    found: dict[str, tuple[Reason, list[int]]] = {}
    for reason, number in reasons:
        found.setdefault(digest(reason.causes), (reason, []))[1].append(number)
    return sorted(found.values(), key=lambda group: -len(group[1]))
