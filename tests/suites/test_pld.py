"""The loss by hand, what it refuses, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from baselines.distillation import correlated, decoupled
from baselines.losses import kl_divergence
from baselines.models import mlp
from suites.pld import experiments, method, on_cifar, on_small_data
from suites.pld.contenders import RATES, RESTRICTED, SETTINGS
from suites.pld.method import plackett_luce_distillation, teacher_ranking
from tests.conftest import needed
from tests.suites import data_folders

STUDENT = torch.tensor([[0.0, math.log(2), math.log(3)]], dtype=torch.float64)
TEACHER = torch.tensor([[math.log(3), math.log(6), 0.0]], dtype=torch.float64)  # q = (0.3, 0.6, 0.1)
TARGET = torch.tensor([0])


def test_by_hand() -> None:
    assert teacher_ranking(TEACHER, TARGET).tolist() == [[0, 1, 2]]
    found = plackett_luce_distillation(STUDENT, TARGET, teacher_logits=TEACHER)
    assert float(found) == pytest.approx(0.3 * math.log(6 / 1) + 0.6 * math.log(5 / 2))


def test_far_logits_take_the_long_way() -> None:
    free = torch.tensor([[0.0, 500.0, -1000.0, 1000.0]], requires_grad=True)
    found = plackett_luce_distillation(free, TARGET, teacher_logits=torch.tensor([[1.0, 2.0, 0.0, 3.0]]))
    assert float(found.detach()) == pytest.approx(float(torch.tensor([1.0, 2.0, 0.0, 3.0]).softmax(0)[0]) * 1000)
    found.backward()
    assert free.grad is not None
    assert bool(free.grad.isfinite().all())


def test_gradients() -> None:
    s, t = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, free = torch.tensor([0, 5, 2, 2]), s.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: plackett_luce_distillation(x, y, teacher_logits=t), free)
    assert torch.autograd.gradgradcheck(lambda x: plackett_luce_distillation(x, y, teacher_logits=t), free)


def test_layout_autocast_and_compilation_change_nothing() -> None:
    wide, teacher, y = torch.randn(3, 5).T, torch.randn(3, 5).T, torch.tensor([0, 1, 2, 0, 1])
    expected = plackett_luce_distillation(wide.contiguous(), y, teacher_logits=teacher.contiguous())
    torch.testing.assert_close(plackett_luce_distillation(wide, y, teacher_logits=teacher), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = plackett_luce_distillation(wide, y, teacher_logits=teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    compiled = torch.compile(
        lambda x: plackett_luce_distillation(x, y, teacher_logits=teacher), backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(wide), expected)


def test_nothing_to_learn_from() -> None:
    empty, none = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    assert math.isnan(plackett_luce_distillation(empty, none, teacher_logits=empty))
    assert float(plackett_luce_distillation(empty, none, teacher_logits=empty, reduction="sum")) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: plackett_luce_distillation(STUDENT, TARGET, teacher_logits=TEACHER, temperature=0.0),
        lambda: plackett_luce_distillation(STUDENT, TARGET, teacher_logits=TEACHER[:, :2]),
        lambda: plackett_luce_distillation(STUDENT, TARGET + 3, teacher_logits=TEACHER),
        lambda: plackett_luce_distillation(STUDENT[:, :1], TARGET, teacher_logits=TEACHER[:, :1]),
        lambda: plackett_luce_distillation(
            STUDENT, TARGET, teacher_logits=TEACHER, ranking=teacher_ranking(TEACHER, TARGET + 1)
        ),
        lambda: plackett_luce_distillation(STUDENT, TARGET, teacher_logits=TEACHER, reduction="median"),
        lambda: correlated(STUDENT, TARGET, teacher_logits=TEACHER, temperature=0.0, inter=1.0, intra=1.0),
        lambda: decoupled(STUDENT, TARGET, teacher_logits=TEACHER[:, :2], temperature=1.0, target=1.0, rest=1.0),
    ],
)
def test_refuses_what_is_no_problem(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


# The rivals.


def test_dkd_parts_sum_to_the_divergence() -> None:
    s, t = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(6) % 5
    free = s.clone().requires_grad_()
    found = decoupled(free, y, teacher_logits=t, temperature=1.0, target=1.0, rest=0.0, reduction="none")
    others = 1 - t.softmax(1).gather(1, y[:, None])[:, 0]
    among = decoupled(free, y, teacher_logits=t, temperature=1.0, target=0.0, rest=1.0, reduction="none")
    ce = F.cross_entropy(free, y, reduction="none")
    whole = kl_divergence(t.log_softmax(1), free.log_softmax(1))
    torch.testing.assert_close(found - ce + others * (among - ce), whole)
    assert torch.autograd.grad(among.sum(), free)[0].isfinite().all()


def test_dist_by_correlation_matrices() -> None:
    s, t = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(6) % 5
    found = correlated(s, y, teacher_logits=t, temperature=2.0, inter=3.0, intra=0.5)
    p, q = (s / 2).softmax(1), (t / 2).softmax(1)
    rows = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(p, q, strict=True)])
    columns = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(p.T, q.T, strict=True)])
    torch.testing.assert_close(found, F.cross_entropy(s, y) + 3 * (1 - rows.mean()) + 0.5 * (1 - columns.mean()))


# The comparisons.


def test_settings_are_chosen_on_validation_data() -> None:
    shape = (len(SETTINGS), 3, len(RATES))
    found = {name: torch.zeros(shape) for name in ("validation", "test", "kl")} | {"teacher": torch.ones(1)}
    place = [*SETTINGS].index("pld")
    found["validation"][place, 1, 2], found["validation"][place, 2, 3] = 0.9, 0.8
    found["test"][place, 1, 2], found["test"][place, 2, 3] = 0.5, 0.7
    assert on_small_data.outcome(found, "pld")["accuracy"] == pytest.approx(0.5)
    assert on_small_data.outcome(found, "pld_tau_4")["accuracy"] == pytest.approx(0.7)
    assert on_small_data.outcome(found, "pld")["setting"] == 1


@pytest.mark.parametrize("data", ["digits", "letter"])
def test_students(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed(data)
    monkeypatch.setattr(on_small_data, "taught", lambda parts, _: mlp([parts.test[0].shape[1], 4, parts.classes]))
    sizes = {"data": data, "rows": 128, "epochs": 1}
    save_file(experiments.students(seed=1000, **sizes), tmp_path / "students.safetensors")
    for arm in (*SETTINGS, *RESTRICTED):
        found = experiments.distilled(arm=arm, students=tmp_path / "students.safetensors", **sizes)
        assert 0 <= found["accuracy"] <= 1
        assert found["kl"] >= 0


@pytest.mark.parametrize("arm", ["dist", "pld_tau_4"])
def test_cifar_students_from_disk(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSEXAM_DATA", str(data_folders.cifar100(tmp_path, 20)))
    monkeypatch.setattr(on_cifar, "resnet_cifar", lambda _, classes: mlp([3 * 32 * 32, 8, classes]))
    save_file(mlp([3 * 32 * 32, 8, 100]).state_dict(), tmp_path / "teacher.safetensors")
    found = experiments.cifar_students(
        arm=arm, seed=1000, device=torch.device("cpu"), data="cifar100", depth=8, epochs=1, rows=60,
        teacher=tmp_path / "teacher.safetensors",
    )  # fmt: skip
    assert 0 <= found["accuracy"] <= 1


def test_position_weights_of_many_classes() -> None:
    assert float(method.position_weights(1000).sum()) == pytest.approx(1)
