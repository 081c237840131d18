"""What the loss takes and refuses; the full protocols on a few examples, in the real formats, with a tiny BERT."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score

from suites.dice_loss import contenders, experiments, on_conll, on_digits, on_mrpc
from suites.dice_loss.method import dice, official, tversky
from tests.conftest import needed

CPU = torch.device("cpu")
SCRIPTS: dict[str, Any] = {"square": True, "alpha": 0.01, "smooth": 1.0}


class TestNumerics:
    @pytest.mark.parametrize("classes", [1, 2, 5])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_dtype_is_kept_and_extremes_are_finite(self, classes: int, dtype: torch.dtype) -> None:
        logits = 1e4 * torch.tensor([[1.0, -1, 0.5, 0, 2]] * 3, dtype=dtype)[:, :classes].requires_grad_()
        loss = dice(logits, torch.tensor([0, 1, 1]), level="example", **SCRIPTS)
        (slope,) = torch.autograd.grad(loss, logits)
        assert loss.dtype == dtype and bool(loss.isfinite()) and bool(slope.isfinite().all())

    def test_double_backward(self) -> None:
        z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = torch.tensor([0, 1, 2, 0, 1, 2])
        assert torch.autograd.gradgradcheck(lambda z: dice(z, y, level="set", **SCRIPTS), z)

    def test_hidden_nan_stays_hidden(self) -> None:
        z, y = torch.tensor([0.3, math.nan, -1.0]).requires_grad_(), torch.tensor([1, 0, 0])
        loss = dice(z, y, level="set", mask=torch.tensor([True, False, True]), **SCRIPTS)
        (slope,) = torch.autograd.grad(loss, z)
        assert bool(loss.isfinite()) and slope[1] == 0


class TestRefusals:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"level": "batch"}, "level must be"),
            ({"reduction": "sum"}, "reduction must be"),
            ({"alpha": -0.1}, "alpha must be"),
            ({"smooth": -1.0}, "smooth must be"),
            ({"ohem_ratio": -1.0}, "ohem_ratio must be"),
            ({"mask": torch.ones(3)}, "mask must be bool"),
            ({"mask": torch.zeros(3, dtype=torch.bool)}, "at least one example"),
            ({"targets": torch.tensor([0, 1, 2])}, "targets must lie in"),
            ({"targets": torch.tensor([0.0, 1.0, 1.0])}, "targets must be int64"),
            ({"targets": torch.tensor([0, 1])}, "logits must be"),
            ({"logits": torch.tensor([1, 2, 3])}, "logits must be floats"),
            ({"logits": torch.zeros(0), "targets": torch.zeros(0, dtype=torch.int64)}, "at least one example"),
        ],
    )
    def test_bad_input(self, wrong: dict, message: str) -> None:
        good = {"logits": torch.randn(3), "targets": torch.tensor([0, 1, 1]), "level": "set", **SCRIPTS}
        with pytest.raises(ValueError, match=message):
            dice(**{**good, **wrong})

    def test_tversky_and_official(self) -> None:
        z, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
        with pytest.raises(ValueError, match="a and b"):
            tversky(z, y, a=0.0, b=0.0, level="set", alpha=0.0, smooth=1.0)
        with pytest.raises(ValueError, match="one logit only"):
            official(z, y, ohem_ratio=0.3, **SCRIPTS)
        with pytest.raises(ValueError, match="too few negatives"):
            official(torch.randn(3), torch.tensor([1, 1, 0]), ohem_ratio=0.1, **SCRIPTS)
        with pytest.raises(ValueError, match="no arm"):
            contenders.by_arm("hinge", torch.ones(2))


class TestSmallTier:
    @pytest.mark.parametrize("arm", ["ce", "dice_set", "dice_example", "dsc_example"])
    def test_digits(self, arm: str) -> None:
        finite(experiments.imbalanced_digits(arm=arm, seed=1000, ratio=60, epochs=1))

    def test_pairs_of_losses(self) -> None:
        finite(experiments.per_example_digits(seed=1000, epochs=1))
        finite(experiments.parity_digits(seed=1000, epochs=1))

    def test_thinning(self) -> None:
        whole = on_digits.split(1000, lambda labels: labels == 8)
        thin = on_digits.thinned(whole.train, 60, 1000)
        assert len(whole.test[1]) == 360 and int((thin[1] == 0).sum()) == int((whole.train[1] == 0).sum())
        assert 59 < int((thin[1] == 0).sum()) / int(thin[1].sum()) < 62

    def test_best_cut_is_the_best(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logits, gold = torch.randn(50, generator=generator), torch.randint(2, (50,), generator=generator)
        best = on_digits.f1(logits - on_digits.best_cut(logits, gold), gold)
        assert best == max(f1_score(gold, logits >= cut) for cut in logits)

    @pytest.mark.parametrize(("corpus", "names"), [("dutch", ["conll2002"]), ("ewt", ["ud-english-ewt"])])
    def test_tagging(self, corpus: str, names: list[str]) -> None:
        for name in names:
            needed(name)
        sizes = {"train": 64, "val": 20, "test": 20}
        for arm in ("weighted_ce", "focal"):
            finite(experiments.tagging(arm=arm, seed=1000, corpus=corpus, epochs=1, sizes=sizes))

    def test_weighted_cross_entropy_counts_classes_alike(self) -> None:
        loss = contenders.by_arm("weighted_ce", torch.tensor([30.0, 10.0]))
        z = torch.tensor([[2.0, 0], [2.0, 0], [2.0, 0], [1.0, 0]])
        found = loss(z, torch.tensor([0, 0, 0, 1]))
        expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2
        assert float(found) == pytest.approx(expected, rel=1e-6)


MODEL = "bert-base-cased"
SENTENCES = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n\n" + (
    "Peter NNP I-NP I-PER\nBlackburn NNP I-NP I-PER\n\nLondon NNP I-NP I-LOC\n\n"
)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two narrow layers with a small vocabulary, saved as a pretrained one is."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    pieces = [
        "the",
        "a",
        "cat",
        "dog",
        "sat",
        "ran",
        "EU",
        "rejects",
        "German",
        "Peter",
        "Black",
        "##burn",
        "names",
        ".",
    ]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]), "utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=5 + len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def full_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path) -> None:
    """MRPC as the hub has it, CoNLL-2003 as the shared task has it, a few examples of each, and a model."""
    pytest.importorskip("pyarrow")
    shutil.copytree(tiny_bert, tmp_path / MODEL)
    for name in ("glue-mrpc", "conll2003"):
        (tmp_path / name).mkdir()
    rows = {
        "sentence1": ["the cat sat .", "a dog ran ."] * 6,
        "sentence2": ["a cat sat .", "the cat ran ."] * 6,
        "label": [1, 0] * 6,
        "idx": range(12),
    }
    for part in ("train", "validation", "test"):
        pd.DataFrame(rows).to_parquet(tmp_path / "glue-mrpc" / f"{part}.parquet")
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / "conll2003" / name).write_text(SENTENCES, "utf-8")
    monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))


@pytest.mark.usefixtures("full_data")
class TestFullTier:
    @pytest.mark.parametrize("arm", ["dice", "ce", "focal"])
    @pytest.mark.parametrize("setting", ["matched", "scripts"])
    def test_mrpc(self, arm: str, setting: str) -> None:
        metrics = experiments.mrpc(
            arm=arm, seed=1000, device=CPU, model=MODEL, setting=setting, epochs=1, limit=8, length=24
        )
        assert {"val_f1", "val_accuracy", "test_f1", "test_accuracy"} <= metrics.keys()
        finite(metrics)

    @pytest.mark.parametrize("arm", ["dice", "ce", "focal"])
    def test_conll2003(self, arm: str) -> None:
        metrics = experiments.conll2003_mrc(arm=arm, seed=1000, device=CPU, model=MODEL, epochs=1, length=48)
        assert {"val_f1", "test_f1"} <= metrics.keys()
        finite(metrics)

    def test_imbalance(self) -> None:
        assert experiments.conll2003_imbalance() == {"ratio": 1 / 5}

    def test_right_answers_score_one(self, tiny_bert: Path) -> None:
        """Heads that know the labels: questions, word pieces, pairs and tags fit together."""
        from transformers import AutoTokenizer

        from reference.tagged import conll2003

        tokeniser = AutoTokenizer.from_pretrained(tiny_bert)
        asked = on_conll.Asked(conll2003("val").sentences, tokeniser, 48, CPU)
        assert on_conll.gold_pairs(asked.targets).shape == (4, 3)

        class Knows:
            def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
                starts, ends = asked.targets.float().unbind(1)
                return starts - 0.5, ends - 0.5, inputs

            def match(self, tokens: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
                return torch.ones(len(pairs))

        assert asked.score(Knows(), batch=100) == 1.0

    def test_the_best_look_is_kept(self) -> None:
        seen = iter([{"f1": 0.2, "other": 1.0}, {"f1": 0.6, "other": 2.0}, {"f1": 0.4, "other": 3.0}])
        watched = on_mrpc.Watched(lambda model, batch: torch.zeros(()), 2, lambda model: next(seen), "f1")
        model = torch.nn.Linear(1, 1)
        for _ in range(5):
            watched(model, None)  # type: ignore[arg-type]
        watched.look_at(model)
        assert watched.best == {"f1": 0.6, "other": 2.0} and watched.step_of_best == 4 and model.training


def test_answers_that_overlap_leave_the_surest() -> None:
    assert on_conll.tagged(4, [(0.5, "PER", 0, 1), (0.9, "LOC", 1, 2), (0.1, "ORG", 3, 3)]) == [
        "O",
        "B-LOC",
        "I-LOC",
        "B-ORG",
    ]
    starts, ends = torch.tensor([[-1.0, 1, 1]]), torch.tensor([[1.0, 1, -1]])
    assert on_conll.candidates(starts, ends, torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0, 1, 1]]


def finite(metrics: dict) -> None:
    assert metrics
    assert all(np.isfinite(value).all() for value in metrics.values())
