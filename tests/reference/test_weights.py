"""Published weights and pictures on disk: names, refusals, decoding."""

from __future__ import annotations

import pathlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import reference
from reference import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def checkpoint(root: Path, found: object) -> None:
    (root / "robustbench-cifar10").mkdir()
    torch.save(found, root / "robustbench-cifar10" / "Standard.pt")


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": x, "epoch": 7}])
def test_weights_are_tensors_by_name(root: Path, wrap) -> None:
    checkpoint(root, wrap({"module.conv.weight": torch.ones(2), "fc.bias": torch.zeros(1)}))
    found = reference.load("robustbench-cifar10")
    assert found.keys() == {"conv.weight", "fc.bias"}
    assert torch.equal(found["conv.weight"], torch.ones(2))
    with pytest.raises(DataError, match="no split 'train'"):
        reference.load("robustbench-cifar10", split="train")


def test_a_file_that_could_carry_code_is_not_read(root: Path) -> None:
    checkpoint(root, {"state_dict": {"fc.bias": torch.zeros(1)}, "where": pathlib.PurePosixPath("/")})
    with pytest.raises(DataError, match="more than tensors"):
        reference.load("robustbench-cifar10")


def test_absent_weights_say_where_they_are_to_be_had(root: Path) -> None:
    with pytest.raises(DataError, match=r"Hendrycks2020AugMix_ResNeXt\.pt into a folder robustbench-cifar100"):
        reference.load("robustbench-cifar100")


def test_pictures_are_decoded_on_demand(root: Path) -> None:
    """A picture of 300 x 450 is scaled to 256 x 384 and its centre taken; one of 224 x 224 is left as it is."""
    folder = root / "imagenet-1k" / "train" / "n01440764"
    folder.mkdir(parents=True)
    wide = np.zeros((300, 450, 3), np.uint8)
    wide[:, 225:] = 255
    Image.fromarray(wide).save(folder / "n01440764_10026.JPEG", quality=95)
    Image.fromarray(np.full((224, 224), 77, np.uint8)).save(folder / "n01440764_10027.JPEG")  # gray
    found = reference.load("imagenet-1k-train", split="train")
    assert len(found) == 2
    assert found.labels.tolist() == [0, 0]
    pictures = found[torch.tensor([1, 0])]
    assert pictures.shape == (2, 3, 224, 224)
    assert pictures.dtype == torch.uint8
    assert (pictures[0].float() - 77).abs().max() <= 1
    assert pictures[1, :, :, :108].max() < 10
    assert pictures[1, :, :, 116:].min() > 245


def test_corrupted_pictures_follow_the_list(root: Path) -> None:
    folder = root / "imagenet-c"
    for name in ("n01440764", "n01443537"):
        (folder / "fog" / "5" / name).mkdir(parents=True)
        Image.new("RGB", (224, 224)).save(folder / "fog" / "5" / name / "ILSVRC2012_val_00000001.JPEG")
    listed = ["n01443537/ILSVRC2012_val_00000001.JPEG", "n01440764/ILSVRC2012_val_00000001.JPEG"]
    (folder / "imagenet_test_image_ids.txt").write_text("\n".join(listed))
    found = reference.load("imagenet-c", split="fog-5")
    assert found.labels.tolist() == [1, 0]
    assert found.paths[0].parent.name == "n01443537"
    (folder / "imagenet_test_image_ids.txt").write_text("n01440764/ILSVRC2012_val_00000002.JPEG")
    with pytest.raises(DataError, match="is absent: unpack all archives"):
        reference.load("imagenet-c", split="fog-5")
    with pytest.raises(DataError, match="no split 'fog'"):
        reference.load("imagenet-c", split="fog")
