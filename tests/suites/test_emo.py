"""The losses by hand, what they refuse, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from suites.emo import contenders, experiments, on_pretrained, on_shakespeare, on_wikitext
from suites.emo.method import VARIANTS, EarthMoverLoss, earth_mover_bound, emo_loss
from tests.baselines.tiny_models import TEXT, tiny_llama, tiny_tokenizer
from tests.conftest import needed

LOGITS = torch.tensor([[0.0, math.log(2), math.log(3)]], dtype=torch.float64)  # Q = (1, 2, 3) / 6
EMBEDDING = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]], dtype=torch.float64)  # costs of token 0: 0, 1, 2
TARGET = torch.tensor([0])


def test_by_hand() -> None:
    bound, mle = 2 / 6 * 1 + 3 / 6 * 2, math.log(6)
    assert float(earth_mover_bound(LOGITS, TARGET, embedding=EMBEDDING)) == pytest.approx(bound)
    expected = {
        "emo": mle,
        "emo1_adaptive": mle,
        "emo1_clipped": mle,
        "emo2_fixed": 2 * (bound + 1 / 6),
        "emo2_adaptive": 2 * (bound + 1 / 6),
    }
    assert {name: float(emo_loss(LOGITS, TARGET, embedding=EMBEDDING, variant=name)) for name in VARIANTS} == (
        pytest.approx(expected)
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_layout_autocast_and_compilation_change_nothing(variant: str) -> None:
    wide, e, y = (
        torch.randn(3, 5, 2).permute(1, 2, 0),
        torch.randn(3, 4),
        torch.tensor([[0, 1], [2, -100], [1, 0]] * 2)[:5],
    )
    expected = emo_loss(wide.contiguous(), y, embedding=e, variant=variant)
    torch.testing.assert_close(emo_loss(wide, y, embedding=e, variant=variant), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = emo_loss(wide, y, embedding=e, variant=variant)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    compiled = torch.compile(
        lambda x: emo_loss(x, y, embedding=e, variant=variant), backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(wide), expected)


def test_second_derivatives_of_the_bound() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda x: earth_mover_bound(x, y, embedding=EMBEDDING), z)
    assert torch.autograd.gradgradcheck(lambda x: earth_mover_bound(x, y, embedding=EMBEDDING), z)


def test_nothing_to_learn_from() -> None:
    logits, none = torch.zeros(2, 3), torch.tensor([-100, -100])
    assert math.isnan(emo_loss(logits, none, embedding=EMBEDDING))
    assert float(emo_loss(logits, none, embedding=EMBEDDING, reduction="sum")) == 0


def test_a_training_step_leaves_fixed_costs() -> None:
    head = torch.nn.Linear(4, 3, bias=False)
    loss = EarthMoverLoss(head.weight, "emo")
    before = loss.embedding.clone()
    loss(head(torch.randn(5, 4)), torch.tensor([0, 1, 2, 0, 1])).backward()
    with torch.no_grad():
        head.weight -= head.weight.grad
    torch.testing.assert_close(loss.embedding, before)


@pytest.mark.parametrize(
    "call",
    [
        lambda: emo_loss(LOGITS, TARGET, embedding=EMBEDDING[:2]),
        lambda: emo_loss(LOGITS, TARGET, embedding=EMBEDDING / 0),
        lambda: emo_loss(LOGITS, TARGET + 3, embedding=EMBEDDING),
        lambda: emo_loss(LOGITS, TARGET, embedding=EMBEDDING, variant="emo3"),
        lambda: emo_loss(LOGITS, TARGET, embedding=EMBEDDING, reduction="median"),
    ],
)
def test_refuses_what_is_no_problem(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


# The comparisons.


def test_weights_of_the_rivals() -> None:
    q = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(contenders.mix_ce(q), torch.tensor([0.5, 0.75, 1.0]))
    torch.testing.assert_close(contenders.tailr(q), torch.tensor([0.6, 0.5 + 0.5 * 0.5 / 0.75, 1.0]))
    logits, y = torch.randn(4, 7), torch.tensor([0, 6, 2, 2])
    flat = contenders.LOSSES["orthogonal"](logits, y, torch.zeros(7, 3))
    torch.testing.assert_close(flat, emo_loss(logits, y, embedding=torch.eye(7)))


def test_scores_by_hand() -> None:
    found = contenders.sums_of_scores(LOGITS.log_softmax(1), TARGET, EMBEDDING)
    entropy = -sum(k / 6 * math.log(k / 6) for k in (1, 2, 3))
    assert found.tolist() == pytest.approx([math.log(6), 2 / 6 + 2 * 3 / 6, entropy, 0.0])


def test_what_validation_chooses(tmp_path: Path) -> None:
    scores, written = torch.zeros(7, 3, 2, 4), torch.zeros(7, 3, 5, 2)
    place = [*contenders.LOSSES].index("emo")
    scores[place, :, 0, 0] = torch.tensor([3.0, 1.0, 2.0])
    scores[place, 1, 1] = torch.arange(4.0)
    written[place, :, 0, 0] = torch.tensor([0.3, 0.2, 0.1])
    written[place, 2, :, 0] = torch.tensor([0.1, 0.2, 0.05, 0.2, 0.2])
    written[place, 2, :, 1] = torch.arange(5.0)
    others = {"norms": torch.zeros(7, 3), "matched": torch.tensor([0.8, 9.0]), "real": torch.zeros(1)}
    save_file({"scores": scores, "written": written, "mean_cost": torch.zeros(2), **others}, tmp_path / "continued")
    sizes = {"vocabulary": 300, "before": 2, "steps": 2, "continued": tmp_path / "continued"}
    found = experiments.trained_on(arm="emo", **sizes)
    assert {name: found[name] for name in ("bound", "divergence", "divergence_tuned", "temperature", "rate")} == (
        pytest.approx({"bound": 1, "divergence": 0, "divergence_tuned": 2, "temperature": 0.8, "rate": 1e-2})
    )
    assert experiments.trained_on(arm="mle_matched", **sizes)["divergence"] == pytest.approx(9)


def test_training_on_from_one_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needed("wikitext-2-heldout")
    pytest.importorskip("tokenizers")
    monkeypatch.setattr(on_wikitext, "SCORED", 8)
    monkeypatch.setattr(on_wikitext, "TEXTS", 8)
    sizes = {"vocabulary": 300, "before": 2, "steps": 2}
    save_file(experiments.continued(seed=1000, **sizes), tmp_path / "continued")
    for arm in ("mle", "mle_matched", "emo2"):
        found = experiments.trained_on(arm=arm, continued=tmp_path / "continued", **sizes)
        assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("arm", ["mle", "emo_tied", "emo_untied"])
def test_planted_synonyms(arm: str) -> None:
    needed("tiny-shakespeare")
    found = experiments.planted_synonyms(arm=arm, seed=1000, steps=2)
    assert found["observed"] == pytest.approx(found["synonym"], rel=0.2)


def test_two_forms() -> None:
    tokens = torch.arange(4).repeat(500)
    forms = on_shakespeare.two_forms(tokens, 4, seed=0)
    assert bool((forms % 4 == tokens).all())
    assert 900 < int((forms >= 4).sum()) < 1100
    tied = on_shakespeare.cost_embedding("emo_tied", 4, seed=0)
    torch.testing.assert_close(tied[:4], tied[4:])
    assert not torch.equal(*on_shakespeare.cost_embedding("emo_untied", 4, seed=0).split(4))


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_pretrained, "pretrained", lambda _: (tiny_llama(), tiny_tokenizer()))
    for text in ("wikitext-2", "wikitext-2-heldout"):
        monkeypatch.setitem(on_pretrained.TEXTS, text, lambda: (TEXT * 20, TEXT * 8, TEXT * 9))


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("arm", ["mle_matched", "emo"])
def test_pretrained_models(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = on_pretrained.trained_on_pretrained
    monkeypatch.setattr(
        on_pretrained,
        "trained_on_pretrained",
        lambda *names, **sizes: whole(*names, **{**sizes, "length": 40, "batch": 2}),
    )
    found = experiments.gpt2(arm=arm, seed=1000, device=torch.device("cpu"), texts=2)
    assert found["divergence"] == pytest.approx(math.log(2), abs=0.3)  # a random model shares few bigrams with a text
    assert (found["temperature"] == 1) == (arm == "emo")


@pytest.mark.usefixtures("tiny_model")
def test_only_last_blocks_are_trained() -> None:
    network, costs = tiny_llama(), torch.randn(300, 4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rows = torch.randint(300, (8, 20))
    on_pretrained.fine_tune(network, rows, "emo", costs, seed=0, batch=2, steps=2, layers=1)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".layers.1." in name for name in changed)
    found = experiments.smollm2(arm="emo", seed=1000, device=torch.device("cpu"), steps=1, layers=1, scored=2)
    assert "divergence" not in found
