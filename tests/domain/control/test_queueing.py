import math
import statistics

import pytest
from batcher import simulate
from closed_loop_world import Server, throughput
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.batching import BatchSettings
from throughline.domain.control.model.queueing import (
    capacity_per_second,
    closed_loop_per_second,
    mean_batch,
    mean_us,
    p99_us,
    saturation_per_second,
)
from throughline.domain.control.model.service_time_model import ServiceTimeModel

CURVES = (
    ServiceTimeModel(4000, 200),
    ServiceTimeModel(1000, 2000),
    ServiceTimeModel(4000, 200, 0.5),
    ServiceTimeModel(10_000, 100),
)


def grid():
    for curve in CURVES:
        for size in (1, 4, 16, 64):
            for instances in (1, 2, 4):
                for delay in (0, 2000) if size > 1 else (0,):
                    yield (
                        curve,
                        BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances),
                    )


def test_p99_is_near_the_discrete_event_model():
    ratios = []
    for curve, settings in grid():
        for load in (0.1, 0.5, 0.8):
            rate = load * saturation_per_second(curve, settings)
            measured, _, _ = simulate(curve, settings, rate, requests=2500)
            ratios.append(p99_us(curve, settings, rate) / measured)
    ratios.sort()
    assert 0.9 < statistics.median(ratios) < 1.15
    assert ratios[len(ratios) // 20] > 0.6
    assert ratios[-len(ratios) // 20] < 1.6


def test_mean_batch_is_near_the_discrete_event_model():
    ratios = []
    for curve, settings in grid():
        if settings.max_queue_delay_microseconds or settings.max_batch_size == 1:
            continue
        rate = 0.7 * saturation_per_second(curve, settings)
        _, _, measured = simulate(curve, settings, rate, requests=2500)
        ratios.append(mean_batch(curve, settings, rate) / measured)
    ratios.sort()
    assert 0.85 < statistics.median(ratios) < 1.15
    assert ratios[0] > 0.5
    assert ratios[-1] < 1.5


def test_mean_latency_is_near_the_discrete_event_model_while_batches_are_not_full():
    ratios = []
    for curve, settings in grid():
        for load in (0.01, 0.05, 0.1, 0.3, 0.5):
            rate = load * saturation_per_second(curve, settings)
            _, measured, batch = simulate(curve, settings, rate, requests=2500)
            if batch < settings.max_batch_size / 2 or settings.max_batch_size == 1:
                ratios.append(mean_us(curve, settings, rate) / measured)
    ratios.sort()
    assert len(ratios) > 100
    assert 0.9 < statistics.median(ratios) < 1.1
    assert ratios[len(ratios) // 20] > 0.75
    assert ratios[-len(ratios) // 20] < 1.35


def test_mean_latency_of_single_executions_is_that_of_the_queue_m_d_1():
    curve, one = ServiceTimeModel(0, 10_000), settings(1, 0, 1)
    for load in (0.1, 0.5, 0.8):
        assert mean_us(curve, one, 100 * load) == pytest.approx(10_000 * (1 + load / (2 * (1 - load))))


def settings(size, delay, instances):
    return BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances)


@pytest.mark.parametrize("clients", [8, 16, 32, 64])
@pytest.mark.parametrize("point", [(8, 0, 1), (64, 0, 1), (64, 1000, 1), (8, 0, 2), (32, 500, 2), (64, 0, 2)])
def test_closed_loop_throughput_is_near_the_discrete_event_model(clients, point):
    measured = throughput(Server(4000, 200, parallel=2, gap=200, back=1000), settings(*point), 1, clients, seconds=4.0)
    predicted = closed_loop_per_second(ServiceTimeModel(4000, 200), settings(*point), clients, 200.0)
    assert predicted == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize("clients", [8, 16, 32])
@pytest.mark.parametrize("point", [(1, 0, 1), (8, 0, 1), (64, 0, 1), (64, 500, 1), (1, 0, 2), (8, 0, 2), (64, 0, 2)])
def test_so_it_is_on_a_device_that_runs_one_execution_at_a_time(clients, point):
    server = Server(1000, 2000, parallel=1, gap=1000, back=2000)
    measured = throughput(server, settings(*point), 1, clients, seconds=8.0)
    predicted = closed_loop_per_second(ServiceTimeModel(1000, 2000, 1.0), settings(*point), clients, 1000.0)
    assert predicted == pytest.approx(measured, rel=0.15)


def test_groups_of_closed_loop_clients_merge_where_a_batch_may_hold_more_than_their_even_part():
    """On two instances: batches of at most their even part keep both busy, larger ones often do not. Which, depends on
    how long clients take to come back.
    """
    curve, even, merged = ServiceTimeModel(4000, 200), settings(32, 0, 2), settings(64, 0, 2)

    def ratio(back, clients):
        server = Server(curve.alpha_us, curve.beta_us, parallel=2, back=back)
        return throughput(server, even, 1, clients, seconds=4.0) / throughput(server, merged, 1, clients, seconds=4.0)

    measured = statistics.mean(ratio(back, clients) for back in (200, 500, 1000) for clients in (60, 64, 68))
    predicted = closed_loop_per_second(curve, even, 64) / closed_loop_per_second(curve, merged, 64)
    assert measured > 1.1
    assert predicted == pytest.approx(measured, rel=0.1)


def test_groups_that_merge_lose_nothing_where_the_device_runs_one_at_a_time():
    curve = ServiceTimeModel(1000, 2000, 1.0)
    assert closed_loop_per_second(curve, settings(64, 0, 2), 64) == pytest.approx(
        1e6 / curve.service_us(64 / 3, 1) * 64 / 3
    )


def test_a_second_instance_hides_what_one_leaves_idle_between_its_executions():
    curve = ServiceTimeModel(1000, 2000, 1.0)
    one, two = settings(8, 0, 1), settings(8, 0, 2)
    assert closed_loop_per_second(curve, two, 8) < closed_loop_per_second(curve, one, 8)
    assert closed_loop_per_second(curve, two, 8, 2000.0) > 1.1 * closed_loop_per_second(curve, one, 8, 2000.0)


def test_a_delay_longer_than_the_executions_is_waited_for():
    long, none = (closed_loop_per_second(ServiceTimeModel(4000, 200), settings(64, d, 2), 16) for d in (20_000, 0))
    assert long < 16 / 0.020
    assert long < none / 2


curves = st.builds(
    ServiceTimeModel,
    st.floats(min_value=100, max_value=20_000),
    st.floats(min_value=10, max_value=5_000),
    st.floats(min_value=0, max_value=1),
)
points = st.builds(
    lambda **kw: BatchSettings(**kw),  # noqa: PLW0108 - the class's signature has the wire's names
    max_batch_size=st.integers(min_value=0, max_value=128),
    max_queue_delay_microseconds=st.sampled_from([0, 500, 5000]),
    instances=st.integers(min_value=1, max_value=8),
)


@given(curves, points, st.floats(min_value=0.01, max_value=0.9))
def test_p99_is_never_below_one_execution_and_grows_without_bound_at_saturation(curve, settings, load):
    rate = load * saturation_per_second(curve, settings)
    assert p99_us(curve, settings, rate) >= curve.service_us(1, settings.instances) * 0.999
    assert p99_us(curve, settings, saturation_per_second(curve, settings) * 1.01) == math.inf


@given(curves, points, st.floats(min_value=1_000, max_value=1_000_000))
def test_capacity_keeps_what_it_promises(curve, settings, limit_us):
    capacity = capacity_per_second(curve, settings, limit_us)
    if capacity > 0:
        assert p99_us(curve, settings, capacity) <= limit_us * 1.0001
    else:
        assert p99_us(curve, settings, 1e-6) > limit_us


@given(curves, points, st.floats(min_value=1, max_value=8))
def test_burstier_arrivals_are_never_predicted_faster(curve, settings, dispersion):
    rate = 0.6 * saturation_per_second(curve, settings)
    assert p99_us(curve, settings, rate, dispersion) >= p99_us(curve, settings, rate) * 0.9999


# Learned on a real GPU from batches of twenty: what each further instance adds to these is 0.41 of it (docs/gpu.md).
ON_A_GPU = ServiceTimeModel(5381, 292, 0.41, contended_us=9000)


@pytest.mark.parametrize("instances", [2, 4, 8])
def test_instances_that_share_a_device_carry_no_more_than_it_does_whatever_small_batches_have_shown(instances):
    most = 1e6 / ON_A_GPU.beta_us  # items per second, of one that never waits for its host
    for batch in (32, 64, 128):
        settings = BatchSettings(max_batch_size=batch, max_queue_delay_microseconds=0, instances=instances)
        assert saturation_per_second(ON_A_GPU, settings) < most
    plain = saturation_per_second(ServiceTimeModel(5381, 292, 0.41), settings)
    assert plain > 1.2 * most


@given(st.floats(0, 2), st.floats(0, 50_000), st.integers(1, 256), st.integers(1, 8))
def test_batches_take_no_less_beside_others_than_alone_and_more_the_more_there_are(contention, contended, batch, k):
    curve = ServiceTimeModel(4000, 200, contention, contended_us=contended)
    taken = []
    for instances in (k, k + 1):
        alpha_us, beta_us = curve.with_contention(instances, batch)
        assert beta_us >= 0
        taken.append(alpha_us + beta_us * batch)
    assert curve.service_us(batch, 1) <= taken[0] * 1.000001
    assert taken[0] <= taken[1] * 1.000001
    assert taken[0] >= curve.service_us(batch, k) * 0.999999  # never less than what was learned


def test_where_instances_do_not_contend_longer_executions_do_not_either():
    assert ServiceTimeModel(4000, 200, 0.0, contended_us=5000).with_contention(2, 64) == (4000, 200)


@pytest.mark.parametrize("contention", [0.0, 1.0])
def test_an_instance_on_each_of_two_gpus_serves_as_two_that_share_nothing(contention):
    """Triton counts instances for each GPU, and those on different GPUs do not contend."""
    two_gpus, free = ServiceTimeModel(4000, 200, contention, devices=2), ServiceTimeModel(4000, 200)
    for size in (1, 16):
        here, there = settings(size, 0, 1), settings(size, 0, 2)
        assert saturation_per_second(two_gpus, here) == pytest.approx(saturation_per_second(free, there))
        assert p99_us(two_gpus, here, 150) == pytest.approx(p99_us(free, there, 150))
        assert closed_loop_per_second(two_gpus, here, 24) == pytest.approx(closed_loop_per_second(free, there, 24))
        assert capacity_per_second(two_gpus, here, 50_000) == pytest.approx(capacity_per_second(free, there, 50_000))


def test_two_gpus_contend_each_by_itself():
    shared = ServiceTimeModel(4000, 200, 1.0)
    two_gpus = ServiceTimeModel(4000, 200, 1.0, devices=2)
    for instances in (1, 2, 4):
        here = settings(8, 0, instances)
        assert saturation_per_second(two_gpus, here) == pytest.approx(2 * saturation_per_second(shared, here))
