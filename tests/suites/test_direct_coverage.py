"""The loss by hand, what it refuses, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from suites.direct_coverage import experiments, method, on_math, on_small_data
from suites.direct_coverage.contenders import LOSSES, loss
from suites.direct_coverage.method import coverage, coverage_loss, direct_coverage, factor
from tests.baselines.tiny_models import tiny_llama, tiny_tokenizer
from tests.conftest import needed

CPU = torch.device("cpu")
HALF = torch.tensor([0.5], dtype=torch.float64).log()


def test_values_by_hand() -> None:
    assert float(coverage(HALF, 2)) == pytest.approx(3 / 4)
    assert float(coverage_loss(HALF, 2)) == pytest.approx(math.log(4 / 3))
    assert float(factor(HALF, 2)) == pytest.approx(2 / 3)  # 2 p (1 - p) / (1 - (1 - p)^2)
    assert float(factor(HALF, 1)) == 1


def test_answers_of_two_tokens() -> None:
    logits = torch.zeros(1, 3, 2, dtype=torch.float64)  # each token has p = 1/2; the third belongs to no answer
    value = direct_coverage(logits, torch.tensor([[0, 1, -100]]), n=2)
    assert float(value) == pytest.approx(-math.log(1 - (3 / 4) ** 2))


@pytest.mark.parametrize("n", [1, 2, 16, 256])
def test_gradients(n: int) -> None:
    logits = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.tensor([[0, 1, 2, 3], [4, 3, -100, -100], [-100, 0, 0, -100]])
    assert torch.autograd.gradcheck(lambda z: direct_coverage(z, targets, n=n), logits)
    assert torch.autograd.gradgradcheck(lambda z: direct_coverage(z, targets, n=n), logits)


@pytest.mark.parametrize("form", ["loss", "surrogate", "official"])
def test_compiled_and_autocast(form: method.Form) -> None:
    logits, targets = torch.randn(4, 3, 7), torch.arange(12).view(4, 3) % 7
    expected = direct_coverage(logits, targets, n=16, form=form)
    compiled = torch.compile(direct_coverage, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets, n=16, form=form), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(direct_coverage(logits, targets, n=16, form=form), expected)


@pytest.mark.parametrize("n", [0.5, math.nan, math.inf, "2"])
def test_tries_must_be_a_number_of_at_least_one(n: float) -> None:
    with pytest.raises(ValueError, match="n must be"):
        factor(HALF, n)


def test_empty_reductions() -> None:
    logits, targets = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    assert direct_coverage(logits, targets, n=2).isnan()
    assert direct_coverage(logits, targets, n=2, reduction="sum") == 0


@pytest.mark.parametrize("arm", list(LOSSES))
def test_contenders_are_finite_and_fall(arm: str) -> None:
    targets = torch.tensor([[0, 1, 2], [2, 2, 0]])
    logits = torch.zeros(2, 3, 10, requires_grad=True)  # p = 1/1000: 256 tries do not find it
    before = loss(arm, LOSSES[arm][0], logits, targets)
    (gradient,) = torch.autograd.grad(before.sum(), logits)
    after = loss(arm, LOSSES[arm][0], logits - 0.1 * gradient, targets)
    assert bool((after < before).all())


@pytest.mark.parametrize("task", list(on_small_data.TASKS))
def test_small_data(task: str, tmp_path: Path) -> None:
    needed(on_small_data.TASKS[task][0])
    save_file(experiments.swept(seed=1000, task=task, epochs=2), tmp_path / "swept")
    given = {"task": task, "epochs": 2, "swept": tmp_path / "swept"}
    for arm in (*LOSSES, "ce_early", "ce_temperature"):
        found = experiments.tries(arm=arm, **given)
        assert 0 <= found["pass_1"] <= 1
    for arm in ("early", "late", "ce", "dco_16", "dco_256"):
        found = experiments.training(arm=arm, **given)
        assert 0 <= found["pass_1"] <= found["pass_16"] <= found["pass_256"] <= 1


def test_unknown_task() -> None:
    with pytest.raises(ValueError, match="task must be one of"):
        on_small_data.parts("two-letters", 0)


@pytest.mark.parametrize("arm", ["ce", "dco_16"])
def test_math_from_disk(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow as pa

    rows = [
        {
            "problem": f"What is {k} + 1?",
            "solution": f"It is \\boxed{{{k + 1}}}.",
            "type": "Algebra",
            "level": "Level 1",
        }
        for k in range(8)
    ]
    for name in ("math", "math500"):
        (tmp_path / name).mkdir()
    for part, some in (("train", rows[:5]), ("test", rows[5:])):
        pq.write_table(pa.Table.from_pylist(some), tmp_path / "math" / f"{part}.parquet")
    tested = [{"problem": row["problem"], "solution": row["solution"], "answer": "7"} for row in rows[5:7]]
    (tmp_path / "math500" / "test.jsonl").write_text("\n".join(map(json.dumps, tested)), encoding="utf-8")
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))
    monkeypatch.setattr(on_math, "pretrained", lambda name, precision: (tiny_llama(), tiny_tokenizer()))
    assert len(on_math.tokenised("train", tiny_tokenizer(), 100)) == 6  # all but the two of the test part
    found = experiments.on_math(arm=arm, seed=1000, device=CPU, model="tiny", epochs=2, limit=4)
    assert len(found["pass_1"]) == 2
    assert 0 <= found["last_1"] <= found["last_256"] <= 100
