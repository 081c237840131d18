"""Calibration error by hand; calibrators find what was done to the logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from baselines.calibration import (
    expected_calibration_error,
    histogram_binning,
    isotonic,
    temperature_scaling,
    vector_scaling,
)


def calibrated(count: int = 20_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, 3), and labels that are drawn from their softmax."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 3, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def test_error_by_hand() -> None:
    """Bins ]0.5, 0.75]: confidences 0.6 and 0.7, one hit; ]0.75, 1]: 0.9 and 1.0, two hits."""
    probabilities = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0])
    by_hand = (2 * abs(1 / 2 - 0.65) + 2 * abs(1 - 0.95)) / 4
    assert expected_calibration_error(probabilities, labels, bins=4) == pytest.approx(by_hand)
    assert expected_calibration_error(probabilities, labels, bins=1) == pytest.approx(abs(3 / 4 - 0.8))


def test_edges_belong_to_the_lower_bin() -> None:
    """0.5 falls with 0.4 into ]0.25, 0.5], where their errors cancel; apart they would add up."""
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.4, 0.3, 0.3]], dtype=torch.float64)
    found = expected_calibration_error(probabilities, torch.tensor([0, 1]), bins=4)
    assert found == pytest.approx(abs(1 / 2 - 0.45))


def test_temperature_is_found() -> None:
    logits, labels = calibrated()
    scaling = temperature_scaling(3 * logits, labels)
    assert float(1 / scaling.weight) == pytest.approx(3, rel=0.05)
    slope = torch.tensor(float(scaling.weight), dtype=torch.float64, requires_grad=True)
    cross_entropy(3 * logits.double() * slope, labels).backward()
    assert abs(float(slope.grad)) < 1e-8  # a minimum


def test_a_class_that_cannot_be_is_as_if_it_were_not_there() -> None:
    logits, labels = calibrated(500)
    wider = torch.cat([logits, torch.full((500, 1), -torch.inf)], 1)
    for fit in (temperature_scaling, vector_scaling, isotonic):
        narrow, wide = fit(logits, labels)(logits), fit(wider, labels)(wider)
        torch.testing.assert_close(wide, torch.nn.functional.pad(narrow, (0, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fit", [temperature_scaling, vector_scaling, isotonic, histogram_binning])
def test_what_nothing_can_be_fitted_to_is_refused(fit) -> None:
    logits, labels = calibrated(9)
    for wrong in (torch.nan, torch.inf, -torch.inf):
        spoilt = logits.clone()
        spoilt[0, labels[0]] = wrong
        with pytest.raises(ValueError, match="must"):
            fit(spoilt, labels)
    for z, y in ((logits[:0], labels[:0]), (logits, labels + 3), (logits, labels[1:])):
        with pytest.raises(ValueError, match="must"):
            fit(z, y)


def test_vector_is_found() -> None:
    logits, labels = calibrated()
    scale, shift = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.5, -1.0, 0.0])
    scaling = vector_scaling((logits - shift) / scale, labels)
    torch.testing.assert_close(scaling.weight, scale.double(), rtol=0.08, atol=0)
    torch.testing.assert_close(scaling.bias - scaling.bias[2], shift.double(), rtol=0, atol=0.1)


@pytest.mark.parametrize("fit", [temperature_scaling, vector_scaling, isotonic, histogram_binning])
def test_calibrators_lower_the_error_on_fresh_data(fit) -> None:
    (logits, labels), (new, truth) = calibrated(), calibrated(seed=1)
    before = expected_calibration_error((4 * new).softmax(1), truth)
    probabilities = fit(4 * logits, labels)(4 * new)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(new), dtype=torch.float64))
    assert probabilities.min() >= 0
    assert expected_calibration_error(probabilities, truth) < before / 4


def test_histogram_by_hand() -> None:
    """Two bins. Class 0 is given 0.8, 0.8, 0.3 and right in the first and the last: shares 1/2 and 1."""
    probabilities = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
    calibrator = histogram_binning(probabilities.log(), torch.tensor([0, 1, 0]), bins=2)
    upper, lower = 1 / 2, 1.0
    second = (1 / 2, 0.0)  # class 1 in its lower bin: right once in two; in its upper bin: never
    expected = [[upper / (upper + second[0]), second[0] / (upper + second[0])], [lower / (lower + second[1]), 0.0]]
    torch.testing.assert_close(calibrator(probabilities[[0, 2]].log()), torch.tensor(expected, dtype=torch.float64))


def test_isotonic_never_falls() -> None:
    logits, labels = calibrated(2000)
    first = isotonic(logits, labels).maps[0]
    grid = torch.linspace(-0.1, 1.1, 200).numpy()
    assert (first(grid)[1:] >= first(grid)[:-1]).all()


def test_nothing_known_is_equally_likely() -> None:
    """Each class is asked in a bin in which it was never right."""
    probabilities = torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.3, 0.6], [0.3, 0.6, 0.1]], dtype=torch.float64)
    calibrator = histogram_binning(probabilities.log(), torch.tensor([1, 0, 0]), bins=4)
    asked = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()
    torch.testing.assert_close(calibrator(asked), torch.full((1, 3), 1 / 3, dtype=torch.float64))
