"""A paper as data: what `paper.toml` may say. `loader` reads it."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from crossexam.facts.problems import Flaw, Validated
from crossexam.facts.rules import Params, Rule
from reference.catalog import catalog

Tier = Literal["exact", "small", "full"]
TIERS: tuple[Tier, ...] = ("exact", "small", "full")

Provenance = Literal[
    "abstract", "official-readme", "official-code", "paper-text", "derived", "copy", "secondary", "recalled"
]
ASSERTABLE = ("abstract", "official-readme", "official-code", "paper-text")
"""Provenances that somebody has seen at the source: only such a number may be asserted."""

SHARED = re.compile(r"baselines(\.\w+)+:\w+")

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]

Field = Literal[
    "losses", "theory", "adaptation", "compression", "scaling laws", "LLM reinforcement learning", "retrieval",
    "vision and signals", "evaluation",
]  # fmt: skip
"""Where papers are listed. losses: also activations and what surrounds a loss. theory: statements proved, and
optimisation. adaptation: test-time, semi-supervised, fine-tuning. compression: quantisation, distillation, coding.
retrieval: also recommendation and click-through rates. evaluation: calibration, scorecards, detection, benchmarks."""


@dataclass(frozen=True)
class Needs(Validated):
    """What a trial of an experiment needs; it is stopped at the limits and `blocked` where something is absent."""

    data: tuple[str, ...] = ()
    """Names in the catalogue of reference data."""
    packages: tuple[str, ...] = ()
    """Importable modules beyond the core dependencies."""
    programs: tuple[str, ...] = ()
    """Programs on the PATH."""
    models: tuple[str, ...] = ()
    """Pretrained models, by their names in the catalogue: sets like the data, and what reads them is transformers."""
    minutes: float = 5.0
    """Wall-clock limit of one trial."""
    memory_gib: float = 4.0
    """Memory limit of one trial, beyond what importing torch takes."""
    disk_gib: float = 4.0
    """Limit of what one trial keeps in its temporary folder, which is removed when it ends."""
    gpu_memory_gib: float = 0.0
    """GPU memory; above zero the trial needs CUDA."""
    shares_gpu: bool = False
    """Whether other trials may use the same GPU at the same time, each within its memory. Not where time is
    measured."""
    cpus: int = 1
    """Threads of one trial. Part of its fingerprint, for the order of float additions depends on it."""

    @property
    def sets(self) -> tuple[str, ...]:
        """All that a trial may load by `reference.load`."""
        return self.data + self.models

    def flaws(self) -> Iterator[Flaw]:
        for name in ("minutes", "memory_gib", "disk_gib", "cpus"):
            if getattr(self, name) <= 0:
                yield Flaw(name, "is not positive", "a limit is > 0")
        if self.gpu_memory_gib < 0:
            yield Flaw("gpu_memory_gib", "is negative", "use 0 for no GPU")
        if self.shares_gpu and not self.gpu_memory_gib:
            yield Flaw("shares_gpu", "is set without gpu_memory_gib", "say how much memory one trial takes")


@dataclass(frozen=True)
class Protocol(Validated):
    """How an experiment is run, in words, so that a stranger can judge what it is comparable with.

    In the file `like = "other"` takes over what is not said again; it is resolved before anything is read or hashed.
    """

    data: str = ""
    """What is measured on."""
    split: str = ""
    """Which part trains, validates, tests, and how it is drawn."""
    preprocessing: str = ""
    """What is done to the data first."""
    model: str = ""
    """Architecture and sizes."""
    optimiser: str = ""
    """Optimiser and its fixed settings."""
    schedule: str = ""
    """Steps, batches, learning-rate schedule."""
    tuning: str = ""
    """How the hyper-parameters of every arm were chosen."""
    checkpoint: str = ""
    """Which state is evaluated: last, or best on validation."""
    evaluation: str = ""
    """Definition of the metric, and on how many examples."""
    deviations: str = ""
    """Where this departs from the paper ("none" is an answer)."""
    sensitivity: str = ""
    """What is shared, fixed and untuned, what was tried at other values, and whether a verdict turned."""

    @property
    def decides(self) -> dict[str, str]:
        """All that a verdict depends on. What was tried beside it may be told later without starting a new series."""
        return {name: text for name, text in vars(self).items() if name != "sensitivity"}


@dataclass(frozen=True)
class Artifact(Validated):
    """An expensive intermediate that trials share: a function of experiments.py, or `of`, returning named tensors."""

    name: str
    """The key of its table: `[artifact.name]`."""
    of: str = ""
    """A function of baselines/, as `baselines.module:function`: papers that name it share what it builds."""
    by: tuple[str, ...] = ("seed",)
    """What it depends on: "seed", "arm" or names of parameters of the experiments that use it."""
    minutes: float = 10.0
    """Wall-clock limit of building it."""
    memory_gib: float = 8.0
    """Memory limit of building it."""
    cpus: int = 1
    """Threads of building it."""
    data: tuple[str, ...] = ()
    """Names in the catalogue of reference data."""

    def flaws(self) -> Iterator[Flaw]:
        if self.of and not SHARED.fullmatch(self.of):
            yield Flaw("of", f"is {self.of!r}", "name a function of the shared ground, as baselines.module:function")

    def place(self, package: str) -> tuple[str, str]:
        """The module and the name of its function, in the suite `package`."""
        module, _, function = self.of.partition(":")
        return (module, function) if self.of else (f"{package}.experiments", self.name)


@dataclass(frozen=True)
class Experiment(Validated):
    """A function that measures, with its arms, seeds, parameter grid and needs."""

    name: str
    """The key of its table, `[experiment.name]`, and of its function in experiments.py."""
    tier: Tier
    """exact: mathematics in float64, seconds. small: real data, minutes. full: the paper's own protocol."""
    arms: tuple[str, ...] = ("method",)
    """What is compared: the method, baselines, ablations. Several need a function that takes `arm`."""
    seeds: int = 1
    """How many. Several need a function that takes `seed`, or an artifact by seed."""
    params: Params = field(default_factory=dict)
    """What the function is called with; a list of values is an axis of a grid."""
    needs: Needs = Needs()
    """Data, packages, limits."""
    uses: tuple[str, ...] = ()
    """Artifacts that are built first and passed as paths."""
    protocol: Protocol | None = None
    """How it is run, in words; not for the exact tier."""
    first_seed: int = 0
    """The seeds are first_seed, first_seed + 1, ...; fresh ones confirm what was found on others."""
    where: str = ""
    """Where in the paper its claims stand, unless they say otherwise."""
    provenance: Provenance | None = None
    """How its claims are known, unless they say otherwise."""

    def flaws(self) -> Iterator[Flaw]:
        if self.seeds < 1:
            yield Flaw("seeds", f"is {self.seeds}", "at least one seed")
        if self.first_seed < 0:
            yield Flaw("first_seed", f"is {self.first_seed}", "seeds count from 0")
        if not self.arms:
            yield Flaw("arms", "is empty", 'name at least one arm, such as "method"')
        if len(set(self.arms)) < len(self.arms):
            yield Flaw("arms", "names an arm twice", "remove one")
        for name, value in self.params.items():
            if name in ("arm", "seed", "device") or name in self.uses:
                yield Flaw(f"params.{name}", "is passed by the harness", "choose another name")
            if value == [] or isinstance(value, Mapping):
                yield Flaw(f"params.{name}", f"is {value!r}", "a parameter is a value or a non-empty list of values")
        if self.tier == "exact" and any(name not in catalog() or catalog()[name].files for name in self.needs.sets):
            yield Flaw("needs.data", "is not for the exact tier", "the exact tier needs no files: use small")
        if self.tier != "exact":
            missing = [name for name in ("data", "model", "tuning", "evaluation", "deviations") if not self._says(name)]
            if missing:
                yield Flaw("protocol", f"lacks {', '.join(missing)}", "a stranger must be able to judge it again")

    def _says(self, name: str) -> bool:
        return self.protocol is not None and bool(getattr(self.protocol, name).strip())

    def seed_range(self, seeds: int | None = None, first: int | None = None) -> range:
        """The seeds of the file, or as many as asked for, from where asked for."""
        start = self.first_seed if first is None else first
        return range(start, start + (seeds or self.seeds))

    def grid(self) -> list[dict[str, Any]]:
        """Every point of the parameter grid, in the order of the file."""
        axes = [value if isinstance(value, list) else [value] for value in self.params.values()]
        return [dict(zip(self.params, point, strict=True)) for point in itertools.product(*axes)]


@dataclass(frozen=True)
class Decision(Validated):
    """The decision fields that a rule does not hold itself. Changed ones start a new series of verdicts."""

    alpha: float = 0.05
    """Level of its tests and intervals."""
    n_min: int = 5
    """Fewest seeds for a verdict. Below it a statistical rule is inconclusive."""
    n_max: int = 20
    """Most seeds that are worth asking for."""
    kappa: float = 2.0
    """How many standard deviations the margin was meant to be (3 with a one-run paper)."""
    overlap: float = 0.0
    """Test rows over training rows, where seeds are random splits of one table: their results are correlated, and the
    variance of a mean over k of them is s^2 (1/k + overlap) (Nadeau & Bengio 2003)."""
    history: str = ""
    """A file of rows in the project, from other seeds, whose spread is pooled with this run's."""
    environments: tuple[str, ...] = ()
    """Device classes that may decide the claim; empty: any."""

    def flaws(self) -> Iterator[Flaw]:
        if not 0 < self.alpha < 0.5:
            yield Flaw("alpha", f"is {self.alpha:g}", "it lies between 0 and 0.5")
        if self.overlap < 0:
            yield Flaw("overlap", f"is {self.overlap:g}", "it is a ratio of row counts, >= 0")
        if not 1 <= self.n_min <= self.n_max:
            yield Flaw("n_min", f"is {self.n_min}", f"it lies between 1 and n_max ({self.n_max})")


@dataclass(frozen=True)
class Claim(Validated):
    """One checkable statement of the paper, and the rule that turns rows into a verdict."""

    id: str
    """Lower-case words joined by hyphens, unique within the paper."""
    says: str
    """The statement in one sentence of our own that stands alone, symbols named."""
    where: str
    """Section, table or page. Default: the experiment's."""
    provenance: Provenance
    """How it is known: read in the abstract, the official code, ... or derived by us. Default: the experiment's."""
    experiment: str
    """The experiment that it stands under: `[[experiment.NAME.claim]]`."""
    rule: Rule
    """What turns rows into a verdict."""
    decision: Decision = Decision()
    """Levels, seeds and environments of the decision."""
    expected: Verdict = "reproduced"
    """The verdict that was found; any other makes a run fail."""
    finding: str = ""
    """Where it is not "reproduced": what was measured, on what, what was tried."""
    version: int = 1
    """Raised by hand with every changed rule, protocol or decision, so that the change shows in the diff."""
    aside: str = ""
    """Why no headline rests on it, though it is in the abstract."""

    def flaws(self) -> Iterator[Flaw]:
        if self.rule.kind in ("level", "effect") and self.provenance not in ASSERTABLE:
            yield Flaw(
                "provenance",
                f"is '{self.provenance}': nobody has seen the asserted number",
                f"assert only numbers that are {', '.join(ASSERTABLE)}; list the others under [[reported]]",
            )
        if self.expected != "reproduced" and not self.finding.strip():
            yield Flaw("finding", "is missing", f"say what was measured and tried, for '{self.expected}' is a finding")
        if self.decision.overlap and self.rule.kind not in ("order", "trend"):
            yield Flaw("decision.overlap", f"means nothing for '{self.rule.kind}'", "it is for order and trend")
        if self.rule.kind == "order" and self.decision.n_min < 5:
            yield Flaw("decision.n_min", "is below 5", "with fewer seeds no sign-flip test can reach p <= 0.05")


@dataclass(frozen=True)
class Headline(Validated):
    """A sentence of the abstract that a reader came for, and the claims that decide it; three to six a paper."""

    says: str
    """The sentence in our words: it stands alone, symbols named, no document's numbering."""
    claims: tuple[str, ...]
    """The claims that decide it, of whatever tier."""

    def flaws(self) -> Iterator[Flaw]:
        if not self.claims:
            yield Flaw("claims", "is empty", "name the claims that decide it")
        if len(set(self.claims)) < len(self.claims):
            yield Flaw("claims", "names a claim twice", "remove one")


@dataclass(frozen=True)
class Reported(Validated):
    """One number of the paper in the ledger: asserted, tested small, listed only, or unobtainable and why.

    In the file an entry may hold `values = [{ ... }, ...]`: one number for each, which fills in what the entry leaves
    open.
    """

    id: str
    """Unique within the paper."""
    setting: str
    """Data, model, hyper-parameters that the number belongs to."""
    metric: str
    """What was measured."""
    where: str
    """Table, figure or page."""
    provenance: Provenance
    """How the number is known."""
    state: Literal["asserted", "small", "listed", "unobtainable"]
    """Held by a claim; tested at small scale; only listed, or unobtainable, and then `why`."""
    method: Any = None
    """The number of the method."""
    baseline: Any = None
    """The number that it is compared with."""
    spread: str = ""
    """What is printed after a plus-minus, and what it means."""
    claims: tuple[str, ...] = ()
    """The claims that assert or test it."""
    why: str = ""
    """Why it is not asserted."""

    def flaws(self) -> Iterator[Flaw]:
        if self.state == "asserted" and self.provenance not in ASSERTABLE:
            yield Flaw("state", f"asserts a number that is '{self.provenance}'", "list it, or find it at the source")
        if self.state in ("asserted", "small") and not self.claims:
            yield Flaw("claims", "is missing", f"name the claims that make it '{self.state}'")
        if self.state in ("listed", "unobtainable") and not self.why.strip():
            yield Flaw("why", "is missing", f"say why the number is {self.state}")


@dataclass(frozen=True)
class Fault(Validated):
    """A planted fault: a small edit of the suite's code that must turn at least one of `breaks` red."""

    id: str
    """Unique within the paper."""
    says: str
    """What is wrong with the edited code."""
    replace: str
    """A text that occurs once in the file."""
    by: str = field(metadata={"may_be_empty": True})
    """What stands there instead; "" where the text is left out."""
    breaks: tuple[str, ...]
    """The claims that may turn red; at least one must."""
    file: str = "method.py"
    """The file of the suite that is edited."""

    def flaws(self) -> Iterator[Flaw]:
        if self.replace == self.by:
            yield Flaw("by", "equals replace", "a fault changes something")
        if not self.breaks:
            yield Flaw("breaks", "is empty", "name the claims that this fault must turn red")


@dataclass(frozen=True)
class Excused(Validated):
    """A generated fault that no claim catches: it changes nothing, or a named unit test catches it."""

    mutant: str
    """Its name, as the audit prints it."""
    why: str
    """Why it changes nothing that anybody could see, or why no claim can show it."""
    test: str = ""
    """The test that catches it, `test_file.py::test_name` below tests/suites; an audit runs it."""


@dataclass(frozen=True)
class About(Validated):
    """The `[paper]` table."""

    title: str
    """The paper's."""
    arxiv: str
    """Its number there."""
    summary: str
    """What it claims, in one sentence."""
    field: Field
    """Where papers like it are listed."""
    venue: str = ""
    """Where it was published."""
    code: str = ""
    """The official repository, owner/name."""
    no_full: str = ""
    """Why there is no full tier, where the paper's whole protocol is exact or small."""


@dataclass(frozen=True)
class Paper:
    """One suite, as its `paper.toml` describes it."""

    slug: str
    folder: Path
    about: About
    experiments: Mapping[str, Experiment]
    artifacts: Mapping[str, Artifact]
    claims: tuple[Claim, ...]
    reported: tuple[Reported, ...]
    faults: tuple[Fault, ...]
    excused: tuple[Excused, ...] = ()
    headlines: tuple[Headline, ...] = ()

    @property
    def package(self) -> str:
        """The suite's importable name."""
        return f"suites.{self.folder.name}"

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets and models that its experiments and artifacts need, each once."""
        needed = [one.needs.sets for one in self.experiments.values()]
        built = [one.data for one in self.artifacts.values()]
        return tuple(dict.fromkeys(name for group in (*needed, *built) for name in group))

    def tier(self, claim: Claim) -> Tier:
        """The tier of the claim's experiment."""
        return self.experiments[claim.experiment].tier

    def series(self, claim: Claim) -> str:
        """A digest of all that decides the claim: rule, decision and protocol. A new digest is a new series."""
        if claim.id not in self._series:
            protocol = self.experiments[claim.experiment].protocol
            decided_by = {
                "rule": [claim.rule.kind, vars(claim.rule)],
                # Only what the file says, so that a new field with its default starts no new series.
                "decision": {k: v for k, v in vars(claim.decision).items() if v != getattr(Decision, k)},
                "protocol": protocol.decides if protocol else None,
            }
            text = json.dumps(decided_by, sort_keys=True)
            self._series[claim.id] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._series[claim.id]

    @functools.cached_property
    def _series(self) -> dict[str, str]:
        """What `series` has found: every row notes it, and every verdict."""
        return {}

    def registration(self, experiment: str) -> dict[str, str]:
        """{claim: series} of an experiment's claims as they stand: what a row notes when its trial begins."""
        return {claim.id: self.series(claim) for claim in self.claims if claim.experiment == experiment}
