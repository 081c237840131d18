"""From papers to trials, each with its fingerprint and what keeps it from running here. Imports no torch."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossexam.facts.paper import TIERS, Artifact, Experiment, Needs, Paper, Tier
from crossexam.runs.environment import device_class, gpu_name, libraries, version
from crossexam.runs.rows import canonical, digest, trial_name
from crossexam.runs.source import Project
from reference.catalog import DataError, catalog, get


@dataclass(frozen=True)
class Build:
    """One artifact that trials wait for."""

    paper: Paper
    artifact: Artifact
    inputs: Mapping[str, Any]
    """Values of what the artifact depends on: seed, arm, parameters."""
    recipe: str
    """Digest of what is asked for: inputs, code, data."""
    fingerprint: str
    """Digest of the recipe and of what it is built on."""
    needs: Needs
    """Of the trials that wait for it: whether it gets a GPU, and how much of one."""
    code: Mapping[str, str] = field(repr=False)
    """{definition: digest} of all code that it depends on."""
    imports: frozenset[str] = field(repr=False)
    """Installed modules that it imports."""
    device: str

    def file(self, results: Path) -> Path:
        """Where it is kept, by its fingerprint."""
        _, function = self.artifact.place(self.paper.package)
        return results / "artifacts" / f"{function}-{self.fingerprint}.safetensors"


@dataclass(frozen=True)
class Trial:
    """Experiment x arm x params x seed: what is scheduled, isolated, cached and recorded."""

    paper: Paper
    experiment: Experiment
    arm: str
    params: Mapping[str, Any]
    seed: int
    subject: str
    setting: str
    parts: Mapping[str, str]
    code: Mapping[str, str] = field(repr=False)
    """{definition: digest} of all code that it depends on; the row keeps its digest, the store its text."""
    imports: frozenset[str] = field(repr=False)
    """Installed modules that it imports."""
    device: str
    builds: tuple[Build, ...] = ()
    blocked: str = ""
    """What is missing and how to get it; empty where the trial can run."""

    @functools.cached_property
    def fingerprint(self) -> str:
        return digest([self.subject, self.setting])

    @functools.cached_property
    def point(self) -> str:
        """Its parameters, canonical."""
        return canonical(self.params)

    @property
    def needs_gpu(self) -> bool:
        return self.experiment.needs.gpu_memory_gib > 0

    @property
    def name(self) -> str:
        """Readable, and unique within a plan."""
        return trial_name(self.paper.slug, self.experiment.name, self.arm, self.params, self.seed)


@dataclass(frozen=True)
class Selection:
    """Which part of the papers is meant: `--tier`, `-k`, `--seeds` and `--first-seed`."""

    tiers: tuple[Tier, ...] = TIERS
    keyword: str = ""
    seeds: int | None = None
    first_seed: int | None = None

    def experiments(self, paper: Paper) -> Iterator[Experiment]:
        """Experiments of the tiers whose name, or one of whose claims, holds the keyword."""
        for experiment in paper.experiments.values():
            claims = [claim.id for claim in paper.claims if claim.experiment == experiment.name]
            if experiment.tier in self.tiers and any(self.keyword in name for name in (experiment.name, *claims)):
                yield experiment

    def keeps(self, paper: Paper, claim_id: str, experiment: str) -> bool:
        """Whether a claim is meant."""
        wanted = paper.experiments[experiment].tier in self.tiers
        return wanted and (self.keyword in claim_id or self.keyword in experiment)


def plan(paper: Paper, project: Project, selection: Selection) -> list[Trial]:
    """All selected trials of a paper, in the order of its file."""
    trials: list[Trial] = []
    for experiment in selection.experiments(paper):
        seeds = experiment.seed_range(selection.seeds, selection.first_seed)
        trials.extend(_trials(paper, experiment, seeds, project))
    return trials


def _trials(paper: Paper, experiment: Experiment, seeds: range, project: Project) -> Iterator[Trial]:
    gpu = experiment.needs.gpu_memory_gib > 0
    roots = definitions(f"{paper.package}.experiments", experiment.name, experiment.needs.sets)
    code, imports = project.digests(*roots), project.foreign(*roots)
    shared = {
        "code": digest(code),
        "data": " ".join(f"{name}={_checksum(name)}" for name in experiment.needs.sets),
        "threads": str(experiment.needs.cpus),
    }
    asked = digest([paper.slug, experiment.name, shared])  # the same for every trial, and longer than what differs
    where = _setting(imports, gpu=gpu)
    setting = digest(where)
    recipes = [_recipe(paper, paper.artifacts[name], project, experiment.needs) for name in experiment.uses]
    obstacle = blocked(experiment.needs, paper.slug)
    for point, seed, arm in itertools.product(experiment.grid(), seeds, experiment.arms):
        inputs = {"seed": seed, "arm": arm, **point}
        builds = tuple(recipe(inputs) for recipe in recipes)
        made = {f"artifact {build.artifact.name}": build.recipe for build in builds}
        yield Trial(
            paper,
            experiment,
            arm,
            point,
            seed,
            subject=digest([asked, inputs, made]),
            setting=setting,
            parts={**shared, **made, **where},
            code=code,
            imports=imports,
            device=where["device"],
            builds=builds,
            blocked=obstacle,
        )


def _setting(modules: Collection[str], *, gpu: bool) -> dict[str, str]:
    """What a trial runs on, as far as it may change its metrics."""
    versions = " ".join(f"{name}={found}" for name, found in libraries(modules).items())
    return {"libraries": versions, "device": device_class(gpu=gpu)}


def _recipe(paper: Paper, artifact: Artifact, project: Project, needs: Needs) -> Callable[[Mapping[str, Any]], Build]:
    """A function from a trial's inputs to the build of `artifact` that it waits for."""
    roots = definitions(*artifact.place(paper.package), artifact.data)
    code, imports = project.digests(*roots), project.foreign(*roots)
    data = {name: _checksum(name) for name in artifact.data}
    asked = digest([artifact.of or artifact.name, artifact.cpus, code, data])
    setting = _setting(imports, gpu=needs.gpu_memory_gib > 0)
    where = digest(setting)
    known: dict[str, Build] = {}

    def build(inputs: Mapping[str, Any]) -> Build:
        depends = {name: inputs[name] for name in artifact.by}
        key = canonical(depends)
        if key not in known:  # arms share it
            recipe = digest([asked, depends])
            known[key] = Build(paper, artifact, depends, recipe, digest([recipe, where]), needs, code, imports,
                               setting["device"])  # fmt: skip
        return known[key]

    return build


def definitions(module: str, function: str, data: Iterable[str]) -> list[tuple[str, str]]:
    """Where the code of a trial begins: its function (of `module`), and the loaders of the sets that it declares."""
    entries = [catalog()[name] for name in data if name in catalog()]
    return [(module, function), *((entry.module, entry.function) for entry in entries)]


def _checksum(name: str) -> str:
    try:
        return catalog()[name].checksum() if name in catalog() else "unknown"
    except DataError as error:  # a damaged file: the trial itself will say so
        return f"damaged: {error}"


def blocked(needs: Needs, slug: str) -> str:
    """What an experiment lacks on this machine and how to get it; empty where nothing."""
    return "; and ".join(_lacking(needs, slug))


def _lacking(needs: Needs, slug: str) -> Iterator[str]:
    if needs.gpu_memory_gib > 0 and not gpu_name():
        yield (
            f"needs CUDA with {needs.gpu_memory_gib:g} GiB: on such a machine run "
            f"`python -m crossexam run {slug} --tier full -o rows.jsonl`, then here `crossexam import rows.jsonl`"
        )
    for name in needs.sets:
        try:
            entry = get(name)
        except DataError as error:
            yield str(error)
        else:
            if not entry.available:
                yield f"needs the data set '{name}': {entry.remedy}"
    for package in needs.packages:
        if importlib.util.find_spec(package) is None:
            yield f"needs the package '{package}': python -m pip install {package}"
    for program in needs.programs:
        if shutil.which(program) is None:
            yield f"needs the program '{program}' on the PATH: install it as this system installs programs"
    if needs.models and version("transformers") == "absent":
        yield f"needs transformers for {', '.join(needs.models)}: python -m pip install 'crossexam[models]'"


def matching(trials: Collection[Trial], text: str) -> list[Trial]:
    """Trials whose name or fingerprint begins with `text`."""
    return [trial for trial in trials if trial.name.startswith(text) or trial.fingerprint.startswith(text)]
