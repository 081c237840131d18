"""Sessions. `nox -l` lists them; arguments after `--` go through to the command.

All sessions share one environment, `.nox/env`, built by uv from requirements.lock and rebuilt only when that changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / ".nox" / "env"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH_PACKAGES = re.compile(r"^(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==", re.M)

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "tests"]


def prepare(session: nox.Session) -> None:
    """Build the shared environment, unless it is there and made from this lock by this Python."""
    backend = os.environ.get("UV_TORCH_BACKEND", "")
    stamp = ENVIRONMENT / "made-from"
    wanted = f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version_info[:2]} {backend}"
    if not stamp.is_file() or stamp.read_text() != wanted:
        # The Python that runs nox is the one that is surely there.
        session.run_install(
            uv(), "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT), external=True
        )
        install(session, backend)
        made = session.run_install(uv(), "pip", "install", "--quiet", "--python", str(PYTHON), "--no-deps",
                                   "--no-build-isolation", "--editable", str(ROOT), external=True)  # fmt: skip
        if made:  # nox --no-install makes nothing
            stamp.write_text(wanted)


def install(session: nox.Session, backend: str) -> None:
    """Install the lock with its hashes; where UV_TORCH_BACKEND names another torch build, that one without them."""
    lock = LOCK
    if backend:
        blocks = re.split(r"\n(?=\S)", LOCK.read_text())
        lock = Path(session.create_tmp()) / "requirements.lock"
        lock.write_text("\n".join(block for block in blocks if not TORCH_PACKAGES.match(block)))
    session.run_install(
        uv(), "pip", "sync", "--quiet", "--require-hashes", "--python", str(PYTHON), str(lock), external=True
    )
    if backend:
        pinned = dict(re.findall(r"^(torch|torchvision)==([\w.]+)", LOCK.read_text(), re.M))
        exact = [f"{name}=={version}" for name, version in pinned.items()]
        session.run_install(uv(), "pip", "install", "--quiet", "--python", str(PYTHON), *exact, external=True)


def uv() -> str:
    """uv as `pip install "nox[uv]"` brought it."""
    found = shutil.which("uv")
    if found:
        return found
    from uv import find_uv_bin

    return str(find_uv_bin())


def python(session: nox.Session, *words: str, **environment: str) -> None:
    """Run the shared environment's Python on the project."""
    prepare(session)
    # After Ctrl-C there is time to say that finished trials are kept.
    session.run(str(PYTHON), *words, env=environment, external=True, interrupt_timeout=10)


def crossexam(session: nox.Session, *words: str) -> None:
    """Run the command line of the project."""
    python(session, "-m", "crossexam", *words, *session.posargs)


def reproduce(folder: Path) -> None:
    """Make the session reproduce-<paper> of a suite folder, with the paper's title as its description."""
    slug = folder.name.replace("_", "-")
    try:
        title = tomllib.loads((folder / "paper.toml").read_text(encoding="utf-8"))["paper"]["title"]
    except (tomllib.TOMLDecodeError, KeyError):
        title = "(its paper.toml is broken: run the session to see why)"

    def session_of_paper(session: nox.Session) -> None:
        crossexam(session, "run", slug)

    session_of_paper.__doc__ = title
    nox.session(name=f"reproduce-{slug}", default=False)(session_of_paper)


for suite in sorted(file.parent for file in ROOT.glob("suites/*/paper.toml")):
    reproduce(suite)


@nox.session(name="reproduce", default=False)
def reproduce_all(session: nox.Session) -> None:
    """Reproduce every paper."""
    crossexam(session, "run")


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Could the verdicts have gone the other way? Faults, null control, placebo, repetition."""
    crossexam(session, "audit")


@nox.session(default=False)
def nightly(session: nox.Session) -> None:
    """Run what has changed, repeat what has not, and say what is different."""
    crossexam(session, "nightly")


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Write the report, a static site, into the folder `site`."""
    crossexam(session, "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style (ruff) and types (mypy, strict for the harness)."""
    python(session, "-m", "ruff", "check", ".")
    python(session, "-m", "ruff", "format", "--check", ".")
    python(session, "-m", "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on every core; with arguments, which go to pytest, in one process."""
    if session.posargs:
        python(session, "-m", "pytest", *session.posargs)
    else:  # most of their time is one thread's, and that of programs they start
        spread = ("--numprocesses=auto", "--maxprocesses=8", "--dist=worksteal")
        python(session, "-m", "pytest", *spread, OMP_NUM_THREADS="1")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time the losses and the training loop beside PyTorch's; arguments go to pytest."""
    python(session, "-m", "pytest", "tests/benchmarks", "--benchmark-enable", *session.posargs)


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Write requirements.lock anew from pyproject.toml: pinned, hashed, naming no index."""
    session.run(
        uv(), "pip", "compile", "pyproject.toml", "--all-extras", "--group", "tests", "--group", "lint", "--group",
        "build", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header",
        "--no-annotate", "--quiet", "-o", "requirements.lock", *session.posargs, external=True,
    )  # fmt: skip
