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


def after_samples(*samples, begin):
    """The estimator after ten minutes of `begin`, and then samples: {(instances, batch): (executions, mean µs)}."""
    estimator, counted = ServiceTimeEstimator(), {}
    for i, sample in enumerate([*[begin] * 60, *samples]):
        for key, (n, us) in sample.items():
            executions, total_us = counted.get(key, (0, 0.0))
            counted[key] = executions + n, total_us + n * us
        pods = [
            pod(
                [(b, n, us / n) for (k, b), (n, us) in sorted(counted.items()) if k == instances],
                instances,
                f"p{instances}",
            )
            for instances in sorted({k for k, _ in counted})
        ]
        estimator = observe(estimator, pods, i * SAMPLE_SECONDS)
    return estimator


BOTH = {(1, 2): (300, 5000.0), (1, 8): (300, 8000.0), (2, 2): (300, 6000.0), (2, 8): (300, 10_000.0)}
# The first sample is of before and after; its large batches, of which there were few, are all of after.
MIXED = {(1, 2): (300, 5000.0), (1, 8): (300, 10_500.0)}
AFTER = {(1, 8): (300, 16_000.0)}


def test_a_sample_that_took_longer_waits_for_the_next():
    before, doubted = after_samples(begin=BOTH), after_samples(MIXED, begin=BOTH)
    assert doubted.totals[1, 8].mean_us == pytest.approx(before.totals[1, 8].mean_us)
    assert doubted.doubts.rows.keys() == {1}
    cleared = after_samples(MIXED, {(1, 2): (300, 5000.0), (1, 8): (300, 8000.0)}, begin=BOTH)
    assert not cleared.doubts.rows
    assert cleared.totals[1, 8].mean_us > before.totals[1, 8].mean_us, "both are taken in"
    one = after_samples({(1, 8): (300, 8000.0)}, begin=BOTH).totals[1, 8].executions
    assert cleared.totals[1, 8].executions > one


def test_what_two_samples_show_takes_the_place_of_what_was_known_and_the_mixed_one_is_dropped():
    found = after_samples(MIXED, AFTER, begin=BOTH)
    assert not found.doubts.rows
    assert found.totals[1, 8] == pytest.approx((300, 300 * 16_000.0))
    assert found.totals[1, 2].mean_us == pytest.approx(10_000, rel=0.02), "as much slower, and not as the mixed sample"


def test_on_one_instance_it_is_the_model_that_costs_more_so_that_several_promise_no_more():
    found = after_samples(MIXED, AFTER, begin=BOTH)
    assert found.totals[2, 8].mean_us == pytest.approx(20_000, rel=0.02)
    contended = after_samples({(2, 8): (300, 12_200.0)}, {(2, 8): (300, 20_000.0)}, begin=BOTH)
    assert contended.totals[2, 8].mean_us == pytest.approx(20_000)
    assert contended.totals[1, 8].mean_us == pytest.approx(8000), "instances overlap more: alone it is as it was"


def test_larger_batches_are_known_by_whichever_number_of_instances_has_seen_them():
    """Two instances have seen batches up to 8, one alone those of 64, which cost twice as much an item."""
    groups = [pod([(b, 3000, 40_000.0 + 8000 * b) for b in (1, 2, 4, 8)], instances=2)]
    groups.append(pod([(1, 300, 24_000.0), (8, 300, 52_000.0), (64, 900, 900_000.0)], uid="b"))
    estimator = observe(ServiceTimeEstimator(), groups, 1.0)
    found = with_segments(estimator.totals, ServiceTimeModel.of(estimate(estimator.totals, None), 1))
    alpha_us, beta_us = found.with_contention(1, 64)
    assert alpha_us + 64 * beta_us == pytest.approx(900_000, rel=0.1)


TWICE = {key: (n, 2 * us) for key, (n, us) in BOTH.items()}
BARELY = {key: (n, 1.19 * us) for key, (n, us) in BOTH.items()}


def test_several_numbers_of_instances_that_become_slower_together_do_so_once():
    found = after_samples(BARELY, {k: v for k, v in TWICE.items() if k != (2, 8)}, begin=BOTH)
    for key, (_, us) in TWICE.items():
        assert found.totals[key].mean_us == pytest.approx(us, rel=0.02), key


def test_a_doubt_ends_when_others_are_executed_or_after_two_minutes():
    elsewhere = after_samples(MIXED, {(2, 2): (300, 6000.0), (2, 8): (300, 10_000.0)}, begin=BOTH)
    assert not elsewhere.doubts.rows
    idle = after_samples(MIXED, *[{}] * 13, MIXED, begin=BOTH)
    assert idle.doubts.rows.keys() == {1}, "of the second alone"
    assert idle.totals[1, 8].mean_us == pytest.approx(8000, rel=0.2)


def test_a_few_executions_neither_confirm_nor_clear_a_doubt():
    waits = after_samples(MIXED, {(1, 8): (5, 16_000.0)}, begin=BOTH)
    assert waits.doubts.rows.keys() == {1}
    found = after_samples(MIXED, {(1, 8): (5, 16_000.0)}, AFTER, begin=BOTH)
    assert found.totals[1, 8].mean_us == pytest.approx(16_000)


def test_one_odd_execution_of_a_batch_size_does_not_take_the_place_of_all():
    found = after_samples(MIXED, {**AFTER, (1, 2): (1, 50_000.0)}, begin=BOTH)
    assert found.totals[1, 2].mean_us == pytest.approx(10_000, rel=0.1)
