"""The experiments of crossmaps: each measures and returns metrics; the rules that judge them are in paper.toml."""

from __future__ import annotations

from suites.crossmaps.exact import channels, composition, encodings, refusals, splitting, totals
from suites.crossmaps.on_tables import demos, division, faults, indstat, occupations, speed
