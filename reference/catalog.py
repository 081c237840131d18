"""The catalogue: where a data set lies, whether it is the right one, how to get it. Imports no torch."""

from __future__ import annotations

import difflib
import functools
import gzip
import hashlib
import itertools
import os
import shutil
import tarfile
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


class DataError(Exception):
    """A data set that is unknown, absent, or not what it should be. The message says what to do."""


@dataclass(frozen=True)
class File:
    """One file of a set. Size in bytes and SHA-256 are those of the content, where they are known."""

    name: str
    words: bool = False
    """Whether only the words of the file count, not what separates them."""
    size: int | None = None
    sha256: str | tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Every SHA-256 that the content may have; empty where none is known."""
        return (self.sha256,) if isinstance(self.sha256, str) else tuple(self.sha256)


@dataclass(frozen=True)
class DataSet:
    """One entry of catalog.toml."""

    name: str
    title: str
    loader: str
    state: str
    licence: str
    citation: str
    source: str
    files: tuple[File, ...] = ()
    url: str = ""
    md5: str = ""
    how: str = ""
    folder: str = ""
    """The folder that it lies in, where that is not called like the set."""

    @property
    def module(self) -> str:
        """The module of its loader."""
        return self.loader.partition(":")[0]

    @property
    def function(self) -> str:
        """The name of its loader: a function of the split."""
        return self.loader.partition(":")[2]

    def locate(self) -> Path | None:
        """The first folder that holds all files of the set, or None."""
        for root in roots():
            folder = root / (self.folder or self.name)
            if self.files and all((folder / file.name).is_file() for file in self.files):
                return folder
        return None

    @property
    def available(self) -> bool:
        """Whether it can be loaded without a network."""
        return self.state == "bundled" or self.locate() is not None

    @property
    def remedy(self) -> str:
        """How to obtain an absent set."""
        if self.state == "auto":
            return f"run `crossexam data fetch {self.name}`"
        return f"{self.how} below a folder that CROSSEXAM_DATA names, or below {cache_folder()}"

    def require(self) -> Path:
        """The folder of the set, verified. Raises DataError where it is absent or damaged."""
        folder = self.locate()
        if folder is None:
            raise DataError(f"data set '{self.name}' is absent: {self.remedy}")
        for file in self.files:
            verify(folder / file.name, file)
        return folder

    def checksum(self) -> str:
        """A digest of the set's content, for fingerprints.

        Known checksums are taken from the catalogue, for nothing else is ever loaded: rows can be judged where the set
        is absent. Unknown ones are computed.
        """
        if self.state == "bundled":
            return f"bundled:{self.source}"
        parts = [file.known for file in self.files]
        if not all(parts):
            folder = self.locate()
            if folder is None:
                return "absent"
            parts = [file.known or content_digest(folder / file.name, words=file.words)[:1] for file in self.files]
        return hashlib.sha256("\n".join(itertools.chain.from_iterable(parts)).encode()).hexdigest()


def cache_folder() -> Path:
    """Where fetched sets are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossexam" / "data"


def roots() -> list[Path]:
    """Every folder that is searched, in order: those of CROSSEXAM_DATA, then the user's cache."""
    named = [Path(part) for part in os.environ.get("CROSSEXAM_DATA", "").split(os.pathsep) if part]
    return [*named, cache_folder()]


@functools.cache
def catalog() -> Mapping[str, DataSet]:
    """All entries of catalog.toml by name."""
    table: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text("utf-8"))
    return {
        name: DataSet(name, files=tuple(File(**file) for file in entry.pop("file", [])), **entry)
        for name, entry in table.items()
    }


def get(name: str) -> DataSet:
    """The entry called `name`. Raises DataError with the nearest name for an unknown one."""
    if name in catalog():
        return catalog()[name]
    near = difflib.get_close_matches(name, catalog(), n=1)
    raise DataError(f"no data set '{name}'" + (f": did you mean '{near[0]}'?" if near else ""))


def content_digest(path: Path, *, words: bool = False) -> tuple[str, int]:
    """SHA-256 and size of a file's content, unpacked where it is gzipped. Raises DataError for a damaged stream."""
    stat = path.stat()
    return _content_digest(path, words, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _content_digest(path: Path, words: bool, modified: int, stored_size: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw as stream:
            for chunk in _words(stream) if words else iter(lambda: stream.read(CHUNK), b""):
                digest.update(chunk)
                size += len(chunk)
    except (EOFError, OSError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it and fetch it again") from error
    return digest.hexdigest(), size


def _words(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text with one space between words; blank ones left out."""
    return (b" ".join(line.split()) + b"\n" for line in lines if line.strip())


def verify(path: Path, file: File) -> None:
    """Raise DataError unless the content of `path` is what the catalogue expects."""
    if file.size is None and not file.known:
        return
    found, size = content_digest(path, words=file.words)
    if file.size is not None and size != file.size:
        raise DataError(f"{path}: expected {file.size} bytes of content, found {size}: remove it and fetch it again")
    if file.known and found not in file.known:
        raise DataError(
            f"{path}: expected sha256 {' or '.join(file.known)}, found {found}: remove it and fetch it again"
        )


def fetch(name: str, *, offline: bool = False) -> Path:
    """Get an `auto` set into the cache, whole or not at all, and return its folder."""
    entry = get(name)
    if entry.available:
        return entry.require() if entry.files else Path()
    if entry.state != "auto":
        raise DataError(f"data set '{name}' cannot be fetched: {entry.remedy}")
    if offline:
        raise DataError(f"data set '{name}' is absent, and fetching it is off (offline)")
    target = cache_folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        unpacked = Path(scratch) / "set"
        unpacked.mkdir()
        archive = Path(scratch) / entry.url.rsplit("/", 1)[-1]
        _download(entry, archive)
        if archive.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")  # refuses paths and links out of the folder, and devices
        else:
            archive.rename(unpacked / archive.name)
        for file in entry.files:
            if not (unpacked / file.name).is_file():
                raise DataError(f"{entry.url} holds no {file.name}: the source has changed")
            verify(unpacked / file.name, file)
        unpacked.rename(target)
    return target


def _download(entry: DataSet, to: Path) -> None:
    try:
        with urllib.request.urlopen(entry.url, timeout=60) as response, to.open("wb") as out:
            shutil.copyfileobj(response, out, CHUNK)
    except OSError as error:
        raise DataError(f"could not fetch {entry.url}: {error}") from error
    if entry.md5:
        with to.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != entry.md5:
            raise DataError(f"{entry.url}: expected md5 {entry.md5}, found {found}")
