"""A row: what one trial measured, with its whole environment. Rows are facts and never change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = 2
"""Version of the row's fields. Raise it with what `from_json` makes of older ones.

1: without `registered`. 2: as it is here.
"""

Health = Literal["done", "error", "timeout", "blocked"]
Metrics = Mapping[str, float | list[float]]


@dataclass(frozen=True)
class Row:
    """One trial's outcome. `fingerprint` = hash of `subject` (what was asked) and `setting` (on what it ran)."""

    paper: str
    experiment: str
    arm: str
    seed: int
    params: Mapping[str, Any]
    tier: str
    subject: str
    setting: str
    fingerprint: str
    device: str
    health: Health
    metrics: Metrics = field(default_factory=dict)
    cause: str = ""
    """Why it is not done, in one line that a person can act on."""
    tail: str = ""
    """The end of what the trial printed."""
    started: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    peak_memory_gib: float = 0.0
    parts: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the fingerprint is made of."""
    environment: str = ""
    """Digest of the environment; the store keeps its text."""
    registered: Mapping[str, str] = field(default_factory=dict)
    """{claim: digest of its rule, decision and protocol} as they stood when the trial began; empty in older rows."""

    @property
    def id(self) -> str:
        """A digest of all fields: the same row imported twice is the same row, whatever schema it was written in."""
        fields = asdict(self)
        return digest(fields if self.registered else {k: v for k, v in fields.items() if k != "registered"})

    @property
    def name(self) -> str:
        """The trial's, readable."""
        return trial_name(self.paper, self.experiment, self.arm, self.params, self.seed)

    def as_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Row:
        """The row of a record of this or an earlier schema. Raises ValueError for any other."""
        if record.get("schema") not in range(1, SCHEMA + 1):
            raise ValueError(f"a row of schema {record.get('schema')!r}; this version reads schemas up to {SCHEMA}")
        return Row(**{name: value for name, value in record.items() if name != "schema"})


def trial_name(paper: str, experiment: str, arm: str, params: Mapping[str, Any], seed: int) -> str:
    """A trial's name: readable, and unique within a plan."""
    point = ",".join(f"{key}={value}" for key, value in params.items())
    return f"{paper}/{experiment}/{arm}{f'[{point}]' if point else ''}#{seed}"


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=dict).encode


def canonical(value: Any) -> str:
    """One text for one value, so that equal values have equal digests."""
    return _encode(value)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]
