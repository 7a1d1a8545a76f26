"""Triton's batcher, batch by batch, against what dynamic_batch_scheduler.cc does."""

import numpy as np
import pytest
from throughline.api.batching import BatchSettings
from throughline.simulate.kernel import bin_upper_us, latency_bin, percentile_us
from throughline.simulate.server import Model, Tally
from throughline.simulate.types import Truth

TRUTH = Truth(100_000, 10_000, noise=0.0)  # 100 ms + 10 ms per item


def run(arrivals, *, batch=4, delay_ms=0, instances=1, truth=TRUTH, timeout_seconds=np.inf, slo_us=1e9, until=np.inf):
    """[(start, size, end)] of the batches, and the tally."""
    settings = BatchSettings(max_batch_size=batch, max_queue_delay_microseconds=delay_ms * 1000, instances=instances)
    model = Model(settings, 0.0)
    tally = Tally.over_time(100.0, 10.0, slo_us, np.ones(1), timeout_seconds)
    model.take(np.array(arrivals, dtype=float))
    model.run(until, truth, tally, np.zeros(truth.parallel))
    return [(round(row[5], 3), int(row[1]), round(row[0], 3)) for row in model.open], tally, model


def test_a_free_instance_takes_what_waits_and_a_busy_one_what_came_meanwhile():
    batches, _, _ = run([0.0, 0.01, 0.02, 0.05])
    assert batches == [(0.0, 1, 0.11), (0.11, 3, 0.24)]


def test_a_batch_is_never_larger_than_the_maximum():
    batches, _, _ = run([0.0] * 9, batch=4)
    assert [size for _, size, _ in batches] == [4, 4, 1]


def test_two_instances_serve_side_by_side():
    batches, _, _ = run([0.0, 0.0, 0.0], batch=1, instances=2)
    assert batches == [(0.0, 1, 0.11), (0.0, 1, 0.11), (0.11, 1, 0.22)]


def test_instances_of_one_device_wait_for_it():
    batches, _, _ = run([0.0, 0.0], batch=1, instances=2, truth=Truth(100_000, 10_000, noise=0.0, parallel=1))
    assert batches == [(0.0, 1, 0.11), (0.0, 1, 0.22)]


def test_with_a_delay_the_first_waits_for_company_until_it_is_over_or_the_batch_is_full():
    assert run([0.0, 0.01], delay_ms=50)[0] == [(0.05, 2, 0.17)]
    assert run([0.0, 0.01, 0.02, 0.03], delay_ms=50)[0] == [(0.03, 4, 0.17)]


def test_with_a_delay_a_busy_server_closes_the_next_batch_when_the_one_before_starts():
    """The one at 0.2 s finds the batch closed that waits for the instance, and goes into the one after."""
    arrivals = [0.0, 0.01, 0.012, 0.2]
    assert run(arrivals, batch=8, delay_ms=5)[0] == [(0.005, 1, 0.115), (0.115, 2, 0.235), (0.235, 1, 0.345)]
    # Without a delay all that came joins.
    assert run([0.0, 0.01, 0.012, 0.1], batch=8)[0] == [(0.0, 1, 0.11), (0.11, 3, 0.24)]


def test_what_comes_joins_a_closed_batch_where_it_fills_it():
    arrivals = [0.0, 0.01, *([0.05] * 8)]
    batches, _, _ = run(arrivals, batch=8, delay_ms=5)
    assert batches[1][1] == 8


def test_a_caller_that_gives_up_is_lost_and_takes_no_time():
    batches, tally, _ = run([0.0, 0.0, 0.0], batch=1, timeout_seconds=0.15)
    assert len(batches) == 2
    assert tally.lost.sum() == 1


def test_answers_over_the_slo_are_counted_at_their_arrival():
    _, tally, _ = run([0.0, 0.0, 15.0], batch=1, slo_us=150_000)
    assert tally.over.tolist()[:2] == [1, 0]
    assert tally.histogram.sum() == 3


def test_stopping_in_between_changes_nothing():
    rng = np.random.default_rng(3)
    arrivals = np.sort(rng.uniform(0, 20, 300))
    for delay_ms in (0, 20):
        whole, _, _ = run(arrivals, delay_ms=delay_ms, instances=2)
        settings = BatchSettings(max_batch_size=4, max_queue_delay_microseconds=delay_ms * 1000, instances=2)
        model = Model(settings, 0.0)
        tally = Tally.over_time(100.0, 10.0, 1e9, np.ones(1))
        given = 0
        for until in np.arange(0.0, 60.0, 0.37):
            upto = int(np.searchsorted(arrivals, until, side="right"))
            model.take(arrivals[given:upto])
            given = upto
            model.run(until, TRUTH, tally, np.zeros(0))
        assert [(round(r[5], 3), int(r[1]), round(r[0], 3)) for r in model.open] == whole


@pytest.mark.parametrize("value", [50.0, 100.0, 1234.0, 5e6])
def test_a_latency_lies_within_its_bin(value):
    index = latency_bin(value)
    assert value <= bin_upper_us(index) * 1.0001
    assert index == 0 or value >= bin_upper_us(index - 1) * 0.9999


def test_a_percentile_of_nothing_is_unknown():
    assert percentile_us(np.zeros(10, dtype=np.int64), 0.99) is None
