"""SupCon and NT-Xent: by definition, gradients, anchors without positives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from baselines.contrastive import nt_xent, supcon

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_definition(rows: torch.Tensor, labels: torch.Tensor, temperature: float) -> list[float]:
    """One anchor after the other, in plain loops."""
    units = F.normalize(rows, dim=1)
    losses = []
    for i in range(len(rows)):
        scores = {k: float(units[i] @ units[k]) / temperature for k in range(len(rows)) if k != i}
        whole = float(torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0))
        terms = [whole - scores[k] for k in scores if labels[k] == labels[i]]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return losses


def test_supcon_by_definition() -> None:
    rows = features(6, 4)
    expected = by_definition(rows, LABELS, 0.2)
    assert supcon(rows, LABELS, temperature=0.2, reduction="none").tolist() == pytest.approx(expected)
    assert float(supcon(rows, LABELS, temperature=0.2)) == pytest.approx(sum(expected) / 5)  # class 2 has one row
    views = features(3, 2, 4)
    expected = by_definition(views.reshape(6, 4), torch.tensor([0, 0, 1, 1, 0, 0]), 0.2)
    assert supcon(views, torch.tensor([0, 1, 0]), temperature=0.2, reduction="none").tolist() == pytest.approx(expected)


def test_nt_xent_is_cross_entropy_over_the_other_rows() -> None:
    views = features(4, 2, 5)
    units = F.normalize(views.transpose(0, 1).reshape(8, 5), dim=1)  # SimCLR's order: all first views, all second ones
    logits = (units @ units.T / 0.5).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(logits, (torch.arange(8) + 4) % 8)
    torch.testing.assert_close(nt_xent(views, temperature=0.5), expected)


def test_gradients_and_length_invariance() -> None:
    rows = features(6, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: supcon(x, LABELS), rows)
    assert torch.autograd.gradcheck(nt_xent, features(3, 2, 4).requires_grad_())
    torch.testing.assert_close(supcon(1e4 * rows, LABELS), supcon(rows, LABELS))


def test_no_positive_at_all_is_no_loss() -> None:
    rows = features(3, 4).requires_grad_()
    loss = supcon(rows, torch.arange(3))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_half_precision_is_computed_wide() -> None:
    rows = features(6, 4).bfloat16()
    loss = supcon(rows, LABELS)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(supcon(rows.double(), LABELS)), rel=1e-2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(supcon(rows.float(), LABELS), supcon(rows.double(), LABELS).float())


@pytest.mark.parametrize(
    ("rows", "labels", "temperature"),
    [
        (torch.ones(6), LABELS, 0.1),
        (torch.ones(6, 4), LABELS[:-1], 0.1),
        (torch.ones(6, 4), LABELS.float(), 0.1),
        (torch.ones(6, 4), LABELS, 0.0),
        (torch.ones(1, 4), LABELS[:1], 0.1),
    ],
)
def test_what_is_no_contrast_is_refused(rows: torch.Tensor, labels: torch.Tensor, temperature: float) -> None:
    with pytest.raises(ValueError, match=r"must|two"):
        supcon(rows, labels, temperature=temperature)
    with pytest.raises(ValueError, match="V >= 2"):
        nt_xent(torch.ones(6, 4))
