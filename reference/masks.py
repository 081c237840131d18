"""Pictures with a class for every pixel, and pairs of pictures with a mask of what changed. Decoded when asked for."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from reference.catalog import DataError, get
from reference.folders import belongs
from reference.images import check_split
from reference.soundness import reading

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOID = 255
"""The class of pixels that count in no metric."""
TILE = 256
"""Side of the tiles into which papers cut WHU-CD."""


@dataclass(frozen=True)
class Segmented:
    """`self[i]` is (uint8 (3, H, W), uint8 (H, W)): a picture in RGB, and class numbers, VOID among them."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    read: Callable[[str], tuple[torch.Tensor, torch.Tensor]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.read(self.names[number])


@dataclass(frozen=True)
class Changes:
    """`self[i]` is (before, after, mask): uint8 (3, H, W) twice, and bool (H, W), true where something changed."""

    names: tuple[str, ...]
    read: Callable[[str], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.read(self.names[number])


def voc2012(split: str) -> Segmented:
    """PASCAL VOC 2012 segmentation: 1,464 train, 1,449 val; 20 classes and background, VOID at borders."""
    check_split("voc2012", split, ("train", "val", "trainval"))
    root = get("voc2012").require() / "VOCdevkit" / "VOC2012"
    names = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text("ascii").split()

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return _rgb(root / "JPEGImages" / f"{name}.jpg"), _indices(root / "SegmentationClass" / f"{name}.png")

    return Segmented(tuple(names), VOC_CLASSES, read)


def sbd(split: str) -> Segmented:
    """Semantic Boundaries: 8,498 train and 2,857 val pictures of VOC 2011 with its classes; without VOID.

    Papers that augment VOC take both parts less VOC's val pictures.
    """

    from scipy.io import loadmat

    check_split("sbd", split, ("train", "val"))
    root = get("sbd").require() / "benchmark_RELEASE" / "dataset"
    names = (root / f"{split}.txt").read_text("ascii").split()

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        path = root / "cls" / f"{name}.mat"
        with reading(path):
            found = loadmat(path, squeeze_me=True)["GTcls"]["Segmentation"].item()
        return _rgb(root / "img" / f"{name}.jpg"), torch.from_numpy(found.astype(np.uint8))

    return Segmented(tuple(names), VOC_CLASSES, read)


def coco2014(split: str) -> Segmented:
    """COCO 2014: 82,783 train and 40,504 val pictures; 80 classes, in the order of their ids, and background.

    Where objects overlap, the later annotation counts; crowds are VOID. Needs pycocotools (`crossexam[data]`).
    """
    check_split("coco2014", split, ("train", "val"))
    root = get("coco2014").require()
    with zipfile.ZipFile(root / "annotations_trainval2014.zip") as archive:
        listed = json.loads(archive.read(f"annotations/instances_{split}2014.json"))
    kinds = sorted(listed["categories"], key=lambda kind: kind["id"])
    number = {kind["id"]: place for place, kind in enumerate(kinds, 1)}
    sizes = {image["file_name"]: (image["id"], image["height"], image["width"]) for image in listed["images"]}
    objects: dict[int, list[dict[str, Any]]] = {image: [] for image, _, _ in sizes.values()}
    for entry in listed["annotations"]:
        objects[entry["image_id"]].append(entry)

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        image, height, width = sizes[name]
        classes = torch.zeros(height, width, dtype=torch.uint8)
        for entry in objects[image]:
            where = _filled(entry["segmentation"], height, width)
            classes[where] = VOID if entry["iscrowd"] else number[entry["category_id"]]
        path = root / f"{split}2014.zip"
        with reading(path), zipfile.ZipFile(path) as archive:
            return _rgb(BytesIO(archive.read(f"{split}2014/{name}"))), classes

    return Segmented(tuple(sizes), ("background", *(kind["name"] for kind in kinds)), read)


def _filled(segmentation: Any, height: int, width: int) -> torch.Tensor:
    """bool (height, width) of COCO's polygons, or of its run lengths, compressed or not."""
    from pycocotools import mask as coco

    runs = segmentation
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, height, width)
    merged = coco.merge(runs) if isinstance(runs, list) else runs
    return torch.from_numpy(coco.decode(merged)).bool()


def whu_cd(split: str) -> Changes:
    """WHU building change: the official train or test part of its one pair, in tiles of 256x256 named row-column.

    What is left at the right and lower edge is not used. The pictures are held in memory.
    """
    check_split("whu-cd", split, ("train", "test"))
    root = get("whu-cd").require()
    with _any_size():
        before, after = (_rgb(root / f"{split}-{part}.tif") for part in ("before", "after"))
        changed = _indices(root / f"{split}-label.tif") > 0
    if before.shape != after.shape or before.shape[1:] != changed.shape:
        raise DataError(f"{root}: the three pictures of '{split}' differ in size")
    rows, columns = (side // TILE for side in changed.shape)
    names = tuple(f"{row:03d}-{column:03d}" for row in range(rows) for column in range(columns))

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        top, left = (TILE * int(part) for part in name.split("-"))
        cut = (..., slice(top, top + TILE), slice(left, left + TILE))
        return before[cut], after[cut], changed[cut]

    return Changes(names, read)


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Without Pillow's guard against pictures that grow in decoding, which refuses an honest 500 megapixels."""

    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def levir_cd(split: str) -> Changes:
    """LEVIR-CD: 445 train, 64 val, 128 test pairs of 1024x1024."""
    return _zipped("levir-cd", f"{split}.zip", split, ("A", "B", "label"))


def levir_cd_plus(split: str) -> Changes:
    """LEVIR-CD+: 637 train and 348 test pairs of 1024x1024. Not LEVIR-CD."""
    check_split("levir-cd-plus", split, ("train", "test"))
    return _changes(get("levir-cd-plus").require() / "LEVIR-CD+.zip", ("A", "B", "label"), split)


def sysu_cd(split: str) -> Changes:
    """SYSU-CD: 12,000 train, 4,000 val, 4,000 test pairs of 256x256."""
    return _zipped("sysu-cd", f"{split}.zip", split, ("time1", "time2", "label"))


def _zipped(name: str, file: str, split: str, parts: tuple[str, str, str]) -> Changes:
    check_split(name, split, ("train", "val", "test"))
    return _changes(get(name).require() / file, parts)


def _changes(path: Path, parts: tuple[str, str, str], within: str = "") -> Changes:
    """Pairs in an archive: the same file name in three folders, wherever they lie (below `within`, if it is given)."""
    members: dict[str, dict[str, str]] = {part: {} for part in parts}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            place = PurePosixPath(member)
            if (
                belongs(place)
                and place.parent.name in members
                and place.suffix
                and (not within or within in place.parts)
            ):
                members[place.parent.name][place.name] = member
    names = sorted(members[parts[0]])
    if not names or any(sorted(members[part]) != names for part in parts):
        raise DataError(f"{path}: its folders {', '.join(parts)} do not hold the same files")
    return Changes(tuple(names), partial(_pair, path, [members[part] for part in parts]))


def _pair(path: Path, members: list[dict[str, str]], name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            before, after, mask = (BytesIO(archive.read(part[name])) for part in members)
        return _rgb(before), _rgb(after), _indices(mask) > 127


def _named(source: Path | BytesIO) -> contextlib.AbstractContextManager[None]:
    """Names a damaged file; what comes out of an archive is named by who opened that."""
    return reading(source) if isinstance(source, Path) else contextlib.nullcontext()


def _rgb(source: Path | BytesIO) -> torch.Tensor:
    from PIL import Image

    with _named(source), Image.open(source) as file:
        return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1).contiguous()


def _indices(source: Path | BytesIO) -> torch.Tensor:
    """The numbers of a palette or grey picture, not its colours."""

    from PIL import Image

    with _named(source), Image.open(source) as file:
        return torch.from_numpy(np.array(file if file.mode in ("P", "L") else file.convert("L")))
