"""A trend is seen where there is one, and its line ends where the arrivals have come to rest."""

import random

import pytest
from throughline.domain.control.estimate import forecast
from throughline.domain.control.estimate.forecast import follow


def series(seed, growth, noise):
    rng, samples, rate = random.Random(seed), [], 500.0
    for i in range(24):
        per_second = max(1.0, rng.gauss(rate, noise * (rate / 10.0) ** 0.5))
        samples.append(follow(samples[-1] if samples else None, 10.0 * i, 10.0, per_second))
        rate *= growth
    return samples


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


def step(seed, before, after, seconds):
    """Poisson arrivals, counted every 5 s, of two levels; the second for so long."""
    rng, samples = random.Random(seed), []
    for i in range(48):
        mean = 5.0 * (after if 5.0 * (48 - i) <= seconds else before)
        count = sum(1 for _ in range(int(20 * mean)) if rng.random() < 0.05)
        samples.append(follow(samples[-1] if samples else None, 5.0 * i, 5.0, count / 5.0))
    return samples


@pytest.mark.parametrize("seconds", [90, 120, 150])
@pytest.mark.parametrize(("before", "after"), [(9.0, 3.0), (30.0, 20.0)])
def test_what_has_fallen_and_come_to_rest_is_not_taken_to_fall_on(before, after, seconds):
    """K1: 3 a second came, 0.3 were forecast, and the second replica was removed."""
    now = [forecast.forecast(step(seed, before, after, seconds), 0.0).now for seed in range(100)]
    assert sum(n < 0.6 * after for n in now) <= 2


@pytest.mark.parametrize("seconds", [90, 120, 150])
def test_what_has_risen_and_come_to_rest_is_not_taken_to_rise_on(seconds):
    now = [forecast.forecast(step(seed, 20.0, 30.0, seconds), 0.0).now for seed in range(100)]
    assert sum(n > 1.2 * 30.0 for n in now) <= 5
