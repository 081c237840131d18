"""Mixtures of temperatures and isotonic maps: never worse than what they contain, sums, monotony, refusals."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from baselines.calibration import temperature_scaling
from baselines.confidence_maps import Ensemble, ensemble_temperature_scaling, isotonic_confidence


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (600,), generator=generator)
    logits = 6 * torch.randn(600, 4, generator=generator, dtype=torch.float64) + 4 * F.one_hot(labels, 4)
    return logits, labels


def test_an_ensemble_is_no_worse_than_its_temperature() -> None:
    logits, labels = problem()
    ensemble = ensemble_temperature_scaling(logits, labels)
    p = ensemble(logits)
    torch.testing.assert_close(p.sum(1), torch.ones(600, dtype=torch.float64))
    assert sum(ensemble.weights) == pytest.approx(1)
    assert min(ensemble.weights) >= 0
    assert F.nll_loss(p.log(), labels) <= F.nll_loss(temperature_scaling(logits, labels)(logits).log(), labels) + 1e-6


def test_an_ensemble_of_one() -> None:
    logits, _ = problem()
    torch.testing.assert_close(Ensemble((0.0, 1.0, 0.0), 0.5)(logits), logits.softmax(1))
    torch.testing.assert_close(Ensemble((0.0, 0.0, 1.0), 0.5)(logits), torch.full_like(logits, 0.25))


def test_isotonic_confidences() -> None:
    confidence, right = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    found = isotonic_confidence(confidence, right, torch.tensor([0.0, 0.5, 0.9]))
    assert found.tolist() == pytest.approx([0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match="there must be confidences"):
        isotonic_confidence(confidence, right[:2], confidence)
