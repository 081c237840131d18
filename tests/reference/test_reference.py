"""Reference data is what its name says, or is refused."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import reference
from reference import catalog as module
from reference.catalog import STATES, DataError, File, catalog, get
from reference.images import read_idx
from tests.conftest import needed


def test_every_entry_says_what_a_user_must_know() -> None:
    for entry in catalog().values():
        assert entry.title and entry.licence and entry.citation and entry.source
        assert entry.state in STATES
        assert bool(entry.urls) == (entry.state == "auto"), entry.name
        assert bool(entry.how) == (entry.state in ("manual", "restricted")), entry.name
        assert bool(entry.files) == (entry.state != "bundled"), entry.name
        names = [file.name for file in entry.files]
        assert len(set(names)) == len(names)
        for file in entry.files:
            assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in file.known)
            assert entry.state != "auto" or file.urls or entry.archives, (entry.name, file.name)
            assert re.fullmatch("([0-9a-f]{32})?", file.md5)
        for archive in entry.archives:
            assert re.fullmatch("(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})?", archive.identity)
        # a wheel is another way to the same files, and nothing vouches for it but their checksums
        assert entry.wheel is None or (entry.urls and all(file.known for file in entry.files)), entry.name
        assert entry.state != "auto" or entry.identity or all(file.known for file in entry.files), entry.name


def test_every_loader_exists() -> None:
    for entry in catalog().values():
        if entry.module != "reference.jpeg" or importlib.util.find_spec("pyarrow"):
            assert callable(getattr(importlib.import_module(entry.module), entry.function)), entry.name


def test_a_set_without_a_loader_says_so() -> None:
    without = next(entry.name for entry in catalog().values() if entry.function == "unread")
    with pytest.raises(DataError, match="has no loader yet"):
        reference.load(without)


def test_digits_in_the_original_order() -> None:
    digits = reference.load("digits")
    assert digits.images.shape == (1797, 1, 8, 8)
    assert int(digits.images.max()) == 16
    assert digits.labels[:10].tolist() == list(range(10))


def test_breast_cancer() -> None:
    table = reference.load("breast-cancer")
    assert table.features.shape == (569, 30)
    assert int(table.target.sum()) == 357


def test_german_credit() -> None:
    needed("german-credit")
    table = reference.load("german-credit")
    assert table.features.shape == (1000, 20)
    assert int(table.target.sum()) == 300
    assert list(table.features.iloc[0][["status", "duration", "foreign_worker"]]) == ["A11", 6, "A201"]


def test_fashion_mnist() -> None:
    needed("fashion-mnist")
    images = reference.load("fashion-mnist", "test")
    assert images.images.shape == (10000, 1, 28, 28)
    assert np.bincount(images.labels.numpy()).tolist() == [1000] * 10


def test_unknown_names_and_splits() -> None:
    with pytest.raises(DataError, match="did you mean 'digits'"):
        reference.load("digit")
    with pytest.raises(DataError, match="no split 'train'"):
        reference.load("digits", "train")


def test_letter_in_either_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("letter")
    table = reference.load("letter")
    assert table.features.shape == (20000, 16) and int(table.features.max().max()) == 15
    assert table.target[:3].tolist() == [19, 8, 3]
    assert np.bincount(table.target).tolist()[:3] == [789, 766, 736]
    letters = (chr(ord("A") + label) for label in table.target)
    rows = (",".join(map(str, row)) for row in table.features.itertuples(index=False))
    (tmp_path / "letter").mkdir()
    canonical = tmp_path / "letter" / "letter-recognition.data"
    canonical.write_text("".join(f"{letter},{row}\n" for letter, row in zip(letters, rows, strict=True)))
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    again = reference.load("letter")
    assert again.features.equals(table.features) and np.array_equal(again.target, table.target)


def test_only_declared_sets_are_loaded_in_a_trial() -> None:
    with reference.only(["breast-cancer"]):
        reference.load("breast-cancer")
        with pytest.raises(DataError, match=r"'digits' is not declared: add it to needs\.data"):
            reference.load("digits")
    reference.load("digits")


def test_a_known_checksum_needs_no_files(cache: Path) -> None:
    assert not get("german-credit").available
    assert len(get("german-credit").checksum()) == 64
    assert get("taiwan-default").checksum() == "absent"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no other folder that is searched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CROSSEXAM_DATA", "")
    return tmp_path / "crossexam" / "data"


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"abc" * 1000)[:-10])
    with pytest.raises(DataError, match="damaged"):
        module.verify(path, File("x.gz", size=3000))


def test_idx_must_hold_what_it_announces(tmp_path: Path) -> None:
    path = tmp_path / "x-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc"))
    with pytest.raises(DataError, match="announces"):
        read_idx(path)


def test_cifar10_in_its_own_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "verify", lambda path, file: None)
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    record = bytes([7, *([1] * 1024), *([2] * 1024), *([3] * 1024)])
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(record * 2)
    train = reference.load("cifar10", "train")
    assert train.images.shape == (10, 3, 32, 32)
    assert train.images[0, :, 0, 0].tolist() == [1, 2, 3]
    assert train.labels.tolist() == [7] * 10
