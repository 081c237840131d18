"""Whether verdicts could have gone the other way: planted and generated faults, null control, placebo, repetition.

Nothing here touches the tree: a faulty method is a copy of its suite, under another name, in a project of its own.
"""

from __future__ import annotations

import ast
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossexam.facts.paper import Claim, Experiment, Paper
from crossexam.facts.rules import PairedRule, ResourceRule
from crossexam.judging.judge import Judgement, judge_paper
from crossexam.runs.environment import commit, processor
from crossexam.runs.executors import Executor, LocalExecutor
from crossexam.runs.plan import Selection, Trial, plan
from crossexam.runs.rows import Row, canonical, digest
from crossexam.runs.runner import Listener, Runner
from crossexam.runs.source import Project
from crossexam.runs.store import Store
from crossexam.runs.syntax import PACKAGES, changed_definitions
from crossexam.watching.mutants import mutants, sample

GENERATED = 30
"""Fewest faults made per suite, beside those that it lists: more where it has more options and functions."""
CAUGHT = 0.95
"""Share of the generated faults that claims must catch."""
TIERS = ("exact", "small")
"""Tiers that are audited: the full one may take days."""
SMALL_TIER_SECONDS = 600
"""Trial-seconds of one paper's small tier: five minutes on two cores."""
CONTROLS = 0.4
"""Share of the time after which no null control is begun: faults need the rest."""
REPEATED = 10
"""Trials that are run again, twice."""
REPEATED_SECONDS = 30.0
"""Longer ones are not."""


@dataclass(frozen=True)
class Faulty:
    """A fault: the whole text of a file of the suite with one thing wrong."""

    id: str
    kind: str
    """"listed" in paper.toml, or "generated"."""
    says: str
    file: str
    source: str
    breaks: tuple[str, ...] = ()
    excused: str = ""
    """Why no claim can catch it, by paper.toml."""
    test: str = ""
    """The unit test that catches it then."""


@dataclass
class Trace:
    """What became of a fault."""

    fault: Faulty
    copy: Paper
    waiting: list[Experiment]
    """Experiments that it can reach and that have not been run, cheapest first."""
    ran: list[str] = field(default_factory=list)
    red: list[str] = field(default_factory=list)
    """Claims that it turned red."""

    def next(self, tier: str) -> bool:
        """Whether the next experiment is of that tier."""
        return bool(self.waiting) and self.waiting[0].tier == tier


@dataclass(frozen=True)
class Control:
    """A claim judged on rows in which nothing can have won."""

    claim: str
    verdict: str
    """As it is reported; empty where it could not be judged."""


@dataclass(frozen=True)
class Audit:
    """What an audit found. All of it is plain data, kept with the rows."""

    paper: str
    at: str
    commit: str
    seconds: float
    faults: tuple[Mapping[str, Any], ...]
    toothless: tuple[str, ...]
    null_control: tuple[Control, ...]
    placebo: tuple[Control, ...]
    alarm_rate: tuple[float, float]
    """The 95 % interval of the false-alarm rate over all controls (Clopper & Pearson)."""
    repeated: int
    unrepeatable: tuple[str, ...]
    overspent: tuple[str, ...]
    untuned: tuple[str, ...]
    changed_after: tuple[str, ...] = ()
    """Claims whose rule, decision or protocol is not the one that stood when their trials began."""
    unreached: tuple[str, ...] = ()
    """Public functions of the audited files that no claim of the exact or small tier depends on."""

    def survivors(self, kind: str) -> list[Mapping[str, Any]]:
        """Faults of a kind that were tried, that no claim noticed, and that nobody has excused."""
        mine = [one for one in self.faults if one["kind"] == kind and one["ran"]]
        return [one for one in mine if not one["red"] and not one["excused"]]

    @property
    def untried(self) -> int:
        """Faults that there was no time for. Nobody waits for one that is excused, and an equal one reaches nothing."""
        return sum(not one["ran"] and not one["excused"] for one in self.faults)

    def false_alarms(self) -> tuple[int, int]:
        """Controls that came out reproduced, of how many."""
        return _alarms([*self.null_control, *self.placebo])

    @property
    def passed(self) -> bool:
        """Faults caught by claims (95 % of the generated ones) or a named test; no false alarm, repetitions equal."""
        faults = not self.untried and not self.survivors("listed") and not self.survivors("generated")
        return faults and self.caught() >= CAUGHT and not self.false_alarms()[0] and not self.unrepeatable

    def caught(self) -> float:
        """The share that claims catch of the generated faults which change something: a test is second best."""
        real = [one for one in self.faults if one["kind"] == "generated" and (not one["excused"] or one.get("test"))]
        return sum(bool(one["red"]) for one in real) / len(real) if real else 1.0


@dataclass
class Auditor:
    """Audits one paper of `project`; `store` has its rows, and gets those of the null control."""

    paper: Paper
    project: Project
    store: Store
    jobs: int
    minutes: float
    listener: Listener = lambda progress: None
    note: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._rows = self.store.rows(self.paper.slug)
        self._current = plan(self.paper, self.project, Selection())
        self._subjects = {trial.subject: trial.experiment.name for trial in self._current}

    def run(self) -> Audit:
        """The whole audit."""
        null_control, placebo = tuple(self._null_control()), tuple(self._placebo())
        repeated, unrepeatable = self._repeat()
        traces = self.try_faults(self.all_faults(), press=True)  # last, for it takes what time is left
        return Audit(
            paper=self.paper.slug, at=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(self.project.root), seconds=round(time.monotonic() - self._started, 1), repeated=repeated,
            faults=tuple(_record(trace) for trace in traces), toothless=self._toothless(traces),
            null_control=null_control, placebo=placebo, alarm_rate=_alarm_rate([*null_control, *placebo]),
            unrepeatable=unrepeatable, overspent=tuple(self._overspent()), untuned=tuple(self._untuned()),
            changed_after=tuple(self._changed_after()), unreached=tuple(self._unreached()),
        )  # fmt: skip

    # Faults.

    def try_faults(self, faults: Sequence[Faulty], *, press: bool) -> list[Trace]:
        """Every fault run through what it can reach, cheapest first, until something turns red.

        With `press`, claims that no fault has turned red yet are then tried with others that reach them. Tier by tier.
        """
        with tempfile.TemporaryDirectory(prefix="crossexam-audit-") as folder:
            laboratory = Laboratory(Path(folder), self.paper, self.project.root)
            traces = [
                Trace(fault, laboratory.plant(fault, number), self._reach(fault)) for number, fault in enumerate(faults)
            ]
            with Store(laboratory.root / "results") as store:
                for tier in TIERS:
                    while (todo := [one for one in traces if not one.red and one.next(tier)]) and self._time_left():
                        self.note(f"{tier} tier: {len(todo)} of {len(traces)} faults are not caught yet")
                        self._apply(laboratory, store, [(one, one.waiting.pop(0)) for one in todo])
                    while press and (steps := self._pressing(traces, tier)) and self._time_left():
                        self.note(f"{tier} tier: {len(steps)} experiments have claims that nothing has turned red yet")
                        self._apply(laboratory, store, steps)
            for trace in (one for one in traces if one.fault.test and not one.red):
                if self._time_left() and not laboratory.caught_by_test(trace.fault):
                    trace.fault = replace(trace.fault, excused="")  # an excuse that does not hold is none
        return traces

    def _apply(self, laboratory: Laboratory, store: Store, steps: Sequence[tuple[Trace, Experiment]]) -> None:
        """Run some experiments, each with a fault, and note which claims turn red."""
        planned = [
            (trace, experiment, self._trials(trace.copy, laboratory.project, experiment)) for trace, experiment in steps
        ]
        every = [trial for *_, trials in planned for trial in trials]
        self._runner(store, laboratory.project).run(every)
        rows = store.rows()
        for trace, experiment, trials in planned:
            trace.ran.append(experiment.name)
            faulty = {trial.subject: experiment.name for trial in trials}
            mine = [row for row in rows if row.subject in faulty]
            judged = self._judged(mine, faulty)
            trace.red += [one.claim.id for one in judged if one.claim.experiment == experiment.name and _is_red(one)]

    def _judged(self, rows: Sequence[Row], subjects: Mapping[str, str]) -> list[Judgement]:
        """Verdicts with these rows in place of those of their experiments: Holm's correction sees all others."""
        replaced = set(subjects.values())
        others = {subject: name for subject, name in self._subjects.items() if name not in replaced}
        return judge_paper(self.paper, [*self._rows, *rows], {**others, **subjects})

    def _pressing(self, traces: Sequence[Trace], tier: str) -> list[tuple[Trace, Experiment]]:
        """For each experiment with a claim that is green with every fault so far: one more fault, if one is left."""
        red = {name for trace in traces for name in trace.red}
        left = [claim for claim in self.paper.claims if claim.id not in red and self.paper.tier(claim) == tier]
        green = {claim.experiment for claim in left}
        steps: list[tuple[Trace, Experiment]] = []
        for name in sorted(green):
            reaching = [trace for trace in traces if any(one.name == name for one in trace.waiting)]
            if reaching:
                trace = min(reaching, key=lambda one: one.fault.kind != "listed")
                experiment = next(one for one in trace.waiting if one.name == name)
                trace.waiting.remove(experiment)
                steps.append((trace, experiment))
        return steps

    def all_faults(self) -> list[Faulty]:
        """The listed faults, and those made by this audit."""
        texts = {file: (self.paper.folder / file).read_text(encoding="utf-8") for file in self._files()}
        listed = [
            Faulty(one.id, "listed", one.says, one.file, texts[one.file].replace(one.replace, one.by), one.breaks)
            for one in self.paper.faults
        ]
        excused = {one.mutant: one for one in self.paper.excused}
        made: list[Faulty] = []
        for file, text in texts.items():
            for one in sample(mutants(text, self._reached(file)), GENERATED):
                name = one.name if file == "method.py" else f"{Path(file).stem}.{one.name}"
                why = excused.get(name)
                reason, test = (why.why, why.test) if why else ("", "")
                made.append(Faulty(name, "generated", one.diff, file, one.source, excused=reason, test=test))
        return listed + made

    def _reached(self, file: str) -> set[str]:
        """The definitions of a file that audited experiments depend on."""
        module = f"{self.paper.package}.{Path(file).stem}"
        roots = [(f"{self.paper.package}.experiments", experiment.name) for experiment in self._audited()]
        keys = {key for root in roots for key in self.project.digests(root)}
        return {key.partition(":")[2] for key in keys if key.startswith(f"{module}:")}

    def _audited(self) -> list[Experiment]:
        return [experiment for experiment in self.paper.experiments.values() if experiment.tier in TIERS]

    def _reach(self, fault: Faulty) -> list[Experiment]:
        """Audited experiments whose code the fault changes: first those of the claims it names, then by cost."""
        text = (self.paper.folder / fault.file).read_text(encoding="utf-8")
        module = f"{self.paper.package}.{Path(fault.file).stem}"
        changed = {f"{module}:{name}" for name in changed_definitions(text, fault.source)}
        named = {claim.experiment for claim in self.paper.claims if claim.id in fault.breaks}
        reached = [
            experiment
            for experiment in self._audited()
            if changed & self.project.digests((f"{self.paper.package}.experiments", experiment.name)).keys()
        ]
        order = {"exact": 0, "small": 1}
        return sorted(reached, key=lambda one: (order[one.tier], one.name not in named, self._seconds(one), one.name))

    def _seconds(self, experiment: Experiment) -> float:
        """Trial-seconds that an experiment took last time, or may take."""
        newest = {row.subject: row.seconds for row in self._rows if row.experiment == experiment.name}
        return sum(newest.values()) or 60 * experiment.needs.minutes

    def _trials(self, copy: Paper, project: Project, experiment: Experiment) -> list[Trial]:
        """The trials of one experiment of a faulty copy. A fault may make loops endless: the limit is shorter."""
        usual = max((row.seconds for row in self._rows if row.experiment == experiment.name), default=60.0)
        limit = replace(experiment.needs, minutes=min(experiment.needs.minutes, max(20.0, 10 * usual) / 60))
        narrowed = replace(copy, experiments={experiment.name: replace(experiment, needs=limit)})
        return [trial for trial in plan(narrowed, project, Selection()) if not trial.blocked]

    def _runner(self, store: Store, project: Project, jobs: int = 0, share: float = 1.0) -> Runner:
        """A runner that stops when the audit's time is over; all its servers come from one host."""

        def start(modules: set[str]) -> Executor:
            return LocalExecutor(project.root, modules, jobs or self.jobs)

        return Runner(store, project, start, self.listener, until=self._started + 60 * self.minutes * share)

    def _time_left(self, share: float = 1.0) -> bool:
        return time.monotonic() < self._started + 60 * self.minutes * share

    def _toothless(self, traces: Sequence[Trace]) -> tuple[str, ...]:
        """Claims whose experiment was run with faults, and that stayed green with each."""
        ran = {name for trace in traces for name in trace.ran}
        red = {name for trace in traces for name in trace.red}
        return tuple(claim.id for claim in self.paper.claims if claim.experiment in ran and claim.id not in red)

    # Controls.

    def _paired(self) -> list[Claim]:
        """Claims that controls speak of: not those that hold of an arm and itself."""
        return [
            claim
            for claim in self.paper.claims
            if isinstance(claim.rule, PairedRule) and not claim.rule.lenient and self.paper.tier(claim) in TIERS
        ]

    def _null_control(self) -> Iterator[Control]:
        """Each order or effect claim with its baseline on other seeds in the method's place."""
        for claim in self._paired():
            rule, experiment = claim.rule, self.paper.experiments[claim.experiment]
            assert isinstance(rule, PairedRule)
            count, first = experiment.seeds, experiment.first_seed
            narrowed = replace(self.paper, experiments={experiment.name: experiment})
            twice = plan(narrowed, self.project, Selection(seeds=2 * count))
            trials = [trial for trial in twice if trial.arm == rule.baseline and not trial.blocked]
            missing = [trial for trial in trials if not self.store.done(trial.fingerprint)]
            if missing and not self._time_left(CONTROLS):
                yield Control(claim.id, "")
                continue
            rows = self._runner(self.store, self.project, share=CONTROLS).run(trials)
            if len(rows) < len(trials):  # cut off: without the other seeds, older rows of the method would be judged
                yield Control(claim.id, "")
                continue
            other = [
                replace(row, arm=rule.method, seed=row.seed - count, subject=digest(["null", row.subject]))
                for row in rows
                if row.seed >= first + count
            ]
            yield Control(claim.id, self._verdict(claim, [row for row in rows if row.seed < first + count] + other))

    def _placebo(self) -> Iterator[Control]:
        """Each order or effect claim with its baseline, same seeds, in the method's place."""
        for claim in self._paired():
            rule = claim.rule
            assert isinstance(rule, PairedRule)
            rows = [
                row
                for row in self._rows
                if row.subject in self._subjects and row.experiment == claim.experiment and row.arm == rule.baseline
            ]
            twins = [replace(row, arm=rule.method, subject=digest(["placebo", row.subject])) for row in rows]
            yield Control(claim.id, self._verdict(claim, rows + twins))

    def _verdict(self, claim: Claim, rows: Sequence[Row]) -> str:
        subjects = {row.subject: row.experiment for row in rows}
        found = next(one for one in self._judged(rows, subjects) if one.claim.id == claim.id)
        return found.verdict or ""

    # Repetition and housekeeping.

    def _repeat(self) -> tuple[int, tuple[str, ...]]:
        """Run some trials again, with one worker and with two, and name those whose metrics differ in any bit.

        A row of another processor is no measure of that: then the two runs are held against each other.
        """
        by_fingerprint = {row.fingerprint: row for row in self._rows if row.health == "done"}
        rules = [claim.rule for claim in self.paper.claims if isinstance(claim.rule, ResourceRule)]
        timed = {metric for rule in rules for metric in rule.metrics}
        drawn: dict[str, list[Trial]] = {}
        for trial in self._current:
            row = by_fingerprint.get(trial.fingerprint)
            if row and row.seconds <= REPEATED_SECONDS and not trial.builds and not timed & row.metrics.keys():
                drawn.setdefault(trial.experiment.name, []).append(trial)
        generator = random.Random(0)
        trials = [generator.choice(group) for group in drawn.values()]
        trials = generator.sample(trials, min(REPEATED, len(trials)))
        earlier = {trial.name: by_fingerprint[trial.fingerprint] for trial in trials}
        metrics: dict[str, set[str]] = {trial.name: set() for trial in trials}
        again: Counter[str] = Counter()
        for workers in (1, 2):
            with tempfile.TemporaryDirectory(prefix="crossexam-audit-") as folder, Store(Path(folder)) as store:
                rows = self._runner(store, self.project, workers).run(trials)
                stood = {row.name: processor(store.text(row.environment)) for row in rows}
            for row in rows:
                metrics[row.name].add(canonical(row.metrics))
                again[row.name] += 1
                old = earlier[row.name]
                if processor(self.store.text(old.environment)) == stood[row.name]:
                    metrics[row.name].add(canonical(old.metrics))
        repeated = sum(count == 2 for count in again.values())  # the others ran out of time
        return repeated, tuple(sorted(name for name, found in metrics.items() if len(found) > 1))

    def _overspent(self) -> Iterator[str]:
        """Small tiers over five minutes on two cores, and trials near their limit."""
        current = {trial.subject: trial for trial in self._current}
        newest = {row.subject: row for row in self._rows if row.subject in current and row.health == "done"}
        small = sum(row.seconds for row in newest.values() if row.tier == "small")
        if small > SMALL_TIER_SECONDS:
            yield f"small tier: {small:.0f} trial-seconds of {SMALL_TIER_SECONDS}"
        for row in newest.values():
            limit = 60 * current[row.subject].experiment.needs.minutes
            if row.seconds > 0.8 * limit:
                yield f"{current[row.subject].name}: {row.seconds:.0f} s of {limit:.0f}"

    def _untuned(self) -> Iterator[str]:
        """Comparisons whose protocol says that no arm was tuned: a reader should know."""
        for name in sorted({claim.experiment for claim in self._paired()}):
            protocol = self.paper.experiments[name].protocol
            if protocol and protocol.tuning.lower().startswith("none"):
                yield f"{name}: {protocol.tuning}"

    def _unreached(self) -> Iterator[str]:
        """Public functions and classes that no audited experiment depends on."""
        for file in self._files():
            tree = ast.parse((self.paper.folder / file).read_text(encoding="utf-8"))
            names = [one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
            reached = self._reached(file)
            yield from (f"{file}:{name}" for name in names if not name.startswith("_") and name not in reached)

    def _files(self) -> list[str]:
        """The files that are damaged: the method, and those that a listed fault names."""
        return ["method.py", *sorted({fault.file for fault in self.paper.faults} - {"method.py"})]

    def _changed_after(self) -> Iterator[str]:
        """Claims that were changed when their rows were there already."""
        for one in judge_paper(self.paper, self._rows, self._subjects):
            if one.registered == "changed after":
                yield one.claim.id


class Laboratory:
    """A project of faulty copies of one suite; baselines and reference data are those of the real one."""

    def __init__(self, root: Path, paper: Paper, original: Path) -> None:
        self.root, self.paper, self._original = root, paper, original
        self.project = Project(root)
        for package in (one for one in PACKAGES if one != "suites" and (original / one).is_dir()):
            (root / package).symlink_to(original / package, target_is_directory=True)
        (root / "suites").mkdir(parents=True)
        (root / "suites" / "__init__.py").touch()

    def plant(self, fault: Faulty, number: int) -> Paper:
        """A copy of the suite with the fault. It keeps its slug, so that its trials have the seeds of the original."""
        folder = self.root / "suites" / f"{self.paper.folder.name}_{number}"
        shutil.copytree(self.paper.folder, folder, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
        (folder / fault.file).write_text(fault.source, encoding="utf-8")
        for file in folder.glob("*.py"):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(self.paper.package, f"suites.{folder.name}"), encoding="utf-8")
        return replace(self.paper, folder=folder)

    def caught_by_test(self, fault: Faulty) -> bool:
        """Whether the unit test that the fault names fails with it, in a project where the suite itself has it."""
        with tempfile.TemporaryDirectory(prefix="crossexam-audit-") as name:
            folder = Path(name)
            for part in (one for one in (*PACKAGES, "crossexam", "tests") if (self._original / one).is_dir()):
                shutil.copytree(self._original / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "suites" / self.paper.folder.name / fault.file).write_text(fault.source, encoding="utf-8")
            words = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/suites/{fault.test}"]
            done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, check=False)
        return done.returncode == 1


def _alarms(controls: Sequence[Control]) -> tuple[int, int]:
    judged = [one for one in controls if one.verdict]
    return sum(one.verdict == "reproduced" for one in judged), len(judged)


def _alarm_rate(controls: Sequence[Control]) -> tuple[float, float]:
    from scipy.stats import binomtest  # here: showing an audit must not wait for scipy

    alarms, judged = _alarms(controls)
    interval = binomtest(alarms, judged).proportion_ci() if judged else (0.0, 1.0)
    return float(interval[0]), float(interval[1])


def _is_red(one: Judgement) -> bool:
    return one.as_expected is False or one.health in ("error", "timeout")


def _record(trace: Trace) -> dict[str, Any]:
    fault = trace.fault
    return {
        "id": fault.id, "kind": fault.kind, "says": fault.says, "excused": fault.excused, "test": fault.test,
        "ran": trace.ran, "red": trace.red,
    }  # fmt: skip


def as_record(audit: Audit) -> dict[str, Any]:
    """An audit as JSON has it."""
    return asdict(audit)


def from_record(record: Mapping[str, Any]) -> Audit:
    """The audit of `as_record`."""
    controls = {name: tuple(Control(**one) for one in record[name]) for name in ("null_control", "placebo")}
    names = ("faults", "toothless", "unrepeatable", "overspent", "untuned", "alarm_rate", "changed_after")
    tuples = {name: tuple(record[name]) for name in (*names, "unreached") if name in record}
    return Audit(**{**record, **tuples, **controls})
