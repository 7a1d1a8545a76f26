"""What comes again is expected; what only varies is not."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.domain.control.estimate.season import BINS_KEPT, Season, expected, observe, period_bins
from throughline.domain.control.tuning import BIN_SECONDS

INTERVAL_SECONDS = 10.0


def seen(rate_at, seconds, *, interval=INTERVAL_SECONDS, seed=1, start=1_700_000_000.0):
    """The season after so long; Poisson counts in each interval."""
    rng, season, t = random.Random(seed), Season(), 0.0
    while t < seconds:
        t += interval
        mean = rate_at(t - interval / 2) * interval
        season = observe(season, start + t, interval, max(0.0, rng.gauss(mean, math.sqrt(mean))) / interval)
    return season


def at_end(season):
    """What is expected within ninety seconds of the last sample."""
    return expected(season, season.seen_seconds, 90.0)


def on_off(period, on, high=1000.0, low=20.0):
    return lambda t: high if t % period < on else low


def test_a_batch_job_every_twenty_minutes_is_expected_before_it_comes():
    season = seen(on_off(1200, 600), 4 * 1200 - 60)  # a minute before it comes again
    assert season.period_bins == 1200 // BIN_SECONDS
    assert at_end(season) == pytest.approx(1000, rel=0.1)
    calm = seen(on_off(1200, 600), 4 * 1200 - 300)
    assert at_end(calm) < 100, "five minutes before, nothing is to be ready yet"


@given(period=st.integers(8, 60), share=st.floats(0.2, 0.8), phase=st.integers(0, 1000), seed=st.integers(0, 99))
def test_any_period_is_found(period, share, phase, seed):
    rate = on_off(period * BIN_SECONDS, share * period * BIN_SECONDS)
    season = seen(lambda t: rate(t + phase), 5 * period * BIN_SECONDS, interval=15.0, seed=seed)
    assert season.period_bins == pytest.approx(period, abs=1)


@pytest.mark.parametrize("seconds", [325, 355, 445, 535, 1345])
def test_a_period_that_is_no_whole_number_of_bins_is_found_and_no_multiple_of_it(seconds):
    season = seen(on_off(seconds, 0.4 * seconds, 100.0, 40.0), BINS_KEPT * BIN_SECONDS, seed=seconds)
    assert season.period_bins == pytest.approx(seconds / BIN_SECONDS, abs=1)


@pytest.mark.parametrize(
    "rate_at",
    [
        lambda _: 500.0,
        lambda t: 100.0 + t / 20,  # a ramp
        lambda t: 500.0 + 400.0 * math.sin(2 * math.pi * t / 86_400),  # a part of a day
        lambda t: 2000.0 if 6000 < t < 6600 else 200.0,  # once
    ],
    ids=["steady", "ramp", "day", "once"],
)
def test_what_does_not_repeat_has_no_period(rate_at):
    assert seen(rate_at, BINS_KEPT * BIN_SECONDS).period_bins is None


@pytest.mark.parametrize("seed", range(20))
def test_bursts_by_chance_have_no_period(seed):
    rng, at, bursts = random.Random(seed), 0.0, []
    while at < BINS_KEPT * BIN_SECONDS:
        at += rng.expovariate(1 / 180)
        bursts.append((at, at := at + rng.expovariate(1 / 90)))
    season = seen(lambda t: 1500.0 if any(a <= t < b for a, b in bursts) else 300.0, BINS_KEPT * BIN_SECONDS)
    assert season.period_bins is None


def test_a_job_that_stops_coming_is_forgotten():
    rate = on_off(1200, 600)
    for later in range(0, 1200, 60):
        season = seen(lambda t: rate(t) if t < 6000 else 20.0, 12_000 + later)
        assert (at_end(season) or 0.0) < 100


def test_a_gap_begins_anew():
    season = seen(on_off(1200, 600), 4800)
    assert observe(season, (season.newest + 50) * BIN_SECONDS, INTERVAL_SECONDS, 5.0).bins == (5.0,)


def test_as_much_is_kept_as_is_needed():
    season = seen(lambda _: 10.0, 2 * BINS_KEPT * BIN_SECONDS, interval=30.0)
    assert len(season.bins) == BINS_KEPT


def test_too_little_has_no_period():
    assert period_bins((1.0, 9.0) * 4) is None
