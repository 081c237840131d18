"""The method by hand, what it refuses, and the full protocols on a few images in the real on-disk formats."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from baselines.models import conv_net, wide_resnet
from reference.corruptions import NAMES
from suites.robust_mean_teacher import contenders, corruptions, experiments, method, networks, on_corruptions, on_digits
from suites.robust_mean_teacher.augmentation import SecondView
from tests.suites import data_folders

CPU = torch.device("cpu")


def adapted(**options) -> method.RobustMeanTeacher:
    """The method on a small network with random prototypes."""
    torch.manual_seed(0)
    model, prototypes = conv_net(5, (6, 8)), torch.randn(5, 8)
    options = {"augment": lambda images: images.flip(-1), **options}
    return method.RobustMeanTeacher(model, "fc", prototypes, lambda p: torch.optim.SGD(p, lr=0.1), **options)


def test_batch_norm_reads_the_batch_in_eval_mode() -> None:
    model = adapted().student
    assert not model.training
    images = torch.rand(4, 1, 8, 8)
    assert not torch.allclose(model(images)[:2], model(images[:2]))


def test_caller_keeps_its_model() -> None:
    torch.manual_seed(0)
    model = conv_net(5, (6, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method.RobustMeanTeacher(model, "fc", torch.randn(5, 8), lambda p: torch.optim.SGD(p, lr=0.1), augment=lambda x: x)(
        torch.rand(4, 1, 8, 8)
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_learns_even_where_gradients_are_off() -> None:
    one = adapted()
    before = nn.utils.parameters_to_vector(one.student.parameters()).clone()
    with torch.no_grad():
        logits = one(torch.rand(4, 1, 8, 8))
    assert not logits.requires_grad
    assert not torch.equal(nn.utils.parameters_to_vector(one.student.parameters()), before)


def test_no_projector() -> None:
    one = adapted(project=nn.Identity())
    assert one(torch.rand(4, 1, 8, 8)).shape == (4, 5)


@pytest.mark.parametrize(
    "wrong", [{"momentum": 1.1}, {"alpha": -0.1}, {"temperature": 0.0}, {"contrastive": -1.0}, {"replay": -1.0}]
)
def test_refuses_impossible_settings(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"lie in|no weight"):
        method.Setting(**wrong)


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="batch of one"):
        adapted()(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="differ in shape"):
        method.symmetric_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="views of one shape"):
        method.contrastive_loss([torch.zeros(2, 3)])
    with pytest.raises(ValueError, match="features of shape"):
        method.features_and_logits(conv_net(5, (6,)), nn.Linear(2, 2), torch.rand(2, 1, 8, 8))
    images = torch.rand(4, 1, 8, 8)
    for labels in ([0, 1, 1, 0], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match="each of the 3 classes"):
            method.source_prototypes(conv_net(3, (6,)), "fc", [(images, torch.tensor(labels))], num_classes=3)


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (4, 1, 8, 8), (2, 3, 16, 24)])
def test_second_view_keeps_shape_and_range_and_follows_its_seed(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    views = [SecondView(seed)(images) for seed in (0, 0, 1)]
    assert views[0].shape == images.shape
    assert views[0].min() >= 0
    assert views[0].max() <= 1
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert (views[0] - images).abs().mean() > 0.01


def test_second_view_mirrors_half_of_the_time_or_never() -> None:
    images = torch.zeros(1, 1, 16, 16)
    images[..., :4] = 1
    for mirror, least, most in ((True, 10, 30), (False, 0, 0)):
        view = SecondView(0, mirror=mirror)
        flipped = sum(bool((out := view(images))[..., 8:].sum() > out[..., :8].sum()) for _ in range(40))
        assert least <= flipped <= most


def test_strengths_lead_from_the_clean_image_to_the_full_corruption() -> None:
    images = on_digits.digits_split(0).judge[0][:50]
    for name, corrupt in corruptions.CORRUPTIONS.items():
        changes = []
        for strength in (0.2, 0.6, 1.0):
            found = corrupt(images, strength, torch.Generator().manual_seed(0)).clamp(0, 1)
            assert found.shape == images.shape
            changes.append(float((found - images).abs().mean()))
        assert 0 < changes[0] < changes[1] < changes[2], name
    torch.testing.assert_close(corruptions.CORRUPTIONS["contrast"](images, 1.0, torch.Generator()), 0.35 + 0.3 * images)


def test_splits_do_not_overlap() -> None:
    split = on_digits.digits_split(0)
    assert [len(part[1]) for part in (split.train, split.tune, split.judge)] == [1000, 200, 597]
    rows = torch.cat([part[0] for part in (split.train, split.tune, split.judge)]).flatten(1)
    assert len(rows.unique(dim=0)) == len(on_digits.digits_split(1).train[0]) + 797  # no digit occurs twice
    ordered = on_digits.by_class(split.judge)[1]
    assert torch.equal(ordered, ordered.sort().values)


def test_tuning_stream_and_last_batches() -> None:
    split = on_digits.digits_split(0)
    tune = on_digits.corrupted(split.tune, 0, tuning=True)
    assert len(tune) == 6 * 4
    assert all(float(images.min()) >= 0 and float(images.max()) <= 1 for images, _ in tune)
    assert not set(corruptions.OTHER_CORRUPTIONS) & set(corruptions.CORRUPTIONS)
    lone = on_digits.corrupted((split.judge[0][:51], split.judge[1][:51]), 0)
    assert [len(labels) for _, labels in lone] == [50] * 6


def finite(metrics: dict) -> None:
    assert metrics
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_digits_end_to_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "source.safetensors"
    save_file(on_digits.network("batch").state_dict(), file)
    options = {"seed": 1000, "norm": "batch", "momentum": 0.99, "source": file}
    for arm in ("bn", "mt_sce", "rmt"):
        finite(experiments.continual(arm=arm, **options))
    finite(experiments.correlated(arm="source", **options))
    finite(experiments.long_stream(arm="tent", rounds=2, **options))
    assert experiments.tuned(arm="tent", **options)["rate"] in contenders.RATES


# The full protocols, on the CPU, with small networks and random weights.


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 and -100, their corrupted sets and ImageNet in their formats: a few pictures of noise, the rest zeros."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    data_folders.cifar10(root, 300)
    data_folders.cifar100(root, 300)
    for name, inner, classes in (("cifar10-c", "CIFAR-10-C", 10), ("cifar100-c", "CIFAR-100-C", 100)):
        folder = root / name / inner
        folder.mkdir(parents=True)
        for corruption in NAMES:  # sparse: only severity 5 holds something
            pixels = np.lib.format.open_memmap(folder / f"{corruption}.npy", "w+", np.uint8, (50_000, 32, 32, 3))
            pixels[40_000:40_020] = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        np.save(folder / "labels.npy", np.tile(np.arange(10_000, dtype=np.uint8) % classes, 5))
    imagenet(root, rng)
    return root


def imagenet(root: Path, rng: np.random.Generator) -> None:
    """Three classes of four training pictures of odd sizes, and two validation pictures under every corruption."""

    def save(path: Path, height: int, width: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, "JPEG")

    classes = ("n01440764", "n01443537", "n01484850")
    for name in classes:
        for number in range(10026, 10030):
            save(root / "imagenet-1k" / "train" / name / f"{name}_{number}.JPEG", 230 + number % 7, 300)
    listed = [f"{name}/ILSVRC2012_val_0000000{k}.JPEG" for k, name in enumerate(classes)]
    for corruption, name in itertools.product(NAMES, listed):
        save(root / "imagenet-c" / corruption / "5" / name, 224, 224)
    (root / "imagenet-c" / "imagenet_test_image_ids.txt").write_text("\n".join(listed))


def tiny(num_classes: int, classifier: str) -> nn.Sequential:
    """A small network whose last layer has the name that the benchmark's network gives it."""
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return nn.Sequential(OrderedDict([("features", features), (classifier, nn.Linear(8, num_classes))]))


@pytest.fixture
def full(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder, with published weights replaced by random ones of small networks, in the published format."""
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folder))
    monkeypatch.setattr(on_corruptions, "wide_resnet", lambda depth, width: wide_resnet(10, 1))
    monkeypatch.setattr(on_corruptions, "resnext29", lambda classes: tiny(classes, "classifier"))
    monkeypatch.setattr("torchvision.models.resnet50", lambda: tiny(1000, "fc"))
    torch.manual_seed(0)
    prefixed = {f"module.{name}": value for name, value in wide_resnet(10, 1).state_dict().items()}
    for name, file, found in (
        ("robustbench-cifar10", "Standard.pt", {"state_dict": prefixed, "epoch": 3}),
        (
            "robustbench-cifar100",
            "Hendrycks2020AugMix_ResNeXt.pt",
            {"state_dict": tiny(100, "classifier").state_dict()},
        ),
        ("torchvision-resnet50", "resnet50-0676ba61.pth", tiny(1000, "fc").state_dict()),
    ):
        (data_folder / name).mkdir(exist_ok=True)
        torch.save(found, data_folder / name / file)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("name", "arm", "order", "limit"),
    [
        ("cifar10_c", "source", "mixed", 20),
        ("cifar10_c", "bn", "continual", 20),
        ("cifar10_c", "tent", "mixed", 20),
        ("cifar10_c", "rmt", "mixed", 20),
        ("cifar10_c", "rmt_full", "continual", 20),
        ("cifar100_c", "bn", "mixed", 200),
        ("cifar100_c", "rmt", "continual", 200),
        ("imagenet_c", "source", "continual", 0),
        ("imagenet_c", "rmt", "mixed", 0),
        ("imagenet_c", "rmt", "continual", 0),
    ],
)
def test_official_benchmarks_from_disk(name: str, arm: str, order: str, limit: int) -> None:
    finite(getattr(experiments, name)(arm=arm, seed=1000, device=CPU, order=order, limit=limit))


@pytest.mark.usefixtures("full")
def test_cifar10_with_corruptions_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_corruptions, "EIGHT", ("gaussian_noise", "fog"))
    weights, stream = tmp_path / "weights.safetensors", tmp_path / "stream.safetensors"
    save_file(experiments.cifar_source(seed=1000, device=CPU, epochs=2, limit=300), weights)
    found = experiments.cifar_stream(seed=1000, limit=12)
    assert found["images"].shape == (2, 12, 3, 32, 32)
    assert found["images"].dtype == torch.uint8
    save_file(found, stream)
    for arm in ("source", "bn", "tent", "mt_ce", "rmt", "rmt_replay", "rmt_full"):
        options = {"epochs": 2, "limit": 300, "cifar_source": weights, "cifar_stream": stream}
        finite(experiments.cifar10_corrupted(arm=arm, seed=1000, device=CPU, **options))


@pytest.mark.usefixtures("full")
def test_every_seed_shuffles_on_its_own_and_nothing_is_lost() -> None:
    pool = on_corruptions.load("cifar10-c", "fog-5", limit=20)
    orders = [torch.randperm(20, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    first, second = (torch.cat([labels for _, labels in pool.batches(order, 8, CPU)]) for order in orders)
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(pool.labels.tolist())
    both = on_corruptions.joined([pool, pool])
    assert len(both) == 40
    assert torch.equal(both.pictures[torch.tensor([25])], pool.pictures[torch.tensor([5])])


def test_resnext_has_the_names_and_size_of_the_published_weights() -> None:
    model = networks.resnext29(100)
    names = set(model.state_dict())
    assert {"conv_1_3x3.weight", "stage_1.0.downsample.1.weight", "stage_3.2.bn_reduce.running_mean"} <= names
    assert {"stage_2.0.conv_conv.weight", "classifier.bias"} <= names
    assert "stage_1.1.downsample.0.weight" not in names
    assert sum(p.numel() for p in model.parameters()) == 6_900_132
    with torch.no_grad():
        assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 100)


def test_replay_that_runs_out_is_refused_and_not_the_end_of_the_stream() -> None:
    images = torch.rand(4, 1, 8, 8)
    one = adapted(replay=iter([(images, torch.arange(4))] * 3))
    with pytest.raises(ValueError, match="run out of source batches"):
        list(map(one, [images] * 10))


def test_a_warm_up_that_is_cut_short_puts_the_rate_back_and_says_so() -> None:
    one, images = adapted(), [torch.rand(4, 1, 8, 8)] * 2
    with pytest.raises(ValueError, match="ended after 2 batches"):
        one.warm_up(images, steps=10)
    assert one.optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_half_precision_are_those_of_its_values_in_double(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher, views = (20 * torch.randn(size, generator=generator) for size in ((9, 50), (9, 50), (3, 9, 50)))
    student, teacher, views = student.to(dtype), teacher.to(dtype), views.to(dtype)
    found = method.symmetric_cross_entropy(student, teacher)
    torch.testing.assert_close(found.double(), method.symmetric_cross_entropy(student.double(), teacher.double()))
    found = method.contrastive_loss(list(views))
    torch.testing.assert_close(found.double(), method.contrastive_loss(list(views.double())))
