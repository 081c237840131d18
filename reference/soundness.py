"""Whether a file can be read as what its name says, for sets whose checksums nobody knows; and which one cannot."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from reference.catalog import CHUNK, DataError, DataSet

DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError, RuntimeError,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error,
)  # fmt: skip
"""What libraries and loaders raise for files that are cut off, garbled, or laid out in another way than their kind."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within it, an error of DAMAGE becomes a DataError that names the file."""
    try:
        yield
    except DAMAGE as error:
        raise DataError(
            f"{path} is damaged or cannot be read ({_told(error)}): remove it and fetch it again"
        ) from error


@contextmanager
def loading(entry: DataSet) -> Iterator[None]:
    """Within it, an error of DAMAGE becomes a DataError that names the file of the set that cannot be read.

    Files that agree with their checksum are sound: of a set that has them all, an error is a fault of its loader.
    """
    try:
        yield
    except DAMAGE as error:
        folder = entry.locate()
        unknown = [folder / file.name for file in entry.files if not file.known] if folder else []
        if not unknown:
            raise
        if isinstance(error, FileNotFoundError) and error.filename:
            raise DataError(f"{error.filename} is absent: the set was not unpacked whole") from error
        for path in unknown:
            check_format(path)
            if isinstance(error, UnicodeDecodeError):
                _check_text(path, error)
        names = ", ".join(map(str, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
        raise DataError(f"{names}: not what '{entry.name}' should hold ({_told(error)}): fetch it again") from error


def check_format(path: Path) -> None:
    """Raise DataError unless a file can be read to its end as what its suffix says; text is taken as it is."""
    check = FORMATS.get(path.suffix.lower())
    if check:
        with reading(path):
            check(path)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _check_text(path: Path, error: UnicodeDecodeError) -> None:
    if path.suffix.lower() not in FORMATS:
        with reading(path):
            path.read_text(error.encoding)


def _drain(stream: IO[bytes]) -> None:
    while stream.read(CHUNK):
        pass


def _gzip(path: Path) -> None:
    if not path.stat().st_size:
        raise EOFError("an empty file")  # which gzip takes for no streams, one after the other
    with path.open("rb") as raw, gzip.open(raw) as stream:
        _drain(cast("IO[bytes]", stream))


def _bzip2(path: Path) -> None:
    with bz2.open(path) as stream:
        _drain(stream)


def _xz(path: Path) -> None:
    with lzma.open(path) as stream:
        _drain(stream)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                _drain(stream)


def _json_lines(path: Path) -> None:
    for line in path.read_text("utf-8").split("\n"):
        if line.strip():
            json.loads(line)


def _parquet(path: Path) -> None:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches():
        batch.validate()


FORMATS: dict[str, Callable[[Path], object]] = {
    ".gz": _gzip,
    ".bz2": _bzip2,
    ".xz": _xz,
    ".zip": _zip,
    ".npz": _zip,
    ".json": lambda path: json.loads(path.read_text("utf-8")),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
