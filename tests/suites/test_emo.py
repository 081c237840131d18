"""The losses by hand, what they refuse, and the protocols on a few examples; claims are tested by `crossexam run`."""

from __future__ import annotations

import math

import pytest
import torch

from suites.emo.method import VARIANTS, EarthMoverLoss, earth_mover_bound, emo_loss

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
