from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.batching import BatchSettings
from throughline.api.status import ServiceTime
from throughline.domain.control.estimate.service_time import ServiceTimeEstimator
from throughline.domain.control.estimate.service_time_fit import estimate, with_segments
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.observed import BatchStatistic
from views import observe


def settings(instances=1, size=64):
    return BatchSettings(max_batch_size=size, instances=instances)


def pod(statistics, instances=1, uid="a", size=64):
    return SimpleNamespace(
        uid=uid,
        queue=None,
        settings=settings(instances, size),
        batch_statistics=tuple(BatchStatistic(b, n, int(n * us * 1000)) for b, n, us in statistics),
    )


def rows(curve, batches, instances, executions=100):
    return [(b, executions, curve.service_us(b, instances)) for b in batches]


positive = st.floats(min_value=50, max_value=50_000)


@given(alpha=positive, beta=positive, contention=st.floats(min_value=0, max_value=1.5))
def test_recovers_the_curve_from_two_batch_sizes_and_two_instance_counts(alpha, beta, contention):
    curve = ServiceTimeModel(alpha, beta, contention)
    estimator = observe(ServiceTimeEstimator(), [pod(rows(curve, (1, 4, 16), 1))], 1.0)
    estimator = observe(estimator, [pod(rows(curve, (4, 16), 2), instances=2, uid="b")], 2.0)
    found = ServiceTimeModel.of(estimate(estimator.totals, None), 1)
    for batch, instances in ((1, 1), (8, 1), (32, 1), (8, 2)):
        assert found.service_us(batch, instances) == pytest.approx(curve.service_us(batch, instances), rel=0.02, abs=2)


@given(alpha=positive, beta=positive, contention=st.floats(min_value=0, max_value=1.5))
def test_recovers_the_curve_when_only_the_unbatched_time_is_known_of_one_instance(alpha, beta, contention):
    curve = ServiceTimeModel(alpha, beta, contention)
    estimator = observe(ServiceTimeEstimator(), [pod(rows(curve, (1,), 1))], 1.0)
    estimator = observe(estimator, [pod(rows(curve, (2, 8), 2), instances=2, uid="b")], 2.0)
    found = ServiceTimeModel.of(estimate(estimator.totals, None), 1)
    assert found.service_us(32, 2) == pytest.approx(curve.service_us(32, 2), rel=0.03, abs=2)


def test_one_batch_size_splits_the_time_by_the_prior_and_says_so_by_largest_batch():
    known = estimate(observe(ServiceTimeEstimator(), [pod([(1, 50, 4200.0)])], 1.0).totals, None)
    assert known.alpha_microseconds == known.beta_microseconds == 2100
    assert known.largest_batch == 1


def test_one_batch_size_keeps_the_slope_that_was_known():
    before = ServiceTime(alpha_microseconds=4000, beta_microseconds=200, largest_batch=32)
    known = estimate(observe(ServiceTimeEstimator(), [pod([(1, 50, 8400.0)])], 1.0).totals, before)
    assert (known.alpha_microseconds, known.beta_microseconds) == (8000, 400)


def test_too_few_executions_say_nothing():
    assert estimate(observe(ServiceTimeEstimator(), [pod([(1, 5, 4200.0)])], 1.0).totals, None) is None


def test_only_the_growth_between_two_samples_counts():
    estimator = observe(ServiceTimeEstimator(), [pod([(1, 1000, 9000.0)])], 1.0)
    estimator = observe(estimator, [pod([(1, 1000, 9000.0)])], 2.0)
    before = sum(t.executions for t in estimator.totals.values())
    estimator = observe(estimator, [pod([(1, 1000, 9000.0)])], 3.0)
    assert sum(t.executions for t in estimator.totals.values()) <= before


def test_after_counters_restart_the_first_sample_is_left_out_and_the_next_that_agrees_is_taken():
    estimator = observe(ServiceTimeEstimator(), [pod([(1, 1000, 4000.0)])], 1.0)
    estimator = observe(estimator, [pod([(1, 30, 4000.0), (4, 30, 8000.0)])], 1.0)
    assert (1, 4) not in estimator.totals
    estimator = observe(estimator, [pod([(1, 60, 4000.0), (4, 60, 8000.0)])], 1.0)
    assert estimator.totals[(1, 4)].executions == 30
    assert estimator.totals[(1, 1)].executions == pytest.approx(1030)


def test_growth_across_a_change_in_place_is_not_attributed_to_either_count():
    estimator = observe(ServiceTimeEstimator(), [pod([(4, 100, 8000.0)], instances=1)], 1.0)
    estimator = observe(estimator, [pod([(4, 200, 12000.0)], instances=2)], 1.0)
    assert (2, 4) not in estimator.totals


def test_old_observations_fade_so_that_a_model_that_got_slower_is_noticed():
    slow, fast = ServiceTimeModel(9000, 900), ServiceTimeModel(4000, 200)
    estimator = observe(ServiceTimeEstimator(), [pod(rows(fast, (1, 8, 16), 1, 1000))], 0.0)
    known = None
    for step in range(1, 40):
        n = 200 * step
        statistics = [(b, n, slow.service_us(b, 1)) for b in (1, 8, 16)]
        estimator = observe(estimator, [pod(statistics, uid=f"p{step}")], 60.0 * step)
        known = estimate(estimator.totals, known)
    assert ServiceTimeModel.of(known, 1).service_us(8, 1) == pytest.approx(slow.service_us(8, 1), rel=0.05)


def test_a_small_batch_that_waits_for_the_device_behind_a_large_one_is_not_taken_for_contention():
    """Alone 3 ms and 33 ms; in turns on one device each takes both: 36 ms of every 72 is what one execution costs."""
    curve = ServiceTimeModel(1000, 2000)
    estimator = observe(ServiceTimeEstimator(), [pod(rows(curve, (1, 4, 8, 16), 1))], 1.0)
    estimator = observe(estimator, [pod([(1, 300, 36_000.0), (16, 300, 36_000.0)], instances=2, uid="b")], 2.0)
    assert estimate(estimator.totals, None).contention_permille == pytest.approx(1000, abs=10)


def test_shorter_executions_contend_less_than_those_that_contention_was_learned_from_and_longer_ones_more():
    """Of each execution 3 ms are spent beside the device, which runs one at a time."""
    curve = ServiceTimeModel(4000, 2000)
    estimator = observe(ServiceTimeEstimator(), [pod(rows(curve, (1, 4, 8, 16), 1))], 1.0)
    estimator = observe(estimator, [pod([(16, 300, 2 * 33_000.0)], instances=2, uid="b")], 2.0)
    found = with_segments(estimator.totals, ServiceTimeModel.of(estimate(estimator.totals, None), 1))
    for batch in (2, 4, 8, 16, 32):
        alone_us = curve.service_us(batch, 1)
        assert found.contention_of(alone_us) == pytest.approx(2 * (alone_us - 3000) / alone_us - 1, abs=0.01)


SAMPLE_EXECUTIONS, SAMPLE_SECONDS = 500, 10.0


def mean_us_after(*samples_us, begin_us=5000.0, instances=2):
    """What batches of four are reckoned to take after ten minutes at `begin_us`, and then samples with these means."""
    estimator, executions, total_us = ServiceTimeEstimator(), 0, 0.0
    for i, us in enumerate([*[begin_us] * 60, *samples_us]):
        executions += SAMPLE_EXECUTIONS
        total_us += SAMPLE_EXECUTIONS * us
        estimator = observe(estimator, [pod([(4, executions, total_us / executions)], instances)], i * SAMPLE_SECONDS)
    return estimator.totals[(instances, 4)].mean_us * estimator.speed.slowdown


def test_what_takes_longer_for_two_samples_is_learned_at_once():
    assert mean_us_after(*[11_000.0] * 5) > 9500
    assert mean_us_after(*[5600.0] * 5) < 5200, "as long as chance and a little more is slow enough"


def test_one_sample_that_took_longer_changes_little():
    assert mean_us_after(11_000.0) < 5300
    assert mean_us_after(11_000.0, 5000.0, 11_000.0, 5000.0) < 5500


def test_what_takes_less_is_learned_slowly():
    """Executions that seldom meet another take less, and will meet one again when more comes."""
    assert mean_us_after(*[2500.0] * 5) > 4500


def test_on_other_numbers_of_instances_nothing_has_changed():
    estimator = observe(
        ServiceTimeEstimator(), [pod([(4, 1000, 4000.0)], 1), pod([(4, 1000, 5000.0)], 2, uid="b")], 0.0
    )
    for i in range(1, 4):
        n, total_us = 1000 * (i + 1), 5_000_000.0 + 11_000_000.0 * i
        steps = [pod([(4, n, 4000.0)], 1), pod([(4, n, total_us / n)], 2, uid="b")]
        estimator = observe(estimator, steps, SAMPLE_SECONDS * i)
    assert estimator.totals[(1, 4)].executions > 3500
    assert estimator.totals[(2, 4)].mean_us > 9000
