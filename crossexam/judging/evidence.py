"""Which rows speak for a claim: those of this machine, or those that are committed with the project.

Only rows of the code as it stands count, on the kind of device that the experiment needs. They fall into groups of one
setting (libraries and device class) and one processor, and one group speaks for all claims of an experiment: arms of
one seed are never compared across processors. This machine's rows and committed ones of the same setting and processor
are one group, for they are the same to the bit. Of the groups there speaks

1. one with rows of this machine that covers the experiment, or that has a failed trial: who has run it here, and seen
   it fail, is not told that it passed elsewhere;
2. else the one with the most finished trials; among equals one with rows of this machine, then one of this machine's
   setting, then the newest.

So committed rows count wherever this machine has none, or has only begun; taken with other versions of libraries they
are evidence all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crossexam.runs.rows import Row


@dataclass(frozen=True)
class Source:
    """Whose rows a verdict rests on."""

    own: int
    """Trials that this machine measured."""
    committed: int
    """Trials whose committed row counts."""
    device: str
    processor: str
    """As "AMD EPYC, AVX512"; empty where the rows do not say."""
    day: str
    """The newest row's, UTC, ISO 8601."""


@dataclass
class Group:
    """Rows of one setting and one processor, one a trial."""

    setting: str
    processor: str
    rows: dict[str, Row] = field(default_factory=dict)
    """{subject: the row that counts}."""
    own: set[str] = field(default_factory=set)
    """Subjects whose row is this machine's."""

    def add(self, row: Row, *, own: bool) -> None:
        """A finished row stays until a newer finished one comes; one of this machine goes before a committed one."""
        old = self.rows.get(row.subject)
        if old is None or row.health == "done" or old.health != "done":
            self.rows[row.subject] = row
            (self.own.add if own else self.own.discard)(row.subject)

    @property
    def done(self) -> int:
        return sum(row.health == "done" for row in self.rows.values())

    @property
    def newest(self) -> str:
        return max(row.started for row in self.rows.values())

    @property
    def source(self) -> Source:
        device = next(iter(self.rows.values())).device
        return Source(len(self.own), len(self.rows) - len(self.own), device, self.processor, self.newest[:10])


def speaking(
    own: Iterable[Row], committed: Iterable[Row], wanted: int, preferred: str, processors: Mapping[str, str]
) -> Group | None:
    """The group that speaks for an experiment, by the rules above; None without any row.

    Args:
        own, committed: rows of the experiment as the code stands, oldest first.
        wanted: how many trials the experiment has.
        preferred: the setting of this machine.
        processors: {digest of an environment: processor}. Those that are unknown count as one.
    """
    groups: dict[tuple[str, str], Group] = {}
    own = list(own)
    here = {row.setting: processors[row.environment] for row in own if row.environment in processors}
    for rows, mine in ((committed, False), (own, True)):
        for row in rows:
            # A trial that was killed has not told where it ran; one of this machine ran where its others did.
            key = row.setting, processors.get(row.environment, here.get(row.setting, "") if mine else "")
            groups.setdefault(key, Group(*key)).add(row, own=mine)

    def rank(group: Group) -> tuple[bool, int, bool, bool, str]:
        failed = any(group.rows[subject].health != "done" for subject in group.own)
        speaks = bool(group.own) and (failed or len(group.rows) >= wanted)
        return speaks, group.done, bool(group.own), group.setting == preferred, group.newest

    return max(groups.values(), key=rank, default=None)
