"""What a trial ran on: the part that its fingerprint holds, and the part that is only written down."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
"""Import names that differ from the name of their distribution."""
ALWAYS = ("numpy", "torch")
COMMIT_FILE = ".crossexam-commit"
"""What a pack's code says of its commit: it lies outside git, or within another project's."""


@functools.cache
def version(module: str) -> str:
    """The installed version of the distribution behind a top-level module; "" for the standard library."""
    from importlib import metadata  # here: listing papers does not wait for it

    name = module.split(".")[0]
    if name in sys.stdlib_module_names:
        return ""
    try:
        return metadata.version(DISTRIBUTIONS.get(name, name))
    except metadata.PackageNotFoundError:
        return "absent"


def libraries(modules: Iterable[str]) -> dict[str, str]:
    """{library: version} of the numeric libraries among `modules`, and of those that always matter."""
    names = {module.split(".")[0] for module in modules} | set(ALWAYS)
    return {name: found for name in sorted(names) if (found := version(name))}


def gpu_name() -> str:
    """The name of the first CUDA device, found without importing torch; "" where there is none.

    CROSSEXAM_GPU names that of a cluster, where the trials run.
    """
    if named := os.environ.get("CROSSEXAM_GPU"):
        return named
    return _gpu()[0]


def gpu_gib() -> float:
    """The memory of the first CUDA device of this machine; 0 where there is none."""
    return _gpu()[1]


@functools.cache
def _gpu() -> tuple[str, float]:
    """Name and GiB, of nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "", 0.0
    name, _, mib = found.splitlines()[0].rpartition(", ") if found else ("", "", "0")
    return name, float(mib) / 1024 if mib.isdecimal() else 0.0


def device_class(*, gpu: bool) -> str:
    """`cpu-x86_64`, or `cuda-nvidia-h200`: machines of one class give the same metrics for the same trial.

    Up to rounding, that is: processors of different makers take different kernels. The environment names them.
    """
    name = f"cuda-{gpu_name()}" if gpu else f"cpu-{platform.machine()}"
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")


def processor(environment: Mapping[str, Any]) -> str:
    """What decides the bits of a trial beside its fingerprint, from the text of an environment."""
    return ", ".join(str(environment[name]) for name in ("cpu", "capability") if name in environment)


@functools.cache
def processor_here() -> str:
    """The same of this machine, found without importing torch: the vector instructions that its kernels would use."""
    return f"{_cpu_model()}, {_capability()}"


def default_jobs() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def commit(root: Path) -> str:
    """The project's commit, with a digest of changed and of untracked code; "" outside git, unless a pack says it."""
    from crossexam.runs.git import GitError, NoGit, git  # here: a trial's own process asks for no commit

    if (root / COMMIT_FILE).is_file():
        return (root / COMMIT_FILE).read_text(encoding="utf-8").strip()
    try:
        head = git(root, "rev-parse", "HEAD").decode().strip()
        changes = [git(root, "diff", "HEAD")]
        names = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py", "*.toml").split(b"\0")
    except (GitError, NoGit):
        return ""
    untracked = [root / os.fsdecode(name) for name in names if name]
    changes += [part for file in untracked if file.is_file() for part in (os.fsencode(file.name), file.read_bytes())]
    return head + (f"+{hashlib.sha256(b''.join(changes)).hexdigest()[:8]}" if any(changes) else "")


def describe(device: Any) -> dict[str, Any]:
    """The environment as the trial's own process sees it. Imports torch."""
    import torch

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _capability() -> str:
    """What torch would call it; "" where the system does not list the processor's instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set[str]())
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"} <= flags:
        return "AVX512"
    return "AVX2" if {"avx2", "fma"} <= flags else "DEFAULT"
