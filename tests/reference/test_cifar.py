"""CIFAR-100 and the corrupted test sets, in the formats in which they are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reference
from reference import DataError
from reference.catalog import get


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("reference.catalog.verify", lambda path, file: None)
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    return tmp_path


def test_cifar100_in_its_own_format(root: Path) -> None:
    folder = root / "cifar100" / "cifar-100-binary"
    folder.mkdir(parents=True)
    record = bytes([4, 30, *([1] * 1024), *([2] * 1024), *([3] * 1024)])  # coarse label, fine label, R, G, B
    (folder / "train.bin").write_bytes(record * 3)
    (folder / "test.bin").write_bytes(record)
    (folder / "fine_label_names.txt").write_text("".join(f"class_{number}\n" for number in range(100)))
    train = reference.load("cifar100", "train")
    assert train.images.shape == (3, 3, 32, 32) and train.images[0, :, 0, 0].tolist() == [1, 2, 3]
    assert train.labels.tolist() == [30] * 3 and train.classes[30] == "class_30"
    assert len(reference.load("cifar100", "test")) == 1


@pytest.fixture
def corrupted(root: Path) -> Path:
    """CIFAR-10-C with one real file of the official shape: severity s is everywhere s, its first pixel (s, 7, 8)."""
    folder = root / "cifar10-c" / "CIFAR-10-C"
    folder.mkdir(parents=True)
    for file in get("cifar10-c").files:
        (root / "cifar10-c" / file.name).touch()
    fog = np.lib.format.open_memmap(folder / "fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 32, 32, 3))
    for severity in range(5):
        fog[severity * 10_000 : (severity + 1) * 10_000] = severity + 1
    fog[:, 0, 1, 2] = 9
    fog.flush()
    np.save(folder / "labels.npy", np.tile(np.arange(10_000) % 10, 5).astype(np.uint8))
    return folder


def test_cifar10_c_in_its_own_format(corrupted: Path) -> None:
    found = reference.load("cifar10-c", "fog-5")
    assert found.images.shape == (10_000, 3, 32, 32) and found.images.is_contiguous()
    assert found.images[9_999, :, 0, 0].tolist() == [5, 5, 5] and int(found.images[0, 2, 0, 1]) == 9
    assert found.labels[:12].tolist() == [*range(10), 0, 1]
    for split in ("fog", "fog-6", "rain-1", "5"):
        with pytest.raises(DataError, match=f"no split '{split}'"):
            reference.load("cifar10-c", split)


def test_an_array_that_could_run_code_is_refused(corrupted: Path) -> None:
    np.save(corrupted / "snow.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a plain NumPy array"):
        reference.load("cifar10-c", "snow-1")
    np.save(corrupted / "frost.npy", np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="expected uint8"):
        reference.load("cifar10-c", "frost-1")
