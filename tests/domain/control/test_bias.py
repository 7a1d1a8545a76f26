"""The bias of predictions: what all settings have in common, and what is each one's own."""

import dataclasses
import math
import random

import pytest
from throughline.api.batching import BatchSettings
from throughline.domain.control.estimate.bias import Bias, update_bias
from throughline.domain.control.model.queueing import p99_us
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.tuning import CLEAR, MAX_BIAS
from views import NOW, metrics, pod, view

ONE, OTHER, NEVER = (BatchSettings(max_batch_size=n) for n in (8, 16, 32))
CURVE = ServiceTimeModel(4_000.0, 200.0)
SLO_US, RATE, SECONDS = 50_000.0, 800.0, 15.0


def after(bias, settings, factor, samples=1, *, noise=0.0, seed=1, begin=None):
    """The bias after samples whose p99 is so many times what is predicted. The SLO is at each, so that it tells all."""
    rng, begin = random.Random(seed), begin or max(NOW, bias.updated_seconds)
    for i in range(samples):
        measured_us = p99_us(CURVE, settings, RATE) * factor * math.exp(rng.gauss(0.0, noise))
        demand = measure(view(pod("a", metrics(RATE, latency_us=measured_us / 2), settings)), SLO_US)
        demand = demand._replace(overloaded=False)
        at = begin + SECONDS * (i + 1)
        bias = update_bias(bias, demand, measured_us, CURVE, settings, 1.0, 1, SECONDS, (), at)
    return bias


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.6])
def test_it_comes_to_what_is_measured(factor):
    assert after(Bias(), ONE, factor, 40).of(ONE) == pytest.approx(factor, rel=0.02)


def test_what_changes_while_the_settings_do_not_is_expected_of_all():
    """A neighbour: the others would be slower, too."""
    known = after(after(Bias(), ONE, 1.0, 40), OTHER, 1.0, 40)
    slowed = after(known, OTHER, 1.5, 20)
    assert slowed.of(OTHER) == pytest.approx(1.5, rel=0.05)
    for settings in (ONE, NEVER):
        assert slowed.of(settings) / known.of(settings) == pytest.approx(1.5, rel=0.1)


def test_what_is_measured_first_under_new_settings_is_mostly_theirs():
    """Else nothing would lead back to settings that were better."""
    known = after(Bias(), ONE, 1.0, 40)
    tried = after(known, OTHER, 1.5, 40)
    assert tried.of(OTHER) == pytest.approx(1.5, rel=0.03)
    assert tried.of(ONE) < 1.2
    assert tried.of(OTHER) / tried.of(ONE) > 1.25


def test_the_longer_settings_were_in_force_the_better_their_own_part_is_known():
    few, many = after(Bias(), ONE, 1.0, 2), after(Bias(), ONE, 1.0, 60)
    assert CLEAR > few.spread_of(ONE) > 2 * many.spread_of(ONE)
    assert many.spread_of(NEVER) == CLEAR


def test_the_noise_of_samples_is_averaged():
    found = [after(Bias(), ONE, 1.0, 60, noise=0.2, seed=seed).of(ONE) for seed in range(20)]
    assert all(0.75 < bias < 1.33 for bias in found)
    assert math.prod(found) ** (1 / len(found)) == pytest.approx(1.0, abs=0.1)


def test_a_clock_that_goes_back_makes_nothing_surer():
    known = after(Bias(), ONE, 1.0, 40)
    back = after(known, ONE, 1.5, 20, begin=NOW - 1e6)
    assert back.common_variance > 0.0
    assert 1.0 < back.of(ONE) <= 1.5


def test_one_measurement_beyond_belief_is_bounded():
    assert after(Bias(), ONE, 1e6, 60).of(ONE) <= MAX_BIAS * 1.001


def test_settings_that_were_rolled_back_are_expected_to_be_slower_than_they_were():
    known = after(Bias(), ONE, 1.2, 40)
    assert known.worse(OTHER).of(OTHER) == pytest.approx((1.0 + CLEAR) * known.of_others)
    assert known.worse(OTHER).of(ONE) == known.of(ONE)
    assert known.worse(ONE).of(ONE) >= (1.0 + CLEAR) * known.of_others


def test_settings_that_were_rolled_back_are_measured_anew():
    """An hour before the rollback says nothing of what they are now; nor do the others, which did nothing."""
    known = after(Bias(), ONE, 1.0, 200).worse(ONE)
    again = after(known, ONE, 1.0, 40)
    assert again.of(ONE) == pytest.approx(1.0, rel=0.03)
    assert again.of_others > 0.88


def test_repeated_rollbacks_stay_within_the_bounds():
    bias = Bias()
    for _ in range(40):
        bias = bias.worse(ONE)
    assert bias.of(ONE) == MAX_BIAS


def test_a_latency_at_the_edge_of_what_tells_is_no_error():
    slo_us = 2.5 * 10_000.0
    for factor in (1.0, 1.0 + 1e-15, 1.0 + 1e-12):
        demand = measure(view(pod("a", metrics(RATE, latency_us=5_000.0 * factor), ONE)), slo_us)
        found = update_bias(Bias(), demand, slo_us, CURVE, ONE, 1.0, 1, SECONDS, (), NOW)
        assert math.isfinite(found.of(ONE))


def test_what_is_persisted_is_not_fed_back():
    """As long as nothing is measured, the bias of settings that were rolled back stays where it was put."""
    from throughline.domain.control.estimate.estimates import EstimatorState  # noqa: PLC0415
    from throughline.domain.control.state import ControllerState  # noqa: PLC0415
    from throughline.domain.observed import BatchStatistic  # noqa: PLC0415
    from views import context_of  # noqa: PLC0415

    state = EstimatorState(bias=Bias().worse(ONE))
    for i in range(1, 13):
        rows = (BatchStatistic(1, 1000 * i, 4_000_000_000 * i),)
        seen = view(pod("a", metrics(), ONE, batch_statistics=rows), settings=ONE)
        seen = dataclasses.replace(seen, now_seconds=NOW + 15 * i)
        ctx = context_of(seen, ControllerState(estimated=state, model_hash="r"))
        state = ctx.estimates.state
    assert ctx.estimates.learned.error_permille == round(1000 * (1.0 + CLEAR))


def test_after_a_restart_it_goes_on_from_what_was_persisted():
    from throughline.api.status import ServiceTime  # noqa: PLC0415

    learned = ServiceTime(alpha_microseconds=4000, beta_microseconds=200, error_permille=1400)
    assert Bias().known_from(learned).of(NEVER) == pytest.approx(1.4)
    measured = after(Bias(), ONE, 1.0, 40)
    assert measured.known_from(learned) is measured
