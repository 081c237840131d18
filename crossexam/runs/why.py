"""Why a trial would run again: what in its fingerprint differs from its last row."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossexam.facts.paper import Paper
from crossexam.runs.committed import counted_rows
from crossexam.runs.plan import Selection, Trial, matching, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.source import Project
from crossexam.runs.store import Store


@dataclass(frozen=True)
class Explanation:
    """Why a trial would run again, or would not."""

    trial: Trial
    state: str
    differences: tuple[str, ...] = ()


def why(papers: Sequence[Paper], project: Project, store: Store, text: str) -> list[Explanation]:
    """Explain every trial whose name or fingerprint begins with `text`."""
    found: list[Explanation] = []
    text_of = functools.cache(store.text)  # trials of an experiment have one code
    for paper in papers:
        trials = matching(plan(paper, project, Selection()), text)
        done = store.finished(trial.fingerprint for trial in trials)
        committed = counted_rows(project.root, paper.slug)
        known = [*committed, *store.rows(paper.slug)]
        earlier = _by_trial(known) if len(done) < len({one.fingerprint for one in trials}) else {}
        standing = {row.subject: row for row in committed if row.health == "done"}
        for trial in trials:
            if trial.fingerprint in done:
                found.append(Explanation(trial, "cached: a finished row has this fingerprint"))
            elif row := standing.get(trial.subject):
                told = f"committed: measured on {row.device}, {row.started[:10]}; `run --own` measures it here"
                found.append(Explanation(trial, told))
            else:
                found.append(_explain(trial, earlier.get(_key(trial), []), text_of))
    return found


Key = tuple[str, str, int, str]
Texts = Callable[[str], Mapping[str, str]]


def _by_trial(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """The rows of each trial, oldest first."""
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault((row.experiment, row.arm, row.seed, canonical(row.params)), []).append(row)
    return found


def _key(trial: Trial) -> Key:
    return trial.experiment.name, trial.arm, trial.seed, canonical(trial.params)


def _explain(trial: Trial, same: Sequence[Row], text_of: Texts) -> Explanation:
    """Why a trial would run that has no finished row; `same` are the rows that it had."""
    if trial.blocked:
        return Explanation(trial, f"blocked: {trial.blocked}")
    if not same:
        return Explanation(trial, "runs: it has never been run")
    if same[-1].fingerprint == trial.fingerprint:
        return Explanation(trial, f"runs: its last attempt ended as {same[-1].health}: {same[-1].cause}")
    last = next((row for row in reversed(same) if row.health == "done"), same[-1])
    return Explanation(trial, "runs: its fingerprint has changed", tuple(differences(trial, last, text_of)))


def differences(trial: Trial, row: Row, text_of: Texts) -> list[str]:
    """The parts that differ between a trial as it stands and the row that it had, code by definition."""
    lines = []
    for name in sorted(trial.parts.keys() | row.parts.keys()):
        then, now = row.parts.get(name, "absent"), trial.parts.get(name, "absent")
        if then == now:
            continue
        if name == "code":
            lines += code_differences(text_of(then), trial.code)
        else:
            lines.append(f"{name}: {then} -> {now}")
    return lines


def code_differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has changed between two texts of code, {definition: digest}; without the first, only that."""
    if not then:
        return ["code: differs (the row came without its list of definitions)"]
    both = then.keys() & now.keys()
    kinds = {
        "changed": {key for key in both if then[key] != now[key]},
        "new": now.keys() - both,
        "gone": then.keys() - both,
    }
    return [f"code {kind}: {key}" for kind, keys in kinds.items() for key in sorted(keys)]
