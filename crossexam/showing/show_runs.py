"""What a person sees before, during and after a run: what it will do, how far it is, what it left out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crossexam.runs.plan import Trial
from crossexam.showing.terminal import say, table

if TYPE_CHECKING:
    from crossexam.judging.judge import Judgement
    from crossexam.runs.placement import Placement
    from crossexam.runs.rows import Row
    from crossexam.runs.runner import Progress
    from crossexam.watching.choice import Choice

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
BAR = 20
"""Columns of the bar of a run."""


def duration(seconds: float) -> str:
    """A length of time as a person says it: two figures are enough for what is a forecast."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def day(text: str) -> str:
    """An ISO date as a person writes it, whatever the locale."""
    if not text:
        return "on an unknown day"
    parsed = date.fromisoformat(text[:10])
    return f"{parsed.day} {MONTHS[parsed.month - 1]} {parsed.year}"


def counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def machine(device: str) -> str:
    """A device class in short: x86-64, nvidia-h100."""
    return device.removeprefix("cpu-").removeprefix("cuda-").replace("x86_64", "x86-64")


def whose(rows: Iterable[Row]) -> str:
    """Where committed rows come from: "x86-64, 26 November 2026"."""
    found = list(rows)
    devices = ", ".join(sorted({machine(row.device) for row in found}))
    return f"{devices}, {day(max((row.started for row in found), default=''))}"


def evidence(judgements: Sequence[Judgement]) -> list[str]:
    """Whose rows verdicts rest on, a line for each kind of machine with committed rows."""
    by_place: dict[tuple[str, str], list[Judgement]] = {}
    for one in judgements:
        if one.source and one.source.committed:
            by_place.setdefault((one.source.device, one.source.processor), []).append(one)
    lines = []
    for (device, processor), group in sorted(by_place.items()):
        newest = max(one.source.day for one in group if one.source)
        partly = sum(bool(one.source and one.source.own) for one in group)
        rest = f"; of {partly} some trials were measured here" if partly else ""
        place = ", ".join(filter(None, (processor, machine(device), day(newest))))
        lines.append(f"{counted(len(group), 'claim')} on rows that are committed ({place}){rest}")
    return lines


def plan(choice: Choice) -> None:
    """A line for each experiment: what of it is known, blocked or to be run, and how long that takes."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in choice.trials:
        groups.setdefault((trial.paper.slug, trial.experiment.name), []).append(trial)
    rows = []
    obstacles: dict[str, list[str]] = {}
    blocked = {trial.fingerprint for trial in choice.blocked}
    for (slug, name), group in groups.items():
        cached = sum(trial.fingerprint in choice.cached for trial in group)
        committed = sum(trial.fingerprint in choice.committed for trial in group)
        stuck = [trial for trial in group if trial.fingerprint in blocked]
        waiting = [trial for trial in group if trial.fingerprint in choice.jobs]
        about = duration(sum(choice.costs.seconds(trial) for trial in waiting)) if waiting else ""
        limit = "" if all(choice.costs.known(trial) is not None for trial in waiting) else "up to "
        numbers = map(str, (len(group), cached, committed, len(stuck), len(waiting)))
        rows.append((f"{slug}/{name}", group[0].experiment.tier, *numbers, f"{limit}{about}"))
        if stuck:
            obstacles.setdefault(stuck[0].blocked, []).append(f"{slug}/{name}")
    header = ("experiment", "tier", "trials", "cached", "committed", "blocked", "to run", "time")
    table(rows, header, drop=(2, 3, 1))
    for obstacle, names in obstacles.items():
        say(f"{', '.join(names)}: blocked: {obstacle}")
    left_out(choice)


def opening(choice: Choice) -> str:
    """What a run will do, in one line."""
    artifacts = len(choice.jobs) - len(choice.running)
    parts = []
    if choice.running:
        with_artifacts = f" and {counted(artifacts, 'artifact')}" if artifacts else ""
        about = "about " if choice.known else "up to "
        why = "" if choice.known else ", the limits of what has not run before"
        parts.append(
            f"{counted(len(choice.running), 'trial')}{with_artifacts} to run, {about}{duration(choice.seconds)}{why}"
        )
    else:
        parts.append("nothing to run")
    keys = {trial.fingerprint for trial in choice.trials}
    if cached := len(choice.cached & keys):
        parts.append(f"{cached} cached")
    if committed := [row for key, row in choice.committed.items() if key in keys]:
        parts.append(f"{len(committed)} committed ({whose(committed)}; --own runs them here)")
    if blocked := len(choice.blocked):
        parts.append(f"{blocked} blocked")
    return "; ".join(parts)


def left_out(choice: Choice) -> None:
    """What of the full tier does not run, how long it would take, and the command for it."""
    by_paper: dict[str, list[Any]] = {}
    for one in choice.left:
        by_paper.setdefault(one.paper, []).append(one)
    for slug, some in by_paper.items():
        seconds, trials = sum(one.seconds for one in some), sum(one.trials for one in some)
        about = "about" if all(one.known for one in some) else "up to"
        names = ", ".join(one.experiment for one in some)
        say(f"Left out, of the full tier: {names} ({counted(trials, 'trial')}, {about} {duration(seconds)}):")
        say(f"    crossexam run {slug} --tier full")


def left_record(choice: Choice) -> list[dict[str, Any]]:
    return [vars(one) for one in choice.left]


def placement(found: Placement) -> None:
    """What each node of a cluster would run."""
    rows = []
    for load in found.loads:
        gpus = f"{load.node.gpus:g} {load.node.kind}".strip() if load.node.gpus else ""
        rows.append((load.node.name, f"{load.node.cpus:g}", gpus, str(load.trials.total()), f"{load.minutes:.1f}"))
    table(rows, ("node", "CPUs", "GPUs", "trials", "minutes in all"))
    for name, reason in found.impossible.items():
        say(f"{name} runs nowhere: {reason}")
    say(f"done after {found.minutes:.1f} minutes, if trials take as long as before (their limit where none ran)")


def placement_record(found: Placement) -> dict[str, Any]:
    """The same as data."""
    loads = [
        {"node": load.node.name, "trials": dict(sorted(load.trials.items())), "minutes": load.minutes}
        for load in found.loads
    ]
    return {"nodes": loads, "minutes": found.minutes, "impossible": dict(found.impossible)}


def trial_record(trial: Trial, choice: Choice) -> dict[str, Any]:
    key = trial.fingerprint
    known = "cached" if key in choice.cached else "committed" if key in choice.committed else ""
    return {
        "trial": trial.name,
        "fingerprint": key,
        "tier": trial.experiment.tier,
        "state": known or ("blocked" if trial.blocked else "to run"),
        "blocked": trial.blocked,
        "minutes": trial.experiment.needs.minutes,
        "seconds": choice.costs.known(trial),
    }


class Live:
    """The display of a running run: one line that is drawn again on a terminal, one line per trial elsewhere."""

    def __init__(self, *, quiet: bool, each_trial: bool = True) -> None:
        self._quiet = quiet
        self._each_trial = each_trial
        self._shown: Any = None
        self._progress: Progress | None = None
        self._began = time.monotonic()
        self._counted = 0

    def __enter__(self) -> Live:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console  # here: what only prints does not wait for it
            from rich.live import Live as Drawn
            from rich.text import Text

            console = Console(stderr=True, highlight=False)

            def line() -> Text:
                return Text(self._line(console.width - 1), no_wrap=True, overflow="crop")

            self._shown = Drawn(get_renderable=line, console=console, transient=True, refresh_per_second=4)
            self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()

    def note(self, line: str) -> None:
        """Say in one line what comes next."""
        if self._shown is not None:
            self._shown.console.print(line, markup=False)
        elif not self._quiet:
            self._print(line)

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        self._progress = progress
        if self._shown is not None or self._quiet or not self._each_trial:
            return
        if progress.last is not None and progress.done + progress.failed > self._counted:
            self._counted = progress.done + progress.failed
            row = progress.last
            left = f", {duration(progress.left())} left" if progress.ended < progress.total else ""
            self._print(f"[{progress.ended}/{progress.total}] {row.health} {row.name} {row.seconds:.2f} s{left}")

    def _line(self, width: int) -> str:
        return progress_line(self._progress, time.monotonic() - self._began, width) if self._progress else "starting"

    def _print(self, line: str) -> None:
        """A reader that has closed the pipe, as `head` does, ends the display and not the run."""
        try:
            print(line, file=sys.stderr, flush=True)
        except BrokenPipeError:
            self._quiet = True
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def progress_line(progress: Progress, elapsed: float, width: int) -> str:
    """How far a run is, as much as fits: parts are left out whole, those that say least first."""
    count = f"{progress.ended}/{progress.total}"
    counts = [(progress.failed, "failed"), (progress.cached, "cached"), (progress.committed, "committed"),
              (progress.blocked, "blocked")]  # fmt: skip
    filled = BAR * progress.ended // max(progress.total, 1)
    minutes, seconds = divmod(int(elapsed), 60)
    now = list(progress.running.values())
    parts = [  # (order on the line, worth, text)
        (1, 0, count),
        (4, 1, f"about {duration(progress.left())} left" if now else ""),
        (3, 2, f"{minutes}:{seconds:02}"),
        (5, 3, ", ".join(f"{number} {name}" for number, name in counts if number)),
        (0, 4, "━" * filled + "╌" * (BAR - filled)),
        (6, 5, f"now {', '.join(now)}" if now else ""),
        (6, 6, f"{len(now)} running" if now else ""),
        (7, 7, progress.place),
    ]
    taken: list[tuple[int, str]] = []
    for order, _, text in sorted(parts, key=lambda part: part[1]):
        if text and order not in [place for place, _ in taken]:
            line = "  ".join(part for _, part in sorted([*taken, (order, text)]))
            if len(line) <= width:
                taken.append((order, text))
    return "  ".join(part for _, part in sorted(taken))
