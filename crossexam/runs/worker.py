"""What happens inside a trial's own process: seeds, limits, the call, and a checked result."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import random
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Job = Mapping[str, Any]
"""What the runner asks for: kind ("trial" or "artifact"), function, what it gets (`params` and `paths` all, of `given`
what it takes), limits, and where the result goes."""


class BadMetrics(Exception):
    """An experiment returned something that is not a dict of numbers."""


def perform(job: Job) -> None:
    """Run a job and write its result file, whatever happens inside."""
    started = time.perf_counter()
    try:
        outcome = _call(job)
    except BaseException as error:
        traceback.print_exc()
        outcome = {"health": "error", "cause": describe_error(error)}
    outcome["seconds"] = time.perf_counter() - started
    result = Path(job["result"])
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(result)


def _call(job: Job) -> dict[str, Any]:
    import torch

    import reference  # not before: the project that a trial belongs to comes first on the path only now
    from crossexam.runs.environment import describe

    Path(job["scratch"]).mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = job["scratch"]
    if job["memory_gib"] is not None:
        limit_memory(job["memory_gib"])
    device = torch.device("cuda" if job["gpu"] else "cpu")
    if 0 < job["gpus"] < 1:
        torch.cuda.set_per_process_memory_fraction(job["gpus"])  # others have the rest
    seed_everything(job["seeded_by"], job["function"], job["given"].get("seed", 0))
    torch.set_num_threads(job["threads"])
    # Not use_deterministic_algorithms: that imports torch's compiler, 900 modules and seconds in every trial.
    torch.set_deterministic_debug_mode("error")
    function = getattr(importlib.import_module(job["module"]), job["function"])
    arguments = {**job["params"], **{name: Path(path) for name, path in job["paths"].items()}}
    with reference.only(job["data"]):
        returned = function(**arguments, **wanted(function, {**job["given"], "device": device}))
    if job["kind"] == "artifact":
        _keep(returned, Path(job["artifact"]))
        return {"health": "done"}
    environment = {**describe(device), "libraries": job["libraries"], "commit": job["commit"]}
    return {"health": "done", "metrics": check_metrics(returned), "environment": environment}


def wanted(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of arm, seed and device that a function takes: all, if it takes any others (`**params`)."""
    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return dict(given)
    return {name: value for name, value in given.items() if name in parameters}


def seed_everything(name: str, function: str, seed: int) -> None:
    """Seed Python, NumPy and torch from a hash, the same for every arm and point of the grid: trials are paired.

    `name` is the paper; of an artifact of the shared ground it is the function's own place, whoever builds it first.
    """
    import numpy
    import torch

    derived = int.from_bytes(hashlib.sha256(f"{name}/{function}/{seed}".encode()).digest()[:4], "big")
    random.seed(derived)
    numpy.random.seed(derived)
    torch.manual_seed(derived)


def limit_memory(gib: float) -> None:
    """Bound what this process may allocate beyond what importing torch took, so that it fails in itself."""
    taken = _data_bytes()
    if taken:
        limit = taken + int(gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _data_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # no /proc: the watchdog of the runner still holds the time limit
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), 0)


def check_metrics(returned: object) -> dict[str, float | list[float]]:
    """The metrics as plain floats. Raises BadMetrics for a wrong type, NaN or infinity: neither ever passes."""
    if not isinstance(returned, Mapping) or not returned:
        raise BadMetrics(f"the experiment returned {type(returned).__name__}, not a non-empty dict of metrics")
    return {_name(name): _number(name, value) for name, value in returned.items()}


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise BadMetrics(f"the metric name {name!r} is not a string")
    return name


def _number(name: object, value: object) -> float | list[float]:
    if isinstance(value, list | tuple):
        numbers = [_number(name, item) for item in value]
        if not numbers or any(isinstance(number, list) for number in numbers):
            raise BadMetrics(f"metric '{name}' is an empty or nested list")
        return numbers  # type: ignore[return-value]
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise BadMetrics(f"metric '{name}' is {type(value).__name__} {value!r:.60}, not a number") from None
    if isinstance(value, str) or not math.isfinite(number):
        raise BadMetrics(f"metric '{name}' is {value!r}, not a finite number")
    return number


def describe_error(error: BaseException) -> str:
    """One line: what went wrong, and the innermost line of project code that it went through."""
    text = str(error).strip().splitlines()
    cause = f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
        cause = f"out of memory ({cause}): raise needs.memory_gib or use a smaller size"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if f"{os.sep}suites{os.sep}" in frame.filename]
    if inside:
        cause += f" ({Path(inside[-1].filename).name}:{inside[-1].lineno})"
    # Half characters, which file names can bring into messages, could neither be stored nor printed.
    return cause.encode("utf-8", "backslashreplace").decode("utf-8")


def _keep(tensors: object, target: Path) -> None:
    """Write an artifact whole or not at all."""
    from safetensors.torch import save_file

    if not isinstance(tensors, dict) or not tensors:
        raise BadMetrics(f"the artifact returned {type(tensors).__name__}, not a non-empty dict of tensors")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
    partial.rename(target)
