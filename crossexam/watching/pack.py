"""A folder that a machine without a network can run: code, data, rows that stand, and what is worth its minutes most.

It is planned as that machine would plan: trials that need a GPU are not blocked because this machine has none. What an
experiment is worth is how many headlines it decides per minute; those that have waited longest go first. What does not
fit the minutes or the size is left out, and the pack says why.

    run.sh       runs it and writes rows.jsonl as trials end
    pack.json    what it holds, what it would run and what it leaves out (`watching.packed` reads it)
    code/        the tracked files as they lie here, uncommitted changes with them; neither tests nor untracked files
    data/        the sets, verified; compressed where that saves a tenth, and unpacked to the same content
    known.jsonl  the rows that this machine has of these papers
    wheels/      packages, where they were asked for; torch is not among them: that machine's own fits its driver
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any, cast

from crossexam.facts.paper import Experiment, Paper
from crossexam.runs.committed import FOLDER, committed_processors, counted_rows
from crossexam.runs.costs import START, Costs, cpus, on_gpu
from crossexam.runs.environment import COMMIT_FILE, DISTRIBUTIONS, commit
from crossexam.runs.git import GitError, NoGit, git
from crossexam.runs.placement import Gpu, gpu_share
from crossexam.runs.plan import Build, Selection, Trial, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.watching import session
from crossexam.watching.choice import costs_of, jobs_of, standing
from reference.catalog import CHUNK, DataError, content_digest, get
from reference.fetch import pip_command

SCHEMA = 1
LEFT_HERE = ("tests/", ".github/", ".ci/", FOLDER.as_posix() + "/")
"""Tracked files that no trial needs; of the committed rows those of the packed papers come."""
WORTHWHILE = 0.9
"""Compressed files are kept where they take no more than this of the file."""
SAMPLE = 1 << 22
"""Bytes that are compressed to learn whether the whole file is to be."""
PRESET = 3
"""Of LZMA: stronger ones save a few per cent more and take several times as long."""
MACHINES_OWN = re.compile(r"^(torch|torchvision|triton|nvidia[-_].*|cuda[-_].*)$")
"""Distributions that are no wheels of a pack."""
MIB = 1 << 20


class PackError(Exception):
    """The pack cannot be made or run. The message says why."""


@dataclass(frozen=True)
class Load:
    """An experiment with trials that have no row which stands."""

    paper: Paper
    experiment: Experiment
    trials: tuple[Trial, ...]
    gpu_seconds: float
    """Of all trials and artifacts together, as far as one GPU cannot share them out."""
    cpu_seconds: float
    longest: float
    known: bool
    """Whether earlier rows say what it takes; else limits of the file are in it."""
    waits: str
    """The day of its last row, of whatever code; "" for never."""

    @property
    def key(self) -> tuple[str, str]:
        return self.paper.slug, self.experiment.name

    def seconds(self, capacity: int) -> float:
        """About how long it takes by itself."""
        return max(self.gpu_seconds, self.cpu_seconds / capacity, self.longest)

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets and models of its trials and their artifacts."""
        built = [self.paper.artifacts[name].data for name in self.experiment.uses]
        return tuple(dict.fromkeys(name for group in (self.experiment.needs.sets, *built) for name in group))


@dataclass(frozen=True)
class Left:
    """An experiment that does not run, or only if time is left."""

    paper: str
    experiment: str
    trials: int
    why: str


@dataclass
class Pack:
    """What a pack holds."""

    folder: Path
    minutes: float
    gpu: str
    cpus: int
    made: str
    commit: str
    uncommitted: tuple[str, ...]
    """Tracked files that lie in it other than they are committed."""
    untracked: tuple[str, ...]
    """Code that git does not track: it is not in the pack."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """In this order: paper, experiment, subjects of its trials, seconds; `spare` ones if time is left."""
    left: list[Left] = field(default_factory=list)
    sets: dict[str, int] = field(default_factory=dict)
    """{data set: bytes that it takes}."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """Of the data: path, stored (the path that it has in the pack), digest of its content."""
    fetched: list[str] = field(default_factory=list)
    """Sets that are known by what was fetched: their manifests are written anew where the pack is unpacked."""
    rows: int = 0
    wheels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """Modules beyond the core that its trials import: the machine has them, or the pack brings wheels."""

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def record(self) -> dict[str, Any]:
        """As pack.json has it."""
        return {"schema": SCHEMA, **{name: value for name, value in asdict(self).items() if name != "folder"}}


@dataclass(frozen=True)
class Wheels:
    """For which machine packages are to be downloaded."""

    python: str
    platforms: tuple[str, ...]


def loads(
    papers: Sequence[Paper], project: Project, store: Store, selection: Selection, gpu: Gpu | None
) -> tuple[list[Load], list[Left]]:
    """The experiments that wait for a machine with that GPU, and those that could not run there, with the reason."""
    costs = costs_of(papers, project, store)
    found, left = [], []
    for paper in papers:
        rows = [*counted_rows(project.root, paper.slug), *store.rows(paper.slug)]
        stood = session.processors(rows, store) | committed_processors(project.root, paper.slug)
        groups: dict[str, list[Trial]] = {}
        for trial in plan(paper, project, selection):
            groups.setdefault(trial.experiment.name, []).append(trial)
        for name, group in groups.items():
            stands = standing(group, rows, stood)
            waiting = tuple(trial for trial in group if trial.fingerprint not in stands)
            if not waiting:
                continue
            one = _load(paper, waiting, costs, store, gpu, rows)
            if obstacle := _obstacle(one, gpu):
                left.append(Left(paper.slug, name, len(waiting), obstacle))
            else:
                found.append(one)
    return found, left


def _load(
    paper: Paper, trials: tuple[Trial, ...], costs: Costs, store: Store, gpu: Gpu | None, rows: Sequence[Row]
) -> Load:
    jobs = jobs_of(trials, store).values()
    experiment = trials[0].experiment
    last = max((row.started for row in rows if row.experiment == experiment.name and row.health == "done"), default="")

    def share(job: Trial | Build) -> float:
        needs = job.needs if isinstance(job, Build) else job.experiment.needs
        return gpu_share(needs, gpu.gib if gpu else 0.0)

    return Load(
        paper, experiment, trials,
        gpu_seconds=sum(costs.seconds(job) * share(job) for job in jobs if on_gpu(job)),
        cpu_seconds=sum(costs.seconds(job) * cpus(job) for job in jobs if not on_gpu(job)),
        longest=max(costs.seconds(job) for job in jobs),
        known=all(costs.known(job) is not None for job in jobs), waits=last[:10],
    )  # fmt: skip


def _obstacle(load: Load, gpu: Gpu | None) -> str:
    """What keeps it from running there, or its data from being packed; packages are that machine's affair."""
    needs = load.experiment.needs
    if needs.gpu_memory_gib and gpu is None:
        return "needs a GPU: name it with --gpu"
    if gpu and gpu.gib and needs.gpu_memory_gib > gpu.gib:
        return f"needs {needs.gpu_memory_gib:g} GiB of GPU memory, and {gpu.name} has {gpu.gib:.0f}"
    for name in load.sets:
        try:
            if not get(name).available:
                return f"needs the data set '{name}', which is not here: {get(name).remedy}"
        except DataError as error:
            return str(error)
    return ""


def by_worth(waiting: Sequence[Load], papers: Sequence[Paper], capacity: int) -> list[Load]:
    """Experiments in the order in which they are worth most.

    Headlines that have waited longest come first; among these those of which most are decided per minute, together
    with all that the same experiments decide. Then experiments of no headline, longest-waiting and shortest first.
    """
    keys = {load.key: load for load in waiting}
    open_headlines = []
    for paper in papers:
        places = {claim.id: (paper.slug, claim.experiment) for claim in paper.claims}
        for headline in paper.headlines:
            if mine := {places[name] for name in headline.claims} & keys.keys():
                open_headlines.append(mine)
    chosen: list[Load] = []
    taken: set[tuple[str, str]] = set()

    def rank(mine: set[tuple[str, str]]) -> tuple[str, float, list[tuple[str, str]]]:
        rest = mine - taken
        decided = sum(other <= taken | rest for other in open_headlines)
        minutes = sum(keys[key].seconds(capacity) for key in rest) / 60
        return min(keys[key].waits for key in rest), -decided / max(minutes, 1e-9), sorted(rest)

    while open_headlines:
        best = min(open_headlines, key=rank) - taken
        chosen += sorted((keys[key] for key in best), key=lambda load: (load.seconds(capacity), load.key))
        taken |= best
        open_headlines[:] = [mine for mine in open_headlines if not mine <= taken]
    rest = [load for load in waiting if load.key not in taken]
    return chosen + sorted(rest, key=lambda load: (load.waits, load.seconds(capacity), load.key))


def make(
    folder: Path, papers: Sequence[Paper], project: Project, store: Store, selection: Selection, *,
    minutes: float, mib: float, gpu: Gpu | None, capacity: int, wheels: Wheels | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Pack:  # fmt: skip
    """Make a pack in `folder`, in place of an earlier one. Raises PackError, and DataError for damaged data."""
    _clear(folder)
    waiting, left = loads(papers, project, store, selection, gpu)
    packed = Pack(
        folder, minutes, gpu.name if gpu else "", capacity, datetime.now(UTC).isoformat(timespec="seconds"),
        commit(project.root), uncommitted=_named(project.root, "diff", "--name-only", "HEAD"),
        untracked=_named(project.root, "ls-files", "--others", "--exclude-standard", "--", "*.py", "*.toml"), left=left,
    )  # fmt: skip
    note("code")
    _code(packed, papers, project.root)
    known = store.export(*(paper.slug for paper in papers))
    packed.rows = len(known.rows)
    (folder / "known.jsonl").write_text("".join(f"{line}\n" for line in known.lines()), encoding="utf-8")
    budget = _Budget(60 * minutes - START, capacity)
    spare = []
    for load in by_worth(waiting, papers, capacity):
        lacking = _pack_data(packed, load, mib * MIB, note)
        if lacking:
            packed.left.append(Left(*load.key, len(load.trials), lacking))
        elif budget.takes(load):
            packed.runs.append(_run(load, capacity, spare=False))
        else:
            packed.left.append(Left(*load.key, len(load.trials), budget.says(load)))
            spare.append(_run(load, capacity, spare=True))
    packed.runs += spare
    modules = {name for one in packed.runs for name in one["packages"]}
    packed.packages = tuple(sorted(modules))
    if wheels:
        note("wheels")
        packed.wheels = tuple(_wheels(folder / "wheels", project.root, modules, wheels))
    (folder / "pack.json").write_text(json.dumps(packed.record(), indent=1) + "\n", encoding="utf-8")
    script = folder / "run.sh"
    script.write_text(RUN, encoding="utf-8")
    script.chmod(0o755)
    return packed


@dataclass
class _Budget:
    """What is left of a machine's time: its GPU's and its CPUs' pass together."""

    seconds: float
    capacity: int
    gpu: float = 0.0
    cpu: float = 0.0

    def takes(self, load: Load) -> bool:
        """Whether it still fits; then it is counted."""
        gpu, cpu = self.gpu + load.gpu_seconds, self.cpu + load.cpu_seconds / self.capacity
        if max(gpu, cpu, load.longest) > self.seconds:
            return False
        self.gpu, self.cpu = gpu, cpu
        return True

    def says(self, load: Load) -> str:
        about = "about" if load.known else "up to"
        spent = self.gpu if load.gpu_seconds else self.cpu
        rest = max(self.seconds - spent, 0.0)
        minutes = load.seconds(self.capacity) / 60
        return f"takes {about} {minutes:.1f} min, and {rest / 60:.1f} are left: it runs last, if at all"


def _run(load: Load, capacity: int, *, spare: bool) -> dict[str, Any]:
    needs = load.experiment.needs
    return {
        "paper": load.paper.slug, "experiment": load.experiment.name, "tier": load.experiment.tier,
        "seconds": round(load.seconds(capacity), 1), "known": load.known, "spare": spare, "sets": list(load.sets),
        "packages": [*needs.packages, *(["transformers"] if needs.models else [])],
        "subjects": [trial.subject for trial in load.trials],
    }  # fmt: skip


def _clear(folder: Path) -> None:
    """An empty folder: a new one, or an earlier pack's."""
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        if not (folder / "pack.json").is_file():
            raise PackError(f"{folder} is there and is no pack: name a new folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _named(root: Path, command: str, *words: str) -> tuple[str, ...]:
    """The files that a command of git names."""
    try:
        names = git(root, command, "-z", *words).split(b"\0")
    except (GitError, NoGit) as error:
        raise PackError(f"a pack holds what git tracks: {error}") from error
    return tuple(os.fsdecode(name) for name in names if name)


def _code(packed: Pack, papers: Sequence[Paper], root: Path) -> None:
    """The tracked files as they lie here, and the commit that they are of."""
    slugs = tuple(f"{FOLDER.as_posix()}/{paper.slug}." for paper in papers)
    for name in _named(root, "ls-files"):
        if (root / name).is_file() and (name.startswith(slugs) or not name.startswith(LEFT_HERE)):
            target = packed.folder / "code" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
    (packed.folder / "code" / COMMIT_FILE).write_text(packed.commit, encoding="utf-8")


def _pack_data(packed: Pack, load: Load, limit: float, note: Callable[[str], None]) -> str:
    """Add the sets that an experiment needs; where the pack becomes too large, take them out and say so."""
    added: list[Path] = []
    names = [name for name in load.sets if name not in packed.sets and get(name).files]
    kept = len(packed.files), len(packed.fetched)
    for name in names:
        entry = get(name)
        source = entry.require()
        note(f"data set {name}")
        for file in entry.files:
            path = Path("data", entry.folder or entry.name, file.name)
            stored = stored_at(source / file.name, packed.folder / path)
            added.append(stored)
            digest = content_digest(source / file.name)[0]
            placed = stored.relative_to(packed.folder).as_posix()
            packed.files.append({"path": path.as_posix(), "stored": placed, "content": digest})
        if entry.untouched(source):
            packed.fetched.append(name)
        packed.sets[name] = sum(one.stat().st_size for one in added[-len(entry.files) :])
    if (size := packed.bytes) <= limit:
        return ""
    for stored in added:
        stored.unlink()
    more = sum(packed.sets.pop(name) for name in names)
    del packed.files[kept[0] :], packed.fetched[kept[1] :]
    return f"its data ({', '.join(names)}) takes {more / MIB:.1f} MiB, and {(limit - size + more) / MIB:.1f} are left"


def stored_at(source: Path, target: Path) -> Path:
    """Copy a file, its content compressed by LZMA where that is worth while; returns where it lies."""
    target.parent.mkdir(parents=True, exist_ok=True)

    def content() -> IO[bytes]:
        return cast("IO[bytes]", gzip.open(source)) if source.suffix == ".gz" else source.open("rb")

    with content() as stream:
        sample = stream.read(SAMPLE)
        size = len(sample) + sum(map(len, iter(lambda: stream.read(CHUNK), b"")))
    pressed = len(lzma.compress(sample, preset=PRESET)) / max(len(sample), 1) * size
    if pressed > WORTHWHILE * source.stat().st_size:
        return Path(shutil.copy2(source, target))
    packed = target.with_name(target.name + ".xz")
    with content() as stream, lzma.open(packed, "wb", preset=PRESET) as out:
        shutil.copyfileobj(stream, out, CHUNK)
    return packed


def _wheels(folder: Path, root: Path, modules: Iterable[str], wanted: Wheels) -> Iterator[str]:
    """Download what the code and some modules need, in the versions that are here; yields the files' names."""
    folder.mkdir()
    facts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = [re.split(r"[^\w.-]", line)[0] for line in facts["dependencies"]]
    names = _closure([*core, *(DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in modules)])
    platforms = [word for name in wanted.platforms for word in ("--platform", name)]
    try:
        pip = pip_command("wheels were asked for")
    except DataError as error:
        raise PackError(str(error)) from None
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:",
               "--python-version", wanted.python, *platforms, "--dest", str(folder), *names]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackError(f"pip cannot download the wheels: {done.stderr.strip()[-500:]}")
    yield from sorted(file.name for file in folder.glob("*.whl"))


def _closure(names: Iterable[str]) -> list[str]:
    """Requirements for distributions and for what they require, pinned to the versions that are installed here."""
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found or MACHINES_OWN.match(name):
            continue
        try:
            found[name] = f"{name}=={metadata.version(name)}"
        except metadata.PackageNotFoundError:
            found[name] = name  # asked for by a paper, and not here: the newest that there is
            continue
        for line in metadata.requires(name) or ():
            needed = re.split(r"[^\w.-]", line)[0]
            if "extra ==" not in line and _installed(needed):
                waiting.append(needed)
    return sorted(found.values())


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def gpu_of(text: str, known: Mapping[str, float]) -> Gpu:
    """The GPU that "NAME" or "NAME:GIB" means; its memory from the name ("H100 80GB"), else as `known` of its kind."""
    name, _, gib = text.partition(":")
    if gib:
        return Gpu(name.strip(), float(gib), "")
    if told := re.search(r"(\d+) ?GB", name):
        return Gpu(name, float(told[1]) * 0.99, "")
    return Gpu(name, next((size for kind, size in known.items() if kind in name.upper()), 0.0), "")


RUN = r"""#!/usr/bin/env bash
# Runs what this pack holds until its minutes are over:  bash run.sh [ROWS] [--minutes N] [--jobs N]
# Each row is in ROWS (default: rows.jsonl beside this script) the moment its trial ends, whatever ends this script. At
# home: crossexam import rows.jsonl. Nothing is fetched, and nothing written outside of this folder but ROWS.
# CROSSEXAM_PYTHON names the Python; default: python3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${CROSSEXAM_PYTHON:-python3}
rows=$here/rows.jsonl
if [ $# -gt 0 ] && [[ $1 != -* ]]; then rows=$(realpath -m "$1"); shift; fi
export CROSSEXAM_DATA=$here/data XDG_CACHE_HOME=$here/local/cache
export CROSSEXAM_RESULTS=${CROSSEXAM_RESULTS:-$here/local/results}
export PYTHONPATH=$here/code${PYTHONPATH:+:$PYTHONPATH}
if [ -d "$here/wheels" ]; then  # only what this Python lacks
  mapfile -t absent < <("$python" - "$here"/wheels/*.whl << 'PYTHON'
import importlib.metadata, pathlib, sys
for wheel in sys.argv[1:]:
    try:
        importlib.metadata.version(pathlib.Path(wheel).name.split("-")[0])
    except importlib.metadata.PackageNotFoundError:
        print(wheel)
PYTHON
  )
  if [ ${#absent[@]} -gt 0 ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$here/local/site" "${absent[@]}"
  fi
  export PYTHONPATH=$PYTHONPATH:$here/local/site
fi
cd "$here/code"
exec "$python" -m crossexam run-pack "$here" -o "$rows" "$@"
"""
