"""The quick look at two thirds says the same as the line through all."""

import random

import pytest
from throughline.domain.control import forecast
from throughline.domain.control.forecast import follow


def series(seed, growth, noise):
    rng, looks, rate = random.Random(seed), [], 500.0
    for i in range(24):
        per_second = max(1.0, rng.gauss(rate, noise * (rate / 10.0) ** 0.5))
        looks.append(follow(looks[-1] if looks else None, 10.0 * i, 10.0, per_second))
        rate *= growth
    return looks


@pytest.mark.parametrize("noise", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("growth", [1.0, 1.002, 1.01, 1.03, 0.99])
def test_no_sure_trend_is_passed_over(growth, noise, monkeypatch):
    quick = [forecast._slope(series(seed, growth, noise)) for seed in range(200)]
    monkeypatch.setattr(forecast, "_moves", lambda _: True)
    whole = [forecast._slope(series(seed, growth, noise)) for seed in range(200)]
    assert sum(a != b for a, b in zip(quick, whole, strict=True)) <= 1
    if growth == 1.01 and noise <= 1.0:
        assert all(whole), "a trend like this one is beyond doubt"


def test_where_nothing_moves_no_walk_is_made():
    still = sum(not forecast._moves(series(seed, 1.0, 1.0)) for seed in range(200))
    assert still > 180
