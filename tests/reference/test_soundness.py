"""Damaged files of sets whose checksums nobody knows, and what systems leave behind in folders."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

import reference
from crossexam.showing.show_data import verified
from reference import DataError, catalog
from reference.catalog import content_digest
from reference.folders import belongs
from reference.pictures import by_folder
from reference.soundness import check_format
from tests.reference import test_canonical as layouts
from tests.reference.test_text import root  # noqa: F401  (a fixture)

TEXT = "".join(f"{number * number} " for number in range(9000)).encode()


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.txt", TEXT)
    return buffer.getvalue()


def packed() -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, a=np.frombuffer(TEXT, np.uint8))
    return buffer.getvalue()


def parquet() -> bytes:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    buffer = BytesIO()
    pandas.DataFrame({"x": np.arange(9000.0) ** 1.5}).to_parquet(buffer)
    return buffer.getvalue()


WHOLE = {
    "x.gz": lambda: gzip.compress(TEXT),
    "x.bz2": lambda: bz2.compress(TEXT),
    "x.xz": lambda: lzma.compress(TEXT),
    "x.zip": zipped,
    "x.npz": packed,
    "x.parquet": parquet,
    "x.json": lambda: json.dumps({"a": TEXT.decode()}).encode(),
    "x.jsonl": lambda: b'{"a": 1}\n' * 500,
}


def flipped(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes(255 - byte for byte in raw[middle : middle + 40]) + raw[middle + 40 :]


@pytest.mark.parametrize("name", WHOLE)
def test_files_of_every_format_are_read_to_their_end(name: str, tmp_path: Path) -> None:
    path, raw = tmp_path / name, WHOLE[name]()
    path.write_bytes(raw)
    check_format(path)
    for spoilt in (flipped(raw), raw[: len(raw) // 2 + 3], b"", b"<html>not found</html>"):
        if name == "x.jsonl" and not spoilt:
            continue  # no lines are lines
        path.write_bytes(spoilt)
        if name == "x.parquet" and spoilt == flipped(raw):
            continue  # its pages have no checksum of their own: other numbers are as good as these
        with pytest.raises(DataError, match=rf"{name} is damaged"):
            check_format(path)


def test_a_garbled_stream_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(flipped(gzip.compress(TEXT)))
    with pytest.raises(DataError, match=r"x\.gz is damaged"):
        content_digest(tmp_path / "x.gz")


@pytest.mark.parametrize(
    ("name", "split", "file", "content"),
    [
        ("math500", "test", "test.jsonl", b'{"problem": \n'),
        ("math500", "test", "test.jsonl", b'{"problem": "caf\xe9"}\n'),
        ("math500", "test", "test.jsonl", b"[]\n"),
        ("taiwan-default", "all", "data.csv", b"X1,Y\n\xff\xfe,1\n"),
        ("taiwan-default", "all", "data.csv", b""),
    ],
)
def test_a_damaged_file_is_named(root: Path, name: str, split: str, file: str, content: bytes) -> None:  # noqa: F811
    (root / name).mkdir()
    (root / name / file).write_bytes(content)
    with pytest.raises(DataError, match=file):
        reference.load(name, split)


def test_the_file_of_many_that_is_damaged_is_named(root: Path) -> None:  # noqa: F811
    pytest.importorskip("pyarrow")
    entry = catalog.get("ag-news")
    for file in entry.files:
        path = root / entry.name / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parquet())
    path.write_bytes(parquet()[:100])
    with pytest.raises(DataError, match=path.name):
        reference.load(entry.name, "test")
    assert not verified(entry)[0]


def test_a_damaged_picture_is_named(root: Path) -> None:  # noqa: F811
    layouts.imagenet_r(root)
    path = root / "imagenet-r" / "imagenet-r" / "n01443537" / "art_0.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"art_0\.jpg is damaged"):
        reference.load("imagenet-r")[torch.tensor([0])]


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "__MACOSX", ".ipynb_checkpoints", "desktop.ini", "._a.png"])
def test_what_systems_leave_behind_is_not_there(name: str, tmp_path: Path) -> None:
    for folder in ("cat", "dog"):
        layouts.picture(tmp_path / folder / "a.png")
    clean = by_folder(tmp_path)
    for folder in (tmp_path, tmp_path / "cat"):
        if "." in name[1:]:
            (folder / name).write_bytes(b"\0")
        else:
            Image.new("RGB", (2, 2)).save(layouts.picture(folder / name / "b.png"))
    found = by_folder(tmp_path)
    assert found.classes == clean.classes == ("cat", "dog")
    assert found.paths == clean.paths
    assert not belongs(PurePosixPath("set") / name / "b.png")
