"""Jobs on a Ray cluster: the same rows as on one machine. Ray is imported here and nowhere else.

On each node one process per job slot keeps a `LocalExecutor`, so that a trial is isolated there as it is here: its own
process, forked from a server that has torch imported, under the same limits. The driver alone writes the store. Code
travels as a runtime environment that Ray names by the content of the tree; artifacts and data sets travel by what they
are: through the object store, once a node, and data are verified where they arrive.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError

from crossexam.runs.executors import LocalExecutor, Outcome
from crossexam.runs.host import ENVIRONMENT
from crossexam.runs.placement import SPARE_GIB, Gpu, Node
from reference.catalog import cache_folder, get

LOST_TIMES = 3
"""How often a job that is lost with its node is started again."""
SHIPPED_GIB = 8.0
"""Largest data set that is sent to a node; a larger one has to lie there."""
LEFT_OUT = [".git", ".nox", ".tox", "results", "site", "**/__pycache__", "*.egg-info"]
KIND = "accelerator_type:"
"""How Ray names the resource that a node with such GPUs has."""


@dataclass
class _Sent:
    """A job on the cluster."""

    job: dict[str, Any]
    lost: int = 0


class RayExecutor:
    """Runs jobs on the cluster at `address`: "auto", "ray://host:10001", or "local" to start one here.

    Raises ConnectionError where there is none.
    """

    def __init__(self, root: Path, modules: Collection[str], address: str = "auto", gpu: Gpu | None = None) -> None:
        connect(address, root)
        self._gpu = gpu
        self.gpu_gib = gpu.gib if gpu else 0.0
        self._modules = sorted(modules)
        self._jobs: dict[int, _Sent] = {}
        self._running: dict[Any, int] = {}
        self._artifacts: dict[str, Any] = {}
        self._data: dict[str, Any] = {}
        self._next = 0

    @property
    def capacity(self) -> int:
        """CPUs of all nodes, as they are now: nodes come and go."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return int(ray.cluster_resources().get("GPU", 0))

    def describe(self) -> str:
        """Nodes and what of them is in use, for a person."""
        return offer()

    def start(self, job: dict[str, Any]) -> int:
        self._next += 1
        self._jobs[self._next] = _Sent(job)
        self._submit(self._next)
        return self._next

    def _submit(self, number: int) -> None:
        job = self._jobs[number].job
        task = _perform.options(**resources(job, self._gpu))
        artifacts = {name: self._artifact(path) for name, path in job["paths"].items()}
        data = {name: self._data_set(name) for name in job["data"]}
        self._running[task.remote(job, self._modules, artifacts, data)] = number

    def _artifact(self, path: str) -> tuple[str, Any]:
        """An artifact's name, and its bytes in the object store: put there once."""
        if path not in self._artifacts:
            self._artifacts[path] = ray.put(Path(path).read_bytes())
        return Path(path).name, [self._artifacts[path]]

    def _data_set(self, name: str) -> Any:
        """The files of a data set in the object store, for nodes that lack it; None where nothing is to be sent."""
        entry = get(name)
        if not entry.files:
            return None
        if name not in self._data:
            folder = entry.require()
            size = sum((folder / file.name).stat().st_size for file in entry.files)
            sent = size <= SHIPPED_GIB * 2**30
            self._data[name] = (
                [(file.name, ray.put((folder / file.name).read_bytes())) for file in entry.files] if sent else None
            )
        return self._data[name]

    def wait(self, seconds: float) -> list[Outcome]:
        if not self._running:
            return []
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        more, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        outcomes = [self._collect(reference) for reference in {*ended, *more}]
        return [outcome for outcome in outcomes if outcome is not None]

    def _collect(self, reference: Any) -> Outcome | None:
        number = self._running.pop(reference)
        sent = self._jobs[number]
        try:
            found, artifact = ray.get(reference)
        except TaskCancelledError:
            del self._jobs[number]
            return Outcome(number, "error", "it was cancelled")
        except RayError as error:  # its worker or its node is gone
            sent.lost += 1
            if sent.lost <= LOST_TIMES:
                self._submit(number)
                return None
            del self._jobs[number]
            reason = str(error).strip().splitlines()[0][:200]
            return Outcome(number, "error", f"lost with its node {sent.lost} times: {type(error).__name__}: {reason}")
        del self._jobs[number]
        if artifact is not None:
            _keep(artifact, Path(sent.job["artifact"]))
        return Outcome(**{**found, "id": number})

    def close(self) -> None:
        for reference in self._running:
            ray.cancel(reference, force=True)
        leave()


def connect(address: str, root: Path) -> None:
    """Join the cluster, or start one here for "local", with the project's tree as the code of its tasks.

    Ray names the tree by its content and sends it once a node. Raises ConnectionError where there is no cluster.
    """
    if ray.is_initialized():
        return
    if address not in ("auto", "local"):
        _reach(address)
    here = str(Path(__file__).resolve().parents[2])  # for a project that has no harness of its own
    environment = {
        "working_dir": str(root), "excludes": LEFT_OUT, "env_vars": {**ENVIRONMENT, "PYTHONPATH": here},
    }  # fmt: skip
    try:
        ray.init(
            None if address == "local" else address, runtime_env=environment, log_to_driver=False,
            logging_level=logging.ERROR,
        )  # fmt: skip
    except (ConnectionError, RayError, OSError) as error:
        raise ConnectionError(f"no Ray cluster at '{address}': {error}") from error
    sys.stdout = sys.stderr  # Ray prints what happens to nodes; standard output is for results, after `leave`


def _reach(address: str) -> None:
    """Raise ConnectionError unless somebody listens there: Ray would try for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Ray cluster at '{address}': {error}") from error


def leave() -> None:
    """Part from the cluster."""
    ray.shutdown()
    sys.stdout = sys.__stdout__


def offer() -> str:
    """Nodes, and how many of their CPUs and GPUs are in use."""
    total, free = ray.cluster_resources(), ray.available_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    parts = [
        f"{int(total[kind] - free.get(kind, 0))}/{int(total[kind])} {kind}s" for kind in ("CPU", "GPU") if kind in total
    ]
    return ", ".join([f"{nodes} nodes", *parts])


def resources(job: dict[str, Any], gpu: Gpu | None) -> dict[str, Any]:
    """What Ray must set aside for a job; those that need a GPU all get one of the same type."""
    kind = gpu.kind if gpu and job["gpu"] else ""
    return {
        "num_cpus": job["threads"], "num_gpus": job["gpus"], "memory": int((job["memory_gib"] + SPARE_GIB) * 2**30),
        "max_retries": 0, "accelerator_type": kind or None,
    }  # fmt: skip


def nodes() -> list[Node]:
    """The living nodes and what each has in all."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            kind = next((name.removeprefix(KIND) for name in has if name.startswith(KIND)), "")
            name, gib = node["NodeManagerHostname"], has.get("memory", 0) / 2**30
            found.append(Node(f"{name} {node['NodeID'][:6]}", has.get("CPU", 0), has.get("GPU", 0), gib, kind))
    return sorted(found, key=lambda node: node.name)


def kind_of(kinds: Collection[str], wanted: str) -> str:
    """The type of GPU to use: rows of two types are not of one machine class, so one has to be chosen.

    Raises ConnectionError where that is not possible.
    """
    known = ", ".join(sorted(kinds)) or "none"
    if wanted and wanted not in kinds:
        raise ConnectionError(f"it has no GPU of the type '{wanted}': its types are {known}")
    if len(kinds) > 1 and not wanted:
        raise ConnectionError(f"it has GPUs of several types: choose with --accelerator one of {known}")
    return wanted or next(iter(kinds), "")


def gpu_of(address: str, root: Path, wanted: str = "") -> Gpu | None:
    """The cluster's GPU, of the type that is wanted, as nvidia-smi names it on a node that has one; None without any.

    Raises ConnectionError where there is no cluster, no such type, or a choice to be made.
    """
    connect(address, root)
    kinds = {node.kind for node in nodes() if node.gpus and node.kind}
    kind = kind_of(kinds, wanted)
    if not ray.cluster_resources().get("GPU"):
        return None
    name, memory = ray.get(_gpu.options(num_gpus=0.01, accelerator_type=kind or None).remote())
    return Gpu(name, memory / 1024, kind)


@ray.remote
def _gpu() -> tuple[str, float]:
    """Name and MiB of the first GPU of a node."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    name, _, memory = line.rpartition(", ")
    return name, float(memory)


_here: dict[str, LocalExecutor] = {}
"""The executors of this worker process by the GPU that Ray has lent it: it is used again for the next job, and its fork
server is warm."""


@ray.remote
def _perform(
    job: dict[str, Any], modules: list[str], artifacts: dict[str, tuple[str, list[Any]]], data: dict[str, Any]
) -> tuple[dict[str, Any], bytes | None]:
    """On a node: run a job isolated, and return its outcome and, for an artifact, the bytes of what it built."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if gpu not in _here:
        _here[gpu] = LocalExecutor(Path.cwd(), modules, 1)
    executor = _here[gpu]
    for name, files in data.items():
        receive(name, files)
    with tempfile.TemporaryDirectory(prefix="crossexam-node-") as scratch:
        paths = {name: str(Path(scratch) / file) for name, (file, _) in artifacts.items()}
        for name, (_, content) in artifacts.items():
            Path(paths[name]).write_bytes(ray.get(content[0]))
        local = {**job, "paths": paths}
        if job["kind"] == "artifact":
            local["artifact"] = str(Path(scratch) / Path(job["artifact"]).name)
        executor.start(local)
        ended: list[Outcome] = []
        while not ended:
            ended = executor.wait(1.0)
        built = Path(local["artifact"]) if job["kind"] == "artifact" else None
        return asdict(ended[0]), built.read_bytes() if built and built.is_file() else None


def receive(name: str, files: Any) -> None:
    """Put a data set into this node's cache, whole or not at all, unless the node has it; then verify it."""
    entry = get(name)
    if entry.available or files is None:
        return
    target = cache_folder() / (entry.folder or name)  # which sets may share, as those of NLTK do
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as partial:
        for file, content in files:
            arriving = Path(partial) / file
            arriving.parent.mkdir(parents=True, exist_ok=True)
            arriving.write_bytes(ray.get(content))
        for file, _ in files:  # another job of this node may do the same: the files are
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(partial) / file).replace(target / file)
    entry.require()


def _keep(content: bytes, target: Path) -> None:
    """Write an artifact whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}-{hashlib.sha256(content).hexdigest()[:8]}.partial")
    partial.write_bytes(content)
    partial.rename(target)
