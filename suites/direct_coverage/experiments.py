"""The experiments of direct-coverage: each measures and returns metrics; the rules that judge them are in paper.toml."""

from __future__ import annotations

from suites.direct_coverage.toy import toy

__all__ = ["toy"]
