"""Archives that nobody vouches for stay in their folder, and small."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from reference import archives
from reference.archives import unpack
from reference.catalog import DataError


def tarball(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", bytes(1 << 20))
    return buffer.getvalue()


def unpacked(tmp_path: Path, content: bytes, inside: str = "") -> Path:
    archive, folder = tmp_path / "archive", tmp_path / "out"
    archive.write_bytes(content)
    folder.mkdir()
    unpack(archive, folder, inside)
    return folder


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1000)
    for number, content in enumerate((bomb(), gzip.compress(tarball_of_zeros()))):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(DataError, match="unpacks to"):
            unpacked(place, content)
        assert sum(path.stat().st_size for path in (place / "out").rglob("*")) < 1 << 19
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    for number, content in enumerate((zipped("a", "b", "c"), tarball(a=b"", b=b"", c=b"")), 2):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(DataError, match="more than 2 files"):
            unpacked(place, content)


def tarball_of_zeros() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 1 << 20
        tar.addfile(member, io.BytesIO(bytes(1 << 20)))
    return buffer.getvalue()


def zipped(*names: str, mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, b"target")
    return buffer.getvalue()


def test_a_zip_whose_directory_lies_about_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1000)
    content = bomb().replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(DataError, match=r"unpacks to|is damaged"):
        unpacked(tmp_path, content)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) < 1 << 19


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil"])
def test_zip_paths_that_climb_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is refused"):
        unpacked(tmp_path, zipped(name))
    assert list((tmp_path / "out").rglob("*")) == []


def test_zip_links(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a link or a device"):
        unpacked(tmp_path, zipped("link", mode=stat.S_IFLNK | 0o777))


@pytest.mark.parametrize(
    ("kind", "link"),
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.SYMTYPE, "../x"), (tarfile.LNKTYPE, "../../x"), (tarfile.CHRTYPE, "")],
)
def test_tar_links_and_devices(tmp_path: Path, kind: bytes, link: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("member")
        member.type, member.linkname = kind, link
        tar.addfile(member)
    with pytest.raises(DataError, match="is refused"):
        unpacked(tmp_path, buffer.getvalue())
    assert list((tmp_path / "out").iterdir()) == []


def test_honest_archives(tmp_path: Path) -> None:
    for number, content in enumerate((zipped("top/a", "top/deep/b", "rest"), tarball(top__a=b"target", rest=b""))):
        place = tmp_path / str(number)
        place.mkdir()
        folder = unpacked(place, content, inside="top")
        assert (folder / "a").read_bytes() == b"target" and not (folder / "rest").exists()
