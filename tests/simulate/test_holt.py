"""Against the recurrences, and series whose future is known."""

import numpy as np
import pytest
from throughline.simulate.holt import FittedHolt, Holt


def fitted(values, horizon=4):
    model = FittedHolt(horizon)
    for value in values:
        model.observe(value)
    return model


def test_level_and_trend_by_hand():
    model = Holt(0.5, 0.4)
    assert model.forecast(1) is None
    model.observe(10.0)
    assert (model.level, model.trend) == (10.0, 0.0)
    model.observe(14.0)
    assert model.level == pytest.approx(12.0)  # half of 14 and of 10
    assert model.trend == pytest.approx(0.8)  # 0.4 of the step by 2
    model.observe(14.0)
    assert model.level == pytest.approx(13.4)  # half of 14 and of 12.8
    assert model.trend == pytest.approx(1.04)  # 0.4 of 1.4 and 0.6 of 0.8
    assert model.forecast(3) == pytest.approx(13.4 + 3 * 1.04)


def test_a_forecast_is_never_negative():
    model = Holt(0.9, 0.3)
    for value in (100.0, 60.0, 20.0, 0.0):
        model.observe(value)
    assert model.trend < 0.0
    assert model.forecast(20) == 0.0


def test_a_line_is_extrapolated():
    assert fitted([5.0 * step for step in range(120)]).forecast() == pytest.approx(5.0 * 123, rel=0.01)


def test_noise_is_averaged():
    noisy = np.random.default_rng(1).normal(100.0, 10.0, 300)
    assert fitted(noisy).forecast() == pytest.approx(100.0, abs=5.0)


def test_a_constant_stays():
    assert fitted([70.0] * 50).forecast() == pytest.approx(70.0)


def test_noise_is_smoothed_and_jumps_are_followed():
    def smoothing(model):
        return min(model._candidates, key=lambda c: c.squared_error).model.level_smoothing

    rng = np.random.default_rng(2)
    assert smoothing(fitted(rng.normal(100.0, 10.0, 200))) == 0.1
    levels = np.repeat(rng.uniform(100.0, 1000.0, 20), 20)
    assert smoothing(fitted(levels)) == 0.9


def test_a_missing_observation_leaves_the_forecast_and_judges_none():
    model = fitted([10.0 * step for step in range(60)])
    before, errors = model.forecast(), [c.squared_error for c in model._candidates]
    for _ in range(40):
        model.observe(None)
    assert model.forecast() == before
    for _ in range(model.horizon):
        model.observe(2000.0)
        assert [c.squared_error for c in model._candidates] == errors, "no forecast was made for this step"
    model.observe(2000.0)
    assert [c.squared_error for c in model._candidates] != errors


def test_the_horizon_is_at_least_one_step():
    with pytest.raises(ValueError, match="horizon is 0 steps"):
        FittedHolt(0)
