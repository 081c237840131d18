"""What a person sees of a pack: what it holds, what it would run, what it leaves out; and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crossexam.showing.show_runs import counted, duration
from crossexam.showing.terminal import say, table

if TYPE_CHECKING:
    from crossexam.watching.pack import Pack
    from crossexam.watching.packed import Outcome

MIB = 1 << 20


def pack(made: Pack, folder: Path, seconds: float) -> None:
    """A line for each experiment that it would run, in order, and for each that it leaves out."""
    rows = []
    for one in made.runs:
        about = f"{'' if one['known'] else 'up to '}{duration(one['seconds'])}"
        rows.append((f"{one['paper']}/{one['experiment']}", one["tier"], str(len(one["subjects"])), about,
                     "if time is left" if one["spare"] else "", ", ".join(one["sets"])))  # fmt: skip
    table(rows, ("experiment", "tier", "trials", "time", "", "data"), drop=(4, 1, 5))
    spare = {(one["paper"], one["experiment"]) for one in made.runs if one["spare"]}
    reasons: dict[str, list[str]] = {}
    for left in made.left:
        if (left.paper, left.experiment) not in spare:
            reasons.setdefault(left.why, []).append(f"{left.paper}/{left.experiment}")
    for why, names in reasons.items():
        say(f"Left out: {', '.join(names)}: {why}")
    if made.packages and not made.wheels:
        say(f"That machine's Python needs {', '.join(made.packages)}, or pack with --wheels.")
    if made.uncommitted:
        say(f"With uncommitted changes in {', '.join(made.uncommitted)}.")
    if made.untracked:
        say(f"Not in it, for git does not track it: {', '.join(made.untracked)}.")
    sets = ", ".join(f"{name} {size / MIB:.1f}" for name, size in made.sets.items()) or "none"
    say(f"{folder}: {made.bytes / MIB:.1f} MiB (data: {sets}), made in {duration(seconds)}. On that machine:")
    say(f"    bash {folder.name}/run.sh rows.jsonl")


def outcome(found: Outcome, rows: Path) -> None:
    """What ran, what did not, and where the rows are."""
    for line in found.failed:
        say(f"failed: {line}")
    for line in found.blocked:
        say(f"blocked: {line}")
    if found.strangers:
        say(f"{counted(found.strangers, 'trial')} of the pack are not those of the code and data here: pack it again")
    say(f"{found.done} trials done, {len(found.failed)} failed, {found.left} left for want of time: {rows}")
    say("    crossexam import rows.jsonl")
