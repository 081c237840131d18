"""`--costs FILE`: what the losses cost beside cross-entropy, in the small file that the report draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from crossexam.runs.environment import device_class


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--costs", type=Path, help="write time and memory of each loss to this file (with --benchmark-enable)"
    )


@pytest.fixture(scope="session")
def costs(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, Any]]]:
    """{loss: {"seconds": [lower quartile, median, upper quartile], "peak_mib": ...}}, written when all have run."""
    found: dict[str, dict[str, Any]] = {}
    yield found
    file: Path | None = request.config.getoption("--costs", default=None)
    if file and found:
        where = {"device": device_class(gpu=False), "torch": torch.__version__.partition("+")[0]}
        file.write_text(json.dumps({**where, "losses": found}, indent=1) + "\n", encoding="utf-8")
