"""Known laws come back, intervals hold what they should, a one-sided fit stays below, bad data are refused."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.power_laws import (
    EXPONENTIAL,
    LOGARITHM,
    POWER,
    POWER_PLUS_CONSTANT,
    Law,
    Parameter,
    PowerLaw,
    fit,
    power_law,
)

SIZES = np.geomspace(1e4, 1e9, 7)


@pytest.mark.parametrize("law", [PowerLaw(3.1, 80.0, 0.24), PowerLaw(0.0, 1.5e14, 0.07), PowerLaw(0.3, 1e4, 0.9)])
def test_a_law_comes_back(law: PowerLaw) -> None:
    fitted = fit(POWER_PLUS_CONSTANT, SIZES, law(SIZES))
    found = power_law(fitted)
    assert found.offset == pytest.approx(law.offset, abs=1e-6)
    assert found.exponent == pytest.approx(law.exponent, rel=1e-6)
    assert found.scale == pytest.approx(law.scale, rel=1e-4)
    np.testing.assert_allclose(fitted([1e3, 1e12]), law([1e3, 1e12]), rtol=1e-6)


@pytest.mark.parametrize("decades", [2, 4, 6, 10])
@pytest.mark.parametrize("exponent", [0.05, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("law", [POWER, POWER_PLUS_CONSTANT])
def test_exponents_over_many_decades(law: Law, exponent: float, decades: int) -> None:
    x = np.logspace(0, decades, 9)
    fitted = fit(law, x, x**-exponent)
    assert not fitted.bounded
    assert power_law(fitted).exponent == pytest.approx(exponent, rel=1e-5)


@pytest.mark.parametrize(("exponent", "reached"), [(12.0, "exponent"), (-0.5, "exponent")])
def test_an_end_of_the_box_is_warned_of(exponent: float, reached: str) -> None:
    x = np.logspace(0, 1, 9)
    with pytest.warns(UserWarning, match=f"reached the end of the box of: .*{reached}"):
        assert reached in fit(POWER, x, x**-exponent).bounded


def test_a_law_by_hand() -> None:
    law = PowerLaw(2.0, 100.0, 0.5)
    assert law(25.0) == pytest.approx(4.0)
    assert law.reducible(25.0) == pytest.approx(2.0)


def test_units_of_x_and_y_do_not_matter() -> None:
    losses = PowerLaw(2.0, 1e3, 0.3)(SIZES) * (1 + 1e-3 * np.random.default_rng(0).standard_normal(7))
    one, other = fit(POWER_PLUS_CONSTANT, SIZES, losses), fit(POWER_PLUS_CONSTANT, SIZES * 1e-18, losses * 192)
    assert one.rss == pytest.approx(other.rss, rel=1e-9)
    assert power_law(one).offset * 192 == pytest.approx(power_law(other).offset, rel=1e-6)
    assert one.aic == pytest.approx(other.aic)


@pytest.mark.filterwarnings("ignore:the fit of 'exponential approach'")  # its last points are its constant
def test_rivals_come_back() -> None:
    decay = 2 + 0.5 * np.exp(-SIZES / 1e6)
    fitted = fit(EXPONENTIAL, SIZES, decay)
    assert fitted.parameters["offset"] == pytest.approx(2, rel=1e-6)
    assert fitted.parameters["rate"] / fitted.centre == pytest.approx(1e-6, rel=1e-4)
    falling = 5 - 0.1 * np.log(SIZES)
    fitted = fit(LOGARITHM, SIZES, falling)
    assert fitted.parameters["slope"] == pytest.approx(0.1, rel=1e-5)
    np.testing.assert_allclose(fitted(SIZES), falling, rtol=1e-6)


def test_aic_prefers_the_law_that_made_the_points() -> None:
    noise = 1 + 1e-4 * np.random.default_rng(1).standard_normal(7)
    with_constant, without = PowerLaw(2.0, 1e3, 0.3)(SIZES) * noise, PowerLaw(0.0, 1e3, 0.3)(SIZES) * noise
    assert fit(POWER_PLUS_CONSTANT, SIZES, with_constant).aic < fit(POWER, SIZES, with_constant).aic
    assert fit(POWER, SIZES, without).aic < fit(POWER_PLUS_CONSTANT, SIZES, without).aic


def test_profile_intervals_cover() -> None:
    """95 % intervals of 60 draws: 57 expected, fewer than 50 with probability below 1e-3."""
    generator, law = np.random.default_rng(2), PowerLaw(2.0, 1e3, 0.3)
    covered = {"offset": 0, "exponent": 0}
    for _ in range(60):
        fitted = fit(POWER_PLUS_CONSTANT, SIZES, law(SIZES) * (1 + 1e-3 * generator.standard_normal(7)))
        for name in covered:
            low, high = fitted.interval(name)
            assert low <= fitted.parameters[name] <= high
            covered[name] += low <= getattr(law, name) <= high
    assert all(count >= 50 for count in covered.values()), covered


def test_what_the_data_do_not_bound_ends_with_the_box() -> None:
    three = fit(POWER_PLUS_CONSTANT, SIZES[:3], [4.0, 3.5, 3.2])
    assert three.interval("offset") == pytest.approx((0.0, 3.2))
    pure = PowerLaw(0.0, 1e14, 0.07)(SIZES) * (1 + 3e-3 * np.random.default_rng(3).standard_normal(7))
    assert fit(POWER_PLUS_CONSTANT, SIZES, pure).interval("offset")[0] == 0.0


def test_a_one_sided_fit_lies_below_and_touches() -> None:
    points = PowerLaw(2.0, 1e3, 0.3)(SIZES) * (1 + 0.01 * np.random.default_rng(4).random(7))
    free, below = fit(POWER_PLUS_CONSTANT, SIZES, points), fit(POWER_PLUS_CONSTANT, SIZES, points, below=True)
    slack = points / below(SIZES) - 1
    assert slack.min() == pytest.approx(0, abs=1e-9)
    assert (slack > -1e-9).all()
    assert below.rss >= free.rss


def test_a_law_of_ones_own() -> None:
    hyperbola = Law("hyperbola", lambda x, top, half: top / (1 + half * x), (Parameter("top", 1e-2, 1e3), Parameter("half", 1e-4, 1e4)), ("top",))  # fmt: skip
    x = np.geomspace(0.1, 10, 9)
    fitted = fit(hyperbola, x, 7 / (1 + 2 * x))
    assert fitted.parameters == pytest.approx({"top": 7.0, "half": 2.0}, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2], "one length"),
        ([1, 2], [2, 1], "3 parameters, got 2"),
        ([1, 1, 2, 2], [2, 2, 1, 1], "got 2 distinct"),
        ([0, 1, 2, 3], [4, 3, 2, 1], "positive"),
        ([1, 2, 3], [3, np.nan, 1], r"finite: point number 1 is \(2, nan\)"),
        ([1, 2, 3], [3, 2, np.inf], r"finite: point number 2 is \(3, inf\)"),
        ([1, 2, 3], [3, 0, 1], "positive"),
    ],
)
def test_what_is_no_data_is_refused(x: list, y: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(POWER_PLUS_CONSTANT, x, y)
