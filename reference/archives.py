"""Unpacking zip and tar archives that nobody vouches for: nothing leaves the folder, nothing fills the disk."""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from reference.catalog import CHUNK, DataError

MOST_FILES = 2_000_000
"""ImageNet has 1.3 million."""
MOST_GROWTH = 100
"""Times the size of the archive. Real data, even sparse masks, stay far below; bombs far above."""
ALWAYS_ALLOWED = 100 << 20
"""Bytes that may come out of any archive, however small."""

DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError,
    RuntimeError, OSError, ValueError, struct.error,
)  # fmt: skip
"""What the libraries raise for archives that are cut off, garbled, encrypted or of a kind that they cannot read.

OSError is what bz2 says of garbled data and the system of names that it cannot write, ValueError what names with a null
character and numbers that are none lead to."""


NOT_THE_ARCHIVES_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
"""A full disk, or a folder that cannot be written."""


def unpack(archive: Path, folder: Path, inside: str = "") -> None:
    """Unpack into `folder` what lies below `inside` in the archive.

    Raises DataError for an archive that is damaged, not an archive, tries to write elsewhere (paths, links), holds
    devices, or grows beyond measure. What was unpacked until then stays, for the caller to remove.
    """
    limit = max(ALWAYS_ALLOWED, MOST_GROWTH * archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder, inside, limit)
        elif tarfile.is_tarfile(archive):
            _untar(archive, folder, inside, limit)
        else:
            raise DataError(f"{archive.name} is neither a zip nor a tar archive")
    except (tarfile.FilterError, _Refused) as error:
        raise DataError(f"{archive.name} is refused: {error}") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in NOT_THE_ARCHIVES_FAULT:
            raise
        raise DataError(f"{archive.name} is damaged: {error}") from error


class _Refused(Exception):
    """What no honest archive holds."""


def _untar(archive: Path, folder: Path, inside: str, limit: int) -> None:
    written = 0
    with tarfile.open(archive) as tar:
        for number, member in enumerate(tar):
            if number >= MOST_FILES:
                raise _Refused(f"it holds more than {MOST_FILES} files")
            if member.isfile():
                written += member.size
                _check_size(written, limit)
            name = _below(member.name, inside)
            if name is None:
                tarfile.data_filter(member, str(folder))  # refuse the archive even for what is not wanted of it
                continue
            if member.islnk():
                target = _below(member.linkname, inside)
                if target is None:
                    raise _Refused(f"{member.name} links to {member.linkname}")
                member = member.replace(linkname=target, deep=False)
            tar.extract(member.replace(name=name, deep=False), folder, filter="data")


def _unzip(archive: Path, folder: Path, inside: str, limit: int) -> None:
    written = 0
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        if len(members) > MOST_FILES:
            raise _Refused(f"it holds more than {MOST_FILES} files")
        _check_size(sum(member.file_size for member in members), limit)
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refused(f"{member.filename} is a link or a device")
            if "\\" in member.filename or ":" in member.filename.split("/")[0]:
                raise _Refused(f"{member.filename} is no path of this archive")
            name = _below(member.filename, inside)
            if name is None:
                continue
            target = folder / name
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(member) as source, target.open("wb") as out:
                for chunk in _chunks(source):
                    written += len(chunk)
                    _check_size(written, limit)  # the directory of a bomb may lie
                    out.write(chunk)


def _below(name: str, inside: str) -> str | None:
    """The path of a member below `inside`; None if it lies elsewhere. Refuses paths that climb or are absolute."""
    path = PurePosixPath(name)
    if path.is_absolute() or Path(name).is_absolute() or ".." in path.parts:
        raise _Refused(f"{name} would be written outside")
    if not inside:
        return str(path)
    parts = PurePosixPath(inside).parts
    return str(PurePosixPath(*path.parts[len(parts) :])) if path.parts[: len(parts)] == parts else None


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise _Refused(f"it unpacks to {size:,} bytes or more; {limit:,} are the most for an archive of its size")
