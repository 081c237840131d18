"""Pictures in folders, with labels: decoded when they are asked for, as ImageNet's are in `imagenet`."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from reference import cache
from reference.archives import unpack
from reference.catalog import DataError, get
from reference.folders import listed, subfolders
from reference.imagenet import ImageFiles
from reference.images import Images, check_split

DOMAINS = ("clipart", "painting", "real", "sketch")
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
ZHOU_PARTS = ("train", "val", "test")
SUFFIXES = (".jpeg", ".jpg", ".png")


def imagenet_1k(split: str) -> ImageFiles:
    """ImageNet-1k: 1,281,167 train, 50,000 val pictures; classes are WordNet numbers, sorted."""
    check_split("imagenet-1k", split, ("train", "val"))
    return by_folder(get("imagenet-1k").require() / split)


def imagenet_r(split: str) -> ImageFiles:
    """ImageNet-R: 30,000 renditions of 200 of ImageNet's classes."""
    return _whole("imagenet-r", "imagenet-r", split)


def imagenet_a(split: str) -> ImageFiles:
    """ImageNet-A: 7,500 natural adversarial pictures of 200 of ImageNet's classes."""
    return _whole("imagenet-a", "imagenet-a", split)


def imagenet_sketch(split: str) -> ImageFiles:
    """ImageNet-Sketch: 50,889 drawings of ImageNet's 1,000 classes."""
    return _whole("imagenet-sketch", "sketch", split)


def imagenet_v2(split: str) -> ImageFiles:
    """ImageNetV2, matched frequency: 10,000 pictures. Folders are class numbers, which sort by value, not by name."""
    check_split("imagenet-v2", split, ("all",))
    root = get("imagenet-v2").require() / "imagenetv2-matched-frequency-format-val"
    return by_folder(root, sorted(subfolders(root), key=int))


def eurosat(split: str) -> ImageFiles:
    """EuroSAT in RGB: 27,000 pictures of 64x64, 10 classes. It has no split of its own."""
    return _whole("eurosat", "2750", split)


def tiny_imagenet(split: str) -> ImageFiles:
    """Tiny ImageNet: 100,000 train and 10,000 val pictures of 64x64; classes in the order of wnids.txt sorted."""
    check_split("tiny-imagenet", split, ("train", "val"))
    root = get("tiny-imagenet").require() / "tiny-imagenet-200"
    classes = sorted((root / "wnids.txt").read_text("ascii").split())
    if split == "train":
        found = [(path, name) for name in classes for path in _pictures(root / "train" / name / "images")]
    else:
        rows = (line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text("ascii").splitlines())
        found = [(root / "val" / "images" / row[0], row[1]) for row in rows]
    return _listed(found, classes)


def dtd(split: str) -> ImageFiles:
    """Describable Textures, the first of its ten splits: 1,880 each of train, val, test; 47 classes."""
    check_split("dtd", split, ("train", "val", "test"))
    root = get("dtd").require() / "dtd"
    names = (root / "labels" / f"{split}1.txt").read_text("ascii").split()
    return _listed((root / "images" / name, name.partition("/")[0]) for name in names)


def food101(split: str) -> ImageFiles:
    """Food-101: 75,750 train and 25,250 test pictures."""
    check_split("food101", split, ("train", "test"))
    root = get("food101").require() / "food-101"
    listed = json.loads((root / "meta" / f"{split}.json").read_text("utf-8"))
    return _listed((root / "images" / f"{name}.jpg", kind) for kind in sorted(listed) for name in listed[kind])


def oxford_pets(split: str) -> ImageFiles:
    """Oxford-IIIT Pet: 3,680 trainval and 3,669 test pictures; 37 breeds, in the order of their numbers."""
    check_split("oxford-pets", split, ("trainval", "test"))
    root = get("oxford-pets").require()
    rows = [line.split() for line in (root / "annotations" / f"{split}.txt").read_text("ascii").splitlines()]
    breeds = dict(sorted({int(row[1]): row[0].rpartition("_")[0] for row in rows}.items()))
    return _listed([(root / "images" / f"{row[0]}.jpg", breeds[int(row[1])]) for row in rows], list(breeds.values()))


def flowers102(split: str) -> ImageFiles:
    """Oxford 102 Flower: 1,020 train, 1,020 val and 6,149 test pictures. Classes are named by their number."""

    from scipy.io import loadmat

    check_split("flowers102", split, ("train", "val", "test"))
    root = get("flowers102").require()
    kinds = loadmat(root / "imagelabels.mat")["labels"].ravel()
    ids = loadmat(root / "setid.mat")[{"train": "trnid", "val": "valid", "test": "tstid"}[split]].ravel()
    names = [str(number) for number in range(1, 1 + int(kinds.max()))]
    return _listed(((root / "jpg" / f"image_{number:05d}.jpg", str(kinds[number - 1])) for number in ids), names)


def stanford_cars(split: str) -> ImageFiles:
    """Stanford Cars: 8,144 train and 8,041 test pictures, 196 classes, named by their number."""

    from scipy.io import loadmat

    check_split("stanford-cars", split, ("train", "test"))
    root = get("stanford-cars").require()
    name = "cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
    rows = loadmat(root / name, squeeze_me=True)["annotations"]
    names = [str(number) for number in range(1, 197)]
    return _listed(((root / f"cars_{split}" / str(row["fname"]), str(row["class"])) for row in rows), names)


def cub_200(split: str) -> ImageFiles:
    """CUB-200-2011: 5,994 train and 5,794 test pictures, 200 classes."""
    check_split("cub-200", split, ("train", "test"))
    root = get("cub-200").require() / "CUB_200_2011"
    tables = [_columns(root / name) for name in ("images.txt", "train_test_split.txt")]
    names, parts = (dict(table) for table in tables)
    wanted = "1" if split == "train" else "0"
    chosen = [name for number, name in names.items() if parts[number] == wanted]
    classes = sorted({name.partition("/")[0] for name in names.values()})
    return _listed(((root / "images" / name, name.partition("/")[0]) for name in chosen), classes)


def sun397(split: str) -> ImageFiles:
    """SUN397: 108,754 scenes; classes as ClassName.txt lists them. Its ten published splits are lists of their own."""
    check_split("sun397", split, ("all",))
    root = get("sun397").require() / "SUN397"
    classes = [line.strip().lstrip("/") for line in (root / "ClassName.txt").read_text("utf-8").splitlines() if line]
    return _listed(((path, name) for name in classes for path in _pictures(root / name)), classes)


def domainnet_126(split: str) -> ImageFiles:
    """DomainNet-126: the split is a domain, one of clipart, painting, real, sketch; classes are named by number."""
    check_split("domainnet-126", split, DOMAINS)
    root = get("domainnet-126").require()
    rows = _columns(root / f"{split}_list.txt")
    names = [str(number) for number in range(126)]
    return _listed(((root / name, kind) for name, kind in rows), names)


def fgvc_aircraft(split: str) -> ImageFiles:
    """FGVC-Aircraft: 3,334 train, 3,333 val, 3,333 test pictures of 100 variants. Each ends in 20 rows of copyright."""
    check_split("fgvc-aircraft", split, ("train", "val", "test"))
    root = get("fgvc-aircraft").require() / "fgvc-aircraft-2013b" / "data"
    rows = (line.split(" ", 1) for line in (root / f"images_variant_{split}.txt").read_text("utf-8").splitlines())
    variants = (root / "variants.txt").read_text("utf-8").splitlines()
    return _listed(((root / "images" / f"{row[0]}.jpg", row[1]) for row in rows), variants)


def caltech101(split: str) -> ImageFiles:
    """Caltech 101: 8,677 pictures of 101 categories, and 467 of its category BACKGROUND_Google ("all" has both).

    It has no split of its own: "train", "val" and "test" are those of Zhou et al. (2022), without the background and
    the easy faces, and need their split_zhou_Caltech101.json beside the archive, which is unpacked into the cache once.
    """
    check_split("caltech101", split, ("all", *ZHOU_PARTS))
    folder = get("caltech101").require()
    root = _unpacked(folder / "caltech-101.zip", "caltech-101/101_ObjectCategories.tar.gz") / "101_ObjectCategories"
    return by_folder(root) if split == "all" else _zhou(root, folder / "split_zhou_Caltech101.json", split)


def ucf101(split: str) -> ImageFiles:
    """Middle frames of UCF101: 7,639 train, 1,898 val, 3,783 test pictures of 101 actions (Zhou et al. 2022)."""
    check_split("ucf101", split, ZHOU_PARTS)
    folder = get("ucf101").require()
    return _zhou(folder / "UCF-101-midframes", folder / "split_zhou_UCF101.json", split)


def objectnet(split: str) -> ImageFiles:
    """ObjectNet: "all" 50,000 pictures of 313 classes, or the "shared" 113 that its mapping leads to ImageNet's.

    Classes bear ObjectNet's labels. The red frame that marks its pictures, one pixel of each side, is cut off.
    """
    check_split("objectnet", split, ("all", "shared"))
    root = get("objectnet").require() / "objectnet-1.0"
    labels = json.loads((root / "mappings" / "folder_to_objectnet_label.json").read_text("utf-8"))
    shared = json.loads((root / "mappings" / "objectnet_to_imagenet_1k.json").read_text("utf-8"))
    kept = {folder: label for folder, label in labels.items() if split == "all" or label in shared}
    found = ((path, label) for folder, label in sorted(kept.items()) for path in _pictures(root / "images" / folder))
    return replace(_listed(found, sorted(kept.values())), border=1)


def _zhou(root: Path, table: Path, split: str) -> ImageFiles:
    """A part of a list of Zhou et al.: [path, number of the class, its name] for each picture."""
    if not table.is_file():
        raise DataError(f"{table} is absent: it comes with the data sets of KaiyangZhou/CoOp")
    parts = json.loads(table.read_text("utf-8"))
    names = {number: name for part in parts.values() for _, number, name in part}
    classes = [names[number] for number in sorted(names)]
    return _listed(((root / path, name) for path, _, name in parts[split]), classes)


def _unpacked(archive: Path, nested: str) -> Path:
    """The folder of an archive that lies within an archive, unpacked into the cache on first use."""
    state = archive.stat()
    target = cache.root() / "unpacked" / f"{archive.stem}-{state.st_size}-{state.st_mtime_ns}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            outer, inner = (Path(scratch) / name for name in ("outer", "inner"))
            for folder in (outer, inner):
                folder.mkdir()
            unpack(archive, outer)
            if not (outer / nested).is_file():
                raise DataError(f"{archive} holds no {nested}")
            unpack(outer / nested, inner)
            with contextlib.suppress(FileExistsError):  # another process was first
                inner.rename(target)
    return target


def stl10(split: str) -> Images:
    """STL-10, uint8 (5000 train, 8000 test or 100000 unlabeled, 3, 96, 96); label -1 where there is none."""
    check_split("stl10", split, ("train", "test", "unlabeled"))
    root = get("stl10").require() / "stl10_binary"
    pixels = np.fromfile(root / f"{split}_X.bin", np.uint8).reshape(-1, 3, 96, 96).swapaxes(2, 3)  # column by column
    labels = np.full(len(pixels), -1, np.int64)
    if split != "unlabeled":
        labels[:] = np.fromfile(root / f"{split}_y.bin", np.uint8).astype(np.int64) - 1
    return Images(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(labels), STL10_CLASSES)


def kuzushiji_49(split: str) -> Images:
    """Kuzushiji-49: 232,365 train and 38,547 test characters, uint8 (N, 1, 28, 28). Classes are named by number."""
    check_split("kuzushiji-49", split, ("train", "test"))
    root = get("kuzushiji-49").require()
    found = [np.load(root / f"k49-{split}-{part}.npz", allow_pickle=False)["arr_0"] for part in ("imgs", "labels")]
    images, labels = torch.from_numpy(found[0]).unsqueeze(1), torch.from_numpy(found[1].astype(np.int64))
    return Images(images, labels, tuple(map(str, range(49))))


def _whole(name: str, folder: str, split: str) -> ImageFiles:
    check_split(name, split, ("all",))
    return by_folder(get(name).require() / folder)


def by_folder(root: Path, classes: list[str] | None = None) -> ImageFiles:
    """One folder a class, in the given or in alphabetical order; pictures of a class in the order of their names."""
    names = classes or subfolders(root)
    return _listed(((path, name) for name in names for path in _pictures(root / name)), names)


def _pictures(folder: Path) -> list[Path]:
    return [path for path in listed(folder) if path.suffix.lower() in SUFFIXES]


def _columns(path: Path) -> list[tuple[str, str]]:
    """Lines of two words."""
    rows = [line.rsplit(maxsplit=1) for line in path.read_text("utf-8").splitlines() if line.strip()]
    if bad := next((number for number, row in enumerate(rows, 1) if len(row) != 2), None):
        raise DataError(f"{path}, line {bad}: expected two words")
    return [(first, second) for first, second in rows]


def _listed(found: Iterable[tuple[Path, str]], classes: list[str] | None = None) -> ImageFiles:
    pairs = list(found)
    names = classes or sorted({name for _, name in pairs})
    number = {name: place for place, name in enumerate(names)}
    if absent := next((path for path, _ in pairs if not path.is_file()), None):
        raise DataError(f"{absent} is absent: the set was not unpacked whole")
    return ImageFiles(tuple(path for path, _ in pairs), torch.tensor([number[name] for _, name in pairs]), tuple(names))
