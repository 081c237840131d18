"""Loaders of pictures and signals that are not at hand, each on a few examples in the published layout."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

import reference
from reference import DataError
from reference.catalog import get
from tests.reference.test_text import root  # noqa: F401  (a fixture)

GREEN = (0, 200, 0)


def picture(path: Path, colour: tuple[int, int, int] = GREEN, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def imagenet_1k(folder: Path) -> None:
    for name in ("n01440764/n01440764_10026.JPEG", "n01440764/n01440764_10040.JPEG", "n01443537/n01443537_2.JPEG"):
        picture(folder / "imagenet-1k" / "train" / name)
    picture(folder / "imagenet-1k" / "val" / "n01440764" / "ILSVRC2012_val_00000293.JPEG")


def imagenet_r(folder: Path) -> None:
    write(folder / "imagenet-r" / "imagenet-r" / "README.txt")
    for name in ("n01443537/art_0.jpg", "n01484850/art_0.jpg"):
        picture(folder / "imagenet-r" / "imagenet-r" / name)


def imagenet_v2(folder: Path) -> None:
    write(folder / "imagenet-v2" / "RELEASE")
    for number in (0, 10, 2):
        picture(folder / "imagenet-v2" / "imagenetv2-matched-frequency-format-val" / str(number) / "a.jpeg")


def tiny_imagenet(folder: Path) -> None:
    base = folder / "tiny-imagenet" / "tiny-imagenet-200"
    write(base / "wnids.txt", "n02\nn01\n")
    write(base / "words.txt")
    for name in ("n01", "n02"):
        picture(base / "train" / name / "images" / f"{name}_0.JPEG")
    write(base / "val" / "val_annotations.txt", "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n")
    for number in (0, 1):
        picture(base / "val" / "images" / f"val_{number}.JPEG")


def dtd(folder: Path) -> None:
    base = folder / "dtd" / "dtd"
    for part, names in (("train", "banded/banded_1.jpg\nwoven/woven_1.jpg\n"), ("val", ""), ("test", "")):
        write(base / "labels" / f"{part}1.txt", names)
    for name in ("banded/banded_1.jpg", "woven/woven_1.jpg"):
        picture(base / "images" / name)


def food101(folder: Path) -> None:
    base = folder / "food101" / "food-101"
    write(base / "meta" / "train.json", json.dumps({"waffles": ["waffles/7"], "apple_pie": ["apple_pie/3"]}))
    write(base / "meta" / "test.json", "{}")
    for name in ("waffles/7", "apple_pie/3"):
        picture(base / "images" / f"{name}.jpg")


def oxford_pets(folder: Path) -> None:
    base = folder / "oxford-pets"
    write(base / "annotations" / "trainval.txt", "beagle_9 2 2 1\nAbyssinian_100 1 1 1\n")
    write(base / "annotations" / "test.txt")
    for name in ("beagle_9", "Abyssinian_100"):
        picture(base / "images" / f"{name}.jpg")


def flowers102(folder: Path) -> None:
    base = folder / "flowers102"
    for number in (1, 2, 3):
        picture(base / "jpg" / f"image_{number:05d}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([[2, 1, 2]])})
    savemat(base / "setid.mat", {"trnid": np.array([[3, 2]]), "valid": np.array([[1]]), "tstid": np.array([[1]])})


def stanford_cars(folder: Path) -> None:
    base = folder / "stanford-cars"
    picture(base / "cars_train" / "00001.jpg")
    picture(base / "cars_train" / "00002.jpg")
    kinds = [("fname", object), ("class", object)]
    rows = np.array([("00001.jpg", 14), ("00002.jpg", 3)], dtype=kinds)
    for name in ("cars_train_annos.mat", "cars_test_annos_withlabels.mat"):
        savemat(base / name, {"annotations": rows})


def cub_200(folder: Path) -> None:
    base = folder / "cub-200" / "CUB_200_2011"
    names = ("001.Albatross/a.jpg", "002.Auklet/b.jpg", "002.Auklet/c.jpg")
    write(base / "images.txt", "".join(f"{number} {name}\n" for number, name in enumerate(names, 1)))
    write(base / "train_test_split.txt", "1 0\n2 1\n3 1\n")
    write(base / "image_class_labels.txt", "1 1\n2 2\n3 2\n")
    for name in names:
        picture(base / "images" / name)


def sun397(folder: Path) -> None:
    base = folder / "sun397" / "SUN397"
    write(base / "ClassName.txt", "/a/abbey\n/a/apse/indoor\n")
    picture(base / "a" / "abbey" / "sun_a.jpg")
    picture(base / "a" / "apse" / "indoor" / "sun_b.jpg")


def domainnet_126(folder: Path) -> None:
    base = folder / "domainnet-126"
    for domain in ("clipart", "painting", "real", "sketch"):
        write(base / f"{domain}_list.txt", f"{domain}/cat/{domain}_1.jpg 7\n{domain}/dog/{domain}_2.jpg 125\n")
        picture(base / domain / "cat" / f"{domain}_1.jpg")
        picture(base / domain / "dog" / f"{domain}_2.jpg")


def eurosat(folder: Path) -> None:
    for name in ("AnnualCrop/AnnualCrop_1.jpg", "River/River_1.jpg"):
        picture(folder / "eurosat" / "2750" / name, size=(64, 64))


def fgvc_aircraft(folder: Path) -> None:
    base = folder / "fgvc-aircraft" / "fgvc-aircraft-2013b" / "data"
    write(base / "variants.txt", "707-320\nA300B4\n")
    for part in ("train", "val", "test"):
        write(base / f"images_variant_{part}.txt", "1025794 A300B4\n1340192 707-320\n")
    for number in (1025794, 1340192):
        picture(base / "images" / f"{number}.jpg")


def caltech101(folder: Path) -> None:
    inner, outer = BytesIO(), folder / "caltech101" / "caltech-101.zip"
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        for name in ("accordion/image_0001.jpg", "BACKGROUND_Google/image_0001.jpg"):
            tar.add(picture(folder / "pictures" / name), f"101_ObjectCategories/{name}")
    outer.parent.mkdir()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
        archive.writestr("caltech-101/Annotations.tar", b"")
    parts = {"train": [["accordion/image_0001.jpg", 0, "accordion"]], "val": [], "test": []}
    write(outer.parent / "split_zhou_Caltech101.json", json.dumps(parts))


def ucf101(folder: Path) -> None:
    names = ("Apply_Eye_Makeup/v_ApplyEyeMakeup_g08_c01.jpg", "Archery/v_Archery_g01_c01.jpg")
    for name in names:
        picture(folder / "ucf101" / "UCF-101-midframes" / name)
    parts = {"train": [[names[1], 1, "Archery"]], "val": [], "test": [[names[0], 0, "Apply_Eye_Makeup"]]}
    write(folder / "ucf101" / "split_zhou_UCF101.json", json.dumps(parts))


def objectnet(folder: Path) -> None:
    base = folder / "objectnet" / "objectnet-1.0"
    write(base / "mappings" / "folder_to_objectnet_label.json", json.dumps({"wok": "Wok", "air_freshener": "Air"}))
    write(base / "mappings" / "objectnet_to_imagenet_1k.json", json.dumps({"Wok": "wok"}))
    for name in ("wok/a.png", "air_freshener/b.png"):
        path = picture(base / "images" / name, (255, 0, 0))
        framed = Image.open(path)
        framed.paste(GREEN, (1, 1, framed.width - 1, framed.height - 1))
        framed.save(path)


@pytest.mark.parametrize(
    ("make", "split", "labels", "classes"),
    [
        (imagenet_1k, "train", [0, 0, 1], 2),
        (imagenet_1k, "val", [0], 1),
        (imagenet_r, "all", [0, 1], 2),
        (imagenet_v2, "all", [0, 1, 2], 3),
        (tiny_imagenet, "train", [0, 1], 2),
        (tiny_imagenet, "val", [1, 0], 2),
        (dtd, "train", [0, 1], 2),
        (food101, "train", [0, 1], 2),
        (oxford_pets, "trainval", [1, 0], 2),
        (flowers102, "train", [1, 0], 2),
        (stanford_cars, "train", [13, 2], 196),
        (cub_200, "train", [1, 1], 2),
        (cub_200, "test", [0], 2),
        (sun397, "all", [0, 1], 2),
        (domainnet_126, "sketch", [7, 125], 126),
        (eurosat, "all", [0, 1], 2),
        (fgvc_aircraft, "val", [1, 0], 2),
        (caltech101, "all", [0, 1], 2),
        (caltech101, "train", [0], 1),
        (ucf101, "train", [1], 2),
        (ucf101, "test", [0], 2),
        (objectnet, "all", [0, 1], 2),
        (objectnet, "shared", [0], 1),
    ],
)
def test_pictures_with_labels(
    root: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    split: str,
    labels: list[int],
    classes: int,
) -> None:
    name = make.__name__.replace("_", "-")
    with pytest.raises(DataError, match=f"'{name}' is absent"):
        reference.load(name, split)
    make(root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    found = reference.load(name, split)
    assert found.labels.tolist() == labels and len(found.classes) == classes
    pixels = found[torch.tensor([len(labels) - 1])]
    assert pixels.shape == (1, 3, 224, 224) and pixels.dtype == torch.uint8
    assert pixels.float().mean((0, 2, 3)).tolist() == pytest.approx(GREEN, abs=4)
    with pytest.raises(DataError, match="no split 'nonsense'"):
        reference.load(name, "nonsense")


def test_imagenet_v2_sorts_its_folders_by_number(root: Path) -> None:  # noqa: F811
    imagenet_v2(root)
    assert reference.load("imagenet-v2").classes == ("0", "2", "10")


def test_a_set_that_was_not_unpacked_whole_is_refused(root: Path) -> None:  # noqa: F811
    dtd(root)
    (root / "dtd" / "dtd" / "images" / "woven" / "woven_1.jpg").unlink()
    with pytest.raises(DataError, match=r"woven_1\.jpg is absent: the set was not unpacked whole"):
        reference.load("dtd", "train")


def test_an_archive_within_an_archive_is_unpacked_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    caltech101(root)
    first = reference.load("caltech101").paths
    monkeypatch.delattr("reference.pictures.unpack")
    assert reference.load("caltech101").paths == first
    (root / "caltech101" / "split_zhou_Caltech101.json").unlink()
    with pytest.raises(DataError, match=r"split_zhou_Caltech101\.json is absent: it comes with"):
        reference.load("caltech101", "test")


def test_an_archive_without_the_archive_within(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    (root / "caltech101").mkdir()
    with zipfile.ZipFile(root / "caltech101" / "caltech-101.zip", "w") as archive:
        archive.writestr("readme", b"")
    with pytest.raises(DataError, match=r"holds no caltech-101/101_ObjectCategories\.tar\.gz"):
        reference.load("caltech101")
    assert list((root / "cache" / "crossexam" / "unpacked").iterdir()) == []


def test_stl10_is_stored_column_by_column(root: Path) -> None:  # noqa: F811
    base = root / "stl10" / "stl10_binary"
    base.mkdir(parents=True)
    image = np.arange(3 * 96 * 96, dtype=np.uint64).astype(np.uint8).reshape(3, 96, 96)
    for part in ("train", "test", "unlabeled"):
        image.swapaxes(1, 2).tofile(base / f"{part}_X.bin")
        if part != "unlabeled":
            np.array([10], np.uint8).tofile(base / f"{part}_y.bin")
    found = reference.load("stl10", "test")
    assert found.images.numpy().tolist() == [image.tolist()] and found.classes[found.labels[0]] == "truck"
    assert reference.load("stl10", "unlabeled").labels.tolist() == [-1]


def test_kuzushiji_49(root: Path) -> None:  # noqa: F811
    base = root / "kuzushiji-49"
    base.mkdir()
    for part in ("train", "test"):
        np.savez(base / f"k49-{part}-imgs.npz", np.zeros((2, 28, 28), np.uint8))
        np.savez(base / f"k49-{part}-labels.npz", np.array([48, 0], np.uint8))
    found = reference.load("kuzushiji-49", "test")
    assert found.images.shape == (2, 1, 28, 28) and found.labels.tolist() == [48, 0]


def test_human_labels_of_cifar(root: Path) -> None:  # noqa: F811
    base = root / "cifar10-n"
    base.mkdir()
    np.savez(base / "labels.npz", worse_label=np.full(50_000, 9), clean_label=np.zeros(3, np.int64))
    assert reference.load("cifar10-n", "worse_label").unique().tolist() == [9]
    with pytest.raises(DataError, match="clean_label is not 50000 labels"):
        reference.load("cifar10-n", "clean_label")
    with pytest.raises(DataError, match="lacks aggre_label: save the label vectors"):
        reference.load("cifar10-n", "aggre_label")


def test_voc_and_sbd_masks_are_class_numbers(root: Path) -> None:  # noqa: F811
    base = root / "voc2012" / "VOCdevkit" / "VOC2012"
    for part in ("train", "val", "trainval"):
        write(base / "ImageSets" / "Segmentation" / f"{part}.txt", "2007_000032\n")
    picture(base / "JPEGImages" / "2007_000032.jpg", size=(4, 3))
    mask = Image.fromarray(np.array([[0, 1, 15, 255]] * 3, np.uint8), mode="P")
    mask.putpalette([number for number in range(256) for _ in range(3)])
    (base / "SegmentationClass").mkdir()
    mask.save(base / "SegmentationClass" / "2007_000032.png")
    pixels, classes = reference.load("voc2012", "val")[0]
    assert pixels.shape == (3, 3, 4) and classes.tolist() == [[0, 1, 15, 255]] * 3
    assert reference.load("voc2012", "val").classes[15] == "person"

    base = root / "sbd" / "benchmark_RELEASE" / "dataset"
    for part in ("train", "val"):
        write(base / f"{part}.txt", "2008_000002\n")
    picture(base / "img" / "2008_000002.jpg", size=(4, 3))
    (base / "cls").mkdir()
    savemat(base / "cls" / "2008_000002.mat", {"GTcls": {"Segmentation": np.array([[0, 20, 0, 0]] * 3, np.uint8)}})
    assert reference.load("sbd", "train")[0][1].tolist() == [[0, 20, 0, 0]] * 3


@pytest.mark.parametrize(
    ("name", "archive", "inside", "parts"),
    [
        ("levir-cd", "val.zip", "val", ("A", "B", "label")),
        ("levir-cd-plus", "LEVIR-CD+.zip", "LEVIR-CD+/test", ("A", "B", "label")),
        ("sysu-cd", "val.zip", "val", ("time1", "time2", "label")),
    ],
)
def test_pairs_of_pictures_with_their_changes(
    root: Path,  # noqa: F811
    name: str,
    archive: str,
    inside: str,
    parts: tuple[str, str, str],
) -> None:
    (root / name).mkdir()
    split = Path(inside).name

    def members(zipped: zipfile.ZipFile, missing: str = "") -> None:
        for part, colour in zip(parts, (GREEN, (200, 0, 0), (255, 255, 255)), strict=True):
            for number in (1, 2):
                if f"{part}/{number}" != missing:
                    stream = BytesIO()
                    shade = colour if number == 1 or part != "label" else (0, 0, 0)
                    Image.new("RGB", (4, 4), shade).save(stream, "PNG")
                    zipped.writestr(f"{inside}/{part}/{split}_{number}.png", stream.getvalue())

    for file in get(name).files:
        with zipfile.ZipFile(root / name / file.name, "w") as zipped:
            members(zipped)
    found = reference.load(name, split)
    before, after, mask = found[0]
    assert len(found) == 2 and before.shape == after.shape == (3, 4, 4)
    assert before[1].unique().tolist() == [200] and after[0].unique().tolist() == [200]
    assert mask.all() and not found[1][2].any()
    with zipfile.ZipFile(root / name / archive, "w") as zipped:
        members(zipped, missing="label/2")
    with pytest.raises(DataError, match="do not hold the same files"):
        reference.load(name, split)


def test_objects_of_coco_become_masks(root: Path) -> None:  # noqa: F811
    pytest.importorskip("pycocotools")
    image = {"id": 9, "file_name": "COCO_val2014_000000000009.jpg", "height": 6, "width": 8}
    square = {"image_id": 9, "category_id": 18, "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    over = {**square, "category_id": 1, "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4]]}
    crowd = {**square, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [42, 6]}}  # the last column
    kinds = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    (root / "coco2014").mkdir()
    with zipfile.ZipFile(root / "coco2014" / "annotations_trainval2014.zip", "w") as archive:
        for part in ("train", "val"):
            listed = {"images": [image], "annotations": [square, over, crowd], "categories": kinds}
            archive.writestr(f"annotations/instances_{part}2014.json", json.dumps(listed))
    for part in ("train", "val"):
        stream = BytesIO()
        Image.new("RGB", (8, 6), GREEN).save(stream, "JPEG")
        with zipfile.ZipFile(root / "coco2014" / f"{part}2014.zip", "w") as archive:
            archive.writestr(f"{part}2014/{image['file_name']}", stream.getvalue())
    found = reference.load("coco2014", "val")
    pixels, classes = found[0]
    assert found.classes == ("background", "person", "dog") and pixels.shape == (3, 6, 8)
    assert (
        classes.tolist()
        == [[2, 2, 2, 2, 0, 0, 0, 255]] * 2 + [[2, 2, 1, 1, 0, 0, 0, 255]] * 2 + [[0, 0, 0, 0, 0, 0, 0, 255]] * 2
    )


def test_the_one_pair_of_whu_is_cut_into_tiles(root: Path) -> None:  # noqa: F811
    for part in ("train", "test"):
        for name in ("before", "after"):
            picture(root / "whu-cd" / f"{part}-{name}.tif", size=(600, 300))
        changed = np.zeros((300, 600), np.uint8)
        changed[10, 256] = 255
        Image.fromarray(changed).save(root / "whu-cd" / f"{part}-label.tif")
    guard = Image.MAX_IMAGE_PIXELS
    found = reference.load("whu-cd", "test")
    assert found.names == ("000-000", "000-001")
    assert guard == Image.MAX_IMAGE_PIXELS  # the guard is back
    before, after, mask = found[1]
    assert before.shape == after.shape == (3, 256, 256)
    assert mask.nonzero().tolist() == [[10, 0]] and not found[0][2].any()
    picture(root / "whu-cd" / "test-after.tif", size=(600, 301))
    with pytest.raises(DataError, match="the three pictures of 'test' differ in size"):
        reference.load("whu-cd", "test")


def test_scans_of_the_atrial_challenge(root: Path) -> None:  # noqa: F811
    h5py = pytest.importorskip("h5py")
    base = root / "la2018"
    write(base / "train.list", "CASE_A\nCASE_B\n")
    write(base / "test.list", "CASE_B\n")
    for case in ("CASE_A", "CASE_B"):
        (base / case).mkdir()
        with h5py.File(base / case / "mri_norm2.h5", "w") as file:
            file["image"], file["label"] = np.full((4, 3, 2), -1.5, np.float32), np.ones((4, 3, 2), np.uint8)
    scan = reference.load("la2018", "train")[1]
    assert scan.case == "CASE_B" and scan.image.shape == (4, 3, 2) and scan.label.sum() == 24
    with h5py.File(base / "CASE_A" / "mri_norm2.h5", "w") as file:
        file["image"], file["label"] = np.zeros((4, 3, 2)), np.zeros((4, 3, 1))
    with pytest.raises(DataError, match="are not a volume and its mask"):
        reference.load("la2018", "train")[0]


def test_era5_is_unpacked(root: Path) -> None:  # noqa: F811
    h5py = pytest.importorskip("h5py")
    write(root / "era5" / "RELEASE")
    with h5py.File(root / "era5" / "2024-06-01.nc", "w") as file:
        file["valid_time"] = np.array([1717200000, 1717203600])
        file["valid_time"].attrs["units"] = "seconds since 1970-01-01"
        file["pressure_level"], file["latitude"], file["longitude"] = [1000, 500], [90.0, 0, -90], [0.0, 90, 180, 270]
        packed = np.arange(48, dtype=np.int16).reshape(2, 2, 3, 4)
        packed[0, 0, 0, 0] = -32767
        file["t"] = packed
        file["t"].attrs.update(units="K", scale_factor=0.5, add_offset=200.0, _FillValue=np.int16(-32767))
        file["t2m"] = np.full((2, 3, 4), 280, np.float32)
    fields = {field.variable: field for field in reference.load("era5", "2024-06-01")}
    air = fields["t"]
    assert air.units == "K" and air.levels == (1000, 500) and air.values.shape == (2, 2, 3, 4)
    assert air.values[0, 0, 0, 0].isnan() and air.values[1, 1, 2, 3] == 200 + 47 / 2
    assert air.times == ("2024-06-01T00:00:00", "2024-06-01T01:00:00")
    assert fields["t2m"].values.shape == (2, 1, 3, 4) and fields["t2m"].levels == (0,)
    with pytest.raises(DataError, match=r"no file .1999-01-01\.nc. here: there are 2024-06-01"):
        reference.load("era5", "1999-01-01")


def test_electrocardiograms_are_in_millivolts(root: Path) -> None:  # noqa: F811
    base = root / "ptb-xl"
    write(base / "RECORDS", "g1/\n")
    (base / "g1").mkdir()
    savemat(base / "g1" / "HR00001.mat", {"val": np.array([[1000, -500, 0], [24, 1024, 524]], np.int16)})
    header = (
        "HR00001 2 500 3\nHR00001.mat 16x1+24 1000.0(0)/mV 16 0 1000 7 0 I\n"
        "HR00001.mat 16x1+24 1000.0(24)/mV 16 0 24 7 0 II\n#Age: 56\n#Sex: Female\n#Dx: 251146004,426783006\n#Rx: Unknown\n"
    )
    write(base / "g1" / "HR00001.hea", header)
    found = reference.load("ptb-xl")
    assert len(found) == 1
    record = found[0]
    torch.testing.assert_close(record.signal, torch.tensor([[1.0, -0.5, 0], [0, 1, 0.5]]))
    assert record.leads == ("I", "II") and record.hertz == 500 and record.age == 56 and record.sex == "Female"
    assert record.diagnoses == ("251146004", "426783006")
    write(base / "g1" / "HR00001.hea", header.replace("500 3", "500 4"))
    with pytest.raises(DataError, match="announces 2 leads of 4 samples"):
        found[0]
