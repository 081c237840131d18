"""Images, photographs, volumes and grids: shapes, units, values, and the formats in small."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import reference
from reference import DataError
from reference.decoded import decoded
from reference.volumes import read_packed
from tests.conftest import ROOT, needed
from tests.reference.test_text import root  # noqa: F401  (a fixture)


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crossexam" / "decoded"


def test_cifar10_jpeg(cache_folder: Path) -> None:
    pytest.importorskip("pyarrow")
    needed("cifar10-jpeg")
    first = reference.load("cifar10-jpeg", "test")
    assert first.images.shape == (10_000, 3, 32, 32) and first.images.dtype == torch.uint8
    assert torch.bincount(first.labels).tolist() == [1_000] * 10 and first.labels.diff().min() == 0
    assert 115 < float(first.images.float().mean()) < 125  # CIFAR-10's own mean is 120.7
    assert len(list(cache_folder.iterdir())) == 1
    again = reference.load("cifar10-jpeg", "test")
    assert torch.equal(first.images, again.images)
    again.images[0] = 0  # stays here
    assert torch.equal(first.images, reference.load("cifar10-jpeg", "test").images)


def test_fashion_mnist_from_the_cache_is_what_the_files_say(cache_folder: Path) -> None:
    needed("fashion-mnist")
    first, again = (reference.load("fashion-mnist", "test") for _ in range(2))
    assert torch.equal(first.images, again.images) and len(list(cache_folder.iterdir())) == 1
    path = next(cache_folder.iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(first.images, reference.load("fashion-mnist", "test").images)


def test_decoding_happens_once(cache_folder: Path) -> None:
    calls: list[int] = []

    def decode(pixels: np.ndarray) -> None:
        calls.append(1)
        pixels[:] = 7

    for key in ("a", "a", "b"):
        assert (decoded(key, (2, 3), decode) == 7).all()
    assert len(calls) == 2 and len(list(cache_folder.iterdir())) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert (decoded("a", (2, 3), lambda pixels: pixels.fill(7)) == 7).all()
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code = f"{full}from reference.decoded import decoded\nprint(decoded('a', (5000,), lambda p: p.fill(7)).sum())"
    environment = {"XDG_CACHE_HOME": str(tmp_path / "new"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "35000"
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []


def test_two_processes_decode_at_once(tmp_path: Path) -> None:
    code = (
        "from reference.decoded import decoded\n"
        "print(int(decoded('a', (1000, 1000), lambda pixels: pixels.fill(3)).sum()))"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["3000000"] * 2
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_photographs() -> None:
    needed("kodak")
    kodak = reference.load("kodak")
    assert kodak.names[0] == "kodim01" and len(kodak) == 24
    assert {tuple(image.shape) for image in kodak.images} == {(3, 512, 768), (3, 768, 512)}
    assert sum(image.shape[1] == 768 for image in kodak.images) == 6
    needed("bsds500-images")
    for split, count in (("train", 200), ("val", 100)):
        found = reference.load("bsds500-images", split)
        assert len(found) == count
        assert {tuple(image.shape) for image in found.images} == {(3, 321, 481), (3, 481, 321)}


def test_left_atrium_half() -> None:
    needed("left-atrium-half")
    for split, count in (("train", 80), ("test", 20)):
        volumes = reference.load("left-atrium-half", split)
        assert len(volumes) == count and len({volume.case for volume in volumes}) == count
        for volume in volumes:
            assert volume.image.dtype == volume.label.dtype == torch.uint8
            assert volume.image.shape == volume.label.shape and volume.image.shape[2] == 44
            assert 0.01 < float(volume.label.float().mean()) < 0.2  # an atrium, not everything and not nothing


def test_a_volume_that_does_not_fit_together(tmp_path: Path) -> None:
    path = tmp_path / "train-A1.npz"
    label = np.packbits(np.arange(24).reshape(2, 3, 4) % 2)
    image = np.zeros((2, 3, 4), np.uint8)
    np.savez(path, image=image, label=label, shape=np.array([2, 3, 4], np.int16))
    volume = read_packed(path)
    assert volume.case == "A1" and volume.label.flatten().tolist() == [0, 1] * 12
    for change in ({"shape": np.array([2, 3, 5], np.int16)}, {"label": label[:2]}, {"image": np.array([print])}):
        np.savez(path, **{"image": image, "label": label, "shape": np.array([2, 3, 4], np.int16), **change})
        with pytest.raises(DataError, match=r"do not fit together|is not a volume"):
            read_packed(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="is not a volume"):
        read_packed(path)


def test_era_interim_in_physical_units() -> None:
    needed("era-interim")
    found = reference.load("era-interim")
    assert found.values.shape == (2, 3, 3, 241, 480) and found.values.dtype == torch.float32
    assert (found.variables, found.levels, found.months) == (("z", "u", "v"), (200, 500, 850), (1, 7))
    assert found.latitudes[[0, -1]].tolist() == [90, -90] and found.longitudes[[0, -1]].tolist() == [-180, 179.25]
    weights = found.latitudes.deg2rad().cos().clamp(min=0)
    means = (found.values.double().mean(-1) * weights).sum(-1) / weights.sum()
    heights = means[:, 0] / 9.80665  # geopotential heights of 200, 500 and 850 hPa, in metres
    assert torch.allclose(heights, torch.tensor([11_900.0, 5_700.0, 1_450.0], dtype=torch.float64), rtol=0.03)
    assert float(found.values[0, 1].abs().max()) < 120  # the strongest jets, in m/s


def test_mnist_and_svhn_in_their_own_formats(root: Path) -> None:  # noqa: F811
    (root / "mnist").mkdir()
    for part, count in (("train", 3), ("t10k", 2)):
        header = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (count, 28, 28))
        (root / "mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes([5]) * count * 784))
        labels = b"\0\0\x08\x01" + count.to_bytes(4, "big") + bytes(range(count))
        (root / "mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    train = reference.load("mnist", "train")
    assert train.images.shape == (3, 1, 28, 28) and train.labels.tolist() == [0, 1, 2]
    (root / "svhn").mkdir()
    pixels = np.zeros((32, 32, 3, 4), np.uint8)
    pixels[1, 2, 0, 3] = 9
    for part in ("train", "test"):
        savemat(root / "svhn" / f"{part}_32x32.mat", {"X": pixels, "y": np.array([[1], [9], [10], [2]], np.uint8)})
    test = reference.load("svhn", "test")
    assert test.images.shape == (4, 3, 32, 32) and int(test.images[3, 0, 1, 2]) == 9
    assert test.labels.tolist() == [1, 9, 0, 2]
